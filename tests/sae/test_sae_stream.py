"""Many SAEs train on one stream as each would alone; a training that is cut off anywhere ends in the same bytes."""

import dataclasses
import shutil

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from glossae.sae import Checkpoints, Mixer, Sae, SaeConfig, TrainSettings, train, train_group
from glossae.sae.training import EncoderProduct, encoder_dtype

D, LATENTS, CHUNKS, CHUNK = 16, 48, 24, 80
SETTINGS = TrainSettings(steps=CHUNKS, tokens=CHUNKS * CHUNK, encoder_dtype="float32", lr=0.003)
JOBS = [
    (SaeConfig(d_in=D, latents=LATENTS, k=3), SETTINGS),
    (SaeConfig(d_in=D, latents=32, k=5, tied=True), dataclasses.replace(SETTINGS, seed=1)),
    (SaeConfig(d_in=D, latents=LATENTS, k=2, pre_encoder_bias=False), SETTINGS),
    (SaeConfig(d_in=D, latents=LATENTS, activation="relu"), dataclasses.replace(SETTINGS, l1=0.02)),
    (SaeConfig(d_in=D, latents=LATENTS, k=3, activation="batchtopk", matryoshka=(16, LATENTS)), SETTINGS),
    (SaeConfig(d_in=D, latents=LATENTS, k=3, activation="jumprelu"), SETTINGS),
    (SaeConfig(d_in=D, latents=LATENTS, k=2), dataclasses.replace(SETTINGS, frozen_decoder=True, seed=1)),
]


class CutOffError(Exception):
    pass


def stream(start=0, stop=None):
    """Chunks that depend on their number alone; the training is cut off when it asks for number `stop`."""
    # another seed than the trainings', whose first weights are random directions as well
    directions = torch.randn(40, D, generator=torch.Generator().manual_seed(100))
    for number in range(start, CHUNKS):
        if number == stop:
            raise CutOffError
        generator = torch.Generator().manual_seed(number)
        chosen = torch.rand(CHUNK, 40, generator=generator).topk(3, dim=1).indices
        yield torch.zeros(CHUNK, 40).scatter_(1, chosen, 1.0) @ directions + 2.0


def mixer(size=64):
    return Mixer(size, 200, torch.Generator().manual_seed(0))


# ---- a group


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_group_is_trained_bit_for_bit_as_each_would_be_alone_and_every_kind_learns(dtype):
    jobs = [(config, dataclasses.replace(how, encoder_dtype=dtype)) for config, how in JOBS]
    together = train_group(jobs, stream, mixer(None))
    for (config, how), (sae, log) in zip(jobs, together, strict=True):
        alone, its_log = train(config, stream(), how)
        for name, tensor in alone.state_dict().items():
            assert torch.equal(sae.state_dict()[name], tensor), (config, name)
        assert log == its_log
        assert log[-1].fvu < (1.0 if how.frozen_decoder else 0.95) * log[0].fvu, config


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_product_gives_pre_activations(dtype):
    product, x = EncoderProduct(dtype), next(stream())
    tolerance = {"atol": 1e-4, "rtol": 1e-4} if dtype == torch.float32 else {"atol": 0.6, "rtol": 0.02}
    # a smaller SAE after a larger one, and one without a bias to subtract
    for number in (0, 1, 2):
        sae = Sae(JOBS[number][0])
        for place, parameter in enumerate(sae.parameters()):
            generator = torch.Generator().manual_seed(10 * number + place)
            parameter.data = torch.randn(parameter.shape, generator=generator)
        offset = sae.b_dec.detach() if sae.config.pre_encoder_bias else x.mean(0)
        for _ in range(2):
            pre = product(sae, x - offset, offset)
            torch.testing.assert_close(pre.float(), sae.pre_activations(x).detach(), **tolerance)
            # training an SAE's own weights is seen by the next product
            sae.W_enc.data.mul_(2)


def test_a_low_precision_decides_which_latents_but_not_their_values():
    test, fvu = torch.cat(list(stream())), []
    for dtype in ("float32", "bfloat16"):
        sae, _ = train(JOBS[0][0], stream(), dataclasses.replace(SETTINGS, encoder_dtype=dtype))
        fvu.append(float((sae(test) - test).square().sum() / (test - test.mean(0)).square().sum()))
    assert fvu[1] == pytest.approx(fvu[0], rel=0.02)
    assert encoder_dtype("auto", torch.device("cpu")) in (torch.float32, torch.bfloat16)


# ---- mixing


def mixed(sizes, size, pool, seed=0):
    """Batches of chunks whose tokens carry their own number."""
    chunks = torch.arange(sum(sizes), dtype=torch.float32)[:, None].split(sizes) if sizes else ()
    generator = torch.Generator().manual_seed(seed)
    return [batch[:, 0].tolist() for batch in Mixer(size, pool, generator).batches(iter(chunks))]


@given(st.lists(st.integers(0, 50), max_size=20), st.integers(1, 40), st.integers(1, 200))
def test_every_token_comes_out_once_in_batches_of_one_size(sizes, size, pool):
    batches = mixed(sizes, size, pool)
    assert sorted(number for batch in batches for number in batch) == list(range(sum(sizes)))
    assert all(len(batch) == size for batch in batches[:-1])
    assert all(1 <= len(batch) <= size for batch in batches[-1:])


def test_batches_are_seeded_and_mixed():
    sizes = [10] * 30
    assert mixed(sizes, 20, 100) == mixed(sizes, 20, 100) != mixed(sizes, 20, 100, seed=1)
    # a batch draws on many of the ten chunks of its pool
    assert all(len({number // 10 for number in batch}) >= 5 for batch in mixed(sizes, 20, 100))


def test_no_more_than_the_pool_and_a_chunk_waits():
    own, given_out = Mixer(20, 100, torch.Generator()), 0
    for batch in own.batches(torch.zeros(10, 1) for _ in range(100)):
        assert 10 * own.taken - given_out <= 110
        given_out += len(batch)
    assert given_out == 1000


# ---- checkpoints


def checkpoints(folder, **changes):
    return Checkpoints(folder, **({"identity": "this one", "seconds": 0} | changes))


def bytes_of(trained, folder):
    for number, (sae, _) in enumerate(trained):
        sae.save(folder / str(number))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [path.read_bytes() for path in files], [log for _, log in trained]


@pytest.fixture(scope="module", params=[64, None], ids=["mixed", "as they come"])
def uninterrupted(request, tmp_path_factory):
    trained = train_group(JOBS, stream, mixer(request.param))
    return request.param, bytes_of(trained, tmp_path_factory.mktemp("whole"))


@settings(max_examples=2, suppress_health_check=list(HealthCheck))
@given(cuts=st.lists(st.integers(1, CHUNKS - 1), min_size=1, max_size=2))
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


@pytest.fixture(scope="module")
def cut_off(tmp_path_factory):
    """The folder of a training that was cut off late; not to be written to."""
    folder = tmp_path_factory.mktemp("cut off")
    with pytest.raises(CutOffError):
        train_group(JOBS, lambda start: stream(start, 20), mixer(), checkpoints=checkpoints(folder))
    return folder


@pytest.fixture
def interrupted(cut_off, tmp_path):
    """Its two checkpoints."""
    older, newer = sorted(shutil.copytree(cut_off, tmp_path, dirs_exist_ok=True).iterdir())
    return older, newer


def resumed(folder, **changes):
    """The step at which a training goes on, and what is said meanwhile."""
    said = []
    group = checkpoints(folder, tell=said.append, **changes).restore(JOBS, mixer())
    return None if group is None else group.trainers[0].steps, said


@pytest.mark.parametrize("keep", [0, 5, 100, 0.5, -1, None])
def test_a_checkpoint_that_cannot_be_used_is_refused_by_name_and_the_older_one_used(interrupted, keep):
    older, newer = interrupted
    whole = newer.read_bytes()
    if keep is None:
        save_file({"W": torch.zeros(2)}, newer)
    else:
        newer.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    steps, (line, last) = resumed(older.parent)
    assert steps == int(older.stem.removeprefix("step-"))
    why = "is not a checkpoint of this version" if keep is None else "is broken or cut short"
    assert line.startswith(f"{newer}: {why}")
    assert "\n" not in line
    assert last == f"{older}: carrying on at step {steps} of {SETTINGS.steps}"


def test_checkpoints_of_another_training_are_refused_by_name(interrupted):
    steps, said = resumed(interrupted[0].parent, identity="another one")
    assert steps is None
    assert said == [
        f"{path}: belongs to a training on other text or with other settings, so it is not used"
        for path in reversed(interrupted)
    ]


def test_files_of_other_names_are_neither_read_nor_removed(interrupted):
    folder = interrupted[0].parent
    names = ("step-000000009.txt", "step-1.safetensors", "step-by-step.safetensors")
    for name in names:
        (folder / name).write_text("mine")
    told = []
    again = checkpoints(folder, tell=told.append)
    train_group(JOBS, stream, mixer(), checkpoints=again)
    again.clear()
    assert len(told) == 1
    assert [path.name for path in sorted(folder.iterdir())] == list(names)


def test_no_more_often_than_asked(tmp_path):
    assert resumed(tmp_path / "none") == (None, [])
    train_group(JOBS[:1], stream, mixer(), checkpoints=checkpoints(tmp_path, seconds=3600))
    assert list(tmp_path.iterdir()) == []
