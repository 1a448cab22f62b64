"""Gemma Scope's files mean here what they mean there; transcoders and pickles are refused."""

import io
import json

import numpy as np
import pytest
from other_libraries import D_IN, LATENTS, agrees, gemma_scope, inputs, weights, write

from glossae.errors import GlossaeError
from glossae.sae import Sae

FOLDER = "models--google--gemma-scope-2b-pt-res/snapshots/abc/layer_20/width_16k/average_l0_71"
CONFIG = {
    "hf_hook_point_in": "model.layers.17.output",
    "hf_hook_point_out": "model.layers.17.output",
    "width": LATENTS,
    "model_name": "google/gemma-3-1b-pt",
    "architecture": "jump_relu",
    "l0": 20,
    "affine_connection": False,
    "type": "sae",
}


def arrays():
    return weights(threshold=(LATENTS,))


def save(folder, w):
    folder.mkdir(parents=True)
    np.savez(folder / "params.npz", **w)
    return folder


def save_2(folder, config=CONFIG, **changes):
    w = {name.replace("W_", "w_"): a for name, a in arrays().items()} | changes
    if config is None:
        return write(folder, "params.safetensors", w)
    return write(folder, "params.safetensors", w, "config.json", config)


def refusal(place):
    with pytest.raises(GlossaeError) as caught:
        Sae.load(place)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("shape", [(40,), (3, 5), ()])
@pytest.mark.parametrize("lower", [True, False])
def test_gemma_2(tmp_path, lower, shape):
    w = arrays()
    named = {name.replace("W_", "w_") if lower else name: a for name, a in w.items()}
    sae = Sae.load(save(tmp_path / FOLDER, named))
    assert (sae.config.model, sae.config.site, sae.config.layer) == ("google/gemma-2-2b", "resid", 20)
    assert not sae.config.pre_encoder_bias
    x = inputs(*shape)
    agrees(sae, x, *gemma_scope(w, x))


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_precisions(tmp_path, dtype):
    w = {name: a.astype(dtype) for name, a in arrays().items()}
    x = inputs(30)
    agrees(Sae.load(save(tmp_path / "one", w)), x, *gemma_scope(w, x))


@pytest.mark.parametrize(
    ("folder", "model", "site", "layer"),
    [
        ("gemma-scope-9b-it-res/layer_9/width_16k/average_l0_1", "google/gemma-2-9b-it", "resid", 9),
        ("gemma-scope-2b-pt-mlp/layer_0/width_16k/average_l0_1", "google/gemma-2-2b", "mlp.out", 0),
        ("gemma-scope-2b-pt-att/layer_5/width_16k/average_l0_1", "google/gemma-2-2b", "", 0),
        ("layer_5/width_16k/average_l0_1", "", "", 0),
    ],
)
def test_folders_say_what_it_belongs_to(tmp_path, folder, model, site, layer):
    config = Sae.load(save(tmp_path / folder, arrays()) / "params.npz").config
    assert (config.model, config.site, config.layer) == (model, site, layer)


def test_another_name(tmp_path):
    np.savez(tmp_path / "layer20.npz", **arrays())
    assert Sae.load(tmp_path / "layer20.npz").config.latents == LATENTS


@pytest.mark.parametrize("shape", [(40,), (2, 3)])
def test_gemma_3(tmp_path, shape):
    sae = Sae.load(save_2(tmp_path / "one"))
    assert (sae.config.model, sae.config.site, sae.config.layer) == ("google/gemma-3-1b-pt", "resid", 17)
    x = inputs(*shape)
    agrees(sae, x, *gemma_scope(arrays(), x))


@pytest.mark.parametrize(
    ("hook", "site"),
    [
        ("model.layers.17.post_feedforward_layernorm.output", "mlp.out"),
        ("model.layers.17.mlp.down_proj.input", "mlp.hidden"),
        ("model.layers.17.self_attn.o_proj.input", ""),
        ("model.layers.17.mlp.output", ""),
    ],
)
def test_sites_of_gemma_3(tmp_path, hook, site):
    config = CONFIG | {"hf_hook_point_in": hook, "hf_hook_point_out": None}
    assert Sae.load(save_2(tmp_path / "one", config)).config.site == site


def test_gemma_3_without_a_config(tmp_path):
    config = Sae.load(save_2(tmp_path / "resid_post" / "layer_17", None)).config
    assert (config.model, config.site) == ("", "")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "topk"}, 'architecture is "topk"'),
        ({"affine_connection": True}, "affine_connection is true"),
        ({"apply_b_dec_to_input": True}, "apply_b_dec_to_input is true"),
        ({"type": "transcoder"}, 'type is "transcoder"'),
        ({"hf_hook_point_out": "model.layers.17.mlp.output"}, "hf_hook_point_out is"),
        ({"gain": 2}, "the key 'gain' is not known"),
    ],
)
def test_what_is_not_ours_of_gemma_3(tmp_path, changes, message):
    assert message in refusal(save_2(tmp_path / "one", CONFIG | changes))


def test_a_linear_path(tmp_path):
    skip = np.ones((D_IN, D_IN), np.float32)
    assert "affine_skip_connection" in refusal(save_2(tmp_path / "one", affine_skip_connection=skip))


@pytest.mark.parametrize(
    "folder", ["gemma-scope-2b-pt-transcoders/layer_3", "transcoder_all/layer_3", "clt/x"]
)
def test_transcoders_have_the_same_shapes(tmp_path, folder):
    assert "a transcoder" in refusal(save(tmp_path / folder, arrays()))
    assert "a transcoder" in refusal(save_2(tmp_path / "2" / folder, None))


def test_names_of_other_folders_say_nothing(tmp_path):
    config = Sae.load(save(tmp_path / "layer_3" / "faclty" / FOLDER, arrays())).config
    assert (config.site, config.layer) == ("resid", 20)
    assert Sae.load(save_2(tmp_path / "transcoder")).config.site == "resid"


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("gemma-v3-4b-it", "google/gemma-3-4b-it"),
        ("google/gemma-3-270m-pt", "google/gemma-3-270m"),
        ("google/gemma-3-12b-pt", "google/gemma-3-12b-pt"),
    ],
)
def test_names_of_gemma_3(tmp_path, said, name):
    assert Sae.load(save_2(tmp_path / "one", CONFIG | {"model_name": said})).config.model == name


def test_embeddings(tmp_path):
    folder = save(tmp_path / "gemma-scope-2b-pt-res" / "embedding" / "width_4k", arrays())
    assert "is of the embeddings" in refusal(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": None}, f"threshold should be ({LATENTS},) and is missing"),
        ({"W_dec": np.ones((LATENTS, 3, D_IN), np.float32)}, "W_dec should be"),
        ({"W_enc": np.ones(3, np.float32)}, "W_enc should be (any, any) and is (3,)"),
        ({"b_enc": np.arange(LATENTS)}, "b_enc should hold floating-point numbers"),
        ({"b_enc": np.full(LATENTS, np.nan)}, "b_enc holds values that are not finite"),
        ({"bias": np.ones(3, np.float32)}, "holds a tensor 'bias'"),
        ({"scaling_factor": np.full(LATENTS, 2.0)}, "scaling_factor is not all ones"),
        ({"b_enc": np.array([{}] * LATENTS)}, "cannot be read as NumPy arrays by name"),
        ({"b_enc": np.array(["x"] * LATENTS)}, "b_enc should hold floating-point numbers"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, changes, message):
    w = {name: a for name, a in (arrays() | changes).items() if a is not None}
    assert message in refusal(save(tmp_path / "one", w))


def test_files_that_are_none(tmp_path):
    whole = io.BytesIO()
    np.savez(whole, **arrays())
    single = io.BytesIO()
    np.save(single, arrays()["W_enc"])
    path = tmp_path / "params.npz"
    for content in (b"", b"garbage" * 50, whole.getvalue()[:-100], whole.getvalue()[:300], single.getvalue()):
        path.write_bytes(content)
        assert "cannot be read as NumPy arrays by name" in refusal(path)


def test_configs_that_are_none(tmp_path):
    folder = save_2(tmp_path / "one")
    (folder / "config.json").write_text(json.dumps([CONFIG]))
    assert "should hold a JSON object" in refusal(folder)
