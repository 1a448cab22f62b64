"""P-values for "AUROC no larger than a minimum" are no smaller than they may be, at that very AUROC."""

import numpy as np
import pytest
from scipy.stats import binom, norm
from sentence_tables import make_table

from glossae.find import auroc_table, exact_p, minimum_p, perfect_p, studentised

MINIMUM = 0.8
SHIFT = np.sqrt(2) * norm.ppf(MINIMUM)


def normal(n, draws, generator):
    return generator.normal(SHIFT, 1, (n, draws)), generator.normal(0, 1, (n, draws)), False


def mostly_zero(n, draws, generator):
    """62 % of the target's sentences fire and 2 % of the reference's, with values alike."""
    fires = [generator.random((n, draws)) < share for share in (0.02 + 2 * (MINIMUM - 0.5), 0.02)]
    return *(fire * generator.exponential(1, (n, draws)) for fire in fires), False


def opposed_pairs(n, draws, generator):
    """Where the target is high its translation is low: what makes a pair count for least."""
    common = generator.normal(size=(n, draws))
    return common + SHIFT, -common, True


def drawn(shape, n, draws, seed=0):
    """An AUROC table of units that are draws of one experiment at an AUROC of exactly the minimum."""
    target, reference, paired = shape(n, draws, np.random.default_rng(seed))
    pairs = [*map(str, range(n))] * 2 if paired else None
    return auroc_table(make_table(np.concatenate([target, reference]), ["da"] * n + ["en"] * n, pairs))


@pytest.mark.parametrize("n", [50, 200])
@pytest.mark.parametrize("shape", [normal, mostly_zero, opposed_pairs])
def test_both_methods_hold_at_the_minimum(shape, n):
    draws = 400_000 // n
    table = drawn(shape, n, draws)
    assert table.of("da", "en").mean() == pytest.approx(MINIMUM, abs=0.005)
    for alpha in (0.05, 0.001):
        # five standard errors of the share, for the shares that are nearly as large as they may be
        room = 5 * np.sqrt(alpha / draws)
        exact = exact_p(table, "da", "en", MINIMUM)
        assert (exact <= alpha).mean() <= alpha / 2 + room
        near = minimum_p(table, "da", "en", MINIMUM, method="studentised")
        assert (near <= alpha).mean() <= alpha + room
        # no smaller: a method that never rejects would pass the line above
        if alpha == 0.05:
            assert (near <= alpha).mean() >= 0.4 * alpha


@pytest.mark.slow
@pytest.mark.parametrize("n", [50, 200, 1000])
@pytest.mark.parametrize("shape", [normal, mostly_zero, opposed_pairs])
def test_the_rates_in_the_text_are_measured(shape, n, capsys):
    draws = 20_000_000 // n
    table = drawn(shape, n, min(draws, 20_000), seed=1)
    p = minimum_p(table, "da", "en", MINIMUM, method="studentised")
    with capsys.disabled():
        print(f"\n{shape.__name__} {n}: {(p <= 0.05).mean():.4f} {(p <= 0.001).mean():.5f}")
    assert (p <= 0.05).mean() <= 0.055
    assert (p <= 0.001).mean() <= 0.002


def test_the_exact_bound_is_over_the_binomial_tail_and_close_to_it():
    # the reference silent and the target firing or not: (1 + firing share) / 2, a binomial in disguise
    n = 100
    values = np.zeros((2 * n, n + 1))
    for firing in range(n + 1):
        values[:firing, firing] = 1
    table = auroc_table(make_table(values, ["da"] * n + ["en"] * n))
    exact = exact_p(table, "da", "en", MINIMUM)
    truth = binom.sf(np.arange(n + 1) - 1, n, 2 * MINIMUM - 1)
    assert (exact >= truth).all()
    # at 1 it is minimum^m, where the truth is (2 minimum - 1)^m
    assert exact[-1] == pytest.approx(MINIMUM**n)
    assert (exact[: int(n * 0.6) + 1] == 1).all()
    assert (np.diff(exact) <= 0).all()


def test_pairs_are_worth_half_as_much():
    values = np.repeat([1.0, 0.0], 40)[:, None]
    languages = ["da"] * 40 + ["en"] * 40
    alone = auroc_table(make_table(values, languages))
    paired = auroc_table(make_table(values, languages, [*map(str, range(40))] * 2))
    assert exact_p(alone, "da", "en")[0] == pytest.approx(0.8**40)
    assert exact_p(paired, "da", "en")[0] == pytest.approx(0.8**20)
    assert perfect_p(alone, "da", "en") == pytest.approx(0.8**40)
    assert perfect_p(paired, "da", "en") == pytest.approx(0.8**20)


def test_a_unit_without_exception_has_no_smaller_p_than_the_exact_one():
    values = np.repeat([1.0, 0.0], 20)[:, None] * np.array([1.0, -1.0])
    table = auroc_table(make_table(values, ["da"] * 20 + ["en"] * 20))
    p = minimum_p(table, "da", "en", method="studentised")
    assert p[0] == pytest.approx(0.8**20)
    assert p[1] == 1
    assert studentised(table, "da", "en")[1] == -np.inf
