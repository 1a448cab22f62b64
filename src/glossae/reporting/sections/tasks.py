"""What the units do to downstream tasks (section 5.2, Figure 9, Appendix D)."""

from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glossae.reporting.blocks import Blocks, Cell, Paragraph, Picture, Table, estimate, not_run
from glossae.reporting.canvas import INK, QUIET, Drawing, draw, language_colour, legend_below, panels, rows_of
from glossae.reporting.findings import dose_unit
from glossae.reporting.reading import RunFiles, frame
from glossae.reporting.wording import (
    NO_BREAK,
    capital,
    language_name,
    listed,
    number,
    plural,
    short,
    signed,
    whole,
)
from glossae.results import PaperTasks, TaskScore

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


def tasks_blocks(files: RunFiles) -> Blocks:
    """What the units do to tasks that are read off the model, and the paper's Appendix D."""
    rows = files.results.tasks
    if not rows:
        yield not_run("The downstream tasks")
        return
    yield Paragraph(" ".join(_sets(files)))
    for protocol in dict.fromkeys(row.protocol for row in rows):
        paper = files.results.published if protocol == "as_coded" else None
        own = [row for row in rows if row.protocol == protocol]
        yield from _protocol(files, protocol, own, paper.tasks if paper else None)


def _sets(files: RunFiles) -> Iterator[str]:
    """Where the rows are from, and what was left out of them."""
    for name, facts in files.task_sets.items():
        counts = listed([f"{whole(count)} of {split}" for split, count in facts["rows"].items()])
        empty = sum(sum(count.values()) for count in facts["dropped"].values())
        left_out = f", {plural(empty, 'row')} without text left out" if empty else ""
        labels = plural(len(facts["labels"]), "label")
        yield f"{name} ({language_name(facts['language'])}, {labels}): {counts}{left_out}."


def _protocol(
    files: RunFiles, protocol: str, rows: Sequence[TaskScore], published: PaperTasks | None
) -> Blocks:
    metrics = list(dict.fromkeys(row.metric for row in rows))
    main = [row for row in rows if row.metric == metrics[0]]
    metric, name = _METRICS[metrics[0]], _PROTOCOLS[protocol]
    found = _finding(main, metric)
    yield Paragraph(f"{name}. {_HOW[protocol]}")
    yield Picture(
        "Figure 9" if protocol == "as_coded" else f"Figure 9, {name.lower()}",
        _draw_tasks(files, main, metric, published, found),
        found,
        "Bars and the band: 95 % intervals of each score. Whether two differ is in the table, where they are "
        "compared on the same rows.",
    )
    if late := [row for row in main if row.converged is False]:
        tasks = listed(list(dict.fromkeys(row.task for row in late)))
        yield Paragraph(
            f"The regression did not converge in {whole(len(late))} of {whole(len(main))} fits ({tasks}).",
            "note",
        )
    # what the same test makes of an effect that is known to be there
    if erased := [row for row in main if row.edit == "project_out"]:
        words = listed([f"{signed(row.delta)} in {row.task} (p {_p(row.p)})" for row in erased])
        yield Paragraph(
            f"What the test can see: where the directions along which the labels differ are erased at the site, "
            f"{metric} changes by {words}."
        )
    yield _table(protocol, rows, metrics, published)


def _finding(rows: Sequence[TaskScore], metric: str) -> str:
    """How many comparisons there are, which come out, and what could have been found."""
    compared = [(row, row.p) for row in rows if row.edit == "set" and row.p is not None]
    if not compared:
        return "No latent was selected, so there is nothing to compare."
    bound = _LEVEL / len(compared)
    clear = [
        f"{row.task} at {short(row.value or 0.0)}{' (splice)' if row.splice else ''} {signed(row.delta)}"
        for row, p in compared
        if p < bound
    ]
    which = f"{listed(clear)} in {metric}" if clear else "none"
    start = (
        f"Of {plural(len(compared), 'comparison')} with no edit, {which} "
        f"{'pass' if len(clear) > 1 else 'passes'} p < {bound:.2g} (0.05 over their number)."
    )
    reach = [
        f"{max(sizes):.3f} in {task}"
        for task in dict.fromkeys(row.task for row, _ in compared)
        if (sizes := [row.detectable for row, _ in compared if row.task == task and row.detectable])
    ]
    if not reach:
        return start
    power = f"would be found at p < 0.05 in 80{NO_BREAK}% of such tests or more"
    return f"{start} A true difference of {listed(reach)} {power}."


def _table(
    protocol: str, rows: Sequence[TaskScore], metrics: Sequence[str], published: PaperTasks | None
) -> Table:
    by_key: dict[tuple[str, str, bool | None, float | None], dict[str, TaskScore]] = {}
    for row in rows:
        by_key.setdefault((row.task, row.edit, row.splice, row.value), {})[row.metric] = row
    lines: list[list[str | Cell]] = []
    for key, found in by_key.items():
        line: list[str | Cell] = [key[0], _edit(*key[1:])]
        own = [found[metric] for metric in metrics]
        for row in own:
            line.append(estimate(row.score, row.ci_low, row.ci_high))
            line += (
                ["–", "–"]
                if row.p is None
                else [
                    estimate(row.delta, row.delta_low, row.delta_high, write=signed),
                    _p(row.p),
                ]
            )
        first = own[0]
        times = f", {first.splits} splits" if first.splits > 1 else ""
        line += [
            number(first.detectable),
            Cell(whole(first.n_test), f"from {whole(first.n_train)}{times}"),
        ]
        lines.append([*line, _theirs(published, *key)] if published else line)
    scores = [column for metric in metrics for column in (capital(_METRICS[metric]), "Change", "p")]
    return Table(
        f"{'Appendix D' if protocol == 'as_coded' else 'Downstream tasks'}: {_PROTOCOLS[protocol].lower()}",
        "Change: from no edit (with the splice: from the splice without one), with its 95 % interval. Detectable: the "
        f"smallest true difference in {_METRICS[metrics[0]]} that would be found in 80 % of such tests. Rows: tested, "
        "and learned from.",
        ("Task", "Edit", *scores, "Detectable", "Rows", *(("The paper's",) if published else ())),
        lines,
        words=2,
    )


def _p(value: float | None) -> str:
    return "under 0.001" if value is not None and value < 0.001 else number(value)


def _edit(edit: str, splice: bool | None, value: float | None) -> str | Cell:
    if edit == "raw":
        return "raw model"
    if edit == "project_out":
        return Cell("labels' directions erased", "a planted effect")
    way = "splice" if splice else "error-preserving"
    return Cell("no modification" if edit == "none" else f"fixed at {short(value or 0.0)}", way)


def _theirs(published: PaperTasks, task: str, edit: str, splice: bool | None, value: float | None) -> str:
    if not splice or task not in published.scores:
        return "–"
    if edit == "none":
        return number(published.no_modification.get(task))
    return number(
        dict(zip(map(float, published.values), published.scores[task], strict=True)).get(value or 0.0)
    )


# ---- the figure


def _draw_tasks(
    files: RunFiles, rows: Sequence[TaskScore], metric: str, published: PaperTasks | None, description: str
) -> Drawing:
    """A score against the fixed value, a panel for each task, with 95 % intervals and the paper's own scores."""
    tasks = list(dict.fromkeys(row.task for row in rows))

    def paint(figure: Figure) -> None:
        axes = panels(figure, len(tasks), min(3, len(tasks)))
        for panel, task in zip(axes, tasks, strict=True):
            own = [row for row in rows if row.task == task]
            _paint_task(panel, own, language_colour(files.languages, own[0].language))
            if published is not None and task in published.scores:
                values = [float(value) for value in published.values]
                theirs = published.scores[task]
                panel.plot(values, theirs, color=QUIET, marker="x", linewidth=1.0, label="the paper")
            panel.set_title(f"{task} ({language_name(own[0].language)})")
            panel.set_xlabel(f"units fixed at ({dose_unit(files)})")
            panel.set_ylabel(metric)
        legend_below(figure, axes, 4)

    name = f"figure-9-tasks-{rows[0].protocol.replace('_', '-')}"
    return draw(name, (11.0, 0.8 + 3.4 * rows_of(len(tasks), 3)), paint, frame(rows), description)


def _paint_task(panel: Axes, rows: Sequence[TaskScore], colour: str) -> None:
    for edit, splice, words, dashes in (
        ("raw", None, "raw model", (0, (1, 2))),
        ("none", True, "splice, units unmodified", (0, (6, 3))),
    ):
        for base in [row for row in rows if row.edit == edit and row.splice == splice][:1]:
            panel.axhline(base.score, color=INK, linewidth=1.0, linestyle=dashes, label=words)
            if splice is None:
                panel.axhspan(base.ci_low, base.ci_high, color=QUIET, alpha=0.1, linewidth=0)
    for splice, words, marker, dash in ((False, "error-preserving", "o", "-"), (True, "splice", "s", "--")):
        line = [row for row in rows if row.edit == "set" and row.splice == splice]
        line.sort(key=lambda row: row.value or 0.0)
        if line:
            # a score at the end of an interval may lie a rounding outside it
            below = [max(0.0, row.score - row.ci_low) for row in line]
            above = [max(0.0, row.ci_high - row.score) for row in line]
            values, scores = [row.value or 0.0 for row in line], [row.score for row in line]
            style: Any = {"color": colour, "marker": marker, "linestyle": dash, "linewidth": 1.4}
            style |= {"capsize": 2.5, "alpha": 0.65 if splice else 1.0, "label": f"units fixed, {words}"}
            panel.errorbar(values, scores, yerr=[below, above], **style)
