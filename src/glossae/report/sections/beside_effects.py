"""Appendix C beside the paper's: the loss under every value, as coded and as it should be."""

from typing import TypeAlias

from glossae.report.blocks import Block, Cell, Paragraph, Table
from glossae.report.reading import Row, RunFiles
from glossae.report.sentences import find_cell
from glossae.report.wording import language_name, number, short, signed

Losses: TypeAlias = dict[tuple[str, float | None], float]
"""Losses by language and value; no value is no modification."""

# what the paper's two digits cannot tell from no change
_ROUNDING = 0.01
_NAMES = {
    "paper": "The paper",
    "coded": "As coded",
    "splice": "With the splice",
    "kept": "Error-preserving",
}


def next_token_blocks(files: RunFiles) -> list[Block]:
    """Losses and changes, what the target's change is to the reference's, and how many go the paper's way."""
    columns = _columns(files)
    if "paper" not in columns and "coded" not in columns:
        return []
    if list(columns) == ["paper"]:
        return [Paragraph("Appendix C: the sweep was not run.", "absent")]
    said = _same_way(columns)
    return [
        *([Paragraph(said, "finding")] if said else []),
        _losses(files, columns),
        _ratios(files, columns),
    ]


def _columns(files: RunFiles) -> dict[str, Losses]:
    """The losses, by whose they are."""
    pair = (files.target, files.reference)
    found: dict[str, Losses] = {}
    published = (files.section("published") or {}).get("next_token")
    if published and all(code in published for code in pair):
        found["paper"] = {
            (code, float(value)): ce
            for code in pair
            for value, ce in zip(published["values"], published[code], strict=True)
        } | {(code, None): published["no_modification"][code] for code in pair}
    coded = (files.section("next_token") or {}).get("as_coded")
    if coded:
        found["coded"] = {(row["language"], row["value"]): row["ce"] for row in coded}
    for name, splice in (("splice", True), ("kept", False)):
        own = {
            (code, row["value"]): row["ce"]
            for code in pair
            for row in files.rows("next_token", "cells")
            if row["units"] == files.target
            and row["language"] == code
            and row["source"] == "all"
            and row["splice"] is splice
            and row["edit"] in ("set", "none")
        }
        if own:
            found[name] = own
    return found


def _values(columns: dict[str, Losses]) -> list[float]:
    return sorted({value for cells in columns.values() for _, value in cells if value is not None})


def _change(cells: Losses, code: str, value: float | None) -> float | None:
    here, none = cells.get((code, value)), cells.get((code, None))
    return None if here is None or none is None or value is None else here - none


def _losses(files: RunFiles, columns: dict[str, Losses]) -> Table:
    rows: list[list[str | Cell]] = []
    for code in (files.target, files.reference):
        for value in (*_values(columns), None):
            line: list[str | Cell] = [
                Cell(language_name(code), "no modification" if value is None else f"fixed at {short(value)}")
            ]
            for name, cells in columns.items():
                ce, change = cells.get((code, value)), _change(cells, code, value)
                digits = 2 if name == "paper" else 3
                line.append(
                    Cell(number(ce, digits), "" if change is None else signed(change, digits))
                    if ce is not None
                    else "–"
                )
            rows.append(line)
        raw = find_cell(files, code, "raw", None)
        if raw is not None:
            rows.append(
                [
                    Cell(language_name(code), "raw model"),
                    *(number(raw["ce"]) if name in ("splice", "kept") else "–" for name in columns),
                ]
            )
    counts = {row["language"]: row["sentences"] for row in _coded(files)}
    on = (
        f" As coded: means over {counts[files.target]} and {counts[files.reference]} sentences."
        if counts
        else ""
    )
    return Table(
        f"Appendix C, {'beside the paper' if 'paper' in columns else 'as coded'}",
        f"Cross-entropy, nats, and under it the change from no modification.{on} The other columns are means over all "
        "tokens of test.",
        ("Language", *(_NAMES[name] for name in columns)),
        rows,
    )


def _ratios(files: RunFiles, columns: dict[str, Losses]) -> Table:
    rows: list[list[str | Cell]] = []
    for value in _values(columns):
        line: list[str | Cell] = [short(value)]
        for name, cells in columns.items():
            own, other = (_change(cells, code, value) for code in (files.target, files.reference))
            if own is None or other is None:
                line.append("–")
                continue
            digits = 2 if name == "paper" else 3
            ratio = own / other if other >= _ROUNDING and own > 0 else None
            line.append(
                Cell(
                    "–" if ratio is None else number(ratio, 1),
                    f"{signed(own, digits)} / {signed(other, digits)}",
                )
            )
        rows.append(line)
    target, reference = language_name(files.target), language_name(files.reference)
    return Table(
        f"What {target} loses for what {reference} loses",
        "The one change over the other, where both rise and the other by 0.01 nats or more; under it, both.",
        ("Value", *(_NAMES[name] for name in columns)),
        rows,
    )


def _same_way(columns: dict[str, Losses]) -> str:
    """How many of the paper's changes have the same sign here."""
    if "paper" not in columns:
        return ""
    theirs = {
        key: change
        for key in columns["paper"]
        if (change := _change(columns["paper"], *key)) is not None and abs(change) > _ROUNDING / 2
    }
    words = []
    for name in ("coded", "splice", "kept"):
        if name not in columns:
            continue
        pairs = [
            (change, own)
            for key, change in theirs.items()
            if (own := _change(columns[name], *key)) is not None
        ]
        if pairs:
            alike = sum((change > 0) == (own > 0) for change, own in pairs)
            words.append(f"{_NAMES[name].lower()}, {alike} of {len(pairs)}")
    if not words:
        return ""
    return f"So many of the changes that the paper's two digits show have the same sign here: {'; '.join(words)}."


def _coded(files: RunFiles) -> list[Row]:
    return (files.section("next_token") or {}).get("as_coded") or []
