"""The intervals are those of a bootstrap over sentences, or documents: right, paired, the same every time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glossae import stats
from glossae.corpora import Corpus, Sentence
from glossae.stats import Clusters, interval, resampled_ratios, resampled_sums


def drawn(sentences, seed, *, ratio=0.7):
    """(summed losses, tokens) of sentences of which longer ones have more loss, and each its own."""
    generator = np.random.default_rng(seed)
    tokens = generator.integers(1, 30, size=sentences)
    return ratio * generator.gamma(4.0, 0.25, size=sentences) * tokens, tokens


def ratio_interval(losses, tokens, *, draws=400, seed=0, clusters=None):
    return interval(resampled_ratios([losses], tokens, draws=draws, seed=seed, clusters=clusters)[:, 0])


def test_the_interval_is_the_middle_95_percent_of_what_is_known():
    assert interval(np.arange(1001) / 1000) == pytest.approx((0.025, 0.975))
    assert interval(np.array([np.nan, 3.0, 3.0])) == (3.0, 3.0)
    assert np.isnan(interval(np.array([np.nan, np.nan]))).all()


def test_each_resample_is_a_ratio_of_sums():
    # two sentences: a resample holds the first never, once or twice
    found = resampled_ratios([np.array([1.0, 30.0])], np.array([1, 10]), draws=4000, seed=0)
    values, counts = np.unique(found.round(9), return_counts=True)
    assert values.tolist() == pytest.approx([1.0, 31 / 11, 3.0])
    np.testing.assert_allclose(counts / 4000, [0.25, 0.5, 0.25], atol=0.03)


def test_the_spread_is_the_sampling_error():
    losses, tokens = drawn(400, 1)
    found = resampled_ratios([losses], tokens, draws=4000, seed=0)[:, 0]
    ratio = losses.sum() / tokens.sum()
    # the delta method for a ratio of means
    error = np.sqrt(((losses - ratio * tokens) ** 2).sum()) / tokens.sum()
    assert found.mean() == pytest.approx(ratio, abs=0.1 * error)
    assert found.std() == pytest.approx(error, rel=0.08)


def test_sentences_are_resampled_whole():
    # all tokens of a sentence alike: ten times the tokens tell no more
    losses, tokens = drawn(60, 2)
    assert ratio_interval(10 * losses, 10 * tokens) == pytest.approx(ratio_interval(losses, tokens))


def test_numerators_share_their_resamples_and_the_seed_decides():
    losses, tokens = drawn(50, 3)
    found = resampled_ratios([losses, losses + 2.0 * tokens, 3 * losses], tokens, draws=200, seed=5)
    assert found.shape == (200, 3)
    np.testing.assert_allclose(found[:, 1] - found[:, 0], 2.0)
    np.testing.assert_allclose(found[:, 2], 3 * found[:, 0])
    assert found[:, 0].std() > 0.01
    again, other = (resampled_ratios([losses], tokens, draws=200, seed=seed) for seed in (5, 6))
    np.testing.assert_array_equal(again[:, 0], found[:, 0])
    assert not np.array_equal(other, again)


def test_drawing_in_pieces_is_drawing_at_once(monkeypatch):
    losses, tokens = drawn(50, 5)
    whole = resampled_ratios([losses], tokens, draws=37, seed=0)
    monkeypatch.setattr(stats, "KEPT_VALUES", 0)
    for values in (1, 50 * 10):
        monkeypatch.setattr(stats, "CHUNK_VALUES", values)
        np.testing.assert_allclose(resampled_ratios([losses], tokens, draws=37, seed=0), whole, rtol=1e-12)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    found = [ratio_interval(*drawn(60, seed), draws=300, seed=seed) for seed in range(300)]
    # a little under 95 % with sixty sentences; the sampling error of the share is 1.3 %
    assert 0.89 <= np.mean([low <= 0.7 <= high for low, high in found]) <= 0.98


@given(st.integers(10, 40), st.integers(0, 10_000))
def test_the_interval_holds_the_estimate_and_four_times_the_sentences_halve_it(sentences, seed):
    losses, tokens = drawn(sentences, seed)
    low, high = ratio_interval(losses, tokens, draws=800)
    assert low < losses.sum() / tokens.sum() < high
    low_more, high_more = ratio_interval(np.tile(losses, 4), np.tile(tokens, 4), draws=800)
    assert 0.35 < (high_more - low_more) / (high - low) < 0.7


def test_documents_vary_together_and_only_clusters_cover_the_truth():
    covered = {"sentences": 0, "documents": 0}
    for seed in range(150):
        generator = np.random.default_rng(seed)
        # documents are harder or easier as a whole
        of = np.repeat(np.arange(50), generator.integers(4, 16, size=50))
        tokens = generator.integers(1, 30, size=len(of))
        level = generator.gamma(20.0, 1 / 20, size=50)[of]
        losses = 0.7 * level * generator.gamma(20.0, 1 / 20, size=len(of)) * tokens
        for name, clusters in (("sentences", None), ("documents", Clusters(of, 50))):
            low, high = ratio_interval(losses, tokens, draws=200, seed=seed, clusters=clusters)
            covered[name] += low <= 0.7 <= high
    assert covered["sentences"] / 150 < 0.75
    assert 0.89 <= covered["documents"] / 150 <= 0.98


def corpus(*rows):
    """A corpus of (language, pair, document)."""
    return Corpus.of(Sentence("", code, pair, "x", doc) for code, pair, doc in rows)


@given(st.integers(2, 60), st.integers(0, 1000))
def test_sentences_of_no_document_are_drawn_to_the_bit_as_without_clusters(sentences, seed):
    losses, tokens = drawn(sentences, seed)
    plain = resampled_ratios([losses], tokens, draws=20, seed=seed)
    # other languages beside them, and translations of each, change nothing
    alone = corpus(*((code, f"{code}{i}", "") for i in range(sentences) for code in ("da", "sv")))
    aligned = corpus(*((code, f"{i}", "") for i in range(sentences) for code in ("da", "sv")))
    for text in (alone, aligned):
        for clusters in (Clusters.within(text, 2 * np.arange(sentences)), Clusters.across(text, "da")):
            assert clusters.count == sentences
            found = resampled_ratios([losses], tokens, draws=20, seed=seed, clusters=clusters)
            assert np.array_equal(found, plain)


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 4)), min_size=1, max_size=25), st.integers(0, 99)
)
def test_languages_of_one_document_are_drawn_equally_often(rows, seed):
    text = corpus(*((code, f"{number}", f"d{doc}") for number, (code, doc) in enumerate(rows)))
    clusters = {code: Clusters.across(text, code) for code in text.languages}
    # how often each document is in each resample, by the sentences of either language
    times = {}
    for code in clusters:
        docs = [doc for own, doc in rows if own == code]
        columns = [np.array([float(doc == other) for doc in docs]) for other in set(docs)]
        sums = resampled_sums(columns, draws=7, seed=seed, clusters=clusters[code])
        times[code] = dict(zip(set(docs), (sums / [column.sum() for column in columns]).T, strict=True))
    shared = times.get("a", {}).keys() & times.get("b", {}).keys()
    if shared:
        assert len({each.count for each in clusters.values()}) == 1
        for doc in shared:
            assert np.array_equal(times["a"][doc], times["b"][doc])
