"""A training that is cut off anywhere and gone on with ends in the same bytes."""

import dataclasses

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glossae.sae import Checkpoints, Mixer, SaeConfig, TrainSettings, train_group

D, CHUNKS, CHUNK = 8, 24, 40
SETTINGS = TrainSettings(steps=CHUNKS * CHUNK // 32, tokens=CHUNKS * CHUNK, lr=0.01)
JOBS = [
    (SaeConfig(d_in=D, latents=24, k=2), SETTINGS),
    (SaeConfig(d_in=D, latents=24, k=3, activation="batchtopk", matryoshka=(8, 24)), SETTINGS),
    (SaeConfig(d_in=D, latents=16, activation="relu", tied=True), dataclasses.replace(SETTINGS, l1=0.01)),
    (SaeConfig(d_in=D, latents=24, k=2, activation="jumprelu", pre_encoder_bias=False), SETTINGS),
    (SaeConfig(d_in=D, latents=24, k=2), dataclasses.replace(SETTINGS, frozen_decoder=True, seed=1)),
]


class CutOffError(Exception):
    pass


def stream(start, stop=None):
    """Chunks that depend on their number alone; the training is cut off when it asks for number `stop`."""
    for number in range(start, CHUNKS):
        if number == stop:
            raise CutOffError
        generator = torch.Generator().manual_seed(number)
        yield torch.randn(CHUNK, D, generator=generator) + 1


def mixer(size=32):
    return Mixer(size, 100, torch.Generator().manual_seed(0))


def checkpoints(folder, **changes):
    return Checkpoints(folder, **({"identity": "this one", "seconds": 0} | changes))


def bytes_of(trained, folder):
    for number, (sae, _) in enumerate(trained):
        sae.save(folder / str(number))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [path.read_bytes() for path in files], [log for _, log in trained]


@pytest.fixture(scope="module", params=[32, None], ids=["mixed", "as they come"])
def uninterrupted(request, tmp_path_factory):
    trained = train_group(JOBS, stream, mixer(request.param))
    return request.param, bytes_of(trained, tmp_path_factory.mktemp("whole"))


@settings(deadline=None, max_examples=5, suppress_health_check=list(HealthCheck))
@given(cuts=st.lists(st.integers(1, CHUNKS - 1), min_size=1, max_size=3))
def test_cut_off_anywhere_it_ends_in_the_same_bytes(uninterrupted, tmp_path_factory, cuts):
    size, expected = uninterrupted
    folder = tmp_path_factory.mktemp("cut")
    for cut in cuts:
        with pytest.raises(CutOffError):
            train_group(
                JOBS,
                lambda start, cut=cut: stream(start, max(cut, start)),
                mixer(size),
                checkpoints=checkpoints(folder / "checkpoints"),
            )
    again = checkpoints(folder / "checkpoints")
    trained = train_group(JOBS, stream, mixer(size), checkpoints=again)
    assert bytes_of(trained, folder / "saes") == expected
    again.clear()
    assert not (folder / "checkpoints").exists()


@pytest.fixture
def interrupted(tmp_path):
    """The folder of a training that was cut off late."""
    with pytest.raises(CutOffError):
        train_group(JOBS, lambda start: stream(start, 20), mixer(), checkpoints=checkpoints(tmp_path))
    return tmp_path


def files(folder):
    return sorted(folder.iterdir())


def test_the_last_two_are_kept(interrupted):
    assert [path.suffix for path in files(interrupted)] == [".safetensors"] * 2


def test_files_of_other_names_are_neither_read_nor_removed(interrupted):
    mine = [
        interrupted / name
        for name in ("step-by-step.safetensors", "step-1.safetensors", "step-000000009.txt")
    ]
    for path in mine:
        path.write_text("mine")
    told = []
    again = checkpoints(interrupted, tell=told.append)
    train_group(JOBS, stream, mixer(), checkpoints=again)
    again.clear()
    assert len(told) == 1
    assert sorted(interrupted.iterdir()) == sorted(mine)


def resumed_steps(folder, **changes):
    """Where a training goes on, and what is said meanwhile."""
    said = []
    own = mixer()
    group = checkpoints(folder, tell=said.append, **changes).restore(JOBS, own)
    return None if group is None else group.trainers[0].steps, said


def step_of(path):
    return int(path.stem.removeprefix("step-"))


@pytest.mark.parametrize("keep", [0, 5, 100, 0.5, -1])
def test_a_checkpoint_cut_short_is_refused_by_name_and_the_older_one_used(interrupted, keep):
    older, newer = files(interrupted)
    whole = newer.read_bytes()
    newer.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    steps, said = resumed_steps(interrupted)
    assert steps == step_of(older)
    line, last = said
    assert line.startswith(f"{newer}: is broken or cut short")
    assert "\n" not in line
    assert last == f"{older}: carrying on at step {steps} of {JOBS[0][1].steps}"


def test_a_checkpoint_of_another_training_is_refused_by_name(interrupted):
    steps, said = resumed_steps(interrupted, identity="another one")
    assert steps is None
    assert [line.partition(": ")[0] for line in said] == [str(path) for path in reversed(files(interrupted))]
    assert all("belongs to a training on other text or with other settings" in line for line in said)


def test_something_else_under_a_checkpoints_name_is_refused(interrupted):
    from safetensors.torch import save_file

    older, newer = files(interrupted)
    save_file({"W": torch.zeros(2)}, newer)
    steps, said = resumed_steps(interrupted)
    assert steps == step_of(older)
    assert "is not a checkpoint of this version" in said[0]


def test_without_any_the_training_begins_anew(tmp_path):
    assert resumed_steps(tmp_path / "none") == (None, [])


def test_no_more_often_than_asked(tmp_path):
    train_group(JOBS, stream, mixer(), checkpoints=checkpoints(tmp_path, seconds=3600))
    assert files(tmp_path) == []
