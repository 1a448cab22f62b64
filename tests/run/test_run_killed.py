"""A run that is killed in its training, again and again, ends in the same bytes as one that was left alone."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

KILLS = 20
LONG = {"sae__epochs": 150, "layer": 1, "probe__tokens": 400, "probe__seeds": 1}


def newest(folder):
    """The step of the newest checkpoint; 0 if there is none."""
    steps = [int(path.stem.removeprefix("step-")) for path in folder.glob("step-*.safetensors")]
    return max(steps, default=0)


def start(world, out):
    """The run in a process of its own; what it complains of is in a file beside its folder."""
    line = [*world.line(out, **LONG, sae__checkpoint=0), "--quiet", "--until", "sae"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2"}
    with out.with_suffix(".err").open("a") as errors:
        return subprocess.Popen([sys.executable, "-m", "glossae", *line], env=environment, stderr=errors)


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_in_the_same_bytes(world, tmp_path):
    whole = start(world, tmp_path / "whole")
    assert whole.wait() == 0
    out, chance = tmp_path / "killed", random.Random(0)
    checkpoints = out / "sae" / "checkpoints"
    kills, reached = 0, []
    while True:
        process = start(world, out)
        before = newest(checkpoints)
        # not before it has begun to train, and then at any moment, in the middle of a write as well
        while process.poll() is None and newest(checkpoints) <= before:
            time.sleep(0.01)
        if kills < KILLS:
            time.sleep(chance.uniform(0, 0.15))
        if kills == KILLS or process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        reached.append(newest(checkpoints))
    assert process.wait() == 0, out.with_suffix(".err").read_text()
    assert kills == KILLS, f"the training was over after {kills} kills, at the steps {reached}"
    # it went on where it was, and did not begin anew each time
    assert reached == sorted(reached)
    assert len(set(reached)) > KILLS // 2
    first, second = (
        (folder / "sae" / "sae.safetensors").read_bytes() for folder in (tmp_path / "whole", out)
    )
    assert first == second
