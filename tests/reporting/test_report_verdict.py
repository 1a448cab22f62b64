"""What the verdict says is what the numbers are."""

from pathlib import Path
from typing import Any

import pytest
from fabricated_run import (
    change_results,
    evidence,
    fabricate,
    filled,
    page_of,
    plain,
    results_of,
    row,
    words_of,
)

from glossae.errors import GlossaeError, visible
from glossae.recipe import load_recipe
from glossae.reporting.reading import RunFiles, read_run
from glossae.reporting.verdict import selective_at, verdict, what_training_adds
from glossae.reporting.wording import listed, model_name, number, percent, signed, whole
from glossae.results import (
    Baselines,
    ChosenLatents,
    Control,
    Controls,
    FamilyUnit,
    FoundUnits,
    LossChange,
    StageResults,
    SwitchedSet,
    TrainingAdds,
    TrainingCarries,
)


def changed(folder: Path, **sections: dict[str, Any]) -> RunFiles:
    """The files of a run after keys of some sections of its results were changed."""
    results = results_of(folder)
    change_results(folder, **{name: (results[name] or {}) | keys for name, keys in sections.items()})
    return read_run(folder)


def said(files: RunFiles) -> dict[str, str]:
    return {heading: plain(sentence) for heading, sentence in verdict(files)}


def test_found(tmp_path: Path) -> None:
    files = read_run(fabricate(tmp_path))
    text = said(files)
    assert list(text) == ["Found", "How sure", "Controls"]
    assert text["Found"] == (
        "Three latents pass the rate rule (a latent fires on more than 50 % of Danish and less than 1 % of English "
        "tokens), which fire on Swedish too."
    )
    assert "it rises per byte at least 30 times as much (one-sided 95 %) as English and" in text["How sure"]
    assert text["How sure"].endswith("as Swedish: selective against English, not against Swedish.")
    assert "no random sets were drawn (--effects.controls 1000)" in text["Controls"]
    # other thresholds are not called the paper's
    limits = {"min_target": 0.3, "max_reference": 0.05, "max_reference_fallback": 0.02}
    text = said(changed(tmp_path, features={"thresholds": limits}))
    assert "more than 30 % of Danish and less than 5 % of English" in text["Found"]


def test_an_unsound_autoencoder_is_said_first(tmp_path: Path) -> None:
    fabricate(tmp_path)
    finding = "95.3 % of the latents are dead."
    page = words_of(page_of(tmp_path, sae=results_of(tmp_path)["sae"] | {"unsound": [finding]}))
    assert page.index(f"The autoencoder is unsound. {finding}") < page.index("Found.")


def test_results_of_another_version_are_refused(tmp_path: Path) -> None:
    change_results(fabricate(tmp_path), schema_version=1)
    with pytest.raises(
        GlossaeError, match=r"results.json: schema_version 1 has other keys .* run the same command"
    ):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("case", "selective", "parts"),
    [
        (
            "fallback",
            None,
            ("No latent fires on more than 50 % of Danish", "the fallback took the nearest four"),
        ),
        (
            "unselective",
            {0.1: False, 0.3: False},
            ("1.1 times as much", "no selective latent was found at this site (resid of layer 2)"),
        ),
        ("published", {0.1: False, 0.3: True}, ("selective against English at 0.3 nats only",)),
        ("empty", {}, ("No latent fires on more than 50 %", "No selective latent was found at this site")),
    ],
)
def test_judgements(tmp_path: Path, case: str, selective: Any, parts: tuple[str, ...]) -> None:
    files = read_run(fabricate(tmp_path, case))
    text = " ".join(said(files).values())
    for part in parts:
        assert part in text
    if selective is not None:
        assert selective_at(files) == selective
        assert ("selective against English" in text) == any(selective.values())


def test_damage_that_is_never_reached(tmp_path: Path) -> None:
    next_token = results_of(fabricate(tmp_path))["next_token"]
    named = ("units", "kind", "edit", "splice", "text", "at", "versus")
    rows = [
        {name: own[name] if name in named else None for name in own} | {"reached": False}
        for own in next_token["selectivity"]
    ]
    text = said(changed(tmp_path, next_token={"selectivity": rows, "chosen": []}))["How sure"]
    assert text.startswith(
        "The Danish loss never rises by 0.1 nats as the units are turned down, so no selective"
    )


@pytest.mark.parametrize(
    ("swedish", "german", "claim"),
    [
        (0.60, 0.50, "which stand for “not English” as much as for Danish"),
        (0.60, 0.01, "which fire on Swedish too"),
        (0.02, 0.01, "which fire less than half as often on Swedish and German"),
    ],
)
def test_third_languages(tmp_path: Path, swedish: float, german: float, claim: str) -> None:
    units = results_of(fabricate(tmp_path))["features"]["units"]
    rate = row("da en sv de", 0.8, 0.002, swedish, german)
    assert (
        claim
        in said(changed(tmp_path, features={"units": [unit | {"rate": rate} for unit in units]}))["Found"]
    )


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


def test_tests_and_their_replication_are_counted(tmp_path: Path) -> None:
    assert "no third language was measured" in said(read_run(fabricate(tmp_path, others=())))["Found"]

    def found_with(tested: dict[str, Any]) -> str:
        change_results(tmp_path, evidence=tested)
        return said(read_run(tmp_path))["Found"]

    text = found_with(panel(("en", "sv", "de"), held_out=3, replicate=2))
    assert text.startswith(
        "3 of 200 latents pass as Danish, told from English, Swedish and German (false discovery rate 5 %), and again "
        "3 of 3 on the half held out and 2 of 3 on the other text"
    )
    # they were measured on the panel, if not on select
    assert "no third language" not in text
    text = found_with(panel(("en", "sv"), found=0, held_out=0))
    assert text.startswith("No latent of 200 passes as Danish, told from English and Swedish")
    assert "again" not in text
    # the tests of a panel of the pair alone know no third language
    assert "no third language was measured" in found_with(panel(("en",)))
    assert "false discovery" not in found_with({"reason": "select is too short"})


@pytest.mark.parametrize(
    ("random", "expected"),
    [
        (
            (8, 6, 4),
            "nine latents pass the rate rule in the trained autoencoder, 4 to 8 in each of three untrained ones;",
        ),
        ((8, 9, 4), "4 to 9 in each of three untrained ones, so training makes no more latents pass;"),
        ((None, None), ""),
    ],
)
def test_untrained_latents_are_counted(tmp_path: Path, random: tuple[int | None, ...], expected: str) -> None:
    fabricate(tmp_path)
    counts = [("da", None, 9), ("sv", None, 30), *(("da", seed, count) for seed, count in enumerate(random))]
    rows = [filled(ChosenLatents, language=code, seed=seed, passing=n).to_json() for code, seed, n in counts]
    text = said(changed(tmp_path, next_token={"chosen": rows}))["Controls"]
    assert expected in text[:1].lower() + text[1:]
    assert ("untrained" in text) == bool(expected)


def test_the_rank_among_drawn_sets_is_said(tmp_path: Path) -> None:
    fabricate(tmp_path)
    drawn = filled(Control, units="da", edit="zero", control="matched latents", draws=1000, rank=1)
    rows = [drawn.model_copy(update={"statistic": name}) for name in ("target", "target - reference")]
    change_results(tmp_path, controls=filled(Controls, rows=rows).to_json())
    text = said(read_run(tmp_path))["Controls"]
    assert "rank 1 of 1 001 by Danish less English among draws of matched latents" in text


def added(*adds: tuple[str, float, float, float], reason: str | None = None) -> str:
    rows = [filled(TrainingAdds, what=w, size=4, difference=m, low=lo, high=hi) for w, m, lo, hi in adds]
    found = Baselines(
        reason=reason,
        adds=[*rows, TrainingCarries(trained=[1], untrained=[1])],
        autoencoders=[filled(FoundUnits, group=group, passing=9) for group in ("trained", "untrained")],
    )
    return plain(what_training_adds(RunFiles(load_recipe("demo"), results=StageResults(baselines=found))))


def test_what_training_adds_is_said_of_the_margin_whatever_it_is() -> None:
    text = added(("target", 0.06, 0.048, 0.074), ("margin", -0.004, -0.024, 0.017))
    assert text == (
        "four trained latents switched off raise the loss, beyond as many untrained ones, by -0.004 nats a token in "
        "Danish less the other language that loses most (95 % -0.024 to +0.017), which shows nothing, and by +0.060 "
        "nats a token in Danish alone (95 % +0.048 to +0.074)"
    )
    # without a third language there is no margin
    text = added(("target", -0.2, -0.3, -0.1))
    assert "untrained ones, by -0.200 nats a token in Danish (95 % -0.300 to -0.100)" in text
    assert added(reason="too little text") == ""
    assert what_training_adds(RunFiles(load_recipe("demo"))) == ""


def test_a_simpler_set_is_more_selective_where_the_intervals_lie_apart(tmp_path: Path) -> None:
    own = results_of(fabricate(tmp_path))["next_token"]

    def how_sure(edit: str, low: float, versus: str = "en") -> str:
        rows = [each for each in own["selectivity"] if each["units"] == "da"]
        mine = next(
            each for each in rows if each["at"] == 0.3 and each["versus"] == "en" and not each["splice"]
        )
        rows.append(
            mine
            | {"units": "probe", "edit": edit, "versus": versus, "margin_per_byte_low": low, "text": "test"}
        )
        return said(changed(tmp_path, next_token=own | {"selectivity": rows}))["How sure"]

    limit = max(
        each["margin_per_byte_high"]
        for each in own["selectivity"]
        if each["units"] == "da" and each["at"] == 0.3 and each["versus"] == "en" and each["edit"] == "set"
    )
    assert how_sure("set", limit + 0.01).endswith(
        "; against English the probe's direction is more selective."
    )
    assert "more selective" not in how_sure("set", limit - 0.01)
    # edited in another way, or against another language, they are not compared
    assert "more selective" not in how_sure("add", limit + 0.01)
    assert "more selective" not in how_sure("set", limit + 0.01, versus="de")


def test_controls_name_what_passes_untrained_and_the_strongest_other_set(tmp_path: Path) -> None:
    def off(group: str, size: int, own: float, nearest: float) -> SwitchedSet:
        change = {code: filled(LossChange, delta=d) for code, d in (("da", own), ("sv", nearest))}
        return filled(SwitchedSet, group=group, size=size, dose=1.0, change=change, nearest="sv")

    autoencoders = [
        filled(FoundUnits, group=group, passing=n, weakest=auroc)
        for group, n, auroc in (("trained", 9, 0.99), ("untrained", 6, 0.95), ("untrained", 2, 0.97))
    ]
    sets = [
        off("trained", 4, 0.2, 0.05), off("trained", 1, 0.1, 0.05), off("untrained", 4, 9.0, 0.0),
        off("coordinates", 4, 0.5, 0.4), off("difference of means, da less en", 1, 0.6, -0.01),
    ]  # fmt: skip
    found = Baselines(reason=None, autoencoders=autoencoders, sets=sets)
    change_results(fabricate(tmp_path), baselines=found.to_json())
    text = said(read_run(tmp_path))["Controls"]
    assert text.startswith(
        "2 to 6 latents of an untrained autoencoder pass the same tests (trained: 9); their best AUROC over the "
        "nearest language is 0.970 (trained: 0.990); "
    )
    assert (
        "the difference of means, da less en, switched off raises the loss in Danish by 0.600 nats a token and, the "
        "most of the other languages, in Swedish by -0.010; four trained latents in Danish by 0.200 nats a token and, "
        "the most of the other languages, in Swedish by 0.050"
    ) in text
    # where none passes, the better latent is said if it is an untrained one
    for trained, words in (
        (0.7, "the best AUROC of an untrained latent over the nearest language is 0.900"),
        (0.95, ""),
    ):
        autoencoders = [
            filled(FoundUnits, group=group, passing=0, weakest=auroc)
            for group, auroc in (("trained", trained), ("untrained", 0.9))
        ]
        found = Baselines(reason=None, autoencoders=autoencoders, sets=sets)
        change_results(tmp_path, baselines=found.to_json())
        controls = said(read_run(tmp_path))["Controls"]
        assert ("AUROC" in controls) == bool(words)
        assert words.lower() in controls.lower()


@pytest.mark.parametrize(
    ("passing", "said_of"),
    [
        ((3,), "by its mean values in sentences: it fires on"),
        ((3, 5), "their mean values in sentences: they fire on"),
    ],
)
def test_how_often_tested_latents_fire_on_the_pair_is_said(
    tmp_path: Path, passing: tuple[int, ...], said_of: str
) -> None:
    """They may fire on most tokens of the reference, and be told by their mean value."""
    fabricate(tmp_path)
    rows = [
        filled(FamilyUnit, unit=unit, kind=kind, label=f"{kind} {unit}", selected=selected, interval={})
        for unit, kind, selected in (
            *((unit, "latent", True) for unit in passing),
            (7, "latent", False),
            (9, "neuron", True),
        )
    ]
    change_results(
        tmp_path, evidence=panel(("en", "sv", "de")) | {"units": [each.to_json() for each in rows]}
    )
    files = read_run(tmp_path)
    assert files.statistics is not None
    rates = {"da": 0.89, "en": 0.67, "sv": 0.5, "de": 0.1}
    own = files.statistics["unit"].isin(passing)
    files.statistics["rate"] = files.statistics["language"].map(rates).where(own, 0.0)
    assert f"{said_of} 89 % of Danish and 67 % of English tokens" in said(files)["Found"]


def test_languages_that_were_set_aside_are_not_denied(tmp_path: Path) -> None:
    """Told from the reference alone, because another language was too close, or had too little text."""
    units = results_of(fabricate(tmp_path))["features"]["units"]
    rate = row("da en sv", 0.9, 0.02, 0.95)
    features = {"rule": "tested", "units": [unit | {"rate": rate} for unit in units]}
    change_results(tmp_path, evidence=panel(("en",)))
    recipe = (tmp_path / "recipe.yaml").read_text(encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(recipe.replace("rule: paper", "rule: tested"), encoding="utf-8")
    found = said(changed(tmp_path, features=features))["Found"]
    assert "told from English (false discovery rate 5 %), and not told from Swedish and German; " in found
    assert found.endswith("the selected latents stand for “not English” as much as for Danish.")
    assert "no third language" not in found


def test_latents_that_fire_on_the_reference_are_called_so(tmp_path: Path) -> None:
    units = results_of(fabricate(tmp_path))["features"]["units"]
    units = [unit | {"rate": row("da en sv", 0.017, 0.010, 0.010)} for unit in units]
    assert (
        "which fire on English and Swedish too" in said(changed(tmp_path, features={"units": units}))["Found"]
    )


def test_numbers_in_words() -> None:
    assert plain(percent(0.264)) == "26 %"
    assert plain(percent(0.0123)) == "1.2 %"
    assert plain(percent(0.0)) == plain(percent(0.0, digits=1)) == "0 %"
    assert plain(percent(1.0)) == "100 %"
    assert plain(percent(0.9996)) != "100 %"
    assert plain(percent(0.00003)) == "under 0.01 %"
    assert number(-0.0001) == "0.000"
    assert signed(-0.5, 1) == "\N{MINUS SIGN}0.5"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert whole(65536) == "65\N{NARROW NO-BREAK SPACE}536"
    assert visible("a\x00\ud800\u202e\u2067b\nc") == "a\\x00\\ud800\\u202e\\u2067b\nc"
    assert visible("日本 “så” \u200d") == "日本 “så” \u200d"


def test_a_folder_is_named_by_its_last_part() -> None:
    for folder in ("../models/tiny-da-en", "/data/models/tiny-da-en/", "~/tiny-da-en", "./tiny-da-en"):
        assert model_name(folder) == "tiny-da-en"
    for name in ("toy", "gpt2", "EleutherAI/pythia-14m"):
        assert model_name(name) == name
    assert model_name("..") == ".."
