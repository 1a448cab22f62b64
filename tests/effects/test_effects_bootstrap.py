"""The intervals are those of a bootstrap over sentences, or documents: right, paired, the same every time."""

import numpy as np
import pytest
from glossae.effects.bootstrap import resampled_sums
from hypothesis import given
from hypothesis import strategies as st

from glossae.effects import Clusters, bootstrap, interval, resampled_ratios
from glossae.text import Corpus, Sentence


def drawn(sentences, seed, *, ratio=0.7):
    """(summed losses, tokens) of sentences of which longer ones have more loss, and each its own."""
    generator = np.random.default_rng(seed)
    tokens = generator.integers(1, 30, size=sentences)
    per_token = ratio * generator.gamma(4.0, 0.25, size=sentences)
    return per_token * tokens, tokens


def ratio_interval(losses, tokens, *, draws=400, seed=0):
    return interval(resampled_ratios([losses], tokens, draws=draws, seed=seed)[:, 0])


def test_the_interval_is_the_middle_95_percent():
    assert interval(np.arange(1001) / 1000) == pytest.approx((0.025, 0.975))
    assert interval(np.array([3.0, 3.0])) == (3.0, 3.0)
    assert interval(np.array([np.nan, 3.0])) == (3.0, 3.0)
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
    low, high = ratio_interval(losses, tokens)
    low_long, high_long = ratio_interval(10 * losses, 10 * tokens)
    assert (low_long, high_long) == pytest.approx((low, high))


def test_numerators_share_their_resamples():
    losses, tokens = drawn(50, 3)
    found = resampled_ratios([losses, losses + 2.0 * tokens, 3 * losses], tokens, draws=200, seed=5)
    assert found.shape == (200, 3)
    np.testing.assert_allclose(found[:, 1] - found[:, 0], 2.0)
    np.testing.assert_allclose(found[:, 2], 3 * found[:, 0])
    assert found[:, 0].std() > 0.01


def test_the_seed_decides():
    losses, tokens = drawn(50, 4)
    one, again, other = (resampled_ratios([losses], tokens, draws=50, seed=seed) for seed in (7, 7, 8))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_drawing_in_pieces_is_drawing_at_once(monkeypatch):
    losses, tokens = drawn(50, 5)
    whole = resampled_ratios([losses], tokens, draws=37, seed=0)
    for values in (1, 50 * 10):
        monkeypatch.setattr(bootstrap, "CHUNK_VALUES", values)
        np.testing.assert_allclose(resampled_ratios([losses], tokens, draws=37, seed=0), whole, rtol=1e-12)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    simulations = 300
    covered = 0
    for seed in range(simulations):
        low, high = ratio_interval(*drawn(60, seed), draws=300, seed=seed)
        covered += low <= 0.7 <= high
    # a little under 95 % with sixty sentences; the sampling error of the share is 1.3 %
    assert 0.89 <= covered / simulations <= 0.98


@given(st.integers(5, 80), st.integers(0, 10_000))
def test_the_interval_holds_the_estimate(sentences, seed):
    losses, tokens = drawn(sentences, seed)
    low, high = ratio_interval(losses, tokens)
    assert low < losses.sum() / tokens.sum() < high


@given(st.integers(10, 40), st.integers(0, 10_000))
def test_four_times_the_sentences_halve_the_interval(sentences, seed):
    losses, tokens = drawn(sentences, seed)
    low, high = ratio_interval(losses, tokens, draws=800)
    low_more, high_more = ratio_interval(np.tile(losses, 4), np.tile(tokens, 4), draws=800)
    assert 0.35 < (high_more - low_more) / (high - low) < 0.7


def in_documents(documents, seed, *, each=8, ratio=0.7):
    """Losses and tokens of sentences of documents that are harder or easier as a whole, and their clusters."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(each // 2, 2 * each, size=documents)
    of = np.repeat(np.arange(documents), sizes)
    tokens = generator.integers(1, 30, size=len(of))
    level = generator.gamma(20.0, 1 / 20, size=documents)[of]
    return (
        ratio * level * generator.gamma(20.0, 1 / 20, size=len(of)) * tokens,
        tokens,
        Clusters(of, documents),
    )


def test_documents_vary_together_and_only_clusters_cover_the_truth():
    simulations, covered = 300, {"sentences": 0, "documents": 0}
    for seed in range(simulations):
        losses, tokens, clusters = in_documents(50, seed)
        for name, drawn_whole in (("sentences", None), ("documents", clusters)):
            samples = resampled_ratios([losses], tokens, draws=300, seed=seed, clusters=drawn_whole)
            low, high = interval(samples[:, 0])
            covered[name] += low <= 0.7 <= high
    assert covered["sentences"] / simulations < 0.75
    assert 0.89 <= covered["documents"] / simulations <= 0.98


def corpus(*rows):
    """A corpus of (language, pair, document)."""
    return Corpus.of(Sentence("", code, pair, "x", doc) for code, pair, doc in rows)


@given(st.integers(2, 60), st.integers(0, 1000))
def test_sentences_of_no_document_are_drawn_to_the_bit_as_they_were(sentences, seed):
    losses, tokens = drawn(sentences, seed)
    plain = resampled_ratios([losses], tokens, draws=20, seed=seed)
    # other languages beside them, and translations of each, change nothing
    alone = corpus(*((code, f"{code}{i}", "") for i in range(sentences) for code in ("da", "sv")))
    aligned = corpus(*((code, f"{i}", "") for i in range(sentences) for code in ("da", "sv")))
    own = 2 * np.arange(sentences)
    for text in (alone, aligned):
        for clusters in (Clusters.within(text, own), Clusters.across(text, "da")):
            assert clusters.count == sentences
            found = resampled_ratios([losses], tokens, draws=20, seed=seed, clusters=clusters)
            assert np.array_equal(found, plain)


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 4)), min_size=1, max_size=25), st.integers(0, 99)
)
def test_languages_of_one_document_are_drawn_equally_often(rows, seed):
    text = corpus(*((code, f"{number}", f"d{doc}") for number, (code, doc) in enumerate(rows)))
    found = {code: Clusters.across(text, code) for code in text.languages}
    shared = len({code for code, _ in rows}) == 2 and {d for c, d in rows if c == "a"} & {
        d for c, d in rows if c == "b"
    }
    # how often each document is in each resample, by the sentences of either language
    times = {}
    for code, clusters in found.items():
        docs = [doc for own, doc in rows if own == code]
        columns = [np.array([float(doc == other) for doc in docs]) for other in set(docs)]
        sums = resampled_sums(columns, draws=7, seed=seed, clusters=clusters)
        sizes = np.array([column.sum() for column in columns])
        times[code] = dict(zip(set(docs), (sums / sizes).T, strict=True))
    if shared:
        assert len({clusters.count for clusters in found.values()}) == 1
        for doc in times["a"].keys() & times["b"].keys():
            assert np.array_equal(times["a"][doc], times["b"][doc])


def test_a_resample_without_the_language_is_left_out():
    assert interval(np.array([np.nan, 1.0, 1.0])) == (1.0, 1.0)
