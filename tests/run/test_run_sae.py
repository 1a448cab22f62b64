"""Autoencoders from elsewhere, trainings that fail, and checkpoints that they go on from."""

import json
import shutil
from contextlib import contextmanager

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from glossae.cli import main
from glossae.run.context import Show
from glossae.sae import read_sae, to_sae_lens, to_sparsify
from glossae.sae.trainer import Trainer
from glossae.stages import sae as sae_stage


def results(out):
    return json.loads((out / "results.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def autoencoder(world, tmp_path_factory):
    """The folder of an autoencoder of the tiny world at layer 1, and what a run with it found."""
    out = tmp_path_factory.mktemp("given") / "trained"
    assert world.run_undrawn(out, layer=1) == 0
    return out


def refusal(world, out, capsys, **changes):
    capsys.readouterr()
    assert world.run(out, **changes) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert not (out / "results.json").exists()
    return line


def test_a_given_autoencoder_is_not_trained_and_gives_the_same_numbers(world, autoencoder, tmp_path, page):
    out = tmp_path / "run"
    assert world.run(out, layer=1, sae__from=autoencoder, sae__latents="none") == 0
    before, after = results(autoencoder), results(out)
    assert after["sae"].pop("from") == autoencoder.name
    assert before["sae"].pop("from") is None
    assert after["sae"].pop("train_tokens") is None
    assert before["sae"].pop("train_tokens") > 0
    for part in ("sae", "features", "next_token"):
        assert after[part] == before[part]
    assert not (out / "sae" / "log.parquet").exists()
    assert "Taken from" in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("limit", "said"), [(150, True), (151, False)])
def test_an_unsound_autoencoder_says_that_quick_takes_little_text(world, tmp_path, limit, said):
    out = tmp_path / "run"
    small = {"layer": 1, "corpora__limit": limit, "sae__latents": 4, "sae__k": 1, "baselines__untrained": 0}
    assert world.run_undrawn(out, "--until", "sae", **small) == 0
    *findings, last = results(out)["sae"]["unsound"]
    assert last.startswith(f"It was trained on at most {limit} sentences of each language, no more") == said
    assert not said or findings


@pytest.mark.parametrize("write", [to_sae_lens, to_sparsify], ids=["sae-lens", "sparsify"])
def test_what_another_library_reads_is_read_back(world, autoencoder, tmp_path, write):
    sae = read_sae(autoencoder)
    write(sae, tmp_path / "theirs", **({"hookpoint": "layers.1"} if write is to_sparsify else {}))
    assert world.run(tmp_path / "run", layer=1, sae__from=tmp_path / "theirs", sae__latents="none") == 0
    assert results(tmp_path / "run")["sae"]["fvu"] == pytest.approx(
        results(autoencoder)["sae"]["fvu"], rel=1e-5
    )


def test_another_autoencoder_in_its_place_is_noticed(world, autoencoder, tmp_path, capsys):
    place = shutil.copytree(autoencoder / "sae", tmp_path / "place")
    line = world.line(tmp_path / "run", layer=1, sae__from=place, sae__latents="none")
    assert main(line) == 0
    capsys.readouterr()
    assert main(line) == 0
    assert "sae: done before, kept" in capsys.readouterr().err
    sae = read_sae(place)
    sae.b_enc.data += 0.01
    sae.save(place)
    assert main(line) == 0
    assert "sae: done before, kept" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layer": 2}, "sae.from: was trained at layer 1, and this run is at layer 2; give --layer 1"),
        ({"layer": "auto"}, "layer: the autoencoder of sae.from is of layer 1"),
        ({"site": "mlp.out"}, "sae.from: was trained at resid of layer 1"),
        ({"site": "mlp.hidden"}, "sae.from: was trained at resid of layer 1"),
        ({"features__units": "3,64"}, "features.units: there is no latent 64: the autoencoder has 0 to 63"),
        ({"sae__from": "nowhere"}, "sae.from: nowhere: there is no such file or folder"),
        ({"sae__from": "hub:no/such/thing"}, "sae.from: hub:no/such/thing"),
    ],
)
def test_what_does_not_fit_is_refused(world, autoencoder, tmp_path, capsys, changes, words):
    given = {"layer": 1, "sae__from": autoencoder, "sae__latents": "none"} | changes
    assert f"glossae: {words}" in refusal(world, tmp_path / "run", capsys, **given)


def test_an_autoencoder_of_another_width_is_refused(world, autoencoder, tmp_path, capsys):
    sae = read_sae(autoencoder)
    sae.config = type(sae.config)(d_in=31, latents=64, k=4)
    sae.W_enc.data, sae.W_dec.data = sae.W_enc.data[:, :31], sae.W_dec.data[:, :31]
    sae.b_dec.data = sae.b_dec.data[:31]
    sae.save(tmp_path / "narrow")
    given = {"layer": 1, "sae__from": tmp_path / "narrow", "sae__latents": "none"}
    line = refusal(world, tmp_path / "run", capsys, **given)
    assert "sae.from: reads 31 values at a token, and resid of layer 1 has 32" in line


def test_an_autoencoder_that_is_written_to_while_a_run_reads_it_is_refused(
    world, autoencoder, tmp_path, capsys, monkeypatch
):
    place = shutil.copytree(autoencoder / "sae", tmp_path / "theirs")
    measured = sae_stage.measure

    def written_meanwhile(*args, **options):
        with (place / "sae.safetensors").open("r+b") as file:
            file.seek(-200, 2)
            file.write(bytes(100))
        return measured(*args, **options)

    monkeypatch.setattr(sae_stage, "measure", written_meanwhile)
    capsys.readouterr()
    assert world.run(tmp_path / "run", layer=1, sae__from=place, sae__latents="none") == 2
    (line,) = [row for row in capsys.readouterr().err.splitlines() if row.startswith("glossae: ")]
    assert line.endswith("was written to while the run read it; start it again")


def test_named_units_are_taken_as_they_are(world, autoencoder, tmp_path, page):
    out = tmp_path / "run"
    assert world.run(out, layer=1, features__units="7,3") == 0
    features = results(out)["features"]
    assert features["rule"] == "given"
    assert [row["unit"] for row in features["units"]] == [7, 3]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "two latents were named in the recipe" in page.lower()


def test_named_units_without_an_autoencoder_that_has_them(world, tmp_path, capsys):
    line = refusal(world, tmp_path / "run", capsys, layer=1, features__units="64")
    assert "features.units: there is no latent 64" in line


def test_named_units_that_leave_too_few_for_controls(world, tmp_path, capsys):
    units = ",".join(map(str, range(33)))
    line = refusal(world, tmp_path / "run", capsys, layer=1, features__units=units, effects__controls=5)
    assert (
        "features.units: 33 of 64 latents leave too few others to match them: give fewer, or --effects"
        in line
    )


LONG = {"layer": 1, "probe__tokens": 400, "probe__seeds": 1, "sae__epochs": 6}


def run(world, out, capsys, **changes):
    """The status of a run up to its autoencoder with a checkpoint after every step, and what it said was wrong."""
    capsys.readouterr()
    status = main([*world.line(out, **LONG | {"sae__checkpoint": 0} | changes), "--quiet", "--until", "sae"])
    said = capsys.readouterr().err.splitlines()
    return status, [line for line in said if ": carrying on at step " not in line]


def checkpoints(out, stage="sae"):
    return sorted((out / stage / "checkpoints").glob("step-*.safetensors"))


def step_of(path):
    return int(path.stem.removeprefix("step-"))


def is_whole(path):
    """Whether everything in a checkpoint can be read, and is finite."""
    with safe_open(path, framework="pt") as file:
        return all(bool(file.get_tensor(name).isfinite().all()) for name in file.keys())  # noqa: SIM118


# ---- a loss that diverges


@pytest.mark.parametrize(
    ("lr", "words"),
    [
        (1e30, "glossae: sae: the loss is no longer finite at step "),
        (100, "glossae: sae: the loss diverges at step "),
    ],
)
@pytest.mark.parametrize("activation", ["topk", "relu"])
def test_an_absurd_rate_stops_and_is_named(world, tmp_path, capsys, activation, lr, words):
    sparsity = {"sae__activation": activation, "sae__l1": "0.01" if activation == "relu" else None}
    status, (line,) = run(world, tmp_path / "out", capsys, sae__lr=lr, **sparsity)
    assert status == 2
    assert line.startswith(words)
    assert line.endswith(f"lower sae.lr (it is {lr:.2g})") or line.endswith(
        f"lower sae.lr (it is {float(lr):.2g})"
    )
    assert not (tmp_path / "out" / "sae" / "sae.safetensors").exists()
    # weights that a step has ruined are not kept
    assert all(map(is_whole, checkpoints(tmp_path / "out")))
    # and what was wrong can be mended in the same folder
    assert run(world, tmp_path / "out", capsys, **sparsity)[0] == 0


@pytest.fixture
def ruined_at(monkeypatch):
    """A function that makes the trainer's rate absurd from a step on."""

    def ruin(step, lr):
        original = Trainer._schedule
        monkeypatch.setattr(
            Trainer, "_schedule", lambda self: lr / self.lr if self.steps >= step else original(self)
        )

    return ruin


@pytest.mark.parametrize("lr", [1e30, 1e3])
def test_a_late_divergence_leaves_the_last_good_checkpoints_to_go_on_from(
    world, tmp_path, capsys, monkeypatch, ruined_at, whole, lr
):
    out = tmp_path / "out"
    ruined_at(12, lr)
    status, (line,) = run(world, out, capsys)
    assert status == 2
    assert line.startswith("glossae: sae: the loss ")
    assert "at step 14" in line
    assert "; lower sae.lr (it is " in line
    # the thirteenth step ruined the weights
    assert [step_of(path) for path in checkpoints(out)] == [11, 12]
    assert all(map(is_whole, checkpoints(out)))
    monkeypatch.undo()
    assert run(world, out, capsys) == (0, [])
    assert (out / "sae" / "sae.safetensors").read_bytes() == whole


def test_a_training_that_went_astray_is_refused_at_its_end(world, tmp_path, capsys):
    """With rows of length 1 a rate of 5 is no catastrophe at any step, and what comes out is worse than nothing."""
    status, (line,) = run(world, tmp_path / "out", capsys, sae__lr=5, sae__epochs=6)
    assert status == 2
    assert line.startswith("glossae: sae: the loss diverged: after ")
    assert line.endswith("times it at first; lower sae.lr (it is 5)")
    assert checkpoints(tmp_path / "out")


def test_a_grid_whose_loss_diverges_says_so_too(world, tmp_path, capsys):
    grid = {"grid__k": "2", "grid__l1": "0.01", "grid__latents": 64}
    status, (line,) = run(world, tmp_path / "out", capsys, sae__lr=1e30, **grid)
    assert status == 2
    assert line.startswith("glossae: sae: the loss is no longer finite at step ")


# ---- activations that are not finite


@pytest.mark.parametrize("grid", [{}, {"grid__k": "2", "grid__latents": 64}], ids=["sae", "grid"])
def test_activations_that_are_not_finite_name_the_sentence(world, tmp_path, capsys, grid):
    """The model is finite, and one token is too large for a norm: nothing is found before that token is read."""
    from tokenizers import Tokenizer

    model = shutil.copytree(world.model, tmp_path / "model")
    rows = (world.folder / "talks.tsv").read_text(encoding="utf-8").splitlines()
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    # one whose first token begins no other sentence that the probes look at is as good as any
    text = rows[0].split("\t")[0]
    tensors = load_file(model / "model.safetensors")
    tensors["gpt_neox.embed_in.weight"][tokenizer.encode(text).ids[0]] = 3e38
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    out = tmp_path / "out"
    status, (line,) = run(world, out, capsys, model=model, **grid)
    assert status == 2
    assert line.startswith(f"glossae: model: {model}: resid of layer 1 is NaN or infinite at token ")
    assert "of the sentence '" in line
    assert "talks.tsv" in line
    assert not (out / "sae" / "sae.safetensors").exists()


# ---- checkpoints


def cut_off_in(world, out, stage, **changes):
    """A run which is cut off in the training of a stage."""
    original, reported = Show.stage, []

    @contextmanager
    def watched(self, name, what):
        def report(fraction):
            if name == stage:
                reported.append(fraction)
                if len(reported) == 22:
                    raise KeyboardInterrupt

        with original(self, name, what):
            yield report

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Show, "stage", watched)
        assert world.run_undrawn(out, "--until", "sae", **LONG | {"sae__checkpoint": 0} | changes) == 130
    assert [step_of(path) for path in checkpoints(out, stage)] == [18, 19]
    return out


@pytest.fixture(scope="module")
def was_cut_off(world, tmp_path_factory):
    """The folder of a run which was cut off in its training; not to be written to."""
    return cut_off_in(world, tmp_path_factory.mktemp("cut off") / "run", "sae")


@pytest.fixture
def cut_off(was_cut_off, tmp_path):
    """A copy of it."""
    return shutil.copytree(was_cut_off, tmp_path / "cut off")


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory):
    """The bytes of the autoencoder of a run that was left alone."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert world.run_undrawn(out, "--until", "sae", **LONG, sae__checkpoint=0) == 0
    return (out / "sae" / "sae.safetensors").read_bytes()


def started_from(monkeypatch):
    """The steps from which trainings go on."""
    found, original = [], Trainer.restored.__func__

    def restored(cls, *arguments):
        trainer = original(cls, *arguments)
        found.append(trainer.steps)
        return trainer

    monkeypatch.setattr(Trainer, "restored", classmethod(restored))
    return found


@pytest.mark.parametrize("keep", [0, 0.5, -1])
def test_a_checkpoint_cut_short_is_refused_by_name_and_the_older_one_used(
    world, capsys, monkeypatch, cut_off, whole, keep
):
    out, newer = cut_off, checkpoints(cut_off)[1]
    content = newer.read_bytes()
    newer.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    steps = started_from(monkeypatch)
    status, (line,) = run(world, out, capsys)
    assert (status, steps) == (0, [18])
    assert line.startswith(f"{newer}: is broken or cut short")
    assert (out / "sae" / "sae.safetensors").read_bytes() == whole
    assert not checkpoints(out)


def test_a_checkpoint_from_another_run_is_refused_by_name_and_the_older_one_used(
    world, tmp_path, capsys, monkeypatch, cut_off, whole
):
    other, out = cut_off_in(world, tmp_path / "other", "sae", seed=7), cut_off
    foreign = shutil.copy(checkpoints(other)[1], out / "sae" / "checkpoints" / "step-000000025.safetensors")
    steps = started_from(monkeypatch)
    status, (line,) = run(world, out, capsys)
    assert (status, steps) == (0, [19])
    assert line.startswith(f"{foreign}: belongs to a training on other text or with other settings")
    assert (out / "sae" / "sae.safetensors").read_bytes() == whole


def test_a_grids_checkpoint_cut_short_is_refused_by_name_too(world, tmp_path, capsys, monkeypatch):
    grid = {"grid__k": "2", "grid__latents": 64, "grid__tied": "false"}
    out = cut_off_in(world, tmp_path / "out", "grid", **grid)
    newer = checkpoints(out, "grid")[1]
    newer.write_bytes(newer.read_bytes()[:-1])
    steps = started_from(monkeypatch)
    status, (line,) = run(world, out, capsys, **grid)
    # two cells
    assert (status, steps) == (0, [18, 18])
    assert line.startswith(f"{newer}: is broken or cut short")


def test_checkpoints_of_other_settings_do_not_push_out_those_of_these(
    world, tmp_path, capsys, monkeypatch, cut_off
):
    """The other training got farther, so its checkpoints have the higher numbers."""
    out, ours = cut_off, cut_off / "sae" / "checkpoints"
    seen = []
    original = Trainer.step

    def step(self, *batch):
        seen.append([path.name for path in sorted(ours.glob("step-*.safetensors"))])
        if self.steps == 5:
            raise KeyboardInterrupt
        original(self, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", step)
        status, lines = run(world, out, capsys, sae__lr=0.001)
    assert status == 130
    assert [line.partition(": ")[0] for line in lines[:2]] == [
        str(ours / f"step-{number:09d}.safetensors") for number in (19, 18)
    ]
    # both are kept until there is something else
    assert seen[0] == [f"step-{number:09d}.safetensors" for number in (18, 19)]
    assert seen[-1] == [f"step-{number:09d}.safetensors" for number in (4, 5)]
    steps = started_from(monkeypatch)
    assert run(world, out, capsys, sae__lr=0.001) == (0, [])
    assert steps == [5]


def test_a_checkpoint_for_which_there_is_no_memory_is_not_a_broken_one(world, capsys, monkeypatch, cut_off):
    import safetensors

    def full(*_, **__):
        raise OSError(12, "Cannot allocate memory")

    with monkeypatch.context() as patch:
        patch.setattr(safetensors, "safe_open", full)
        status, (line,) = run(world, cut_off, capsys)
    assert status == 2
    assert line.startswith("glossae: sae: there is not enough memory to train an autoencoder of 64 latents")
    assert [step_of(path) for path in checkpoints(cut_off)] == [18, 19]
