"""sparsify's folders, of both generations, mean here what they mean there; what is not ours is refused."""

import json

import numpy as np
import pytest
import torch
from other_libraries import D_IN, LATENTS, K, agrees, inputs, sparsify, sparsify_weights, write

from glossae.errors import GlossaeError
from glossae.sae import Sae

NEW = {
    "activation": "topk",
    "expansion_factor": 32,
    "normalize_decoder": True,
    "num_latents": LATENTS,
    "k": K,
    "multi_topk": False,
    "skip_connection": False,
    "transcode": False,
    "d_in": D_IN,
}
OLD = {
    "expansion_factor": LATENTS // D_IN,
    "normalize_decoder": True,
    "num_latents": 0,
    "k": K,
    "signed": False,
    "d_in": D_IN,
}


def save(folder, config, w=None):
    return write(folder, "sae.safetensors", w or sparsify_weights(), "cfg.json", config)


@pytest.mark.parametrize("shape", [(40,), (3, 5), ()])
@pytest.mark.parametrize("config", [NEW, OLD, NEW | {"multi_topk": True}])
def test_both_generations(tmp_path, config, shape):
    sae = Sae.load(save(tmp_path, config))
    assert (sae.config.latents, sae.config.k, sae.config.relu) == (LATENTS, K, True)
    x = inputs(*shape)
    agrees(sae, x, *sparsify(sparsify_weights(), x, K))


def test_latents_selected_at_zero_change_nothing(tmp_path):
    # so many are selected that sparsify's ReLU leaves zeros among them
    x = inputs(40)
    k = LATENTS - 2
    codes, out = sparsify(sparsify_weights(), x, k)
    assert ((codes > 0).sum(-1) < k).all()
    agrees(Sae.load(save(tmp_path, NEW | {"k": k})), x, codes, out)


@pytest.mark.parametrize(
    ("folder", "site", "layer"),
    [
        ("layers.10", "resid", 10),
        ("layers.10.mlp", "mlp.out", 10),
        ("layers.10.mlp.act", "mlp.hidden", 10),
        ("layers.3.attention", "attn.out", 3),
        ("h.3", "resid", 3),
        ("h.3.attn", "attn.out", 3),
        ("layers.3.mlp/seed7", "mlp.out", 3),
        ("decoder.layers.3.fc2", "mlp.out", 3),
        ("embed_tokens", "", 0),
        ("layers.3.mlp.gate_proj", "", 0),
        ("layers.999999", "", 0),
    ],
)
def test_the_folder_says_the_site_and_its_neighbour_the_model(tmp_path, folder, site, layer):
    save(tmp_path / folder, NEW)
    (tmp_path / "config.json").write_text(
        json.dumps({"model": "EleutherAI/pythia-160m", "revision": "step1"})
    )
    config = Sae.load(tmp_path / folder).config
    assert (config.site, config.layer, config.model) == (site, layer, "EleutherAI/pythia-160m@step1")


def test_modules_that_a_norm_follows_are_no_sites(tmp_path):
    save(tmp_path / "layers.3.mlp", NEW)
    (tmp_path / "config.json").write_text('{"model": "google/gemma-2-2b"}')
    assert Sae.load(tmp_path / "layers.3.mlp").config.site == ""
    save(tmp_path / "layers.3.post_attention_layernorm", NEW)
    assert Sae.load(tmp_path / "layers.3.post_attention_layernorm").config.site == "attn.out"
    save(tmp_path / "layers.3", NEW)
    assert Sae.load(tmp_path / "layers.3").config.site == "resid"


@pytest.mark.parametrize("content", ["{", "[]", '{"model": 3}', '{"model_type": "gpt_neox"}'])
def test_a_neighbour_that_is_something_else(tmp_path, content):
    save(tmp_path / "layers.3", NEW)
    (tmp_path / "config.json").write_text(content)
    assert Sae.load(tmp_path / "layers.3").config.model == ""


def test_bfloat16(tmp_path):
    w = {name: torch.from_numpy(a).bfloat16() for name, a in sparsify_weights().items()}
    x = inputs(30)
    codes_and_out = sparsify({name: a.float().numpy() for name, a in w.items()}, x, K)
    agrees(Sae.load(save(tmp_path, NEW, w)), x, *codes_and_out)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "groupmax"}, 'activation is "groupmax"'),
        ({"signed": True}, "signed is true; glossae's top-k does not select by absolute value"),
        ({"transcode": True}, "transcode is true; a transcoder does not give back what it reads"),
        ({"skip_connection": True}, "skip_connection is true"),
        ({"num_latents": -1}, "num_latents is -1"),
        ({"num_latents": 0, "expansion_factor": 0}, "expansion_factor is 0"),
        ({"num_latents": 0}, f"encoder.weight should be ({32 * D_IN}, {D_IN}) and is ({LATENTS}, {D_IN})"),
        ({"k": LATENTS + 1}, "sae.k: has to be between"),
        ({"k": None}, "the key 'k' is missing"),
        ({"d_in": None}, "the key 'd_in' is missing"),
        ({"jump": True}, "the key 'jump' is not known"),
    ],
)
def test_what_is_not_ours(tmp_path, changes, message):
    with pytest.raises(GlossaeError) as caught:
        Sae.load(save(tmp_path, NEW | changes))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"W_dec": None}, "W_dec should be"),
        ({"W_skip": np.ones((D_IN, D_IN), np.float32)}, "holds a tensor 'W_skip'"),
        (
            {"encoder.bias": np.full(LATENTS, np.nan, np.float32)},
            "encoder.bias holds values that are not finite",
        ),
    ],
)
def test_tensors_that_do_not_fit(tmp_path, changes, message):
    w = {name: a for name, a in (sparsify_weights() | changes).items() if a is not None}
    with pytest.raises(GlossaeError) as caught:
        Sae.load(save(tmp_path, NEW, w))
    assert message in str(caught.value)
