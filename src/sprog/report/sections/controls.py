"""What the selected units do, against what drawn ones do."""

from sprog.report.blocks import Block, Cell, Paragraph, Table
from sprog.report.reading import Row, RunFiles
from sprog.report.sections.families import set_name
from sprog.report.sentences import against_controls
from sprog.report.wording import language_name, number, short, signed, whole


def control_blocks(files: RunFiles) -> list[Block]:
    """The table of p-values with what it says; nothing where no controls were drawn."""
    rows = files.rows("next_token", "controls")
    if not rows:
        return []
    said = against_controls(files)
    return [*([Paragraph(said, "finding")] if said else []), _table(files, rows)]


def _table(files: RunFiles, rows: list[Row]) -> Table:
    target, reference = language_name(files.target), language_name(files.reference)
    on = (files.section("next_token") or {}).get("controls_on") or {}
    sentences = ", ".join(
        f"{whole(count)} {language_name(code)}" for code, count in (on.get("sentences") or {}).items()
    )
    return Table(
        "Controls",
        f"On {sentences} frozen sentences of test: the rise of the {target} loss less that of the "
        f"{reference} one, and of "
        f"the {target} loss alone, nats per token; nearest: less the largest of all others'. "
        f"Drawn controls: matched latents are those that fire most nearly as often on {target}, as strongly, and have "
        f"decoder rows as long{_likeness(on.get('matched'))}; random directions are as long, and written or projected "
        "in the same way. p: (b + 1) / (draws + 1), b of the draws being as large. Other rows: one other set.",
        ("Units", "Edit", "Against", "Rise of", "Observed", "Control", "95 % of draws below", "p"),
        [_row(files, row) for row in rows],
        words=4,
    )


def _likeness(matched: Row | None) -> str:
    """How like the selected latents the drawn ones are, on average."""
    if not matched:
        return ""
    words = {"rate": "of tokens", "mean_active": "when they fire", "norm": "long"}
    pairs = [
        f"{number(matched[what]['drawn'])} against {number(matched[what]['selected'])} {said}"
        for what, said in words.items()
    ]
    return f" (drawn against selected: {', '.join(pairs)})"


def _row(files: RunFiles, row: Row) -> tuple[str | Cell, ...]:
    edit = row["edit"] if row["value"] is None else f"{row['edit']} to {number(row['value'], 2)}"
    drawn = f"{whole(row['draws'])} draws" if row["p"] is not None else row["control_edit"]
    return (
        set_name(files, row["units"]),
        edit,
        Cell(set_name(files, row["control"]), drawn),
        row["statistic"],
        signed(row["observed"]),
        signed(row["null_mean"]),
        "–" if row["null_p95"] is None else signed(row["null_p95"]),
        "–" if row["p"] is None else short(round(row["p"], 4)),
    )
