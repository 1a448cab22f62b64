"""The tests against planted truth: few false discoveries, most true ones, and none where there is nothing."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glossae.find import Kinds, PlantedWorld, draw_sentences, minimum_p, q_values, score, test_units

KINDS = Kinds(single=10, groups=4, around=6, sibling=6, together=20, strength=(0.9, 0.99))
SENTENCES = 400
METHODS = ("exact", "studentised")


def world_of(seed, **changes):
    return PlantedWorld(d_in=8, features=300, languages=4, seed=seed, topics=8, kinds=KINDS, **changes)


def selected(evidence, minimum, method):
    comparisons = evidence.claims[0].claim.comparisons
    p = np.max([minimum_p(evidence.auroc, a, b, minimum, method=method) for a, b in comparisons], axis=0)
    return np.flatnonzero(q_values(p) <= 0.05)


@pytest.mark.parametrize("paired", [True, False], ids=["translations", "independent"])
def test_features_given_exactly_are_found_and_near_misses_are_not(paired):
    scores = {method: [] for method in METHODS}
    for seed in range(3):
        world = world_of(seed)
        table = draw_sentences(world, SENTENCES, paired=paired).table()
        for language in world.codes:
            evidence = test_units(table, language, minimum=0.8, q=0.05)
            truth = world.truth(language, 0.8)
            assert truth.sum() >= 10
            for method in METHODS:
                scores[method].append(score(selected(evidence, 0.8, method), truth))
            passing = evidence.passing(evidence.claims[0].claim.name)
            assert scores["exact"][-1] == score(passing, truth)
    for method in METHODS:
        assert np.mean([one.fdp for one in scores[method]]) <= 0.05
        assert np.mean([one.power for one in scores[method]]) >= 0.9


def test_a_lower_minimum_takes_the_near_misses_in():
    # so that the test above is not passed by features that no test could have taken
    world = world_of(0)
    table = draw_sentences(world, SENTENCES, paired=False).table()
    for language in world.codes:
        near = (world.kind == "sibling") & (world.profiles.home == world.codes.index(language))
        assert near.sum() >= 6
        taken = selected(test_units(table, language, minimum=0.7, q=0.05), 0.7, "exact")
        assert score(taken, near).power == 1.0


@pytest.mark.parametrize("paired", [True, False], ids=["translations", "independent"])
@pytest.mark.parametrize("minimum", [0.5, 0.8])
def test_shuffled_labels_find_next_to_nothing(paired, minimum):
    found = dict.fromkeys(METHODS, 0)
    for seed in range(3):
        world = world_of(seed)
        table = draw_sentences(world, SENTENCES // 2, paired=paired).table()
        groups = table.languages.reshape(-1, world.languages)
        random = np.random.default_rng(seed)
        labels = random.permuted(groups, axis=1) if paired else random.permutation(table.languages)
        dealt = dataclasses.replace(table, languages=labels.reshape(-1))
        for language in world.codes:
            evidence = test_units(dealt, language)
            for method in METHODS:
                found[method] += len(selected(evidence, minimum, method)) > 0
    # 12 claims, each with a discovery at a rate of 0.05 at most: three or more in two of a hundred such tests, and
    # an intersection of three comparisons is far below that
    assert max(found.values()) <= 2


@given(seed=st.integers(0, 2**31))
@settings(max_examples=4, deadline=None)
def test_no_world_makes_the_exact_test_take_a_group_for_a_language(seed):
    world = world_of(seed)
    table = draw_sentences(world, 200, paired=False).table()
    shared = np.flatnonzero(world.kind == "group")
    for language in world.codes:
        assert not set(selected(test_units(table, language), 0.8, "exact")) & set(shared.tolist())
