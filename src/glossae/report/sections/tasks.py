"""Downstream tasks (Figure 9, Appendix D)."""

from collections.abc import Sequence

from glossae.report.blocks import Block, Cell, Paragraph, Picture, Section, Table, not_run
from glossae.report.figures.tasks import draw_tasks
from glossae.report.reading import Row, RunFiles
from glossae.report.wording import (
    NO_BREAK,
    capital,
    interval,
    language_name,
    listed,
    number,
    plural,
    short,
    signed,
    whole,
)

_PROTOCOLS = {
    "controlled": "Controlled",
    "as_coded": "As the paper's code has it",
    "fine_tuned": "Fine-tuned with the edit in place",
}
_HOW = {
    "controlled": "The final hidden state, averaged over each text's tokens and scaled, is read by a logistic "
    "regression that is solved to the end; how strongly it is penalised was chosen by cross-validation on the model as "
    "it is, and is the same for every row. Two values are compared on the same test rows.",
    "as_coded": "The first 2,000 rows of train, a fifth of them for the test; states are averaged over pads too, not "
    "scaled, and the regression stops after at most 100 steps. A sentence and its corruption may be on both sides of "
    "the split, which pulls ScaLA below chance. The intervals and the raw model are not in the paper.",
    "fine_tuned": "Low-rank matrices beside every linear map of the blocks, and a linear head, are trained with the "
    "edit in place (error-preserving), once for each seed; intervals resample test rows and seeds.",
}
_METRICS = {"macro_f1": "macro F1", "mcc": "Matthews' correlation", "weighted_f1": "weighted F1"}
_LEVEL = 0.05


def tasks_section(files: RunFiles) -> Section:
    """What the units do to tasks that are read off the model, and the paper's Appendix D."""
    return Section(
        "tasks",
        "What the latents do to downstream tasks",
        "section 5.2, Figure 9, Appendix D",
        _blocks(files),
    )


def _blocks(files: RunFiles) -> list[Block]:
    rows = files.rows("tasks")
    published = (files.section("published") or {}).get("tasks")
    if not rows:
        return [not_run("The downstream tasks")]
    blocks: list[Block] = [Paragraph(" ".join(_sets(files)))]
    for protocol in dict.fromkeys(row["protocol"] for row in rows):
        own = [row for row in rows if row["protocol"] == protocol]
        blocks += _protocol(files, protocol, own, published if protocol == "as_coded" else None)
    return blocks


def _sets(files: RunFiles) -> list[str]:
    """Where the rows are from, and what was left out of them."""
    said = []
    for name, facts in files.task_sets.items():
        counts = listed([f"{whole(count)} of {split}" for split, count in facts["rows"].items()])
        empty = sum(sum(count.values()) for count in facts["dropped"].values())
        left_out = f", {plural(empty, 'row')} without text left out" if empty else ""
        said.append(
            f"{name} ({language_name(facts['language'])}, {plural(len(facts['labels']), 'label')}): {counts}{left_out}."
        )
    return said


def _protocol(files: RunFiles, protocol: str, rows: Sequence[Row], published: Row | None) -> list[Block]:
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    main = [row for row in rows if row["metric"] == metrics[0]]
    found = _finding(main)
    unit = "times the 99th percentile" if files.recipe.effects.unit == "p99" else "in units of the latent"
    blocks: list[Block] = [
        Paragraph(f"{_PROTOCOLS[protocol]}. {_HOW[protocol]}"),
        Picture(
            "Figure 9" if protocol == "as_coded" else f"Figure 9, {_PROTOCOLS[protocol].lower()}",
            draw_tasks(main, files.languages, unit, _METRICS[metrics[0]], published, found),
            found,
            "Bars and the band: 95 % intervals of each score. Whether two differ is in the table, where they are "
            "compared on the same rows.",
        ),
    ]
    if late := [row for row in main if row["converged"] is False]:
        tasks = listed(list(dict.fromkeys(row["task"] for row in late)))
        blocks.append(
            Paragraph(
                f"The regression did not converge in {whole(len(late))} of {whole(len(main))} fits ({tasks}).",
                "note",
            )
        )
    return [*blocks, *_planted(main), _table(protocol, rows, metrics, published)]


def _finding(rows: Sequence[Row]) -> str:
    """How many comparisons there are, which come out, and what could have been found."""
    compared = [row for row in rows if row["p"] is not None and row["edit"] == "set"]
    if not compared:
        return "No latent was selected, so there is nothing to compare."
    bound = _LEVEL / len(compared)
    clear = [row for row in compared if row["p"] < bound]
    metric = _METRICS[rows[0]["metric"]]
    words = [
        f"{row['task']} at {short(row['value'])}{' (splice)' if row['splice'] else ''} {signed(row['delta'])}"
        for row in clear
    ]
    which = f"{listed(words)} in {metric}" if clear else "none"
    start = (
        f"Of {plural(len(compared), 'comparison')} with no edit, {which} "
        f"{'pass' if len(clear) > 1 else 'passes'} p < {bound:.2g} (0.05 over their number)."
    )
    reach = [
        f"{max(sizes):.3f} in {task}"
        for task in dict.fromkeys(row["task"] for row in compared)
        if (sizes := [row["detectable"] for row in compared if row["task"] == task and row["detectable"]])
    ]
    if not reach:
        return start
    power = f"would be found at p < 0.05 in 80{NO_BREAK}% of such tests or more"
    return f"{start} A true difference of {listed(reach)} {power}."


def _planted(rows: Sequence[Row]) -> list[Block]:
    """What the same test makes of an effect that is known to be there."""
    erased = [row for row in rows if row["edit"] == "project_out"]
    if not erased:
        return []
    words = listed([f"{signed(row['delta'])} in {row['task']} (p {_p(row['p'])})" for row in erased])
    return [
        Paragraph(
            f"What the test can see: where the directions along which the labels differ are erased at the site, "
            f"{_METRICS[rows[0]['metric']]} changes by {words}."
        )
    ]


def _table(protocol: str, rows: Sequence[Row], metrics: Sequence[str], published: Row | None) -> Table:
    keys = list(dict.fromkeys((row["task"], row["edit"], row["splice"], row["value"]) for row in rows))
    by_key = {(row["task"], row["edit"], row["splice"], row["value"], row["metric"]): row for row in rows}
    columns: list[str | Cell] = ["Task", "Edit"]
    for metric in metrics:
        columns += [capital(_METRICS[metric]), "Change", "p"]
    columns += ["Detectable", "Rows"]
    if published:
        columns.append("The paper's")
    lines: list[list[str | Cell]] = []
    for key in keys:
        line: list[str | Cell] = [key[0], _edit(*key[1:])]
        own = [by_key[(*key, metric)] for metric in metrics]
        for row in own:
            line.append(Cell(number(row["score"]), interval(row["ci_low"], row["ci_high"])))
            is_base = row["p"] is None
            line += (
                ["–", "–"]
                if is_base
                else [
                    Cell(signed(row["delta"]), interval(row["delta_low"], row["delta_high"])),
                    _p(row["p"]),
                ]
            )
        first = own[0]
        times = f", {first['splits']} splits" if first["splits"] > 1 else ""
        line += [
            number(first["detectable"]),
            Cell(whole(first["n_test"]), f"from {whole(first['n_train'])}{times}"),
        ]
        if published:
            line.append(_theirs(published, *key))
        lines.append(line)
    return Table(
        f"{'Appendix D' if protocol == 'as_coded' else 'Downstream tasks'}: {_PROTOCOLS[protocol].lower()}",
        "Change: from no edit (with the splice: from the splice without one), with its 95 % interval. Detectable: the "
        f"smallest true difference in {_METRICS[metrics[0]]} that would be found in 80 % of such tests. Rows: tested, "
        "and learned from.",
        columns,
        lines,
        words=2,
    )


def _p(value: float) -> str:
    return "under 0.001" if value < 0.001 else number(value)


def _edit(edit: str, splice: bool | None, value: float | None) -> str | Cell:
    if edit == "raw":
        return "raw model"
    if edit == "project_out":
        return Cell("labels' directions erased", "a planted effect")
    way = "splice" if splice else "error-preserving"
    return Cell("no modification" if edit == "none" else f"fixed at {short(value or 0.0)}", way)


def _theirs(published: Row, task: str, edit: str, splice: bool | None, value: float | None) -> str:
    if not splice or task not in published:
        return "–"
    if edit == "none":
        return number((published.get("no_modification") or {}).get(task))
    return number(dict(zip(map(float, published["values"]), published[task], strict=True)).get(value or 0.0))
