"""The layers where the target is told from its nearest other language."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from glossae.corpora import Corpus, Sentence
from glossae.errors import GlossaeError
from glossae.lm import TokenizedCorpus
from glossae.probing import (
    choose_layer,
    language_layers,
    nearest_candidates,
    probe_layers,
    sample_sentences,
)
from glossae.results import NearestLayer, Separation

SENTENCES = 40
LATE = 2
# the token ids of each language
IDS = {"da": range(70, 100), "en": range(10, 40), "sv": range(100, 130)}


@pytest.fixture(scope="module")
def planted(tiny_lm):
    """A model in which English is another place from the first layer on, and Danish is told from Swedish at layer 2.

    Tokens lie on both sides of zero in one dimension, Danish and English ones further out than Swedish ones, so that no
    direction tells them apart; the MLP of layer 2 writes how far out into another dimension.
    """
    model = copy.deepcopy(tiny_lm.model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.base_model.layers.parameters():
            parameter.zero_()
        embedding = model.get_input_embeddings().weight
        embedding.copy_(0.3 * torch.randn(embedding.shape, generator=generator))
        embedding[:, 8:] = 0
        for code, ids in IDS.items():
            rows = torch.tensor(list(ids))
            embedding[rows] -= embedding[rows].mean(0)
            embedding[rows, 2] = 0
            embedding[rows, 0] = 2.0 if code == "en" else -2.0
            out = 1.0 if code == "sv" else 3.0
            embedding[rows, 1] = out * torch.where(torch.arange(len(rows)) % 2 == 0, 1.0, -1.0)
        block = model.base_model.layers[LATE]
        block.post_attention_layernorm.weight.fill_(1.0)
        block.mlp.dense_h_to_4h.weight[0, 1], block.mlp.dense_h_to_4h.weight[1, 1] = 4.0, -4.0
        block.mlp.dense_4h_to_h.weight[2, :2] = 1.0
    return dataclasses.replace(tiny_lm, model=model)


@pytest.fixture(scope="module")
def text():
    """Sentences of random tokens in three languages, of which those of one number are a pair."""
    generator = np.random.default_rng(3)
    sentences = [Sentence("", code, str(n), "planted") for n in range(SENTENCES) for code in IDS]
    return TokenizedCorpus(
        corpus=Corpus.of(sentences),
        ids=tuple(generator.choice(list(IDS[s.language]), size=generator.integers(6, 14)) for s in sentences),
        predicted_bytes=np.ones(len(sentences), dtype=np.int64),
        dropped={},
        cut={},
        prefix=0,
    )


def layers(lm, tokens, **changes):
    settings = {"site": "resid", "target": "da", "seeds": 3, "seed": 0, "budget": 300}
    return language_layers(lm, tokens, **settings | changes)


@pytest.fixture(scope="module")
def found(planted, text):
    return layers(planted, text)


def test_the_pair_alone_points_to_an_early_layer_and_the_nearest_language_to_the_late_one(
    planted, text, found
):
    sample = sample_sentences(text, ("da", "en"), 10_000, seeds=2, seed=0)
    cells = probe_layers(planted, sample, site="resid", reference="en", penalties=[], budget=300)
    assert choose_layer(cells).best == 0
    assert nearest_candidates(found) == [LATE]


def test_the_nearest_language_is_named_and_far_ones_hide_nothing(found):
    for row in found:
        assert row.score == min(row.difference.auroc, row.probe.auroc)
        for method in (row.difference, row.probe):
            assert method.by_language["en"] > 0.99
            assert method.auroc == method.by_language[method.nearest] == min(method.by_language.values())
            assert set(method.by_language) == {"en", "sv"}
    assert [row.layer for row in found] == [0, 1, 2]
    for early in found[:LATE]:
        assert early.difference.nearest == early.probe.nearest == "sv"
        assert early.score < 0.75
    assert found[LATE].score == 1.0


def test_intervals_hold_the_estimate_and_do_not_take_one_for_certain(found):
    for row in found:
        for method in (row.difference, row.probe):
            assert 0 <= method.low <= method.auroc <= method.high <= 1
            assert method.low < method.high
            assert method.se_seeds >= 0
            # of 40 sentences half are held out
            assert method.se >= 1 / (SENTENCES / 2 + 2)
    perfect = found[LATE].difference
    assert perfect.low == pytest.approx(0.025 ** (1 / (SENTENCES / 2)))
    assert perfect.se == pytest.approx(1 / (SENTENCES / 2 + 2))


def test_a_seed_decides_everything(planted, text, found):
    assert layers(planted, text) == found
    assert layers(planted, text, seed=1) != found
    # batches differ in padding, which moves sums by a rounding
    again = layers(planted, text, budget=100)
    for one, other in zip(again, found, strict=True):
        assert one.difference.auroc == pytest.approx(other.difference.auroc, abs=0.01)
    # one has no spread between seeds
    assert all(row.difference.se_seeds is None for row in layers(planted, text, seeds=1))


def test_shuffled_languages_are_told_apart_at_no_layer(planted, text):
    generator = np.random.default_rng(5)
    codes = generator.permutation([sentence.language for sentence in text.corpus.sentences])
    renamed = Corpus.of(
        sentence._replace(language=str(code), pair=str(number))
        for number, (sentence, code) in enumerate(zip(text.corpus.sentences, codes, strict=True))
    )
    for row in layers(planted, dataclasses.replace(text, corpus=renamed)):
        assert row.score < 0.7


def test_too_little_text_is_refused(planted, text):
    with pytest.raises(GlossaeError, match="9 sentences of 'da' are too few"):
        layers(planted, text.take(range(27)))
    only = [n for n, sentence in enumerate(text.corpus.sentences) if sentence.language == "da"]
    with pytest.raises(GlossaeError, match="no language besides 'da'"):
        layers(planted, text.take(only))


# ---- candidates


def row(layer, auroc, other=1.0, se=0.02):
    facts = {"nearest": "sv", "se": se, "se_seeds": None, "low": 0.0, "high": 1.0}
    first, second = (Separation(auroc=each, by_language={"sv": each}, **facts) for each in (auroc, other))
    return NearestLayer(layer=layer, difference=first, probe=second, score=min(auroc, other), se=se)


def test_candidates_are_within_one_standard_error_of_the_best():
    rows = [row(0, 0.7), row(1, 0.90), row(2, 0.89), row(3, 0.87), row(4, 0.885, other=0.5)]
    assert nearest_candidates(rows) == [1, 2]


def test_of_many_candidates_those_are_kept_that_spread_over_the_depth():
    rows = [row(layer, 0.95) for layer in range(12)]
    rows[9] = row(9, 0.96)
    assert nearest_candidates(rows) == [0, 5, 9, 11]
