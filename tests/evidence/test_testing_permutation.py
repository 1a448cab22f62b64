"""Labels dealt out and signs drawn anew: moments in closed form, the largest of many scores, and family-wise error."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, norm, rankdata

from glossae.evidence.testing import auroc_table, multipliers, permutations, studentised
from glossae.evidence.testing.permutation import largest_scores, signs, sparse_rows
from sentence_tables import make_table

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


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 1.0))
def test_without_pairs_p_is_that_of_mann_and_whitney(seed, share):
    generator = np.random.default_rng(seed)
    values = generator.integers(-2, 4, size=(40, 3)) * (generator.random((40, 3)) < share)
    values[0], values[39] = 1, 2  # no unit is the same everywhere
    languages = np.array(["da"] * 15 + ["en"] * 25)
    p = norm.sf(permutations(make_table(values, languages), [COMPARISON], draws=0).z[0])
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


def test_neither_order_nor_chunks_nor_other_comparisons_change_a_draw(monkeypatch):
    table = dense_and_sparse()
    one = permutations(table, [COMPARISON], draws=50, seed=3)
    order = np.random.default_rng(0).permutation(len(table))
    monkeypatch.setattr("glossae.evidence.testing.auroc.ENTRIES", 200)
    other = permutations(table.take(order), [("en", "da"), COMPARISON], draws=50, seed=3)
    np.testing.assert_allclose(other.z[1], one.z[0], atol=1e-9)
    np.testing.assert_allclose(other.maxima[1], one.maxima[0], rtol=1e-5)
    np.testing.assert_allclose(other.z[0], -one.z[0], atol=1e-9)
    np.testing.assert_allclose(other.below[1], one.below[0])
    assert not np.allclose(permutations(table, [COMPARISON], draws=50, seed=4).maxima, one.maxima)


def test_a_unit_that_never_varies_is_no_evidence():
    found = permutations(make_table(np.zeros((6, 2)), ["da", "en"] * 3), [COMPARISON], draws=20)
    assert found.z.tolist() == [[0, 0]]
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


# ---- largest scores, block by block


def entries(generator, units, sentences, share):
    """Some of a matrix's places, in the order of units; a few of them twice."""
    weight = generator.integers(-9, 10, (units, sentences)) * (generator.random((units, sentences)) < share)
    unit, sentence = np.nonzero(weight)
    twice = np.sort(np.append(np.arange(len(unit)), [0, 3, 3]))
    return unit[twice], sentence[twice], weight[unit, sentence][twice]


@pytest.mark.parametrize("share", [0.01, 0.9, "both"])
def test_they_are_those_of_one_plain_product(share, monkeypatch):
    monkeypatch.setattr("glossae.evidence.testing.permutation.BLOCK", 7)
    generator = np.random.default_rng(0)
    units, sentences, draws = 60, 90, 33
    of_unit = np.where(np.arange(units)[:, None] % 3, 0.01, 0.9) if share == "both" else share
    unit, sentence, weight = entries(generator, units, sentences, of_unit)
    drawn = signs(generator.integers(0, 256, (sentences, 5), dtype=np.uint8), draws)
    assert set(np.unique(drawn)) == {-1, 1}
    centres = [(generator.normal(size=units), None), (generator.normal(size=units), drawn.sum(0))]
    deviation = generator.uniform(1, 2, units)
    maxima, above = largest_scores(
        sparse_rows(unit, sentence, weight, (units, sentences)), drawn, centres, deviation, cuts=(0.0, 3.0)
    )
    plain = np.zeros((units, sentences))
    np.add.at(plain, (unit, sentence), weight)
    scores = plain @ drawn - centres[0][0][:, None] - np.outer(centres[1][0], drawn.sum(0))
    scores /= deviation[:, None]
    np.testing.assert_allclose(maxima, scores.max(0), rtol=1e-5, atol=1e-5)
    assert above.tolist() == [(scores > 0).sum(), (scores > 3).sum()]


def test_without_units_nothing_is_large():
    none = sparse_rows(*(np.zeros(0, dtype=np.int64) for _ in range(3)), (0, 4))
    maxima, above = largest_scores(none, np.ones((4, 3), dtype=np.float32), [], np.zeros(0), cuts=(1.0,))
    assert maxima.tolist() == [-np.inf] * 3
    assert above.tolist() == [0]


def by_hand(values, of, pairs, a, b, signs_of):
    """Every unit's signed sum of influences over its standard error, comparison by comparison."""
    x, y = values[of == a], values[of == b]
    scores = []
    for one, other in zip(x.T, y.T, strict=True):
        kernel = (one[:, None] > other) + 0.5 * (one[:, None] == other)
        own = (kernel.mean(1) - kernel.mean()) / len(x)
        theirs = (kernel.mean(0) - kernel.mean()) / len(y)
        total = sum(
            influence * signs_of[cluster]
            for influences, clusters in ((own, pairs[of == a]), (theirs, pairs[of == b]))
            for influence, cluster in zip(influences, clusters, strict=True)
        )
        scores.append(total)
    return np.array(scores)


@pytest.mark.parametrize("paired", [False, True])
def test_the_largest_signed_sums_are_those_counted_by_hand(paired, monkeypatch):
    generator = np.random.default_rng(1)
    n, units, draws = 12, 9, 16
    of = np.repeat(["da", "en", "sv"], n)
    pairs = np.array([f"pair {i % n if paired else i:02}" for i in range(3 * n)])
    values = generator.integers(-2, 4, (3 * n, units)) * (generator.random((3 * n, units)) < 0.5)
    values[:, 0] = 0
    table = make_table(values, of, pairs)
    comparisons = list(itertools.permutations(["da", "en", "sv"], 2))
    auroc = auroc_table(table)
    monkeypatch.setattr("glossae.evidence.testing.auroc.ENTRIES", 20)
    found = multipliers(table, auroc, comparisons, draws=draws, seed=4)
    names = np.unique(pairs)
    bits = np.random.default_rng(4).integers(0, 256, (len(names), 2), dtype=np.uint8)
    signs_of = dict(zip(names, 2.0 * np.unpackbits(bits, axis=1) - 1, strict=True))
    for row, (a, b) in enumerate(comparisons):
        se = auroc.se_of(a, b)
        varies = se > 0
        assert not varies[0]
        scores = by_hand(values, of, pairs, a, b, signs_of)[varies] / se[varies, None]
        np.testing.assert_allclose(found.maxima[row], scores.max(0), rtol=1e-5, atol=1e-5)


def test_threads_and_blocks_change_no_bit(monkeypatch):
    generator = np.random.default_rng(3)
    share = np.where(np.arange(400) < 40, 0.8, 0.03)
    values = generator.exponential(size=(80, 400)) * (generator.random((80, 400)) < share)
    table = make_table(values, ["da"] * 40 + ["en"] * 40, [f"pair {i % 40:02}" for i in range(80)])
    auroc, before = auroc_table(table), torch.get_num_threads()

    def drawn():
        one = permutations(table, [("da", "en")], draws=40)
        return one.z, one.maxima, one.below, multipliers(table, auroc, [("da", "en")], draws=40).maxima

    whole = drawn()
    monkeypatch.setattr("glossae.evidence.testing.permutation.BLOCK", 11)
    torch.set_num_threads(3 - min(before, 2))
    try:
        parts = drawn()
    finally:
        torch.set_num_threads(before)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, other)
