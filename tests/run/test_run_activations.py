"""Activations kept on disk: the same bytes as without, read by later trainings that never run the model."""

import shutil
from types import SimpleNamespace

import pytest

from glossae.cli import main
from glossae.recipe import load_recipe, shared_recipe
from glossae.sae import read_sae
from glossae.stages import sae
from glossae.stages.shared import sae_jobs

SHORT = {
    "layer": 1,
    "probe__paper": "false",
    "sae__checkpoint": 0,
    "sae__batch_tokens": 128,
    "batch_tokens": 256,
}


@pytest.fixture(scope="module", autouse=True)
def several_chunks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sae_jobs, "CHUNK_VALUES", 32 * 300)
        patch.setattr(sae_jobs, "POOL_VALUES", 32 * 500)
        yield


def until_sae(world, out, **changes):
    return world.run_undrawn(out, "--until", "sae", **SHORT | changes)


def trained(out):
    return (out / "sae" / "sae.safetensors").read_bytes()


@pytest.fixture(scope="module", params=[1, 2], ids=["one epoch", "two epochs"])
def epochs(request):
    return {"sae__epochs": request.param}


@pytest.fixture(scope="module")
def without(world, epochs, tmp_path_factory):
    """The folder of a run without the setting."""
    out = tmp_path_factory.mktemp("without") / "run"
    assert until_sae(world, out, **epochs) == 0
    return out


@pytest.fixture(scope="module")
def kept(world, epochs, without, tmp_path_factory):
    """A folder of kept activations, which a run with the same bytes has filled; not to be written to."""
    out = tmp_path_factory.mktemp("kept")
    assert until_sae(world, out / "run", **epochs, sae__activations=out / "kept") == 0
    assert trained(out / "run") == trained(without)
    assert (out / "run" / "results.json").read_bytes() == (without / "results.json").read_bytes()
    return out / "kept"


@pytest.fixture
def in_training(monkeypatch, passes):
    """How often a block of the model runs in a training."""
    found = SimpleNamespace(blocks=0)
    train = sae.train_jobs

    def counted(*arguments):
        before = passes[0]
        done = train(*arguments)
        found.blocks += passes[0] - before
        return done

    monkeypatch.setattr(sae, "train_jobs", counted)
    return found


def test_another_training_on_the_same_text_never_runs_the_model(
    world, kept, epochs, without, tmp_path, in_training
):
    files = {path: path.stat().st_mtime_ns for path in kept.rglob("*.safetensors")}
    assert until_sae(world, tmp_path / "same", **epochs, sae__activations=kept) == 0
    assert trained(tmp_path / "same") == trained(without)
    other = epochs | {"sae__activation": "batchtopk", "sae__latents": 48}
    assert until_sae(world, tmp_path / "other", **other, sae__activations=kept) == 0
    assert read_sae(tmp_path / "other" / "sae").config.latents == 48
    assert in_training.blocks == 0
    assert {path: path.stat().st_mtime_ns for path in kept.rglob("*.safetensors")} == files
    assert until_sae(world, tmp_path / "without", **epochs) == 0
    assert in_training.blocks > 0


def test_another_layer_lies_beside_and_is_no_other_autoencoder(world, kept, tmp_path, epochs, in_training):
    place = shutil.copytree(kept, tmp_path / "kept")
    files = len(list(place.rglob("*.safetensors")))
    for name, activations in (("with", place), ("without", None)):
        changes = {} if activations is None else {"sae__activations": activations}
        assert until_sae(world, tmp_path / name, **epochs | {"layer": 2}, **changes) == 0
    assert trained(tmp_path / "with") == trained(tmp_path / "without")
    assert len(list(place.rglob("*.safetensors"))) == 2 * files


def test_broken_and_missing_files_are_made_again(world, kept, epochs, without, tmp_path, in_training):
    place = shutil.copytree(kept, tmp_path / "kept")
    one, two, *_ = sorted(place.rglob("*.safetensors"))
    whole = [one.read_bytes(), two.read_bytes()]
    one.write_bytes(whole[0][:-4] + b"\0\0\1\0")
    two.unlink()
    assert until_sae(world, tmp_path / "run", **epochs, sae__activations=place) == 0
    assert trained(tmp_path / "run") == trained(without)
    assert [one.read_bytes(), two.read_bytes()] == whole
    assert in_training.blocks > 0


def test_a_killed_training_reads_on(world, epochs, without, tmp_path, dies, in_training):
    out, place = tmp_path / "run", tmp_path / "kept"
    # neither checkpoints nor a finished pass: only what was kept is left
    changes = SHORT | epochs | {"sae__checkpoint": "none", "sae__activations": place}
    dies(out, "sae", 0.2, **changes)
    there = {path.name for path in place.rglob("*.safetensors")}
    assert there
    assert until_sae(world, out, **changes) == 0
    assert trained(out) == trained(without)
    every = {path.name for path in place.rglob("*.safetensors")}
    assert there < every
    # two of the three blocks are below the site
    assert in_training.blocks == 2 * len(every - there)


def test_a_setting_that_is_added_later_does_no_stage_again(world, without, epochs, tmp_path):
    out = shutil.copytree(without, tmp_path / "run")
    assert until_sae(world, out, **epochs, sae__activations=tmp_path / "kept") == 0
    assert not (tmp_path / "kept").exists()


def test_what_cannot_be_kept_is_one_line(world, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").touch()
    assert until_sae(world, tmp_path / "a", sae__activations=tmp_path / "file") == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == f"glossae: sae.activations: {tmp_path / 'file'} is a file: give a folder"
    assert not (tmp_path / "a").exists()
    assert until_sae(world, tmp_path / "a", sae__activations=tmp_path / "a" / "kept") == 2
    assert "lies in the run's folder: give a folder beside it" in capsys.readouterr().err
    monkeypatch.setattr(sae_jobs.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    assert until_sae(world, tmp_path / "b", sae__activations=tmp_path / "kept") == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "these activations take " in said
    assert "and 1 kB are free: give a folder on a larger disk" in said


def test_the_dry_run_foretells_the_disk(world, tmp_path, capsys, monkeypatch):
    line = world.line(tmp_path / "run", **SHORT, sae__activations=tmp_path / "kept")
    assert main([*line, "--dry-run"]) == 0
    assert "; the activations take up to " in " ".join(capsys.readouterr().out.split())


def test_what_is_shared_names_no_folder(world, tmp_path):
    recipe = load_recipe(world.recipe, {"sae.activations": str(tmp_path / "kept")})
    assert shared_recipe(recipe).sae.activations == "kept"
