"""A run done again: the same bytes from the same seed, nothing done twice, nothing lost by an interruption."""

import errno
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_world import EVERYTHING, stages_worked_at, trained_tokenizer, write_model

import glossae
from glossae.cli import main
from glossae.run import engine
from glossae.stages import stage_of
from recorded import change_sae

STAGES = ("corpora", "probe", "sae", "evidence", "features", "effects")


@pytest.fixture
def works(capsys):
    """A function that runs a command line and says which stages it worked at, the others being kept."""

    def works(line):
        capsys.readouterr()
        assert main(line) == 0
        return stages_worked_at(capsys.readouterr().err)

    return works


def results(folder):
    return (folder / "results.json").read_bytes()


def done_in_results(folder):
    """The stages that results.json has anything of; none if it is not there."""
    path = folder / "results.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    keys = {"effects": "next_token"}
    return {stage for stage in STAGES if found.get(keys.get(stage, stage)) is not None}


def left_over(folder):
    return [str(path) for path in folder.rglob(".*") if path.name != ".lock"]


def tensors(folder):
    return (folder / "sae" / "sae.safetensors").read_bytes()


def test_another_seed_gives_other_numbers(world, finished, tmp_path):
    other = tmp_path / "other"
    assert world.run(other, "--until", "sae", seed=1) == 0
    assert tensors(other) != tensors(finished)


# ---- stopped and carried on


def test_stopping_at_a_stage_and_going_on_changes_nothing(world, finished, tmp_path):
    out = tmp_path / "run"
    assert world.run(out, "--until", "features") == 0
    assert results(out) != results(finished)
    assert world.run(out) == 0
    assert results(out) == results(finished)


@pytest.mark.parametrize("stage", STAGES)
def test_an_interrupted_run_carries_on_to_the_same_numbers(world, finished, tmp_path, dies, works, stage):
    out = tmp_path / "run"
    dies(out, stage, share=0.4)
    assert left_over(out) == []
    assert done_in_results(out) == set(STAGES[: STAGES.index(stage)])
    assert not (out / stage / "summary.json").exists()
    assert works(world.line(out)) == list(STAGES[STAGES.index(stage) :])
    assert results(out) == results(finished)
    assert tensors(out) == tensors(finished)


def test_an_error_in_a_stage_leaves_nothing_half_written(world, finished, tmp_path, monkeypatch):
    out = tmp_path / "run"

    def fail(*_, **__):
        raise RuntimeError("the machine is on fire")

    with monkeypatch.context() as patch:
        patch.setattr("glossae.files.save_tensors", fail)
        assert world.run(out) == 70
    assert left_over(out) == []
    assert not (out / "sae" / "sae.safetensors").exists()
    assert done_in_results(out) == {"corpora", "probe"}
    # the lock is free again
    assert world.run(out) == 0
    assert results(out) == results(finished)


@pytest.mark.parametrize(("stage", "share"), [("sae", 0.8), ("effects", 0.1)])
def test_settings_taken_back_after_an_interruption_count_again(
    world, finished, copy_of_finished, dies, stage, share
):
    # the autoencoder of the other settings is already on the disk when they are taken back
    dies(copy_of_finished, stage, share, sae__k=5)
    assert tensors(copy_of_finished) != tensors(finished)
    assert world.run(copy_of_finished) == 0
    assert results(copy_of_finished) == results(finished)
    assert tensors(copy_of_finished) == tensors(finished)


# ---- inside a stage


@pytest.fixture
def loading(world, finished, passes):
    """How often a block runs while a model is loaded, and nothing is left to do."""
    assert world.run(finished) == 0
    return passes[0]


def test_effects_that_were_cut_off_do_not_run_the_model_on_what_was_done(
    world, finished, tmp_path, dies, passes, loading
):
    out, anew = tmp_path / "run", tmp_path / "anew"
    shutil.copytree(finished, anew)
    shutil.rmtree(anew / "effects")
    passes[0] = -loading
    assert world.run(anew, **EVERYTHING) == 0
    every = passes[0]
    shutil.copytree(anew, out)
    shutil.rmtree(out / "effects")
    # what is left are the continuations
    dies(out, "effects", 0.951, **EVERYTHING)
    done = {path: path.stat().st_mtime_ns for path in out.glob("effects/parts/*/*.npz")}
    assert {"test-0", "test-others-doses", "tune-0"} <= {path.stem for path in done}
    passes[0] = -loading
    assert world.run(out, **EVERYTHING) == 0
    assert 0 < passes[0] < every / 4
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert results(out) == results(anew)


def test_evidence_that_was_cut_off_does_not_run_the_model_on_the_text_it_had_passed(
    world, finished, tmp_path, dies, passes, loading
):
    out = shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(out / "evidence")
    passes[0] = -loading
    dies(out, "evidence", 0.7)
    before = passes[0]
    assert any((out / "passes").iterdir())
    passes[0] = -loading
    assert world.run(out) == 0
    assert passes[0] < before
    assert results(out) == results(finished)
    # a run that is finished needs them no more
    assert not (out / "passes").exists()


def test_other_resamples_run_no_model(world, finished, tmp_path, passes, loading):
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    cells = json.loads(results(out))["next_token"]["cells"]
    passes[0] = -loading
    assert world.run(out, effects__bootstrap=30) == 0
    assert passes[0] == 0
    again = json.loads(results(out))["next_token"]["cells"]
    assert [cell["ce"] for cell in again] == [cell["ce"] for cell in cells]
    assert [cell["ci_low"] for cell in again] != [cell["ci_low"] for cell in cells]


# ---- the page before the end


def without_times(page):
    """A page without its table of stages and without the lines that say which are still to come, or were not run."""
    text = re.sub(
        r"<p class=\"warning\">This run is not complete\..*?</p>\s*", "", page.read_text(encoding="utf-8")
    )
    text = re.sub(r"<p id=\"not-run\">.*?</p>", "", text)
    return re.sub(r"<p class=\"caption\" id=\"caption-stages\">.*?</table>", "", text, flags=re.DOTALL)


@pytest.fixture
def pages(monkeypatch):
    """A function that makes drawing a page take some seconds, and gives the stages to come of each page drawn.

    By this clock every stage takes a second.
    """

    def pages(seconds, after=0.0):
        now, drawn = [0.0], []

        def perf_counter():
            now[0] += 1.0
            return now[0]

        def write_report(context, _):
            out = context.folder.path
            now[0] += seconds - 1.0
            drawn.append(json.loads((out / "run.json").read_text())["to_come"])
            # results.json is of the same moment
            assert done_in_results(out) == set(STAGES) - set(drawn[-1])
            return {}

        monkeypatch.setattr(stage_of("report"), "run", write_report)
        monkeypatch.setattr(engine, "PAGE_EVERY", 10.0)
        monkeypatch.setattr(engine, "PAGE_AFTER", after)
        monkeypatch.setattr(engine, "time", SimpleNamespace(perf_counter=perf_counter))
        return drawn

    return pages


def test_the_page_is_drawn_after_each_stage_that_takes_ten_times_as_long_as_drawing_it(
    world, tmp_path, pages
):
    drawn = pages(seconds=0.09)
    assert world.run(tmp_path / "run") == 0
    assert drawn == [list(STAGES[done:]) for done in range(1, len(STAGES) + 1)]
    drawn.clear()
    # nothing was carried out
    assert world.run(tmp_path / "run") == 0
    assert drawn == [[]]


def test_the_page_waits_until_the_stages_took_ten_times_as_long_as_drawing_it(world, tmp_path, pages):
    drawn = pages(seconds=0.19)
    assert world.run(tmp_path / "run") == 0
    # the first is drawn at once, for nothing is known of its cost; then every second stage
    assert drawn == [list(STAGES[1:]), list(STAGES[3:]), list(STAGES[5:]), []]


def test_the_page_that_is_quick_to_draw_waits_until_the_stages_took_long_enough(world, tmp_path, pages):
    drawn = pages(seconds=0.0, after=2.0)
    assert world.run(tmp_path / "run") == 0
    assert drawn == [list(STAGES[2:]), list(STAGES[4:]), []]


@pytest.mark.parametrize("before", [None, "finished"])
def test_a_run_that_dies_leaves_a_page_of_the_stages_before(
    world, finished, tmp_path, dies, monkeypatch, page, before
):
    """Also in the folder of an earlier run with other settings, whose files of later stages still lie there."""
    out, other = tmp_path / "run", {"seed": 1, "evidence__minimum": 0.9}
    if before:
        shutil.copytree(finished, out)

    def early(pages, done, to_come, _):
        pages.write(done, to_come)
        # drawing is slow: only the last page before the death counts
        if done[-1] == "evidence":
            pages.draw("")

    monkeypatch.setattr(engine._Pages, "early", early)
    dies(out, "features", 0.4, **other)
    text = (out / "report.html").read_text(encoding="utf-8")
    assert "This run is not complete. Still to come: features and effects." in text
    assert world.run(tmp_path / "fresh", "--until", "evidence", **other) == 0
    # what was not asked for, and what has not been reached, are not the same
    asked, reached = "Units were not looked for in this run.", "Units have not been looked for yet."
    whole = without_times(tmp_path / "fresh" / "report.html")
    assert asked in whole
    assert without_times(out / "report.html") == whole.replace(asked, reached)
    assert "Still to come" not in (tmp_path / "fresh" / "report.html").read_text(encoding="utf-8")
    names = {path.name for path in (out / "figures").iterdir()}
    assert names == {path.name for path in (tmp_path / "fresh" / "figures").iterdir()}


# ---- nothing is done twice


def test_the_same_command_again_does_nothing(world, copy_of_finished, works):
    before = {
        path: path.stat().st_mtime_ns
        for path in copy_of_finished.rglob("*")
        if path.parent.name in STAGES and path.is_file()
    }
    assert works(world.line(copy_of_finished)) == []
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize(
    ("changes", "again"),
    [
        ({"features__min_target": 0.4}, ["features", "effects"]),
        ({"effects__values": "-2,0,2"}, ["effects"]),
        ({"sae__k": 3}, ["sae", "evidence", "features", "effects"]),
        ({"probe__lambdas": 0.02}, ["probe"]),
        ({"report__texts": 3}, ["features"]),
        ({"report__title": "Mine"}, []),
        ({"seed": 1}, list(STAGES)),
    ],
)
def test_a_changed_setting_redoes_what_depends_on_it(world, copy_of_finished, works, changes, again):
    line = world.line(copy_of_finished, **changes)
    assert works(line) == again
    assert works(line) == []


def test_another_layer_redoes_what_comes_after_the_probes(world, copy_of_finished, works):
    used = glossae.open_run(copy_of_finished).results.probe.layer_used
    assert works(world.line(copy_of_finished, layer=used)) == []
    again = ["sae", "evidence", "features", "effects"]
    assert works(world.line(copy_of_finished, layer=(used + 1) % 3)) == again
    probe = glossae.open_run(copy_of_finished).results.probe
    assert (probe.best_layer, probe.layer_used) == (used, (used + 1) % 3)
    assert probe.chosen_by == "recipe"


def test_a_changed_setting_gives_what_a_fresh_run_gives(world, copy_of_finished, tmp_path):
    changes = {"features__fallback": 1, "effects__values": "-2,2", "sae__k": 3}
    assert world.run(copy_of_finished, **changes) == 0
    assert world.run(tmp_path / "fresh", **changes) == 0
    assert results(copy_of_finished) == results(tmp_path / "fresh")


def test_changed_text_is_noticed(world, copy_of_finished, tmp_path, works):
    test = tmp_path / "press.tmx"
    lines = Path(world.texts["tmx"]).read_text(encoding="utf-8").splitlines(keepends=True)
    test.write_text("".join(lines[:20] + lines[-1:]), encoding="utf-8")
    line = world.line(copy_of_finished, corpora__test=test)
    # other text to test on: neither probes nor the autoencoder saw it
    assert works(line) == ["corpora", "features", "effects"]
    # another copy of the same text is the same text
    again = shutil.copy(test, tmp_path / "elsewhere.tmx")
    shutil.move(again, test)
    assert works(line) == []


def test_changed_weights_are_noticed(world, copy_of_finished, tmp_path, works):
    model = shutil.copytree(world.model, tmp_path / "model")
    line = world.line(copy_of_finished, model=model)
    works(line)
    assert works(line) == []
    write_model(model, trained_tokenizer(), initializer_range=0.1)
    assert works(line) == list(STAGES)


def test_another_probed_models_weights_are_noticed(world, copy_of_finished, tmp_path, works):
    # two folders of one name have two names in the results
    other = shutil.copytree(world.model, tmp_path / "other" / "model")
    line = world.line(copy_of_finished, probe__models=other)
    assert works(line) == ["probe"]
    models = {cell.model for cell in glossae.open_run(copy_of_finished).results.probe.cells}
    assert models == {"model", "model-2"}
    weights = other / "model.safetensors"
    os.utime(weights, ns=(1, 1))
    small = other / "generation_config.json"
    small.write_text(small.read_text() + "\n")
    assert works(line) == ["probe"]


# ---- what the stages left is gone


def test_a_lost_summary_redoes_its_stage_alone(world, finished, copy_of_finished, works):
    (copy_of_finished / "features" / "summary.json").unlink()
    assert works(world.line(copy_of_finished)) == ["features"]
    assert results(copy_of_finished) == results(finished)


@pytest.mark.parametrize(
    "said",
    [
        *("3", "[]", "null", "[" * 100_000, '{"stages": {"sae": 5}}', '{"stages": {}, "habits": []}'),
        *(
            '{"stages": {"sae": {"files": [1]}}}',
            '{"stages": {}, "habits": {"m": {"sinks": 3}}}',
            '{"text": 1}',
        ),
    ],
    ids=lambda said: said[:40],
)
def test_a_run_json_of_another_shape_is_refused(world, finished, capsys, tmp_path, said):
    shutil.copytree(
        finished, out := tmp_path / "run", ignore=shutil.ignore_patterns("*.safetensors", "units")
    )
    file = out / "run.json"
    file.write_text(said, encoding="utf-8")
    assert world.run(out) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"glossae: {file}: is broken (")
    assert line.endswith("; delete it to run every stage again")
    for command in (
        f"figures {out} --out {tmp_path / 'f'}",
        f"knob save {out} --out {tmp_path / 'k.safetensors'} --dose 1",
        f"push {out} me/it",
    ):
        assert main(command.split()) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"glossae: {file}: is broken ("), command
        assert len(line) < 600


def test_a_run_of_the_former_name_is_not_gone_on_with(world, copy_of_finished, capsys):
    file = copy_of_finished / "run.json"
    before = file.read_text(encoding="utf-8").replace('"glossae"', '"sprog"')
    file.write_text(before, encoding="utf-8")
    assert world.run(copy_of_finished) == 2
    assert "holds a run of sprog, as glossae was called" in capsys.readouterr().err
    assert file.read_text(encoding="utf-8") == before
    assert glossae.open_run(copy_of_finished).record["stages"]


def test_a_full_disk_is_named(world, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(stage_of("corpora"), "run", full)
    assert world.run(tmp_path / "run") == 2
    assert capsys.readouterr().err.endswith(f"glossae: {tmp_path / 'run'}: No space left on device\n")


# kept on disk in between, and straight from the model
@pytest.mark.parametrize("epochs", [2, 1])
def test_what_is_trained_does_not_depend_on_the_size_of_the_models_batches(world, tmp_path, epochs):
    logs = []
    for size in (60, 4096):
        out = tmp_path / str(size)
        changes = {"sae__epochs": epochs, "layer": 1, "probe__paper": "false"}
        assert world.run(out, "--until", "sae", batch_tokens=size, **changes) == 0
        logs.append(glossae.open_run(out).table("sae/log"))
    np.testing.assert_allclose(logs[0]["mse"], logs[1]["mse"], rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "said"),
    [("probe/summary.json", "[]"), ("sae/sae.safetensors", None), ("features/ranges.json", "{")],
)
def test_a_stage_whose_files_are_gone_or_changed_is_run_again(
    world, finished, copy_of_finished, works, name, said
):
    file = copy_of_finished / name
    whole = file.read_bytes()
    if said is None:
        file.unlink()
    else:
        file.write_text(said)
    # it writes what it wrote before, so that what comes after it still stands
    assert works(world.line(copy_of_finished)) == [file.parent.name]
    assert file.read_bytes() == whole
    assert results(copy_of_finished) == results(finished)


def test_a_stage_runs_again_where_a_stage_before_it_came_to_something_else(world, copy_of_finished, works):
    record = json.loads((copy_of_finished / "run.json").read_text(encoding="utf-8"))
    for stage in STAGES:
        files = record["stages"][stage]["files"]
        assert "summary.json" in files
        assert not [name for name in files if name.startswith(("parts/", "checkpoints/"))]
        for name, sha in files.items():
            assert hashlib.sha256((copy_of_finished / stage / name).read_bytes()).hexdigest() == sha
    # other bytes that are recorded are another autoencoder
    file = copy_of_finished / "sae" / "sae.safetensors"
    change_sae(file, trained_on="other words")
    record["stages"]["sae"]["files"]["sae.safetensors"] = hashlib.sha256(file.read_bytes()).hexdigest()
    (copy_of_finished / "run.json").write_text(json.dumps(record), encoding="utf-8")
    assert works(world.line(copy_of_finished)) == ["evidence", "features", "effects"]


def test_a_stage_that_is_not_done_is_refused_to_readers(copy_of_finished):
    file = copy_of_finished / "run.json"
    record = json.loads(file.read_text(encoding="utf-8"))
    for stage in ("sae", "effects"):
        del record["stages"][stage]
    file.write_text(json.dumps(record), encoding="utf-8")
    run = glossae.open_run(copy_of_finished)
    assert len(run.table("probe/cells"))
    for read, stage in ((run.sae, "sae"), (lambda: run.table("effects/next_token"), "effects")):
        with pytest.raises(glossae.GlossaeError, match=f"the stage '{stage}' is not done in this run"):
            read()


KILLS = 8
LONG = {"sae__epochs": 150, "layer": 1, "probe__tokens": 400, "probe__seeds": 1}


def newest(folder):
    """The step of the newest checkpoint; 0 if there is none."""
    steps = [int(path.stem.removeprefix("step-")) for path in folder.glob("step-*.safetensors")]
    return max(steps, default=0)


def start(world, out):
    """The run in a process of its own; what it complains of is in a file beside its folder."""
    line = [*world.line(out, **LONG, sae__checkpoint=0), "--quiet", "--until", "sae"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2"}
    with out.with_suffix(".err").open("a") as errors:
        return subprocess.Popen([sys.executable, "-m", "glossae", *line], env=environment, stderr=errors)


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_in_the_same_bytes(world, tmp_path):
    whole = start(world, tmp_path / "whole")
    assert whole.wait() == 0
    out, chance = tmp_path / "killed", random.Random(0)
    checkpoints = out / "sae" / "checkpoints"
    kills, reached = 0, []
    while True:
        process = start(world, out)
        before = newest(checkpoints)
        # not before it has begun to train, and then at any moment, in the middle of a write as well
        while process.poll() is None and newest(checkpoints) <= before:
            time.sleep(0.01)
        if kills < KILLS:
            time.sleep(chance.uniform(0, 0.15))
        if kills == KILLS or process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        reached.append(newest(checkpoints))
    assert process.wait() == 0, out.with_suffix(".err").read_text()
    assert kills == KILLS, f"the training was over after {kills} kills, at the steps {reached}"
    # it went on where it was, and did not begin anew each time
    assert reached == sorted(reached)
    assert len(set(reached)) > KILLS // 2
    first, second = (
        (folder / "sae" / "sae.safetensors").read_bytes() for folder in (tmp_path / "whole", out)
    )
    assert first == second
