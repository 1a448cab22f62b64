"""The paper's prompts, continued by the model as it is and with the units fixed (Tables 1 and 2)."""

from glossae.report.blocks import Block, Paragraph, Section, Table, not_run
from glossae.report.reading import Row, RunFiles
from glossae.report.sentences import value_words
from glossae.report.wording import language_name

_TABLES = {"da": "Table 1", "en": "Table 2"}


def continuations_section(files: RunFiles) -> Section:
    """A table per language, a column per edit."""
    rows = files.rows("generation")
    blocks: list[Block] = []
    if not rows:
        blocks.append(not_run("Continuations"))
    else:
        blocks.append(Paragraph(_changed(rows), "finding"))
        for code in dict.fromkeys(row["language"] for row in rows):
            blocks.append(_table(files, code, [row for row in rows if row["language"] == code]))
    return Section("continuations", "Continuations", "section 6.1, Tables 1 and 2", blocks)


def _arm(row: Row) -> tuple[str, str, float | None]:
    return (row["units"] or "", row["edit"], row["value"])


def _table(files: RunFiles, code: str, rows: list[Row]) -> Table:
    arms = list(dict.fromkeys(_arm(row) for row in rows))
    prompts = list(dict.fromkeys(row["prompt"] for row in rows))
    texts = {(row["prompt"], _arm(row)): row["text"] for row in rows}
    name = language_name(code)
    label = f"{_TABLES[code]}: {name} prompts" if code in _TABLES else f"{name} prompts"
    return Table(
        label,
        "The most likely continuation at every step. The paper shows those of the raw model only.",
        ("Prompt", *(_heading(files, arm) for arm in arms)),
        [(prompt, *(_continuation(prompt, texts.get((prompt, arm))) for arm in arms)) for prompt in prompts],
        words=1 + len(arms),
    )


def _heading(files: RunFiles, arm: tuple[str, str, float | None]) -> str:
    _, edit, value = arm
    if edit == "raw":
        return "Raw model"
    if value is None:
        return f"Units: {edit}"
    return f"Units fixed at {value_words(files, value)}"


def _continuation(prompt: str, text: str | None) -> str:
    return "–" if text is None else text.removeprefix(prompt).strip() or "(nothing)"


def _changed(rows: list[Row]) -> str:
    raw = {row["prompt"]: row["text"] for row in rows if row["edit"] == "raw"}
    steered = [row for row in rows if row["edit"] != "raw" and row["prompt"] in raw]
    if not steered:
        return f"The raw model continues {len(raw)} prompts; nothing was steered."
    different = sum(row["text"] != raw[row["prompt"]] for row in steered)
    return (
        f"{different} of {len(steered)} continuations with the units fixed differ from the raw model's. "
        "Whether they are another language, or worse, is for the reader to see: nothing here scores them."
    )
