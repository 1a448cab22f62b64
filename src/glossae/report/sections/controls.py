"""What the selected units do, against what drawn ones do."""

from glossae.report.blocks import Block, Cell, Paragraph, Table
from glossae.report.reading import Row, RunFiles
from glossae.report.sections.families import set_name
from glossae.report.sentences import against_controls, rank_words, statistic_words
from glossae.report.wording import language_name, number, signed, whole


def control_blocks(files: RunFiles) -> list[Block]:
    """The table of ranks with what it says; nothing where no controls were drawn."""
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
        f"On {sentences} frozen sentences of test: the rise of the {target} loss in nats per byte; that less the rise "
        f"of the {reference} loss; and, with other languages (effects.controls_on), less the largest rise of any "
        f"of them. Matched latents are those that fire most nearly as often on {target} and on {reference}, as "
        "strongly, and have decoder rows as long"
        f"{_likeness(on.get('matched'), target, reference)}. Random directions: the set's own "
        "edit, written along random directions, so that every token is moved as far. Rank: the set's place among "
        "itself and the draws, the largest first. It says how the set compares with those draws; it is no p-value, "
        "since the set was not drawn like them. Other rows: one other set.",
        ("Units", "Edit", "Against", "Rise of", "Observed", "Control", "95 % of draws below", "Rank"),
        [_row(files, row) for row in rows],
        words=4,
    )


def _likeness(matched: Row | None, target: str, reference: str) -> str:
    """How like the selected latents the drawn ones are, on average."""
    if not matched:
        return ""
    words = {
        "rate": f"of {target} tokens",
        "reference_rate": f"of {reference} tokens",
        "mean_active": "when they fire",
        "norm": "long",
    }
    pairs = [
        f"{number(matched[what]['drawn'])} against {number(matched[what]['selected'])} {said}"
        for what, said in words.items()
    ]
    return f" (drawn against selected: {', '.join(pairs)})"


def _row(files: RunFiles, row: Row) -> tuple[str | Cell, ...]:
    edit = row["edit"] if row["value"] is None else f"{row['edit']} to {number(row['value'], 2)}"
    drawn = f"{whole(row['draws'])} draws" if row["rank"] is not None else row["control_edit"]
    return (
        set_name(files, row["units"]),
        edit,
        Cell(set_name(files, row["control"]), drawn),
        statistic_words(files, row["statistic"]),
        signed(row["observed"], 4),
        signed(row["null_mean"], 4),
        "–" if row["null_p95"] is None else signed(row["null_p95"], 4),
        "–" if row["rank"] is None else rank_words(row),
    )
