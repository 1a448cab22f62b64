"""Whose folder it is: one recipe's, one run at a time, and nothing is written where a run cannot live."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from glossae import open_run
from glossae.cli import main
from glossae.errors import GlossaeError
from glossae.files import TEMPORARY, delete, replacing, write_json, write_tensors, written_elsewhere
from glossae.run.folder import Parts
from glossae.stages import stage_of


@pytest.fixture
def refusal(world, capsys):
    """A function that runs the tiny world into a folder and gives the one line that it ends in."""

    def refusal(out, **changes):
        capsys.readouterr()
        assert world.run(out, **changes) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("glossae: --out: ")
        assert captured.err.count("\n") == 1
        assert captured.err.endswith("\n")
        return captured.err

    return refusal


def tree(folder):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*")}


# ---- one run at a time


def test_a_second_run_is_refused_while_the_first_is_at_work(world, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    original = stage_of("sae").run
    second = []

    def run_sae(*arguments):
        capsys.readouterr()
        before = tree(out)
        second.append((world.run(out), capsys.readouterr().err))
        assert tree(out) == before
        return original(*arguments)

    monkeypatch.setattr(stage_of("sae"), "run", run_sae)
    assert world.run(out, "--until", "sae") == 0
    assert second == [(2, f"glossae: --out: another run is at work in {out}\n")]


def test_a_lock_that_another_program_holds_is_respected(tmp_path, refusal):
    out = tmp_path / "run"
    out.mkdir()
    with FileLock(out / ".lock"):
        assert "another run is at work" in refusal(out)
    assert [path.name for path in out.iterdir()] == [".lock"]


def test_a_lock_file_that_nobody_holds_is_no_obstacle(world, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    (out / ".lock").touch()
    assert world.run(out, "--until", "corpora") == 0


# ---- whose it is


def test_another_recipes_folder(world, copy_of_finished, refusal):
    before = tree(copy_of_finished)
    message = refusal(copy_of_finished, recipe="pythia-14m", site="resid", layer=0)
    assert f"{copy_of_finished} belongs to the recipe 'tiny', not to 'pythia-14m'" in message
    assert tree(copy_of_finished) == before


def test_a_folder_with_other_things_in_it(tmp_path, refusal):
    out = tmp_path / "photos"
    out.mkdir()
    (out / "holiday.jpg").write_bytes(b"jpg")
    assert f"{out} is not empty and is not a run (it has no recipe.yaml)" in refusal(out)
    assert [path.name for path in out.iterdir()] == ["holiday.jpg"]


def test_a_folder_whose_recipe_is_broken(world, copy_of_finished, capsys):
    (copy_of_finished / "recipe.yaml").write_text("name: [demo\n")
    assert world.run(copy_of_finished) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"glossae: {copy_of_finished / 'recipe.yaml'}: line ")
    assert message.count("\n") == 1


def test_an_empty_folder_will_do(world, tmp_path):
    (tmp_path / "empty").mkdir()
    assert world.run(tmp_path / "empty", "--until", "corpora") == 0


# ---- nothing behind a link, and nothing of anybody else's


@pytest.mark.parametrize(
    "name", ["probe", "figures", "sae/checkpoints", "run.json", ".lock", "effects/next_token.parquet"]
)
def test_a_link_inside_the_folder_is_refused_and_what_is_behind_it_stays(
    world, copy_of_finished, tmp_path, capsys, name
):
    link, elsewhere = copy_of_finished / name, tmp_path / "elsewhere"
    if link.is_file():
        link.rename(elsewhere)
    else:
        elsewhere.mkdir()
        for file in (".netrc", f"{TEMPORARY}mine", "my.csv", "my.svg", "step-000000001.safetensors"):
            (elsewhere / file).write_text("mine")
        if link.is_dir():
            link.rename(tmp_path / "was here")
    link.symlink_to(elsewhere)
    before = tree(copy_of_finished), tree(tmp_path)
    capsys.readouterr()
    # each stage would be done again
    assert world.run(copy_of_finished, seed=1) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"glossae: {link}: is a symbolic link")
    assert captured.err.count("\n") == 1
    assert (tree(copy_of_finished), tree(tmp_path)) == before


def test_the_folder_itself_may_be_a_link(world, tmp_path):
    (tmp_path / "large disk").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "large disk")
    assert world.run(tmp_path / "run", "--until", "corpora") == 0
    assert (tmp_path / "large disk" / "results.json").is_file()


def test_a_run_that_is_killed_before_its_recipe_is_whole_can_be_done_again(world, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    with replacing(tmp_path / "recipe.yaml") as temporary:
        left = temporary.name
    (out / ".lock").touch()
    (out / left).write_text("name: tin")
    assert world.run(out, "--until", "corpora") == 0
    assert not (out / left).exists()


def test_only_what_a_killed_run_left_is_cleared_away(world, finished, tmp_path):
    out = tmp_path / "run"
    assert world.run(out, "--until", "corpora") == 0
    checkpoints = out / "stability" / "seed_1" / "checkpoints"
    ours = [
        out / f"{TEMPORARY}report.html.x1.html",
        out / "figures" / f"{TEMPORARY}layer-choice.svg.x1.svg",
        out / "probe" / f"{TEMPORARY}activations-x1" / "0",
        out / "sae" / f"{TEMPORARY}sae.safetensors.x1.safetensors",
        checkpoints / f"{TEMPORARY}step-000000001.safetensors.x1.safetensors",
    ]
    mine = [
        out / ".notes",
        out / "figures" / "mine.csv",
        out / "probe" / ".notes",
        out / "probe" / ".git" / "HEAD",
        out / "sae" / ".sae.safetensors.swp",
        out / "mine" / f"{TEMPORARY}of.another.program",
        checkpoints / "step-by-step.safetensors",
    ]
    for path in ours + mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("0")
    assert world.run(out, "--until", "sae") == 0
    assert [path for path in ours if path.exists()] == []
    assert not ours[2].parent.exists()
    assert [path for path in mine if not path.exists()] == []
    assert (out / "sae" / "sae.safetensors").read_bytes() == (
        finished / "sae" / "sae.safetensors"
    ).read_bytes()


# ---- where nothing can be written


def test_a_file_in_the_folders_place(tmp_path, refusal):
    out = tmp_path / "file"
    out.write_text("mine")
    assert f"{out} is a file" in refusal(out)
    assert out.read_text() == "mine"


def test_a_folder_below_a_file(tmp_path, refusal):
    (tmp_path / "file").write_text("mine")
    out = tmp_path / "file" / "runs" / "mine"
    message = refusal(out)
    assert f"{tmp_path / 'file'} is a file" in message
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_may_not_be_written_to(tmp_path, refusal, monkeypatch):
    # the superuser may write anywhere, so that the system is asked and answers for another user
    asked = os.access
    monkeypatch.setattr(
        os,
        "access",
        lambda path, mode: not (mode & os.W_OK and str(path) == str(tmp_path)) and asked(path, mode),
    )
    assert f"{tmp_path} cannot be written to" in refusal(tmp_path / "runs" / "mine")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up(world, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    assert world.run(out, "--until", "corpora") == 0

    def full(self, frame, *_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pandas.DataFrame.to_parquet", full)
        assert world.run(out, "--until", "probe") == 2
    # before it stands what the layer choice does not compare
    *_, message = capsys.readouterr().err.splitlines()
    assert (
        message == f"glossae: {out / 'probe' / 'cells.parquet'}: cannot be written (No space left on device)"
    )
    # what was probed is kept for the next try, and of the file nothing
    assert [path.name for path in (out / "probe").iterdir()] == ["parts"]
    assert world.run(out, "--until", "probe") == 0


def test_a_name_too_long_for_the_system(world, tmp_path, capsys):
    out = tmp_path / ("x" * 300)
    assert world.run(out) == 2
    assert capsys.readouterr().err.endswith("x: File name too long\n")


def test_the_folders_above_are_made(world, tmp_path, page):
    out = tmp_path / "a" / "b" / "run"
    assert world.run(out, "--until", "corpora") == 0
    assert (out / "report.html").is_file()


def test_without_out_the_run_is_named_after_its_recipe(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = world.line(tmp_path / "unused")
    without = [word for word in line if word not in ("--out", str(tmp_path / "unused"))]
    assert main([*without, "--quiet", "--until", "corpora"]) == 0
    assert (tmp_path / "runs" / "tiny" / "results.json").is_file()


# ---- what belongs together


def test_a_stage_that_was_made_from_another_sae_is_refused(world, copy_of_finished, tmp_path, capsys):
    out = copy_of_finished
    assert world.run(out, "--until", "sae", sae__lr=0.003) == 0
    with pytest.raises(
        GlossaeError, match="the stage '(features|evidence)' was made from another '(sae|evidence)'"
    ):
        open_run(out).table("features/statistics")
    capsys.readouterr()
    assert main(["knob", "save", str(out), "--out", str(tmp_path / "k.st"), "--dose", "2"]) == 2
    assert "was made from another" in capsys.readouterr().err
    assert not (tmp_path / "k.st").exists()
    assert len(open_run(out).table("probe/cells"))


@pytest.mark.parametrize(
    "made_from",
    [{"sae": "x"}, {"sae/nothing": "x"}, {"features": "x"}, {"sae": 3}, {3: None}, ["sae"], "sae"],
)
def test_a_record_that_names_what_cannot_be_is_refused_in_one_line(copy_of_finished, capsys, made_from):
    path = copy_of_finished / "run.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["stages"]["sae"]["made_from"] = made_from
    del record["stages"]["features"]["fingerprint"]
    path.write_text(json.dumps(record), encoding="utf-8")
    for command in ("figures", "push", "knob"):
        line = {"figures": ["figures"], "push": ["push"], "knob": ["knob", "save"]}[command]
        more = ["a/b", "--dry-run"] if command == "push" else ["--out", str(copy_of_finished.parent / "k")]
        assert main([*line, str(copy_of_finished), *more]) == 2
        (said,) = capsys.readouterr().err.splitlines()
        assert said.startswith("glossae: ")


def test_files_behind_links_are_not_read(copy_of_finished, tmp_path):
    stage, elsewhere = copy_of_finished / "features", tmp_path / "elsewhere"
    stage.rename(elsewhere)
    stage.symlink_to(elsewhere)
    with pytest.raises(
        GlossaeError, match="features: is a symbolic link, and a run's files are in its folder"
    ):
        open_run(copy_of_finished).file("features/ranges.json")
    stage.unlink()
    elsewhere.rename(stage)
    (stage / "ranges.json").rename(elsewhere)
    (stage / "ranges.json").symlink_to(elsewhere)
    with pytest.raises(GlossaeError, match=r"ranges\.json: is a symbolic link"):
        open_run(copy_of_finished).file("features/ranges.json")


def test_a_file_that_was_changed_is_not_read(copy_of_finished, tmp_path, capsys):
    file = copy_of_finished / "features" / "ranges.json"
    file.write_text(file.read_text().replace("0", "1", 1))
    assert main(["knob", "save", str(copy_of_finished), "--out", str(tmp_path / "k.st"), "--dose", "2"]) == 2
    assert "ranges.json: was changed since the stage 'features' wrote it" in capsys.readouterr().err
    table = copy_of_finished / "effects" / "next_token.parquet"
    table.write_bytes(table.read_bytes()[:100])
    with pytest.raises(GlossaeError, match=r"next_token\.parquet: was changed"):
        open_run(copy_of_finished).table("effects/next_token")


@pytest.mark.parametrize(
    "name", ["recipe.yaml", "results.json", "effects/next_token.parquet", "sae/sae.safetensors"]
)
@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"]
)
def test_a_file_that_has_no_end_is_not_read(copy_of_finished, name, make):
    (copy_of_finished / name).unlink()
    make(copy_of_finished / name)
    read = {
        "recipe.yaml": lambda: open_run(copy_of_finished).recipe,
        "results.json": lambda: open_run(copy_of_finished).results,
        "effects/next_token.parquet": lambda: open_run(copy_of_finished).table("effects/next_token"),
        "sae/sae.safetensors": lambda: open_run(copy_of_finished).sae(),
    }
    with pytest.raises(GlossaeError, match=Path(name).stem):
        read[name]()


# ---- parts of a stage


@pytest.mark.parametrize("bit", [0, 3, 7])
def test_any_flipped_bit_of_a_part_makes_it_again(tmp_path, bit):
    parts = Parts.of(tmp_path, "0" * 16)
    arrays, rows = {"a": np.arange(3.0), "b": np.array(["x"])}, [{"a": 1.5}]
    parts.arrays("x", lambda: arrays)
    parts.json("y", lambda: rows)
    for name, read in (
        ("x.npz", lambda: parts.arrays("x", lambda: arrays)),
        ("y.json", lambda: parts.json("y", lambda: rows)),
    ):
        whole = (parts.folder / name).read_bytes()
        for place in range(len(whole)):
            flipped = bytearray(whole)
            flipped[place] ^= 1 << bit
            (parts.folder / name).write_bytes(flipped)
            found = read()
            if name == "y.json":
                assert found == rows, place
            else:
                assert found.keys() == arrays.keys(), place
                assert all(np.array_equal(found[key], arrays[key]) for key in arrays), place


@pytest.mark.parametrize(
    "text",
    ["", "{", "[" * 100_000, "null", "[]", '"x"', "NaN", "-5", "1e400", "9" * 400, "\udcff", "true"],
)
def test_seconds_that_are_none_count_as_none(tmp_path, text):
    parts = Parts.of(tmp_path, "0" * 16)
    path = parts.folder / "seconds.json"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    with parts.timed() as seconds:
        assert 0 <= seconds() < 60
    assert 0 <= json.loads(path.read_text()) < 60


def test_a_pipe_in_a_parts_place_is_replaced(tmp_path):
    parts = Parts.of(tmp_path, "0" * 16)
    parts.folder.mkdir(parents=True)
    for name in ("seconds.json", "x.npz", "y.json"):
        os.mkfifo(parts.folder / name)
    with parts.timed():
        assert parts.arrays("x", lambda: {"a": np.arange(3)})["a"].tolist() == [0, 1, 2]
        assert parts.json("y", lambda: [3]) == [3]
    assert all(path.is_file() for path in parts.folder.iterdir())


def test_what_another_rank_writes_is_dropped(tmp_path):
    (tmp_path / "sae").mkdir()
    (tmp_path / "sae" / "old.json").write_text("1")
    with written_elsewhere(tmp_path, but=tmp_path / "passes"):
        write_json(tmp_path / "sae" / "new.json", 2)
        write_json(tmp_path / "sae" / "old.json", 2)
        write_tensors(tmp_path / "sae" / "x.safetensors", {})
        delete(tmp_path / "sae" / "old.json")
        write_json(tmp_path / "passes" / "own.json", 3)
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert files == {"sae/old.json", "passes/own.json"}
    assert (tmp_path / "sae" / "old.json").read_text() == "1"
    delete(tmp_path / "sae" / "old.json")
    assert not (tmp_path / "sae" / "old.json").exists()
