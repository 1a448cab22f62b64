"""Deals of labels: moments in closed form, and what drawing them gives."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, norm, rankdata
from sentence_tables import make_table

from glossae.find import auroc_table, multipliers, permutations, studentised
from glossae.find.testing.clusters import Clusters
from glossae.find.testing.shuffle import Shuffle

COMPARISON = ("da", "en")


def deals(languages, pairs):
    """Every deal of the labels of two languages, as sets of the target's sentences."""
    clusters = {pair: np.flatnonzero(pairs == pair) for pair in dict.fromkeys(pairs.tolist())}
    choices, lone = [], {}
    for members in clusters.values():
        targets = int((languages[members] == "da").sum())
        if 0 < targets < len(members):
            choices.append([set(dealt) for dealt in itertools.combinations(members.tolist(), targets)])
        else:
            lone.setdefault(len(members), []).append((set(members.tolist()), targets > 0))
    for stratum in lone.values():
        targets = sum(target for _, target in stratum)
        choices.append(
            [set().union(*dealt) for dealt in itertools.combinations([m for m, _ in stratum], targets)]
        )
    return [set().union(*dealt) for dealt in itertools.product(*choices)]


@pytest.mark.parametrize(
    ("languages", "pairs"),
    [
        ("dddddeeee", "abcdefghi"),
        ("dededede", "aabbccdd"),
        ("deedddee", "aabcdefg"),
        ("dddeedde", "aaabccdd"),
        ("ddeeddeede", "aabbccddef"),
    ],
    ids=["alone", "pairs", "a mix", "clusters of several", "documents"],
)
def test_moments_and_draws_are_those_of_all_deals(languages, pairs):
    languages = np.array([{"d": "da", "e": "en"}[letter] for letter in languages])
    pairs = np.array(list(pairs))
    generator = np.random.default_rng(0)
    values = generator.integers(-1, 3, size=(len(languages), 5)) * 1.0
    # a third language in between must not matter
    languages, pairs = np.insert(languages, 2, "sv"), np.insert(pairs, 2, pairs[0])
    values = np.insert(values, 2, 7.0, axis=0)
    table = make_table(values, languages, pairs)
    found = permutations(table, [COMPARISON], draws=4000, seed=1)
    both = languages != "sv"
    ranks = rankdata(values[both], axis=0)
    every = np.array(
        [ranks[sorted(dealt)].sum(0) for dealt in deals(languages[both], pairs[both])],
    )
    observed = ranks[languages[both] == "da"].sum(0)
    deviation = every.std(0)
    expected = np.where(deviation > 0, (observed - every.mean(0)) / np.where(deviation > 0, deviation, 1), 0)
    np.testing.assert_allclose(found.z[0], expected, atol=1e-9)
    # the drawn maxima have the distribution of the maxima over all deals
    scored = ((every - every.mean(0)) / np.where(deviation > 0, deviation, 1)).max(1)
    for level in (0.25, 0.5, 0.75):
        cut = np.quantile(scored, level) + 1e-4
        assert (found.maxima[0] <= cut).mean() == pytest.approx((scored <= cut).mean(), abs=0.04)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 1.0))
def test_without_pairs_p_is_that_of_mann_and_whitney(seed, share):
    generator = np.random.default_rng(seed)
    values = generator.integers(-2, 4, size=(40, 3)) * (generator.random((40, 3)) < share)
    values[0], values[39] = 1, 2  # no unit is the same everywhere
    languages = np.array(["da"] * 15 + ["en"] * 25)
    p = permutations(make_table(values, languages), [COMPARISON], draws=0).p(*COMPARISON)
    for unit in range(3):
        expected = mannwhitneyu(
            values[:15, unit],
            values[15:, unit],
            alternative="greater",
            method="asymptotic",
            use_continuity=False,
        ).pvalue
        assert p[unit] == pytest.approx(expected)


def dense_and_sparse(n=40, units=300, seed=0):
    """Some units fire on nearly every sentence, most on few; pairs in half of the sentences."""
    generator = np.random.default_rng(seed)
    share = np.where(np.arange(units) < 30, 0.9, 0.03)
    values = generator.exponential(size=(2 * n, units)) * (generator.random((2 * n, units)) < share)
    pairs = [*(f"pair {i}" for i in range(n // 2)), *(f"da {i}" for i in range(n // 2))]
    pairs += [*(f"pair {i}" for i in range(n // 2)), *(f"en {i}" for i in range(n // 2))]
    return make_table(values, ["da"] * n + ["en"] * n, pairs)


def test_units_that_fire_often_and_seldom_go_the_same_way():
    table = dense_and_sparse()
    found = permutations(table, [COMPARISON], draws=100)
    clusters = Clusters.of(table)
    shuffle = Shuffle.of(clusters, *COMPARISON)
    labels = np.unpackbits(
        shuffle.draw(100, np.random.default_rng([0, *b"da/en"])), axis=1, count=100
    ).astype(float)
    ranks = rankdata(table.values.toarray()[clusters.order], axis=0)
    sums = ranks.T @ labels
    many = ranks.T @ np.unpackbits(
        shuffle.draw(50_000, np.random.default_rng(9)), axis=1, count=50_000
    ).astype(np.float32)
    varies = many.std(1) > 0
    z = (sums - many.mean(1, keepdims=True))[varies] / many.std(1, keepdims=True)[varies]
    np.testing.assert_allclose(found.maxima[0], z.max(0), rtol=0.03, atol=0.03)


def test_neither_order_nor_chunks_nor_other_comparisons_change_a_draw():
    table = dense_and_sparse()
    one = permutations(table, [COMPARISON], draws=50, seed=3)
    order = np.random.default_rng(0).permutation(len(table))
    other = permutations(table.take(order), [("en", "da"), COMPARISON], draws=50, seed=3, entries=200)
    np.testing.assert_allclose(other.z[1], one.z[0], atol=1e-9)
    np.testing.assert_allclose(other.maxima[1], one.maxima[0], rtol=1e-5)
    np.testing.assert_allclose(other.z[0], -one.z[0], atol=1e-9)
    np.testing.assert_allclose(other.below[1], one.below[0])
    assert not np.allclose(permutations(table, [COMPARISON], draws=50, seed=4).maxima, one.maxima)


def test_a_unit_that_never_varies_is_no_evidence():
    found = permutations(make_table(np.zeros((6, 2)), ["da", "en"] * 3), [COMPARISON], draws=20)
    assert found.z.tolist() == [[0, 0]]
    assert found.p(*COMPARISON).tolist() == [0.5, 0.5]
    assert found.below.tolist() == [[0, 0]]


@pytest.mark.parametrize("paired", [False, True])
def test_p_values_of_drawn_deals_are_as_often_small_as_they_say(paired):
    generator = np.random.default_rng(5)
    n, units = 100, 200
    values = generator.normal(size=(2 * n, units))
    pairs = [*map(str, range(n))] * 2 if paired else None
    found = permutations(make_table(values, ["da"] * n + ["en"] * n, pairs), [COMPARISON], draws=500)
    assert found.below[0, 0] == pytest.approx(0.05, abs=0.003)
    assert found.below[0, 1] == pytest.approx(0.001, abs=0.0004)


def correlated(n, units, minimum, generator):
    """Units at one AUROC that depend on each other, and their translations on them."""

    def half():
        return generator.normal(size=(n, 1)) + generator.normal(size=(n, units))

    common = half()
    shift = np.sqrt(2) * norm.ppf(minimum)
    return np.concatenate([(common + half()) / 2 + shift, (common + half()) / 2])


@pytest.mark.parametrize("minimum", [0.5, 0.8])
def test_family_wise_error_is_held_at_the_minimum(minimum):
    generator = np.random.default_rng(7)
    n, tables = 80, 120
    pairs = [*map(str, range(n))] * 2
    wrong = 0
    for seed in range(tables):
        table = make_table(correlated(n, 60, minimum, generator), ["da"] * n + ["en"] * n, pairs)
        auroc = auroc_table(table)
        drawn = multipliers(table, auroc, [COMPARISON], draws=200, seed=seed)
        score = studentised(auroc, *COMPARISON, minimum)
        wrong += drawn.adjusted(score[None], [COMPARISON]).min() <= 0.1
    # 12 of 120 may be; 22 or more would be so once in 500 times
    assert 0 < wrong < 22


def test_the_smallest_score_over_comparisons_is_what_counts():
    generator = np.random.default_rng(2)
    n = 50
    values = generator.normal(size=(3 * n, 40))
    values[:n, 0] += 3  # from both
    values[: 2 * n, 1] += 3  # from one only
    table = make_table(values, ["da"] * n + ["en"] * n + ["sv"] * n)
    comparisons = [("da", "en"), ("da", "sv")]
    auroc = auroc_table(table)
    drawn = multipliers(table, auroc, comparisons, draws=200)
    score = np.array([studentised(auroc, *comparison, 0.5) for comparison in comparisons])
    adjusted = drawn.adjusted(score, comparisons)
    assert adjusted[0] == 1 / 201
    assert adjusted[1] > 0.2
    # one comparison alone is held against its own largest only
    assert drawn.adjusted(score[[1]], [("da", "sv")])[1] == 1 / 201
