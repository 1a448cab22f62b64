"""What the verdict says is what the numbers are."""

from pathlib import Path
from typing import Any

import pytest
from fabricated_run import change_results, evidence, fabricate, filled, plain, results_of, row

from glossae.errors import GlossaeError
from glossae.reporting.findings import at_matched_damage, selective_at, third_languages, units_found, verdict
from glossae.reporting.reading import RunFiles, read_run
from glossae.reporting.sections.autoencoder import autoencoder_blocks
from glossae.reporting.sections.effects import sweep, sweep_details
from glossae.reporting.wording import listed, model_name, moves, number, percent, signed, visible, whole
from glossae.results import ChosenLatents


def files_of(folder: Path, case: str = "found", **options: Any) -> RunFiles:
    return read_run(fabricate(folder, case, **options))


def changed(folder: Path, **sections: dict[str, Any]) -> RunFiles:
    """The files of a run after keys of some sections of its results were changed."""
    results = results_of(folder)
    change_results(folder, **{name: (results[name] or {}) | keys for name, keys in sections.items()})
    return read_run(folder)


def verdict_of(files: RunFiles) -> str:
    return plain("\n".join(verdict(files)))


def test_found(tmp_path: Path) -> None:
    text = verdict_of(files_of(tmp_path))
    assert "Three latents pass the paper's rule" in text
    assert "latent 11, fires on 90 % of Danish and 0.4 % of English tokens" in text
    assert "the English loss has fallen by 0.0012 nats per byte: a difference of 0.0762" in text
    assert "a ratio of at least 30, a one-sided 95 % limit" in text
    assert "against English the units are selective" in text
    assert "No latent" not in text
    assert "No selective" not in text
    assert "Random latents" in text
    assert "unsound" not in text
    # another rule is not called the paper's
    limits = {"min_target": 0.3, "max_reference": 0.05, "max_reference_fallback": 0.02}
    files = changed(tmp_path, features={"thresholds": limits})
    rule = "this run's rule (firing on more than 30 % of Danish and less than 5 % of English tokens)"
    assert rule in plain(units_found(files))


def test_an_unsound_autoencoder_is_the_first_finding(tmp_path: Path) -> None:
    fabricate(tmp_path)
    finding = "95.3 % of the latents are dead."
    files = changed(tmp_path, sae={"unsound": [finding]})
    assert verdict_of(files).startswith(f"The autoencoder is unsound. {finding}\n")
    warning = next(autoencoder_blocks(files))
    assert (warning.tone, warning.text) == ("warning", f"This autoencoder is unsound. {finding}")


def test_results_of_another_version_are_refused(tmp_path: Path) -> None:
    change_results(fabricate(tmp_path), schema_version=1)
    message = r"results.json: schema_version 1 has other keys .* run the same command"
    with pytest.raises(GlossaeError, match=message):
        read_run(tmp_path)


def test_the_fallback_reports_how_far_it_is_from_the_rule(tmp_path: Path) -> None:
    text = verdict_of(files_of(tmp_path, "fallback"))
    assert text.startswith("No latent passes the paper's rule")
    assert "The fallback took the four latents" in text
    assert "fires on 26 % of Danish and 1.2 % of English tokens" in text
    assert "too seldom on Danish and too often on English" in text


def test_unselective(tmp_path: Path) -> None:
    files = files_of(tmp_path, "unselective")
    text = verdict_of(files)
    assert "When the Danish loss has risen by 0.3 nats per token, 0.0750 per byte" in text
    assert "the English loss has risen by 0.0690 nats per byte" in text
    assert "No selective latent was found at this site (resid of layer 2)" in text
    assert "units are selective" not in text
    assert selective_at(files) == {0.1: False, 0.3: False}


def test_selective_at_one_damage_only(tmp_path: Path) -> None:
    text = verdict_of(files_of(tmp_path, "published"))
    assert "So at 0.3 nats turning them down costs Danish more than twice what it costs English" in text
    assert "but not at 0.1 nats" in text


def test_an_empty_selection_claims_nothing(tmp_path: Path) -> None:
    files = files_of(tmp_path, "empty")
    text = verdict_of(files)
    assert text.startswith("No latent passes the paper's rule")
    assert "The nearest, latent 17, fires on 26 % of Danish and 5 % of English tokens" in text
    assert "No selective latent was found" in text
    assert "took" not in text
    assert "risen" not in text
    assert "no units to sweep" in sweep(files, splice=False)
    assert third_languages(files) == ""
    assert sweep_details(files, splice=True) == ""


def test_damage_that_is_never_reached(tmp_path: Path) -> None:
    next_token = results_of(fabricate(tmp_path))["next_token"]
    named = ("units", "kind", "edit", "splice", "text", "at", "versus")
    rows = [
        {name: own[name] if name in named else None for name in own} | {"reached": False}
        for own in next_token["selectivity"]
    ]
    cells = [
        cell | {"delta": 0.01 * cell["delta"]} if cell["edit"] == "set" else cell
        for cell in next_token["cells"]
    ]
    files = changed(tmp_path, next_token={"cells": cells, "selectivity": rows, "chosen": []})
    assert plain(at_matched_damage(files, 0.1, splice=False)) == (
        "The Danish loss never rises by 0.1 nats as the units are turned down; at most it rises by 0.007 nats."
    )
    assert "That is too little to compare with English. No selective latent" in verdict_of(files)
    assert "0.3 nats" not in verdict_of(files)


def test_a_dose_above_zero_is_not_made_up(tmp_path: Path) -> None:
    rows = results_of(fabricate(tmp_path))["next_token"]["selectivity"]
    files = changed(tmp_path, next_token={"selectivity": [own | {"value": None} for own in rows]})
    assert "(between no edit and the value 0)" in at_matched_damage(files, 0.1, splice=False)


@pytest.mark.parametrize("splice", [True, False])
def test_the_sweep_says_rises_where_it_rises(tmp_path: Path, splice: bool) -> None:
    files = files_of(tmp_path)
    cells = {
        cell.language: cell
        for cell in files.next_token.cells
        if (cell.splice, cell.value, cell.source) == (splice, -8.0, "all")
    }
    danish, english = cells["da"], cells["en"]
    text = plain(sweep(files, splice))
    assert "at -8 (a value the units never take by themselves)" in text
    assert f"Danish loss rises by {danish.delta:.3f} nats (95 % interval {danish.ci_low:.3f} to" in text
    assert f"English loss falls by {-english.delta:.3f} nats (95 % interval of the change -0.030" in text
    assert "but not lower than with the units unmodified" in plain(sweep_details(files, splice))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("unit: latent", "unit: p99"))
    assert "at -8 times the 99th percentile" in plain(sweep(read_run(tmp_path), splice))


@pytest.mark.parametrize(
    ("swedish", "german", "claim"),
    [
        (0.60, 0.50, "they stand for “not English” as much as for Danish"),
        (0.60, 0.01, "they stand for more than Danish, for Swedish too"),
        (0.02, 0.01, "they stand for Danish, not just for “not English”"),
        (0.20, 0.01, "most for Danish, but not for Danish alone"),
    ],
)
def test_third_languages(tmp_path: Path, swedish: float, german: float, claim: str) -> None:
    units = results_of(fabricate(tmp_path))["features"]["units"]
    rate = row("da en sv de", 0.8, 0.002, swedish, german)
    assert claim in third_languages(
        changed(
            tmp_path,
            features={"units": [unit | {"rate": rate} for unit in units]},
        )
    )


# ---- tests against a panel, and random weights


def panel(outside: tuple[str, ...], found: int = 3, **again: int) -> dict[str, Any]:
    """`evidence` of a run: so many latents of 200 pass, and again so many on other text."""
    claim = row("claim inside outside same", "Danish", ["da"], list(outside), [])
    rows = [
        row("kind on tokens units passed", "latent", on, tokens, found, passed)
        for on, passed in again.items()
        for tokens in (1, 32)
    ]
    kinds = (("latent", found, 200), ("neuron", 40, 64))
    claims = [claim | row("kind units of family_wise", *kind, None) for kind in kinds]
    return evidence(replication=rows, claims=claims)


def test_the_verdict_counts_panel_languages_and_held_out_replication(tmp_path: Path) -> None:
    assert "No third language was measured" in verdict_of(files_of(tmp_path, others=()))

    def verdict_with(found: dict[str, Any]) -> str:
        change_results(tmp_path, evidence=found)
        return verdict_of(read_run(tmp_path))

    text = verdict_with(panel(("en", "sv", "de"), held_out=3, replicate=2))
    assert (
        "Tested against three other languages (English, Swedish and German), 3 of 200 latents pass as Danish. The same "
        "test on text that was not searched: 3 of 3 on the half held out and 2 of 3 on the other text pass again."
    ) in text
    # they were measured on the panel, if not on select
    assert "No third language" not in text
    text = verdict_with(panel(("en", "sv"), found=0, held_out=0))
    assert "(English and Swedish), 0 of 200 latents pass as Danish." in text
    assert "pass again" not in text
    # the tests of a panel of the pair alone know no third language
    text = verdict_with(panel(("en",)))
    assert "Tested against one other language (English)" in text
    assert "No third language was measured" in text
    assert "Tested against" not in verdict_with({"reason": "select is too short"})


@pytest.mark.parametrize(
    ("random", "expected"),
    [
        (
            (8, 6, 4),
            "With random weights, 8, 6 and 4 latents pass the same rule on the same text; trained, 9.",
        ),
        (
            (8, 9, 4),
            "With random weights, 8, 9 and 4 latents pass the same rule on the same text; trained, 9. So training "
            "makes no more latents pass.",
        ),
        ((), ""),
        ((None, None), ""),
    ],
)
def test_the_verdict_counts_random_weights(
    tmp_path: Path, random: tuple[int | None, ...], expected: str
) -> None:
    fabricate(tmp_path)
    counts = [("da", None, 9), ("sv", None, 30), *(("da", seed, count) for seed, count in enumerate(random))]
    rows = [
        filled(ChosenLatents, language=code, seed=seed, passing=count).to_json()
        for code, seed, count in counts
    ]
    text = verdict_of(changed(tmp_path, next_token={"chosen": rows}))
    assert expected in text
    assert ("random weights" in text.lower()) == bool(expected)
    assert ("So training" in text) == ("So training" in expected)


# ---- wording


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
    assert moves(0.26, past=True) == "has risen by 0.260 nats"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert whole(65536) == "65\N{NARROW NO-BREAK SPACE}536"
    assert visible("a\x00\ud800\nb") == "a\ufffd\ufffd\nb"


def test_a_folder_is_named_by_its_last_part() -> None:
    for folder in ("../models/tiny-da-en", "/data/models/tiny-da-en/", "~/tiny-da-en", "./tiny-da-en"):
        assert model_name(folder) == "tiny-da-en"
    for name in ("toy", "gpt2", "EleutherAI/pythia-14m"):
        assert model_name(name) == name
    assert model_name("..") == ".."
