"""An export means in the other library what the autoencoder means here, or it is refused and nothing is written."""

import json

import numpy as np
import pytest
import torch
from other_libraries import D_IN, LATENTS, inputs, sae_lens, sparsify
from safetensors.numpy import load_file

from glossae.errors import GlossaeError
from glossae.lm import Site
from glossae.sae import Sae, SaeConfig, hookpoint, to_sae_lens, to_sparsify


def make(**changes):
    """An autoencoder with random weights of all signs and lengths."""
    settings = {"d_in": D_IN, "latents": LATENTS, "k": 4, "model": "EleutherAI/pythia-70m@step3000"}
    sae = Sae(SaeConfig(**(settings | {"site": "mlp.hidden", "layer": 3} | changes)))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in sae.state_dict().values():
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
    return sae.requires_grad_(False)


def ours(sae, x):
    codes = sae.encode(torch.from_numpy(x))
    dense = torch.zeros(*x.shape[:-1], LATENTS).scatter_add_(-1, codes.indices, codes.values)
    return dense.numpy(), sae.decode(codes).numpy()


def same(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


SAE_LENS = [
    ({}, "topk"),
    ({"pre_encoder_bias": False}, "topk"),
    ({"tied": True}, "topk"),
    ({"matryoshka": (8, LATENTS)}, "topk"),
    ({"activation": "relu", "k": None}, "standard"),
    ({"activation": "jumprelu", "k": None}, "jumprelu"),
    ({"activation": "batchtopk"}, "jumprelu"),
    ({"activation": "batchtopk", "tied": True, "pre_encoder_bias": False}, "jumprelu"),
]


@pytest.mark.parametrize(("changes", "architecture"), SAE_LENS)
def test_to_sae_lens(tmp_path, changes, architecture):
    sae, folder = make(**changes), tmp_path / "deep" / "out"
    said = to_sae_lens(sae, folder)
    assert said == f"{folder}: SAELens, {architecture}, {LATENTS} latents, blocks.3.mlp.hook_post"
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "cfg.json",
        "sae_weights.safetensors",
    ]
    config, w = json.loads((folder / "cfg.json").read_text()), load_file(folder / "sae_weights.safetensors")
    assert (config["architecture"], config["d_in"], config["d_sae"]) == (architecture, D_IN, LATENTS)
    assert config["metadata"]["sae_lens_version"] >= "6.0.0"
    assert config["metadata"]["hook_name"] == "blocks.3.mlp.hook_post"
    assert config["metadata"]["model_name"] == "EleutherAI/pythia-70m"
    assert w["W_enc"].shape == (D_IN, LATENTS)
    assert w["W_dec"].shape == (LATENTS, D_IN)
    assert w.get("threshold", np.zeros(LATENTS)).shape == (LATENTS,)
    x = inputs(3, 11)
    same(sae_lens(config, w, x), ours(sae, x))
    back = Sae.load(folder)
    same(ours(back, x), ours(sae, x))
    assert (back.config.model, back.config.site, back.config.layer) == (sae.config.model, "mlp.hidden", 3)


@pytest.mark.parametrize(
    "changes", [{}, {"pre_encoder_bias": False}, {"tied": True}, {"matryoshka": (8, LATENTS)}]
)
def test_to_sparsify(tmp_path, changes):
    sae = make(**changes)
    folder = tmp_path / "layers.3.mlp.act"
    assert to_sparsify(sae, tmp_path, "layers.3.mlp.act") == (
        f"{folder}: sparsify, topk, {LATENTS} latents, layers.3.mlp.act"
    )
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "cfg.json", "sae.safetensors"]
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
    assert json.loads((tmp_path / "config.json").read_text()) == {
        "model": "EleutherAI/pythia-70m",
        "revision": "step3000",
    }
    x = inputs(3, 11)
    same(sparsify(w, x, 4), ours(sae, x))
    back = Sae.load(tmp_path)
    same(ours(back, x), ours(sae, x))
    assert (back.config.model, back.config.site, back.config.layer) == (sae.config.model, "mlp.hidden", 3)


def test_what_is_said_of_the_decoder(tmp_path):
    sae = make()
    sae.W_dec.div_(sae.W_dec.norm(dim=1, keepdim=True))
    to_sparsify(sae, tmp_path, "layers.3")
    assert json.loads((tmp_path / "layers.3" / "cfg.json").read_text())["normalize_decoder"]


def test_one_that_belongs_nowhere(tmp_path):
    sae = make(model="", site="", layer=0)
    assert to_sae_lens(sae, tmp_path / "a").endswith("no hook name")
    assert "hook_name" not in json.loads((tmp_path / "a" / "cfg.json").read_text())["metadata"]
    assert to_sparsify(sae, tmp_path / "b", "").endswith("no hookpoint")
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == [
        "README.md",
        "cfg.json",
        "sae.safetensors",
    ]
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
    with pytest.raises(
        GlossaeError, match=rf"^--to: which module gives {site} is not known of .* --hookpoint$"
    ):
        hookpoint(Site(site, 3), None)


# ---- what is refused


@pytest.mark.parametrize(
    ("write", "changes", "message"),
    [
        (to_sae_lens, {"relu": False}, "--to: SAELens' top-k ends in a ReLU"),
        (to_sparsify, {"relu": False}, "--to: sparsify's top-k follows a ReLU"),
        (
            to_sparsify,
            {"activation": "relu"},
            "--to: sparsify has top-k autoencoders only, and this one's .* is relu",
        ),
        (to_sparsify, {"activation": "jumprelu"}, "is jumprelu"),
        (to_sparsify, {"activation": "batchtopk"}, "is batchtopk"),
    ],
)
def test_what_the_format_has_not(tmp_path, write, changes, message):
    arguments = ("layers.3",) if write is to_sparsify else ()
    with pytest.raises(GlossaeError, match=message):
        write(make(**changes), tmp_path / "out", *arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "layers/3", ".", "layers..3", "/abs", "layers.3 "])
def test_a_hookpoint_that_is_no_module(tmp_path, name):
    with pytest.raises(GlossaeError, match="^--hookpoint: '.*' is no module's name"):
        to_sparsify(make(), tmp_path / "out", name)
    assert list(tmp_path.iterdir()) == []


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(folder, write, *arguments):
    before = contents(folder.parent)
    with pytest.raises(GlossaeError, match="^--out: ") as caught:
        write(make(), folder, *arguments)
    assert contents(folder.parent) == before
    return str(caught.value)


def test_exporting_again(tmp_path):
    to_sae_lens(make(activation="relu"), tmp_path / "a")
    to_sae_lens(make(), tmp_path / "a")
    assert Sae.load(tmp_path / "a").config.activation == "topk"
    to_sparsify(make(k=9), tmp_path / "b", "layers.3")
    to_sparsify(make(), tmp_path / "b", "layers.3")
    assert Sae.load(tmp_path / "b").config.k == 4


def test_other_hookpoints_of_the_same_model(tmp_path):
    to_sparsify(make(), tmp_path, "layers.3")
    to_sparsify(make(k=9), tmp_path, "layers.4")
    assert Sae.load(tmp_path / "layers.3").config.k == 4
    assert Sae.load(tmp_path / "layers.4").config.k == 9


def test_other_things_in_the_folder(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    assert "holds 'notes.txt', which is no part of a SAELens export" in refused(out, to_sae_lens)
    assert "holds 'notes.txt', which is no part of a sparsify export" in refused(out, to_sparsify, "layers.3")
    (out / "notes.txt").unlink()
    (out / "deep").mkdir()
    (out / "deep" / "notes.txt").write_text("mine")
    assert "holds 'deep'" in refused(out, to_sae_lens)
    assert "holds 'notes.txt'" in refused(out, to_sparsify, "layers.3")
    assert "is a file" in refused(out / "deep" / "notes.txt", to_sae_lens)


def test_exports_of_another_kind(tmp_path):
    to_sparsify(make(), tmp_path / "a" / "out", "layers.3")
    assert "holds 'config.json'" in refused(tmp_path / "a" / "out", to_sae_lens)
    to_sae_lens(make(), tmp_path / "b" / "out")
    assert "holds 'cfg.json'" in refused(tmp_path / "b" / "out", to_sparsify, "layers.3")
    assert "holds 'sae_weights.safetensors'" in refused(tmp_path / "b" / "out", to_sparsify, "")


def test_exports_of_another_model(tmp_path):
    to_sparsify(make(model="other"), tmp_path / "out", "layers.3")
    assert "holds an export from another model than" in refused(tmp_path / "out", to_sparsify, "layers.4")
    to_sparsify(make(model=""), tmp_path / "unknown", "layers.3")
    assert "holds an export from another model than" in refused(tmp_path / "unknown", to_sparsify, "layers.4")


def test_a_training_of_sparsify(tmp_path):
    to_sparsify(make(), tmp_path / "out", "layers.3")
    (tmp_path / "out" / "state.pt").write_bytes(b"x")
    assert "holds 'state.pt'" in refused(tmp_path / "out", to_sparsify, "layers.4")


def test_glossae_own_folder_has_the_same_names(tmp_path):
    make().save(tmp_path / "out" / "layers.3")
    assert "holds glossae's own autoencoder" in refused(tmp_path / "out", to_sparsify, "layers.3")
    assert "holds glossae's own autoencoder" in refused(tmp_path / "out" / "layers.3", to_sparsify, "")


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    to_sae_lens(make(activation="relu"), tmp_path / "out")
    before = contents(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(GlossaeError, match="cannot be written"):
        to_sae_lens(make(), tmp_path / "out")
    assert contents(tmp_path) == before
