"""Matched sentences are tokenised alike, nobody is used twice, and balance is said before and after."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glossae.errors import GlossaeError
from glossae.find import match_tokenisation, tokenisation
from glossae.lm import TokenizedCorpus
from glossae.text import Corpus, Sentence


def text_of(seed, danish, english, shift=0.5):
    """Sentences of ten words and random numbers of tokens; Danish ones have more, by `shift` a word."""
    generator = np.random.default_rng(seed)
    languages = ["da"] * danish + ["en"] * english
    lengths = generator.integers(10, 25, size=len(languages))
    lengths[:danish] += int(10 * shift)
    sentences = [
        Sentence(" ".join(["ord"] * 10), language, f"pair {i}", "made.tsv")
        for i, language in enumerate(languages)
    ]
    return TokenizedCorpus(
        corpus=Corpus.of(sentences),
        ids=tuple(np.arange(length) for length in lengths),
        predicted_bytes=(lengths - 1) * 3 + generator.integers(0, 9, size=len(lengths)),
        dropped={},
        cut={},
        prefix=0,
    )


def test_covariates_are_counted(tiny_tokens):
    values = tokenisation(tiny_tokens)
    for number in (0, 5, 40):
        text = tiny_tokens.corpus.sentences[number].text
        assert values[number, 0] == len(tiny_tokens.ids[number]) / len(text.split())
        first = len(text.encode()) - tiny_tokens.predicted_bytes[number]
        assert first > 0
        assert values[number, 1] == (len(text.encode()) - first) / (len(tiny_tokens.ids[number]) - 1)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(2, 30), st.sampled_from([0.1, 0.5, 2.0]))
def test_partners_lie_within_the_caliper_and_are_used_once(seed, danish, english, caliper):
    tokens = text_of(seed, danish, english)
    values = tokenisation(tokens)
    unit = np.sqrt((values[:danish].var(0, ddof=1) + values[danish:].var(0, ddof=1)) / 2)
    between = np.abs(values[:danish, None] - values[danish:])
    if not (between <= caliper * unit).all(2).any():
        with pytest.raises(GlossaeError, match="widen the caliper"):
            match_tokenisation(tokens, "da", "en", caliper=caliper, seed=1)
        return
    found = match_tokenisation(tokens, "da", "en", caliper=caliper, seed=1)
    assert len(set(found.first)) == len(set(found.second)) == len(found) <= min(danish, english)
    assert (found.first < danish).all()
    assert (found.second >= danish).all()
    apart = np.abs(values[found.first] - values[found.second])
    assert (apart <= caliper * unit + 1e-9).all()
    assert max(abs(v) for v in found.after.values()) <= caliper + 1e-9
    assert found.rows.tolist() == sorted([*found.first.tolist(), *found.second.tolist()])


def test_matching_removes_the_difference_it_reports():
    found = match_tokenisation(text_of(0, 300, 400), "da", "en")
    assert found.before["tokens_per_word"] > 0.8
    assert abs(found.after["tokens_per_word"]) < 0.1
    assert abs(found.after["bytes_per_token"]) < 0.1
    assert len(found) > 100
    assert found.found == (300, 400)


def test_nobody_left_over_on_both_sides_could_have_been_matched():
    tokens = text_of(3, 80, 60)
    found = match_tokenisation(tokens, "da", "en", caliper=0.3)
    values = tokenisation(tokens)
    unit = np.sqrt((values[:80].var(0, ddof=1) + values[80:].var(0, ddof=1)) / 2)
    left = np.setdiff1d(np.arange(80), found.first), np.setdiff1d(np.arange(80, 140), found.second)
    apart = np.abs(values[left[0]][:, None] - values[left[1]]) / unit
    assert not (apart <= 0.3 - 1e-9).all(2).any()


def test_the_order_of_the_corpus_and_of_the_languages_changes_nothing():
    tokens = text_of(4, 50, 70)
    order = np.random.default_rng(0).permutation(120)
    first = match_tokenisation(tokens, "da", "en", seed=2)
    mixed = match_tokenisation(tokens.take(order), "da", "en", seed=2)
    turned = match_tokenisation(tokens, "en", "da", seed=2)
    pairs = set(zip(first.first.tolist(), first.second.tolist(), strict=True))
    assert set(zip(order[mixed.first].tolist(), order[mixed.second].tolist(), strict=True)) == pairs
    assert set(zip(turned.second.tolist(), turned.first.tolist(), strict=True)) == pairs
    assert turned.before["tokens_per_word"] == pytest.approx(-first.before["tokens_per_word"])


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"first": "da", "second": "da"}, "two languages"),
        ({"first": "da", "second": "sv"}, "0 sentences in sv"),
        ({"first": "da", "second": "en", "caliper": 0.0}, "above 0"),
    ],
)
def test_what_cannot_be_matched_is_refused(settings, match):
    with pytest.raises(GlossaeError, match=match):
        match_tokenisation(text_of(0, 5, 5), **settings)


def test_languages_that_never_meet_are_refused():
    with pytest.raises(GlossaeError, match="widen the caliper"):
        match_tokenisation(text_of(0, 20, 20, shift=20), "da", "en")
