"""Figure 3 as the paper's own optimisation draws it, and which of its probes should not be there."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from glossae.report.figures.canvas import QUIET, Drawing
from glossae.report.figures.probes import draw_by_layer
from glossae.report.reading import Row
from glossae.report.wording import short


def as_coded_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """The replayed probes of results.json, a row per model, layer and lambda."""
    return pd.DataFrame(rows)


def draw_as_coded(rows: Sequence[Row], description: str) -> Drawing:
    """Accuracy by layer, a line per lambda, a panel per model; hollow where the optimum is exactly zero."""
    return draw_by_layer("probes-as-coded", as_coded_frame(rows), _paint_model, description)


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
