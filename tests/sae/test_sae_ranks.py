"""Several ranks train the SAE that one process trains, and carry on from each other's checkpoints."""

import shutil
from pathlib import Path

import pytest
import rank_worker
import torch
from rank_worker import FOUR, KINDS, RESUMED
from safetensors.torch import load_file

from processes import ended, started

WORKER = str(Path(__file__).with_name("rank_worker.py"))
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def ranks_of(count, folder, *resume_from):
    found = ended(started([[WORKER, str(folder), *map(str, resume_from)]] * count))
    assert [status for status, *_ in found] == [0] * count, found


def without_a_shard(source, place):
    """A copy of checkpoints of which the last has lost a file."""
    shutil.copytree(source, place)
    next((place / "step-000000008").glob("shard-00003-*")).unlink()
    return place


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """By the number of ranks, the folder of what they came to, and of what they carried on."""
    root = tmp_path_factory.mktemp("ranks")
    folders = {count: root / str(count) for count in (1, 2, 4)}
    before, left = torch.get_num_threads(), {count: folders[count] / "checkpoints" for count in folders}
    torch.set_num_threads(1)
    rank_worker.cases(folders[1], [])
    ranks_of(4, folders[4], shutil.copytree(left[1], root / "of-one"))
    others = [
        shutil.copytree(left[1], root / "of-one-2"),
        shutil.copytree(left[4], root / "of-four"),
        without_a_shard(left[4], root / "missing"),
    ]
    ranks_of(2, folders[2], *others)
    rank_worker.resume(folders[1], shutil.copytree(left[4], root / "of-four-1"))
    torch.set_num_threads(before)
    return folders


def close(one, other, kinds):
    for kind in kinds:
        own, its = (load_file(folder / f"{kind}.safetensors") for folder in (one, other))
        assert own.keys() == its.keys()
        for name, tensor in own.items():
            torch.testing.assert_close(its[name], tensor, **CLOSE, msg=f"{kind} {name}")


@pytest.mark.parametrize("count", [2, 4])
def test_ranks_train_what_one_process_trains(worlds, count):
    close(worlds[1] / "alone", worlds[count] / "alone", FOUR if count == 4 else KINDS)
    log = load_file(worlds[count] / "alone" / "dying-tied.safetensors")["log"]
    # some latents died and learnt from the error
    assert log[:, -1].max() > 0.1


@pytest.mark.parametrize(
    ("count", "place", "step"),
    [
        *((1, "of-four-1", 8), (2, "of-one-2", 8), (2, "of-four", 8), (4, "of-one", 8)),
        *((2, "own", 8), (4, "own", 8), (2, "missing", 4)),
    ],
)
def test_a_training_is_carried_on_by_any_number_of_ranks(worlds, count, place, step):
    found = worlds[count] / "resumed" / place
    close(worlds[1] / "resumed" / "own", found, RESUMED)
    *refused, last = (found / "told").read_text(encoding="utf-8").splitlines()
    assert f"step-{step:09d}" in last
    assert last.endswith(f": carrying on at step {step} of 20")
    assert ["is cut short (shard-00003-" in line for line in refused] == [True] * (place == "missing")


def test_checkpoints_of_ranks_are_safetensors_files_and_json(worlds):
    (folder, *_) = sorted((worlds[4] / "checkpoints").glob("step-*"))
    names = sorted(path.name for path in folder.iterdir())
    assert names[0] == "checkpoint.json"
    assert [name[:12] for name in names[1:]] == [f"shard-{rank:05d}-" for rank in range(1, 5)]
    parts = [load_file(folder / name)["trainer.0.sae.W_enc"] for name in names[1:]]
    assert [tuple(part.shape) for part in parts] == [(16, 16)] * 4
