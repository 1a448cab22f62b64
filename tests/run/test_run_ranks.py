"""A run under torchrun is the run of one process, and one that torchrun starts again ends as if nothing had been."""

import json
import math
import os
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_world import EVERYTHING, STEERED, as_tmx

from glossae.record import RESULTS
from processes import free_port
from toy_grammar import sentences

WORKER = str(Path(__file__).with_name("killed_run.py"))
SHORT = {"layer": 1, "probe__paper": "false", "sae__encoder_dtype": "float32", "sae__checkpoint": 0}
# the second training reads the text more than once, and so from activations on disk
TWICE = {"sae__epochs": 2, "baselines__untrained": 1, "baselines__trained": 1}
WHOLE = (
    EVERYTHING
    | STEERED
    | TWICE
    | {
        "layer": "auto",
        "sae__encoder_dtype": "float32",
        "grid__k": "2,4",
        "grid__latents": 32,
        "evidence__scores": "true",
        "evidence__identify": "false",
        "evidence__q": 0.5,
        "evidence__seeds": 1,
        "features__units": None,
        "dashboards__units": 3,
        "baselines__sizes": "1,4",
        "effects__families": "latent,neuron,direction",
        "effects__sweep": "true",
        "effects__controls": 9,
        "tasks__names": "toy-sentiment:en",
        "tasks__values": "-4",
        "tasks__rows": 100,
        "steering__families": "latents_add,means_add",
    }
)
"""Settings of a run with every stage."""
TEN = [f"{number % 2}:kill:{step}" for number, step in enumerate((0, 1, 2, 4, 7, 8, 11, 12, 15, 18))]
"""Ranks and the steps before which they are killed."""
FAULTS = ("1:kill:effects.2", "1:stray:controls.1")
"""What goes wrong in a run with every stage, which torchrun starts again each time."""


def under_torchrun(line, *more, faults=(), struck=None, count=2):
    """Run a command line on several ranks; gives the status, and the lines of glossae's own on standard error."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
    }
    if faults:
        struck.mkdir()
        environment["FAULTS"] = f"{struck} {' '.join(faults)}"
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    command += ["--max-restarts", str(len(faults)), WORKER, *line, *more]
    done = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    if faults:
        assert {path.name for path in struck.iterdir()} == set(faults), done.stderr
    own = ("glossae: ", "carrying", "processes do this run")
    return done.returncode, [said for said in done.stderr.splitlines() if any(words in said for words in own)]


def unlike(own, its, place=""):
    """The values of two JSON documents that differ, numbers by more than 1e-5, with their places."""
    if isinstance(own, dict) and isinstance(its, dict) and own.keys() == its.keys():
        return [found for key in own for found in unlike(own[key], its[key], f"{place}/{key}")]
    if isinstance(own, list) and isinstance(its, list) and len(own) == len(its):
        return [
            found
            for at, pair in enumerate(zip(own, its, strict=True))
            for found in unlike(*pair, f"{place}/{at}")
        ]
    if isinstance(own, float) and isinstance(its, float):
        same = math.isclose(own, its, rel_tol=1e-5, abs_tol=1e-5)
    else:
        same = own == its
    return [] if same else [(place, own, its)]


def results(out):
    return json.loads((out / RESULTS).read_text(encoding="utf-8"))


def files(out):
    """The files of a run, but the parts, whose names depend on the last bits of the SAE."""
    every = (path.relative_to(out) for path in out.rglob("*") if path.is_file())
    return {path.as_posix() for path in every if "parts" not in path.parts}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Settings of a run with every stage, on a panel of three languages."""
    panel = tmp_path_factory.mktemp("panel") / "panel.tmx"
    panel.write_text(as_tmx(sentences(120, seed=21), ("da", "en", "sv")), encoding="utf-8")
    return WHOLE | {"corpora__panel": panel}


@pytest.fixture(scope="module")
def alone(world, whole, tmp_path_factory):
    """The folder of a run with every stage in one process; not to be written to."""
    out = tmp_path_factory.mktemp("alone") / "run"
    # in a process of its own, as the ranks are: where shapes are checked, it takes longer
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    line = [sys.executable, WORKER, *world.line(out, **whole), "--quiet"]
    subprocess.run(line, env=environment | {"OMP_NUM_THREADS": "1"}, check=True, timeout=900)
    return out


def close(out, alone, name):
    own, its = load_file(out / name), load_file(alone / name)
    assert own.keys() == its.keys()
    for key, tensor in its.items():
        torch.testing.assert_close(own[key], tensor, atol=1e-5, rtol=1e-5)


def test_a_run_in_which_ranks_go_wrong_ends_as_that_of_one_process(world, whole, alone, tmp_path):
    out = tmp_path / "ranks"
    status, said = under_torchrun(world.line(out, **whole), faults=FAULTS, struck=tmp_path / "struck")
    assert status == 0, said
    (line,) = (line for line in said if line.startswith("glossae: rank"))
    assert fnmatchcase(
        line, "glossae: rank 1: is at another piece of work (*losses of *) than rank 0 (*part *)*"
    )
    assert unlike(results(alone), results(out)) == []
    assert files(out) == files(alone)
    for name in ("sae/sae.safetensors", "sae/seed_1/sae.safetensors", "stability/seed_1/sae.safetensors"):
        close(out, alone, name)


@pytest.mark.slow
def test_four_ranks_end_as_one_process(world, whole, tmp_path):
    alone, out = tmp_path / "alone", tmp_path / "ranks"
    settings = whole | {"evidence__permutations": 20, "evidence__identify": "true", "tasks__finetune": "true"}
    assert world.run_undrawn(alone, **settings) == 0
    status, said = under_torchrun(world.line(out, **settings), count=4)
    assert status == 0, said
    assert unlike(results(alone), results(out)) == []


def test_a_stream_on_two_ranks_trains_what_one_process_does(world, tmp_path, monkeypatch):
    monkeypatch.setenv("GLOSSAE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "web.txt").write_text("".join(f"{pair['en']}\n" for pair in sentences(400, seed=77)))
    settings = SHORT | {"sae__stream": tmp_path / "web.txt", "sae__tokens": 2000}
    alone, out, struck = (tmp_path / name for name in ("alone", "ranks", "struck"))
    assert world.run_undrawn(alone, "--until", "sae", **settings) == 0
    line = world.line(out, **settings)
    faults = ["1:kill:3", "1:refuse:5"]
    status, said = under_torchrun(line, "--until", "sae", faults=faults, struck=struck)
    assert status == 0, said
    # rank 0 says that the other was lost, or that torchrun ends it; a rank that refuses leaves nobody waiting
    _, refused = (each for each in said if each.startswith("glossae: "))
    assert refused == "glossae: corpora.test: rank 1 finds no text"
    close(out, alone, "sae/sae.safetensors")
    # once at each start
    starts = [line for line in said if line.endswith("ranks: 2 processes do this run together")]
    assert len(starts) == 3
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert record["made_under"]["ranks"] == record["stages"]["sae"]["made_under"]["ranks"] == 2


def test_ranks_whose_streams_differ_in_order_alone_end_with_one_line(world, tmp_path):
    lines = [f"{pair['en']}\n" for pair in sentences(400, seed=77)]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
        "GLOSSAE_CACHE": str(tmp_path / "cache"),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
    }
    line = world.line(tmp_path / "run", **SHORT, sae__stream="web.txt", sae__tokens=2000)
    command, running = [sys.executable, WORKER, *line, "--quiet", "--until", "sae"], []
    for rank, text in enumerate((lines, [*lines[49::-1], *lines[50:]])):
        folder = tmp_path / str(rank)
        folder.mkdir()
        (folder / "web.txt").write_text("".join(text))
        own = environment | {"RANK": str(rank)}
        running.append(
            subprocess.Popen(
                command, cwd=folder, env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
    ended = [(*process.communicate(timeout=300), process.returncode) for process in running]
    (said,) = ended[0][1].splitlines()
    assert said == (
        "glossae: rank 1: has another text or model than rank 0; "
        "start every rank with the same command, version and files"
    )
    assert [status for *_, status in ended] == [2, 2]
    assert ended[1][:2] == ("", "")


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, TWICE], ids=["once", "twice"])
def test_ten_kills_end_in_the_same_bytes(world, tmp_path, more):
    whole, out = tmp_path / "whole", tmp_path / "killed"
    settings = SHORT | {"sae__batch_tokens": 128} | more
    assert under_torchrun(world.line(whole, **settings), "--until", "sae")[0] == 0
    line = world.line(out, **settings)
    status, said = under_torchrun(line, "--until", "sae", faults=TEN, struck=tmp_path / "struck")
    assert status == 0, said
    assert (out / "sae" / "sae.safetensors").read_bytes() == (whole / "sae" / "sae.safetensors").read_bytes()
    assert (out / RESULTS).read_bytes() == (whole / RESULTS).read_bytes()
