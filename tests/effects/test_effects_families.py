"""Families of units on one scale: their sweeps, ways down, side effects, parts, and the dose that is tuned."""

import dataclasses

import numpy as np
import pytest
import torch
from effects_sae import SITE, D, random_sae
from glossae.effects.next_token import FIRST, OFF

from glossae.effects import (
    Dose,
    Edit,
    Measured,
    best_dose,
    cells,
    direction_arm,
    latent_arm,
    matched_sweeps,
    measure_edits,
    measure_growing,
    measure_sweeps,
    neuron_arm,
    part_edits,
    part_rows,
    selectivity,
    side_effects,
)
from glossae.lm import TokenizedCorpus, tokenize
from glossae.text import Corpus, Sentence
from glossae.units import Neurons

MEAN = torch.linspace(-1, 1, D)


@pytest.fixture(scope="module")
def tokens(tiny_lm, tiny_corpus):
    return tokenize(tiny_lm, Corpus.of(tiny_corpus.sentences[:16]))


@pytest.fixture(scope="module")
def arms():
    x = torch.Generator().manual_seed(0)
    target_mean = MEAN + torch.randn(D, generator=x)
    dose_list = [Dose(-2.0, (-2.0, -2.0), False), Dose(0.0, (0.0, 0.0), True)]
    return [
        latent_arm("da", random_sae(), (30, 2), dose_list, (0.25, 0.125)),
        neuron_arm("best neurons", Neurons(SITE, D), (4, 9), MEAN),
        direction_arm("difference of means", target_mean - MEAN, MEAN, target_mean),
    ]


@pytest.fixture(scope="module")
def measured(tiny_lm, arms, tokens):
    return measure_sweeps(tiny_lm, SITE, [arm.sweep for arm in arms], tokens, side_effects=True, budget=150)


def moved_by(arm, operation, value, x):
    for units, edits in arm.sweep:
        for change, _ in edits:
            if (
                change is not None
                and not change.splice
                and (change.operation, change.value) == (operation, value)
            ):
                return change.compile(units)(x).double() - x.double()
    raise AssertionError((operation, value))


def test_shares_lie_on_the_line_from_no_edit_through_the_mean(arms):
    x = torch.randn(30, D, generator=torch.Generator().manual_seed(1))
    for arm, whole in ((arms[1], ("mean", None)), (arms[2], ("project_out", 0.0))):
        full = moved_by(arm, *whole, x)
        for share in (0.75, 0.25, -1.0):
            torch.testing.assert_close(
                moved_by(arm, "scale", share, x), (1 - share) * full, atol=1e-4, rtol=1e-4
            )
    # a neuron at the mean reads the mean
    after = x + moved_by(arms[1], "mean", None, x)
    torch.testing.assert_close(after[:, [4, 9]], MEAN[[4, 9]].double().expand(30, 2), atol=1e-5, rtol=0)
    # once the distance of the means is added along their difference, the one is the other
    torch.testing.assert_close(
        moved_by(arms[2], "add", 1.0, x), -moved_by(arms[2], "add", -1.0, x), atol=1e-5, rtol=0
    )


def test_families_in_one_pass_are_each_family_by_itself(tiny_lm, arms, tokens, measured):
    for arm, own in zip(arms, measured, strict=True):
        alone = [
            row for units, edits in arm.sweep for row in measure_edits(tiny_lm, SITE, units, tokens, edits)
        ]
        assert [m.edit for m in alone] == [m.edit for m in own]
        for one, other in zip(alone, own, strict=True):
            np.testing.assert_allclose(one.losses, other.losses, rtol=1e-5, atol=1e-3)


def test_every_family_has_its_ways_down(arms, measured, tokens):
    ways = {}
    for arm, sweep in zip(arms, measured, strict=True):
        rows = selectivity(sweep, tokens, "da", name=arm.name, kind=arm.kind, draws=20, seed=0)
        ways[arm.kind] = {(row.edit, row.splice) for row in rows}
        assert {(row.units, row.kind) for row in rows} == {(arm.name, arm.kind)}
    assert ways == {
        "latent": {("set", False), ("set", True), ("scale", False)},
        "neuron": {("scale", False)},
        "direction": {("scale", False), ("add", False)},
    }


def test_cells_name_their_family(arms, measured, tokens):
    table = cells(
        measured[2], tokens, name="x", kind="direction", draws=10, seed=0, pooled="panel", by_source=False
    )
    assert {(cell.units, cell.kind, cell.source) for cell in table} == {("x", "direction", "panel")}
    assert {cell.edit for cell in table} == {"none", "project_out", "scale", "add"}


# ---- doses of the same damage, and text that grows


def test_doses_reach_the_damage_and_no_more(tiny_lm, arms, tokens):
    own = tokens.take([i for i, s in enumerate(tokens.corpus.sentences) if s.language == "da"])

    def damage(sweep):
        (found,) = measure_sweeps(tiny_lm, SITE, [sweep], own, budget=150)
        return {m.edit: float((m.losses - found[0].losses).sum() / own.predicted.sum()) for m in found}

    ends = {
        (arm.name, end.operation): max(damage([(units, [(Edit("none"), None), (end, None)])]).values())
        for arm in arms
        for units, end in arm.strongest
    }
    level = 0.8 * min(end for end in ends.values() if end > 0.01)
    reached = {name for name, end in ends.items() if end > level}
    assert {name for name, _ in reached} == {"best neurons", "difference of means"}
    found = set()
    sweeps = matched_sweeps(tiny_lm, SITE, arms, own, [level, 1e6], only_off=["da"])
    for arm, sweep in zip(arms, sweeps, strict=True):
        rises = damage(sweep)
        none, off, *others = rises
        assert (none.operation, off.operation) == ("none", OFF[arm.kind])
        for edit in others:
            found.add((arm.name, edit.operation))
            assert level <= rises[edit] <= 1.05 * level
    assert found == reached
    off_alone = matched_sweeps(
        tiny_lm, SITE, arms, own, [level], only_off=["da", "best neurons", "difference of means"]
    )
    assert all(len(damage(sweep)) == 2 for sweep in off_alone)


def test_a_sample_grows_until_its_changes_are_known(tiny_lm, tiny_corpus, arms):
    text = tokenize(tiny_lm, tiny_corpus)
    sweeps = [arms[1].sweep, arms[2].sweep]
    taken, _ = measure_growing(tiny_lm, SITE, sweeps, text, precision=1e3, seed=0)
    assert {code: len(taken.corpus.only(code)) for code in taken.corpus.languages} == {
        code: min(FIRST, len(text.corpus.only(code))) for code in text.corpus.languages
    }
    kept = {}
    whole, measured = measure_growing(
        tiny_lm,
        SITE,
        sweeps,
        text,
        precision=None,
        seed=0,
        side_effects_on="en",
        keep=lambda name, work: kept.setdefault(name, work()),
    )
    assert whole.corpus.sentences == text.corpus.sentences
    once = measure_sweeps(tiny_lm, SITE, sweeps, text, side_effects=True)
    english = np.array([s.language == "en" for s in text.corpus.sentences])
    for own, other in zip(measured, once, strict=True):
        for m, n in zip(own, other, strict=True):
            np.testing.assert_allclose(m.losses, n.losses, rtol=1e-5, atol=1e-3)
            np.testing.assert_allclose(m.moved.kl[english], n.moved.kl[english], atol=1e-3)
            assert not m.moved.kl[~english].any()

    def refuse(name, _):
        return kept[name]

    again = measure_growing(
        tiny_lm, SITE, sweeps, text, precision=None, seed=0, side_effects_on="en", keep=refuse
    )[1]
    for own, other in zip(measured, again, strict=True):
        for m, n in zip(own, other, strict=True):
            assert np.array_equal(m.losses, n.losses)


# ---- known curves


def corpus_of(*languages, each=30):
    generator = np.random.default_rng(0)
    lengths = generator.integers(3, 22, size=each * len(languages))
    return TokenizedCorpus(
        corpus=Corpus.of(
            Sentence(f"text {i}", languages[i % len(languages)], str(i), "made") for i in range(len(lengths))
        ),
        ids=tuple(generator.integers(1, 300, size=length) for length in lengths),
        predicted_bytes=2 * (lengths - 1),
        dropped={},
        cut={},
        prefix=0,
    )


def drawn_of(tokens, curves, *, shares=(0.5, -1.0), moved=None):
    """A direction's way: no edit, drawn halfway, projected (the dose 0), and beyond."""
    edits = [
        Edit("none"),
        Edit("scale", (0,), (shares[0],), value=shares[0]),
        Edit("project_out", (0,), (1.0,), value=0.0),
        Edit("scale", (0,), (shares[1],), value=shares[1]),
    ]
    codes = [s.language for s in tokens.corpus.sentences]
    rises = np.array([[curves[code][place] for code in codes] for place in range(4)])
    return [
        Measured(change, None, 50.0 + rise * tokens.predicted, moved and moved(place))
        for place, (change, rise) in enumerate(zip(edits, rises, strict=True))
    ]


CURVES = {
    "da": (0, 0.1, 0.2, 0.6),
    "en": (0, 0, 0.01, 0.05),
    "nb": (0, 0.05, 0.1, 0.3),
    "sv": (0, 0, 0.04, 0.1),
}


def test_the_mean_of_others_and_the_nearest_are_what_they_say():
    tokens = corpus_of("da", "en", "nb", "sv")
    rows = selectivity(
        drawn_of(tokens, CURVES), tokens, "da", name="d", kind="direction", draws=50, seed=0, text="panel"
    )
    found = {(row.at, row.versus): row for row in rows}
    # a quarter of the way from the projection to the share -1
    assert found[0.3, "en"].value == pytest.approx(-0.25)
    rises = {code: found[0.3, code].other_delta for code in ("en", "nb", "sv")}
    assert rises == pytest.approx({"en": 0.02, "nb": 0.15, "sv": 0.055})
    mean, nearest = found[0.3, "mean of others"], found[0.3, "nearest"]
    assert mean.ratio == pytest.approx(0.3 / np.mean([*rises.values()]))
    assert nearest.ratio == pytest.approx(2)
    assert nearest.margin == pytest.approx(0.15)
    assert (nearest.ratio_low, nearest.margin_high) == pytest.approx((2, 0.15))
    assert nearest.text == "panel"
    # nothing of the English loss has moved there
    assert (found[0.1, "en"].ratio, found[0.1, "en"].margin) == (None, pytest.approx(0.1))
    # every token has two bytes
    assert (nearest.ratio_per_byte, nearest.margin_per_byte) == pytest.approx((2, 0.075))
    assert found[0.1, "en"].value == pytest.approx(0.5)


def test_the_nearest_is_found_in_every_resample():
    """Two others that are as near: the largest of them is above either, and its interval with it."""
    tokens = corpus_of("da", "en", "nb", each=60)
    curves = {"da": (0, 0.1, 0.2, 0.6), "en": (0, 0.02, 0.05, 0.1), "nb": (0, 0.02, 0.05, 0.1)}
    generator = np.random.default_rng(1)
    noise = generator.normal(1, 2.0, len(tokens)) * (
        np.array([s.language for s in tokens.corpus.sentences]) != "da"
    )
    exact = drawn_of(tokens, curves)
    noisy = [dataclasses.replace(m, losses=50.0 + (m.losses - 50.0) * (1 + noise)) for m in exact]
    rows = selectivity(noisy, tokens, "da", name="d", kind="direction", draws=400, seed=0)
    found = {row.versus: row for row in rows if row.at == 0.3}
    assert found["nearest"].other_delta == max(found[code].other_delta for code in ("en", "nb"))
    assert found["nearest"].margin_high <= min(found[code].margin_high for code in ("en", "nb")) + 1e-9


def test_side_effects_are_read_where_the_damage_is_matched(measured, tokens):
    known = corpus_of("da", "en")

    def moved(place):
        size = 10.0 * known.predicted
        return dataclasses.replace(
            measured[2][0].moved,
            kl=0.04 * place * known.predicted,
            agreed=(1 - 0.1 * place) * known.predicted,
            moved=0.05 * place * size,
            size=size,
        )

    curves = {"da": (0, 0.1, 0.2, 0.6), "en": (0, 0, 0.01, 0.05)}
    rows = side_effects(
        drawn_of(known, curves, moved=moved), known, "da", "en", name="d", kind="direction", draws=30, seed=0
    )
    by_damage = {row.at: row for row in rows}
    row = by_damage[0.3]
    assert (row.kl, row.agreement, row.change) == pytest.approx((0.04 * 2.25, 1 - 0.225, 0.05 * 2.25))
    assert (row.kl_low, row.kl_high) == pytest.approx((row.kl, row.kl))
    assert by_damage[0.1].kl == pytest.approx(0.04)
    # a way that never gets there
    low = {"da": (0, 0.01, 0.02, 0.05), "en": (0, 0, 0, 0)}
    for row in side_effects(
        drawn_of(known, low, moved=moved), known, "da", "en", name="d", kind="direction", draws=5, seed=0
    ):
        assert (row.reached, row.kl, row.agreement, row.change) == (False, None, None, None)


def test_side_effects_of_a_real_sweep(measured, tokens):
    codes = np.array([s.language for s in tokens.corpus.sentences])
    for sweep in measured:
        for m in sweep:
            assert (m.moved.kl > -1e-3).all()
            assert (m.moved.agreed <= tokens.predicted).all()
        still = next(m for m in sweep if m.edit == Edit("none"))
        assert np.array_equal(still.moved.agreed, tokens.predicted)
        assert not still.moved.moved.any()
    assert {"da", "en"} <= set(codes)


# ---- one by one


def test_parts_are_one_unit_and_all_the_others():
    parts = part_edits(Edit("set", (7, 3, 5), (1.0, 2.0, 3.0), value=1.5))
    assert [(unit, way, edit.units, edit.targets) for unit, way, edit in parts] == [
        (7, "alone", (7,), (1.0,)),
        (7, "left out", (3, 5), (2.0, 3.0)),
        (3, "alone", (3,), (2.0,)),
        (3, "left out", (7, 5), (1.0, 3.0)),
        (5, "alone", (5,), (3.0,)),
        (5, "left out", (7, 3), (1.0, 2.0)),
    ]
    assert [(unit, way) for unit, way, _ in part_edits(Edit("zero", (7,)))] == [(7, "alone")]


def test_rows_of_parts_are_in_their_places():
    tokens = corpus_of("da", "en")
    parts = part_edits(Edit("zero", (7, 3)))
    danish = np.array([s.language == "da" for s in tokens.corpus.sentences])
    measured = [
        Measured(change, None, 50.0 + rise * tokens.predicted * np.where(danish, 1, 0.5))
        for change, rise in zip(
            (Edit("none"), *(edit for _, _, edit in parts)), (0, 0.1, 0.2, 0.3, 0.4), strict=True
        )
    ]
    rows = part_rows(parts, measured, tokens, name="da", draws=10, seed=0)
    found = {(row.unit, row.way, row.language): row.delta for row in rows}
    assert found == pytest.approx(
        {
            (unit, way, code): share * rise
            for code, share in (("da", 1), ("en", 0.5))
            for (unit, way, _), rise in zip(parts, (0.1, 0.2, 0.3, 0.4), strict=True)
        }
    )


# ---- the dose that is tuned


def test_the_dose_is_chosen_on_one_text_and_reported_on_another():
    tune, test = corpus_of("da", each=20), corpus_of("da", "en", each=50)
    # on tune it is the share of one half, which does nothing for test
    tuned = drawn_of(tune, {"da": (0, -0.03, 0.2, -0.01)})
    measured = drawn_of(test, {"da": (0, 0.01, 0.2, -0.2), "en": (0, -1, -1, -1)})
    row = best_dose(tuned, tune, measured, test, "da", name="d", kind="direction", draws=50, seed=0)
    assert (row.edit, row.value, row.helps) == ("scale", 0.5, False)
    assert (row.tune_delta, row.delta) == pytest.approx((-0.03, 0.01))
    helped = drawn_of(test, {"da": (0, -0.02, 0.2, 0), "en": (0, 0, 0, 0)})
    assert best_dose(tuned, tune, helped, test, "da", name="d", kind="direction", draws=50, seed=0).helps
    nothing = [tuned[0]]
    assert best_dose(nothing, tune, measured, test, "da", name="d", kind="direction", draws=5, seed=0) is None
