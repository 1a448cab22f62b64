"""Runs on an autoencoder that is given, and on units that are named; what does not fit is refused before any work."""

import json
import shutil

import pytest

from glossae.cli import main
from glossae.sae import read_sae, to_sae_lens, to_sparsify


def results(out):
    return json.loads((out / "results.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def autoencoder(world, tmp_path_factory):
    """The folder of an autoencoder of the tiny world at layer 1, and what a run with it found."""
    out = tmp_path_factory.mktemp("given") / "trained"
    assert world.run(out, layer=1) == 0
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
    assert after["sae"].pop("from") == str(autoencoder)
    assert before["sae"].pop("from") is None
    assert after["sae"].pop("train_tokens") is None
    assert before["sae"].pop("train_tokens") > 0
    for part in ("sae", "features", "next_token"):
        assert after[part] == before[part]
    assert not (out / "sae" / "log.parquet").exists()
    assert "Taken from" in (out / "report.html").read_text(encoding="utf-8")


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


def test_named_units_are_taken_as_they_are(world, autoencoder, tmp_path, page):
    out = tmp_path / "run"
    assert world.run(out, layer=1, features__units="7,3") == 0
    features = results(out)["features"]
    assert features["rule"] == "given"
    assert [row["unit"] for row in features["da"]] == [7, 3]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Two latents were named in the recipe and not selected" in page


def test_named_units_without_an_autoencoder_that_has_them(world, tmp_path, capsys):
    line = refusal(world, tmp_path / "run", capsys, layer=1, features__units="64")
    assert "features.units: there is no latent 64" in line
