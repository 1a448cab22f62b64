"""Sections show the numbers of the results, and say where something was not measured or contradicts."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
from fabricated_run import (
    PUBLISHED,
    change_results,
    evidence,
    fabricate,
    filled,
    replayed,
    results_of,
    row,
    tables,
)

from glossae.paper.published import published_figures
from glossae.recipe import Corpora, Languages, Recipe, SaeSettings
from glossae.reporting.exhibits import Exhibit, Missing, Note
from glossae.reporting.first import dose_response
from glossae.reporting.page import contents
from glossae.reporting.reading import RunFiles, read_run
from glossae.reporting.sections.effects import effects, selectivity
from glossae.reporting.sections.evidence import close, identification
from glossae.reporting.sections.evidence import evidence as units_tested
from glossae.reporting.sections.grid import (
    comparisons,
    direction,
    grid,
    outdone,
    rank_correlation,
    same_cells,
)
from glossae.reporting.sections.inputs import autoencoder, how
from glossae.reporting.sections.layers import probes
from glossae.reporting.sections.units import rates
from glossae.reporting.sections.writing import steering, tasks
from glossae.results import (
    GridCell,
    LossCell,
    NextToken,
    PaperCell,
    SerialCorrelation,
    SideEffect,
    StageResults,
    SteeredFamily,
    SteeringResult,
    SweptSet,
    TaskScore,
)
from recorded import record

Section = Callable[[RunFiles], Iterator[Exhibit]]


def shown(section: Section, **results: Any) -> dict[str, list[dict[str, str]]]:
    """The tables of a section from results alone."""
    return tables(section(made(**results)))


def made(ambiguous: str = "keep", **results: Any) -> RunFiles:
    recipe = Recipe(
        name="made",
        model="tiny",
        languages=Languages(others=("sv",)),
        corpora=Corpora(train="toy"),
        sae=SaeSettings(latents=8, k=4),
    )
    recipe = recipe.model_copy(
        update={"evidence": recipe.evidence.model_copy(update={"ambiguous": ambiguous})}
    )
    return RunFiles(recipe, results=StageResults(**results))


def changed(folder: Path, **sections: Any) -> RunFiles:
    change_results(folder, **sections)
    return read_run(folder)


# ---- probes


def test_collapsed_probes_are_marked_and_their_accuracy_stands_in_no_table(tmp_path: Path) -> None:
    files = read_run(fabricate(tmp_path, until="probe"))
    (drawn, *_) = probes(files)
    expected = [penalty >= critical for critical in (0.6, 1.5, 2.4, 3.3) for penalty in (0.1, 1.0, 10.0)]
    assert drawn.numbers["collapsed"].tolist() == expected
    left = tables(probes(files))["What the penalty leaves"]
    assert [line["Layers with weights"] for line in left] == ["4 of 4", "3 of 4", "0 of 4"]
    assert left[2]["Accuracy where there are weights"] == "–"
    caption = {figure.name: figure.caption for figure in contents(files).figures}["layer-choice"]
    assert "Seeds agree on the order of layers to a rank correlation of 0.80." in caption


def test_the_replay_counts_probes_whose_optimum_is_zero(tmp_path: Path) -> None:
    probe = results_of(fabricate(tmp_path, until="probe"))["probe"]
    agreement = [row("model scores lambda spearman seeds", "models/tiny", "as_coded", 10.0, -0.15, 3)]
    rows = replayed("models/tiny") + replayed("models/other")
    files = changed(tmp_path, probe=probe | {"as_coded": rows, "agreement": agreement})
    lines = tables(probes(files))["Replayed probes by lambda"]
    # another model has a panel and no row
    assert [line["Optimum zero"] for line in lines] == ["0 of 4", "4 of 4", "4 of 4"]
    assert lines[2] == {
        **row("Lambda", "10"),
        **{"Optimum zero": "4 of 4", "Norm of the optimum": "0", "Norm as coded": "0.0034"},
        **{
            "Accuracy as coded": "31.0 % to 91.3 %",
            "Constant answer": "52.3 %",
            "Rank correlation": "-0.150",
        },
    }
    figure = {one.name: one for one in probes(files) if hasattr(one, "panels")}["probes-as-coded"]
    assert [panel.title for panel in figure.panels] == ["models/tiny", "models/other"]


# ---- the grid

PAPER = published_figures().grid.cells


def cell(activation: str, size: float, tied: bool, bias: bool, *measured: float) -> GridCell:
    """A cell with its mean squared error, L0 and latents active in a batch."""
    k, l1 = (size, None) if activation == "topk" else (None, size)
    own = row("activation tied pre_encoder_bias k l1", activation, tied, bias, k, l1)
    return GridCell(
        **own, **row("mse l0 active_per_batch", *measured), fvu={}, l0_select=0.0, dead_fraction=0.0
    )


def test_the_papers_numbers_are_where_they_belong() -> None:
    at_k_30 = {(c.tied, c.pre_encoder_bias): c.active_per_batch for c in PAPER if c.k == 30}
    assert at_k_30 == {(True, True): 763, (True, False): 810, (False, True): 482, (False, False): 560}
    assert [c.l0 for c in PAPER if c.l1 == 0.0005] == [35.2, 35.7, 146, 155]
    assert [c.mse for c in PAPER if c.l1 == 0.005] == [0.0646, 0.0767, 0.0424, 0.0401]
    assert [c.mse for c in PAPER if c.k == 2] == [0.0239, 0.0236, 0.0216, 0.0212]


def test_comparisons_are_of_pairs_that_differ_in_one_thing() -> None:
    cells = [
        cell("topk", 4, False, True, 0.2, 4, 10),
        cell("topk", 4, True, True, 0.3, 4, 30),
        cell("topk", 8, False, True, 0.1, 8, 20),
        cell("topk", 8, True, True, 0.1, 8, 40),
        # fires nowhere: nothing is so many times as much
        cell("relu", 0.1, False, True, 0.5, 0, 0),
        cell("relu", 0.1, True, True, 0.4, 2, 6),
    ]
    assert {key: (ratios[0], direction(ratios)) for key, ratios in comparisons(cells).items()} == {
        ("tied", "TopK, k below 8", "mse"): (pytest.approx(1.5), 1),
        ("tied", "TopK, k below 8", "active_per_batch"): (pytest.approx(3), 1),
        ("tied", "TopK, k 8 and more", "mse"): (pytest.approx(1), 0),
        ("tied", "TopK, k 8 and more", "active_per_batch"): (pytest.approx(2), 1),
        ("tied", "ReLU", "mse"): (pytest.approx(0.8), -1),
    }
    assert comparisons(cells[:1]) == {}
    assert outdone([*cells[:1], cell("relu", 0.1, False, True, 0.2, 4, 10)], "relu", "topk") == (1, 1)


def test_rank_correlation_is_of_order() -> None:
    def other(cell: PaperCell, mse: float) -> PaperCell:
        return cell.model_copy(update={"mse": mse})

    pairs = same_cells([other(c, c.mse**2) for c in PAPER], PAPER)
    assert len(pairs) == 48
    assert rank_correlation(pairs, "mse") == pytest.approx(1)
    assert rank_correlation([(own, other(o, -o.mse)) for own, o in pairs], "mse") == pytest.approx(-1)
    assert rank_correlation(pairs[:1], "mse") is None
    assert rank_correlation([(own, other(o, 1.0)) for own, o in pairs], "mse") is None


def test_the_papers_grid_stands_beside_the_runs(tmp_path: Path) -> None:
    files = read_run(fabricate(tmp_path / "paper", "published", until="grid"))
    (figure, *_) = grid(files)
    assert [panel.title for panel in figure.panels] == ["This run"] * 2 + ["The paper"] * 2
    assert figure.numbers["paper_mse"].tolist() == [c["mse"] for c in PUBLISHED["grid"]["cells"]]
    assert figure.numbers["chosen"].sum() == 1
    found = tables(grid(files))
    assert [line["Chosen"] for line in found["The choice"]] == ["grid choice", "the paper's choice"]
    assert found["The choice"][1]["Kind"] == "TopK, separate, bias"
    assert found["The grid as a whole"][0]["The paper's numbers"] == "13 of 24"
    assert found["Appendix A: every autoencoder"][0]["Error|paper"] == "0.0239"
    # another recipe's stands alone, also where nothing fires
    alone = fabricate(tmp_path / "alone", until="grid")
    own = results_of(alone)["grid"]
    dead = [c | {"l0": 0.0, "active_per_batch": 0.0, "mse": 0.0} for c in own["cells"] if c["l1"]]
    files = changed(alone, grid=own | {"cells": dead, "pareto": [], "chosen": own["chosen"] | {"cell": 0}})
    (figure, *_) = grid(files)
    assert len(figure.panels) == len(figure.inline()) - 1 == 2
    assert not [name for name in figure.numbers.columns if name.startswith("paper")]


# ---- autoencoder, units, effects


def test_the_cost_of_spliced_sinks_has_a_table(tmp_path: Path) -> None:
    files = read_run(fabricate(tmp_path, until="sae"))
    assert "Attention sinks spliced" not in tables(autoencoder(files))
    losses = row("raw spliced left_alone half_width sentences tokens", 4.1, 8.9, 4.5, 0.25, 256, 4000)
    files = changed(tmp_path, sae=results_of(tmp_path)["sae"] | {"sinks": {"en": losses}})
    (line,) = tables(autoencoder(files))["Attention sinks spliced"]
    assert list(line.values()) == ["English", "256", "4.100", "8.900", "4.500", "4.400", "0.250"]


@pytest.mark.parametrize(("ranks", "shown"), [(1, []), (2, ["2"])])
def test_the_number_of_ranks_is_shown_where_there_are_several(ranks: int, shown: list[str]) -> None:
    under = {"torch": "2.9.0", "ranks": ranks}
    # a stage of before ranks were recorded, and one of another number
    stages = {"probe": {"made_under": {"torch": "2.9.0"}}, "sae": {"made_under": under | {"ranks": 3}}}
    run = replace(made(), run={"made_under": under, "stages": stages})
    facts = {row["What"]: row["In this run"] for row in tables(how(run))["Surroundings"]}
    assert [value for what, value in facts.items() if "(ranks)" in what] == shown
    assert facts["Stages made with another"] == "sae (ranks 3)"


def test_latents_that_pass_are_counted_trained_and_untrained(tmp_path: Path) -> None:
    files = read_run(fabricate(tmp_path))
    lines = tables(rates(files))["Trained and untrained"]
    assert [line["Autoencoder"] for line in lines] == ["trained", *(f"untrained, seed {n}" for n in range(3))]
    assert {line["Latents that pass"] for line in lines} == {"3"}


def test_correlated_sentences_are_warned_of_by_source(tmp_path: Path) -> None:
    next_token = results_of(fabricate(tmp_path))["next_token"]

    def notes(*rows: tuple[str, float, float]) -> list[str]:
        own = [
            filled(
                SerialCorrelation, text="test", source=s, language="da", edit="zero", q=q, inflation=i
            ).to_json()
            for s, q, i in rows
        ]
        exhibits = list(effects(changed(tmp_path, next_token=next_token | {"serial_correlation": own})))
        assert len(tables(exhibits)["Correlation of consecutive sentences"]) == len(rows)
        return [one.text for one in exhibits if isinstance(one, Note)]

    (warned,) = notes(("talks.tsv", 0.01, 2.25), ("news.tsv", 0.4, 1.8))
    assert "talks.tsv, Danish: 1.5 times as wide" in warned
    assert "news.tsv" not in warned
    assert notes(("news.tsv", 0.4, 1.8)) == []


def test_families_are_compared_at_the_same_damage(tmp_path: Path) -> None:
    next_token = results_of(fabricate(tmp_path))["next_token"]
    own = [found for found in next_token["selectivity"] if not found["splice"]]
    more = [
        found | {"units": "best neurons", "kind": "neuron", "ratio_per_byte_least": None} for found in own
    ]
    ends = row("kl kl_low kl_high agreement agreement_low agreement_high", 0.01, 0.0, 0.02, 0.9, 0.85, 0.95)
    moved = row("units kind edit at reached change", "da", "latent", "set", 0.3, True, 0.2) | ends
    sets = {
        "sets": [filled(SweptSet).to_json()] * 2,
        "selectivity": next_token["selectivity"] + more,
        "side_effects": [filled(SideEffect, **moved).to_json()],
    }
    zero = [c | {"edit": "zero"} for c in next_token["cells"] if c["edit"] == "set" and c["value"] == 0]
    files = changed(tmp_path, next_token=next_token | sets | {"cells": next_token["cells"] + zero})
    found = tables(selectivity(files))
    lines = found["Families side by side"]
    assert [line["Units"] for line in lines] == ["selected (Danish)"] * 2 + ["best neurons"] * 2
    # where the other's loss does not rise, there is a one-sided limit at most
    assert [line["Ratio"] for line in lines] == ["–"] * 4
    assert [line["Ratio|at least"] for line in lines] == ["30.0", "30.0", "–", "–"]
    assert found["Side effects on English"][0]["KL"] == "0.0100 / 0.0000 to 0.0200"
    assert found["Every set on every language"][0]["Units"] == "selected (Danish)"
    (figure,) = [one for one in selectivity(files) if getattr(one, "name", "") == "families"]
    assert set(figure.numbers["units"]) == {"da", "best neurons"}


# ---- tests of units, close languages, identification

MATRIX = {
    **row("kind on languages units", "latent", "held_out", ["da", "en", "sv"], 2),
    "auroc": [[0.5, 0.98, 0.9], [0.02, 0.5, 0.3], [0.1, 0.7, 0.5]],
    "low": [[None, 0.97, 0.85], [0.01, None, 0.2], [0.05, 0.65, None]],
    "high": [[None, 0.99, 0.93], [0.03, None, 0.35], [0.15, 0.8, None]],
}
MATCHED = {
    **row(
        "kind on other matched found passed reason", "latent", "held_out", "sv", 12, [500, 400], None, None
    ),
    "before": {"tokens_per_word": 1.23, "bytes_per_token": -0.5},
    "after": {"tokens_per_word": 0.04, "bytes_per_token": -0.01},
    "set": {"all": [0.9, 0.85, 0.93], "matched": [0.8, None, None]},
    "units": [{"unit": 7, "label": "latent 7", "all": [0.9, 0.8, 0.95], "matched": [0.75, 0.5, 0.9]}],
}
CLAIM = row("kind on claim units outside left_out", "latent", "held_out", "Danish", 2, [], {"sv": "too few"})
CLAIM |= dict.fromkeys(("passed", "passed_matched", "passed_as_many"))
PANEL = row("role source sentences identical ambiguous too_few", "panel", None, {}, 0, {}, {})
PAIR = {"languages": ["da", "sv"], "sentences": {"da": 500, "sv": 400}, "doubtful": {"da": 5, "sv": 0}}


def test_close_languages(tmp_path: Path) -> None:
    own = row("matrix matched matched_claims", [MATRIX], [MATCHED], [CLAIM])
    found = evidence(**own | {"panels": [PANEL | {"doubtful": [PAIR]}]})
    lines = shown(close, evidence=found)
    assert lines["Every language over every other, latents, the half held out"][0] == {
        "Language": "Danish",
        "over Danish": "–",
        "over English": "0.980 / 0.970 to 0.990",
        "over Swedish": "0.900 / 0.850 to 0.930",
    }
    (line,) = lines["Matched on tokenisation, latents, the half held out"]
    apart = (line["tokens per word|before"], line["tokens per word|after"])
    assert (line["of|target"], *apart) == ("500", "+1.23", "+0.04")
    assert (line["AUROC|all"], line["AUROC|matched"]) == ("0.900 / 0.850 to 0.930", "0.800")
    assert (line["pass|matched"], line["note"]) == ("–", "–")
    (line,) = lines["Claims on matched sentences"]
    assert (line["left out"], line["all"]) == ("Swedish: too few", "–")
    (line,) = lines["Sentences that could be in either language"]
    assert list(line.values()) == ["both halves", "Danish", "Swedish", "500", "5 / 1 %"]
    for ambiguous, fate in (("keep", "are kept"), ("drop", "are set aside")):
        exhibits = close(made(ambiguous, evidence=found))
        facts = [one.facts for one in exhibits if getattr(one, "label", "").startswith("Sentences that")]
        assert facts[0]["fate"].startswith(fate)
    (alone,) = close(made(evidence=evidence()))
    assert alone == Missing("close languages", "no set of units was selected by a test", "evidence")


def test_tests_of_units_and_other_seeds() -> None:
    random = row("max_random min_rate tokens units", 0.01, 0.02, 5000, [])
    units = [(4, True, False, 0.4, 0.001), (5, False, True, 0.4, 0.1)]
    random["units"] = [row("unit kept on_random rate random_rate", *unit) for unit in units]
    scores = row("compared names spearman shared top attributed random_tokens", 0, [], [], [], 0, {}, random)
    shares = row("of cosine correlation both", 12, 0.5, 0.4, 0.3)
    more = row("one_to_one partner_found correlate_found again_and_found", 0.2, 0.5, 0.4, 0.1)
    seeds = [
        row("seed found of", n, 4, 64) | {"selected": shares | more | {"both": 0.1 * n}, "firing": shares}
        for n in (1, 2)
    ]
    names = "seed partner partner_found partner_cosine partner_correlation again"
    partners = [row(names, 1, 3, True, 0.9, 0.8, True), row(names, 2, -1, False, 0.1, 0.1, False)]
    correlate = row("correlate correlate_cosine correlate_correlation correlate_found", 3, 0.9, 0.8, True)
    names = "reason claim role same tokens found of seeds"
    stability = row(names, None, "Danish", "panel", 0.7, 9000, 1, 64, seeds)
    stability["units"] = [row("unit label seeds", 7, "latent 7", [own | correlate for own in partners])]
    found = shown(units_tested, evidence=evidence(scores=scores), stability=stability)
    assert [line["filter"] for line in found["Random tokens"]] == ["keeps", "throws out"]
    assert found["Partners"] == [
        {"Latent": "7", "seed 1": "3: 0.90 / 0.80, found", "seed 2": "–", "again in": "1"}
    ]
    lines = found["Other seeds"]
    assert [(line["latents"], line["both"]) for line in lines[:2]] == [
        ("Danish", "10 %"),
        ("all that fire", "30 %"),
    ]
    assert [line["one to one"] for line in lines[:2]] == ["20 %", "–"]


def test_languages_told_apart() -> None:
    names = "level set fitted_on on by how per_language macro_f1 reason converged"
    facts = {"macro_f1_interval": [0.4, 0.9], "accuracy": 0.7, "languages": ["da", "en", ""]}
    facts |= {"accuracy_interval": [0.6, 0.8], "rows": 20}
    facts |= {"confusion": [[8, 2, 0], [1, 9, 0], [0, 0, 0]], "f1": {"da": 0.8, "en": 0.9}}
    by = (
        ("latent", "regression", 1, 0.5),
        ("latent", "largest", 5, 0.4),
        ("ngram", "regression", None, 0.95),
    )
    rows = [
        row(names, "sentence", ["da", "en"], "panel", "held_out", *each, None, True) | facts for each in by
    ]
    rows.append(row("set fitted_on on reason", ["da", "is"], "panel", "held_out", "too little text"))
    found = shown(identification, evidence=evidence(identification=rows))
    lines = found["Sentences told apart, the half held out"]
    assert [line["By"] for line in lines] == [
        "1 latent a language",
        "5 latents a language, largest",
        "N-grams of characters",
    ]
    assert lines[0]["da en"] == "0.500 / 0.400 to 0.900; accuracy 70.0 %"
    assert found["Confusion of sentences"][0] == row(
        "Language Danish English none F1", "Danish", "8", "2", "0", "0.800"
    )
    assert found["Not told apart"] == [{"Languages": "Danish and Icelandic", "Why": "too little text"}]


# ---- steering


def arm(family: str = "raw", **changes: Any) -> dict[str, Any]:
    names = "family kind operation value at kl agreement on_front distinct_1 distinct_2"
    estimates = row("success success_low success_high", 0.01, 0.0, 0.03)
    estimates |= row("repetition repetition_low repetition_high", 0.1, 0.05, 0.15)
    shares = {"ngrams": {"da": 0.01, "en": 0.99}, "lingua": {"en": 1.0}, "both": {"en": 0.99}}
    own = row(names, family, None, None, None, None, 0.0, 1.0, False, 0.4, 0.7) | estimates
    own |= row("loss loss_low loss_high shares", 2.0, 1.9, 2.1, shares)
    return own | {"units": 1, "kl_low": 0.0, "kl_high": 0.0, "tokens": 20.0} | changes


def steered(**changes: Any) -> RunFiles:
    own = {"kind": "latent", "operation": "add"}
    arms = [arm(), arm("latents_add", **own, value=2.0, kl=0.04, success=0.0)]
    arms.append(arm("latents_add", **own, value=9.16, at=1.0, kl=1.002, success=0.41, on_front=True))
    names = "prompt family value at text language"
    found = {
        **{
            "arms": arms,
            "families": [filled(SteeredFamily, family="latents_add", unreached=[3.0]).to_json()],
        },
        **{"left_out": ["neurons_set"], "kl": [1.0], "kl_text": {"sentences": 200, "tokens": 5123}},
        "prompts": {"paper": 4, "test": 200, "tokens": 8},
        "identifiers": {"ngrams": ["da", "en"], "lingua": {"version": "2.1", "languages": ["da", "en"]}},
        "examples": [
            row(names, "Once", "raw", None, None, "", None),
            row(names, "Once", "latents_add", 9.16, 1.0, "så <b>", "da"),
        ],
    }
    return made(steering=SteeringResult.model_validate(found | changes))


def test_steering() -> None:
    found = tables(steering(steered()))
    assert [len(found[f"Steering at {which}"]) for which in ("the same KL", "every dose")] == [2, 2]
    line = found["Steering at the same KL"][1]
    assert (line["Family"], line["KL"], line["Dose"], line["Danish"]) == (
        *("selected latents, added", "1.00 / 0.00 to 0.00", "9.16"),
        "41 % / 0 % to 3 %",
    )
    # nothing was written in Swedish
    assert (line["Swedish"], line["English"], line["Danish|by n-grams"]) == ("0 %", "99 %", "1 %")
    assert [list(line.values()) for line in found["Families that are not compared"]] == [
        ["best neurons, set", "there are no units to steer by"],
        ["selected latents, added", "no dose has a KL of 3"],
    ]
    assert found["Examples"][0]["Continuation"] == "(nothing)"
    assert found["Examples"][1]["Identified as"] == "Danish"
    captions = [table.caption for table in contents(steered()).tables if table.key == "steering"]
    assert "two have to agree: lingua 2.1, choosing among Danish and English;" in captions[0]
    assert "They take Norwegian and Swedish for Danish" in captions[0]
    assert "the n-grams alone" not in captions[0]
    lingua = {"version": "2.1", "languages": ["da", "en", "nb"]}
    judges = steered(identifiers={"ngrams": ["da", "en", "fo", "no"], "lingua": lingua})
    captions = [table.caption for table in contents(judges).tables if table.key == "steering"]
    assert "(the n-grams alone decide on Faroese, which lingua does not know)" in captions[0]
    shares = {"shares": {"ngrams": {"da": 0.5}, "lingua": None, "both": None}}
    alone = steered(identifiers={"ngrams": ["da", "nb"], "lingua": None}, arms=[arm(**shares)])
    assert "Danish|by lingua" not in tables(steering(alone))["Steering at every dose"][0]
    # what the first screen shows of it
    assert contents(steered()).missing


# ---- loss by dose


def test_other_sets_of_the_dose_curve_have_dashes_of_their_own_and_names_at_their_ends() -> None:
    heights = {
        **{"da": 0.5, "random weights 1": 0.02, "random weights 2": 0.03, "best neurons": 0.03},
        **{"best neuron": 0.025, "difference of means": 0.03, "probe": 0.3},
    }
    more = {"splice": False, "source": "all"}
    cells = [
        filled(LossCell, units=units, edit=edit, value=value, language=code, delta_per_byte=share * height,
               byte_ci_low=0.9 * share * height, byte_ci_high=1.1 * share * height, **more)
        for units, height in heights.items()
        for code in (("da", "en") if units == "da" else ("da",))
        for edit, value, share in (("none", None, 0.0), ("scale", 0.5, 0.1), ("scale", -1.0, 1.0))
    ]  # fmt: skip
    figure = dose_response(made(next_token=NextToken(cells=cells)))
    assert figure is not None
    root = ElementTree.fromstring(figure.svg())
    svg = "{http://www.w3.org/2000/svg}"
    places = {}
    for text in root.iter(f"{svg}text"):
        name = "".join(text.itertext())
        # in the legend there would be a second one
        assert name not in places or not name.islower()
        places[name] = [float(part) for part in re.findall(r"-?[\d.]+", text.get("transform") or "")[-2:]]
    names = ["untrained SAEs", "best neurons", "best neuron", "difference of means", "probe"]
    assert set(names) < set(places)
    # a line of text apart, or beside each other
    for one, other in combinations(names, 2):
        (x, y), (u, v) = places[one], places[other]
        first, length = (one, u - x) if x < u else (other, x - u)
        assert abs(y - v) > 9 or length > 4.5 * len(first)
    marked = [group for group in root.iter(f"{svg}g") if "-marks-" in (group.get("id") or "")]
    dashes = {}
    for group in marked:
        title = next(group.iter(f"{svg}title")).text or ""
        style = group.find(f"{svg}path").get("style")
        dashes[title.partition(":")[0]] = (re.findall("stroke-dasharray: ([^;]+)", style) or ["solid"])[0]
    assert len({dashes[name] for name in names}) == len(names)


# ---- tasks

SETS = {
    "angry-tweets": {
        **{"language": "da", "labels": ["negativ", "neutral", "positiv"]},
        **{"rows": {"train": 2411, "test": 1047}, "dropped": {"train": {"empty": 2}, "test": {}}},
    }
}


def task(
    edit: str, splice: bool | None, value: float | None, score: float, p: float | None = None, **more: Any
) -> dict[str, Any]:
    names = "task language edit splice value protocol metric score ci_low ci_high p"
    own = row(names, "angry-tweets", "da", edit, splice, value, "as_coded", "weighted_f1", score, score - 0.04,
              score + 0.04, p)  # fmt: skip
    own |= row("delta delta_low delta_high", 0.0 if p is None else score - 0.6, -0.05, 0.01)
    own |= row("n_train n_test splits converged", 1600, 400, 1, False)
    return filled(TaskScore, **own | {"detectable": None if p is None else 0.03} | more).to_json()


def tasks_of(folder: Path, rows: list[dict[str, Any]]) -> RunFiles:
    fabricate(folder, "published", until="corpora")
    (folder / "tasks").mkdir()
    (folder / "tasks" / "sets.json").write_text(json.dumps(SETS))
    stages = json.loads((folder / "run.json").read_text(encoding="utf-8"))["stages"]
    record(folder, stages=stages | {"tasks": stages["corpora"]})
    return changed(folder, tasks=rows)


def test_tasks_stand_beside_the_papers(tmp_path: Path) -> None:
    bases = [task("raw", None, None, 0.61), task("none", True, None, 0.6)]
    swept = [task("set", True, value, 0.57 + value / 100, 0.2) for value in (-8.0, 0.0, 8.0)]
    files = tasks_of(tmp_path, [*bases, *swept])
    found = tables(tasks(files))
    assert found["Text of the tasks"][0]["Without text, left out"] == "2"
    lines = found["Appendix D: as the paper's code has it"]
    # raw: not measured in the paper; the splice; then -8, 0, 8
    assert [line["The paper's"] for line in lines] == ["–", "0.607", "0.547", "0.596", "0.590"]
    assert lines[2]["Rows"] == "400 / from 1 600; not converged"
    beside = {table.label: table for table in contents(files).tables}["Appendix D, beside the paper"]
    assert "as coded, 2 of 3" in beside.caption
    assert beside.rows[0]["As coded"].text == "0.490"


def test_comparisons_that_pass_are_counted(tmp_path: Path) -> None:
    more = {"protocol": "controlled", "splits": 10, "converged": True, "metric": "macro_f1"}
    values = ((-8.0, 0.01), (0.0, 0.2), (8.0, 0.2))
    rows = [
        task("raw", None, None, 0.6, **more),
        *(task("set", False, v, 0.55, p, **more) for v, p in values),
    ]
    rows.append(task("project_out", False, None, 0.3, 0.0005, **more))
    table = {one.label: one for one in contents(tasks_of(tmp_path, rows)).tables}[
        "Downstream tasks: controlled"
    ]
    assert "1 of 3 comparisons pass p < 0.017" in table.caption
    assert [line["Macro F1|p"].text for line in table.rows] == ["–", "0.010", "0.200", "0.200", "under 0.001"]
    assert table.rows[1]["Rows"].below.startswith("from 1")
    assert pd.DataFrame(table.numbers)["Macro F1, change"].tolist()[1] == pytest.approx(-0.05)
