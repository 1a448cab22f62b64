"""Appendix D beside the paper's: tasks under every value, as coded and controlled."""

from collections.abc import Sequence

from glossae.report.blocks import Block, Cell, Paragraph, Table
from glossae.report.reading import Row, RunFiles
from glossae.report.wording import capital, interval, number, short, signed

# by what the columns are called: protocol and metric
_OURS = {
    "As coded": ("as_coded", "weighted_f1"),
    "Controlled, macro F1": ("controlled", "macro_f1"),
}


def task_blocks(files: RunFiles) -> list[Block]:
    """The paper's three tasks at its values, whatever of them was set here; nothing of another recipe's."""
    published = (files.section("published") or {}).get("tasks")
    if published is None:
        return []
    names = [key for key in published if key not in ("metric", "values", "no_modification")]
    rows = [row for row in files.rows("tasks") if row["task"] in names and row["splice"] is True]
    table = Table(
        "Appendix D, beside the paper",
        f"The paper: {published['metric']}. Under each score the change from no modification, and for ours its 95 % "
        "interval.",
        ("Task", "Value", "The paper", *_OURS),
        [_line(published, rows, name, value) for name in names for value in (*published["values"], None)],
        words=1,
    )
    if rows:
        said = _same_way(published, rows, names)
        return [*([Paragraph(said, "finding")] if said else []), table]
    return [Paragraph("Its tasks were not set in this run: tasks.names asks for them.", "absent"), table]


def _line(published: Row, rows: Sequence[Row], name: str, value: float | None) -> list[str | Cell]:
    score, change = _theirs(published, name, value)
    line: list[str | Cell] = [
        name,
        "no modification" if value is None else short(value),
        Cell(number(score), "" if change is None else signed(change)),
    ]
    for protocol, metric in _OURS.values():
        own = _ours(rows, name, value, protocol, metric)
        if own is None:
            line.append("–")
        elif value is None:
            line.append(number(own["score"]))
        else:
            ends = interval(own["delta_low"], own["delta_high"])
            line.append(Cell(number(own["score"]), f"{signed(own['delta'])} ({ends})"))
    return line


def _theirs(published: Row, name: str, value: float | None) -> tuple[float, float | None]:
    none: float = published["no_modification"][name]
    if value is None:
        return none, None
    score: float = published[name][published["values"].index(value)]
    return score, score - none


def _ours(rows: Sequence[Row], name: str, value: float | None, protocol: str, metric: str) -> Row | None:
    wanted = (name, protocol, metric, "none" if value is None else "set", value)
    for row in rows:
        if (row["task"], row["protocol"], row["metric"], row["edit"], row["value"]) == wanted:
            return row
    return None


def _same_way(published: Row, rows: Sequence[Row], names: Sequence[str]) -> str:
    """How many of the paper's changes have the same sign here; and how many of ours are more than chance."""
    words = []
    for title, (protocol, metric) in _OURS.items():
        pairs = [
            (_theirs(published, name, value)[1], own)
            for name in names
            for value in published["values"]
            if (own := _ours(rows, name, value, protocol, metric)) is not None
        ]
        if not pairs:
            continue
        alike = sum((theirs or 0.0) * own["delta"] > 0 for theirs, own in pairs)
        clear = sum(own["p"] is not None and own["p"] < 0.05 / len(pairs) for _, own in pairs)
        words.append(
            f"{title[0].lower()}{title[1:]}: {alike} of {len(pairs)} changes have the paper's sign, and {clear} "
            f"differ from no modification at p < {0.05 / len(pairs):.2g} (0.05 over their number)"
        )
    return capital(f"{'; '.join(words)}.") if words else ""
