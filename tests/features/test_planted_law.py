"""The law of a sentence mean: what it says of rates and AUROC is what sampling it gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from glossae.find import SentenceLaw, auroc_of
from glossae.find.planted.law import LONGEST, SHORTEST, lengths_of

LAW = SentenceLaw(spread=0.7, shape=4.0)
RATES = np.array([0.001, 0.02, 0.1, 0.25, 0.5])

rates = st.floats(0.0005, 0.9)


def drawn(law, intensity, count, random):
    """Sentence means, straight from the formulas."""
    tokens = lengths_of(random.normal(size=count))
    effect = np.exp(law.spread * random.normal(size=count) - law.spread**2 / 2)
    fires = random.binomial(tokens, -np.expm1(-intensity * effect))
    return np.where(fires, random.gamma(np.maximum(law.shape * fires, 1)) / law.shape, 0) / tokens


def sampled_auroc(target, other):
    n = len(target)
    ranks = rankdata(np.concatenate([target, other]))[:n]
    return (ranks.sum() - n * (n + 1) / 2) / (n * len(other))


def test_auroc_is_that_of_a_large_sample():
    below = LAW.cdf(LAW.intensity(RATES))
    random, count = np.random.default_rng(0), 40_000
    values = [drawn(LAW, eta, count, random) for eta in LAW.intensity(RATES)]
    # four standard errors of the largest there is, at 0.5
    within = 4 * np.sqrt(1 / 12 * 2 / count)
    for i in range(len(RATES)):
        for j in range(i):
            exact = auroc_of(below[i], below[j])
            assert exact == pytest.approx(sampled_auroc(values[i], values[j]), abs=within)


def test_a_finer_quadrature_says_the_same():
    fine = SentenceLaw(LAW.spread, LAW.shape, nodes=64, points=4096)
    eta = LAW.intensity(RATES)
    coarse, exact = (auroc_of(law.cdf(eta)[:, None], law.cdf(eta)[None]) for law in (LAW, fine))
    assert np.abs(coarse - exact).max() < 1e-5


def test_without_a_random_effect_silence_is_a_matter_of_length():
    law = SentenceLaw(spread=0.0, shape=4.0)
    lengths = lengths_of(np.random.default_rng(0).normal(size=200_000))
    assert law.cdf(np.array([0.1]))[0, 0] == pytest.approx(np.exp(-0.1 * lengths).mean(), abs=2e-3)


@given(st.lists(rates, min_size=1, max_size=5), st.floats(0.0, 1.2))
@settings(max_examples=25, deadline=None)
def test_a_rate_is_found_again_from_its_intensity(wanted, spread):
    law = SentenceLaw(spread, 4.0)
    assert law.token_rate(law.intensity(np.array(wanted))) == pytest.approx(wanted, rel=1e-9)


@given(rates, rates)
@settings(max_examples=25, deadline=None)
def test_auroc_turned_around_is_one_less_it_and_the_busier_one_wins(first, second):
    below = LAW.cdf(LAW.intensity(np.array([first, second])))
    assert np.all(np.diff(below, axis=1) >= -1e-12)
    assert below[:, -1] == pytest.approx(1.0, abs=1e-9)
    forward, back = auroc_of(below[0], below[1]), auroc_of(below[1], below[0])
    assert forward + back == pytest.approx(1.0, abs=1e-9)
    assert auroc_of(below[0], below[0]) == pytest.approx(0.5, abs=1e-9)
    if first > second:
        assert forward >= 0.5 - 1e-9


def test_lengths_stay_in_their_range():
    lengths = lengths_of(np.random.default_rng(0).normal(size=10_000) * 2)
    assert (lengths.min(), lengths.max()) == (SHORTEST, LONGEST)
