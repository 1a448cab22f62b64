"""AUROC of every unit and pair of languages is the one counted by hand, and its p-values hold at the minimum."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import binom, norm
from sklearn.metrics import roc_auc_score

from glossae.errors import GlossaeError
from glossae.evidence.testing import auroc_table, exact_p, independence, minimum_p, perfect_p, studentised
from sentence_tables import brute_force, make_table

LANGUAGES = ("da", "en", "sv")


@st.composite
def tables(draw, clustering=("lone", "pairs", "documents")):
    """Few values, so that there are ties; many zeros; negatives; sentences alone, in pairs, or in larger clusters."""
    count, units = draw(st.integers(9, 40)), draw(st.integers(1, 4))
    seed = draw(st.integers(0, 2**32 - 1))
    generator = np.random.default_rng(seed)
    values = generator.integers(draw(st.sampled_from([-3, 0])), 4, size=(count, units))
    values *= generator.random((count, units)) < draw(st.sampled_from([0.1, 0.5, 1.0]))
    languages = np.array([*LANGUAGES * 3, *generator.choice(LANGUAGES, count - 9)])
    kind = draw(st.sampled_from(clustering))
    pairs = np.arange(count)
    if kind == "pairs":
        # the first sentence of each language in a pair stays in it, the others are alone
        wanted, seen = generator.integers(0, 15, count), set()
        for i in range(3, count):
            if (wanted[i], languages[i]) not in seen:
                seen.add((wanted[i], languages[i]))
                pairs[i] = 100 + wanted[i]
    if kind == "documents":
        pairs[3:] = generator.integers(0, 6, count - 3)
    return values, languages, pairs.astype(str)


@given(tables(), st.sampled_from([1, 7, 60]))
def test_it_equals_brute_force_with_ties_negatives_and_pairs(made, entries):
    values, languages, pairs = made
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("glossae.evidence.testing.auroc.ENTRIES", entries)
        found = auroc_table(make_table(values, languages, pairs))
    assert found.languages == LANGUAGES
    assert found.n.tolist() == [(languages == language).sum() for language in LANGUAGES]
    for unit in range(values.shape[1]):
        for a in LANGUAGES:
            for b in LANGUAGES:
                if a == b:
                    assert found.of(a, b)[unit] == 0.5
                    continue
                x, y = languages == a, languages == b
                estimate, se = brute_force(values[x, unit], values[y, unit], pairs[x], pairs[y])
                assert found.of(a, b)[unit] == pytest.approx(estimate, abs=1e-12)
                assert found.se_of(a, b)[unit] == pytest.approx(se, abs=1e-7, nan_ok=True)


@given(tables(clustering=("lone",)))
def test_without_pairs_the_error_is_delongs(made):
    values, languages, pairs = made
    found = auroc_table(make_table(values, languages, pairs))
    x, y = values[languages == "da"].T, values[languages == "en"].T
    for unit in range(len(x)):
        kernel = np.sign(x[unit][:, None] - y[unit]) / 2 + 0.5
        delong = kernel.mean(1).var(ddof=1) / len(x[unit]) + kernel.mean(0).var(ddof=1) / len(y[unit])
        assert found.se_of("da", "en")[unit] == pytest.approx(np.sqrt(delong), abs=1e-9)
        expected = roc_auc_score([1] * len(x[unit]) + [0] * len(y[unit]), [*x[unit], *y[unit]])
        assert found.of("da", "en")[unit] == pytest.approx(expected, abs=1e-12)


def test_the_error_is_the_spread_over_draws_with_pairs_and_without():
    generator = np.random.default_rng(0)
    pairs, units = 60, 4000
    common = generator.normal(size=(pairs, units))
    noise = generator.normal(size=(2, pairs, units))
    values = np.concatenate([common + noise[0] + 1, common + noise[1]])
    languages, names = ["da"] * pairs + ["en"] * pairs, [*map(str, range(pairs))] * 2
    paired = auroc_table(make_table(values, languages, names))
    spread = paired.of("da", "en").std()
    assert np.median(paired.se_of("da", "en")) == pytest.approx(spread, rel=0.05)
    # who ignores the pairs takes translations of one sentence for two, and has the error too large here
    ignored = auroc_table(make_table(values, languages))
    assert np.median(ignored.se_of("da", "en")) > 1.2 * spread


def test_a_stored_zero_is_a_zero():
    values = np.array([[0, 2], [1, 0], [0, 1], [3, 0]])
    table = make_table(values, ["da", "da", "en", "en"])
    table.values.data[table.values.data == 1] = 0
    same = make_table(np.where(values == 1, 0, values), ["da", "da", "en", "en"])
    assert table.values.nnz > same.values.nnz
    np.testing.assert_array_equal(auroc_table(table).estimate, auroc_table(same).estimate)


def test_a_value_that_is_not_finite_is_named():
    table = make_table([[1, 1], [0, np.nan], [2, 0]], ["da", "en", "en"])
    with pytest.raises(
        GlossaeError, match="unit 1 of latent layer3.resid abc has a value that is not finite"
    ):
        auroc_table(table)


def test_intervals_lie_on_the_logit_scale_and_reach_down_from_one():
    generator = np.random.default_rng(1)
    values = np.zeros((60, 3))
    values[:30, 0] = 1 + generator.random(30)  # without exception
    values[:, 1] = generator.normal(size=60) + np.repeat([1, 0], 30)
    values[30:, 2] = 1 + generator.random(30)  # the other way round
    found = auroc_table(make_table(values, ["da"] * 30 + ["en"] * 30))
    low, high = found.interval("da", "en")
    assert (low[0], high[0]) == (pytest.approx(0.025 ** (1 / 30)), 1)
    assert (low[2], high[2]) == (0, pytest.approx(1 - 0.025 ** (1 / 30)))
    estimate, se = found.of("da", "en")[1], found.se_of("da", "en")[1]
    half = norm.ppf(0.975) * se / (estimate * (1 - estimate))
    assert (low[1], high[1]) == pytest.approx(expit(logit(estimate) + np.array([-half, half])))


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([[1, 0]] * 30 + [[0, 1]] * 20, [(0, 20)]),
        ([[1, 1]] * 30, [(1 / 30, 15), (1, 0)]),
        ([[1, 1]] * 31, [(1 / 31, 15), (1, 0)]),
        ([[3, 0]] * 10 + [[0, 1]] * 40, [(0, 10)]),
        ([[0, 0]] * 5 + [[1, 0]] * 7 + [[0, 2]] * 8, [(0, 7)]),
        ([[1, 1]] * 2, [(1 / 2, 1), (1, 0)]),
        # few pairs among many: half the sentences' worth by the first way, nearly all by the second
        ([[1, 1]] + [[1, 0]] * 99 + [[0, 1]] * 99, [(1 / 10000, 50), (0.01, 99)]),
        ([[1, 1]] * 50 + [[1, 0]] * 50 + [[0, 1]] * 50, [(50 / 10000, 49), (0.5, 50)]),
        # a document with everything in it has no comparison to offer
        ([[9, 9]], [(1, 0), (1, 0)]),
    ],
)
def test_how_many_comparisons_are_independent(counts, expected):
    counts = np.array(counts)
    found = independence(counts)
    assert [way.blocks for way in found] == [blocks for _, blocks in expected]
    assert [way.left_out for way in found] == pytest.approx([left_out for left_out, _ in expected])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12))
def test_no_more_than_can_be_without_a_common_cluster(clusters):
    """A set of m comparisons for every so many, and every cluster's comparisons in different sets."""
    counts = np.array(clusters)
    n_a, n_b = counts.sum(0)
    if not (n_a and n_b):
        return
    for number, way in enumerate(independence(counts)):
        kept = counts.copy()
        if number:
            both = (counts > 0).all(1)
            sides = [np.where(both[:, None] & (np.arange(2) == side), 0, counts) for side in (0, 1)]
            kept = sides[0] if n_a >= n_b else sides[1]
        a, b = kept.T
        edges = a.sum() * b.sum() - (a * b).sum()
        assert way.left_out == pytest.approx(1 - edges / (n_a * n_b))
        degree = (a * (b.sum() - b) + b * (a.sum() - a)).max()
        # sets that differ by one at most, and no fewer of them than a cluster has comparisons
        assert way.blocks * degree <= edges
        # no set is larger than half of the clusters that have any
        assert way.blocks <= (kept.any(1)).sum() // 2
        # nor is any given away: three halves of that many sets are always enough (Shannon 1949)
        assert way.blocks >= edges // max(3 * degree // 2, 1)


# ---- p-values of "no larger than a minimum"

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


@pytest.mark.parametrize(("paired", "blocks"), [(False, 40), (True, 20)])
def test_a_unit_without_exception_has_the_smallest_p_and_pairs_are_worth_half(paired, blocks):
    values = np.repeat([1.0, 0.0], 40)[:, None] * np.array([1.0, -1.0])
    pairs = [*map(str, range(40))] * 2 if paired else None
    table = auroc_table(make_table(values, ["da"] * 40 + ["en"] * 40, pairs))
    expected = pytest.approx([0.8**blocks, 1])
    assert exact_p(table, "da", "en").tolist() == expected
    assert minimum_p(table, "da", "en", method="studentised").tolist() == expected
    assert perfect_p(table, "da", "en") == pytest.approx(0.8**blocks)
    assert studentised(table, "da", "en")[1] == -np.inf
