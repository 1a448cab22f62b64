"""An exported knob is the vector that the knob adds to the residual stream; what is no such vector is refused."""

import base64
import dataclasses
import json
import sys

import numpy as np
import pytest
import torch

from effects_sae import random_sae
from glossae.cli import main
from glossae.effects import Edit, Knob, UnitSet, export_knob, residual_vector
from glossae.errors import GlossaeError
from glossae.lm import NormRange, Site, edit
from glossae.units import Directions, Neurons
from tiny_families import WIDTH, load_family


def knob_at(lm, site, operation="add", **options):
    """Two directions of random components at a site, at dose 3."""
    width = lm.width(site)
    rows = torch.randn(2, width, generator=torch.Generator().manual_seed(5))
    units = Directions(["a", "b"], rows, torch.ones(2), site=site)
    low, high = (0.25, -0.5), (2.0, 1.5)
    family = UnitSet("means", units, (0, 1), operation, low, high, **options)
    return Knob.of(lm, site, family, dose=3.0, target="da", reference="en")


@torch.no_grad()
def logits(lm, ids=((5, 9, 200, 17, 33), (4, 4, 100, 50, 60))):
    ids = torch.tensor(ids)
    return lm.model(ids, attention_mask=torch.ones_like(ids)).logits


# the sites whose change is no vector after the block: a norm follows, or the block's MLP reads the attention
NONE_AT = {
    "gpt_neox": (),
    "gpt_neox, sequential": ("attn.out",),
    "phi": (),
    "gpt2": ("attn.out",),
    "llama": ("attn.out",),
    "gemma2": ("attn.out", "mlp.hidden"),
    "opt, post-norm": ("attn.out", "mlp.out", "mlp.hidden"),
}


@pytest.mark.parametrize("family", NONE_AT)
def test_the_vector_after_the_block_does_what_the_knob_does(tmp_path, tiny_tokenizer, family):
    lm = load_family(tmp_path, family, tiny_tokenizer)
    for name in lm.architecture.places:
        knob = knob_at(lm, Site(name, 1))
        if name in NONE_AT[family]:
            with pytest.raises(
                GlossaeError, match=f"knob: what it adds at {name} of layer 1 of .* is no vector"
            ):
                residual_vector(knob, lm)
            continue
        vector = residual_vector(knob, lm)
        assert vector.shape == (WIDTH,)
        with knob.on(lm):
            expected = logits(lm)
        with edit(lm, Site("resid", 1), lambda x, by=vector: x + by.to(x)):
            torch.testing.assert_close(logits(lm), expected, rtol=1e-4, atol=1e-4)
        assert (logits(lm) - expected).abs().max() > 0.01


def read_back(path):
    """Layer, vector and strings of a control vector."""
    gguf = pytest.importorskip("gguf")
    reader = gguf.GGUFReader(path)
    (tensor,) = reader.tensors
    word, layer = tensor.name.split(".")
    assert word == "direction"
    assert tensor.tensor_type == gguf.GGMLQuantizationType.F32
    names = ("general.architecture", "controlvector.model_hint", "controlvector.layer_count")
    return int(layer), np.array(tensor.data), [reader.get_field(name).contents() for name in names]


def test_the_command_writes_what_the_libraries_read(tiny_lm, tiny_model, tmp_path, capsys):
    file, sae = tmp_path / "knob.safetensors", random_sae()
    family = UnitSet("latents", sae, (30, 2), "add", (0.25, -0.5), (2.0, 1.5))
    site = Site("mlp.hidden", 1)
    knob = Knob.of(tiny_lm, site, family, dose=3.0, target="da", reference="en")
    knob.save(file)
    amounts = torch.tensor([2 * 1.75, 2 * 2.0])
    weight = tiny_lm.blocks[1].mlp.dense_4h_to_h.weight
    expected = (weight @ (amounts @ sae.W_dec[[30, 2]])).numpy()
    line = ["knob", "export", file, "--dose", "2", "--model", tiny_model, "--out"]
    for form in ("gguf", "vllm"):
        out = tmp_path / f"out.{form}"
        assert main([*map(str, line), str(out), "--to", form]) == 0
        told = capsys.readouterr().out
        assert told == f"{out}: after layer 1 of tiny, dose 2, hash {knob.hash[:12]}\n"
        if form == "gguf":
            layer, vector, strings = read_back(out)
            assert strings == ["controlvector", "gpt_neox", 1]
        else:
            (steering,) = json.loads(out.read_text())
            ((layer,), tensor) = steering["layer_indices"], steering["activations"]
            (vector,) = np.frombuffer(base64.b64decode(tensor["data"]), tensor["dtype"]).reshape(
                tensor["shape"]
            )
            assert (steering["scale"], steering["norm_match"]) == (1.0, False)
        assert layer == 1
        assert vector.dtype == np.float32
        np.testing.assert_allclose(vector, expected, rtol=1e-5, atol=1e-6)


def test_at_the_residual_stream_the_model_is_not_needed(tiny_lm, tmp_path):
    knob = knob_at(tiny_lm, Site("resid", 2))
    layer, vector, strings = read_back(export_knob(knob, tmp_path / "out.gguf", "gguf"))
    (change,) = knob.family.compiled([3.0])
    assert (layer, strings[1]) == (2, "tiny")
    np.testing.assert_allclose(vector, change(torch.zeros(1, WIDTH))[0], rtol=1e-6)


REFUSED = {
    "set": (
        {"operation": "set"},
        "knob: 'set' changes each token by what it reads there, .* save the units with --operation add",
    ),
    "not the first": (
        {"positions": "not_first"},
        "knob: it leaves tokens that are not 'not_first' alone, and vllm-lens adds its vector to every token",
    ),
    "layer 0": ({"site": Site("resid", 0)}, "knob: it is in layer 0, and llama.cpp adds no vector"),
    "no model": (
        {"site": Site("mlp.out", 1)},
        r"knob: what it adds after mlp.out of layer 1 depends on the model: name it \(--model\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_vector_for_every_token_is_refused(tiny_lm, tmp_path, case):
    options, words = REFUSED[case]
    knob = knob_at(tiny_lm, **({"site": Site("resid", 1)} | options))
    with pytest.raises(GlossaeError, match=words):
        export_knob(knob, tmp_path / "out", "gguf" if case == "layer 0" else "vllm")
    assert not any(tmp_path.iterdir())


def test_a_knob_that_leaves_tokens_alone_is_exported_when_told(tiny_lm, tmp_path):
    knob = knob_at(tiny_lm, Site("resid", 1))
    left = dataclasses.replace(knob, bos=True, chat=(1, 2), sinks=NormRange(0.0, 9.0))
    words = (
        "knob: it leaves the BOS and what precedes the reply and attention sinks alone, and llama.cpp adds"
    )
    with pytest.raises(GlossaeError, match=words):
        export_knob(left, tmp_path / "out", "gguf")
    _, vector, _ = read_back(export_knob(left, tmp_path / "out", "gguf", everywhere=True))
    np.testing.assert_array_equal(vector, read_back(export_knob(knob, tmp_path / "out", "gguf"))[1])


def test_a_dose_of_nothing_another_model_and_a_missing_package(
    tiny_lm, tiny_tokenizer, tmp_path, monkeypatch
):
    knob = knob_at(tiny_lm, Site("resid", 1))
    with pytest.raises(GlossaeError, match="knob: at dose 0 it adds nothing"):
        export_knob(knob.turned(0), tmp_path / "out", "vllm")
    other = load_family(tmp_path / "other", "llama", tiny_tokenizer)
    with pytest.raises(GlossaeError, match="knob: it is of tiny, and other has other weights"):
        export_knob(knob, tmp_path / "out", "vllm", lm=other)
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(GlossaeError, match=r"needs the package gguf: pip install 'glossae\[gguf\]'"):
        export_knob(knob, tmp_path / "out", "gguf")


def test_neurons_are_a_vector_too(tiny_lm):
    site = Site("resid", 1)
    family = UnitSet(
        "neurons", Neurons(site, WIDTH, signed=True), (3, WIDTH + 4), "add", (0.0, 0.0), (1.0, 2.0)
    )
    knob = Knob.of(tiny_lm, site, family, dose=1.5, target="da", reference="en")
    expected = torch.zeros(WIDTH, dtype=torch.float64)
    expected[3], expected[4] = 1.5, -3.0
    torch.testing.assert_close(residual_vector(knob), expected)
    assert isinstance(family.edit(1.5), Edit)


def test_only_an_export_of_the_same_kind_is_replaced(tiny_lm, tmp_path, capsys):
    pytest.importorskip("gguf")
    file = knob_at(tiny_lm, Site("resid", 1)).save(tmp_path / "knob.safetensors")
    other = {"gguf": tmp_path / "vector.json", "vllm": tmp_path / "vector.gguf"}
    model, run = tmp_path / "model.gguf", tmp_path / "run.json"
    model.write_bytes(b"GGUF" + 99 * b"\0")
    run.write_text("[1]")
    kinds = {"gguf": "control vector", "vllm": "steering vector"}
    for form, own in (("gguf", other["vllm"]), ("vllm", other["gguf"])):
        line = ["knob", "export", str(file), "--to", form, "--out"]
        # a second time with another dose
        for dose in ("1", "2"):
            before = own.read_bytes() if own.exists() else b""
            assert main([*line, str(own), "--dose", dose]) == 0
            assert own.read_bytes() != before
    for form in kinds:
        line = ["knob", "export", str(file), "--to", form, "--out"]
        for out in (model, run, other[form], tmp_path):
            before = out.read_bytes() if out.is_file() else None
            capsys.readouterr()
            assert main([*line, str(out)]) == 2
            told = capsys.readouterr().err
            assert told == f"glossae: --out: {out} exists and is no {kinds[form]}: give another name\n"
            with pytest.raises(GlossaeError, match=f"exists and is no {kinds[form]}"):
                export_knob(Knob.load(file), out, form)
            assert before is None or out.read_bytes() == before
        assert main([*line, str(file)]) == 2
        assert capsys.readouterr().err == f"glossae: --out: {file} is what is read: give another name\n"
    Knob.load(file)
