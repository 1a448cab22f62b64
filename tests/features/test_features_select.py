"""The rule takes what it says, in the order it says, and says when it took something else."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glossae.find import select
from glossae.lm import Site
from glossae.units import Neurons, UnitStatistics

TOKENS = 1000


def statistics_of(target, reference, tokens=(TOKENS, TOKENS)):
    """Latents that fire on so many tokens of `da` and of `en`."""
    statistics = UnitStatistics.empty(("da", "en"), Neurons(Site("resid", 0), len(target)))
    statistics.fired.copy_(torch.tensor([target, reference]))
    statistics.tokens.copy_(torch.tensor(tokens))
    return statistics


def choose(target, reference, **settings):
    return select(statistics_of(target, reference), "da", "en", **settings)


# ---- the paper's rule


def test_both_thresholds_are_strict():
    # only the last is above 50 % and below 1 %
    selection = choose([500, 501, 501, 501], [0, 10, 11, 9])
    assert selection.rule == "paper"
    assert selection.units == (3,)


def test_the_best_stands_first():
    selection = choose([600, 900, 700, 950], [0, 0, 0, 200])
    assert selection.units == (1, 2, 0)


def test_equal_ones_keep_the_order_of_their_numbers():
    selection = choose([800, 900, 800, 800, 900], [5, 5, 5, 5, 5])
    assert selection.units == (1, 4, 0, 2, 3)
    assert selection.nearest == (1, 4, 0, 2, 3)


def test_the_languages_change_places():
    statistics = statistics_of([900, 0], [0, 900])
    assert select(statistics, "da", "en").units == (0,)
    assert select(statistics, "en", "da").units == (1,)


def test_rates_and_not_counts_are_compared():
    # 60 of 100 tokens, and 9 of 1,000
    selection = select(statistics_of([60, 40], [9, 0], tokens=(100, 1000)), "da", "en")
    assert selection.units == (0,)


def test_thresholds_can_be_set():
    settings = {"min_target": 0.2, "max_reference": 0.1}
    assert choose([250, 900, 150], [90, 110, 0], **settings).units == (0,)


def test_the_paper_s_rule_takes_all_that_pass():
    selection = choose([900] * 30, [0] * 30, fallback=2)
    assert len(selection.units) == 30
    assert len(selection.nearest) == 5


# ---- when none passes


def test_the_nearest_are_taken_and_marked():
    # latent 3 has the largest difference but fires on 2 % of the reference; 4 fires on less of the target
    selection = choose([400, 300, 450, 499, 5], [19, 0, 15, 20, 8], fallback=2)
    assert selection.rule == "fallback"
    assert selection.units == (2, 0)
    assert selection.nearest == (3, 2, 0, 1, 4)


def test_fallback_never_takes_what_fires_no_more_on_the_target():
    selection = choose([10, 3, 7], [10, 4, 6], fallback=3)
    assert selection.rule == "fallback"
    assert selection.units == (2,)


def test_fallback_is_not_asked_when_one_passes():
    selection = choose([900, 499], [0, 0], fallback=4)
    assert (selection.rule, selection.units) == ("paper", (0,))


def test_fallback_can_be_switched_off():
    selection = choose([499, 400], [0, 0], fallback=0)
    assert (selection.rule, selection.units) == ("none", ())
    assert selection.nearest == (0, 1)


def test_its_limit_can_be_set():
    assert choose([400, 300], [100, 50], max_reference_fallback=0.1).units == (1,)


def test_nothing_found_is_said_and_the_nearest_are_shown():
    selection = choose([400, 100, 0], [100, 100, 0])
    assert (selection.rule, selection.units) == ("none", ())
    assert selection.nearest == (0, 1, 2)


# ---- whatever the rates are

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
