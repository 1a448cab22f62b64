"""Doses of the same damage are found by measuring, and sets that are switched off are known well enough."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from effects_sae import SITE, D, measured_on, random_sae
from glossae.corpora import Corpus
from glossae.effects import (
    NEAR,
    Edit,
    Step,
    UnitSet,
    direction_set,
    doses_at,
    latent_set,
    matched_sweeps,
    neuron_set,
    neurons_off,
    switch_off,
)
from glossae.lm import edit, edits, sentence_losses, tokenize
from glossae.units import Neurons

MEAN = torch.linspace(-1, 1, D)


@given(
    st.floats(0.05, 100),
    st.floats(1, 3),
    st.floats(3, 12),
    st.lists(st.floats(0.05, 2), min_size=1, max_size=3, unique=True),
)
def test_doses_of_the_same_damage_are_found(scale, power, most, levels):
    def damage(doses):
        return [-most * float(np.expm1(-((dose / scale) ** power))) for dose in doses]

    known = dict(zip((1.0, 2.0, 4.0), damage([1.0, 2.0, 4.0]), strict=True))
    for level, dose in doses_at(damage, known, levels).items():
        if dose is not None:
            assert damage([dose])[0] == pytest.approx(level, rel=0.1 + 1e-9)
        else:
            assert damage([4 * 64])[0] < level


def test_near_enough_is_two_percent_and_what_no_dose_does_is_not_found():
    found = doses_at(lambda doses: [dose**2 / 50 for dose in doses], {1.0: 0.02, 4.0: 0.32}, [0.1, 0.321])
    # a dose at hand is taken
    assert found[0.321] == 4.0
    assert found[0.1] ** 2 / 50 == pytest.approx(0.1, rel=NEAR)
    assert doses_at(lambda doses: [0.05] * len(doses), {1.0: 0.05}, [0.1, 0.05]) == {0.1: None, 0.05: 1.0}
    assert doses_at(lambda doses: [0.0] * len(doses), {1.0: 0.0}, [0.1]) == {0.1: None}


def test_doses_reach_the_damage_and_no_more(tiny_lm, tiny_corpus):
    target_mean = MEAN + torch.randn(D, generator=torch.Generator().manual_seed(0))
    sets = [
        latent_set("da", random_sae(), (30, 2), [], (0.25, 0.125)),
        neuron_set("best neurons", Neurons(SITE, D), (4, 9), MEAN),
        direction_set("difference of means", target_mean - MEAN, MEAN, target_mean),
    ]
    text = tokenize(tiny_lm, Corpus.of(tiny_corpus.only("da").sentences[:8]))

    def damage(sweep):
        found = measured_on(tiny_lm, sweep, text)
        return {m.edit: float((m.losses - found[0].losses).sum() / text.predicted.sum()) for m in found}

    ends = {}
    for own in sets:
        for end in own.strongest:
            rises = damage([Step(end.units, Edit("none")), end])
            ends[own.name, end.edit.operation] = rises[end.edit]
    level = 0.8 * min(end for end in ends.values() if end > 0.01)
    reached = {name for name, end in ends.items() if end > level}
    assert {name for name, _ in reached} == {"best neurons", "difference of means"}
    found = set()
    off = {"da": "zero", "best neurons": "mean", "difference of means": "project_out"}
    for own, sweep in zip(
        sets, matched_sweeps(tiny_lm, SITE, sets, text, [level, 1e6], only_off=["da"]), strict=True
    ):
        rises = damage(sweep)
        none, switched, *others = rises
        assert (none.operation, switched.operation) == ("none", off[own.name])
        for change in others:
            found.add((own.name, change.operation))
            assert level <= rises[change] <= 1.05 * level
    assert found == reached
    assert all(
        len(sweep) == 2 for sweep in matched_sweeps(tiny_lm, SITE, sets, text, [level], only_off=[*off])
    )


def test_sets_are_switched_off_side_by_side(tiny_lm, tiny_corpus):
    text, sae, zero = tokenize(tiny_lm, tiny_corpus), random_sae(), Edit("zero", (1, 2))
    everywhere = {0: (1, 2), 2: (5,)}
    sets = [
        UnitSet("latents", sae, (1, 2), sweep=[Step(sae, zero)]),
        UnitSet("everywhere", layers=everywhere),
        UnitSet("nothing", sae, sweep=[Step(sae, Edit("zero"))]),
    ]
    kept = {}

    def switched(precision, keep):
        return switch_off(tiny_lm, SITE, sets, text, precision=precision, seed=0, keep=keep)

    found = switched(0.0, lambda name, work: kept.setdefault(name, work()))
    again = switched(0.0, lambda name, _: kept[name])
    assert np.array_equal(found.change, again.change)
    # a precision of 0 is that of a tenth of the change, or of the whole text
    scored = found.tokens
    raw = sentence_losses(tiny_lm, scored)
    with edit(tiny_lm, SITE, zero.compile(sae)):
        one = sentence_losses(tiny_lm, scored) - raw
    with edits(tiny_lm, neurons_off(tiny_lm, everywhere)):
        other = sentence_losses(tiny_lm, scored) - raw
    np.testing.assert_allclose(found.raw, raw, rtol=1e-5, atol=1e-4)
    for row, used, change in zip(found.change, found.used, (one, other, 0 * raw), strict=True):
        np.testing.assert_allclose(row, used * change, atol=1e-3)
    for code in ("da", "en"):
        rows = found.rows(code)
        sizes = (found.used[0, rows] * scored.predicted[rows]).sum()
        assert found.mean(code)[0] == pytest.approx(found.change[0, rows].sum() / sizes)
        low, high = np.quantile(found.resampled(code, draws=200, seed=1)[:, 0], [0.025, 0.975])
        assert low <= found.mean(code)[0] <= high
        assert found.mean(code)[2] == 0
    # asked for little, the first sample is enough
    assert switched(1e3, lambda _, work: work()).used.sum() <= found.used.sum()
