"""What sections say where something was not measured, was measured twice, or contradicts."""

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fabricated_run import (
    change_results,
    evidence,
    fabricate,
    filled,
    page_of,
    plain,
    replayed,
    results_of,
    row,
    said,
    table_of,
    tables,
    words_of,
)

from glossae.recipe import Corpora, Languages, Recipe, SaeSettings, load_recipe
from glossae.reporting.blocks import Cell, Table
from glossae.reporting.reading import RunFiles, read_run
from glossae.reporting.sections.autoencoder import autoencoder_blocks
from glossae.reporting.sections.baselines import what_training_adds
from glossae.reporting.sections.effects import effects_blocks
from glossae.reporting.sections.evidence import other_seeds, score_blocks
from glossae.reporting.sections.inputs import text_blocks
from glossae.reporting.sections.languages import close_blocks, identification_blocks
from glossae.reporting.sections.selectivity import path_words, selectivity_blocks
from glossae.reporting.sections.steering import steering_blocks
from glossae.reporting.sections.tasks import tasks_blocks
from glossae.reporting.sections.units import rates_blocks
from glossae.results import (
    Baselines,
    FoundUnits,
    LossChange,
    ScoresResult,
    SerialCorrelation,
    SideEffect,
    StageResults,
    SteeredFamily,
    SteeringResult,
    SweptSet,
    SwitchedSet,
    TaskScore,
    TrainingAdds,
    TrainingCarries,
)

MODEL = "models/tiny"


# ---- probes


@pytest.fixture
def probed(tmp_path: Path) -> Path:
    """A run up to its probes."""
    return fabricate(tmp_path / "run", until="probe")


def probe_page(folder: Path, **probe: Any) -> str:
    return page_of(folder, probe=results_of(folder)["probe"] | probe)


def agreement(of: dict[float, float | None]) -> list[dict[str, Any]]:
    names = "model scores lambda spearman seeds"
    own = [row(names, MODEL, "as_coded", penalty, found, 3) for penalty, found in of.items()]
    return [row(names, MODEL, "rule", None, 0.8, 3), *own]


def test_collapsed_probes_are_marked_and_their_accuracy_stands_in_no_table(probed: Path) -> None:
    cells = results_of(probed)["probe"]["cells"]
    probe_page(probed, cells=[cell | {"collapsed": True} for cell in cells])
    assert pd.read_csv(probed / "figures" / "figure-3-probes.csv")["collapsed"].all()
    page = probe_page(probed, cells=cells)
    drawn = pd.read_csv(probed / "figures" / "figure-3-probes.csv")
    expected = [penalty >= critical for critical in (0.6, 1.5, 2.4, 3.3) for penalty in (0.1, 1.0, 10.0)]
    assert drawn["collapsed"].tolist() == expected
    left = words_of(table_of(page, "What the penalty leaves"))
    assert all(f"{count} of 4" in left for count in (0, 3, 4))
    assert "55.2" not in left


def test_the_agreement_of_seeds_is_given_where_there_are_several(probed: Path) -> None:
    page = page_of(probed)
    assert (
        "Over three seeds the orders of the layers by this loss have a mean rank correlation of 0.80." in page
    )
    layers = words_of(table_of(page, "Layers"))
    assert "Between seeds" in layers
    assert "0.020" in layers
    assert "Adam" not in page
    assert not (probed / "figures" / "probes-as-coded.svg").exists()
    alone = row("model scores lambda spearman seeds", MODEL, "rule", None, None, 1)
    assert "rank correlation" not in probe_page(probed, agreement=[alone])


def test_the_replay_names_probes_whose_optimum_is_zero(probed: Path) -> None:
    rows = replayed(MODEL) + replayed("models/other")
    page = probe_page(probed, as_coded=rows, agreement=agreement({0.1: 0.9, 1.0: 0.2, 10.0: -0.15}))
    text = words_of(page)
    # another model has a panel and no row
    assert (
        "8 of 12 replayed probes of models/tiny have an optimum of exactly zero. Their norm is 0.0034" in text
    )
    assert "a constant answer is right on 52.3 % of held-out tokens" in text
    assert "the accuracy lies between 31.0 % and 91.3 %" in text
    assert "At lambda 10 two seeds' orders of the layers have a rank correlation of -0.15" in text
    drawn = pd.read_csv(probed / "figures" / "probes-as-coded.csv")
    assert set(drawn.loc[drawn["collapsed"], "accuracy_high"]) == {0.913}
    assert set(drawn["model"]) == {MODEL, "models/other"}
    rows = replayed(MODEL, (0.05, 0.1))
    text = words_of(probe_page(probed, as_coded=rows, agreement=agreement({0.05: 1.0, 0.1: None})))
    assert "no replayed probe merely trembles around it" in text
    assert "0 of 4" in text


# ---- text, autoencoder, effects


def test_sources_with_documents_are_told_from_those_without(tmp_path: Path) -> None:
    folder = fabricate(tmp_path, until="corpora")
    assert "No documents are told by toy" in said(text_blocks(read_run(folder)))
    rows = results_of(folder)["corpora"]
    change_results(folder, corpora=[rows[0] | {"documents": 37}, *rows[1:]])
    text = said(text_blocks(read_run(folder)))
    assert "\nDocuments are told by toy (37 in one role" in text
    assert "No documents" not in text


def test_the_cost_of_spliced_sinks_has_a_table(tmp_path: Path) -> None:
    folder = fabricate(tmp_path, until="sae")
    assert "Attention sinks spliced" not in tables(autoencoder_blocks(read_run(folder)))
    losses = row("raw spliced left_alone half_width sentences tokens", 4.1, 8.9, 4.5, 0.25, 256, 4000)
    change_results(folder, sae=results_of(folder)["sae"] | {"sinks": {"en": losses}})
    (line,) = tables(autoencoder_blocks(read_run(folder)))["Attention sinks spliced"].rows
    assert list(line) == ["English", "256", "4.100", "8.900", "4.500", "4.400", "0.250"]


@pytest.mark.parametrize(
    ("passing", "claim"),
    [
        ((57, 55, 53, 54), "57 of 64 trained latents pass"),
        ((57, 55, 53, 54), "The trained autoencoder has more than any of them."),
        ((51, 55, 53, 54), "Each of them has more: training adds no latent that passes."),
        ((54, 55, 53, 54), "says nothing of what was learned"),
    ],
)
def test_latents_that_pass_are_counted_trained_and_untrained(
    tmp_path: Path, passing: tuple[int, ...], claim: str
) -> None:
    folder = fabricate(tmp_path)
    next_token = results_of(folder)["next_token"]
    rows = [own | {"passing": count} for own, count in zip(next_token["chosen"], passing, strict=True)]
    change_results(folder, next_token=next_token | {"chosen": rows})
    text = said(rates_blocks(read_run(folder)))
    assert claim in text
    assert "55, 53 and 54 pass it on the same text" in text


def serial_row(source: str, q: float, inflation: float, edit: str | None = "zero") -> dict[str, Any]:
    own = {"text": "test", "source": source, "language": "da", "edit": edit, "q": q, "inflation": inflation}
    return filled(SerialCorrelation, **own).to_json()


def test_correlated_sentences_are_warned_of_by_source(tmp_path: Path) -> None:
    folder = fabricate(tmp_path)
    next_token = results_of(folder)["next_token"]
    rows = [
        serial_row("talks.tsv", 0.01, 2.26),
        serial_row("talks.tsv", 0.02, 1.44, edit=None),
        serial_row("news.tsv", 0.4, 1.8),
    ]
    change_results(folder, next_token=next_token | {"serial_correlation": rows})
    blocks = list(effects_blocks(read_run(folder)))
    (warned,) = (block for block in blocks if getattr(block, "tone", "") == "warning")
    assert "talks.tsv, Danish: the variance is 2.3 times" in warned.text
    assert "intervals should be 1.5 times as wide" in warned.text
    assert "news.tsv" not in warned.text
    assert len(tables(blocks)["Correlation of consecutive sentences"].rows) == 3
    change_results(folder, next_token=next_token | {"serial_correlation": rows[2:]})
    blocks = effects_blocks(read_run(folder))
    assert not [block for block in blocks if getattr(block, "tone", "") == "warning"]


def test_scale_is_explained_for_each_kind_of_units() -> None:
    assert path_words("latent", "scale") == "own values switched off, then turned to the opposite sign"
    assert path_words("direction", "scale") == "drawn to the reference's mean and beyond"


# ---- close languages

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
CLAIM = row("kind on claim units outside left_out", "latent", "held_out", "Danish", 2, [], {})
CLAIM |= dict.fromkeys(("passed", "passed_matched", "passed_as_many"))
PANEL = row("role source sentences identical ambiguous too_few", "panel", None, {}, 0, {}, {})
PAIR = {"languages": ["da", "sv"], "sentences": {"da": 500, "sv": 400}, "doubtful": {"da": 5, "sv": 0}}


def close(ambiguous: Any = "keep", **changes: Any) -> tuple[str, dict[str, Table]]:
    """The sentences and the tables of the section on close languages."""
    few = {"left_out": {"sv": "12 and 12 sentences are too few"}}
    own = row("matrix matched matched_claims", [MATRIX], [MATCHED], [CLAIM | few])
    found = evidence(**own | {"panels": [PANEL | {"doubtful": [PAIR]}]} | changes)
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
    blocks = list(close_blocks(RunFiles(recipe, results=StageResults(evidence=found))))
    return said(blocks), tables(blocks)


def test_languages_that_the_set_ranks_over_the_reference_too_are_named() -> None:
    text, found = close()
    assert "the two latents of Danish together also rank Swedish (0.70) over English." in text
    matrix = found["Every language over every other, latents, the half held out"]
    assert matrix.rows[0] == ("Danish", "–", Cell("0.980", "0.97 to 0.99"), Cell("0.900", "0.85 to 0.93"))
    alone = MATRIX | {"low": [[None, 0.97, 0.85], [0.01, None, 0.2], [0.05, 0.45, None]]}
    assert "together rank no other language over English." in close(matrix=[alone])[0]


def test_too_few_matched_sentences_are_reported() -> None:
    label = "Matched on tokenisation, latents, the half held out"
    text, found = close()
    assert "too few to test the two latents on. Not against Swedish: 12 and 12 sentences are too few." in text
    (line,) = found[label].rows
    assert line[1:3] == (Cell("12", "of 500 and 400"), Cell("+0.04", "before: +1.23"))
    assert line[-2:] == (Cell("0.800", ""), "too few")
    tested = MATCHED | {"passed": {"all": 2, "matched": 1, "as_many": 2}}
    claim = CLAIM | row("outside passed passed_matched passed_as_many", ["sv"], 2, 1, 2)
    text, found = close(matched=[tested], matched_claims=[claim])
    assert found[label].rows[0][-1] == Cell("1", "all: 2; as many: 2")
    assert (
        "of two latents 2 pass as Danish against Swedish on all sentences, 1 on the matched ones, and 2"
        in text
    )


def test_the_fate_of_doubtful_sentences_is_reported() -> None:
    label = "Sentences that could be in either language"
    found = close()[1][label]
    (line,) = found.rows
    assert [plain(str(cell)) for cell in line[1:]] == ["Danish", "Swedish", "500", "5", "1 %"]
    assert "were kept" in found.caption
    assert "set aside before" in close("drop")[1][label].caption
    nothing = PAIR | {"doubtful": {"da": 0, "sv": 0}}
    assert "no sentences could be" in close(panels=[PANEL | {"doubtful": [nothing]}])[0]


def test_without_a_selected_set_there_is_one_line() -> None:
    text, found = close(matrix=[])
    assert text == "No set of units was selected by a test, so there is none to look at here."
    assert found == {}


def test_the_random_token_filter_is_shown_where_tokens_were_drawn() -> None:
    def scores(*units: dict[str, Any]) -> ScoresResult:
        names = "compared names spearman shared top attributed random_tokens"
        random = row("max_random min_rate tokens units", 0.01, 0.02, 5000, list(units))
        return ScoresResult(**row(names, 0, [], [], [], 0, {}, random))

    assert list(score_blocks(scores())) == []
    units = [(4, True, False, 0.4, 0.001), (5, False, True, 0.4, 0.1)]
    found = scores(*(row("unit kept on_random rate random_rate", *unit) for unit in units))
    blocks = list(score_blocks(found))
    assert "would keep 1; 1 fire on more than 1 % of random tokens" in said(blocks)
    assert [line[1] for line in tables(blocks)["Random tokens"].rows] == ["keeps", "throws out"]


# ---- telling languages apart, other seeds, other sets


def test_identification_names_what_the_units_lose_to() -> None:
    names = "level set fitted_on on by how per_language macro_f1 reason converged"
    facts = {"macro_f1_interval": [0.4, 0.9], "accuracy": 0.7, "languages": ["da", "en", ""]}
    facts |= {"accuracy_interval": [0.6, 0.8], "rows": 20}
    facts |= {"confusion": [[8, 2, 0], [1, 9, 0], [0, 0, 0]], "f1": {"da": 0.8, "en": 0.9}}
    by = (("latent", "regression", 1, 0.5), ("latent", "regression", 5, 0.6), ("latent", "largest", 5, 0.4))
    by += (("neuron", "regression", 5, 0.55), ("ngram", "regression", None, 0.95))
    rows = [
        row(names, "sentence", ["da", "en"], "panel", "held_out", *each, None, True) | facts for each in by
    ]
    names = "set fitted_on on reason"
    rows.append(row(names, ["da", "is"], "panel", "held_out", "too little text"))
    results = StageResults(evidence=evidence(identification=rows))
    blocks = list(identification_blocks(RunFiles(load_recipe("demo"), results=results)))
    assert (
        "Sentences in Danish and English, the half held out: macro-F1 0.600 by at most 5 latents a language; they "
        "lose to n-grams of characters (0.950); they beat neurons (0.550)."
    ) in said(blocks)
    assert "Danish and Icelandic were not told apart: too little text." in said(blocks)
    found = tables(blocks)
    first, *_, last = found["Sentences"].rows
    assert (first[0], last[0]) == ("One latent a language", "N-grams of characters")
    assert plain(last[1].below) == "0.400 to 0.900; accuracy 70.0 %"
    assert found["Confusion of sentences"].columns == ("", "Danish", "English", "none", "F1")
    assert found["Confusion of sentences"].rows[0] == ("Danish", "8", "2", "0", "0.800")


def test_partners_in_other_seeds_are_counted_and_listed() -> None:
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
    blocks = list(other_seeds(RunFiles(load_recipe("demo"), results=StageResults(stability=stability))))
    text = "Of the one latent found as Danish, 10 % to 20 % are there again in two autoencoders trained with another"
    assert text in said(blocks)
    assert tables(blocks)["Partners"].rows == [("7", Cell("3: 0.90", "0.80, found"), Cell("–"), "1")]
    assert len(tables(blocks)["Other seeds"].rows) == 4


def test_families_are_compared_at_the_same_damage(tmp_path: Path) -> None:
    next_token = results_of(fabricate(tmp_path))["next_token"]
    own = [found for found in next_token["selectivity"] if not found["splice"]]
    more = [
        found | {"units": "best neurons", "kind": "neuron", "ratio_per_byte_least": None} for found in own
    ]
    selectivity = next_token["selectivity"] + more
    ends = row("kl kl_low kl_high agreement agreement_low agreement_high", 0.01, 0.0, 0.02, 0.9, 0.85, 0.95)
    moved = row("units kind edit at reached change", "da", "latent", "set", 0.3, True, 0.2) | ends
    sets = {"sets": [filled(SweptSet).to_json()] * 2, "selectivity": selectivity}
    sets["side_effects"] = [filled(SideEffect, **moved).to_json()]
    cells = next_token["cells"]
    cells += [cell | {"edit": "zero"} for cell in cells if cell["edit"] == "set" and cell["value"] == 0]
    change_results(tmp_path, next_token=next_token | sets | {"cells": cells})
    blocks = list(selectivity_blocks(read_run(tmp_path)))
    assert "(best neurons, set), latents ≥ 30, difference" in said(blocks)
    assert "Here latents lose to what is cheaper." in said(blocks)
    found = tables(blocks)
    assert [line[0].text for line in found["Families side by side"].rows] == [
        "selected (Danish)",
        "best neurons",
    ] * 2
    assert found["Side effects on English"].rows[0][3] == Cell("0.0100", "0.0000 to 0.0200")
    assert found["Every set on every language"].rows[0][:2] == ("selected (Danish)", "zero")


# ---- what training adds


def baselines(*adds: tuple[str, float, float, float], reason: str | None = None) -> str:
    rows = [
        filled(TrainingAdds, what=what, size=4, difference=middle, low=low, high=high)
        for what, middle, low, high in adds
    ]
    losses = {"da": 0.1, "nb": 0.06, "en": 0.0}
    change = {code: filled(LossChange, delta=delta) for code, delta in losses.items()}
    found = Baselines(
        reason=reason,
        adds=[*rows, TrainingCarries(trained=[1], untrained=[1])],
        autoencoders=[
            filled(FoundUnits, group=group, passing=n) for group, n in (("trained", 15), ("untrained", 73))
        ],
        sets=[filled(SwitchedSet, group="trained", size=4, nearest="nb", change=change)],
    )
    return what_training_adds(RunFiles(load_recipe("demo"), results=StageResults(baselines=found)))


@pytest.mark.parametrize("interval", [(-0.2, -0.3, -0.1), (0.0, -0.1, 0.1)])
def test_the_verdict_begins_with_nothing_added(interval: tuple[float, float, float]) -> None:
    text = baselines(("target", *interval), ("margin", 0.0, -0.1, 0.1))
    assert text.startswith(
        "The layer tells Danish; the autoencoder adds nothing that an untrained one lacks: at no size "
    )
    assert ("In trained ones switching off four latents costs the target 0.200" in text) == (interval[2] < 0)
    assert "15 latents of the trained and 73 of untrained autoencoders pass the same test" in text
    assert "Norwegian Bokmål, +0.060" in text


def test_the_verdict_has_what_training_adds_and_what_it_takes() -> None:
    text = baselines(("target", -0.2, -0.3, -0.1), ("margin", 0.05, 0.01, 0.09))
    assert text.startswith(
        "Training adds to what the latents do: switching off four latents costs the target, less the nearest language, "
        "0.050"
    )
    assert " But switching off four latents costs the target 0.200 nats a token less" in text
    assert baselines(reason="too little text") == ""
    assert what_training_adds(RunFiles(load_recipe("demo"))) == ""


# ---- steering

FAMILIES = (("latents_add", "latent", "add", 0.41), ("means_project", "direction", "project_out", 0.35))


def arm(family: str = "raw", **changes: Any) -> dict[str, Any]:
    names = "family kind operation value at kl agreement on_front distinct_1 distinct_2"
    estimates = row("success success_low success_high", 0.01, 0.0, 0.03)
    estimates |= row("repetition repetition_low repetition_high", 0.1, 0.05, 0.15)
    shares = {"ngrams": {"da": 0.01, "en": 0.99}, "lingua": {"en": 1.0}, "both": {"en": 0.99}}
    own = row(names, family, None, None, None, None, 0.0, 1.0, False, 0.4, 0.7) | estimates
    return (
        own
        | row("loss loss_low loss_high shares", 2.0, 1.9, 2.1, shares)
        | {"units": 1, "kl_low": 0.0, "kl_high": 0.0, "tokens": 20.0}
        | changes
    )


def steering(**changes: Any) -> dict[str, Any]:
    arms = [arm()]
    for family, kind, operation, success in FAMILIES:
        own = {"kind": kind, "operation": operation}
        arms.append(arm(family, **own, value=2.0, kl=0.04, success=0.0))
        arms.append(arm(family, **own, value=9.16, at=1.0, kl=1.002, success=success, on_front=success > 0.4))
    names, attack = "prompt family value at text language", "<script>alert(1)</script> & så \x00"
    return {
        "arms": arms,
        "families": [filled(SteeredFamily, family=family).to_json() for family, *_ in FAMILIES],
        **{"left_out": [], "kl": [1.0], "kl_text": {"sentences": 200, "tokens": 5123}},
        "prompts": {"paper": 4, "test": 200, "tokens": 8},
        "identifiers": {
            "ngrams": ["da", "en"],
            "lingua": {"version": "2.1", "languages": ["da", "en", "nb"]},
        },
        "examples": [
            row(names, "Once <b>", "raw", None, None, "", None),
            row(names, "Once <b>", "means_project", 9.16, 1.0, attack, "da"),
        ],
    } | changes


def steered(**changes: Any) -> tuple[str, dict[str, Table]]:
    """The sentences and the tables of the section on steering."""
    found = SteeringResult.model_validate(steering(**changes))
    files = RunFiles(load_recipe("demo"), results=StageResults(steering=found))
    blocks = list(steering_blocks(files))
    return said(blocks), tables(blocks)


def test_steering_names_the_best_family_and_the_others() -> None:
    text, found = steered()
    assert (
        "Raw, 1 % of the continuations are Danish. At a KL of 1 nats a token 41 % of the continuations are Danish with "
        "the selected latents, added, against difference of means, projected to 35 %."
    ) in text
    assert "200 prompts are the first 8 tokens of English sentences of test, 4 more are the paper's." in text
    assert (
        "Two identifiers have to agree: lingua 2.1, choosing among Danish, English and Norwegian Bokmål"
        in text
    )
    assert [len(found[f"Steering at {which}"].rows) for which in ("the same KL", "every dose")] == [3, 3]
    first = found["Steering at the same KL"].rows[1]
    assert first[:3] == ("selected latents, added", "1.00", "9.16")
    assert plain(first[3].text) == "41 %"
    arms = [own for own in steering()["arms"] if own["at"] is None]
    assert (
        "No family comes to a KL at which it could be compared; raw, 1 % of the continuations are Danish."
        in steered(arms=arms)[0]
    )


def test_steering_reports_what_is_missing() -> None:
    shares = {"shares": {"ngrams": {"da": 0.5}, "lingua": None, "both": None}}
    text, found = steered(
        identifiers={"ngrams": ["da", "en"], "lingua": None},
        arms=[own | shares for own in steering()["arms"]],
        families=[family | {"unreached": [1.0]} for family in steering()["families"]],
        left_out=["latents_set"],
    )
    assert "lingua is not installed (extra lid), so that one identifier decides" in text
    assert "Danish by lingua" not in found["Steering at every dose"].columns
    assert "There are no units to steer by: selected latents, set." in text
    assert "The selected latents, added: no dose has a KL of 1." in text
    assert "no Norwegian or Swedish text in train or select, so that the n-grams take both for Danish" in text


def test_continuations_are_text_and_never_markup(tmp_path: Path) -> None:
    page = page_of(fabricate(tmp_path, until="corpora"), steering=steering())
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; så \N{REPLACEMENT CHARACTER}" in page
    assert "Once &lt;b&gt;" in page
    assert "(nothing)" in page


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


def coded() -> list[dict[str, Any]]:
    bases = [task("raw", None, None, 0.61), task("none", True, None, 0.6)]
    return bases + [task("set", True, value, 0.57 + value / 100, 0.2) for value in (-8.0, 0.0, 8.0)]


def controlled(p: float = 0.2) -> list[dict[str, Any]]:
    edits = [("raw", None, None, 0.6), *(("set", False, value, 0.55, p) for value in (-8.0, 0.0, 8.0))]
    edits.append(("project_out", False, None, 0.3, 0.0005))
    more = {"protocol": "controlled", "splits": 10, "converged": True}
    return [task(*edit, metric=metric, **more) for metric in ("macro_f1", "mcc") for edit in edits]


def tasks_of(
    folder: Path, rows: list[dict[str, Any]], case: str = "published"
) -> tuple[str, dict[str, Table]]:
    """The sentences of the section on tasks, those under its figures too, and its tables."""
    change_results(fabricate(folder, case, until="corpora"), tasks=rows)
    (folder / "tasks").mkdir()
    (folder / "tasks" / "sets.json").write_text(json.dumps(SETS))
    blocks = list(tasks_blocks(read_run(folder)))
    captions = "\n".join(plain(block.finding) for block in blocks if hasattr(block, "finding"))
    return f"{said(blocks)}\n{captions}", tables(blocks)


def test_the_papers_scores_stand_in_the_row_of_their_value(tmp_path: Path) -> None:
    text, found = tasks_of(tmp_path, coded())
    lines = found["Appendix D: as the paper's code has it"].rows
    # raw: not measured in the paper; the splice; then -8, 0, 8
    assert [line[-1] for line in lines] == ["–", "0.607", "0.547", "0.596", "0.590"]
    assert "did not converge in 5 of 5 fits (angry-tweets)" in text
    assert "two rows without text left out" in text


def test_comparisons_that_pass_are_told_from_those_that_could_not(tmp_path: Path) -> None:
    text, found = tasks_of(tmp_path / "a", controlled())
    assert "Of three comparisons with no edit, none passes p < 0.017" in text
    assert "A true difference of 0.030 in angry-tweets would be found at p < 0.05 in 80 %" in text
    assert "erased at the site, macro F1 changes by -0.300 in angry-tweets (p under 0.001)" in text
    (table,) = found.values()
    assert plain(table.rows[0][-1].below) == "from 1 600, 10 splits"
    text, found = tasks_of(tmp_path / "b", controlled(p=0.01), case="found")
    passed = (
        " -0.050, ".join(f"angry-tweets at {value}" for value in ("-8", "0"))
        + " -0.050 and angry-tweets at 8"
    )
    assert f"{passed} -0.050 in macro F1 pass p" in text
    assert "The paper's" not in next(iter(found.values())).columns
    text, _ = tasks_of(tmp_path / "c", coded()[:2], case="empty")
    assert "No latent was selected, so there is nothing to compare." in text


def test_the_papers_scores_stand_alone_where_no_task_was_run(tmp_path: Path) -> None:
    page = page_of(fabricate(tmp_path, "published", until="corpora"))
    assert "The downstream tasks: not run." in page
    assert "Its tasks were not set in this run" in page
    assert re.search("Appendix D, beside the paper.*0.607", page, re.DOTALL)
    page_of(tmp_path, tasks=coded())
    numbers = pd.read_csv(tmp_path / "figures" / "figure-9-tasks-as-coded.csv")
    assert numbers["score"].tolist() == pytest.approx([0.61, 0.6, 0.49, 0.57, 0.65])
