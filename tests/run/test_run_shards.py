"""Jobs that each compute a part of a stage's cells, and the run that goes on with what they left."""

import json
import re
import shutil
import threading

import pytest
from filelock import FileLock
from test_run_faults import different, tree
from test_run_stage_faults import EVERY, given, go  # noqa: F401

from glossae import open_run
from glossae.cli import main
from glossae.effects import controls
from glossae.run import shards
from glossae.sae.training import Group
from glossae.stages import STAGES

pytestmark = pytest.mark.filterwarnings("ignore::glossae.sae.sae.UnsoundWarning")

DIVIDED = ("grid", "stability", "controls", "tasks")
# baselines take longest, and are not divided
SETTINGS = EVERY | {
    "grid__k": "2,3",
    "dashboards__units": 0,
    "baselines__untrained": 0,
    "evidence__seeds": 2,
    "steering__prompts": 0,
}


@pytest.fixture(scope="module")
def run(world, go, given):  # noqa: F811
    """A function that runs up to a stage in a folder; gives the status. With `go`, text and model are read once."""
    own, moods = given["tasks__names"], given["tasks__names"].partition(":")[2]
    settings = SETTINGS | given | {"tasks__names": f"{own} spirits:{moods}"}
    with pytest.MonkeyPatch.context() as patch:
        # a small run's controls are a single cell
        patch.setattr(controls, "PART", 5)
        yield lambda out, stage, *words: world.run_undrawn(out, "--until", stage, *words, **settings)


@pytest.fixture(scope="module")
def undivided(run, tmp_path_factory):
    """The folder of a run before each divided stage, and after it."""
    folder, found = tmp_path_factory.mktemp("undivided"), {}
    for stage in DIVIDED:
        assert run(folder / "x", STAGES[STAGES.index(stage) - 1]) == 0
        before = shutil.copytree(folder / "x", folder / f"{stage}-before")
        assert run(folder / "x", stage) == 0
        found[stage] = before, shutil.copytree(folder / "x", folder / f"{stage}-after")
    return found


@pytest.fixture
def refused(run, capsys):
    def refused(out, *words, until="tasks"):
        capsys.readouterr()
        assert run(out, until, *words) == 2
        return capsys.readouterr().err

    return refused


@pytest.mark.parametrize("stage", DIVIDED)
def test_shards_of_a_stage_are_the_undivided_stage(stage, undivided, run, tmp_path, capsys):
    before, after = undivided[stage]
    out = shutil.copytree(before, tmp_path / "x")
    shares = []
    for number in (3, 1, 2):
        assert run(out, "tasks", "--shard", f"{number}/3", "--json") == 0
        done = json.loads(capsys.readouterr().out)
        assert (done["stage"], done["shard"]) == (stage, f"{number}/3")
        shares.append((done["own"], done["cells"]))
    # `run` is quiet
    assert run(out, "tasks", "--shard", "3/3") == 0
    own, cells = shares[0]
    said = f"shard     3/3 of the stage {stage}: {own} of {cells} cells are done\n"
    assert capsys.readouterr().out == said
    assert sum(own for own, _ in shares) == shares[0][1] > 1
    assert stage not in json.loads((out / "run.json").read_text())["stages"]

    def finished():
        found = [*(out / stage).glob("parts/*/*.npz"), *(out / stage).glob("seed_*/*.safetensors")]
        found += [path for path in (out / stage).glob("parts/*/*.json") if path.name != "seconds.json"]
        return {path: path.stat().st_mtime_ns for path in found}

    computed = finished()
    assert len(computed) >= shares[0][1]
    assert run(out, stage) == 0
    # nothing was computed again
    assert finished() == computed
    assert different(tree(out), tree(after)) == []


def test_a_shard_of_a_grid_that_is_cut_off_goes_on_or_leaves_nothing(undivided, run, tmp_path, monkeypatch):
    before, after = undivided["grid"]
    out, step, steps = shutil.copytree(before, tmp_path / "x"), Group.step, []

    def cut_off(group, batch):
        steps.append(len(group.trainers))
        if len(steps) == 3:
            raise KeyboardInterrupt
        step(group, batch)

    monkeypatch.setattr(Group, "step", cut_off)
    assert run(out, "grid", "--shard", "1/2") == 130
    assert list(out.glob("grid/shard-1-of-2/checkpoints/*"))
    # another shard is at work beside it
    assert run(out, "grid", "--shard", "2/2") == 0
    again = shutil.copytree(out, tmp_path / "again")
    steps[:] = [0] * 3
    assert run(out, "grid", "--shard", "1/2") == 0
    # two steps of it were done
    assert len(steps) - 3 == open_run(after).results.grid.steps - 2
    assert not (out / "grid" / "shard-1-of-2").exists()
    for folder in (out, again):
        assert run(folder, "grid") == 0
        assert different(tree(folder), tree(after)) == []


def test_shards_in_copies_of_a_folder_are_merged(undivided, run, tmp_path, capsys):
    out, *copies = (shutil.copytree(undivided["controls"][0], tmp_path / name) for name in ("x", "1", "2"))
    for number, copy in enumerate(copies, 1):
        assert run(copy, "controls", "--shard", f"{number}/2", "--quiet") == 0
    capsys.readouterr()
    assert main(["merge", *map(str, (out, *copies))]) == 0
    assert re.fullmatch(r"\d+ files of finished parts were copied into .*\n", capsys.readouterr().out)
    copied = {path.name for path in (out / "controls" / "parts").glob("*/*")}
    assert copied >= {path.name for copy in copies for path in (copy / "controls" / "parts").glob("*/*.npz")}
    assert run(out, "controls") == 0
    assert different(tree(out), tree(undivided["controls"][1])) == []


def test_a_shard_whose_part_is_broken_is_done_again(undivided, run, tmp_path):
    out = shutil.copytree(undivided["controls"][0], tmp_path / "x")
    for number in (1, 2):
        assert run(out, "controls", "--shard", f"{number}/2") == 0
    part = next((out / "controls" / "parts").glob("*/*.npz"))
    part.write_bytes(part.read_bytes()[:-9])
    assert run(out, "controls") == 0
    assert different(tree(out), tree(undivided["controls"][1])) == []


def test_shards_that_begin_at_once_wait_for_each_other(undivided, run, tmp_path):
    out = shutil.copytree(undivided["controls"][0], tmp_path / "x")
    lock = FileLock(out / ".lock", thread_local=False)
    lock.acquire()
    # as another shard does, which looks whether a run is at work
    timer = threading.Timer(0.5, lock.release)
    timer.start()
    assert run(out, "controls", "--shard", "1/2") == 0
    timer.join()


def test_what_cannot_be_divided_is_one_line(undivided, refused, run, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "PATIENCE", 0)
    out = shutil.copytree(undivided["controls"][0], tmp_path / "x")
    for odd in ("0/2", "3/2", "1", "1/2/3", "a/b", "-1/2", "1/99999"):
        assert refused(out, f"--shard={odd}").startswith(
            f"glossae: --shard: '{odd}': write K/N, such as 3/16"
        )
    assert "--shard: every stage in" in refused(out, "--shard", "1/2", until="effects")
    assert "is no run yet: start it without --shard" in refused(tmp_path / "new", "--shard", "1/2")
    assert not (tmp_path / "new").exists()
    with FileLock(out / ".lock-1-of-2"):
        assert "--shard: shard 1/2 is at work in" in refused(out, "--shard", "1/2")
        assert "a shard is at work in" in refused(out)
    with FileLock(out / ".lock"):
        assert "--shard: a run is at work in" in refused(out, "--shard", "1/2")
    early = shutil.copytree(undivided["stability"][0], tmp_path / "early")
    shutil.rmtree(early / "evidence")
    assert (
        "the stage evidence is not done, and has no cells (these have: probe, grid, stability, controls, tasks)"
        in refused(early, "--shard", "1/2")
    )
    assert main(["merge", str(out), str(tmp_path)]) == 2


def test_another_run_is_not_merged(undivided, tmp_path, capsys):
    out, other = (shutil.copytree(undivided["controls"][place], tmp_path / str(place)) for place in (0, 1))
    record = json.loads((other / "run.json").read_text())
    record["stages"]["sae"]["fingerprint"] = "0" * 16
    (other / "run.json").write_text(json.dumps(record))
    before = tree(out)
    assert main(["merge", str(out), str(other)]) == 2
    assert f"{other} is of another run: its stage sae had other inputs" in capsys.readouterr().err
    assert different(tree(out), before) == []
