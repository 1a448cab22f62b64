"""Doses cover nothing, what was asked for and what the units do by themselves, and say which is which."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glossae.effects import UnitRange, doses
from glossae.errors import GlossaeError

PAPER = tuple(float(value) for value in range(-8, 9, 2))

POSITIVE = st.floats(0.01, 50)
RANGES = st.lists(
    st.lists(POSITIVE, min_size=4, max_size=4).map(lambda values: UnitRange(*sorted(values))),
    min_size=1,
    max_size=5,
)
VALUES = st.lists(st.floats(-10, 10), max_size=6).map(tuple)
UNIT = st.sampled_from(["latent", "p99"])


def values_of(found):
    return [dose.value for dose in found]


def test_the_papers_values_0_the_median_and_the_99th_percentile():
    found = doses(PAPER, [UnitRange(0.1, 1.5, 5.0, 6.5)], "latent")
    assert values_of(found) == [-8, -6, -4, -2, 0, 1.5, 2, 4, 5, 6, 8]
    assert [dose.value for dose in found if dose.in_range] == [0, 1.5, 2, 4, 5, 6]
    assert all(dose.targets == (dose.value,) for dose in found)


def test_0_is_there_once_whether_asked_for_or_not():
    unit = UnitRange(1.0, 2.0, 3.0, 4.0)
    for values in [(5.0,), (0.0, 5.0), (-0.0, 5.0), ()]:
        found = doses(values, [unit], "latent")
        assert values_of(found).count(0.0) == 1
        assert next(dose for dose in found if dose.value == 0).in_range


def test_a_value_between_0_and_the_smallest_is_in_range():
    # not firing and firing weakly are both what a unit does by itself
    found = doses((1.0, 5.0), [UnitRange(3.0, 3.5, 4.0, 4.5)], "latent")
    assert {dose.value: dose.in_range for dose in found} == {0: True, 1: True, 3.5: True, 4: True, 5: False}


def test_a_unit_that_fires_below_zero_has_a_range_there():
    unit = UnitRange(-3.0, -1.0, -0.5, -0.25)
    found = doses((-4.0, -2.0, 1.0), [unit], "latent")
    assert {dose.value: dose.in_range for dose in found} == {
        -4: False, -2: True, -1: True, -0.5: True, 0: True, 1: False,
    }  # fmt: skip


def test_in_range_means_for_every_unit():
    found = doses((3.0,), [UnitRange(0.1, 1.0, 2.0, 2.5), UnitRange(0.1, 2.0, 4.0, 5.0)], "latent")
    flags = {dose.value: dose.in_range for dose in found}
    assert flags == {0: True, 1.5: True, 2: True, 3: False}
    assert all(dose.targets == (dose.value, dose.value) for dose in found)


def test_units_that_differ_much_have_their_doses_where_all_are_in_range():
    # the mean of the medians, 3, is more than the first ever emits
    found = doses((), [UnitRange(0.1, 1.0, 2.0, 2.5), UnitRange(0.1, 5.0, 6.0, 7.0)], "latent")
    assert [(dose.value, dose.in_range) for dose in found] == [(0, True), (2, True)]


def test_multiples_of_the_99th_percentile():
    ranges = [UnitRange(0.1, 1.0, 2.0, 3.0), UnitRange(0.1, 1.0, 10.0, 11.0), UnitRange(0.1, 3.0, 4.0, 4.5)]
    found = doses((-1.0, 1.2), ranges, "p99")
    # the medians are 0.5, 0.1 and 0.75 of the 99th percentiles
    assert values_of(found) == [-1, 0, 0.5, 1, 1.2]
    assert [dose.targets for dose in found] == [
        (-2, -10, -4),
        (0, 0, 0),
        (1, 5, 2),
        (2, 10, 4),
        pytest.approx((2.4, 12, 4.8)),
    ]
    assert [dose.in_range for dose in found] == [False, True, True, True, False]


@pytest.mark.parametrize("p99", [0.0, -1.0])
def test_multiples_of_nothing_are_refused(p99):
    with pytest.raises(GlossaeError, match="^effects.unit: p99 needs units that fire"):
        doses((1.0,), [UnitRange(0.1, 1.0, 2.0, 3.0), UnitRange(-5.0, -3.0, p99, 0.0)], "p99")


def test_no_units_have_no_doses():
    assert doses(PAPER, [], "latent") == doses(PAPER, [], "p99") == []


@given(VALUES, RANGES, UNIT)
def test_whatever_is_asked_for(values, ranges, unit):
    found = doses(values, ranges, unit)
    assert values_of(found) == sorted(set(values_of(found)))
    assert {0.0, *values} <= set(values_of(found))
    for dose in found:
        expected = [dose.value * (r.p99 if unit == "p99" else 1) for r in ranges]
        assert dose.targets == pytest.approx(expected)
        assert dose.in_range == all(
            min(0, r.smallest) <= target <= max(0, r.largest)
            for r, target in zip(ranges, dose.targets, strict=True)
        )


@given(VALUES, RANGES, UNIT)
def test_there_is_always_something_in_range_above_0(values, ranges, unit):
    own = {dose.value for dose in doses((), ranges, unit)} - {0.0}
    assert 1 <= len(own) <= 2
    flags = {dose.value: dose.in_range for dose in doses(values, ranges, unit)}
    assert all(flags[value] for value in own)
