"""The stage that looks for the units in autoencoders of other seeds, through the command line."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from test_run_evidence import SMALL, write_panel

import glossae
from glossae.evidence import testing
from glossae.files import TEMPORARY
from glossae.sae import read_sae
from glossae.stages import stability as stage
from toy_grammar import sentences

SETTINGS = SMALL | {
    "evidence__permutations": 0,
    "evidence__scores": "false",
    "evidence__q": 0.5,
    "evidence__seeds": 2,
}
# the module: the package has a function of that name
UNTIL = ("--until", "stability")


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("panel")
    return SETTINGS | {"corpora__panel": write_panel(folder / "panel.tsv", sentences(400, seed=11))}


@pytest.fixture(scope="module")
def seeded(world, settings, tmp_path_factory):
    """The folder of a run with two more seeds; not to be written to."""
    out = tmp_path_factory.mktemp("stability") / "run"
    assert world.run(out, *UNTIL, **settings) == 0
    return out


@pytest.fixture(scope="module")
def stability(seeded):
    return glossae.open_run(seeded).results.stability


def results(folder):
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def test_each_seed_is_trained_and_tested_by_itself(seeded, stability):
    assert [row.seed for row in stability.seeds] == [1, 2]
    saes = [read_sae(seeded / place) for place in ("sae", "stability/seed_1", "stability/seed_2")]
    assert all(sae.config == saes[0].config for sae in saes)
    assert not any(torch.equal(sae.W_dec, saes[0].W_dec) for sae in saes[1:])
    assert not torch.equal(saes[1].W_dec, saes[2].W_dec)
    frozen = testing.load_frozen(seeded / "evidence" / "latents.json")
    assert (stability.found, stability.claim) == (len(frozen.units), "Danish")
    for row in stability.seeds:
        other = testing.load_frozen(seeded / "stability" / f"seed_{row.seed}" / "latents.json")
        assert row.found == len(other.units)
        # the same test on the same text
        assert (other.text, other.minimum, other.q) == (frozen.text, frozen.minimum, frozen.q)
        assert other.identity != frozen.identity
    assert not list((seeded / "stability").rglob("checkpoints"))


def test_every_seed_reads_the_same_text(seeded):
    logs = [pd.read_parquet(seeded / place / "log.parquet") for place in ("sae", "stability/seed_1")]
    assert logs[0]["tokens"].tolist() == logs[1]["tokens"].tolist()
    # in another order, and from other weights
    assert logs[0]["mse"].tolist() != logs[1]["mse"].tolist()


def test_shares_are_those_of_the_table(seeded, stability):
    table = pd.read_parquet(seeded / "stability" / "units.parquet")
    found = testing.load_frozen(seeded / "evidence" / "latents.json").units
    assert found
    for row in stability.seeds:
        own = table[table["seed"] == row.seed]
        assert own["unit"].tolist() == list(found)
        assert own["partner"].is_unique
        selected, firing = row.selected, row.firing
        assert selected.of == len(found) <= stability.of
        assert 0 < firing.of <= stability.of
        near = (own["partner_cosine"] >= 0.7) & (own["partner_correlation"] >= 0.7)
        assert own["again"].tolist() == near.tolist()
        assert selected.one_to_one == near.mean()
        assert selected.correlation == (own["correlate_correlation"] >= 0.7).mean()
        assert selected.partner_found == own["partner_found"].mean()
        assert selected.correlate_found == own["correlate_found"].mean()
        assert selected.both >= selected.one_to_one
        for shares in (selected, firing):
            assert shares.both <= min(shares.cosine, shares.correlation)
    first = stability.units[0]
    assert (first.unit, len(first.seeds)) == (found[0], 2)
    assert (table["correlate_correlation"] >= table["partner_correlation"]).all()
    assert np.isfinite(table.select_dtypes("number").to_numpy()).all()


def test_a_finished_seed_is_not_trained_again(world, seeded, stability, settings, tmp_path, monkeypatch):
    out = shutil.copytree(seeded, tmp_path / "run")
    trained = []
    train = stage.train_autoencoder

    def told(context, folder, *rest):
        trained.append(folder)
        return train(context, folder, *rest)

    monkeypatch.setattr(stage, "train_autoencoder", told)
    assert world.run(out, *UNTIL, **settings) == 0
    assert trained == []
    # a seed more, and one whose training was not finished
    (out / "stability" / "seed_1" / "trained.json").unlink()
    (out / "stability" / "seed_1" / f"{TEMPORARY}sae.safetensors.x1.safetensors").write_bytes(b"0" * 64)
    assert world.run(out, *UNTIL, **settings | {"evidence__seeds": 3}) == 0
    assert trained == ["stability/seed_1", "stability/seed_3"]
    again = glossae.open_run(out).results.stability
    assert again.seeds[:2] == stability.seeds
    assert len(again.seeds) == 3
    assert not list((out / "stability").rglob(".*"))
    # other settings of the autoencoder are other trainings
    trained.clear()
    assert world.run(out, *UNTIL, **settings | {"evidence__seeds": 1, "sae__k": 3}) == 0
    assert trained == ["stability/seed_1"]


def test_the_stages_around_it_stand(world, seeded, settings, tmp_path, capsys):
    out = shutil.copytree(seeded, tmp_path / "run")
    line = [word for word in world.line(out, **settings | {"evidence__seeds": 0}) if word != "--quiet"]
    assert glossae.cli.main([*line, "--until", "evidence"]) == 0
    assert "evidence: done before, kept" in capsys.readouterr().err
    assert results(out)["stability"] is None


def test_the_page_and_the_terminal_say_so(world, seeded, stability, settings, tmp_path, capsys):
    page = (seeded / "report.html").read_text(encoding="utf-8")
    assert "Other seeds" in page
    out = shutil.copytree(seeded, tmp_path / "run")
    assert glossae.cli.main([*world.line(out, **settings), *UNTIL]) == 0
    said = capsys.readouterr().out
    assert f"stability seed 1: {stability.seeds[0].found} Danish" in said


def test_too_little_text_trains_nothing(world, tmp_path):
    out = tmp_path / "run"
    small = {"layer": 1, "probe__tokens": 400, "probe__seeds": 1, "evidence__seeds": 1}
    assert world.run(out, *UNTIL, **small) == 0
    assert set(results(out)["stability"]) == {"reason"}
    assert "too few" in results(out)["stability"]["reason"]
    assert not (out / "stability" / "seed_1").exists()


def test_a_given_autoencoder_has_no_other_seeds(world, seeded, settings, tmp_path, capsys):
    changes = settings | {"sae__from": seeded / "sae", "sae__latents": None, "sae__k": None}
    assert world.run(tmp_path / "run", *UNTIL, **changes) == 2
    said = capsys.readouterr().err
    assert said.startswith("glossae: --evidence.seeds: needs an autoencoder that is trained here")
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()
