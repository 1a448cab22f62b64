"""Finished stages are kept unless --again says otherwise; what a run says in a log and to a program."""

import json
import re
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

import glossae
from glossae.cli import main
from glossae.record import RECORD
from glossae.run import context as run_context
from glossae.run.context import Show


def tree(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.fixture
def without_again(world, capsys):
    """A function that runs the world without --again; gives the status and what it says was wrong."""

    def run(out, *more, **changes):
        line = [word for word in world.line(out, **changes) if word != "--again"]
        capsys.readouterr()
        status = main([*line, "--quiet", *more])
        return status, capsys.readouterr().err.removeprefix("glossae: ").rstrip("\n")

    return run


@pytest.mark.parametrize(
    ("changes", "stages", "settings"),
    [
        ({"effects__values": "-2,2"}, "effects", "effects.values -4,0,4, now -2,2"),
        (
            {"evidence__minimum": "0.9", "seed": 1},
            "corpora, probe and 4 more",
            "seed 0, now 1; evidence.minimum 0.8, now 0.9",
        ),
        (
            {"sae__k": 3, "sae__epochs": 2, "sae__lr": 0.01, "sae__decay": 0.1},
            "sae, evidence and 2 more",
            "sae.k 4, now 3; sae.lr none, now 0.01; sae.epochs 1, now 2; and 1 more settings)",
        ),
        ({"languages__others": "none"}, "corpora, probe and 4 more", "languages.others sv, now none"),
    ],
)
def test_a_changed_setting_does_not_replace_finished_stages(
    copy_of_finished, without_again, changes, stages, settings
):
    before = tree(copy_of_finished)
    status, said = without_again(copy_of_finished, **changes)
    assert status == 2
    assert said.startswith(
        f"--out: {copy_of_finished} has finished stages ({stages}) of other inputs ({settings}"
    )
    assert said.endswith("): add --again to replace them, or give another --out")
    assert tree(copy_of_finished) == before


def test_until_an_earlier_stage_loses_no_results(copy_of_finished, without_again):
    before = tree(copy_of_finished)
    assert without_again(copy_of_finished, "--until", "probe") == (0, "")
    after = tree(copy_of_finished)
    same = ("results.json", "recipe.yaml", "effects/summary.json", "features/selected.json")
    assert all(after[copy_of_finished / name] == before[copy_of_finished / name] for name in same)
    status, said = without_again(copy_of_finished, "--until", "corpora", sae__k=3)
    assert (status, "has finished stages (sae, evidence and 2 more)" in said) == (2, True)
    assert tree(copy_of_finished) == after


def test_another_model_is_refused_before_it_is_fetched(copy_of_finished, without_again):
    status, said = without_again(copy_of_finished, model="nobody/nothing")
    assert (status, "has finished stages (corpora, probe and 4 more)" in said) == (2, True)


def test_changed_text_and_another_version_do_not_either(world, copy_of_finished, without_again, tmp_path):
    record = json.loads((copy_of_finished / RECORD).read_text())
    for stage in record["stages"].values():
        stage["fingerprint"] = "other"
    (copy_of_finished / RECORD).write_text(json.dumps(record))
    assert "of other inputs (other text, model, device or code)" in without_again(copy_of_finished)[1]
    (copy_of_finished / RECORD).write_text(json.dumps(record | {"glossae": "0.0.1"}))
    assert f"of other inputs (glossae 0.0.1, now {glossae.__version__})" in without_again(copy_of_finished)[1]


def test_text_and_model_files_that_were_changed_are_named(world, copy_of_finished, without_again):
    before = tree(copy_of_finished)
    files = Path(world.texts["tmx"]), world.model / "generation_config.json"
    text, settings = files
    whole, before_them = (path.read_text(encoding="utf-8") for path in files)
    try:
        text.write_text(
            whole.replace("<tu>", "<tu><!-- -->", 1).replace("</seg>", " ja</seg>", 1), encoding="utf-8"
        )
        said = without_again(copy_of_finished)[1]
        assert "has finished stages (corpora, features, effects) of other inputs (" in said
        assert "the text of corpora.test changed" in said
        text.write_text(whole, encoding="utf-8")
        settings.write_text(before_them + "\n", encoding="utf-8")
        assert (
            "(corpora, probe and 4 more) of other inputs (the files of model changed"
            in without_again(copy_of_finished)[1]
        )
    finally:
        text.write_text(whole, encoding="utf-8")
        settings.write_text(before_them, encoding="utf-8")
    assert tree(copy_of_finished) == before


def test_what_changes_no_finished_stage_needs_no_leave(copy_of_finished, without_again):
    assert without_again(copy_of_finished) == (0, "")
    # a title is of the page alone; a stage that was not asked for before
    assert without_again(copy_of_finished, report__title="Mine", evidence__seeds=0)[0] == 0
    changes = {"steering__prompts": 2, "steering__tokens": 2, "steering__values": 1, "steering__kl": "none"}
    kept = tree(copy_of_finished / "effects")
    assert without_again(copy_of_finished, **changes)[0] == 0
    assert glossae.open_run(copy_of_finished).results.steering is not None
    assert tree(copy_of_finished / "effects") == kept


def test_an_unfinished_stage_may_have_other_settings(world, without_again, dies, tmp_path):
    out = tmp_path / "run"
    dies(out, "sae", share=0.4)
    assert without_again(out, "--until", "sae", sae__epochs=2) == (0, "")
    assert without_again(out, "--until", "sae", probe__tokens=900)[0] == 2


def test_a_run_with_leave_that_was_cut_off_carries_on_without(copy_of_finished, without_again, dies):
    dies(copy_of_finished, "sae", share=0.4, sae__epochs=2)
    # the stages after it are of the autoencoder that is gone
    assert without_again(copy_of_finished, sae__epochs=2) == (0, "")


def test_json_of_a_run_has_its_stages_and_numbers(world, copy_of_finished, capsys):
    (copy_of_finished / "effects" / "summary.json").unlink()
    capsys.readouterr()
    assert main([*world.line(copy_of_finished), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    results = glossae.open_run(copy_of_finished).results
    assert said["page"] == str(copy_of_finished / "report.html")
    again = [stage["stage"] for stage in said["stages"] if not stage["done_before"]]
    assert again == ["effects"]
    assert all(stage["seconds"] > 0 for stage in said["stages"])
    assert said["sae"]["fvu"] == results.sae.fvu
    assert said["units"] == [row.unit for row in results.features.units]
    # so little text tests nothing
    assert ("claims" in said) == hasattr(results.evidence, "claims")
    assert said["layer"] == results.probe.layer_used


# ---- the log


def test_a_log_has_times_and_a_line_in_thirty_seconds(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(run_context, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with Show(quiet=False).stage("sae", "training [a] long time" + "." * 100) as progress:
        for step in range(1, 101):
            now[0] += 1.0
            progress(step / 100)
    lines = capsys.readouterr().err.splitlines()
    times, said = zip(*(line.split(" ", 1) for line in lines), strict=True)
    assert all(datetime.fromisoformat(each).tzinfo for each in times)
    assert said == (
        "sae: training [a] long time" + "." * 100,
        "sae: 30% after 30 s, 1:10 left",
        "sae: 60% after 1:00, 40 s left",
        "sae: 90% after 1:30, 10 s left",
        "sae: done in 1:40",
    )


def test_every_line_of_a_runs_log_has_a_time(world, copy_of_finished, capsys):
    capsys.readouterr()
    assert main(world.line(copy_of_finished, effects__values="-2,2")) == 0
    lines = capsys.readouterr().err.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d [a-z]+: ", line) for line in lines)
    assert any(line.endswith("evidence: done before, kept") for line in lines)
