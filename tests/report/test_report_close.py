"""What the page says of close languages where something was not tested, or nothing was selected."""

import dataclasses
from typing import Any

from glossae.report.sections.close_languages import close_section
from glossae.report.sections.random_tokens import random_token_blocks

from glossae.recipe import Corpora, Languages, Recipe, SaeSettings
from glossae.report.blocks import Cell, Paragraph, Table
from glossae.report.reading import RunFiles

MATRIX = {
    "kind": "latent",
    "on": "held_out",
    "languages": ["da", "en", "sv"],
    "units": 2,
    "auroc": [[0.5, 0.98, 0.9], [0.02, 0.5, 0.3], [0.1, 0.7, 0.5]],
    "low": [[None, 0.97, 0.85], [0.01, None, 0.2], [0.05, 0.65, None]],
    "high": [[None, 0.99, 0.93], [0.03, None, 0.35], [0.15, 0.8, None]],
}
MATCHED = {
    "kind": "latent",
    "on": "held_out",
    "other": "sv",
    "matched": 12,
    "found": [500, 400],
    "before": {"tokens_per_word": 1.23, "bytes_per_token": -0.5},
    "after": {"tokens_per_word": 0.04, "bytes_per_token": -0.01},
    "reason": "da and sv: 12 and 12 sentences are too few",
    "passed": None,
    "set": {"all": [0.9, 0.85, 0.93], "matched": [0.8, None, None]},
    "units": [{"unit": 7, "label": "latent 7", "all": [0.9, 0.8, 0.95], "matched": [0.75, 0.5, 0.9]}],
}
CLAIM = {"kind": "latent", "on": "held_out", "claim": "Danish", "units": 2, "outside": [], "left_out": {}}
NOBODY = {"passed": None, "passed_matched": None, "passed_as_many": None}
PAIR = {"languages": ["da", "sv"], "sentences": {"da": 500, "sv": 400}, "doubtful": {"da": 5, "sv": 0}}


def shown(ambiguous: Any = "keep", **changes: Any) -> list[Any]:
    evidence = {
        "reason": None,
        "matrix": [MATRIX],
        "matched": [MATCHED],
        "matched_claims": [CLAIM | NOBODY | {"left_out": {"sv": "12 and 12 sentences are too few"}}],
        "panels": [{"role": "panel", "doubtful": [PAIR]}],
        "unambiguous": [],
    }
    recipe = Recipe(
        name="made",
        model="tiny",
        languages=Languages(others=("sv",)),
        corpora=Corpora(train="toy"),
        sae=SaeSettings(latents=8, k=4),
    )
    recipe = dataclasses.replace(recipe, evidence=dataclasses.replace(recipe.evidence, ambiguous=ambiguous))
    return list(close_section(RunFiles(recipe, results={"evidence": evidence | changes})).blocks)


def texts(blocks: list[Any]) -> str:
    return "\n".join(block.text for block in blocks if isinstance(block, Paragraph))


def tables(blocks: list[Any]) -> dict[str, Table]:
    return {block.label: block for block in blocks if isinstance(block, Table)}


def test_it_says_whom_the_set_ranks_over_the_reference_too() -> None:
    blocks = shown()
    assert "the two latents of Danish together also rank Swedish (0.70) over English." in texts(blocks)
    matrix = tables(blocks)["Every language over every other, latents, the half held out"]
    assert matrix.rows[0] == ("Danish", "–", Cell("0.980", "0.97 to 0.99"), Cell("0.900", "0.85 to 0.93"))
    alone = MATRIX | {"low": [[None, 0.97, 0.85], [0.01, None, 0.2], [0.05, 0.45, None]]}
    assert "together rank no other language over English." in texts(shown(matrix=[alone]))


def test_too_few_matched_sentences_are_said() -> None:
    blocks = shown()
    assert (
        "too few to test the two latents on. Not against Swedish: 12 and 12 sentences are too few."
        in texts(blocks)
    )
    (row,) = tables(blocks)["Matched on tokenisation, latents, the half held out"].rows
    assert row[1] == Cell("12", "of 500 and 400")
    assert row[2] == Cell("+0.04", "before: +1.23")
    assert row[-2:] == (Cell("0.800", ""), "too few")
    tested = MATCHED | {"passed": {"all": 2, "matched": 1, "as_many": 2}}
    (row,) = tables(shown(matched=[tested]))["Matched on tokenisation, latents, the half held out"].rows
    assert row[-1] == Cell("1", "all: 2; as many: 2")
    claim = CLAIM | {"outside": ["sv"], "passed": 2, "passed_matched": 1, "passed_as_many": 2}
    said = texts(shown(matched_claims=[claim]))
    assert (
        "of two latents 2 pass as Danish against Swedish on all sentences, 1 on the matched ones, and 2 on"
        in said
    )


def test_what_became_of_doubtful_sentences_is_said() -> None:
    table = tables(shown())["Sentences that could be in either language"]
    assert [str(cell).replace("\N{NO-BREAK SPACE}", " ") for cell in table.rows[0][1:]] == [
        "Danish",
        "Swedish",
        "500",
        "5",
        "1 %",
    ]
    assert len(table.rows) == 1
    assert "were kept" in table.caption
    dropped = tables(shown("drop"))["Sentences that could be in either language"]
    assert "set aside before" in dropped.caption
    nothing = PAIR | {"doubtful": {"da": 0, "sv": 0}}
    assert "no sentences could be" in texts(shown(panels=[{"role": "panel", "doubtful": [nothing]}]))


def test_where_nothing_was_selected_there_is_one_line() -> None:
    (only,) = shown(matrix=[])
    assert only.tone == "absent"
    assert random_token_blocks({"scores": None}) == []
    assert random_token_blocks({"scores": {"random_tokens": {"units": []}}}) == []
