"""Figure 3: how well a probe tells the languages apart, by layer, model and lambda."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from glossae.report.figures.canvas import FAINT, QUIET, Drawing, draw, panels
from glossae.report.reading import Row
from glossae.report.wording import model_name, short, visible

PaintModel: TypeAlias = Callable[[Axes, pd.DataFrame, dict[float, str]], None]
"""Draws one model's rows into a panel, each lambda in its colour."""

# an optimum that is exactly zero is reached to rounding
_ZERO = 1e-9


def collapsed(norm: "pd.Series[float]") -> "pd.Series[bool]":
    """Which norms are those of a probe without weights, whose accuracy is noise."""
    return norm <= _ZERO


def probe_table(cells: Sequence[Row]) -> pd.DataFrame:
    """Means over seeds of the grid's cells, by model, layer and lambda, and whether any seed collapsed."""
    table = pd.DataFrame([cell for cell in cells if not cell.get("rule")])
    if table.empty:
        return table
    if "collapsed" not in table:
        # a folder of before probes said so themselves
        table["collapsed"] = collapsed(table["norm"])
    # models keep the order in which they were probed
    table["model"] = pd.Categorical(table["model"], categories=list(dict.fromkeys(table["model"])))
    means = table.groupby(["model", "layer", "lambda"], observed=True, as_index=False).agg(
        accuracy=("accuracy", "mean"),
        accuracy_se=("accuracy_se", "mean"),
        bce=("bce", "mean"),
        norm=("norm", "mean"),
        critical_lambda=("critical_lambda", "mean"),
        seeds=("seed", "nunique"),
        collapsed=("collapsed", "any"),
    )
    means["model"] = means["model"].astype(str)
    return means


def draw_probes(cells: Sequence[Row], description: str) -> Drawing:
    """Accuracy by layer, a line per lambda, a panel per model; collapsed probes are hollow and grey."""
    return draw_by_layer("figure-3-probes", probe_table(cells), _paint_model, description)


def draw_by_layer(name: str, table: pd.DataFrame, paint_model: PaintModel, description: str) -> Drawing:
    """Held-out accuracy by layer, a panel per model, with one legend of lambdas.

    Args:
        name: of the figure's files.
        table: a row per model, layer and lambda.
        paint_model: draws the rows of one model.
        description: what the figure shows.
    """
    models = list(dict.fromkeys(table["model"]))
    colours = lambda_colours(sorted(set(table["lambda"])))
    columns = min(len(models), 3)
    rows = -(-len(models) // columns)

    def paint(figure: Figure) -> None:
        axes = panels(figure, len(models), columns, sharey=True)
        for panel, model in zip(axes, models, strict=True):
            paint_model(panel, table[table["model"] == model], colours)
            panel.set_title(visible(model_name(model)))
            panel.set_xlabel("layer")
        for panel in axes[::columns]:
            panel.set_ylabel("held-out accuracy")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", title="lambda")

    return draw(name, (2.1 + 3.9 * columns, 0.5 + 3.1 * rows), paint, table, description)


def lambda_colours(lambdas: Sequence[float]) -> dict[float, str]:
    """A colour for each lambda, from dark (weak) to light (strong)."""
    scale = matplotlib.colormaps["viridis"]
    # the lightest end of the scale cannot be seen on white
    return {
        value: to_hex(scale(0.88 * place / max(len(lambdas) - 1, 1))) for place, value in enumerate(lambdas)
    }


def _paint_model(panel: Axes, table: pd.DataFrame, colours: dict[float, str]) -> None:
    for value, colour in colours.items():
        line = table[table["lambda"] == value].sort_values("layer")
        alive, dead = line[~line["collapsed"]], line[line["collapsed"]]
        if not dead.empty:
            panel.plot(line["layer"], line["accuracy"], color=FAINT, linewidth=0.9, zorder=1.5)
            panel.plot(
                dead["layer"],
                dead["accuracy"],
                linestyle="none",
                marker="o",
                markerfacecolor="white",
                markeredgecolor="#9aa3ad",
                zorder=1.8,
            )
        # a gap in the line where a layer's probe is nothing
        heard = line["accuracy"].where(~line["collapsed"])
        panel.plot(line["layer"], heard, color=colour, marker="o", label=short(value))
        if value == min(colours):
            panel.errorbar(
                alive["layer"],
                alive["accuracy"],
                yerr=alive["accuracy_se"],
                fmt="none",
                ecolor=colour,
                capsize=2.5,
            )
    if table["collapsed"].any():
        panel.plot(
            [],
            [],
            linestyle="none",
            marker="o",
            markerfacecolor="white",
            markeredgecolor="#9aa3ad",
            label="no weights",
        )
    panel.axhline(0.5, color=QUIET, linewidth=0.8, linestyle=":")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
