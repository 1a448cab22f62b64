"""Tasks in a run: only where asked for, once, on the page, and refused before any work."""

import json
import shutil

import pytest
from tiny_world import stages_worked_at

import glossae
from glossae.cli import main
from glossae.recipe import load_recipe
from glossae.stages.tasks import read_tasks
from toy_grammar import sentiment

SMALL = {
    "tasks__values": "-4,4",
    "tasks__protocol": "both",
    "tasks__finetune": "true",
    "tasks__seeds": 1,
    "tasks__epochs": 1,
    "tasks__rows": 200,
}


@pytest.fixture(scope="module")
def moods(tmp_path_factory):
    """A folder of the toy's sentiment, with one text missing."""
    folder = tmp_path_factory.mktemp("moods")
    rows = [json.dumps(row.row()) + "\n" for row in sentiment(260, 1, "en")]
    rows.insert(3, json.dumps({"text": " ", "label": "neutral"}) + "\n")
    (folder / "train.jsonl").write_text("".join(rows[:180]))
    (folder / "test.jsonl").write_text("".join(rows[180:]))
    return folder


@pytest.fixture(scope="module")
def names(moods):
    return f"mood:en={moods}"


@pytest.fixture(scope="module")
def with_tasks(world, names, finished, tmp_path_factory):
    """The folder of a finished run to which tasks were added; not to be written to."""
    out = shutil.copytree(finished, tmp_path_factory.mktemp("tasks") / "run")
    assert world.run(out, tasks__names=names, **SMALL) == 0
    return out


def test_every_arm_is_there_by_every_protocol(with_tasks):
    run = glossae.open_run(with_tasks)
    rows = run.results.tasks
    assert run.table("tasks/scores").to_dict("records")[0]["task"] == rows[0].task
    assert {(row.task, row.language) for row in rows} == {("mood", "en")}
    assert all(row.ci_low <= row.score <= row.ci_high for row in rows)

    def arms(protocol):
        return [
            (row.units, row.edit, row.splice, row.value)
            for row in rows
            if row.protocol == protocol and row.metric != "mcc"
        ]

    raw, none = ("da", "raw", None, None), ("da", "none", True, None)
    spliced, kept = ([("da", "set", splice, value) for value in (-4, 4)] for splice in (True, False))
    assert arms("controlled") == [raw, none, *spliced, *kept, ("label", "project_out", False, None)]
    assert arms("as_coded") == [raw, none, *spliced]
    assert arms("fine_tuned") == [raw, *kept]
    assert {row.metric for row in rows if row.protocol == "as_coded"} == {"weighted_f1"}


def test_what_was_left_out_is_written_and_on_the_page(with_tasks):
    sets = json.loads((with_tasks / "tasks" / "sets.json").read_text())
    assert sets["mood"]["dropped"] == {"train": {"empty": 1}, "test": {}}
    assert sets["mood"]["rows"] == {"train": 179, "test": 81}
    page = (with_tasks / "report.html").read_text()
    assert "Without text, left out" in page
    for name in ("controlled", "as-coded", "fine-tuned"):
        assert (with_tasks / "figures" / f"figure-9-tasks-{name}.svg").is_file()
    assert "labels&#39; directions erased" in page
    assert "Appendix D: as the paper" in page


@pytest.fixture
def copy(with_tasks, tmp_path):
    return shutil.copytree(with_tasks, tmp_path / "again")


def test_tasks_are_set_again_only_when_something_about_them_changes(world, names, moods, copy, capsys):
    def works(**changes):
        capsys.readouterr()
        settings = {"tasks__names": names} | SMALL | changes
        assert main(world.line(copy, **settings)) == 0
        return stages_worked_at(capsys.readouterr().err)

    assert works() == []
    less = {"tasks__finetune": "false", "tasks__protocol": "controlled", "tasks__names": f"mood:en={moods}"}
    assert works(**less) == ["tasks"]
    (moods / "val.jsonl").write_text(json.dumps({"text": "so so", "label": "neutral"}))
    assert works(**less) == ["tasks"]
    (moods / "val.jsonl").unlink()
    # and without them their results are null, with everything else as it was
    assert works(tasks__names="None") == []
    assert glossae.open_run(copy).results.tasks is None


def test_a_run_that_ends_before_them_keeps_what_they_came_to(world, names, with_tasks, copy, tmp_path):
    settings = {"tasks__names": names} | SMALL
    for again in (True, False):
        line = [word for word in world.line(copy, **settings) if again or word != "--again"]
        assert main([*line, "--quiet", "--until", "features"]) == 0
        assert glossae.open_run(copy).results.tasks == glossae.open_run(with_tasks).results.tasks
    # and where they were never set, nobody reads them
    assert (
        world.run(tmp_path / "new", "--until", "sae", **settings | {"tasks__names": "mood:en=none.csv"}) == 0
    )


def test_the_same_run_gives_the_same_bytes(world, names, with_tasks, copy):
    (copy / "tasks" / "summary.json").unlink()
    assert world.run(copy, tasks__names=names, **SMALL) == 0
    before, again = ((folder / "results.json").read_bytes() for folder in (with_tasks, copy))
    assert before == again


@pytest.mark.parametrize("what", ["sentiment", "acceptability"])
def test_the_toys_sets(world, what):
    recipe = load_recipe("demo", {"tasks.names": f"toy-{what}:da"})
    (task,) = read_tasks(recipe)
    assert {split: len(rows) for split, rows in task.splits.items()} == {"train": 1200, "test": 800}
    pairs = [{row.pair for row in rows} for rows in task.splits.values()]
    assert not pairs[0] & pairs[1]
    assert read_tasks(load_recipe("demo")) == []


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("mood", "tasks.names: 'mood': does not say where it is"),
        ("mood:en=none.csv", "tasks.names: 'none.csv': is neither a file nor a folder"),
        ("toy-sentiment:fr", "tasks.names: toy: no language 'fr'"),
        ("mood:da=toy:moods", "tasks.names: toy:moods: is no labelled set of the toy"),
    ],
)
def test_a_task_that_cannot_be_had_is_refused_before_anything_is_written(
    world, tmp_path, capsys, names, said
):
    assert world.run(tmp_path / "run", tasks__names=names, **SMALL) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].removeprefix("glossae: ").removeprefix("error: ").startswith(said), lines
    assert not (tmp_path / "run").exists()


def test_a_dry_run_counts_them(world, names, tmp_path, capsys):
    line = [*world.line(tmp_path / "run", tasks__names=names, **SMALL), "--dry-run"]
    assert main(line) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "1 of up to 200 rows, 7 arms, as controlled and as coded; fine-tuned 1 times each" in said
    assert main([*world.line(tmp_path / "run"), "--dry-run"]) == 0
    assert " tasks " not in capsys.readouterr().out


def test_a_task_with_too_few_rows_of_a_label_is_refused_before_any_work(world, tmp_path, capsys):
    rows = tmp_path / "few.csv"
    lines = [f"A {what} day number {number}.,{what}\n" for number in range(4) for what in ("good", "bad")]
    rows.write_text("text,label\n" + "".join(lines), encoding="utf-8")
    assert world.run(tmp_path / "run", tasks__names=f"mood:en={rows}", **SMALL) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "few.csv: among the 2 rows to test on none has the label 'bad': give more rows" in line
    assert not (tmp_path / "run").exists()
