"""The stage that tests units, through the command line: on a panel, again on other text, and what it refuses."""

import json
import shutil
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from glossae.evidence import testing
from toy_grammar import sentences

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
    made = sentences(720, seed=11)
    return {
        "corpora__panel": write_panel(folder / "panel.tsv", made[:480]),
        "corpora__replicate": write_panel(folder / "replicate.tsv", made[480:]),
    }


@pytest.fixture(scope="module")
def tested(world, panels, tmp_path_factory):
    """The folder of a run with units by the tests; not to be written to."""
    out = tmp_path_factory.mktemp("evidence") / "run"
    assert world.run(out, **SMALL | panels | IDENTIFY, features__rule="tested", effects__sweep="false") == 0
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
    replication = results["evidence"]["replication"]
    again = {(row["kind"], row["on"]): row for row in replication if row["tokens"] == 1}
    for place in ("held_out", "replicate"):
        row = again["neuron", place]
        assert row["units"] == len(frozen.units)
        assert row["share"] == row["passed"] / row["units"]
        assert row["low"] <= row["share"] <= row["high"]
    # a longer text tells more
    longer = [row for row in replication if row["tokens"] == 32 and row["kind"] == "neuron"]
    assert [row["on"] for row in longer] == ["held_out", "replicate"]
    assert all(row["share"] >= again["neuron", row["on"]]["share"] for row in longer)
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
    assert [row["unit"] for row in features["units"]] == list(frozen.units[:20])
    assert all(row["q_value"] <= 0.05 for row in features["units"])
    assert all(row["q_value"] is not None for row in features["nearest"])


def test_the_page_says_so(tested):
    page = (tested / "report.html").read_text(encoding="utf-8")
    assert "latents pass as Danish, told from German, English and Swedish (false discovery rate 5" in page
    assert "Every language over every other, neurons, the half held out" in page
    assert "Matched on tokenisation, latents, the other text" in page
    assert "<strong>Claims on matched sentences" in page
    assert "The random-token filter (LangFIR, arXiv 2604.03532) throws out" in page


def test_every_language_is_set_over_every_other_by_the_selected_set(results):
    evidence = results["evidence"]
    assert {(row["kind"], row["on"]) for row in evidence["matrix"]} == {
        (kind, on)
        for kind in {row["kind"] for row in evidence["units"] if row["selected"]}
        for on in ("held_out", "replicate")
    }
    for row in evidence["matrix"]:
        auroc = np.array(row["auroc"])
        assert row["languages"] == sorted(CODES)
        np.testing.assert_allclose(auroc + auroc.T, 1)
        others = ~np.eye(len(CODES), dtype=bool)
        low, high = (np.array(row[end], dtype=float) for end in ("low", "high"))
        assert np.isnan(low.diagonal()).all()
        assert ((low < auroc) & (auroc < high))[others].all()
    (neurons,) = [row for row in evidence["matrix"] if (row["kind"], row["on"]) == ("neuron", "held_out")]
    danish = neurons["languages"].index("da")
    # together they are Danish over every other language, on text that they were not found on
    assert all(low > 0.5 for place, low in enumerate(neurons["low"][danish]) if place != danish)


def test_sentences_are_matched_on_tokenisation_and_the_claim_is_tested_on_them(results):
    evidence = results["evidence"]
    kinds = {row["kind"] for row in evidence["matrix"]}
    assert {(row["kind"], row["on"], row["other"]) for row in evidence["matched"]} == {
        (kind, on, other)
        for kind in kinds
        for on in ("held_out", "replicate")
        for other in ("en", "sv", "de")
    }
    for row in evidence["matched"]:
        assert 2 < row["matched"] <= min(row["found"])
        assert max(abs(apart) for apart in row["after"].values()) < 0.1
        # what was read of every unit on the held-out half is what the test there has
        if row["on"] == "held_out" and min(row["found"]) < 4000:
            for unit in row["units"]:
                (known,) = [
                    each
                    for each in evidence["units"]
                    if (each["kind"], each["unit"]) == (row["kind"], unit["unit"])
                ]
                assert unit["all"][0] == pytest.approx(known["again"]["held_out"]["auroc"][row["other"]])
    replication = [row for row in evidence["replication"] if row["tokens"] == 1]
    passed = {(row["kind"], row["on"]): row["passed"] for row in replication}
    for row in evidence["matched_claims"]:
        assert row["outside"] == ["de", "en", "sv"]
        assert row["left_out"] == {}
        assert row["passed"] == passed[row["kind"], row["on"]]
        assert max(row["passed_matched"], row["passed_as_many"]) <= row["units"]
        # a claim holds where it holds against each language, but for the correction over the set
        for other in evidence["matched"]:
            if (other["kind"], other["on"]) == (row["kind"], row["on"]):
                assert other["passed"]["all"] >= row["passed"]


def test_doubtful_sentences_are_counted_by_pair_of_languages(results):
    for panel in results["evidence"]["panels"]:
        assert [tuple(pair["languages"]) for pair in panel["doubtful"]] == list(
            combinations(sorted(CODES), 2)
        )
        for pair in panel["doubtful"]:
            assert all(pair["doubtful"][code] <= pair["sentences"][code] for code in pair["languages"])
    for row in results["evidence"]["unambiguous"]:
        assert sum(row["left_out"].values()) > 0
        assert 0 <= row["without"][0] <= 1


def test_the_models_own_scores_are_among_those_compared(results):
    scores = results["evidence"]["scores"]
    assert {"attribution", "random_tokens"} <= set(scores["names"])
    assert len(scores["names"]) == 16
    assert set(scores["attributed"]) == set(CODES)
    found = scores["random_tokens"]
    assert found["tokens"] >= 2000
    frozen = [
        row["unit"] for row in results["evidence"]["units"] if row["kind"] == "latent" and row["selected"]
    ]
    assert [row["unit"] for row in found["units"]] == frozen[:40]
    for row in found["units"]:
        assert row["on_random"] == (row["random_rate"] > 0.05)
        assert row["kept"] == (row["rate"] >= 0.5 and not row["on_random"])


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
    assert "<strong>Not told apart" in page
    assert "nl has 0 sentences to fit to" in page


def test_again_it_is_the_same_and_kept(world, panels, tested, results, tmp_path, capsys):
    again = tmp_path / "again"
    assert world.run(again, "--until", "evidence", **SMALL, **panels) == 0
    found = json.loads((again / "results.json").read_text(encoding="utf-8"))["evidence"]
    assert found | {"identification": results["evidence"]["identification"]} == results["evidence"]
    capsys.readouterr()
    assert world.run(again, "--until", "evidence", **SMALL, **panels) == 0
    assert (again / "run.json").is_file()


def test_too_little_text_is_no_failure_unless_it_was_given_for_this(world, tmp_path, capsys):
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
    # 64 coordinates: 0.8^33 is the first power under 0.05 / 64, and half of the text is searched
    # before it stand notes of what the first run could not measure
    *_, line = capsys.readouterr().err.splitlines()
    assert line == (
        "glossae: corpora.panel: 20 sentences of da are too few for a test of 64 units at q 0.05, which takes at least "
        "66 (132 where they are translations of the others): no unit can be tested"
    )
    assert not (tmp_path / "two").exists()


def test_a_language_with_too_few_sentences_is_named_before_any_work_and_left_out(world, tmp_path, capsys):
    made = sentences(140, seed=12)
    pair = tmp_path / "pair.tsv"
    pair.write_text("da\ten\n" + "".join(f"{row['da']}\t{row['en']}\n" for row in made), encoding="utf-8")
    swedish = tmp_path / "swedish.txt"
    swedish.write_text("".join(f"{row['sv']}\n" for row in made[:12]), encoding="utf-8")
    changes = SMALL | {"evidence__permutations": 0, "corpora__panel": f"{pair} sv={swedish}"}
    assert world.run(tmp_path / "out", "--until", "evidence", **changes) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("panel: ")]
    assert said == [
        "panel: 12 sentences of sv are too few for a test of 64 units at q 0.05, which takes at least 22 (44 where "
        "they are translations of the others): not tested against sv"
    ]
    evidence = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))["evidence"]
    assert evidence["reason"] is None
    assert {tuple(row["outside"]) for row in evidence["claims"]} == {("en",)}
    assert evidence["panels"][0]["too_few"] == {"sv": 12}


def test_one_text_as_two_languages_is_refused(world, tmp_path, capsys):
    rows = [pair["da"] for pair in sentences(60, seed=12)]
    path = tmp_path / "both.txt"
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    spec = f"da={path} en={path}"
    assert world.run(tmp_path / "out", "--until", "evidence", **SMALL, corpora__panel=spec) == 2
    *_, error = capsys.readouterr().err.splitlines()
    assert error.startswith("glossae: corpora.panel: ")


def test_one_text_in_two_roles_is_refused(world, panels, tmp_path, capsys):
    panel = panels["corpora__panel"]

    def refused(**changes):
        capsys.readouterr()
        assert world.run(tmp_path / "out", "--until", "evidence", **SMALL | changes) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert not (tmp_path / "out").exists()
        return line

    copy = shutil.copy(panel, tmp_path / "copy.tsv")
    assert refused(corpora__panel=panel, corpora__replicate=panel).startswith(
        "glossae: corpora.replicate: all 1920 sentences of panel.tsv are in corpora.panel already: "
    )
    # the same text under another name, beside text that is other
    both = f"{copy} {panels['corpora__replicate']}"
    assert refused(corpora__panel=panel, corpora__replicate=both).startswith(
        "glossae: corpora.replicate: all 1920 sentences of copy.tsv are in corpora.panel already: "
    )
    assert refused(corpora__panel=world.texts["tsv"]).startswith(
        "glossae: corpora.panel: all 180 sentences of talks.tsv are in corpora.train and "
    )


def test_a_sentence_in_an_earlier_role_is_dropped_and_counted(world, panels, tmp_path):
    lines = panels["corpora__panel"].read_text(encoding="utf-8").splitlines(keepends=True)
    path = tmp_path / "again.tsv"
    other = panels["corpora__replicate"].read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([*lines[:6], *other[1:]]), encoding="utf-8")
    roles = {"corpora__panel": panels["corpora__panel"], "corpora__replicate": path}
    assert world.run(tmp_path / "out", "--until", "corpora", **SMALL, **roles) == 0
    rows = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))["corpora"]
    dropped = {row["language"]: row["dropped"] for row in rows if row["role"] == "replicate"}
    assert dropped["da"]["in_earlier_role"] == 5


def test_one_text_as_two_languages_is_refused_where_it_is_to_be_tested_again(world, panels, tmp_path, capsys):
    path = tmp_path / "both.txt"
    path.write_text("".join(f"{pair['da']}\n" for pair in sentences(60, seed=13)), encoding="utf-8")
    roles = {"corpora__panel": panels["corpora__panel"], "corpora__replicate": f"da={path} en={path}"}
    assert world.run(tmp_path / "out", "--until", "evidence", **SMALL, **roles) == 2
    *_, error = capsys.readouterr().err.splitlines()
    assert error.startswith("glossae: corpora.replicate: ")
    assert "one text was given for two languages" in error
