"""Figure 9: scores on downstream tasks as the units are fixed at a value."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glossae.report.figures.canvas import INK, QUIET, Drawing, draw, language_colour, panels
from glossae.report.reading import Row
from glossae.report.wording import language_name

_WAYS = ((False, "error-preserving", "o", "-"), (True, "splice", "s", "--"))


def draw_tasks(
    rows: Sequence[Row],
    languages: Sequence[str],
    unit_of_value: str,
    metric: str,
    published: Mapping[str, Any] | None,
    description: str,
) -> Drawing:
    """A score against the fixed value, a panel for each task, with 95 % intervals.

    Args:
        rows: the rows of one protocol and one metric.
        languages: the target, the reference, then the others.
        unit_of_value: what the value counts, for the axis.
        metric: what the score is, for the axis.
        published: the paper's own numbers: `values`, `no_modification`, and a list for each task.
        description: for who cannot see it.
    """
    tasks = list(dict.fromkeys(row["task"] for row in rows))

    def paint(figure: Figure) -> None:
        axes = panels(figure, len(tasks), min(3, len(tasks)))
        for panel, task in zip(axes, tasks, strict=True):
            own = [row for row in rows if row["task"] == task]
            _paint_task(panel, own, languages)
            if published is not None and task in published:
                panel.plot(
                    [float(value) for value in published["values"]],
                    published[task],
                    color=QUIET,
                    marker="x",
                    linewidth=1.0,
                    label="the paper",
                )
            panel.set_title(f"{task} ({language_name(own[0]['language'])})")
            panel.set_xlabel(f"units fixed at ({unit_of_value})")
            panel.set_ylabel(metric)
        handles: dict[str, Any] = {}
        for panel in axes:
            for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
        figure.legend(list(handles.values()), list(handles), loc="outside lower left", ncols=4)

    name = f"figure-9-tasks-{rows[0]['protocol'].replace('_', '-')}"
    rows_of_panels = -(-len(tasks) // 3)
    return draw(name, (11.0, 0.8 + 3.4 * rows_of_panels), paint, pd.DataFrame(rows), description)


def _paint_task(panel: Axes, rows: Sequence[Row], languages: Sequence[str]) -> None:
    colour = language_colour(languages, rows[0]["language"])
    for edit, splice, words, dashes in (
        ("raw", None, "raw model", (0, (1, 2))),
        ("none", True, "splice, units unmodified", (0, (6, 3))),
    ):
        base = next((row for row in rows if row["edit"] == edit and row["splice"] is splice), None)
        if base is not None:
            panel.axhline(base["score"], color=INK, linewidth=1.0, linestyle=dashes, label=words)
            if splice is None:
                panel.axhspan(base["ci_low"], base["ci_high"], color=QUIET, alpha=0.1, linewidth=0)
    for splice, words, marker, dash in _WAYS:
        line = sorted(
            (row for row in rows if row["edit"] == "set" and row["splice"] is splice),
            key=lambda row: float(row["value"]),
        )
        if line:
            scores = [row["score"] for row in line]
            # a score at the end of an interval may lie a rounding outside it
            below = [max(0.0, row["score"] - row["ci_low"]) for row in line]
            above = [max(0.0, row["ci_high"] - row["score"]) for row in line]
            panel.errorbar(
                [row["value"] for row in line],
                scores,
                yerr=[below, above],
                color=colour,
                marker=marker,
                linestyle=dash,
                linewidth=1.4,
                capsize=2.5,
                alpha=1.0 if splice is False else 0.65,
                label=f"units fixed, {words}",
            )
