"""A grid's cells are measured as the paper measured its own, compared without favour, and chosen by the rule."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glossae.results import GridCell
from glossae.sae import (
    SaeConfig,
    TrainPoint,
    TrainSettings,
    choose,
    fronts,
    last_batches,
    train,
)

CELL = GridCell(
    activation="topk",
    tied=False,
    pre_encoder_bias=True,
    k=8,
    l1=None,
    mse=0.1,
    l0=8.0,
    active_per_batch=40.0,
    fvu={"da": 0.2, "en": 0.4},
    l0_select=8.0,
    dead_fraction=0.1,
)
PAIR = ("da", "en")


def cell(**changes):
    if isinstance(changes.get("fvu"), float):
        changes["fvu"] = dict.fromkeys(PAIR, changes["fvu"])
    return CELL.model_copy(update=changes)


values = st.integers(0, 6).map(float) | st.floats(0, 6)


@given(points=st.lists(st.tuples(values, values), min_size=1, max_size=25))
def test_nothing_on_a_front_is_dominated_and_everything_else_is_by_something_on_it(points):
    def dominates(a, b):
        return a[0] <= b[0] and a[1] <= b[1] and a != b

    front = fronts([cell(l0_select=x, fvu=y) for x, y in points], PAIR)[0].cells
    # the mean of a pair of equal numbers is that number
    on = [points[number] for number in front]
    assert list(front) == sorted(set(front))
    assert not any(dominates(a, b) for a in on for b in on)
    for number, point in enumerate(points):
        assert number in front or any(dominates(a, point) for a in on)


def test_fronts_are_of_sparsity_against_fit_and_of_life_against_error():
    cells = [
        cell(l0_select=2.0, fvu=0.5, active_per_batch=10.0, mse=0.3),
        cell(l0_select=4.0, fvu=0.3, active_per_batch=30.0, mse=0.2),
        # outdone in the first terms by the one before, though not in the second
        cell(activation="relu", l0_select=5.0, fvu=0.4, active_per_batch=35.0, mse=0.25),
        cell(activation="relu", l0_select=6.0, fvu=0.6, active_per_batch=5.0, mse=0.4),
    ]
    found = {(front.measures, front.among): front.cells for front in fronts(cells, PAIR)}
    assert found == {
        (("l0_select", "fvu"), "all"): (0, 1),
        (("l0_select", "fvu"), "topk"): (0, 1),
        (("l0_select", "fvu"), "relu"): (2,),
        (("active_per_batch", "mse"), "all"): (1, 2),
        (("active_per_batch", "mse"), "topk"): (1,),
        (("active_per_batch", "mse"), "relu"): (2,),
    }


def test_one_activation_has_no_front_of_its_own_and_the_fvu_is_the_pairs():
    sparse = cell(l0_select=1.0)
    found = fronts([sparse, cell(l0_select=1.0, fvu={"da": 0.2, "en": 0.5, "sv": 0.0})], PAIR)
    assert {front.among for front in found} == {"all"}
    assert found[0].cells == (0,)


@pytest.mark.parametrize(
    ("cells", "most_l0", "expected"),
    [
        # the best fit among those sparse enough
        ([{"fvu": 0.3}, {"fvu": 0.2}, {"fvu": 0.1, "l0_select": 8.1}], 8, 1),
        ([{"fvu": 0.3}, {"fvu": 0.2}, {"fvu": 0.1, "l0_select": 8.1}], 9, 2),
        # what is mostly dead is left out, unless all are
        ([{"fvu": 0.3}, {"fvu": 0.1, "dead_fraction": 0.51}], 8, 0),
        ([{"fvu": 0.3, "dead_fraction": 0.6}, {"fvu": 0.1, "dead_fraction": 0.9}], 8, 1),
        # among fits that are about equal the one with the fewest dead
        ([{"fvu": 0.200}, {"fvu": 0.209, "dead_fraction": 0.05}], 8, 1),
        ([{"fvu": 0.200}, {"fvu": 0.211, "dead_fraction": 0.05}], 8, 0),
        ([{"fvu": 0.205}, {"fvu": 0.200}], 8, 1),
    ],
)
def test_the_rule_chooses(cells, most_l0, expected):
    assert choose([cell(**changes) for changes in cells], PAIR, most_l0).cell == expected


def test_the_rule_says_why():
    cells = [cell(fvu=0.2), cell(fvu=0.209, dead_fraction=0.05), cell(fvu=0.1, l0_select=9.0)]
    choice = choose(cells, PAIR, 8)
    assert "at most 8 latents" in choice.rule
    assert choice.reason == (
        "2 of 3 cells are sparse enough, 2 of them with few enough dead; the least FVU is 0.200, 2 are near it, and "
        "of these this one, with 0.209, leaves the fewest dead (5.0% dead)."
    )
    alone = choose([cell(fvu=0.2, dead_fraction=0.75)], PAIR, 8)
    assert alone.reason == (
        "1 of 1 cells are sparse enough, none of them with few enough dead; the least FVU is 0.200, and no other comes "
        "near (75.0% dead)."
    )
    none = choose([cell(l0_select=40.0), cell(l0_select=33.5)], PAIR, 32)
    assert none.cell is None
    assert none.reason == "No cell fires at most 32 latents at a token; the sparsest fires 33.5."


def batches(count):
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        yield torch.randn(20, 8, generator=generator)


@pytest.mark.parametrize(("steps", "lines"), [(400, 206), (30, 30), (3, 3)])
def test_the_last_batches_of_a_log_are_the_papers(steps, lines):
    """Its figures are means over `[-11:-1]` of all batches; a log has a line for several steps where there are many."""
    config = SaeConfig(d_in=8, latents=16, k=2)
    # the published schedule is constant, so what is planned decides nothing but the log's lines
    settings = TrainSettings(steps=steps, tokens=20 * steps, published=True)
    _, every = train(config, batches(steps), dataclasses.replace(settings, steps=1))
    _, log = train(config, batches(steps), settings)
    assert (len(every), len(log)) == (steps, lines)
    rows = [(point.mse, point.l0, point.active_per_batch) for point in every[-11:-1]]
    expected = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
    assert last_batches(log) == pytest.approx(expected, rel=1e-9)


def test_a_log_of_one_batch_has_that_one():
    point = TrainPoint(1, 20, 1e-3, mse=0.5, fvu=0.4, l0=2.0, active_per_batch=9.0, dead_fraction=0.0)
    assert last_batches([point]) == (0.5, 2.0, 9.0)
