"""What is shipped as the toy: text as the grammar writes it, and a model that was trained on such text."""

import random
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import make_toy
from glossae.errors import GlossaeError
from glossae.toy import LANGUAGES, toy_corpus, toy_model, toy_rows
from toy_grammar import sentences
from toy_grammar.settings import ModelSettings
from toy_grammar.training import train

TINY = ModelSettings(steps=6, batch=16, hidden=32, layers=2, heads=2, intermediate=64, vocabulary=300)


def trained(folder, settings=TINY, progress=None):
    folder.mkdir()
    train(settings, folder, progress)
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def loss(folder):
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    total = 0.0
    with torch.no_grad():
        for texts in sentences(20, 1):
            ids = torch.tensor([tokenizer(texts["en"]).input_ids])
            total += model(ids, labels=ids).loss.item() * (ids.shape[1] - 1)
    return total


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("made") / "model")


@pytest.mark.parametrize("name", ["sentences", "sentiment", "acceptability"])
def test_the_shipped_text_is_the_grammars(name):
    assert (make_toy.DATA / f"{name}.tsv").read_text(encoding="utf-8") == make_toy.tables()[name]


def test_the_shipped_model_is_a_plain_hugging_face_model_that_reads_toy_text(tiny):
    folder = toy_model()
    assert set(contents(folder)) == set(contents(tiny))
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.float32
    assert model.config.model_type == "gpt_neox"
    assert not model.config.tie_word_embeddings
    assert model.config.use_parallel_residual
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id, model.config.eos_token_id) == (0, 1, 0)
    text = "Drengen åd et æble, ß 漢字"
    ids = tokenizer(text).input_ids
    assert 0 not in ids
    assert tokenizer.decode(ids) == text
    assert loss(folder) < 0.5 * loss(tiny)


def test_same_seed_same_weights_whatever_the_caller_set(tiny, tmp_path):
    threads = torch.get_num_threads()
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    shares = []
    try:
        torch.set_num_threads(3)
        again = trained(tmp_path / "again", progress=shares.append)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    assert contents(again) == contents(tiny)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert shares == [pytest.approx((i + 1) / TINY.steps) for i in range(TINY.steps)]


def test_training_lowers_the_loss(tmp_path, tiny):
    assert loss(trained(tmp_path / "longer", replace(TINY, steps=40))) < 0.9 * loss(tiny)


def test_a_corpus_is_aligned_and_its_seed_is_that_of_the_order():
    made = toy_corpus(["en", "da"])
    assert [(s.language, s.pair) for s in made.sentences[:3]] == [
        ("en", "toy:0"),
        ("da", "toy:0"),
        ("en", "toy:1"),
    ]
    assert len(made.sentences) == 2 * make_toy.TEXTS
    other = toy_corpus(["en", "da"], seed=1)
    assert other.sha256 == toy_corpus(["en", "da"], seed=1).sha256 != made.sha256
    pairs = [
        {(s.text, t.text) for s, t in zip(c.sentences[::2], c.sentences[1::2], strict=True)}
        for c in (made, other)
    ]
    assert pairs[0] == pairs[1]


@pytest.mark.parametrize("name", ["sentiment", "acceptability"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_labelled_rows_keep_their_pairs_together(name, language):
    seed = random.Random(language).randrange(1, 100)
    for rows in (toy_rows(name, language), toy_rows(name, language, seed)):
        assert (len(rows["train"]), len(rows["test"])) == (1200, 800)
        assert not {row.pair for row in rows["train"]} & {row.pair for row in rows["test"]}
    assert toy_rows(name, language, seed) != toy_rows(name, language)


def test_what_the_toy_does_not_have():
    with pytest.raises(GlossaeError, match="no language 'fi'"):
        toy_corpus(["da", "fi"])
    with pytest.raises(GlossaeError, match="no language 'fi'"):
        toy_rows("sentiment", "fi")
    with pytest.raises(GlossaeError, match="no labelled set of the toy; there are acceptability, sentiment"):
        toy_rows("irony", "da")
