"""dictionary_learning's files mean here what they mean there; nothing of a pickle but tensors is read."""

import json
import pickle

import numpy as np
import pytest
import torch
from other_libraries import D_IN, LATENTS, K, agrees, dictionary_learning, inputs, weights

from glossae.errors import GlossaeError
from glossae.sae import Sae

LINEAR = ("AutoEncoder", "AutoEncoderNew", "AutoEncoderTopK", "BatchTopKSAE")
ALL = (*LINEAR, "JumpReluAutoEncoder", "MatryoshkaBatchTopKSAE")
GROUPS = (6, 6, LATENTS - 12)


def state_of(kind):
    """The arrays of a class of theirs."""
    w = weights()
    if kind == "JumpReluAutoEncoder":
        return weights(threshold=(LATENTS,))
    if kind == "MatryoshkaBatchTopKSAE":
        return w | {
            "k": np.array(K, np.int32),
            "threshold": np.array(1.5, np.float32),
            "group_sizes": np.array(GROUPS),
        }
    state = {"encoder.weight": w["W_enc"].T, "encoder.bias": w["b_enc"], "decoder.weight": w["W_dec"].T}
    if kind == "AutoEncoder":
        return state | {"bias": w["b_dec"]}
    if kind == "AutoEncoderNew":
        return state | {"decoder.bias": w["b_dec"]}
    return state | {"b_dec": w["b_dec"], "k": np.array(K, np.int32), "threshold": np.array(1.5, np.float32)}


def config_of(kind, **changes):
    trainer = {
        "trainer_class": "SomeTrainer",
        "dict_class": kind,
        "lr": 1e-3,
        "steps": 1000,
        "seed": 0,
        "warmup_steps": 100,
        "decay_start": None,
        "activation_dim": D_IN,
        "dict_size": LATENTS,
        "device": "cuda:0",
        "layer": 8,
        "lm_name": "EleutherAI/pythia-160m-deduped",
        "wandb_name": "x",
        "submodule_name": "resid_post_layer_8",
    }
    buffer = {"d_submodule": D_IN, "io": "out", "n_ctxs": 244, "ctx_len": 1024, "device": "cuda:0"}
    buffer |= {"refresh_batch_size": 32, "out_batch_size": 2048}
    return {"trainer": trainer | changes, "buffer": buffer}


def save(folder, state, config=None, name="ae.pt"):
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({name: torch.from_numpy(np.array(a)) for name, a in state.items()}, folder / name)
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


def refusal(place):
    with pytest.raises(GlossaeError) as caught:
        Sae.load(place)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- what is read


@pytest.mark.parametrize("shape", [(40,), (3, 5), ()])
@pytest.mark.parametrize("kind", ALL)
def test_every_class(tmp_path, kind, shape):
    sae = Sae.load(save(tmp_path, state_of(kind), config_of(kind)))
    x = inputs(*shape)
    agrees(sae, x, *dictionary_learning(kind, state_of(kind), x))
    assert (sae.config.model, sae.config.site, sae.config.layer) == (
        "EleutherAI/pythia-160m-deduped",
        "resid",
        8,
    )


@pytest.mark.parametrize(
    "kind", ["AutoEncoder", "AutoEncoderNew", "JumpReluAutoEncoder", "MatryoshkaBatchTopKSAE"]
)
def test_classes_that_need_no_config(tmp_path, kind):
    save(tmp_path, state_of(kind), name="mine.pt")
    x = inputs(20)
    agrees(Sae.load(tmp_path / "mine.pt"), x, *dictionary_learning(kind, state_of(kind), x))


def test_nested_dictionaries(tmp_path):
    config = Sae.load(save(tmp_path, state_of("MatryoshkaBatchTopKSAE"))).config
    assert (config.activation, config.k, config.matryoshka) == ("batchtopk", K, (6, 12, LATENTS))


@pytest.mark.parametrize("threshold", [-1.0, None])
def test_top_k_needs_no_threshold(tmp_path, threshold):
    state = state_of("AutoEncoderTopK")
    if threshold is None:
        del state["threshold"]
    else:
        state["threshold"] = np.array(threshold, np.float32)
    x = inputs(30)
    sae = Sae.load(save(tmp_path, state, config_of("AutoEncoderTopK", k=K)))
    agrees(sae, x, *dictionary_learning("AutoEncoderTopK", state, x))


def test_a_checkpoint_of_a_training(tmp_path):
    save(tmp_path / "checkpoints", state_of("BatchTopKSAE"), name="ae_500.pt")
    (tmp_path / "config.json").write_text(json.dumps(config_of("BatchTopKSAE")))
    assert Sae.load(tmp_path / "checkpoints" / "ae_500.pt").config.activation == "batchtopk"


@pytest.mark.parametrize(
    ("name", "io", "layer", "site", "of_layer"),
    [
        ("resid_post_layer_8", "out", 8, "resid", 8),
        ("resid_post", "out", 8, "resid", 8),
        ("mlp_out_layer_8", "out", 8, "mlp.out", 8),
        ("resid_post_layer_9", "out", 8, "", 8),
        ("gpt_neox.layers.8.mlp", "out", 8, "mlp.out", 8),
        ("gpt_neox.layers.8.mlp.dense_4h_to_h", "in", 8, "mlp.hidden", 8),
        ("gpt_neox.layers.8.mlp", "in", 8, "", 8),
        ("resid_post_layer_8", "in", 8, "", 8),
        (None, "out", 8, "", 8),
        ("", "out", None, "", 0),
    ],
)
def test_names_of_submodules(tmp_path, name, io, layer, site, of_layer):
    config = config_of("AutoEncoder", submodule_name=name, layer=layer)
    config["buffer"]["io"] = io
    found = Sae.load(save(tmp_path, state_of("AutoEncoder"), config)).config
    assert (found.site, found.layer) == (site, of_layer)


def test_bfloat16(tmp_path):
    state = {name: torch.from_numpy(np.array(a)) for name, a in state_of("AutoEncoder").items()}
    state = {name: tensor.bfloat16() for name, tensor in state.items()}
    torch.save(state, tmp_path / "ae.pt")
    x = inputs(20)
    rounded = {name: tensor.float().numpy() for name, tensor in state.items()}
    agrees(Sae.load(tmp_path), x, *dictionary_learning("AutoEncoder", rounded, x))


# ---- what is refused


@pytest.mark.parametrize("kind", ["BatchTopKSAE", "MatryoshkaBatchTopKSAE"])
def test_a_threshold_that_was_never_set(tmp_path, kind):
    state = state_of(kind) | {"threshold": np.array(-1, np.float32)}
    assert "threshold is -1, so it was never set" in refusal(save(tmp_path, state, config_of(kind)))


def test_top_k_or_batch_top_k(tmp_path):
    assert "is AutoEncoderTopK or BatchTopKSAE; which, only" in refusal(
        save(tmp_path, state_of("BatchTopKSAE"))
    )


def test_a_gate(tmp_path):
    state = state_of("AutoEncoder")
    del state["encoder.bias"], state["bias"]
    state |= {"decoder_bias": np.ones(D_IN, np.float32)}
    state |= {name: np.ones(LATENTS, np.float32) for name in ("r_mag", "gate_bias", "mag_bias")}
    assert "holds 'r_mag'; glossae's autoencoders have no gate" in refusal(save(tmp_path, state))


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (
            "AutoEncoder",
            {"dict_class": "AutoEncoderNew"},
            'trainer.dict_class is "AutoEncoderNew"; the tensors of',
        ),
        ("BatchTopKSAE", {"dict_class": "IdentityDict"}, 'trainer.dict_class is "IdentityDict"'),
        ("BatchTopKSAE", {"k": K + 1}, "trainer.k is 5"),
        ("BatchTopKSAE", {"activation_dim": 5}, "trainer.activation_dim is 5"),
        ("BatchTopKSAE", {"dict_size": 5}, "trainer.dict_size is 5"),
        ("BatchTopKSAE", {"norm_factor": 3.0}, "the key 'trainer.norm_factor' is not known"),
        ("BatchTopKSAE", {"layer": "all"}, 'trainer.layer is "all"'),
    ],
)
def test_configs_that_do_not_fit(tmp_path, kind, changes, message):
    assert message in refusal(save(tmp_path, state_of(kind), config_of(kind, **changes)))


def test_a_transcoder(tmp_path):
    config = config_of("AutoEncoder")
    config["buffer"]["io"] = "in_and_out"
    assert 'buffer.io is "in_and_out"' in refusal(save(tmp_path, state_of("AutoEncoder"), config))


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("AutoEncoder", {"bias": None}, f"bias should be ({D_IN},) and is missing"),
        ("AutoEncoder", {"scale": np.ones(3, np.float32)}, "holds a tensor 'scale'"),
        ("AutoEncoder", {"encoder.weight": None}, "encoder.weight should be (any, any) and is missing"),
        ("AutoEncoder", {"encoder.bias": np.full(LATENTS, np.inf)}, "not finite"),
        ("AutoEncoderTopK", {"k": np.array(0)}, "k should hold whole numbers above zero"),
        ("AutoEncoderTopK", {"k": np.array(2.5)}, "k should hold whole numbers above zero"),
        ("AutoEncoderTopK", {"k": np.array([3, 4])}, "k should be one number"),
        ("AutoEncoderTopK", {"k": None}, "sae.k: topk needs one"),
        ("JumpReluAutoEncoder", {"threshold": np.array(1.0)}, f"threshold should be ({LATENTS},) and is ()"),
        ("MatryoshkaBatchTopKSAE", {"group_sizes": np.array([4, 4])}, "sae.matryoshka: sizes have to rise"),
        (
            "MatryoshkaBatchTopKSAE",
            {"group_sizes": np.array([-4, 28])},
            "group_sizes should hold whole numbers",
        ),
    ],
)
def test_tensors_that_do_not_fit(tmp_path, kind, changes, message):
    state = {name: a for name, a in (state_of(kind) | changes).items() if a is not None}
    config = config_of(kind)
    assert message in refusal(save(tmp_path, state, config))


class Surprise:
    def __reduce__(self):
        return print, ("unpickled",)


def test_a_pickle_with_more_in_it_than_tensors(tmp_path, capsys):
    torch.save({"bias": torch.ones(3), "extra": Surprise()}, tmp_path / "ae.pt")
    assert "cannot be read as tensors alone" in refusal(tmp_path)
    (tmp_path / "ae.pt").write_bytes(pickle.dumps(Surprise()))
    assert "cannot be read as tensors alone" in refusal(tmp_path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "content", [[1, 2], {"a": 1}, {1: torch.ones(2)}, torch.ones(3), {"a": {"b": torch.ones(1)}}]
)
def test_other_contents(tmp_path, content):
    torch.save(content, tmp_path / "ae.pt")
    assert "should hold tensors by their names" in refusal(tmp_path)


def test_files_that_are_none(tmp_path):
    whole = (save(tmp_path, state_of("AutoEncoder")) / "ae.pt").read_bytes()
    for content in (b"", b"garbage" * 50, whole[:-100], whole[:200], b"\x80\x02."):
        (tmp_path / "ae.pt").write_bytes(content)
        assert "cannot be read as tensors alone" in refusal(tmp_path)
