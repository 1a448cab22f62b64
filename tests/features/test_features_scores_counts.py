"""Scores that come from counts of tokens: by hand, and whatever the counts are."""

import numpy as np
import pytest
import torch
from features_sae import SITE, random_sae
from hypothesis import given, settings
from hypothesis import strategies as st
from score_tables import table_of, token_counts

from glossae.errors import GlossaeError
from glossae.find import (
    TokenCounts,
    histogram_overlap,
    mean_difference,
    passes_paper_rule,
    rate_difference,
    sae_lape,
    select,
    sentence_firing,
)
from glossae.find.scores import entropy, lape
from glossae.units import latent_statistics

TOKENS = np.array([100, 200, 50])
FIRED = np.array([[60, 10, 0, 50], [20, 20, 0, 100], [1, 5, 0, 25]])


# ---- rates and means


def test_the_closest_language_is_taken_off():
    found = rate_difference(fired=FIRED, tokens=TOKENS, target=0)
    np.testing.assert_allclose(found, [0.6 - 0.1, 0.1 - 0.1, 0, 0])
    found = rate_difference(fired=FIRED, tokens=TOKENS, target=2)
    np.testing.assert_allclose(found, [0.02 - 0.6, 0.1 - 0.1, 0, 0], atol=1e-15)


def test_nu_takes_every_other_language_the_same():
    sums = np.array([[50.0, -10], [200, 0], [100, 5]])
    found = mean_difference(sums=sums, tokens=TOKENS, target=0)
    np.testing.assert_allclose(found, [0.5 - (1 + 2) / 2, -0.1 - (0 + 0.1) / 2])


@settings(max_examples=40, deadline=None)
@given(token_counts())
def test_two_languages_are_against_each_other(counts):
    tokens, histogram, _ = counts
    fired = histogram.sum(2)[:2]
    one, other = (rate_difference(fired=fired, tokens=tokens[:2], target=i) for i in (0, 1))
    np.testing.assert_allclose(one, -other)
    sums = histogram[:2] @ np.arange(5.0)
    one, other = (mean_difference(sums=sums, tokens=tokens[:2], target=i) for i in (0, 1))
    np.testing.assert_allclose(one, -other)


@settings(max_examples=40, deadline=None)
@given(token_counts())
def test_the_rule_is_the_one_of_select(counts):
    tokens, histogram, _ = counts
    fired = histogram.sum(2)
    passing = passes_paper_rule(fired=fired, tokens=tokens, target=0, min_target=0.3, max_reference=0.2)
    rate = fired / tokens[:, None]
    for unit, passes in enumerate(passing):
        assert passes == (rate[0, unit] > 0.3 and max(rate[1:, unit]) < 0.2)


def test_counts_of_latents_are_taken_over(tiny_lm, tiny_tokens):
    statistics = latent_statistics(tiny_lm, SITE, random_sae(), tiny_tokens)
    counts = TokenCounts.of(statistics)
    row = counts.row("da")
    found = rate_difference(fired=counts.fired, tokens=counts.tokens, target=row)
    np.testing.assert_allclose(found, statistics.rate("da") - statistics.rate("en"))
    nu = mean_difference(sums=counts.sums, tokens=counts.tokens, target=row)
    np.testing.assert_allclose(nu, statistics.mean_value("da") - statistics.mean_value("en"))
    thresholds = {"min_target": 0.14, "max_reference": 0.1}
    passing = passes_paper_rule(fired=counts.fired, tokens=counts.tokens, target=row, **thresholds)
    chosen = select(statistics, "da", "en", **thresholds)
    assert chosen.rule == "paper"
    assert sorted(chosen.units) == np.flatnonzero(passing).tolist()


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(GlossaeError, match=r"^scores: language 1 of the counts has no tokens$"):
        rate_difference(fired=FIRED[:2], tokens=np.array([5, 0]), target=0)
    with pytest.raises(GlossaeError, match=r"^scores: .* there is only one$"):
        rate_difference(fired=FIRED[:1], tokens=TOKENS[:1], target=0)
    counts = TokenCounts(("da", "en", "sv"), TOKENS, FIRED, FIRED * 1.0)
    with pytest.raises(GlossaeError, match=r"^scores: there are no tokens of nb, only of da, en, sv$"):
        counts.row("nb")


# ---- overlap


def test_overlap_by_hand():
    # 10 tokens each; the rest is silent. Unit 0: shares (.2, .3 | .5) and (.1, 0 | .9): .1 + 0 + .5
    histogram = np.array([[[2, 3], [5, 5], [0, 0]], [[1, 0], [0, 0], [0, 0]]])
    found = histogram_overlap(histogram=histogram, tokens=np.array([10, 10]), target=0)
    np.testing.assert_allclose(found, [0.6, 0, 1])


@settings(max_examples=40, deadline=None)
@given(token_counts(), st.permutations(range(5)))
def test_overlap_is_a_share_and_knows_no_order(counts, order):
    tokens, histogram, _ = counts
    found = histogram_overlap(histogram=histogram, tokens=tokens, target=0)
    assert (found >= 0).all()
    assert (found <= 1 + 1e-12).all()
    swapped = histogram_overlap(histogram=histogram[:, :, order], tokens=tokens, target=0, negative_bins=2)
    np.testing.assert_allclose(found, swapped)
    same = histogram_overlap(histogram=histogram[[0, 0]], tokens=tokens[[0, 0]], target=1)
    np.testing.assert_allclose(same, 1)
    # the closest of the others is what counts
    pairs = [histogram_overlap(histogram=histogram[[0, i]], tokens=tokens[[0, i]], target=0) for i in (1, 2)]
    np.testing.assert_allclose(found, np.maximum(*pairs))


def test_units_in_parts_are_the_same(monkeypatch):
    generator = np.random.default_rng(0)
    histogram, tokens = generator.integers(0, 5, (2, 50, 8)), np.array([40, 60])
    whole = histogram_overlap(histogram=histogram, tokens=tokens, target=0)
    monkeypatch.setattr("glossae.find.scores.counts.ENTRIES", 100)
    np.testing.assert_array_equal(histogram_overlap(histogram=histogram, tokens=tokens, target=0), whole)


def test_a_histogram_of_more_than_there_is_is_refused():
    with pytest.raises(GlossaeError, match="more values than its language has tokens"):
        histogram_overlap(histogram=np.ones((2, 1, 3), dtype=int), tokens=np.array([2, 5]), target=0)


# ---- LAPE


def test_entropy_by_hand():
    tokens = np.array([10, 10, 20])
    found = entropy(fired=np.array([[5, 2, 0, 4], [0, 2, 0, 4], [0, 4, 0, 0]]), tokens=tokens)
    np.testing.assert_allclose(found, [0, np.log(3), np.nan, np.log(2)])


@settings(max_examples=40, deadline=None)
@given(token_counts(), st.permutations(range(3)), st.integers(1, 9))
def test_entropy_knows_no_order_of_languages_and_no_size(counts, order, times):
    tokens, histogram, _ = counts
    fired = histogram.sum(2)
    found = entropy(fired=fired, tokens=tokens)
    np.testing.assert_allclose(entropy(fired=fired[order], tokens=tokens[order]), found, atol=1e-12)
    np.testing.assert_allclose(entropy(fired=times * fired, tokens=times * tokens), found, atol=1e-12)
    some = fired.any(0)
    assert np.isnan(found[~some]).all()
    assert (found[some] >= 0).all()
    assert (found[some] <= np.log(3) + 1e-12).all()


def test_lape_keeps_the_lowest_of_those_that_are_high_somewhere():
    # 100 units on 2 languages; the 190th of 200 rates is .50, so that .51 and above are high
    fired = np.tile([[500], [500]], 100)
    fired[:, :5] = [[900, 510, 20, 0, 990], [10, 510, 0, 0, 980]]
    tokens = np.array([1000, 1000])
    found = lape(fired=fired, tokens=tokens, share=0.02)
    assert np.flatnonzero(found.kept).tolist() == [0, 4]
    assert found.languages[:, 0].tolist() == [True, False]
    # a unit may be for several languages
    assert found.languages[:, 4].tolist() == [True, True]
    assert not found.languages[:, ~found.kept].any()
    # unit 2 is purer than any, but fires on 2 % only
    assert found.entropy[2] == 0
    # one per cent of 100 units is one
    assert np.flatnonzero(lape(fired=fired, tokens=tokens).kept).tolist() == [0]


def test_lape_takes_no_unit_that_is_high_nowhere_to_fill_up():
    fired = np.tile([[500], [500]], 100)
    fired[:, 7] = [900, 10]
    found = lape(fired=fired, tokens=np.array([1000, 1000]), share=0.5)
    assert np.flatnonzero(found.kept).tolist() == [7]


@settings(max_examples=40, deadline=None)
@given(token_counts(units=8), st.floats(0, 1), st.floats(0, 1))
def test_lape_says_what_it_kept(counts, percentile, share):
    tokens, histogram, _ = counts
    fired = histogram.sum(2)
    found = lape(fired=fired, tokens=tokens, percentile=percentile, share=share)
    assert found.kept.sum() <= round(share * 8)
    np.testing.assert_array_equal(found.languages.any(0), found.kept)
    rate = fired / tokens[:, None]
    bar = np.sort(rate.ravel())[min(max(round(percentile * rate.size), 1), rate.size) - 1]
    np.testing.assert_array_equal(found.languages, (rate > bar) & found.kept)
    left = (rate > bar).any(0) & ~found.kept
    if found.kept.any() and left.any():
        assert found.entropy[found.kept].max() <= found.entropy[left].min() + 1e-12


def test_sae_lape_by_hand():
    tokens, sentences = np.array([1000, 1000, 1000]), np.array([100, 100, 100])
    fired = np.array(
        [
            [300, 300, 300, 100, 300, 0],  # da
            [150, 149, 0, 0, 10, 0],  # en
            [0, 0, 0, 0, 150, 0],  # sv
        ]
    )
    firing = np.array([[98, 98, 97, 99, 10, 0], [10, 10, 0, 0, 98, 0], [0, 0, 0, 0, 10, 0]])
    found = sae_lape(fired=fired, tokens=tokens, sentence_fired=firing, sentences=sentences)
    # 0: en has half of it; 2: in 97 % of sentences; 3: on 10 % of tokens, which is not more; 4: sv has half of it
    assert np.flatnonzero(found.kept).tolist() == [1]
    assert found.languages[:, 1].tolist() == [True, False, False]
    # the sentences and the tokens may be of different languages
    fired[2, 4] = 149
    found = sae_lape(fired=fired, tokens=tokens, sentence_fired=firing, sentences=sentences)
    assert np.flatnonzero(found.kept).tolist() == [1, 4]
    assert found.languages[:, 4].tolist() == [True, False, False]


def test_sentences_with_firing_are_counted():
    table = table_of(
        [[1, 0], [1, 2], [0, 3], [0, 0]], ["da", "en", "da", "en"], fired=[[3, 0], [1, 2], [0, 9], [0, 0]]
    )
    sentences, fired = sentence_firing(table, ("en", "da"))
    assert sentences.tolist() == [2, 2]
    assert fired.tolist() == [[1, 1], [1, 1]]


def test_arrays_are_not_written_to():
    fired, tokens = FIRED.copy(), TOKENS.copy()
    lape(fired=fired, tokens=tokens)
    rate_difference(fired=fired, tokens=tokens, target=1)
    assert torch.equal(torch.tensor(fired), torch.tensor(FIRED))
    assert torch.equal(torch.tensor(tokens), torch.tensor(TOKENS))
