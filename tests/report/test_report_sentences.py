"""What the page says is what the numbers are."""

from pathlib import Path
from typing import Any

import pytest
from fabricated_run import change_results, fabricate, results_of
from glossae.report.sections.families import path_words
from glossae.report.sections.text import text_section
from glossae.report.sentences import (
    at_matched_damage,
    random_weights_words,
    selective_at,
    sweep,
    sweep_details,
    third_languages,
    units_found,
)
from glossae.report.verdict import verdict

from glossae.errors import GlossaeError
from glossae.report.blocks import Paragraph, Table
from glossae.report.reading import RunFiles, read_run
from glossae.report.sections.autoencoder import autoencoder_section
from glossae.report.sections.effects import effects_section
from glossae.report.sections.units import units_section
from glossae.report.wording import (
    has_moved,
    listed,
    model_name,
    moves,
    number,
    percent,
    signed,
    visible,
    whole,
)


def files_of(folder: Path, case: str, **options: Any) -> RunFiles:
    return read_run(fabricate(folder / "run", case, **options))


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ").replace("\N{MINUS SIGN}", "-")


def verdict_of(files: RunFiles) -> str:
    return plain("\n".join(verdict(files)))


def test_found(tmp_path: Path) -> None:
    said = verdict_of(files_of(tmp_path, "found"))
    assert "Three latents pass the paper's rule" in said
    assert "latent 11, fires on 90 % of Danish and 0.4 % of English tokens" in said
    assert "the English loss has fallen by 0.0012 nats per byte: a difference of 0.0762" in said
    assert "a ratio of at least 30, a one-sided 95 % limit" in said
    assert "against English the units are selective" in said
    assert "No latent" not in said
    assert "No selective" not in said
    assert "Random latents" in said


def test_an_unsound_autoencoder_says_so_first(tmp_path: Path) -> None:
    folder = fabricate(tmp_path / "run", "found")
    assert "unsound" not in verdict_of(read_run(folder))
    finding = "95.3 % of the latents are dead."
    change_results(folder, sae=results_of(folder)["sae"] | {"unsound": [finding]})
    assert verdict_of(read_run(folder)).startswith(f"The autoencoder is unsound. {finding}\n")
    warning, *_ = autoencoder_section(read_run(folder)).blocks
    assert (warning.tone, warning.text) == ("warning", f"This autoencoder is unsound. {finding}")


def test_results_of_another_version_are_refused(tmp_path: Path) -> None:
    folder = fabricate(tmp_path / "run", "found")
    change_results(folder, schema_version=1)
    with pytest.raises(
        GlossaeError, match=r"results.json: schema_version 1 has other keys .* run the same command"
    ):
        read_run(folder)


def test_what_spliced_sinks_cost_is_a_table_of_its_own(tmp_path: Path) -> None:
    folder = fabricate(tmp_path / "run", "found")
    names = [getattr(block, "title", None) for block in autoencoder_section(read_run(folder)).blocks]
    assert "Attention sinks spliced" not in names
    losses = {
        "raw": 4.1,
        "spliced": 8.9,
        "left_alone": 4.5,
        "half_width": 0.25,
        "sentences": 256,
        "tokens": 5000,
    }
    change_results(folder, sae=results_of(folder)["sae"] | {"sinks": {"en": losses}})
    (table,) = [
        block
        for block in autoencoder_section(read_run(folder)).blocks
        if getattr(block, "label", None) == "Attention sinks spliced"
    ]
    assert [plain(cell) for cell in table.rows[0]] == [
        "English", "256", "4.100", "8.900", "4.500", "4.400", "0.250"
    ]  # fmt: skip


def test_fallback_says_how_far_it_is_from_the_rule(tmp_path: Path) -> None:
    said = verdict_of(files_of(tmp_path, "fallback"))
    assert said.startswith("No latent passes the paper's rule")
    assert "The fallback took the four latents" in said
    assert "fires on 26 % of Danish and 1.2 % of English tokens" in said
    assert "too seldom on Danish and too often on English" in said


def test_unselective(tmp_path: Path) -> None:
    files = files_of(tmp_path, "unselective")
    said = verdict_of(files)
    assert "When the Danish loss has risen by 0.3 nats per token, 0.0750 per byte" in said
    assert "the English loss has risen by 0.0690 nats per byte" in said
    assert "No selective latent was found at this site (resid of layer 2)" in said
    assert "units are selective" not in said
    assert selective_at(files) == {0.1: False, 0.3: False}


def test_empty_selection_claims_nothing(tmp_path: Path) -> None:
    files = files_of(tmp_path, "empty")
    said = verdict_of(files)
    assert said.startswith("No latent passes the paper's rule")
    assert "The nearest, latent 17, fires on 26 % of Danish and 5 % of English tokens" in said
    assert "No selective latent was found" in said
    assert "took" not in said
    assert "risen" not in said
    assert "no units to sweep" in sweep(files, splice=False)
    assert third_languages(files) == ""
    assert sweep_details(files, splice=True) == ""


@pytest.mark.parametrize(
    ("passing", "claim"),
    [
        ((57, 55, 53, 54), "57 of 64 trained latents pass"),
        ((57, 55, 53, 54), "The trained autoencoder has more than any of them."),
        ((51, 55, 53, 54), "Each of them has more: training adds no latent that passes."),
        ((54, 55, 53, 54), "says nothing of what was learned"),
    ],
)
def test_trained_and_untrained_stand_beside_each_other(
    tmp_path: Path, passing: tuple[int, ...], claim: str
) -> None:
    folder = fabricate(tmp_path / "run", "found")
    next_token = results_of(folder)["next_token"]
    rows = [row | {"passing": count} for row, count in zip(next_token["chosen"], passing, strict=True)]
    change_results(folder, next_token=next_token | {"chosen": rows})
    blocks = units_section(read_run(folder)).blocks
    said = [plain(block.text) for block in blocks if isinstance(block, Paragraph)]
    assert any(claim in text for text in said)
    assert any(
        f"{passing[1]}, {passing[2]} and {passing[3]} pass it on the same text" in text for text in said
    )


def test_scale_says_what_it_does_to_each_kind() -> None:
    assert path_words("latent", "scale") == "own values switched off, then turned to the opposite sign"
    assert path_words("direction", "scale") == "drawn to the reference's mean and beyond"


def test_another_rule_is_not_called_the_papers(tmp_path: Path) -> None:
    folder = fabricate(tmp_path / "run", "found")
    features = results_of(folder)["features"]
    change_results(folder, features=features | {"thresholds": {"min_target": 0.3, "max_reference": 0.05}})
    said = plain(units_found(read_run(folder)))
    assert "this run's rule (firing on more than 30 % of Danish and less than 5 % of English tokens)" in said


def test_selective_at_one_damage_only(tmp_path: Path) -> None:
    said = verdict_of(files_of(tmp_path, "published"))
    assert "So at 0.3 nats turning them down costs Danish more than twice what it costs English" in said
    assert "but not at 0.1 nats" in said


def test_damage_that_is_never_reached(tmp_path: Path) -> None:
    folder = fabricate(tmp_path / "run", "found")
    next_token = results_of(folder)["next_token"]
    named = ("units", "kind", "edit", "splice", "at", "versus")
    rows = [
        {name: row[name] if name in named else None for name in row} | {"reached": False}
        for row in next_token["selectivity"]
    ]
    cells = [
        cell | {"delta": 0.01 * cell["delta"]} if cell["edit"] == "set" else cell
        for cell in next_token["cells"]
    ]
    change_results(folder, next_token={"cells": cells, "selectivity": rows, "controls": None})
    files = read_run(folder)
    assert plain(at_matched_damage(files, 0.1, splice=False)) == (
        "The Danish loss never rises by 0.1 nats as the units are turned down; at most it rises by 0.007 nats."
    )
    assert "That is too little to compare with English. No selective latent" in verdict_of(files)
    assert "0.3 nats" not in verdict_of(files)


def test_a_dose_above_zero_is_not_made_up(tmp_path: Path) -> None:
    folder = fabricate(tmp_path / "run", "found")
    next_token = results_of(folder)["next_token"]
    rows = [row | {"value": None} for row in next_token["selectivity"]]
    change_results(folder, next_token=next_token | {"selectivity": rows})
    assert "(between no edit and the value 0)" in at_matched_damage(read_run(folder), 0.1, splice=False)


@pytest.mark.parametrize("splice", [True, False])
def test_the_sweep_says_rises_where_it_rises(tmp_path: Path, splice: bool) -> None:
    files = files_of(tmp_path, "found")
    cells = {
        cell["language"]: cell
        for cell in files.rows("next_token", "cells")
        if (cell["splice"], cell["value"], cell["source"]) == (splice, -8.0, "all")
    }
    danish, english = cells["da"], cells["en"]
    said = plain(sweep(files, splice))
    assert "at -8 (a value the units never take by themselves)" in said
    assert f"Danish loss rises by {danish['delta']:.3f} nats (95 % interval {danish['ci_low']:.3f} to" in said
    assert f"English loss falls by {-english['delta']:.3f} nats (95 % interval of the change -0.030" in said
    assert "but not lower than with the units unmodified" in plain(sweep_details(files, splice))


def test_multiples_are_named(tmp_path: Path) -> None:
    folder = fabricate(tmp_path / "run", "found")
    path = folder / "recipe.yaml"
    path.write_text(path.read_text().replace("unit: latent", "unit: p99"))
    assert "at -8 times the 99th percentile" in plain(sweep(read_run(folder), splice=False))


@pytest.mark.parametrize(
    ("rates", "claim"),
    [
        ({"sv": 0.60, "de": 0.50}, "they stand for “not English” as much as for Danish"),
        ({"sv": 0.60, "de": 0.01}, "they stand for more than Danish, for Swedish too"),
        ({"sv": 0.02, "de": 0.01}, "they stand for Danish, not just for “not English”"),
        ({"sv": 0.20, "de": 0.01}, "most for Danish, but not for Danish alone"),
    ],
)
def test_third_languages(tmp_path: Path, rates: dict[str, float], claim: str) -> None:
    folder = fabricate(tmp_path / "run", "found")
    features = results_of(folder)["features"]
    units = [unit | {"rate": {"da": 0.8, "en": 0.002, **rates}} for unit in features["da"]]
    change_results(folder, features=features | {"da": units})
    assert claim in third_languages(read_run(folder))


def test_no_third_language(tmp_path: Path) -> None:
    assert "No third language was measured" in verdict_of(files_of(tmp_path, "found", others=()))


def panel_results(outside: tuple[str, ...], found: int = 3, **again: int) -> dict[str, Any]:
    """`evidence` of a run: so many latents of 200 pass, and again so many on other text."""
    claim = {"claim": "Danish", "inside": ["da"], "outside": list(outside), "same": []}
    of_kind = (("latent", found, 200), ("neuron", 40, 64))
    rows = [
        {"kind": "latent", "on": on, "tokens": tokens, "units": found, "passed": passed}
        for on, passed in again.items()
        for tokens in (1, 32)
    ]
    return {
        "reason": None,
        "tokens": 1,
        "claims": [claim | {"kind": kind, "units": units, "of": of} for kind, units, of in of_kind],
        "replication": rows,
    }


def test_the_verdict_counts_panel_languages_and_held_out_replication(tmp_path: Path) -> None:
    folder = fabricate(tmp_path / "run", "found", others=())
    change_results(folder, evidence=panel_results(("en", "sv", "de"), held_out=3, replicate=2))
    said = verdict_of(read_run(folder))
    assert (
        "Tested against three other languages (English, Swedish and German), 3 of 200 latents pass as Danish. The same "
        "test on text that was not searched: 3 of 3 on the half held out and 2 of 3 on the other text pass again."
    ) in said
    # they were measured on the panel, if not on select
    assert "No third language" not in said
    change_results(folder, evidence=panel_results(("en", "sv"), found=0, held_out=0))
    said = verdict_of(read_run(folder))
    assert "(English and Swedish), 0 of 200 latents pass as Danish." in said
    assert "pass again" not in said
    # the tests of a panel of the pair alone know no third language
    change_results(folder, evidence=panel_results(("en",)))
    said = verdict_of(read_run(folder))
    assert "Tested against one other language (English)" in said
    assert "No third language was measured" in said


def test_the_verdict_says_nothing_of_tests_that_were_not_made(tmp_path: Path) -> None:
    folder = fabricate(tmp_path / "run", "found")
    next_token = results_of(folder)["next_token"] | {"chosen": []}
    for evidence in (None, {"reason": "select is too short"}):
        change_results(folder, evidence=evidence, next_token=next_token)
        said = verdict_of(read_run(folder))
        assert "Tested against" not in said
        assert "random weights" not in said


@pytest.mark.parametrize(
    ("random", "said"),
    [
        (
            (8, 6, 4),
            "With random weights, 8, 6 and 4 latents pass the same rule on the same text; trained, 9.",
        ),
        (
            (8, 9, 4),
            "With random weights, 8, 9 and 4 latents pass the same rule on the same text; trained, 9. So no more "
            "pass for the training.",
        ),
        ((), ""),
        ((None, None), ""),
    ],
)
def test_the_verdict_counts_random_weights(tmp_path: Path, random: tuple[int | None, ...], said: str) -> None:
    folder = fabricate(tmp_path / "run", "found")
    next_token = results_of(folder)["next_token"]
    rows = [
        {"language": code, "seed": seed, "passing": passing}
        for code, seed, passing in [
            ("da", None, 9),
            ("sv", None, 30),
            *(("da", n, c) for n, c in enumerate(random)),
        ]
    ]
    change_results(folder, next_token=next_token | {"chosen": rows})
    files = read_run(folder)
    assert random_weights_words(files) == said
    assert said in verdict_of(files)


def test_numbers_in_words() -> None:
    assert plain(percent(0.264)) == "26 %"
    assert plain(percent(0.0123)) == "1.2 %"
    assert plain(percent(0.0)) == plain(percent(0.0, digits=1)) == "0 %"
    assert plain(percent(1.0)) == "100 %"
    assert plain(percent(0.9996)) != "100 %"
    assert plain(percent(0.00003)) == "under 0.01 %"
    # what fails a threshold is not rounded onto it
    assert plain(percent(0.4998, apart_from=0.5)) == "49.98 %"
    assert plain(percent(0.5, apart_from=0.5)) == "50 %"
    assert number(-0.0001) == "0.000"
    assert signed(-0.5, 1) == "\N{MINUS SIGN}0.5"
    assert moves(-0.0104) == "falls by 0.010 nats"
    assert moves(0.0004) == "does not change"
    assert has_moved(0.26) == "has risen by 0.260 nats"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert whole(65536) == "65\N{NARROW NO-BREAK SPACE}536"
    assert visible("a\x00\ud800\nb") == "a\ufffd\ufffd\nb"


def test_a_folder_is_named_by_its_last_part() -> None:
    for folder in ("../models/tiny-da-en", "/data/models/tiny-da-en/", "~/tiny-da-en", "./tiny-da-en"):
        assert model_name(folder) == "tiny-da-en"
    for name in ("toy", "gpt2", "EleutherAI/pythia-14m"):
        assert model_name(name) == name
    assert model_name("..") == ".."


def serial_row(source: str, q: float, inflation: float, **more: Any) -> dict[str, Any]:
    row = {"text": "test", "source": source, "language": "da", "statistic": "change", "edit": "zero"}
    return row | {"sentences": 200, "lag_1": 0.31, "p": q, "q": q, "inflation": inflation} | more


def test_correlated_sentences_are_warned_of_by_source(tmp_path: Path) -> None:
    folder = fabricate(tmp_path / "run", "found")
    rows = [
        serial_row("talks.tsv", 0.01, 2.25),
        serial_row("talks.tsv", 0.02, 1.44, statistic="loss", edit=None),
        serial_row("news.tsv", 0.4, 1.8),
    ]
    change_results(folder, next_token=results_of(folder)["next_token"] | {"serial_correlation": rows})
    blocks = effects_section(read_run(folder)).blocks
    (warned,) = (block for block in blocks if isinstance(block, Paragraph) and block.tone == "warning")
    said = plain(warned.text)
    assert (
        "talks.tsv, Danish: the variance is 2.2 times" in said
        or "talks.tsv, Danish: the variance is 2.3 times" in said
    )
    assert "intervals should be 1.5 times as wide" in said
    assert "news.tsv" not in said
    table = next(block for block in blocks if isinstance(block, Table) and "consecutive" in block.label)
    assert len(table.rows) == 3


def test_uncorrelated_sentences_are_no_warning(tmp_path: Path) -> None:
    folder = fabricate(tmp_path / "run", "found")
    rows = [serial_row("talks.tsv", 0.06, 1.2)]
    change_results(folder, next_token=results_of(folder)["next_token"] | {"serial_correlation": rows})
    blocks = effects_section(read_run(folder)).blocks
    assert not [block for block in blocks if isinstance(block, Paragraph) and block.tone == "warning"]


def test_the_text_section_says_which_source_tells_documents(tmp_path: Path) -> None:
    folder = fabricate(tmp_path / "run", "found")
    rows = results_of(folder)["corpora"]
    for row in rows:
        row["documents"] = None
    said = [b.text for b in text_section(read_run(folder)).blocks if isinstance(b, Paragraph)]
    assert any("No documents are told by toy" in words for words in said)
    rows[0]["documents"] = 37
    change_results(folder, corpora=rows)
    said = [b.text for b in text_section(read_run(folder)).blocks if isinstance(b, Paragraph)]
    assert any(words.startswith("Documents are told by toy (37 in one role") for words in said)
    assert not any("No documents" in words for words in said)
