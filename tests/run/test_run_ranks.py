"""A run under torchrun is the run of one process, and one that torchrun starts again ends as if nothing had been."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from glossae.record import RESULTS
from toy_grammar import sentences

WORKER = str(Path(__file__).with_name("killed_run.py"))
SHORT = {"layer": 1, "probe__paper": "false", "sae__encoder_dtype": "float32", "sae__checkpoint": 0}
# the second training reads the text more than once, and so from activations on disk
TWICE = {"sae__epochs": 2, "baselines__untrained": 1, "baselines__trained": 1}
TEN = [f"{number % 2}:{step}" for number, step in enumerate((0, 1, 2, 4, 7, 8, 11, 12, 15, 18))]
"""Ranks and the steps before which they are killed."""


def under_torchrun(line, kills=None, restarts=0):
    """Run a command line on two ranks; gives the status, and the lines of glossae's own on standard error."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": "1",
    }
    if kills:
        environment["KILLS"] = kills
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--max-restarts", str(restarts), WORKER, *line, "--quiet", "--until", "sae"]
    done = subprocess.run(
        [sys.executable, *command], env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    return done.returncode, [
        said for said in done.stderr.splitlines() if "glossae" in said or "carrying" in said
    ]


def close(out, alone, name):
    own, its = load_file(out / name), load_file(alone / name)
    assert own.keys() == its.keys()
    for key, tensor in its.items():
        torch.testing.assert_close(own[key], tensor, atol=1e-5, rtol=1e-5)


def test_a_killed_rank_comes_back_and_the_end_is_that_of_one_process(world, tmp_path):
    alone, out, struck = (tmp_path / name for name in ("alone", "ranks", "struck"))
    struck.mkdir()
    settings = SHORT | TWICE
    assert world.run_undrawn(alone, "--until", "sae", **settings) == 0
    status, said = under_torchrun(world.line(out, **settings), f"{struck} 1:3", restarts=1)
    assert (status, [path.name for path in struck.iterdir()]) == (0, ["1:3"]), said
    assert any("step-000000003: carrying on at step 3 of " in line for line in said), said
    assert not (out / "sae" / "checkpoints").exists()
    for name in ("sae/sae.safetensors", "sae/seed_1/sae.safetensors"):
        close(out, alone, name)


def test_a_stream_on_two_ranks_trains_what_one_process_does(world, tmp_path, monkeypatch):
    monkeypatch.setenv("GLOSSAE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "web.txt").write_text("".join(f"{pair['en']}\n" for pair in sentences(400, seed=77)))
    settings = SHORT | {"sae__stream": tmp_path / "web.txt", "sae__tokens": 2000}
    alone, out, struck = (tmp_path / name for name in ("alone", "ranks", "struck"))
    struck.mkdir()
    assert world.run_undrawn(alone, "--until", "sae", **settings) == 0
    status, said = under_torchrun(world.line(out, **settings), f"{struck} 1:3", restarts=1)
    assert (status, [path.name for path in struck.iterdir()]) == (0, ["1:3"]), said
    close(out, alone, "sae/sae.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, TWICE], ids=["once", "twice"])
def test_ten_kills_end_in_the_same_bytes(world, tmp_path, more):
    struck = tmp_path / "struck"
    struck.mkdir()
    whole, out = tmp_path / "whole", tmp_path / "killed"
    settings = SHORT | {"sae__batch_tokens": 128} | more
    assert under_torchrun(world.line(whole, **settings))[0] == 0
    status, said = under_torchrun(world.line(out, **settings), f"{struck} {' '.join(TEN)}", restarts=10)
    assert (status, len(list(struck.iterdir()))) == (0, 10), said
    assert (out / "sae" / "sae.safetensors").read_bytes() == (whole / "sae" / "sae.safetensors").read_bytes()
    assert (out / RESULTS).read_bytes() == (whole / RESULTS).read_bytes()
