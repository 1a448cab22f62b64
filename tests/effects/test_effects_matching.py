"""Sets that are drawn in the selected latents' place are like them, and hold none of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glossae.effects import matched_sets, profiles, smoothed_rate
from glossae.errors import GlossaeError


def population(units=400, seed=0):
    generator = np.random.default_rng(seed)
    rate = np.exp(generator.normal(-4, 1.5, units)).clip(1e-5, 1)
    fired = generator.binomial(5000, (rate * np.exp(generator.normal(-1, 2, units))).clip(0, 1))
    return (
        rate,
        generator.gamma(2.0, 2.0, units),
        generator.uniform(0.5, 2.0, units),
        smoothed_rate(fired, 5000),
    )


def test_drawn_latents_match_on_what_they_are_matched_on():
    rate, active, norm, other = population()
    selected = tuple(np.argsort(-rate)[20:24].tolist())
    sets = matched_sets(profiles(rate, active, norm, other), selected, 300, seed=1)
    assert sets.shape == (300, 4)
    for values in (rate, active, norm, other):
        logs = np.log(values)
        apart = np.abs(logs[sets] - logs[list(selected)]).mean()
        # of latents taken at random
        by_chance = np.abs(logs[:, None] - logs[list(selected)]).mean()
        assert apart < 0.5 * by_chance


def test_each_place_is_filled_from_the_nearest_to_it():
    rate, active, norm, other = population()
    profile = profiles(rate, active, norm, other)
    sets = matched_sets(profile, (3, 77), 200, seed=0, candidates=5)
    for place, unit in enumerate((3, 77)):
        distance = np.square(profile - profile[unit]).sum(1)
        distance[[3, 77]] = np.inf
        assert set(sets[:, place]) == set(np.argsort(distance, kind="stable")[:5])


@given(st.integers(1, 6), st.integers(0, 1000))
def test_no_set_has_a_latent_twice_or_one_that_is_selected(size, seed):
    rate, active, norm, other = population(60, seed)
    selected = tuple(range(size))
    sets = matched_sets(profiles(rate, active, norm, other), selected, 20, seed=seed, candidates=3)
    assert all(len(set(row)) == size for row in sets.tolist())
    assert not np.isin(sets, selected).any()
    assert np.array_equal(
        sets, matched_sets(profiles(rate, active, norm, other), selected, 20, seed=seed, candidates=3)
    )


def test_silent_latents_are_never_drawn_and_rows_of_one_length_do_not_count():
    rate, active, _, other = population(50)
    rate[10:30] = 0
    active[10:30] = 0
    profile = profiles(rate, active, 1 + 1e-9 * np.arange(50), other)
    assert np.isnan(profile[10:30]).all()
    assert np.all(profile[:10, 2] == 0)
    sets = matched_sets(profile, (0, 15), 200, seed=0)
    assert not np.isin(sets, range(10, 30)).any()


def test_too_few_latents_are_refused():
    rate, active, norm, other = population(5)
    with pytest.raises(GlossaeError, match="2 latents fire besides the 3 selected"):
        matched_sets(profiles(rate, active, norm, other), (0, 1, 2), 10, seed=0)


def test_a_latent_that_never_fires_on_the_reference_is_matched_with_those_that_hardly_do():
    rate, active, norm, _ = population()
    fired = np.where(np.arange(400) % 2 == 0, 0, 4000)
    profile = profiles(rate, active, norm, smoothed_rate(fired, 5000))
    assert np.isfinite(profile).all()
    sets = matched_sets(profile, (0,), 100, seed=0)
    assert not (sets % 2).any()


def test_a_smoothed_rate_is_never_0_and_hardly_moved():
    rate = smoothed_rate(np.array([0, 500]), 1000)
    assert rate == pytest.approx([0.5 / 1001, 0.5], rel=1e-9)
