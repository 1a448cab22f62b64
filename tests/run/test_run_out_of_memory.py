"""Where memory is out, one line says which setting to lower, and what was done before is still there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from glossae.cli import main
from glossae.sae import Mixer
from glossae.sae.trainer import Trainer
from glossae.stages import stage_of

# what a process holds before its limit is set differs from machine to machine, so the limit lies above that; one
# process for all, for most of its time goes into importing
SCRIPT = """
import contextlib, io, json, resource, sys
import torch
from glossae.cli import main
torch.set_num_threads(1)
warm, *lines = json.loads(sys.argv[2])
assert main(warm) == 0
held = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmSize"))
limit = held + int(sys.argv[1]) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for line in lines:
    with contextlib.redirect_stderr(io.StringIO()) as said:
        status = main(line)
    print(json.dumps([status, said.getvalue()]), flush=True)
"""
ROOM = 192
"""Mebibytes that are left for the run."""

SMALL = {"layer": 1, "probe__tokens": 400, "probe__seeds": 1, "batch_tokens": 1024}
GRID = {"grid__k": "2,4", "grid__l1": "0.01"}


CASES = {
    "too many latents": (
        {"sae__latents": 2_000_000},
        "glossae: sae: there is not enough memory to train an autoencoder of 2000000 latents on a site of width 32; "
        "lower sae.latents (or sae.expansion)",
    ),
    "too large an expansion": (
        {"sae__latents": None, "sae__expansion": 62_500},
        "glossae: sae: there is not enough memory to train an autoencoder of 2000000 latents on a site of width 32; "
        "lower sae.latents (or sae.expansion)",
    ),
    "too large a step": (
        {"sae__latents": 20_000, "sae__batch_tokens": 1_000_000, "sae__epochs": 3},
        "glossae: sae: there is not enough memory for a step of ",
    ),
    "too large a step to mix": (
        {"sae__epochs": 10**6, "sae__batch_tokens": 10**9},
        "glossae: sae: there is not enough memory; lower ",
    ),
    "too large a grid": (
        GRID | {"grid__latents": 200_000},
        "glossae: sae: there is not enough memory to train 12 autoencoders of 200000 latents on a site of width 32; "
        "lower grid.latents (or grid.expansion), or give fewer grid.k or grid.l1",
    ),
    "too large a step of the grid": (
        GRID | {"grid__latents": 10_000, "sae__batch_tokens": 1_000_000, "sae__epochs": 3},
        "glossae: sae: there is not enough memory for a step of ",
    ),
}
LOWER = {
    "too large a step": "lower sae.batch_tokens (or sae.batch_sentences), or sae.latents (or sae.expansion)",
    "too large a step to mix": "or sae.batch_tokens",
    "too large a step of the grid": "lower sae.batch_tokens (or sae.batch_sentences), or grid.latents",
}


@pytest.fixture(scope="module")
def outcomes(world, tmp_path_factory):
    """What every case comes to in a process that has little memory: its folder, its status, what it said."""
    if not Path("/proc/self/status").exists():
        pytest.skip("needs Linux, to know what a process holds")
    folder = tmp_path_factory.mktemp("short of memory")
    outs = {case: folder / case for case in CASES}
    # a first run has all imported that there is to import
    lines = [[*world.line(folder / "first", **SMALL), "--quiet", "--until", "sae"]]
    lines += [
        [*world.line(outs[case], **SMALL | changes), "--quiet", "--until", "sae"]
        for case, (changes, _) in CASES.items()
    ]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(ROOM), json.dumps(lines)],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    return {case: (outs[case], *outcome) for case, outcome in zip(CASES, said, strict=True)}


@pytest.mark.parametrize("case", CASES)
def test_the_setting_to_lower_is_named(outcomes, case):
    out, status, said = outcomes[case]
    assert status == 2
    assert said.count("\n") == 1
    assert said.startswith(CASES[case][1]), said
    assert LOWER.get(case, "") in said
    # the stages before are kept
    assert (out / "probe" / "summary.json").is_file()


ABSURD = {
    "latents": ({"sae__latents": 10**13}, "sae.latents: training 10000000000000 latents on a site of width 32 holds "),
    "more than a number of torch's": ({"sae__latents": 10**30}, "sae.latents: training 1"),
    "expansion": ({"sae__latents": None, "sae__expansion": 10**12}, "sae.expansion: training 32000000000000 latents"),
    "grid": (GRID | {"grid__latents": 10**12}, "grid.latents: training 12 autoencoders of 1000000000000 latents"),
    "grid's expansion": (
        GRID | {"grid__expansion": 10**11},
        "grid.expansion: training 12 autoencoders of 3200000000000 latents",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ABSURD)
def test_what_no_machine_has_is_refused_before_anything_is_written(world, tmp_path, capsys, case):
    changes, words = ABSURD[case]
    assert main(world.line(tmp_path / "out", **SMALL | changes)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"glossae: {words}")
    assert "(weights, Adam's two moments, and gradients), and there are " in line
    assert f"; lower {words.partition(':')[0]}" in line
    assert line.endswith(", or give --sae.moments bfloat16")
    assert not (tmp_path / "out").exists()


# ---- what a GPU says, and what torch says on other systems: not to be had here, so raised by hand

SAYINGS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 8 GiB."),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: not enough memory: you tried to allocate"),
]  # fmt: skip


def refused_late(world, out, capsys, monkeypatch, error, expected=2, **changes):
    """The line of a run whose memory is out at the fifth step, each of which left a checkpoint."""
    original = Trainer.step

    def step(self, *batch):
        if self.steps == 4:
            raise error
        original(self, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", step)
        status = world.run(out, "--until", "sae", sae__checkpoint=0, **SMALL | changes)
    assert status == expected
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("error", SAYINGS, ids=lambda error: type(error).__name__)
def test_a_gpu_that_is_full_names_the_setting_and_the_run_goes_on_later(
    world, tmp_path, capsys, monkeypatch, error
):
    out = tmp_path / "out"
    line = refused_late(world, out, capsys, monkeypatch, error)
    assert line.startswith(
        "glossae: sae: there is not enough memory for a step of 256 tokens; lower sae.batch_tokens"
    )
    assert [path.name for path in sorted((out / "sae" / "checkpoints").iterdir())] == [
        "step-000000003.safetensors",
        "step-000000004.safetensors",
    ]
    assert world.run(out, "--until", "sae", **SMALL) == 0


def test_a_grid_that_fills_a_gpu_names_its_own_settings(world, tmp_path, capsys, monkeypatch):
    line = refused_late(world, tmp_path / "out", capsys, monkeypatch, SAYINGS[0], **GRID)
    assert line.startswith(
        "glossae: sae: there is not enough memory for a step of 256 tokens; lower sae.batch_tokens"
    )
    assert line.endswith("or grid.latents (or grid.expansion), or give fewer grid.k or grid.l1")


def test_a_failure_of_another_kind_is_no_lack_of_memory(world, tmp_path, capsys, monkeypatch):
    error = RuntimeError("mat1 and mat2 cannot be multiplied")
    line = refused_late(world, tmp_path / "out", capsys, monkeypatch, error, expected=70)
    assert "a bug of glossae (RuntimeError: mat1 and mat2 cannot be multiplied)" in line


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ("probe", "lower batch_tokens or probe.tokens"),
        ("features", "lower batch_tokens"),
        ("effects", "lower batch_tokens or max_tokens"),
    ],
)
def test_every_stage_names_a_setting(world, copy_of_finished, capsys, monkeypatch, stage, words):
    def full(*_):
        raise SAYINGS[0]

    (copy_of_finished / stage / "summary.json").unlink()
    monkeypatch.setattr(stage_of(stage), "run", full)
    assert world.run(copy_of_finished) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"glossae: {stage}: there is not enough memory; {words}")


def test_a_pool_is_no_larger_than_what_there_is_to_mix(world, tmp_path, monkeypatch):
    """A step of a million tokens is the whole of a small text, and holds no more."""
    pools = []
    original = Mixer.__init__

    def watched(self, *arguments):
        original(self, *arguments)
        pools.append(self.pool)

    monkeypatch.setattr(Mixer, "__init__", watched)
    assert world.run(tmp_path / "out", "--until", "sae", sae__batch_tokens=10**6, **SMALL) == 0
    assert max(pools) < 10_000
