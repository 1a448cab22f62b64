"""Whose folder it is: one recipe's, one run at a time, and nothing is written where a run cannot live."""

import errno
import os

import pytest
from filelock import FileLock

import sprog.run
from sprog.cli import main


@pytest.fixture
def refusal(world, capsys):
    """A function that runs the tiny world into a folder and gives the one line that it ends in."""

    def refusal(out, **changes):
        capsys.readouterr()
        assert world.run(out, **changes) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("sprog: --out: ")
        assert captured.err.count("\n") == 1
        assert captured.err.endswith("\n")
        return captured.err

    return refusal


def tree(folder):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*")}


# ---- one run at a time


def test_a_second_run_is_refused_while_the_first_is_at_work(world, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    original = sprog.run.sae_stage
    second = []

    def sae_stage(*arguments):
        capsys.readouterr()
        before = tree(out)
        second.append((world.run(out), capsys.readouterr().err))
        assert tree(out) == before
        return original(*arguments)

    monkeypatch.setattr(sprog.run, "sae_stage", sae_stage)
    assert world.run(out, "--until", "sae") == 0
    assert second == [(2, f"sprog: --out: another run is at work in {out}\n")]


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
    assert message.startswith(f"sprog: {copy_of_finished / 'recipe.yaml'}: line ")
    assert message.count("\n") == 1


def test_an_empty_folder_will_do(world, tmp_path):
    (tmp_path / "empty").mkdir()
    assert world.run(tmp_path / "empty", "--until", "corpora") == 0


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
    message = capsys.readouterr().err
    assert (
        message == f"sprog: {out / 'probe' / 'cells.parquet'}: cannot be written (No space left on device)\n"
    )
    assert not list((out / "probe").iterdir())
    assert world.run(out, "--until", "probe") == 0


def test_a_name_too_long_for_the_system(world, tmp_path, capsys):
    out = tmp_path / ("x" * 300)
    assert world.run(out) == 2
    assert capsys.readouterr().err == f"sprog: {out}: File name too long\n"


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
