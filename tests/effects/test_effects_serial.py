"""Correlation of consecutive sentences: found where it was planted, not where it was not, and of the right size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glossae.effects import (
    Edit,
    Measured,
    autocorrelations,
    lag_1_test,
    serial_correlations,
    variance_inflation,
)
from glossae.lm import TokenizedCorpus
from glossae.text import Corpus, Sentence


def chain(n, rho, generator):
    """A series whose neighbours have correlation `rho`: of first order, stationary, variance 1."""
    values = generator.standard_normal(n)
    for place in range(1, n):
        values[place] = rho * values[place - 1] + np.sqrt(1 - rho**2) * values[place]
    return values


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=40).filter(lambda x: np.std(x) > 1e-3))
def test_autocorrelations_are_sums_of_products(values):
    centred = np.array(values) - np.mean(values)
    expected = [
        centred[lag:] @ centred[: len(centred) - lag] / (centred @ centred) for lag in range(len(centred))
    ]
    np.testing.assert_allclose(autocorrelations(np.array(values)), expected, atol=1e-9)


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.6])
def test_the_inflation_is_that_of_the_variance_of_the_mean(rho):
    generator = np.random.default_rng(3)
    series = [chain(2000, rho, generator) for _ in range(60)]
    # of first order, 1 + 2 sum rho^k
    expected = (1 + rho) / (1 - rho)
    assert np.mean([variance_inflation(one) for one in series]) == pytest.approx(expected, rel=0.12)
    assert 2000 * np.var([one.mean() for one in series]) == pytest.approx(expected, rel=0.5)


def test_the_p_value_is_uniform_without_correlation_and_small_with_it():
    generator = np.random.default_rng(5)
    p = [lag_1_test(generator.gamma(1.0, size=60), seed=seed, draws=99)[1] for seed in range(200)]
    assert 0.01 <= np.mean(np.array(p) <= 0.05) <= 0.09
    assert 0.4 < np.mean(p) < 0.6
    lag_1, found = lag_1_test(chain(300, 0.4, generator), seed=0, draws=99)
    assert lag_1 == pytest.approx(0.4, abs=0.12)
    assert found == 0.01


def text_of(n, *, docs=False):
    sentences = [
        Sentence(
            f"{source} {i}",
            "da",
            f"{source}{i}",
            source,
            f"{source} d{i // 10}" if docs and source == "b" else "",
        )
        for i in range(n)
        for source in ("a", "b")
    ]
    return TokenizedCorpus(
        corpus=Corpus.of(sentences),
        ids=tuple(np.arange(5 + i % 7) for i in range(len(sentences))),
        predicted_bytes=np.full(len(sentences), 20),
        dropped={},
        cut={},
        prefix=0,
    )


def sweep_on(tokens, places, seed=0):
    """Losses and changes of which those of source `a` go together with their neighbours in the file."""
    generator = np.random.default_rng(seed)
    n = len(tokens) // 2
    level = chain(n, 0.8, generator)
    noise = generator.standard_normal(len(tokens))
    of_a = np.array([s.source == "a" for s in tokens.corpus.sentences])
    own = np.where(of_a, level[places], noise)
    base = (4.0 + 0.3 * noise) * tokens.predicted
    after = base + (0.2 + 0.1 * own) * tokens.predicted
    return [
        Measured(None, None, base),
        Measured(Edit("none"), None, base),
        Measured(Edit("zero", (1,)), None, after),
    ]


def test_it_is_the_order_of_the_file_that_counts():
    tokens = text_of(300)
    order = np.random.default_rng(1).permutation(len(tokens))
    places = np.arange(len(tokens)) // 2
    measured = sweep_on(tokens, places)
    shuffled = [Measured(m.edit, None, m.losses[order]) for m in measured]
    rows = serial_correlations({"test": (measured, tokens, places)}, seed=0)
    again = serial_correlations({"test": (shuffled, tokens.take(order), places[order])}, seed=0)
    assert rows == again
    found = {(row.source, row.statistic): row for row in rows}
    assert set(found) == {(source, statistic) for source in "ab" for statistic in ("loss", "change")}
    correlated = found["a", "change"]
    assert correlated.edit == "zero"
    assert correlated.q <= 0.05
    assert correlated.lag_1 > 0.5
    assert 3 < correlated.inflation < 20
    assert [key for key, row in found.items() if row.q <= 0.05] == [("a", "change")]


def test_sources_with_documents_and_short_ones_are_not_tested():
    tokens = text_of(300, docs=True)
    places = np.arange(len(tokens)) // 2
    rows = serial_correlations({"panel": (sweep_on(tokens, places), tokens, places)}, seed=0)
    assert {(row.text, row.source) for row in rows} == {("panel", "a")}
    few = tokens.take(range(18))
    measured = [Measured(m.edit, None, m.losses[:18]) for m in sweep_on(tokens, places)]
    assert serial_correlations({"test": (measured, few, places[:18])}, seed=0) == []
