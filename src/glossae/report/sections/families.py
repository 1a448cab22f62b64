"""Latents, neurons and directions side by side: at matched damage, what each does to every language, part by part."""

import math
from collections.abc import Sequence

from glossae.report.blocks import Block, Cell, Paragraph, Table
from glossae.report.reading import Row, RunFiles
from glossae.report.sentences import has_interval, ratio_words
from glossae.report.wording import NO_BREAK, interval, language_name, number, percent, short, signed

# of a set's edits, those that the matrix of languages shows
_ABLATIONS = {"latent": "zero", "neuron": "mean", "direction": "project_out"}
_MEAN, _NEAREST = "mean of others", "nearest"
_FIXED, _ADDED = "fixed, down from 0", "taken away"
# a latent's own value is multiplied; of neurons and directions it is the distance from the reference's mean
_SCALED = {
    "latent": "own values switched off, then turned to the opposite sign",
    "neuron": "drawn to the reference's mean and beyond",
    "direction": "drawn to the reference's mean and beyond",
}


def path_words(kind: str, edit: str) -> str:
    """What a way down does to units of a kind."""
    return _SCALED[kind] if edit == "scale" else {"set": _FIXED, "add": _ADDED}[edit]


def ratio_cell(row: Row | None) -> str | Cell:
    """The ratio per byte; in small print what it is, and the difference."""
    if row is None or not row["reached"]:
        return "–"
    spread = (
        interval(row["ratio_per_byte_low"], row["ratio_per_byte_high"], 1)
        if has_interval(row)
        else f"one-sided 95{NO_BREAK}% limit"
    )
    return Cell(ratio_words(row), f"{spread}; difference {signed(row['margin_per_byte'], 4)}")


def margin_cell(row: Row) -> Cell:
    """The difference of the rises per byte, with its interval."""
    return Cell(
        signed(row["margin_per_byte"], 4),
        interval(row["margin_per_byte_low"], row["margin_per_byte_high"], 4),
    )


def family_blocks(files: RunFiles) -> list[Block]:
    """What a run measured of other sets than the selected latents, and of the set's parts; nothing if it has none."""
    found = [
        _matched(files),
        _best(files),
        _side_effects(files),
        _matrix(files),
        _one_by_one(files),
        _best_dose(files),
    ]
    return [block for block in found if block is not None]


def set_name(files: RunFiles, name: str) -> str:
    """What a set is called: the selected latents by the language they are of."""
    if name == files.target:
        return f"selected ({language_name(name)})"
    return f"{language_name(name)} latents" if name in files.languages else name


def _own(files: RunFiles) -> list[Row]:
    """Rows at matched damage to the run's target, error-preserving."""
    return [
        row
        for row in files.rows("next_token", "selectivity")
        if not row["splice"] and row["units"] not in files.languages[1:]
    ]


def _matched(files: RunFiles) -> Table | None:
    sets = files.rows("next_token", "sets")
    if len(sets) < 2:
        return None
    by_key: dict[tuple[str, str, float, str], dict[str, Row]] = {}
    for row in _own(files):
        key = (row["units"], row["edit"], row["at"], row.get("text", "test"))
        by_key.setdefault(key, {})[row["versus"]] = row
    lines: list[list[str | Cell]] = []
    for at in (0.3, 0.1):
        for (name, edit, height, text), versus in by_key.items():
            if height == at:
                lines.append(_matched_line(files, name, edit, at, text, versus))
    if not lines:
        return None
    target = language_name(files.target)
    return Table(
        "Families side by side",
        f"Every set on every way down, error-preserving, where the {target} loss has risen by so many nats per token. "
        "Doses of other sets than the selected one are looked for, on the sentences that it is measured on. "
        "All else is in nats per byte, by which languages compare more nearly. Ratio: that rise over the other's, or, "
        f"after ≥, a one-sided 95{NO_BREAK}% lower limit where the other's rise may be 0; difference: the one less the "
        f"other; margin over the nearest: less the largest of the others'. Small print: 95{NO_BREAK}% intervals.",
        (
            "Units",
            "Edit",
            "Text",
            f"{target} rises by",
            f"Over {language_name(files.reference)}",
            "Over the mean of others",
            "Over the nearest",
            "Margin over the nearest",
        ),
        lines,
        words=3,
    )


def _matched_line(
    files: RunFiles, name: str, edit: str, at: float, text: str, versus: dict[str, Row]
) -> list[str | Cell]:
    kind = next(iter(versus.values()))["kind"]
    head: list[str | Cell] = [
        Cell(set_name(files, name), kind),
        Cell(edit, path_words(kind, edit)),
        "held-out panel" if text == "panel" else text,
        short(at),
    ]
    reference = versus.get(files.reference)
    # of two languages there is one other, which is the nearest too
    nearest = versus.get(_NEAREST, reference)
    if nearest is None or not nearest["reached"]:
        return [*head, "not reached", "–", "–", "–"]
    head[-1] = Cell(short(at), f"{number(nearest['target_delta_per_byte'], 4)} per byte")
    compared = (reference, versus.get(_MEAN, reference), nearest)
    return [*head, *map(ratio_cell, compared), margin_cell(nearest)]


def _best(files: RunFiles) -> Paragraph | None:
    """Whether the selected latents are the most selective of what was tried."""
    rows = [
        row
        for row in _own(files)
        if row["at"] == 0.3
        and row["versus"] == files.reference
        and row.get("text", "test") == "test"
        and row["reached"]
    ]
    best: dict[str, Row] = {}
    for row in rows:
        held = best.get(row["kind"])
        if held is None or _least(row) > _least(held):
            best[row["kind"]] = row
    if len(best) < 2 or "latent" not in best:
        return None
    order = sorted(best.values(), key=_least, reverse=True)
    parts = ", ".join(
        f"{row['kind']}s {ratio_words(row)}, difference {signed(row['margin_per_byte'], 4)} "
        f"({set_name(files, row['units'])}, {row['edit']})"
        for row in order
    )
    lost = "" if order[0]["kind"] == "latent" else " Here latents lose to what is cheaper."
    return Paragraph(
        f"At 0.3 nats per token of {language_name(files.target)}, by the one-sided 95{NO_BREAK}% lower limit of the "
        f"ratio over {language_name(files.reference)} per byte, the best of each family: {parts}.{lost}",
        "finding",
    )


def _least(row: Row) -> tuple[float, float]:
    """The lower limit of the ratio per byte, which is infinite where there is none; then the difference."""
    least = row["ratio_per_byte_least"]
    return math.inf if least is None else least, row["margin_per_byte"]


def _side_effects(files: RunFiles) -> Table | None:
    rows = [row for row in files.rows("next_token", "side_effects") if row["reached"]]
    if not rows:
        return None
    target, reference = language_name(files.target), language_name(files.reference)
    return Table(
        f"Side effects on {reference}",
        f"Where the {target} loss has risen by so much: how far predictions on {reference} text of test "
        f"move (KL from the "
        "model's own, nats per token), how often the most probable token stays, and the length of the "
        "change at the site "
        f"relative to the activation's. Small print: 95{NO_BREAK}% intervals.",
        ("Units", "Edit", f"{target} rises by", "KL", "Top-1 agreement", "Size of the change"),
        [
            (
                Cell(set_name(files, row["units"]), row["kind"]),
                row["edit"],
                short(row["at"]),
                Cell(number(row["kl"], 4), interval(row["kl_low"], row["kl_high"], 4)),
                Cell(
                    percent(row["agreement"], digits=1),
                    f"{percent(row['agreement_low'], digits=1)} to "
                    f"{percent(row['agreement_high'], digits=1)}",
                ),
                Cell(percent(row["change"], digits=1)),
            )
            for row in rows
        ],
        words=2,
    )


def _matrix(files: RunFiles) -> Table | None:
    """Every set's ablation on every language."""
    if len(files.rows("next_token", "sets")) < 2:
        return None
    cells = [
        cell
        for cell in files.rows("next_token", "cells")
        if cell["source"] in ("all", "panel")
        and not cell["splice"]
        and cell["edit"] == _ABLATIONS[cell["kind"]]
    ]
    columns = list(dict.fromkeys((cell["source"], cell["language"]) for cell in cells))
    found = {(cell["units"], cell["source"], cell["language"]): cell for cell in cells}
    names = list(dict.fromkeys((cell["units"], cell["edit"]) for cell in cells))
    if not names:
        return None
    return Table(
        "Every set on every language",
        "The change of the loss in nats per token when a set is switched off (latents at zero; neurons and "
        "directions "
        "brought to the reference's mean), error-preserving; below it per byte, by which languages compare "
        "more nearly.",
        (
            "Units",
            "Edit",
            *(
                Cell(language_name(language), "held-out panel" if source == "panel" else "test")
                for source, language in columns
            ),
        ),
        [
            (set_name(files, name), edit, *(_change(found.get((name, *column))) for column in columns))
            for name, edit in names
        ],
        words=2,
    )


def _change(cell: Row | None) -> str | Cell:
    if cell is None:
        return "–"
    spread = interval(cell["ci_low"], cell["ci_high"])
    return Cell(signed(cell["delta"]), f"{spread}; per byte {signed(cell['delta_per_byte'])}")


def _one_by_one(files: RunFiles) -> Table | None:
    rows = files.rows("next_token", "one_by_one")
    if not rows:
        return None
    languages = list(dict.fromkeys(row["language"] for row in rows))
    keys: Sequence[tuple[int, str, str, float | None]] = list(
        dict.fromkeys((row["unit"], row["way"], row["edit"], row["value"]) for row in rows)
    )
    found = {(row["unit"], row["way"], row["edit"], row["value"], row["language"]): row for row in rows}
    return Table(
        "Latent by latent",
        f"The change of the loss in nats per token, with its 95{NO_BREAK}% interval, when one latent alone "
        f"is edited, and "
        "when all but that one are: switched off, and fixed where the whole set costs 0.3 nats.",
        ("Latent", "Way", "Edit", *map(language_name, languages)),
        [
            (
                str(unit),
                way,
                edit if value is None else f"{edit} to {number(value, 2)}",
                *(_part(found.get((unit, way, edit, value, code))) for code in languages),
            )
            for unit, way, edit, value in keys
        ],
        words=3,
    )


def _part(row: Row | None) -> str | Cell:
    return "–" if row is None else Cell(signed(row["delta"]), interval(row["ci_low"], row["ci_high"]))


def _best_dose(files: RunFiles) -> Table | None:
    rows = files.rows("next_token", "best_dose")
    if not rows:
        return None
    target = language_name(files.target)
    return Table(
        "The best dose",
        f"Can an edit make the model better at {target}? Of each set's edits the one with the lowest "
        f"{target} loss on tune, and what it does on test (nats per token, 95{NO_BREAK}% interval). A spliced edit's "
        "change is from the reconstruction without an edit.",
        ("Units", "Spliced", "Edit", "On tune", "On test", "Helps"),
        [
            (
                set_name(files, row["units"]),
                "yes" if row["splice"] else "no",
                row["edit"] if row["value"] is None else f"{row['edit']} {number(row['value'], 2)}",
                signed(row["tune_delta"], 4),
                Cell(signed(row["delta"], 4), interval(row["ci_low"], row["ci_high"], 4)),
                "yes" if row["helps"] else "no",
            )
            for row in rows
        ],
        words=3,
    )
