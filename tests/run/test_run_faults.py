"""A run that is killed, or whose disk fails, at any operation on a file: carried on, it is the undisturbed run.

`make test` strikes at a sample of the places of a whole run and of a change of settings. test_run_stage_faults.py has
every place of every stage.
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import glossae
from faults import NEEDS_ROOM, Faults
from glossae.errors import GlossaeError

SHORT = {"layer": 1, "probe__paper": "false"}
SAMPLE = 6
LOG = r"\(Killed\); the traceback is in (\S+):"
"""What a run says that is killed in this process, and where its log lies."""
MOST = int(os.environ.get("FAULTS", 0)) or None
"""The most places of each stage and kind that the slow tests strike at; None: all."""
OTHER = {"sae__k": 3}
"""Another setting of the stage `sae`."""
CLOCK = ("seconds", "peak_memory_mb", "tokens_per_second", "work", "model_flops_per_second")
"""What `run.json` has of a stage that depends on the clock, on memory, and on what an earlier try did."""


def tree(folder):
    """Every file, folder and link below a folder by name, without what depends on the clock, and locks."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.is_dir():
            found[name] = "a folder"
        elif path.name == "run.json":
            found[name] = json.loads(path.read_text(encoding="utf-8"))
            found[name].pop("throughput", None)
            for facts in found[name]["stages"].values():
                for clock in CLOCK:
                    facts.pop(clock, None)
        elif path.name != ".lock" and not path.match("parts/*/seconds.json"):
            found[name] = path.read_bytes()
    return found


def different(found, whole):
    """The names that two trees do not share, or that are something else in each."""
    return sorted(name for name in found | whole if found.get(name) != whole.get(name))


@pytest.fixture(scope="module")
def undisturbed(world, tmp_path_factory):
    """A run that nothing happened to, and the operations that it took."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    with Faults(out).at_work() as faults:
        assert world.run_undrawn(out, "--until", "features", **SHORT) == 0
    return tree(out), faults.seen


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory):
    """The folder of that run with its effects; not to be written to."""
    out = tmp_path_factory.mktemp("short") / "run"
    assert world.run_undrawn(out, **SHORT) == 0
    return out


@pytest.fixture(scope="module")
def changed(world, finished, tmp_path_factory):
    """What becomes of it with another setting, and the operations that the change took."""
    out = shutil.copytree(finished, tmp_path_factory.mktemp("changed") / "run")
    with Faults(out).at_work() as faults:
        assert world.run_undrawn(out, **SHORT, **OTHER) == 0
    return tree(out), faults.seen


def told(capsys, line):
    """Say on the terminal what a slow test did."""
    with capsys.disabled():
        print(f"\n{line}", end="")


def places(seen, kind, sample):
    """The numbers of the operations that a fault strikes: a sample, or all where that is None."""
    numbers = [
        number
        for number, (name, _) in enumerate(seen, start=1)
        if kind == "kill" or (name in NEEDS_ROOM) == (kind == "ENOSPC")
    ]
    return (
        numbers if sample is None else sorted(random.Random(kind).sample(numbers, min(sample, len(numbers))))
    )


def check_readers(out):
    """Whoever reads the run is refused, or finds what belongs together; nothing of ours lies about afterwards."""
    try:
        run = glossae.open_run(out)
        recipe, sae = run.recipe, run.sae()
    except GlossaeError:
        return
    assert sae.config.k == recipe.sae.k
    for read in (lambda: run.results.sae, lambda: run.summary("sae").sae):
        try:
            found = read()
        except GlossaeError:
            continue
        assert found is None or found.k == recipe.sae.k
    try:
        units = set(run.table("features/statistics")["unit"])
        selected = run.read("features/selected.json")["units"]
    except GlossaeError:
        return
    assert set(selected) <= units


def strike(run, folder, kind, at, capsys):
    """Run with a fault at an operation below a folder; returns the status, and what the fault struck.

    What is refused is said in one line. A process that is killed ends wherever it is: here `Killed` goes up to the
    command line.
    """
    capsys.readouterr()
    with Faults(folder, at, kind).at_work() as faults:
        status = run()
    said = capsys.readouterr().err.splitlines()
    struck = at, faults.seen[at - 1]
    assert faults.struck, struck
    if kind == "kill":
        found = re.search(LOG, said[-1])
        assert (status, found is not None) == (70, True), (struck, said)
        Path(found[1]).unlink()
    else:
        assert status == 0 or (status == 2 and said[-1].startswith("glossae: ")), (struck, said)
    return status, struck


def carried_on(world, tmp_path, kind, seen, sample, capsys):
    for at in places(seen, kind, sample):
        out = tmp_path / f"{kind}-{at}"

        def run(out=out):
            return world.run_undrawn(out, "--until", "features", **SHORT)

        _, struck = strike(run, out, kind, at, capsys)
        check_readers(out)
        assert run() == 0, struck
        yield struck, tree(out)
        shutil.rmtree(out)


@pytest.mark.parametrize("kind", ["kill", "ENOSPC", "ENOENT"])
def test_a_run_that_is_struck_and_carried_on_is_the_undisturbed_one(
    world, undisturbed, tmp_path, capsys, kind
):
    whole, seen = undisturbed
    sample = SAMPLE if kind == "kill" else SAMPLE // 2
    for struck, found in carried_on(world, tmp_path, kind, seen, sample, capsys):
        assert different(found, whole) == [], struck


def check_changes(world, finished, changed, tmp_path, capsys, sample):
    """Kill a change of settings in a finished run, look at what is there, and carry it on."""
    whole, seen = changed
    for at in places(seen, "kill", sample):
        out = shutil.copytree(finished, tmp_path / f"change-{at}")

        def run(out=out):
            return world.run_undrawn(out, **SHORT, **OTHER)

        _, struck = strike(run, out, "kill", at, capsys)
        check_readers(out)
        assert run() == 0, struck
        assert different(tree(out), whole) == [], struck
        shutil.rmtree(out)
    return len(places(seen, "kill", sample)), len(seen)


def test_a_change_of_settings_that_is_killed_is_the_old_run_or_the_new_one(
    world, finished, changed, tmp_path, capsys
):
    check_changes(world, finished, changed, tmp_path, capsys, SAMPLE // 2)


@pytest.mark.slow
def test_every_place_of_a_change(world, finished, changed, tmp_path, capsys):
    tried, of = check_changes(world, finished, changed, tmp_path, capsys, MOST)
    told(capsys, f"a change of sae.k, kill: {tried} of {of} places")


KILLED = """\
import sys
sys.path[:0] = {paths!r}
from pathlib import Path
import torch
from faults import Faults
from glossae.cli import main
from glossae.stages import stage_of
torch.set_num_threads({threads})
# as in `run_undrawn`
stage_of("report").run = lambda *_: {{}}
with Faults(Path({out!r}), {at}, "exit").at_work():
    sys.exit(main({line!r}))
"""


@pytest.mark.slow
def test_every_tenth_place_in_a_process_that_ends_at_once(world, undisturbed, tmp_path, capsys):
    """What stands for a dead process above is held against one."""
    (whole, seen), tried = undisturbed, 0
    here = Path(__file__).parents[1]
    for at in range(3, len(seen), max(10, len(seen) // (MOST or len(seen)))):
        out = tmp_path / f"exit-{at}"
        line = [*world.line(out, **SHORT), "--quiet", "--until", "features"]
        threads, paths = torch.get_num_threads(), [str(here), str(here / "run")]
        script = KILLED.format(paths=paths, threads=threads, out=str(out), at=at, line=line)
        done = subprocess.run([sys.executable, "-c", script], env=os.environ | {"HF_HUB_OFFLINE": "1"})
        assert done.returncode == 137
        left = {path.relative_to(out).as_posix() for path in out.rglob("*")}
        other = tmp_path / f"kill-{at}"

        def run(other=other):
            return world.run_undrawn(other, "--until", "features", **SHORT)

        strike(run, other, "kill", at, capsys)
        assert len(left) == len({path.relative_to(other).as_posix() for path in other.rglob("*")})
        assert run(out) == 0
        assert different(tree(out), whole) == [], at
        tried += 1
    told(capsys, f"a process that ends at once: {tried} places")


# ---- nothing of anybody else's


def foreign(out):
    """Put 200 files of somebody else in and around a run's folder, and two links to a folder of theirs."""
    elsewhere = out.parent.parent / "elsewhere"
    homes = [out.parent, out, elsewhere]
    homes += [out / name for name in ("corpora", "sae", "evidence", "features", "figures", "tables", "units")]
    names = [
        *(".netrc", ".git/HEAD", ".ssh/id", ".recipe.yaml.swp", ".summary.json.x1", "notes.txt", "mine.csv"),
        *("mine.svg", "mine.html", "mine.json", "mine.parquet", "mine.safetensors", "latent-999.html"),
        *("parts/mine/x.npz", "parts/.git/HEAD", "checkpoints/mine.safetensors"),
        *("step-000000001.safetensors", "tmp/.glossae/x", "seconds.json", "units.csv"),
    ]
    mine = [home / name for home in homes for name in names]
    for path in mine:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    links = [out / "my disk", out.parent / "my disk"]
    for link in links:
        # copies of the whole have links of their own
        link.symlink_to(os.path.relpath(elsewhere, link.parent))
    return mine, links


def test_two_hundred_files_of_others_stay_as_they_are(world, tmp_path, page):
    """In and around the folder: dotfiles, links, and files with the suffixes of ours, beside ours."""
    out, elsewhere = tmp_path / "runs" / "x", tmp_path / "elsewhere"
    changes = SHORT | {"evidence__scores": "false"}
    assert world.run_undrawn(out, "--until", "sae", **changes) == 0
    mine, links = foreign(out)
    assert len(mine) == 200
    # the files were there when the stages were finished, and those are done again
    for more in ({"sae__k": 3}, {"sae__k": 4}, {"seed": 1}):
        assert world.run(out, "--until", "features", **changes, **more) == 0
    assert [path for path in mine if not path.is_file() or path.read_text() != "mine"] == []
    assert all(link.is_symlink() for link in links)
    assert {path for path in elsewhere.rglob("*") if path.is_file()} == {
        path for path in mine if path.is_relative_to(elsewhere)
    }


def test_a_folder_that_is_renamed_or_removed_is_noticed(world, tmp_path, monkeypatch, capsys):
    stage = glossae.stages.stage_of("sae")
    original = stage.run

    def gone(how):
        def run_sae(*arguments):
            how()
            return original(*arguments)

        return run_sae

    for how in ("renamed", "removed", "replaced"):
        out, other = tmp_path / how, tmp_path / f"{how} before"

        def change(out=out, other=other, how=how):
            if how == "removed":
                shutil.rmtree(out)
            else:
                out.rename(other)
            if how == "replaced":
                out.mkdir()
                (out / "mine.txt").write_text("mine")

        monkeypatch.setattr(stage, "run", gone(change))
        assert world.run(out, "--until", "sae", **SHORT) == 2
        line = capsys.readouterr().err
        assert line.startswith(
            f"glossae: {out}: was removed, renamed or replaced while this run was writing"
        ), how
        assert line.count("\n") == 1
        assert [path.name for path in out.rglob("*")] == (["mine.txt"] if how == "replaced" else [])
        assert out.exists() == (how == "replaced")
    monkeypatch.setattr(stage, "run", original)
    # where it was moved to, it goes on
    assert world.run(tmp_path / "renamed before", "--until", "sae", **SHORT) == 0


# ---- whatever is read is what was written


def flipped(path, place=-9):
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1
    path.write_bytes(bytes(content))


def test_a_flipped_bit_in_any_file_of_a_stage_is_refused_and_mended(world, finished, tmp_path):
    whole = tree(finished)
    out = shutil.copytree(finished, tmp_path / "run")
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    files = [f"{stage}/{name}" for stage, facts in record["stages"].items() for name in facts["files"]]
    assert len(files) >= 14
    for name in files:
        flipped(out / name)
        with pytest.raises(GlossaeError, match="was changed since the stage"):
            glossae.open_run(out).file(name)
    for name in ("results.json", "recipe.yaml"):
        flipped(out / name)
    with pytest.raises(GlossaeError, match=r"recipe\.yaml: is not the recipe of this run"):
        _ = glossae.open_run(out).results
    shutil.copy(finished / "recipe.yaml", out)
    with pytest.raises(GlossaeError, match=r"results\.json: is not what the run's stages found"):
        _ = glossae.open_run(out).results
    assert world.run_undrawn(out, **SHORT) == 0
    assert tree(out) == whole


def test_flipped_bits_in_parts_are_not_used(world, finished, tmp_path):
    """Parts have no place in `run.json`: each has its own hash."""
    out = shutil.copytree(finished, tmp_path / "run")
    parts = [path for path in out.glob("*/parts/*/*") if path.name != "seconds.json"]
    assert {path.suffix for path in parts} == {".npz"}
    for path in parts:
        flipped(path, len(path.read_bytes()) // 2)
    (out / "effects" / "summary.json").unlink()
    assert world.run_undrawn(out, **SHORT) == 0
    assert tree(out) == tree(finished)


def test_files_of_another_recipe_than_the_folders_are_refused(world, finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "run")
    assert world.run_undrawn(out, "--until", "features", **SHORT, **OTHER) == 0
    run = glossae.open_run(out)
    assert len(run.table("features/statistics"))
    with pytest.raises(GlossaeError, match="'effects' was made from another 'evidence'"):
        run.table("effects/next_token")
    # a stage that depends on nothing that was made anew, but is of the recipe of before
    assert world.run_undrawn(out, "--until", "corpora", **SHORT, **OTHER, effects__values="-2,2") == 0
    assert len(glossae.open_run(out).table("features/statistics"))
    assert world.run_undrawn(out, "--until", "corpora", **SHORT, sae__k=5) == 0
    with pytest.raises(GlossaeError, match=r"'sae' was made by another recipe than recipe\.yaml is now"):
        glossae.open_run(out).sae()
    assert glossae.open_run(out).results.sae is None


def test_a_recipe_that_was_edited_by_hand_is_refused(finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "run")
    path = out / "recipe.yaml"
    path.write_text(path.read_text(encoding="utf-8") + "# mine\n", encoding="utf-8")
    for read in (lambda run: run.recipe, lambda run: run.sae(), lambda run: run.results):
        with pytest.raises(GlossaeError, match=r"recipe\.yaml: is not the recipe of this run"):
            read(glossae.open_run(out))


def test_stages_that_were_made_under_another_torch_are_named_and_kept(world, finished, tmp_path, capsys):
    out = shutil.copytree(finished, tmp_path / "run")
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    record["stages"]["sae"]["made_under"] |= {"torch": "2.9.0", "device": "cuda:0 (another machine's)"}
    (out / "run.json").write_text(json.dumps(record), encoding="utf-8")
    before = (out / "sae" / "sae.safetensors").stat().st_mtime_ns
    assert world.run_undrawn(out, **SHORT) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert "kept, and made with torch 2.9.0, now " in line
    assert "device cuda:0 (another machine's), now cpu: sae (" in line
    assert (out / "sae" / "sae.safetensors").stat().st_mtime_ns == before
