"""Several ranks train the SAE that one process trains, and carry on from each other's checkpoints."""

import shutil
from fnmatch import fnmatchcase

import pytest
import rank_worker
import torch
from rank_worker import FOUR, KINDS, RESUMED, WIDE
from safetensors.torch import load_file

from glossae import ranks
from glossae.errors import GlossaeError
from glossae.files import TEMPORARY, read_json, tensors_sha256
from glossae.sae import untrained
from glossae.sae.trainer import DRAWN_ROWS
from processes import free_port, ranks_of

DONE = (0, "", "")
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


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
    found = ranks_of(4, rank_worker.train_all, folders[4], [shutil.copytree(left[1], root / "of-one")])
    assert found == [DONE] * 4
    others = [
        shutil.copytree(left[1], root / "of-one-2"),
        shutil.copytree(left[4], root / "of-four"),
        without_a_shard(left[4], root / "missing"),
    ]
    found = ranks_of(2, rank_worker.train_all, folders[2], others)
    assert found == [DONE] * 2
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


@pytest.mark.parametrize("count", [2, 4])
def test_no_rank_holds_more_of_the_whole_sae_than_its_share(tmp_path, count):
    assert ranks_of(count, rank_worker.hold_whole, tmp_path) == [DONE] * count
    found = [read_json(tmp_path / f"{rank}.json") for rank in range(count)]
    x = torch.randn(64, WIDE.d_in, generator=torch.Generator().manual_seed(0))
    alone = untrained(WIDE, x, seed=3)
    assert {each["sha256"] for each in found} == {tensors_sha256("", alone.tensors())}
    weights, drawn = 8 * WIDE.d_in * WIDE.latents, 4 * DRAWN_ROWS * WIDE.d_in
    # blocks of the draws, their rows at length 1, and what libraries take at the first call
    assert max(each["held"] for each in found) < weights / count + 3 * drawn + 12 * 2**20
    # the files were there, and are deleted
    (name,) = found[0]["files"]
    assert name.startswith(TEMPORARY)
    assert [*(tmp_path / "files").iterdir()] == []


# ---- what goes wrong


@pytest.mark.parametrize(
    ("fault", "seconds", "line"),
    [
        ("refuses", 60, "corpora.train: rank 1 finds no text"),
        ("memory", 60, "rank 1: there is not enough memory; the same command carries on where it stopped"),
        (
            "dies",
            60,
            "rank 0: another rank was lost, or did not come within 60 s (*); the same command carries on *",
        ),
        (
            "hangs",
            2,
            "rank 0: another rank was lost, or did not come within 2 s (*); the same command carries on *",
        ),
        (
            "strays",
            60,
            "rank 1: is at another piece of work (1: counts of 7 tokens) than rank 0 (1: losses of 3 sentences); *",
        ),
        ("caught", 60, "corpora.train: rank 1 finds no text"),
        ("nowhere", 60, "*/rank_worker.py: cannot be written to (Not a directory)"),
        (
            "full",
            60,
            "*/.glossae-tmp-sae-*: rank 1 cannot write its latents there (No space left on device)",
        ),
        ("before", 60, "layer: rank 0 goes wrong outside of joint work"),
        ("ended-1", 60, "rank 1: interrupted; the same command carries on where it stopped"),
    ],
)
def test_a_rank_that_goes_wrong_ends_all_with_one_line(fault, seconds, line):
    first, other = ranks_of(2, rank_worker.go_wrong, fault, seconds)
    assert first[:2] == (2, "")
    (said,) = first[2].splitlines()
    assert fnmatchcase(said, f"glossae: {line}")
    assert other == (9 if fault == "dies" else 2, "", "")


def test_a_first_rank_that_the_system_ends_says_so():
    first, other = ranks_of(2, rank_worker.go_wrong, "ended-0", 60)
    assert first == (143, "", "glossae: interrupted; the same command carries on where it stopped\n")
    assert other == (2, "", "")


def test_a_shard_is_for_one_process():
    words = ["run", "demo", "--shard", "1/2"]
    first, other = ranks_of(2, rank_worker.command, [words, words])
    line = "glossae: --shard: a shard is computed by one process: start each without torchrun\n"
    assert (first, other) == ((2, "", line), (2, "", ""))


def test_ranks_that_are_given_other_recipes_end_with_one_line(tmp_path):
    words = ["run", "demo", "--out", str(tmp_path / "out")]
    first, other = ranks_of(2, rank_worker.command, [words, [*words, "--seed", "1"]])
    line = "rank 1: has another recipe or version than rank 0; start every rank with the same command"
    assert first[:2] == (2, "")
    assert first[2].startswith(f"glossae: {line}")
    assert len(first[2].splitlines()) == 1
    assert other == (2, "", "")
    assert not (tmp_path / "out").exists()


def test_a_mistake_in_the_command_is_one_line():
    words = ["run", "demo", "--sae.k", "none at all"]
    first, other = ranks_of(2, rank_worker.command, [words, words])
    assert (first[0], len(first[2].splitlines()), other) == (2, 1, (2, "", ""))


def test_a_rendezvous_that_nobody_keeps_is_one_line():
    port = str(free_port())
    (found,) = ranks_of(1, rank_worker.go_wrong, "none", 2, RANK="1", WORLD_SIZE="2", MASTER_PORT=port)
    place = f"127.0.0.1:{port}"
    assert found[:2] == (2, "")
    (said,) = found[2].splitlines()
    assert said.startswith(
        f"glossae: MASTER_ADDR: rank 1 of 2 found no rendezvous with the others at {place} within 2 s ("
    )


@pytest.mark.parametrize(("name", "value"), [("RANK", "one"), ("RANK", "2"), ("WORLD_SIZE", "two")])
def test_an_environment_that_torchrun_did_not_make_is_one_line(name, value):
    given = {"RANK": "1", "WORLD_SIZE": "2", name: value}
    (found,) = ranks_of(1, rank_worker.go_wrong, "none", 2, **given)
    assert found[:2] == (2, "")
    assert found[2].startswith(
        f"glossae: {name}: is '{value}'" if value != "2" else "glossae: RANK: is 2, and there"
    )
    assert len(found[2].splitlines()) == 1


def test_fewer_latents_than_ranks_are_refused():
    assert [ranks.share(size, 4) for size in (4, 61, 64)] == [1, 16, 16]
    for size in (3, 5):
        with pytest.raises(
            GlossaeError, match=f"sae.latents: {size} latents cannot be divided among 4 ranks"
        ):
            ranks.share(size, 4)
    with pytest.raises(GlossaeError, match=r"grid\.expansion: 5 latents cannot be divided"):
        ranks.share(5, 4, "grid.expansion")
