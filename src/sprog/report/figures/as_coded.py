"""Figure 3 as the paper's own optimisation draws it, and which of its probes should not be there."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from sprog.report.figures.canvas import QUIET, Drawing, draw, panels
from sprog.report.figures.probes import lambda_colours
from sprog.report.reading import Row
from sprog.report.wording import model_name, short, visible


def as_coded_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """The replayed probes of results.json, a row per model, layer and lambda."""
    return pd.DataFrame(rows)


def draw_as_coded(rows: Sequence[Row], description: str) -> Drawing:
    """Accuracy by layer, a line per lambda, a panel per model; hollow where the optimum is exactly zero."""
    table = as_coded_frame(rows)
    models = list(dict.fromkeys(table["model"]))
    colours = lambda_colours(sorted(set(table["lambda"])))
    columns = min(len(models), 3)
    height = -(-len(models) // columns)

    def paint(figure: Figure) -> None:
        axes = panels(figure, len(models), columns, sharey=True)
        for panel, model in zip(axes, models, strict=True):
            _paint_model(panel, table[table["model"] == model], colours)
            panel.set_title(visible(model_name(model)))
            panel.set_xlabel("layer")
        for panel in axes[::columns]:
            panel.set_ylabel("held-out accuracy")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", title="lambda")

    return draw("probes-as-coded", (2.1 + 3.9 * columns, 0.5 + 3.1 * height), paint, table, description)


def _paint_model(panel: Axes, table: pd.DataFrame, colours: dict[float, str]) -> None:
    for value, colour in colours.items():
        line = table[table["lambda"] == value].sort_values("layer")
        dead = line[line["collapsed"]]
        panel.plot(line["layer"], line["accuracy"], color=colour, marker="o", label=short(value))
        panel.errorbar(
            dead["layer"],
            dead["accuracy"],
            yerr=[dead["accuracy"] - dead["accuracy_low"], dead["accuracy_high"] - dead["accuracy"]],
            fmt="o",
            markerfacecolor="white",
            markeredgecolor=colour,
            ecolor=colour,
            elinewidth=0.8,
            zorder=3,
        )
    constant = table.groupby("layer")["constant"].mean()
    panel.plot(constant.index, constant, color=QUIET, linewidth=0.8, linestyle=":", label="constant answer")
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
