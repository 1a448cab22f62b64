"""Scores made and reduced block by block are those of the plain computation, whoever makes them."""

import itertools

import numpy as np
import pytest
import torch
from sentence_tables import make_table

from glossae.find import auroc_table, multipliers, permutations
from glossae.find.testing.product import Centre, largest_scores, signs, stored


@pytest.fixture
def threads(request):
    """So many threads, and afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def entries(generator, units, sentences, share):
    """Some of a matrix's places, in the order of units; a few of them twice."""
    weight = generator.integers(-9, 10, (units, sentences)) * (generator.random((units, sentences)) < share)
    unit, sentence = np.nonzero(weight)
    twice = np.sort(np.append(np.arange(len(unit)), [0, 3, 3]))
    return unit[twice], sentence[twice], weight[unit, sentence][twice]


@pytest.mark.parametrize("threads", [1, 2], indirect=True)
@pytest.mark.parametrize("share", [0.01, 0.9, "both"])
def test_they_are_those_of_one_plain_product(threads, share, monkeypatch):
    monkeypatch.setattr("glossae.find.testing.product.BLOCK", 7)
    generator = np.random.default_rng(0)
    units, sentences, draws = 60, 90, 33
    of_unit = np.where(np.arange(units)[:, None] % 3, 0.01, 0.9) if share == "both" else share
    unit, sentence, weight = entries(generator, units, sentences, of_unit)
    drawn = signs(generator.integers(0, 256, (sentences, 5), dtype=np.uint8), draws)
    assert set(np.unique(drawn)) == {-1, 1}
    centres = [Centre(generator.normal(size=units)), Centre(generator.normal(size=units), drawn.sum(0))]
    deviation = generator.uniform(1, 2, units)
    found = largest_scores(
        stored(unit, sentence, weight, (units, sentences)), drawn, centres, deviation, cuts=(0.0, 3.0)
    )
    plain = np.zeros((units, sentences))
    np.add.at(plain, (unit, sentence), weight)
    scores = plain @ drawn - centres[0].value[:, None] - np.outer(centres[1].value, drawn.sum(0))
    scores /= deviation[:, None]
    np.testing.assert_allclose(found.maxima, scores.max(0), rtol=1e-5, atol=1e-5)
    assert found.above.tolist() == [(scores > 0).sum(), (scores > 3).sum()]


def test_without_units_nothing_is_large():
    none = stored(*(np.zeros(0, dtype=np.int64) for _ in range(3)), (0, 4))
    found = largest_scores(none, np.ones((4, 3), dtype=np.float32), [], np.zeros(0), cuts=(1.0,))
    assert found.maxima.tolist() == [-np.inf] * 3
    assert found.above.tolist() == [0]


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
def test_the_largest_signed_sums_are_those_counted_by_hand(paired):
    generator = np.random.default_rng(1)
    n, units, draws = 12, 9, 16
    of = np.repeat(["da", "en", "sv"], n)
    pairs = np.array([f"pair {i % n if paired else i:02}" for i in range(3 * n)])
    values = generator.integers(-2, 4, (3 * n, units)) * (generator.random((3 * n, units)) < 0.5)
    values[:, 0] = 0
    table = make_table(values, of, pairs)
    comparisons = list(itertools.permutations(["da", "en", "sv"], 2))
    auroc = auroc_table(table)
    found = multipliers(table, auroc, comparisons, draws=draws, seed=4, entries=20)
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
    monkeypatch.setattr("glossae.find.testing.product.BLOCK", 11)
    torch.set_num_threads(3 - min(before, 2))
    try:
        parts = drawn()
    finally:
        torch.set_num_threads(before)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, other)
