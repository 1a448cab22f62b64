"""The rule takes what it says, in the order it says, and says when it took something else."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glossae.evidence import select
from glossae.lm import Site
from glossae.units import Neurons, UnitStatistics

TOKENS = 1000


def choose(target, reference, tokens=(TOKENS, TOKENS), languages=("da", "en"), **settings):
    """Select among latents that fire on so many tokens of `da` and of `en`."""
    statistics = UnitStatistics.empty(("da", "en"), Neurons(Site("resid", 0), len(target)))
    statistics.fired.copy_(torch.tensor([target, reference]))
    statistics.tokens.copy_(torch.tensor(tokens))
    return select(statistics, *languages, **settings)


@pytest.mark.parametrize(
    ("target", "reference", "settings", "units"),
    [
        # both thresholds are strict: only the last is above 50 % and below 1 %
        ([500, 501, 501, 501], [0, 10, 11, 9], {}, (3,)),
        # the best stands first, and equal ones keep the order of their numbers
        ([600, 900, 700, 950], [0, 0, 0, 200], {}, (1, 2, 0)),
        ([800, 900, 800, 800, 900], [5, 5, 5, 5, 5], {}, (1, 4, 0, 2, 3)),
        ([900, 0], [0, 900], {}, (0,)),
        ([900, 0], [0, 900], {"languages": ("en", "da")}, (1,)),
        # rates and not counts are compared: 60 of 100 tokens, and 9 of 1,000
        ([60, 40], [9, 0], {"tokens": (100, 1000)}, (0,)),
        ([250, 900, 150], [90, 110, 0], {"min_target": 0.2, "max_reference": 0.1}, (0,)),
        # all that pass are taken, and the fallback is not asked
        ([900] * 30, [0] * 30, {"fallback": 2}, tuple(range(30))),
        ([900, 499], [0, 0], {"fallback": 4}, (0,)),
        ([900, 800, 700], [0, 0, 0], {"but": (1,)}, (0, 2)),
    ],
)
def test_the_paper_s_rule(target, reference, settings, units):
    selection = choose(target, reference, **settings)
    assert (selection.rule, selection.units) == ("paper", units)


@pytest.mark.parametrize(
    ("target", "reference", "settings", "units", "nearest"),
    [
        # latent 3 has the largest difference but fires on 2 % of the reference; 4 fires on less of the target
        ([400, 300, 450, 499, 5], [19, 0, 15, 20, 8], {"fallback": 2}, (2, 0), (3, 2, 0, 1, 4)),
        ([400, 300, 450, 499, 5], [19, 0, 15, 20, 8], {"fallback": 2, "but": (2,)}, (0, 1), (3, 2, 0, 1, 4)),
        # never what fires no more on the target
        ([10, 3, 7], [10, 4, 6], {"fallback": 3}, (2,), (2, 0, 1)),
        ([499, 400], [0, 0], {"fallback": 0}, (), (0, 1)),
        ([400, 300], [100, 50], {"max_reference_fallback": 0.1}, (1,), (0, 1)),
        ([400, 100, 0], [100, 100, 0], {}, (), (0, 1, 2)),
        # where none was tested as the target's, the fallback stands in
        ([900, 400], [0, 0], {"tested": (), "fallback": 1}, (0,), (0, 1)),
    ],
)
def test_when_none_passes_the_nearest_are_taken_and_marked(target, reference, settings, units, nearest):
    selection = choose(target, reference, **settings)
    assert (selection.rule, selection.units) == ("fallback" if units else "none", units)
    assert selection.nearest == nearest


@pytest.mark.parametrize(("settings", "rule"), [({"given": (2, 0)}, "given"), ({"tested": (2, 0)}, "tested")])
def test_units_that_are_given_or_tested_are_taken_as_they_are(settings, rule):
    selection = choose([900, 400, 1], [0, 0, 0], **settings)
    assert (selection.rule, selection.units, selection.nearest) == (rule, (2, 0), (0, 1, 2))


COUNTS = st.lists(st.tuples(st.integers(0, TOKENS), st.integers(0, 40) | st.integers(0, TOKENS)), min_size=1)
LIMITS = st.sampled_from([0.0, 0.01, 0.02, 0.3, 0.5, 0.9])


@given(COUNTS, LIMITS, LIMITS, st.integers(0, 6), LIMITS)
def test_every_unit_satisfies_its_rule(counts, low, high, fallback, high_fallback):
    target, reference = ([pair[i] for pair in counts] for i in (0, 1))
    selection = choose(
        target,
        reference,
        min_target=low,
        max_reference=high,
        fallback=fallback,
        max_reference_fallback=high_fallback,
    )
    rate = [n / TOKENS for n in target]
    other = [n / TOKENS for n in reference]
    passing = {i for i in range(len(counts)) if rate[i] > low and other[i] < high}
    close = {i for i in range(len(counts)) if other[i] < high_fallback and rate[i] > other[i]}
    difference = [a - b for a, b in zip(rate, other, strict=True)]

    assert len(set(selection.units)) == len(selection.units)
    if passing:
        assert selection.rule == "paper"
        assert set(selection.units) == passing
    else:
        assert set(selection.units) <= close
        assert len(selection.units) == min(fallback, len(close))
        assert selection.rule == ("fallback" if selection.units else "none")
        left = close - set(selection.units)
        assert not left or all(
            difference[i] >= max(difference[j] for j in left) - 1e-12 for i in selection.units
        )
    order = [difference[i] for i in selection.units]
    assert order == sorted(order, reverse=True)
    assert len(selection.nearest) == min(5, len(counts))
    assert sorted(difference, reverse=True)[: len(selection.nearest)] == pytest.approx(
        [difference[i] for i in selection.nearest]
    )
