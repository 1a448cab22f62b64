"""A grid's cells are measured as the paper measured its own, compared without favour, and chosen by the rule."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glossae.lm import Site
from glossae.sae import (
    GridCell,
    Sae,
    SaeConfig,
    TrainPoint,
    TrainSettings,
    choose,
    fronts,
    last_batches,
    measure,
    measure_reconstruction,
    not_dominated,
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
    if "fvu" in changes:
        changes["fvu"] = dict.fromkeys(PAIR, changes["fvu"])
    return dataclasses.replace(CELL, **changes)


# ---- fronts

values = st.integers(0, 6).map(float) | st.floats(0, 6)
points = st.lists(st.tuples(values, values), max_size=25)


def dominates(a, b):
    return a[0] <= b[0] and a[1] <= b[1] and a != b


@given(points=points)
def test_nothing_on_a_front_is_dominated_and_everything_else_is_by_something_on_it(points):
    front = not_dominated(points)
    on = [points[number] for number in front]
    assert list(front) == sorted(set(front))
    assert not any(dominates(a, b) for a in on for b in on)
    for number, point in enumerate(points):
        if number not in front:
            assert any(dominates(a, point) for a in on)


@given(points=points, new=st.tuples(values, values))
def test_a_new_point_takes_only_those_it_dominates_off_a_front(points, new):
    before, after = not_dominated(points), not_dominated([*points, new])
    lost = set(before) - set(after)
    assert lost == {number for number in before if dominates(new, points[number])}
    assert set(after) - {len(points)} <= set(before)


whole = st.integers(0, 9)


@given(points=st.lists(st.tuples(whole, whole), max_size=25))
def test_a_front_depends_on_order_alone(points):
    assert not_dominated([(3 * x + 1, y**3) for x, y in points]) == not_dominated(points)


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


def test_one_activation_has_no_front_of_its_own():
    assert {front.among for front in fronts([CELL, cell(k=9)], PAIR)} == {"all"}


def test_the_fvu_that_counts_is_that_of_the_pair():
    sparse = cell(l0_select=1.0)
    worse = dataclasses.replace(sparse, fvu={"da": 0.2, "en": 0.5, "sv": 0.0})
    first, _ = fronts([sparse, worse], PAIR)
    assert first.cells == (0,)


# ---- the rule


def chosen(*cells, most_l0=8):
    return choose(cells, PAIR, most_l0).cell


def test_the_rule_takes_the_best_fit_among_those_sparse_enough():
    assert chosen(cell(fvu=0.3), cell(fvu=0.2), cell(fvu=0.1, l0_select=8.1)) == 1
    assert chosen(cell(fvu=0.3), cell(fvu=0.2), cell(fvu=0.1, l0_select=8.1), most_l0=9) == 2


def test_the_rule_leaves_out_what_is_mostly_dead():
    assert chosen(cell(fvu=0.3), cell(fvu=0.1, dead_fraction=0.51)) == 0
    # unless all are
    assert chosen(cell(fvu=0.3, dead_fraction=0.6), cell(fvu=0.1, dead_fraction=0.9)) == 1


def test_among_fits_that_are_about_equal_the_rule_takes_the_one_with_the_fewest_dead():
    assert chosen(cell(fvu=0.200), cell(fvu=0.209, dead_fraction=0.05)) == 1
    assert chosen(cell(fvu=0.200), cell(fvu=0.211, dead_fraction=0.05)) == 0
    assert chosen(cell(fvu=0.205), cell(fvu=0.200)) == 1


def test_the_rule_says_why():
    cells = [cell(fvu=0.2), cell(fvu=0.209, dead_fraction=0.05), cell(fvu=0.1, l0_select=9.0)]
    choice = choose(cells, PAIR, 8)
    assert "at most 8 latents" in choice.rule
    assert choice.reason.startswith("2 of 3 cells are sparse enough, 2 of them with few enough dead")
    assert (
        "2 are near it, and of these this one, with 0.209, leaves the fewest dead (5.0% dead)"
        in choice.reason
    )


def test_the_rule_may_find_none():
    choice = choose([cell(l0_select=40.0), cell(l0_select=33.5)], PAIR, 32)
    assert choice.cell is None
    assert choice.reason == "No cell fires at most 32 latents at a token; the sparsest fires 33.5."


# ---- measures


def batches(count, width=8):
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        yield torch.randn(20, width, generator=generator)


@pytest.mark.parametrize("steps", [450, 30, 3])
def test_the_last_batches_of_a_log_are_the_papers(steps):
    """Its figures are means over `[-11:-1]` of all batches; a log has a line for several steps where there are many."""
    config = SaeConfig(d_in=8, latents=16, k=2)
    # the published schedule is constant, so what is planned decides nothing but the log's lines
    settings = TrainSettings(steps=steps, tokens=20 * steps, published=True)
    _, every = train(config, batches(steps), dataclasses.replace(settings, steps=1))
    _, log = train(config, batches(steps), settings)
    assert len(every) == steps
    assert len(log) == (231 if steps == 450 else steps)
    expected = every[-11:-1]
    mse, l0, active = last_batches(log)
    assert mse == pytest.approx(sum(point.mse for point in expected) / len(expected), rel=1e-9)
    assert l0 == pytest.approx(sum(point.l0 for point in expected) / len(expected))
    assert active == pytest.approx(sum(point.active_per_batch for point in expected) / len(expected))


def test_a_log_of_one_batch_has_that_one():
    point = TrainPoint(1, 20, 1e-3, mse=0.5, fvu=0.4, l0=2.0, active_per_batch=9.0, dead_fraction=0.0)
    assert last_batches([point]) == (0.5, 2.0, 9.0)


def test_many_are_measured_as_each_would_be_alone_in_one_pass_of_the_model(tiny_lm, tiny_tokens, monkeypatch):
    site = Site("mlp.hidden", 1)
    saes = []
    for number, config in enumerate(
        [
            SaeConfig(d_in=48, latents=64, k=4),
            SaeConfig(d_in=48, latents=32, k=2, relu=False, tied=True),
            SaeConfig(d_in=48, latents=40, activation="relu", pre_encoder_bias=False),
        ]
    ):
        sae = Sae(config)
        generator = torch.Generator().manual_seed(number)
        for parameter in sae.parameters():
            parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
        saes.append(sae.requires_grad_(False))
    passes = []
    handle = tiny_lm.blocks[0].register_forward_hook(lambda *_: passes.append(1))
    done = []
    together = measure_reconstruction(tiny_lm, site, saes, tiny_tokens, budget=200, progress=done.append)
    of_all = len(passes)
    measure_reconstruction(tiny_lm, site, saes[:1], tiny_tokens, budget=200)
    handle.remove()
    assert of_all == len(passes) - of_all
    assert done[-1] == pytest.approx(1)
    for sae, quality in zip(saes, together, strict=True):
        alone = measure(tiny_lm, site, sae, tiny_tokens)
        assert quality.ce == {}
        assert quality.fvu == pytest.approx(alone.fvu, rel=1e-6)
        assert (quality.l0, quality.dead_fraction) == (alone.l0, alone.dead_fraction)
        assert quality.tokens == alone.tokens
