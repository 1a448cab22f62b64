"""A model in a GGUF file is the model that was written into it; what is no such file is refused in one line."""

import sys

import numpy as np
import pytest
import torch

from glossae.cli import main
from glossae.errors import GlossaeError
from glossae.lm import load, locate, sentence_losses, tokenize
from glossae.plan import model_facts
from tiny_families import HIDDEN, LAYERS, WIDTH, write_family
from tiny_gguf import write_gguf


@pytest.fixture(scope="module")
def both(tmp_path_factory, tiny_tokenizer):
    """A tiny Qwen 2 as a folder, and as a GGUF file in it."""
    changes = {"head_dim": 8, "use_sliding_window": False, "tie_word_embeddings": False}
    folder = write_family(tmp_path_factory.mktemp("model"), "qwen2", tiny_tokenizer, **changes)
    return folder, write_gguf(folder / "tiny.gguf", folder, tiny_tokenizer, 320)


def test_a_gguf_file_computes_what_the_folder_does(both, tiny_corpus):
    expected, found = (load(str(path)) for path in both)
    assert (found.layers, found.widths) == (LAYERS, expected.widths)
    assert {weight.dtype for weight in found.model.parameters()} == {torch.float32}
    tokens = tokenize(found, tiny_corpus)
    for ids, same in zip(tokens.ids, tokenize(expected, tiny_corpus).ids, strict=True):
        assert ids.tolist() == same.tolist()
    losses = sentence_losses(expected, tokens)
    np.testing.assert_allclose(sentence_losses(found, tokens), losses, rtol=1e-5, atol=1e-5)


def test_a_gguf_file_is_located_and_planned_for(both, tmp_path, capsys):
    _, file = both
    assert locate(str(file)) == file
    shape = model_facts(str(file)).shape
    assert (shape.layers, shape.width, shape.mlp, shape.vocabulary) == (LAYERS, WIDTH, HIDDEN, 320)
    assert shape.weights == sum(weight.numel() for weight in load(str(file)).model.parameters())
    assert not shape.tied
    assert main(["run", "demo", "--model", str(file), "--dry-run", "--out", str(tmp_path / "out")]) == 0
    assert f"{LAYERS} layers" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def refusal(path):
    with pytest.raises(GlossaeError, match=f"^model: {path} .*$") as caught:
        load(str(path))
    return str(caught.value)


def test_what_is_no_gguf_file_or_a_part_of_one(both, tmp_path):
    content = both[1].read_bytes()
    for name, begins, words in (
        ("none.gguf", b"none", "is not a GGUF file"),
        ("cut.gguf", content[:3000], "cannot be loaded"),
        ("tiny-00001-of-00002.gguf", content, "is one part of a GGUF file"),
    ):
        (tmp_path / name).write_bytes(begins)
        assert words in refusal(tmp_path / name)


@pytest.mark.parametrize("package", ["gguf", "accelerate"])
def test_without_the_package_it_says_how_to_get_it(both, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    said = f"needs the package {package}: pip install 'glossae[gguf]' (in a checkout: pip install"
    assert said in refusal(both[1])
