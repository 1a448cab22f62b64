"""Figure 4: error against the latents active at a token and in a batch, a line for each kind of autoencoder."""

import math
from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from glossae.report.figures.canvas import INK, Drawing, draw
from glossae.report.kinds import activation_name, key, matrices_words
from glossae.report.reading import Row

_COLOURS = {"topk": "#d55e00", "relu": "#0072b2"}
_PANELS = (("l0", "latents active at a token"), ("active_per_batch", "latents active in a batch"))
_SHOWN = ("l0", "active_per_batch", "mse")

Marks = tuple[Collection[int], Collection[int]]
"""The numbers of cells that are not dominated in each panel's terms."""


def draw_grid(
    cells: Sequence[Row], marks: Marks, published: Sequence[Row], numbers: pd.DataFrame, description: str
) -> Drawing:
    """Error by sparsity, the run's own and below it the paper's.

    Args:
        cells: the grid's.
        marks: cells to ring in the left and in the right panel.
        published: the paper's cells of the same kinds; none: no second row.
        numbers: what it shows.
        description: for who cannot see it.
    """
    rows = [("This run" if published else "", cells, marks)]
    rows += [("The paper", published, ((), ()))] if published else []

    def paint(figure: Figure) -> None:
        axes = figure.subplots(len(rows), 2, squeeze=False, sharex="col", sharey=True)
        for line, (whose, shown, ringed) in zip(axes, rows, strict=True):
            line[0].set_title(whose)
            for panel, (measure, _), some in zip(line, _PANELS, ringed, strict=True):
                _paint(panel, shown, measure, some)
        for panel, (measure, words) in zip(axes[-1], _PANELS, strict=True):
            panel.set_xlabel(words)
            _scale(panel, "x", [cell[measure] for _, shown, _ in rows for cell in shown])
        for line in axes:
            line[0].set_ylabel("mean squared error")
        _scale(axes[0][0], "y", [cell["mse"] for _, shown, _ in rows for cell in shown])
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", ncols=3)

    return draw("figure-4-grid", (10.4, 1.5 + 3.5 * len(rows)), paint, numbers, description)


def grid_table(
    cells: Sequence[Row], marks: Marks, chosen: int | None, pairs: Sequence[tuple[Row, Row]]
) -> pd.DataFrame:
    """The grid's numbers in one flat table, the paper's beside them where it has the same cell."""
    theirs = {key(own): other for own, other in pairs}
    rows = []
    for number, cell in enumerate(cells):
        row = {name: value for name, value in cell.items() if name != "fvu"}
        row |= {f"fvu_{language}": value for language, value in cell["fvu"].items()}
        row |= {"on_l0_fvu_front": number in marks[0], "on_active_mse_front": number in marks[1]}
        row["chosen"] = number == chosen
        if pairs:
            other = theirs.get(key(cell), {})
            row |= {f"paper_{name}": other.get(name) for name in _SHOWN}
        rows.append(row)
    # some kinds have no k: without this they would make numbers with a point of all
    return pd.DataFrame(rows).astype({"k": "Int64"})


def _paint(panel: Axes, cells: Sequence[Row], measure: str, ringed: Collection[int]) -> None:
    kinds: dict[tuple[Any, ...], list[Row]] = {}
    for cell in cells:
        kinds.setdefault((cell["activation"], cell["tied"], cell["pre_encoder_bias"]), []).append(cell)
    for (activation, tied, bias), line in kinds.items():
        colour = _COLOURS.get(activation, INK)
        words = f"{activation_name(activation)}, {matrices_words(line[0])}, {'bias' if bias else 'no bias'}"
        panel.plot(
            [cell[measure] for cell in line],
            [cell["mse"] for cell in line],
            color=colour,
            linestyle="--" if tied else "-",
            linewidth=1.1,
            marker="s" if tied else "o",
            markersize=4.5,
            markerfacecolor=colour if bias else "white",
            label=words,
        )
    if ringed:
        some = [cells[number] for number in sorted(ringed)]
        panel.plot(
            [cell[measure] for cell in some],
            [cell["mse"] for cell in some],
            linestyle="none",
            marker="o",
            markersize=10,
            markerfacecolor="none",
            markeredgecolor=INK,
            markeredgewidth=1.0,
            label="not dominated",
        )


def _scale(panel: Axes, side: str, values: Sequence[float]) -> None:
    """A logarithmic axis; where there is a zero, linear below the smallest other value."""
    positive = [value for value in values if value > 0]
    if not positive:
        return
    setter, axis = (panel.set_xscale, panel.xaxis) if side == "x" else (panel.set_yscale, panel.yaxis)
    if len(positive) == len(values):
        setter("log")
        decades = math.log10(max(positive) / min(positive))
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 3 else (1.0,)))
    else:
        setter("symlog", linthresh=min(positive), linscale=0.4)
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
