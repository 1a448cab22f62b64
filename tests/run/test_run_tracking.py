"""`--track` sends a run's numbers to a tracker, and a tracker never stops a run."""

import json
import os
import subprocess
import sys

import pytest

# the same three functions as trackio and wandb have
FAKE = """\
import json, os
def _write(what, **said):
    if os.environ.get("FAKE_FAILS") == what:
        kind = SystemExit if os.environ.get("FAKE_LEAVES") else RuntimeError
        raise kind("the disk is \\x1b[31mfull\\nand more")
    with open(os.environ["FAKE_FILE"], "a") as file:
        print(json.dumps({"what": what, **said}), file=file)
    print("* a tracker's own words")
def init(project, name, config):
    _write("init", project=project, name=name, config=config)
def log(metrics):
    _write("log", metrics=metrics)
def finish():
    _write("finish")
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A tracker under wandb's name; a function that gives what it was told."""
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "wandb.py").write_text(FAKE)
    monkeypatch.syspath_prepend(str(tmp_path / "fake"))
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    told = tmp_path / "told"
    monkeypatch.setenv("FAKE_FILE", str(told))
    return lambda: [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []


def test_a_tracker_is_sent_settings_the_training_and_headline_numbers(world, fake, tmp_path, capsys):
    out = tmp_path / "one"
    assert world.run(out, "--track", "wandb", "--until", "sae") == 0
    begun, *logged, ended = fake()
    assert (begun["what"], begun["project"], begun["name"]) == ("init", "glossae", "one")
    assert begun["config"]["model"] == "model"
    assert begun["config"]["sae"]["k"] == 4
    assert str(world.folder) not in json.dumps(begun)
    assert ended == {"what": "finish"}
    rows = [line["metrics"] for line in logged]
    training = [row for row in rows if "sae/training/step" in row]
    assert training
    assert all(row["sae/training/fvu"] > 0 for row in training)
    seconds = {key for row in rows for key in row if key.endswith("/seconds")}
    assert seconds == {"corpora/seconds", "probe/seconds", "sae/seconds"}
    results = json.loads((out / "results.json").read_text())
    (sae,) = [row for row in rows if "sae/l0" in row]
    assert sae["sae/fvu/da"] == results["sae"]["fvu"]["da"]
    # not the tracker's own words
    assert capsys.readouterr().out == f"{out / 'report.html'}\n"

    # the flag is no setting: nothing is run again, and nothing is sent of what was done before
    assert world.run(out, "--until", "sae") == 0
    assert len(fake()) == len(logged) + 2


@pytest.mark.parametrize("leaves", ["", "1"])
def test_a_tracker_that_fails_does_not_stop_the_run(world, fake, tmp_path, monkeypatch, capsys, leaves):
    monkeypatch.setenv("FAKE_FAILS", "log")
    monkeypatch.setenv("FAKE_LEAVES", leaves)
    assert world.run(tmp_path / "out", "--track", "wandb", "--until", "corpora") == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("--track")]
    assert told == ["--track: wandb failed (the disk is \\x1b[31mfull); the run goes on without it"]
    assert [line["what"] for line in fake()] == ["init"]


def test_a_tracker_that_is_missing_or_does_not_begin_is_one_line(world, fake, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FAKE_FAILS", "init")
    assert world.run(tmp_path / "out", "--track", "wandb") == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line == "glossae: --track: wandb does not begin (the disk is \\x1b[31mfull): run without it"
    monkeypatch.setitem(sys.modules, "trackio", None)
    assert world.run(tmp_path / "out", "--track", "trackio") == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line == "glossae: --track: trackio is not installed: pip install 'glossae[track]'"
    assert world.run(tmp_path / "out", "--track", "tensorboard") == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line == "glossae: --track: unknown track 'tensorboard' (there are trackio, wandb and none)"
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_trackio_itself_is_sent_numbers(world, tmp_path):
    pytest.importorskip("trackio")
    script = """\
import sys
from glossae.cli import main
status = main(sys.argv[1:])
from trackio.sqlite_storage import SQLiteStorage
print("SENT", *[key for row in SQLiteStorage.get_logs("glossae", "out") for key in row])
sys.exit(status)
"""
    line = [*world.line(tmp_path / "out"), "--quiet", "--until", "corpora", "--track", "trackio"]
    own = {"TRACKIO_DIR": str(tmp_path / "trackio"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", script, *line]
    done = subprocess.run(command, env=os.environ | own, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("SENT ")
    assert "corpora/seconds" in done.stdout.split()
