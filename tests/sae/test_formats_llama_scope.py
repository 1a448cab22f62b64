"""Llama Scope's folders: scales and decoder lengths folded as its own library does, and what glossae lacks refused."""

import json

import pytest
from other_libraries import (
    D_IN,
    LATENTS,
    K,
    agrees,
    inputs,
    llama_scope,
    llama_scope_config,
    llama_scope_weights,
    write,
)

from glossae.errors import GlossaeError
from glossae.sae import Sae

RELEASE = "Llama3_1-8B-Base-L2R-8x"


@pytest.fixture
def make(tmp_path):
    """A function that writes a folder of Llama Scope's with changes to its config."""

    def make(name=RELEASE, tensors=None, **changes):
        folder = tmp_path / name
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "hyperparams.json").write_text(json.dumps(llama_scope_config(**changes)))
        write(folder / "checkpoints", "final.safetensors", tensors or llama_scope_weights())
        return folder

    return make


def refusal(folder):
    with pytest.raises(GlossaeError) as caught:
        Sae.load(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sparsity_include_decoder_norm": False},
        {"norm_activation": "inference"},
        {"act_fn": "topk", "jump_relu_threshold": 0.0},
        {"act_fn": "topk", "jump_relu_threshold": 0.0, "sparsity_include_decoder_norm": False},
        # was made a JumpReLU after its training
        {"act_fn": "topk", "jump_relu_threshold": 0.4},
        {"act_fn": "relu", "jump_relu_threshold": 0.0},
        {"apply_decoder_bias_to_pre_encoder": True},
        {"dataset_average_activation_norm": {"in": 7.125, "out": 3.5}},
    ],
)
def test_codes_and_reconstructions_are_its_own_librarys(make, changes):
    config, x = llama_scope_config(**changes), inputs(5, 3)
    agrees(Sae.load(make(**changes)), x, *llama_scope(config, llama_scope_weights(), x))


def test_a_decoder_without_bias(make):
    tensors, x = llama_scope_weights(), inputs(7)
    found = Sae.load(
        make(tensors={k: v for k, v in tensors.items() if k != "decoder.bias"}, use_decoder_bias=False)
    )
    agrees(found, x, *llama_scope(llama_scope_config(use_decoder_bias=False), tensors, x))


def test_what_it_belongs_to(make):
    config = Sae.load(make()).config
    assert (config.model, config.site, config.layer) == ("meta-llama/Llama-3.1-8B", "resid", 2)
    assert (config.activation, config.k, config.latents) == ("jumprelu", K, LATENTS)
    other = Sae.load(make("mine", hook_point_in="blocks.1.hook_mlp_out", hook_point_out=...)).config
    assert (other.model, other.site, other.layer) == ("", "mlp.out", 1)


def test_the_width_may_be_left_to_the_factor(make):
    assert Sae.load(make(d_sae=...)).config.latents == LATENTS
    assert "the key 'expansion_factor' is missing" in refusal(make("none", d_sae=..., expansion_factor=...))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"hook_point_out": "blocks.2.hook_mlp_out"},
            'hook_point_out is "blocks.2.hook_mlp_out"; a transcoder',
        ),
        ({"use_glu_encoder": True}, "use_glu_encoder is true; glossae's autoencoders have no gate"),
        ({"act_fn": "tanh"}, 'act_fn is "tanh"; glossae knows relu, topk and jumprelu'),
        (
            {"norm_activation": "token-wise"},
            'norm_activation is "token-wise"; glossae\'s autoencoders do not scale',
        ),
        ({"norm_activation": ...}, "the key 'norm_activation' is missing"),
        ({"dataset_average_activation_norm": {"in": 7.0}}, "it should be two numbers above zero"),
        ({"dataset_average_activation_norm": {"in": 7.0, "out": 0}}, "it should be two numbers above zero"),
        (
            {"dataset_average_activation_norm": {"in": 7, "out": 7, "mid": 7}},
            "dataset_average_activation_norm.mid'",
        ),
        ({"jump_relu_threshold": -1.0}, "jump_relu_threshold is -1.0; it should not be below zero"),
        ({"whitening": True}, "the key 'whitening' is not known"),
        ({"d_model": D_IN + 1}, "encoder.weight should be"),
    ],
)
def test_what_is_refused_is_named(make, changes, said):
    assert said in refusal(make(**changes))


def test_a_tensor_that_is_left_over(make):
    more = llama_scope_weights() | {"encoder_glu.weight": llama_scope_weights()["encoder.weight"]}
    assert "holds a tensor 'encoder_glu.weight'" in refusal(make(tensors=more))
