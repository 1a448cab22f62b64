"""Activations that are not finite are found where they arise, and the sentence is named."""

import shutil

import pytest
from safetensors.torch import load_file, save_file

from glossae.errors import GlossaeError
from glossae.lm import Site, activations, batches, finite, load, tokenize


@pytest.fixture
def overflowing(tiny_model, tmp_path, tiny_tokenizer):
    """The tiny model, finite itself, with a token whose embedding is too large for a norm."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    token = tiny_tokenizer("Pigen på øen", add_special_tokens=False)["input_ids"][0]
    tensors = load_file(folder / "model.safetensors")
    tensors["gpt_neox.embed_in.weight"][token] = 3e38
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return load(str(folder))


def passed_on(lm, corpus, site):
    tokens = tokenize(lm, corpus)
    return list(finite(lm, activations(lm, batches(tokens, 64), [site]), tokens))


def test_the_sentence_and_the_site_are_named(overflowing, tiny_corpus):
    with pytest.raises(
        GlossaeError, match=r"^model: .*resid of layer 1 is NaN or infinite at token \d+"
    ) as caught:
        passed_on(overflowing, tiny_corpus, Site("resid", 1))
    message = str(caught.value)
    assert "Pigen på øen" in message
    assert "tiny.tsv" in message
    assert "\n" not in message


def test_what_is_finite_is_passed_on(tiny_lm, tiny_corpus):
    parts = passed_on(tiny_lm, tiny_corpus, Site("resid", 1))
    assert sum(len(part.sentence) for part in parts) == int(tokenize(tiny_lm, tiny_corpus).lengths.sum())
