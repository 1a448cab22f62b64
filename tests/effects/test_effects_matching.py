"""Sets that are drawn in the selected latents' place are like them, and hold none of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprog.effects import matched_sets, profiles
from sprog.errors import SprogError


def population(units=400, seed=0):
    generator = np.random.default_rng(seed)
    rate = np.exp(generator.normal(-4, 1.5, units)).clip(1e-5, 1)
    return rate, generator.gamma(2.0, 2.0, units), generator.uniform(0.5, 2.0, units)


def test_drawn_latents_match_on_what_they_are_matched_on():
    rate, active, norm = population()
    selected = tuple(np.argsort(-rate)[20:24].tolist())
    sets = matched_sets(profiles(rate, active, norm), selected, 300, seed=1)
    assert sets.shape == (300, 4)
    for values in (rate, active, norm):
        logs = np.log(values)
        apart = np.abs(logs[sets] - logs[list(selected)]).mean()
        # of latents taken at random
        by_chance = np.abs(logs[:, None] - logs[list(selected)]).mean()
        assert apart < 0.5 * by_chance


def test_each_place_is_filled_from_the_nearest_to_it():
    rate, active, norm = population()
    profile = profiles(rate, active, norm)
    sets = matched_sets(profile, (3, 77), 200, seed=0, candidates=5)
    for place, unit in enumerate((3, 77)):
        distance = np.square(profile - profile[unit]).sum(1)
        distance[[3, 77]] = np.inf
        assert set(sets[:, place]) == set(np.argsort(distance, kind="stable")[:5])


@given(st.integers(1, 6), st.integers(0, 1000))
def test_no_set_has_a_latent_twice_or_one_that_is_selected(size, seed):
    rate, active, norm = population(60, seed)
    selected = tuple(range(size))
    sets = matched_sets(profiles(rate, active, norm), selected, 20, seed=seed, candidates=3)
    assert all(len(set(row)) == size for row in sets.tolist())
    assert not np.isin(sets, selected).any()
    assert np.array_equal(
        sets, matched_sets(profiles(rate, active, norm), selected, 20, seed=seed, candidates=3)
    )


def test_silent_latents_are_never_drawn_and_rows_of_one_length_do_not_count():
    rate, active, _ = population(50)
    rate[10:30] = 0
    active[10:30] = 0
    profile = profiles(rate, active, 1 + 1e-9 * np.arange(50))
    assert np.isnan(profile[10:30]).all()
    assert np.all(profile[:10, 2] == 0)
    sets = matched_sets(profile, (0, 15), 200, seed=0)
    assert not np.isin(sets, range(10, 30)).any()


def test_too_few_latents_are_refused():
    rate, active, norm = population(5)
    with pytest.raises(SprogError, match="2 latents fire besides the 3 selected"):
        matched_sets(profiles(rate, active, norm), (0, 1, 2), 10, seed=0)
