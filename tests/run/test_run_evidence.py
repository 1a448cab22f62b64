"""The stage that tests units, through the command line: on a panel, again on other text, and what it refuses."""

import json
from pathlib import Path

import pandas as pd
import pytest

from sprog.features import testing
from sprog.toy import sentences

CODES = ("da", "en", "sv", "de")
SMALL = {
    "layer": 1,
    "probe__tokens": 400,
    "probe__seeds": 1,
    "languages__others": "sv,de",
    # a random model's units hardly tell close languages apart
    "evidence__minimum": 0.5,
    "evidence__method": "studentised",
    "evidence__permutations": 50,
    # once, in the run that is looked at
    "evidence__identify": "false",
}

IDENTIFY = {
    "evidence__identify": "true",
    "evidence__identify_units": "4",
    "evidence__identify_languages": "da,en,nl",
}


def write_panel(path: Path, pairs: list[dict[str, str]]) -> Path:
    """Aligned columns."""
    lines = ["\t".join(CODES), *("\t".join(pair[code] for code in CODES) for pair in pairs)]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def panels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("panels")
    made = sentences(1500, seed=11)
    return {
        "corpora__panel": write_panel(folder / "panel.tsv", made[:900]),
        "corpora__replicate": write_panel(folder / "replicate.tsv", made[900:]),
    }


@pytest.fixture(scope="module")
def tested(world, panels, tmp_path_factory):
    """The folder of a run with units by the tests; not to be written to."""
    out = tmp_path_factory.mktemp("evidence") / "run"
    assert world.run(out, **SMALL | panels | IDENTIFY, features__rule="tested") == 0
    return out


@pytest.fixture(scope="module")
def results(tested):
    return json.loads((tested / "results.json").read_text(encoding="utf-8"))


def test_every_kind_of_unit_is_tested_for_every_claim(results):
    evidence = results["evidence"]
    assert evidence["reason"] is None
    assert {(row["kind"], row["claim"]) for row in evidence["claims"]} == {
        (kind, claim)
        for kind in ("latent", "neuron", "direction")
        for claim in ("Danish", "Scandinavian", "Germanic", "non-English")
        if claim != "Germanic"
    }
    found = {row["kind"]: row["units"] for row in evidence["claims"] if row["claim"] == "Danish"}
    assert found["neuron"] > 0
    assert found["latent"] > 0
    for row in evidence["units"]:
        assert set(row["auroc"]) == {"en", "sv", "de"}
        assert row["selected"] == (row["q"]["Danish"] <= 0.05)
    directions = [row["label"] for row in evidence["units"] if row["kind"] == "direction"]
    assert {"difference of means", "discriminant", "probe", "random 0"} <= set(directions)


def test_what_is_found_is_frozen_and_tested_again(tested, results):
    frozen = testing.load_frozen(tested / "evidence" / "neurons.json")
    again = {(row["kind"], row["on"]): row for row in results["evidence"]["replication"]}
    for place in ("held_out", "replicate"):
        row = again["neuron", place]
        assert row["units"] == len(frozen.units)
        assert row["share"] == row["passed"] / row["units"]
        assert row["low"] <= row["share"] <= row["high"]
    # the halves share no sentence, so the found half's hash is not the held-out one's
    sizes = results["evidence"]["panels"][0]["sentences"]
    assert all(abs(found - held) <= 1 for found, held in sizes.values())


def test_labels_dealt_out_anew_are_as_rare_as_they_should_be(results):
    shares = [row["share"] for row in results["evidence"]["calibration"] if row["alpha"] == 0.05]
    assert shares
    assert 0.03 < sum(shares) / len(shares) < 0.07


def test_the_table_has_every_unit(tested, results):
    table = pd.read_parquet(tested / "evidence" / "units.parquet")
    of = {row["kind"]: row["of"] for row in results["evidence"]["claims"]}
    assert table.groupby("kind").size().to_dict() == of


def test_the_selected_units_are_those_that_pass(tested, results):
    frozen = testing.load_frozen(tested / "evidence" / "latents.json")
    features = results["features"]
    assert frozen.units
    assert features["rule"] == "tested"
    assert [row["unit"] for row in features["da"]] == list(frozen.units[:20])
    assert all(row["q_value"] <= 0.05 for row in features["da"])
    assert all(row["q_value"] is not None for row in features["nearest"])


def test_the_page_says_so(tested):
    page = (tested / "report.html").read_text(encoding="utf-8")
    assert "pass as Danish: told from German, English and Swedish, each by itself." in page


def test_languages_are_told_apart_on_text_that_nothing_was_fitted_to(results, tested):
    rows = results["evidence"]["identification"]
    told = {
        (" ".join(row["set"]), row["on"], row["level"], row["by"], row["how"]): row
        for row in rows
        if row["reason"] is None
    }
    assert {key[:2] for key in told} == {
        (languages, on)
        for languages in ("da en", "da de en sv", "da sv", "da de")
        for on in ("held_out", "replicate")
    }
    ways = {key[2:] for key in told}
    assert len(ways) == 4 + 2 + 2 + 3
    assert len(told) == 8 * len(ways)
    for row in told.values():
        # letters say it; a random model's units need only beat a guess
        guess = 1 / len(row["set"])
        assert row["accuracy"] > (0.9 if (row["level"], row["by"]) == ("sentence", "ngram") else guess)
        assert row["accuracy_interval"][0] <= row["accuracy"] <= row["accuracy_interval"][1]
        assert sum(map(sum, row["confusion"])) == row["rows"]
        by_units = row["by"] in ("latent", "neuron")
        assert (row["per_language"] == 4) == by_units == bool(row["units"])
        if by_units:
            assert all(len(units) == 4 for units in row["units"].values())
    size = results["evidence"]["panels"][0]["sentences"]["da"][1]
    assert sum(told["da en", "held_out", "sentence", "latent", "regression"]["confusion"][0]) == size
    page = (tested / "report.html").read_text(encoding="utf-8")
    assert "Confusion of tokens" in page
    assert "Danish, English and Dutch were not told apart: nl has 0 sentences to fit to" in page


def test_again_it_is_the_same_and_kept(world, panels, tested, results, tmp_path, capsys, no_page):
    again = tmp_path / "again"
    assert world.run(again, "--until", "evidence", **SMALL, **panels) == 0
    found = json.loads((again / "results.json").read_text(encoding="utf-8"))["evidence"]
    assert found | {"identification": results["evidence"]["identification"]} == results["evidence"]
    capsys.readouterr()
    assert world.run(again, "--until", "evidence", **SMALL, **panels) == 0
    assert (again / "run.json").is_file()


def test_too_little_text_is_no_failure_unless_it_was_given_for_this(world, tmp_path, capsys, no_page):
    out = tmp_path / "out"
    assert world.run(out, "--until", "features", layer=1, probe__tokens=400, probe__seeds=1) == 0
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert "too few" in results["evidence"]["reason"]
    assert all(row["q_value"] is None for row in results["features"]["nearest"])
    few = {
        "corpora__panel": write_panel(tmp_path / "few.tsv", sentences(20, seed=12)),
        "evidence__minimum": 0.8,
    }
    assert world.run(tmp_path / "two", "--until", "evidence", **SMALL | few) == 2
    assert "sentences are too few" in capsys.readouterr().err


def test_one_text_as_two_languages_is_refused(world, tmp_path, capsys, no_page):
    rows = [pair["da"] for pair in sentences(60, seed=12)]
    path = tmp_path / "both.txt"
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    spec = f"da={path} en={path}"
    assert world.run(tmp_path / "out", "--until", "evidence", **SMALL, corpora__panel=spec) == 2
    *_, error = capsys.readouterr().err.splitlines()
    assert error.startswith("sprog: corpora.panel: ")
