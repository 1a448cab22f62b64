"""Families and controls through the command line: their rows, their page, and what is frozen before they are drawn."""

import json

import pytest
from test_run_evidence import CODES, SMALL, write_panel

import glossae
from glossae.run import headlines
from toy_grammar import sentences

DRAWS = 19
FEW = SMALL | {
    "evidence__permutations": 0,
    "evidence__scores": "false",
    "effects__tune": "true",
    "effects__sentences": 30,
    "effects__families": "latent,neuron,direction",
    "effects__controls": DRAWS,
    "effects__controls_edits": "zero,mean",
    "effects__controls_on": "sv",
}


@pytest.fixture(scope="module")
def panel(tmp_path_factory):
    return write_panel(tmp_path_factory.mktemp("panel") / "panel.tsv", sentences(500, seed=11))


@pytest.fixture(scope="module")
def controlled(world, panel, tmp_path_factory):
    """The folder of a run with controls; not to be written to."""
    out = tmp_path_factory.mktemp("controls") / "run"
    assert world.run(out, **FEW, corpora__panel=panel) == 0
    return out


@pytest.fixture(scope="module")
def results(controlled):
    return glossae.open_run(controlled).results


@pytest.fixture(scope="module")
def next_token(results):
    return results.next_token


def test_every_family_is_measured_on_test_and_on_the_half_held_out(next_token):
    sets = {row.units: row for row in next_token.sets}
    untrained = {f"random weights {number}" for number in (1, 2, 3)}
    others = {"best neurons", "best neuron", "difference of means", "probe"}
    assert {"da", *untrained, *others} <= set(sets)
    assert set(sets) & {"sv", "de"}
    assert [row.kind for row in sets.values()].count("direction") == 2
    for code in {"sv", "de"} & set(sets):
        assert not set(sets[code].members) & set(sets["da"].members)
    cells = next_token.cells
    assert {c.language for c in cells if c.source == "panel"} == set(CODES)
    assert max(c.sentences for c in cells) == 30
    for name, row in sets.items():
        own = [c for c in cells if c.units == name]
        assert {c.kind for c in own} == {row.kind}
        assert {"all", "panel"} <= {c.source for c in own}
    # raw and spliced are the selected latents' alone
    assert {c.units for c in cells if c.splice is not False} == {"da"}
    keys = [(c.units, c.edit, c.splice, c.value, c.language, c.source) for c in cells]
    assert len(keys) == len(set(keys))


def test_damage_is_matched_for_every_family(next_token):
    rows = next_token.selectivity
    assert {row.kind for row in rows} == {"latent", "neuron", "direction"}
    assert {row.text for row in rows} == {"test", "panel"}
    assert {"en", "sv", "mean of others", "nearest"} <= {row.versus for row in rows if row.text == "panel"}
    # other languages' latents are only switched off
    compared = {row.units for row in next_token.sets} - {"sv", "de"}
    assert {row.units for row in next_token.side_effects} == compared
    assert {row.units for row in rows} == compared
    others = [cell for cell in next_token.cells if cell.units in ("sv", "de")]
    assert {cell.edit for cell in others} == {"none", "zero"}

    best = {splice: [row for row in next_token.best_dose if row.splice == splice] for splice in (False, True)}
    assert {row.units for row in best[False]} == {row.units for row in next_token.sets}
    assert "da" in {row.units for row in best[True]}
    parts = next_token.one_by_one
    assert {row.unit for row in parts} == set(next_token.sets[0].members)


def test_controls_have_a_row_for_every_edit_null_and_statistic(results):
    rows = results.controls.rows
    assert rows
    drawn = [row for row in rows if row.rank is not None]
    assert {(row.units, row.edit, row.control) for row in drawn} >= {
        ("da", "zero", "matched latents"),
        ("da", "mean", "matched latents"),
        ("da", "zero", "random directions"),
        ("best neuron", "mean", "random directions"),
        ("difference of means", "project_out", "random directions"),
        ("probe", "project_out", "random directions"),
    }
    for row in drawn:
        assert row.draws == DRAWS
        assert 1 <= row.rank <= DRAWS + 1
        assert row.observed <= row.null_p95 or row.rank <= 2
    # drawn latents are set at no dose where that is not asked for; the sets are
    assert not any(row.edit == "set" for row in drawn if row.control == "matched latents")
    one = [row for row in rows if row.rank is None]
    assert {row.draws for row in one} == {1}
    assert {"best neurons", "difference of means", "random weights 1"} <= {row.control for row in one}
    for statistic in ("target", "target - reference", "target - nearest"):
        assert sum(row.statistic == statistic for row in rows) == len(rows) / 3


def test_what_is_drawn_is_frozen_and_like_what_it_stands_for(controlled, results):
    drawn = json.loads((controlled / "controls" / "drawn.json").read_text(encoding="utf-8"))
    members = results.next_token.sets[0].members
    assert len(drawn["sets"]) == DRAWS
    assert all(len(set(row)) == len(members) and not set(row) & set(members) for row in drawn["sets"])
    assert drawn["text"] == results.controls.sha256
    assert set(results.controls.sentences) == {"da", "en", "sv"}
    assert set(results.controls.matched) == {"rate", "reference_rate", "mean_active", "norm"}


def test_the_console_says_every_statistic_with_its_rank_and_both_units(results):
    lines = headlines(results, "da", "en")
    drawn = [line for line in lines if line.startswith("controls")]
    assert len(drawn) == len({(r.units, r.edit, r.control) for r in results.controls.rows if r.rank})
    for line in drawn:
        assert line.count(f" of {DRAWS + 1}") == 3
        for statistic in ("target", "target - reference", "target - nearest"):
            assert f" {statistic} " in line
        assert ", p " not in line
    (passing,) = [line for line in lines if "untrained" in line]
    rows = [row for row in results.next_token.chosen if row.language == "da"]
    assert passing.endswith(", ".join(str(row.passing) for row in rows[1:]))
    for line in lines:
        if line.startswith("effects") and "nats per token" in line and "no dose" not in line:
            assert "difference" in line
            assert "ratio" in line
            assert "per byte" in line


def test_the_page_has_the_tables(controlled):
    page = (controlled / "report.html").read_text(encoding="utf-8")
    for title in (
        "Families side by side",
        "Every set on every language",
        "Latent by latent",
        "The best dose",
        "Controls",
        "Trained and untrained",
    ):
        assert title in page
    assert f"of {DRAWS + 1}" in page
    assert "<strong>Likeness of matched latents" in page
    assert "no random sets were drawn" not in page


def test_other_draws_measure_nothing_but_the_controls_anew(world, controlled, panel, tmp_path, page):
    import shutil

    out = tmp_path / "run"
    shutil.copytree(controlled, out)
    before = json.loads((out / "run.json").read_text(encoding="utf-8"))["stages"]
    fewer = FEW | {"effects__controls": 9}
    assert world.run_undrawn(out, **fewer, corpora__panel=panel) == 0
    after = json.loads((out / "run.json").read_text(encoding="utf-8"))["stages"]
    # every stage counts for the present recipe
    for stage in (*before.values(), *after.values()):
        stage.pop("recipe")
    assert [stage for stage in after if after[stage] != before[stage]] == ["controls"]
    old, new = (glossae.open_run(folder).results.controls.rows for folder in (controlled, out))
    assert {row.draws for row in new} == {9, 1}
    # the same seed draws the same sets, so what they are held against is the same to the bit
    assert [row.observed for row in new] == [row.observed for row in old]
    none = FEW | {"effects__controls": 0}
    assert world.run(out, **none, corpora__panel=panel) == 0
    assert glossae.open_run(out).results.controls is None
    assert "no random sets were drawn" in (out / "report.html").read_text(encoding="utf-8")


def test_without_families_the_selected_latents_stand_alone(world, tmp_path):
    out = tmp_path / "run"
    alone = SMALL | {"evidence__permutations": 0, "effects__families": "none", "effects__tune": "false"}
    assert world.run(out, **alone) == 0
    found = glossae.open_run(out).results
    assert [row.units for row in found.next_token.sets] == ["da"]
    assert found.next_token.best_dose == []
    assert found.controls is None


def test_a_language_without_text_in_test_is_refused_before_any_work(world, tmp_path, capsys):
    out = tmp_path / "run"
    assert world.run(out, effects__controls=3, effects__controls_on="fr") == 2
    said = capsys.readouterr().err
    assert said.startswith("glossae: effects.controls_on: test has no text in 'fr'; it has da, en")
    assert said.count("\n") == 1
    assert not out.exists()
