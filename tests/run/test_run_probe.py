"""The stage that probes every layer: the choice by the nearest language, and the paper's own optimisation."""

import pandas as pd
import pytest
from tiny_world import as_tmx

import glossae
from glossae.cli import main
from toy_grammar import sentences

PANEL = 64
# the run's autoencoder has 64 latents: none larger is tried
SIZES = (32, 64, 512)


@pytest.fixture(scope="module", autouse=True)
def sizes():
    """Short autoencoders of other sizes than usual."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("glossae.evidence.layers.LATENTS", SIZES)
        yield


@pytest.fixture(scope="module")
def panel(tmp_path_factory):
    """Text of one kind in three languages, of other sentences than those that are trained on."""
    path = tmp_path_factory.mktemp("panel") / "panel.tmx"
    path.write_text(as_tmx(sentences(PANEL, seed=12), ("da", "en", "sv")), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def chosen(world, panel, tmp_path_factory):
    """A run up to its probes; not to be written to."""
    out = tmp_path_factory.mktemp("layers") / "run"
    assert world.run(out, "--until", "probe", corpora__panel=panel) == 0
    return out


def probe_of(out):
    return glossae.open_run(out).results.probe


def test_the_nearest_language_and_short_autoencoders_choose(chosen):
    probe = probe_of(chosen)
    nearest = probe.nearest
    assert [row.layer for row in nearest.rows] == [0, 1, 2]
    assert nearest.chosen == probe.best_layer == probe.layer_used
    assert (probe.rule, probe.only_pair, probe.chosen_by) == (nearest.rule, None, "probe")
    # the rule of before is still there to compare
    assert "BCE" in probe.pair.rule
    assert probe.pair.layer in (0, 1, 2)
    scores = {row.layer: row.score for row in nearest.rows}
    best = max(scores, key=lambda layer: scores[layer])
    assert best in nearest.candidates


def test_two_sizes_are_tried_at_each_candidate_and_the_most_latents_win(chosen):
    nearest = probe_of(chosen).nearest
    trials = nearest.trials
    assert [(row.layer, row.latents) for row in trials] == [
        (layer, latents) for layer in nearest.candidates for latents in (32, 64)
    ]
    assert {row.k for row in trials} == {4}
    found = {
        layer: (
            sum(row.found for row in trials if row.layer == layer),
            max(row.best_auroc for row in trials if row.layer == layer),
        )
        for layer in nearest.candidates
    }
    assert found[nearest.chosen] == max(found.values())
    for row in trials:
        assert 0 < row.fvu < 1
        assert (row.found > 0) == (row.best_auroc >= nearest.minimum)


def test_the_half_of_the_panel_that_is_held_out_is_not_looked_at(chosen):
    nearest = probe_of(chosen).nearest
    assert nearest.role == "panel"
    assert set(nearest.sentences) == {"da", "en", "sv"}
    # less the texts that are the same in two languages
    assert max(nearest.sentences.values()) <= PANEL / 2


def test_the_same_again_is_the_same(world, panel, chosen, tmp_path):
    out = tmp_path / "again"
    assert world.run(out, "--until", "probe", corpora__panel=panel) == 0
    assert probe_of(out) == probe_of(chosen)


def test_the_page_shows_it(chosen):
    text = (chosen / "report.html").read_text(encoding="utf-8")
    assert (chosen / "figures" / "nearest-language.svg").is_file()
    assert (chosen / "figures" / "figure-3-probes.svg").is_file()
    assert "The nearest language by layer" in text
    assert "Short autoencoders at the candidates" in text
    assert "layer choice compares" not in text


def test_without_the_papers_probes_the_rule_stands_alone(world, panel, chosen, tmp_path, page):
    out = tmp_path / "run"
    assert world.run(out, "--until", "probe", corpora__panel=panel, probe__paper="false") == 0
    probe = probe_of(out)
    assert (probe.cells, probe.layers, probe.pair) == ([], [], None)
    assert probe.nearest == probe_of(chosen).nearest
    assert not (out / "probe" / "cells.parquet").exists()
    assert (out / "figures" / "nearest-language.svg").is_file()
    assert not (out / "figures" / "figure-3-probes.svg").exists()


def test_without_a_third_language_it_says_what_it_cannot_see(world, tmp_path, capsys, page):
    out = tmp_path / "run"
    capsys.readouterr()
    assert world.run(out, "--until", "probe", probe__paper="false") == 0
    line = "the layer choice compares da with en only: give text in more languages"
    assert line in capsys.readouterr().err
    probe = probe_of(out)
    assert probe.nearest is None
    assert line in probe.only_pair
    assert (probe.pair.layer, probe.pair.rule) == (probe.best_layer, probe.rule)
    # what the rule needs, and no more
    assert probe.cells
    assert all(cell.rule for cell in probe.cells)
    text = (out / "report.html").read_text(encoding="utf-8")
    assert "The layer choice compares Danish with English only" in text


def test_a_recipe_by_the_paper_and_one_that_names_its_layer_keep_the_rule_of_the_pair(
    world, panel, tmp_path, capsys
):
    for changes in ({"protocol": "published"}, {"layer": 1}):
        out = tmp_path / "-".join(changes)
        capsys.readouterr()
        assert world.run(out, "--until", "probe", corpora__panel=panel, **changes) == 0
        assert "layer choice compares" not in capsys.readouterr().err
        probe = probe_of(out)
        assert (probe.nearest, probe.only_pair) == (None, None)
        assert len(probe.cells) > 0


def test_there_is_nothing_to_probe_for_a_named_layer_without_the_papers_probes(world, tmp_path):
    out = tmp_path / "run"
    assert world.run(out, "--until", "sae", layer=1, probe__paper="false") == 0
    assert probe_of(out) is None
    assert glossae.open_run(out).results.sae.layer == 1


def test_a_layer_that_is_named_afterwards_probes_nothing_again(world, panel, chosen, tmp_path, capsys):
    out = tmp_path / "run"

    def probes_again(**changes):
        capsys.readouterr()
        assert main([*world.line(out, corpora__panel=panel, **changes), "--until", "probe"]) == 0
        return "probe: done before, kept" not in capsys.readouterr().err

    assert probes_again()
    assert not probes_again(layer=2)
    assert probe_of(out).nearest == probe_of(chosen).nearest
    assert not probes_again()
    # what is found depends on it
    assert probes_again(evidence__minimum=0.9)
    assert not probes_again(evidence__minimum=0.9, evidence__q=0.1)


LAMBDAS = (0.01, 1000.0)


@pytest.fixture(scope="module")
def replayed(world, tmp_path_factory):
    """A run up to its probes, with the replay; not to be written to."""
    out = tmp_path_factory.mktemp("runs") / "replayed"
    assert world.run(out, "--until", "probe", probe__as_coded="true", probe__lambdas="0.01,1000") == 0
    return out


def test_the_replay_is_in_a_file_of_its_own(replayed):
    table = pd.read_parquet(replayed / "probe" / "as_coded.parquet")
    expected = {(layer, seed, penalty) for layer in range(3) for seed in range(2) for penalty in LAMBDAS}
    assert len(table) == len(expected)
    assert set(zip(table["layer"], table["seed"], table["lambda"], strict=True)) == expected
    assert set(table["protocol"]) == {"as_coded"}
    dead = table[table["collapsed"]]
    assert set(dead["lambda"]) == {1000.0}
    assert (dead["optimum_norm"] == 0).all()
    assert (dead["norm"] > 0).all()


def test_results_have_a_row_for_every_layer_and_lambda(replayed):
    probe = glossae.open_run(replayed).results.probe
    assert [(row.layer, row.penalty) for row in probe.as_coded] == [
        (layer, penalty) for layer in range(3) for penalty in LAMBDAS
    ]
    assert [(row.scores, row.penalty, row.seeds) for row in probe.agreement] == [
        ("rule", None, 2),
        *(("as_coded", penalty, 2) for penalty in LAMBDAS),
    ]
    table = pd.read_parquet(replayed / "probe" / "as_coded.parquet")
    means = table.groupby(["layer", "lambda"])["accuracy"].mean()
    for row in probe.as_coded:
        assert row.accuracy == pytest.approx(means[row.layer, row.penalty])


def test_the_page_shows_the_replay(replayed):
    page = (replayed / "report.html").read_text(encoding="utf-8")
    assert '<figure id="probes-as-coded"' in page
    assert "<strong>Replayed probes by lambda" in page


def test_the_optimum_is_the_same_with_it_and_without(replayed, world, tmp_path):
    out = tmp_path / "plain"
    assert world.run(out, "--until", "probe", probe__lambdas="0.01,1000") == 0
    with_it, without = (glossae.open_run(folder).results.probe for folder in (replayed, out))
    assert without.as_coded is None
    assert without.cells == with_it.cells
    assert without.best_layer == with_it.best_layer
    # asked for, and no longer asked for: nothing of it is left
    assert world.run(out, "--until", "probe", probe__lambdas="0.01,1000", probe__as_coded="true") == 0
    assert (out / "probe" / "as_coded.parquet").is_file()
    assert world.run(out, "--until", "probe", probe__lambdas="0.01,1000") == 0
    assert not (out / "probe" / "as_coded.parquet").exists()
