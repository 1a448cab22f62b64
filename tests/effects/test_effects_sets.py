"""Sets of units: their doses and sweeps on one scale, and families that a dose takes from one language to another."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from effects_sae import SITE, D, random_sae
from glossae.effects import (
    FAMILIES,
    Dose,
    Edit,
    UnitRange,
    UnitSet,
    best_neurons,
    direction_set,
    doses,
    families,
    latent_set,
    neuron_set,
)
from glossae.errors import GlossaeError
from glossae.units import Latents, Moments, Neurons, activation_moments, activation_samples

PAPER = tuple(float(value) for value in range(-8, 9, 2))
RANGES = st.lists(
    st.lists(st.floats(0.01, 50), min_size=4, max_size=4).map(lambda values: UnitRange(*sorted(values))),
    min_size=1,
    max_size=5,
)
MEAN = torch.linspace(-1, 1, D)

# doses


def in_range(found):
    return {dose.value: dose.in_range for dose in found}


def test_the_papers_values_0_the_median_and_the_99th_percentile():
    found = doses(PAPER, [UnitRange(0.1, 1.5, 5.0, 6.5)], "latent")
    assert [dose.value for dose in found] == [-8, -6, -4, -2, 0, 1.5, 2, 4, 5, 6, 8]
    assert [dose.value for dose in found if dose.in_range] == [0, 1.5, 2, 4, 5, 6]
    assert all(dose.targets == (dose.value,) for dose in found)
    assert doses(PAPER, [], "latent") == doses(PAPER, [], "p99") == []


@pytest.mark.parametrize(
    ("values", "ranges", "expected"),
    [
        # not firing and firing weakly are both what a unit does by itself
        ((1.0, 5.0), [(3.0, 3.5, 4.0, 4.5)], {0: True, 1: True, 3.5: True, 4: True, 5: False}),
        # a unit that fires below zero has a range there
        (
            (-4.0, -2.0, 1.0),
            [(-3.0, -1.0, -0.5, -0.25)],
            {-4: False, -2: True, -1: True, -0.5: True, 0: True, 1: False},
        ),
        # in range means for every unit
        ((3.0,), [(0.1, 1.0, 2.0, 2.5), (0.1, 2.0, 4.0, 5.0)], {0: True, 1.5: True, 2: True, 3: False}),
        # the mean of the medians, 3, is more than the first ever emits
        ((), [(0.1, 1.0, 2.0, 2.5), (0.1, 5.0, 6.0, 7.0)], {0: True, 2: True}),
    ],
)
def test_which_doses_are_in_range(values, ranges, expected):
    found = doses(values, [UnitRange(*own) for own in ranges], "latent")
    assert in_range(found) == expected
    assert all(dose.targets == (dose.value,) * len(ranges) for dose in found)


def test_multiples_of_the_99th_percentile():
    ranges = [UnitRange(0.1, 1.0, 2.0, 3.0), UnitRange(0.1, 1.0, 10.0, 11.0), UnitRange(0.1, 3.0, 4.0, 4.5)]
    found = doses((-1.0, 1.2), ranges, "p99")
    # the medians are 0.5, 0.1 and 0.75 of the 99th percentiles
    assert in_range(found) == {-1: False, 0: True, 0.5: True, 1: True, 1.2: False}
    expected = [(-2, -10, -4), (0, 0, 0), (1, 5, 2), (2, 10, 4), pytest.approx((2.4, 12, 4.8))]
    assert [dose.targets for dose in found] == expected


@pytest.mark.parametrize("p99", [0.0, -1.0])
def test_multiples_of_nothing_are_refused(p99):
    with pytest.raises(GlossaeError, match="^effects.unit: p99 needs units that fire"):
        doses((1.0,), [UnitRange(0.1, 1.0, 2.0, 3.0), UnitRange(-5.0, -3.0, p99, 0.0)], "p99")


@given(st.lists(st.floats(-10, 10), max_size=6), RANGES, st.sampled_from(["latent", "p99"]))
def test_doses_are_in_order_and_some_above_0_are_in_range(values, ranges, unit):
    found = doses(values, ranges, unit)
    assert [dose.value for dose in found] == sorted({dose.value for dose in found})
    assert {0.0, *values} <= {dose.value for dose in found}
    for dose in found:
        expected = [dose.value * (r.p99 if unit == "p99" else 1) for r in ranges]
        assert dose.targets == pytest.approx(expected)
        assert dose.in_range == all(
            min(0, r.smallest) <= target <= max(0, r.largest)
            for r, target in zip(ranges, dose.targets, strict=True)
        )
    own = {dose.value for dose in doses((), ranges, unit)} - {0.0}
    assert 1 <= len(own) <= 2
    assert all(in_range(found)[value] for value in own)


# sweeps


def test_a_sweep_of_latents_is_the_model_then_every_dose_spliced_and_not():
    sae, dose_list = random_sae(), [Dose(-2.0, (-2.0, -4.0), False), Dose(0.0, (0.0, 0.0), True)]
    made = latent_set("da", sae, (30, 2), dose_list, (0.25, 0.125))
    found = [(step.edit, step.in_range) for step in made.sweep]
    expected = [(None, None)]
    for splice in (True, False):
        expected.append((Edit("none", splice=splice), None))
        expected += [(Edit("set", (30, 2), d.targets, splice, d.value), d.in_range) for d in dose_list]
        expected.append((Edit("mean", (30, 2), (0.25, 0.125), splice), None))
    expected.append((Edit("zero", (30, 2)), None))
    expected += [(Edit("scale", (30, 2), (s, s), value=s), None) for s in (-1.0, -2.0, -4.0)]
    assert found == expected
    assert (made.kind, made.size) == ("latent", 2)
    kept = latent_set("da", sae, (30, 2), dose_list, (0.25, 0.125), splice=False)
    assert [step.edit for step in kept.sweep] == [e for e, _ in expected if e is not None and not e.splice]
    # without units there is nothing to set
    none = latent_set("none", sae, (), [], ())
    assert [step.edit for step in none.sweep] == [None, Edit("none", splice=True), Edit("none")]
    assert (none.size, none.off, none.strongest) == (0, [], [])


def test_shares_lie_on_the_line_from_no_edit_through_the_mean():
    generator = torch.Generator().manual_seed(0)
    x, target_mean = torch.randn(30, D, generator=generator), MEAN + torch.randn(D, generator=generator)
    neurons = neuron_set("best neurons", Neurons(SITE, D), (4, 9), MEAN)
    direction = direction_set("difference of means", target_mean - MEAN, MEAN, target_mean)
    assert (neurons.kind, neurons.size, direction.kind, direction.size) == ("neuron", 2, "direction", 1)

    def moved(own, operation, value):
        (step,) = [s for s in own.sweep if s.edit and (s.edit.operation, s.edit.value) == (operation, value)]
        return step.edit.compile(step.units)(x).double() - x.double()

    for own, whole in ((neurons, ("mean", None)), (direction, ("project_out", 0.0))):
        assert [step.edit.operation for step in own.off] == [whole[0]]
        for share in (0.75, 0.25, -1.0):
            expected = (1 - share) * moved(own, *whole)
            torch.testing.assert_close(moved(own, "scale", share), expected, atol=1e-4, rtol=1e-4)
    # a neuron at the mean reads the mean, a direction too
    after = x + moved(neurons, "mean", None)
    torch.testing.assert_close(after[:, [4, 9]], MEAN[[4, 9]].double().expand(30, 2), atol=1e-5, rtol=0)
    after = (x + moved(direction, "project_out", 0.0)) @ (target_mean - MEAN).double()
    at_mean = (MEAN @ (target_mean - MEAN)).double()
    torch.testing.assert_close(after, at_mean.expand(30), atol=1e-4, rtol=0)
    # added once, a difference of means is itself
    added = moved(direction, "add", 1.0)
    torch.testing.assert_close(added, (target_mean - MEAN).double().expand(30, D), atol=1e-5, rtol=0)
    assert [step.edit.value for step in direction.strongest] == [-2.0, -2.0]


# families

LATENTS = (30, 2)


@pytest.fixture(scope="module")
def moments(tiny_lm, tiny_tokens):
    return activation_moments(tiny_lm, SITE, tiny_tokens)


@pytest.fixture(scope="module")
def samples(tiny_lm, tiny_tokens):
    x, languages = activation_samples(tiny_lm, SITE, tiny_tokens)
    return {code: x[torch.from_numpy(languages == code)] for code in ("da", "en")}


def families_of(moments, names, means, latents=LATENTS):
    options = {"site": SITE, "sae": random_sae(), "target": "da", "reference": "en", "moments": moments}
    return families(names, latents=latents, latent_means=means, **options)


@pytest.mark.parametrize("name", FAMILIES)
def test_dose_1_goes_from_one_mean_to_the_other(moments, samples, name):
    latents = Latents(random_sae())
    means = tuple(latents.read(samples[code], LATENTS).mean(0).tolist() for code in ("en", "da"))
    (family,) = families_of(moments, (name,), means)
    assert family.name == name
    x = samples["en"]
    moved = family.compiled([1.0])[0](x).double() - x.double()
    directions = family.all_units.direction(family.ids).double()
    if family.operation == "set":
        # every other unit's share is kept, and these read the target's mean (neurons exactly; latents in the code)
        expected = (torch.tensor(family.high) - family.all_units.read(x, family.ids)).double() @ directions
        torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-4)
    elif family.operation == "add":
        by = torch.tensor(family.high).double() - torch.tensor(family.low).double()
        torch.testing.assert_close(moved, (by @ directions).expand(len(x), -1), rtol=1e-4, atol=1e-4)
        if name == "means_add":
            difference = samples["da"].mean(0) - samples["en"].mean(0)
            torch.testing.assert_close(moved.mean(0).float(), difference, rtol=1e-4, atol=1e-4)
    else:
        component = samples["da"].double().mean(0) @ directions.T
        after = (x.double() + moved) @ directions.T
        torch.testing.assert_close(after, component.expand(len(x), -1), rtol=1e-4, atol=1e-4)


def test_neurons_are_those_with_the_largest_effect(moments, samples):
    da, en = samples["da"].double(), samples["en"].double()
    pooled = ((da - da.mean(0)).square().sum(0) + (en - en.mean(0)).square().sum(0)) / (len(da) + len(en))
    effect = (da.mean(0) - en.mean(0)).abs() / pooled.sqrt()
    assert best_neurons(moments, "da", "en", 3) == tuple(effect.argsort(descending=True)[:3].tolist())
    # those that passed tests come first; D + i is coordinate i the other way round
    first, second, *_ = best_neurons(moments, "da", "en", 5)
    assert best_neurons(moments, "da", "en", 3, (D + second, 7, second)) == (second, 7, first)
    # one that never moves has no effect
    still = Moments.of(torch.tensor([[1.0, 2.0], [1.0, 3.0]]), np.array(["da", "en"]), site=SITE)
    assert set(best_neurons(still, "da", "en", 2)) == {0, 1}


def test_families_come_in_the_order_asked_and_latents_that_read_alike_are_left_out(moments):
    names = ("means_add", "latents_set", "latents_add")
    found = families_of(moments, names, ((0.0, 1.0), (0.0, 2.0)))
    assert [(family.name, family.ids) for family in found] == list(
        zip(names, [(0,), (2,), (2,)], strict=True)
    )
    none = families_of(moments, ("latents_set", "neurons_set"), ((), ()), latents=())
    assert [(family.name, len(family.ids)) for family in none] == [("neurons_set", 1)]


def test_a_family_has_a_mean_for_each_unit():
    with pytest.raises(GlossaeError, match="steering: x: 2 units, 1 and 2 means"):
        UnitSet("x", Neurons(SITE, 4), (0, 1), "add", (0.0,), (1.0, 2.0))
