"""An export means in the other library what the SAE means here, or it is refused and nothing is written."""

import json
import shutil

import numpy as np
import pytest
import torch
from other_libraries import D_IN, LATENTS, above, computed, dense, inputs, relu, relu_top_k, same
from safetensors.numpy import load_file

from glossae.errors import GlossaeError
from glossae.lm import Site
from glossae.sae import Sae, SaeConfig, hookpoint, to_sae_lens, to_sparsify

PYTHIA = {"model": "EleutherAI/pythia-70m", "revision": "step3000"}
FILES = ["README.md", "cfg.json", "sae.safetensors"]


def make(**changes):
    """An SAE with random weights of all signs and lengths."""
    settings = {"d_in": D_IN, "latents": LATENTS, "k": 4, "model": "EleutherAI/pythia-70m@step3000"}
    sae = Sae(SaeConfig(**(settings | {"site": "mlp.hidden", "layer": 3} | changes)))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in sae.state_dict().values():
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
    return sae.requires_grad_(False)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def comes_back(sae, place):
    back, x = Sae.load(place), inputs(3, 11)
    same(dense(back, x), dense(sae, x))
    assert (back.config.model, back.config.site, back.config.layer) == (sae.config.model, "mlp.hidden", 3)


@pytest.mark.parametrize(
    ("changes", "architecture"),
    [
        ({}, "topk"),
        ({"pre_encoder_bias": False}, "topk"),
        ({"tied": True, "matryoshka": (8, LATENTS)}, "topk"),
        ({"activation": "relu", "k": None}, "standard"),
        ({"activation": "jumprelu", "k": None}, "jumprelu"),
        ({"activation": "batchtopk"}, "jumprelu"),
        ({"activation": "batchtopk", "tied": True, "pre_encoder_bias": False}, "jumprelu"),
    ],
)
def test_to_sae_lens(tmp_path, changes, architecture):
    sae, folder = make(**changes), tmp_path / "deep" / "out"
    said = to_sae_lens(sae, folder)
    assert said == f"{folder}: SAELens, {architecture}, {LATENTS} latents, blocks.3.mlp.hook_post"
    assert names(folder) == ["README.md", "cfg.json", "glossae.json", "sae_weights.safetensors"]
    config, w = json.loads((folder / "cfg.json").read_text()), load_file(folder / "sae_weights.safetensors")
    assert (config["architecture"], config["d_in"], config["d_sae"]) == (architecture, D_IN, LATENTS)
    metadata = config["metadata"]
    assert metadata["sae_lens_version"] >= "6.0.0"
    assert metadata["hook_name"] == "blocks.3.mlp.hook_post"
    assert (metadata["model_name"], metadata["model_revision"]) == tuple(PYTHIA.values())
    assert w.get("threshold", np.zeros(LATENTS)).shape == (LATENTS,)
    x, act = inputs(3, 11), {"topk": relu_top_k, "standard": relu}.get(architecture)
    same(computed(act or above(w["threshold"]), x, w, subtract=config["apply_b_dec_to_input"]), dense(sae, x))
    comes_back(sae, folder)
    # without the file of glossae's own, SAELens' two say the same of what it computes
    assert Sae.load(folder).config == sae.config
    (folder / "glossae.json").unlink()
    comes_back(sae, folder)


def test_facts_of_other_weights_are_refused(tmp_path):
    to_sae_lens(make(), tmp_path / "a")
    to_sae_lens(make(layer=2), tmp_path / "b")
    shutil.copy(tmp_path / "a" / "glossae.json", tmp_path / "b")
    with pytest.raises(
        GlossaeError, match=r"b/glossae.json: describes another cfg.json .* delete glossae.json"
    ):
        Sae.load(tmp_path / "b")


@pytest.mark.parametrize(
    "changes", [{}, {"pre_encoder_bias": False}, {"tied": True, "matryoshka": (8, LATENTS)}]
)
def test_to_sparsify(tmp_path, changes):
    sae, folder = make(**changes), tmp_path / "layers.3.mlp.act"
    assert to_sparsify(sae, tmp_path, folder.name) == (
        f"{folder}: sparsify, topk, {LATENTS} latents, layers.3.mlp.act"
    )
    assert names(folder) == FILES
    config, w = json.loads((folder / "cfg.json").read_text()), load_file(folder / "sae.safetensors")
    assert config == {
        "activation": "topk",
        "expansion_factor": 3,
        "normalize_decoder": False,
        "num_latents": LATENTS,
        "k": 4,
        "multi_topk": False,
        "skip_connection": False,
        "transcode": False,
        "d_in": D_IN,
    }
    assert json.loads((tmp_path / "config.json").read_text()) == PYTHIA
    x, w = inputs(3, 11), w | {"W_enc": w["encoder.weight"].T, "b_enc": w["encoder.bias"]}
    same(computed(relu_top_k, x, w), dense(sae, x))
    comes_back(sae, tmp_path)
    # other hookpoints of the same model, and rows of length 1
    sae = make(k=9)
    sae.W_dec.div_(sae.W_dec.norm(dim=1, keepdim=True))
    to_sparsify(sae, tmp_path, "layers.3")
    assert json.loads((tmp_path / "layers.3" / "cfg.json").read_text())["normalize_decoder"]
    assert [Sae.load(tmp_path / name).config.k for name in ("layers.3", folder.name)] == [9, 4]


def test_one_that_belongs_nowhere(tmp_path):
    sae = make(model="", site="", layer=0)
    assert to_sae_lens(sae, tmp_path / "a").endswith("no hook name")
    assert "hook_name" not in json.loads((tmp_path / "a" / "cfg.json").read_text())["metadata"]
    assert to_sparsify(sae, tmp_path / "b", "").endswith("no hookpoint")
    assert names(tmp_path / "b") == FILES
    assert Sae.load(tmp_path / "a").config == Sae.load(tmp_path / "b").config == sae.config


@pytest.mark.parametrize(
    ("site", "family", "module"),
    [
        (Site("resid", 3), "gpt_neox", "layers.3"),
        (Site("mlp.out", 3), "gpt_neox", "layers.3.mlp"),
        (Site("mlp.hidden", 3), "gpt_neox", "layers.3.mlp.act"),
        (Site("attn.out", 3), "gpt_neox", "layers.3.attention.dense"),
        (Site("resid", 0), None, "layers.0"),
        (Site("mlp.out", 3), "not_known", "layers.3.mlp"),
    ],
)
def test_hookpoints(site, family, module):
    assert hookpoint(site, family) == module


@pytest.mark.parametrize("site", ["mlp.hidden", "attn.out"])
def test_a_hookpoint_that_depends_on_the_model(site):
    with pytest.raises(GlossaeError, match=rf"^--to: which module gives {site} is not known .* --hookpoint$"):
        hookpoint(Site(site, 3), None)


# ---- what is refused


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(folder, write, *arguments, **changes):
    before = contents(folder.parent)
    with pytest.raises(GlossaeError) as caught:
        write(make(**changes), folder, *arguments)
    assert contents(folder.parent) == before
    return str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "changes", "message"),
    [
        ((to_sae_lens,), {"relu": False}, "--to: SAELens' top-k ends in a ReLU"),
        ((to_sparsify, "layers.3"), {"relu": False}, "--to: sparsify's top-k follows a ReLU"),
        (
            (to_sparsify, "layers.3"),
            {"activation": "relu"},
            "--to: sparsify has top-k autoencoders only, and this one's activation is relu",
        ),
        *(
            ((to_sparsify, name), {}, f"--hookpoint: '{name}' is no module's name")
            for name in ("../x", "layers/3", ".", "layers..3", "/abs", "layers.3 ")
        ),
    ],
)
def test_what_the_format_has_not(tmp_path, arguments, changes, message):
    assert refused(tmp_path / "out", *arguments, **changes).startswith(message)
    assert not (tmp_path / "out").exists()


def test_exporting_again_replaces_the_export(tmp_path):
    to_sae_lens(make(activation="relu"), tmp_path / "a")
    to_sae_lens(make(), tmp_path / "a")
    assert Sae.load(tmp_path / "a").config.activation == "topk"
    to_sparsify(make(k=9), tmp_path / "b", "layers.3")
    to_sparsify(make(), tmp_path / "b", "layers.3")
    assert Sae.load(tmp_path / "b").config.k == 4


def test_folders_that_are_not_free(tmp_path):
    out = tmp_path / "out"
    (out / "deep").mkdir(parents=True)
    (out / "notes.txt").write_text("mine")
    assert "holds 'notes.txt', which is no part of a sparsify export" in refused(out, to_sparsify, "layers.3")
    (out / "notes.txt").rename(out / "deep" / "notes.txt")
    assert "holds 'deep', which is no part of a SAELens export" in refused(out, to_sae_lens)
    assert "holds 'notes.txt'" in refused(out, to_sparsify, "layers.3")
    assert "is a file" in refused(out / "deep" / "notes.txt", to_sae_lens)
    # exports of another kind, or from another model
    to_sparsify(make(), tmp_path / "a" / "out", "layers.3")
    assert "holds 'config.json'" in refused(tmp_path / "a" / "out", to_sae_lens)
    (tmp_path / "a" / "out" / "state.pt").write_bytes(b"x")
    assert "holds 'state.pt'" in refused(tmp_path / "a" / "out", to_sparsify, "layers.4")
    to_sae_lens(make(), tmp_path / "b" / "out")
    assert "holds 'cfg.json'" in refused(tmp_path / "b" / "out", to_sparsify, "layers.3")
    assert "holds 'glossae.json'" in refused(tmp_path / "b" / "out", to_sparsify, "")
    for model in ("other", ""):
        to_sparsify(make(model=model), tmp_path / f"of {model}", "layers.3")
        said = refused(tmp_path / f"of {model}", to_sparsify, "layers.4")
        assert "holds an export from another model than 'EleutherAI/pythia-70m@step3000'" in said
    # glossae's own folder has the same names
    make().save(tmp_path / "own" / "layers.3")
    for folder, module in ((tmp_path / "own", "layers.3"), (tmp_path / "own" / "layers.3", "")):
        assert "holds glossae's own autoencoder" in refused(folder, to_sparsify, module)


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    to_sae_lens(make(activation="relu"), tmp_path / "out")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("glossae.sae.formats.writing.save_tensors", full)
    assert "cannot be written" in refused(tmp_path / "out", to_sae_lens)
