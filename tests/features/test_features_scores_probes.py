"""Sparse probes find the units that tell the language, on sentences that were held out."""

import numpy as np
import pytest
from score_tables import table_of

from glossae.errors import GlossaeError
from glossae.find import adaptive_probe, l1_probe
from glossae.find.scores.sparse_probe import held_out_rows


def world(sentences=400, units=40, seed=0):
    """Units that fire on a fifth of all sentences; 3 on most Danish ones, 4 on a bit more of them, 5 on English."""
    generator = np.random.default_rng(seed)
    danish = np.arange(sentences) % 2 == 0
    values = generator.exponential(1, (sentences, units)) * (generator.random((sentences, units)) < 0.2)
    for unit, rate in ((3, (0.95, 0.03)), (4, (0.5, 0.2)), (5, (0.1, 0.8))):
        fires = generator.random(sentences) < np.where(danish, *rate)
        values[:, unit] = generator.exponential(1, sentences) * fires + 0.5 * fires
    values[:, 7] = 0
    values[:, 8] = 2
    return table_of(values, np.where(danish, "da", "en"))


def test_the_l1_probe_knows_which_units_speak_for_what():
    fit = l1_probe(world(), "da", strength=1.0)
    of = dict(zip(fit.units.tolist(), fit.coefficients.tolist(), strict=True))
    assert of[3] == max(of.values())
    assert of[5] == min(of.values()) < 0
    # never, and always the same
    assert 7 not in of
    assert 8 not in of
    assert fit.converged
    assert fit.mcc > 0.85
    assert fit.f1 > 0.9


def test_a_strong_penalty_leaves_few_units():
    numbers = [
        int((l1_probe(world(), "da", strength=strength).coefficients != 0).sum())
        for strength in (0.01, 0.1, 10.0)
    ]
    assert numbers == sorted(numbers)
    assert numbers[0] < numbers[-1]


def test_scores_are_of_what_was_held_out():
    # language as a matter of chance: what is fitted to it is worth nothing elsewhere
    table = world()
    names = np.random.default_rng(5).permutation(table.languages)
    chance = table_of(table.values.toarray(), names)
    fit = l1_probe(chance, "da", strength=1e3)
    assert abs(fit.mcc) < 0.3
    rounds = adaptive_probe(chance, "da").rounds
    assert max(abs(fit.mcc) for fit in rounds) < 0.35


def test_thresholding_halves_down_to_the_best():
    probe = adaptive_probe(world(2000), "da")
    assert [len(fit.units) for fit in probe.rounds] == [32, 16, 8, 4, 2, 1]
    assert probe.order[0] == 3
    assert set(probe.order[:2].tolist()) == {3, 5}
    assert probe.unconverged == 0
    # each round is a part of the one before, and the order says when a unit was dropped
    for earlier, later in zip(probe.rounds, probe.rounds[1:], strict=False):
        assert set(later.units.tolist()) <= set(earlier.units.tolist())
    for fit in probe.rounds:
        assert set(fit.units.tolist()) == set(probe.order[: len(fit.units)].tolist())
    assert probe.rounds[-1].mcc > 0.7
    assert probe.rounds[0].mcc > 0.85


@pytest.mark.parametrize(("largest", "sizes"), [(8, [8, 4, 2, 1]), (5, [4, 2, 1]), (1, [1])])
def test_it_starts_where_it_is_told_to(largest, sizes):
    probe = adaptive_probe(world(), "da", largest=largest)
    assert [len(fit.units) for fit in probe.rounds] == sizes
    assert len(probe.order) == sizes[0]


def test_few_sentences_under_a_penalty_that_does_not_grow_leave_nothing():
    last = adaptive_probe(world(), "da").rounds[-1]
    assert (last.coefficients.tolist(), last.mcc) == ([0.0], 0.0)


def test_the_scale_of_a_unit_does_not_matter():
    table = world()
    scaled = table_of(table.values.toarray() * np.geomspace(0.01, 100, 40), table.languages)
    one, other = adaptive_probe(table, "da"), adaptive_probe(scaled, "da")
    assert one.order[:4].tolist() == other.order[:4].tolist()
    for fit, same in zip(one.rounds[-3:], other.rounds[-3:], strict=True):
        np.testing.assert_allclose(fit.coefficients, same.coefficients, rtol=1e-3, atol=1e-3)


def test_a_fit_that_did_not_converge_is_counted_and_silent(monkeypatch):
    monkeypatch.setattr("glossae.find.scores.sparse_probe.MAX_STEPS", 1)
    assert not l1_probe(world(), "da").converged
    assert adaptive_probe(world(), "da").unconverged > 0


def test_the_same_seed_gives_the_same():
    one, other = (adaptive_probe(world(), "da", seed=3) for _ in range(2))
    assert one.order.tolist() == other.order.tolist()
    assert [fit.mcc for fit in one.rounds] == [fit.mcc for fit in other.rounds]


def test_pairs_are_never_cut():
    pairs = [f"pair-{i // 2}" for i in range(100)]
    table = table_of(np.ones((100, 1)), ["da", "en"] * 50, pairs=pairs)
    fitted, held_out = held_out_rows(table, 0.3, 0)
    assert len(held_out) == 30
    assert sorted([*fitted, *held_out]) == list(range(100))
    assert not {pairs[i] for i in fitted} & {pairs[i] for i in held_out}
    # the same pairs, whatever the order of the sentences
    order = np.random.default_rng(0).permutation(100)
    _, again = held_out_rows(table.take(order), 0.3, 0)
    assert {pairs[i] for i in order[again]} == {pairs[i] for i in held_out}
    assert held_out_rows(table, 0.3, 1)[1].tolist() != held_out.tolist()


@pytest.mark.parametrize("probe", [l1_probe, adaptive_probe])
def test_both_languages_are_needed(probe):
    with pytest.raises(GlossaeError, match=r"^scores: a probe has to fit on sentences of da and of another"):
        probe(table_of(np.eye(10), ["en"] * 10), "da")
    with pytest.raises(GlossaeError, match=r"^scores: a probe has to hold out sentences of da and"):
        probe(table_of(np.eye(10), ["da"] * 5 + ["en"] * 5, pairs=["same"] * 10), "da", held_out=0.0)
    with pytest.raises(GlossaeError, match=r"^scores: no unit differs"):
        probe(table_of(np.ones((40, 2)), ["da", "en"] * 20), "da")
