"""AUROC of every unit and pair of languages equals the one counted comparison by comparison."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import norm
from sentence_tables import brute_force, make_table

from glossae.errors import GlossaeError
from glossae.find import auroc_table
from glossae.find.testing import independence
from glossae.units.detail import auroc

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


@settings(max_examples=150, deadline=None)
@given(tables(), st.integers(1, 60))
def test_it_equals_brute_force_with_ties_negatives_and_pairs(made, entries):
    values, languages, pairs = made
    found = auroc_table(make_table(values, languages, pairs), entries=entries)
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


@settings(max_examples=50, deadline=None)
@given(tables(clustering=("lone",)))
def test_without_pairs_the_error_is_delongs(made):
    values, languages, pairs = made
    found = auroc_table(make_table(values, languages, pairs))
    x, y = values[languages == "da"].T, values[languages == "en"].T
    for unit in range(len(x)):
        kernel = np.sign(x[unit][:, None] - y[unit]) / 2 + 0.5
        delong = kernel.mean(1).var(ddof=1) / len(x[unit]) + kernel.mean(0).var(ddof=1) / len(y[unit])
        assert found.se_of("da", "en")[unit] == pytest.approx(np.sqrt(delong), abs=1e-9)
        assert found.of("da", "en")[unit] == pytest.approx(auroc(x[unit], y[unit]), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(tables(), st.randoms(use_true_random=False))
def test_the_order_of_sentences_and_the_size_of_chunks_say_nothing(made, random):
    table = make_table(*made)
    order = list(range(len(table)))
    random.shuffle(order)
    one, other = auroc_table(table), auroc_table(table.take(order), entries=1)
    np.testing.assert_allclose(other.estimate, one.estimate, atol=1e-12)
    np.testing.assert_allclose(other.se, one.se, atol=1e-7)


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


def test_a_unit_that_never_fires_says_nothing():
    found = auroc_table(make_table(np.zeros((8, 2)), ["da", "en"] * 4))
    assert found.of("da", "en").tolist() == [0.5, 0.5]
    assert found.se_of("da", "en").tolist() == [0, 0]


def test_intervals_lie_on_the_logit_scale_and_reach_down_from_one():
    generator = np.random.default_rng(1)
    values = np.zeros((60, 3))
    values[:30, 0] = 1 + generator.random(30)  # without exception
    values[:, 1] = generator.normal(size=60) + np.repeat([1, 0], 30)
    values[30:, 2] = 1 + generator.random(30)  # the other way round
    found = auroc_table(make_table(values, ["da"] * 30 + ["en"] * 30))
    low, high = found.interval("da", "en", 0.9)
    assert (low[0], high[0]) == (pytest.approx(0.05 ** (1 / 30)), 1)
    assert (low[2], high[2]) == (0, pytest.approx(1 - 0.05 ** (1 / 30)))
    estimate, se = found.of("da", "en")[1], found.se_of("da", "en")[1]
    half = norm.ppf(0.95) * se / (estimate * (1 - estimate))
    assert (low[1], high[1]) == pytest.approx(expit(logit(estimate) + np.array([-half, half])))


def greedy_matching(edges, generator):
    """The size of a matching found by taking edges in a random order."""
    used = set()
    for k, other in generator.permutation(edges):
        if k not in used and other not in used:
            used |= {k, other}
    return len(used) // 2


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([[1, 0]] * 30 + [[0, 1]] * 20, [(0, 20)]),
        ([[1, 1]] * 30, [(1 / 30, 15), (1, 0)]),
        ([[1, 1]] * 31, [(1 / 31, 15), (1, 0)]),
        ([[3, 0]] * 10 + [[0, 1]] * 40, [(0, 10)]),
        ([[0, 0]] * 5 + [[1, 0]] * 7 + [[0, 2]] * 8, [(0, 7)]),
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


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=9), st.integers(0, 99))
def test_so_many_comparisons_can_be_divided_without_a_common_cluster(counts, seed):
    counts = np.array(counts)
    a, b = counts.T
    edges = [(k, other) for k in range(len(a)) for other in range(len(b)) if k != other and a[k] * b[other]]
    if not edges:
        return
    way = independence(counts)[0]
    weight = sum(a[k] * b[other] for k, other in edges)
    assert way.left_out == pytest.approx(1 - weight / (a.sum() * b.sum()))
    # no set without a common cluster can be smaller on average than what is promised of each, so one is as large
    largest = max(greedy_matching(edges, np.random.default_rng([seed, i])) for i in range(30))
    assert way.blocks <= largest
