"""Whole runs of a model and a data set of the hub: from the network once, then from the cache, to the same numbers."""

import json

import pytest
from tiny_world import PAIRS, RECIPE, SMALL, trained_tokenizer, write_model

from toy_grammar import sentences


@pytest.fixture
def line(hub, name, tmp_path):
    """A function that gives the command of a small run, its text and model on the hub; the model at `step1` alone."""
    folder = write_model(tmp_path / "model", trained_tokenizer())
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    hub.add(name, {"README.md": "nothing on the main branch"})
    hub.add(name, files, revision="step1", tag=True)
    rows = "".join(json.dumps({"translation": pair}) + "\n" for pair in sentences(PAIRS, seed=3))
    hub.add(name, {"train.jsonl": rows}, kind="datasets")
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")

    def line(out, **changes):
        settings = SMALL | {"model": f"{name}@step1", "layer": "1", "corpora.train": f"hub:{name}"} | changes
        return [
            "run",
            str(recipe),
            "--out",
            str(out),
            *(f"--{key}={value}" for key, value in settings.items()),
        ]

    return line


def test_a_run_from_the_hub_and_again_from_the_cache(hub, client, offline, line, name, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    answer = client("run", *line(first), "--quiet")
    assert answer == {"status": 0, "said": f"{first / 'report.html'}\n"}
    assert client.noise == ""
    record = json.loads((first / "run.json").read_text())
    assert record["model_commit"] == hub.repo(name).tags["step1"]
    results = json.loads((first / "results.json").read_text())
    assert results["model"] == f"{name}@step1"
    assert {row["name"] for row in results["corpora"]} == {f"hub:{name}"}
    assert {row["language"] for row in results["corpora"]} >= {"da", "en", "sv"}
    hub.asked.clear()
    assert offline("run", *line(second), "--quiet")["status"] == 0
    assert hub.asked == []
    assert (second / "results.json").read_bytes() == (first / "results.json").read_bytes()


def test_a_tag_that_moves_runs_every_stage_again(hub, client, line, name, tmp_path):
    out = tmp_path / "out"
    command = [*line(out), "--until", "corpora"]
    client("run", *command)
    client("run", *command)
    assert "corpora: done before, kept" in client.noise
    commit = hub.add(name, hub.repo(name).commits[hub.repo(name).tags["step1"]], revision="step1", tag=True)
    assert client("run", *command)["status"] == 2
    assert "has finished stages (corpora) of other inputs (" in client.noise
    client("run", *command, "--again")
    assert "kept" not in client.noise
    assert json.loads((out / "run.json").read_text())["model_commit"] == commit


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "org/nothing"}, "model: org/nothing is not on the hub, or it is private"),
        ({"corpora.train": "hub:org/nothing"}, "hub:org/nothing is not on the hub, or it is private"),
        ({"corpora.train": "hub:org/x,q=1"}, "corpora.train: 'hub:org/x,q=1': there is no key 'q'"),
        ({"probe.models": "org/nothing"}, "probe.models: org/nothing is not on the hub, or it is private"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_begun(client, line, tmp_path, changes, said):
    out = tmp_path / "out"
    assert client("run", *line(out, **changes)) == {"status": 2, "said": ""}
    assert client.noise.startswith(f"glossae: {said}")
    assert client.noise.count("\n") == 1
    assert not out.exists()


def test_a_dry_run_asks_nobody(hub, client, line, name, tmp_path):
    hub.asked.clear()
    before = client("run", *line(tmp_path / "out"), "--dry-run")
    assert hub.asked == []
    assert "Would be fetched" in before["said"]
    assert client("run", *line(tmp_path / "out"), "--until", "corpora")["status"] == 0
    hub.asked.clear()
    after = client("run", *line(tmp_path / "out"), "--dry-run")
    assert hub.asked == []
    assert "Nothing would be fetched." in after["said"]
    assert "cached model" in after["said"]
    assert "cached text" in after["said"]
