"""Scores are scikit-learn's, and comparisons are what they say."""

import numpy as np
import pytest
from glossae.tasks.comparing import by_bootstrap, by_splits
from glossae.tasks.metrics import confusion
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import f1_score, matthews_corrcoef

from glossae.tasks import METRICS

PREDICTIONS = st.integers(2, 60).flatmap(
    lambda rows: st.tuples(*[arrays(np.int64, rows, elements=st.integers(0, 2))] * 2)
)


@given(PREDICTIONS)
def test_scores_are_those_of_scikit_learn(pair):
    truth, said = pair
    table = confusion(truth, said, 3)
    found = {name: float(measure(table)) for name, measure in METRICS.items()}
    options = {"labels": [0, 1, 2], "zero_division": 0}
    assert found["macro_f1"] == pytest.approx(f1_score(truth, said, average="macro", **options))
    assert found["weighted_f1"] == pytest.approx(f1_score(truth, said, average="weighted", **options))
    if len({*truth.tolist(), *said.tolist()}) == 1:
        # which it warns of
        assert found["mcc"] == 0
    else:
        assert found["mcc"] == pytest.approx(matthews_corrcoef(truth, said), abs=1e-12)


def predictions(rows, wrong, seed):
    """Labels, and guesses that are wrong with this chance."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(3, size=rows)
    return truth, [
        np.where(generator.random(rows) < chance, (truth + 1) % 3, truth).astype(np.int64) for chance in wrong
    ]


def bootstrapped(truth, said, groups=None, draws=400, bases=None):
    return by_bootstrap(
        truth,
        np.stack(said)[:, None],
        groups or [str(row) for row in range(len(truth))],
        bases or [0] * len(said),
        METRICS["macro_f1"],
        labels=3,
        draws=draws,
        seed=0,
    )


def test_arms_are_compared_on_the_same_rows():
    truth, (good, bad) = predictions(500, [0.2, 0.4], seed=1)
    base, worse, same = bootstrapped(truth, [good, bad, good])
    assert (base.p, base.delta, base.detectable) == (None, 0, None)
    assert (same.p, same.delta, same.delta_low, same.delta_high, same.detectable) == (1, 0, 0, 0, None)
    assert worse.p == pytest.approx(2 / 401)
    assert worse.delta_low <= worse.delta <= worse.delta_high < 0
    assert worse.score == pytest.approx(f1_score(truth, bad, average="macro"))
    assert 0 < worse.detectable < 0.2
    # a spliced arm is held against the splice
    against = bootstrapped(truth, [good, bad, bad], bases=[0, 1, 1])[2]
    assert (against.delta, against.p) == (0, 1)


def test_the_bootstrap_interval_is_as_wide_as_theory_says():
    truth, (good, bad) = predictions(2000, [0.3, 0.3], seed=2)
    compared = bootstrapped(truth, [good, bad], draws=2000)[1]
    # differences of two accuracies with independent errors: sd = sqrt(2 * 0.3 * 0.7 / n), and macro F1 is close to it
    sd = (2 * 0.3 * 0.7 / 2000) ** 0.5
    assert compared.delta_high - compared.delta_low == pytest.approx(2 * 1.96 * sd, rel=0.15)
    assert compared.detectable == pytest.approx(2.80 * sd, rel=0.15)


def test_rows_of_a_pair_are_drawn_together():
    truth, (good, bad) = predictions(400, [0.1, 0.3], seed=3)

    def twice(values):
        return np.repeat(values, 2)

    groups = [str(row // 2) for row in range(800)]
    doubled = bootstrapped(twice(truth), [twice(good), twice(bad)], groups)
    single = bootstrapped(truth, [good, bad], [str(row) for row in range(400)])
    # a row that is there twice is one row's worth of evidence
    width = [found.delta_high - found.delta_low for found in (doubled[1], single[1])]
    assert width[0] == pytest.approx(width[1], rel=0.1)


def test_false_alarms_of_the_bootstrap_are_rare():
    alarms = 0
    for seed in range(200):
        truth, (one, other) = predictions(150, [0.3, 0.3], seed=100 + seed)
        alarms += bootstrapped(truth, [one, other], draws=200)[1].p < 0.05
    # binomial(200, 0.05): 22 and more has a chance of one in a thousand
    assert alarms < 22


@given(st.integers(0, 10_000))
@hypothesis_settings(max_examples=30, deadline=None)
def test_splits_are_compared_with_a_corrected_t(seed):
    generator = np.random.default_rng(seed)
    scores = generator.normal(0.5, 0.1, size=(10, 2))
    base, other = by_splits(scores, [0, 0], train=400, test=100)
    deltas = scores[:, 1] - scores[:, 0]
    error = (0.1 + 0.25) ** 0.5 * deltas.std(ddof=1)
    assert base.p is None
    assert other.delta == pytest.approx(deltas.mean())
    assert other.delta_high - other.delta == pytest.approx(2.262157 * error)
    # the interval leaves 0 out just where p is below 5 %
    assert (other.p < 0.05) == (other.delta_low > 0 or other.delta_high < 0)
    assert other.detectable == pytest.approx((2.262157 + 0.883404) * error)


def test_splits_that_all_say_the_same():
    scores = np.repeat(np.array([[0.5, 0.5, 0.7]]), 10, axis=0)
    _, same, better = by_splits(scores, [0, 0, 0], train=400, test=100)
    assert (same.p, same.detectable) == (1, None)
    assert better.p == 0
