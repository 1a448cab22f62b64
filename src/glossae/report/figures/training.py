"""How the autoencoder's training went."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from glossae.report.figures.canvas import Drawing, draw

_PANELS = (
    ("fvu", "variance unexplained (FVU)", "#0072b2"),
    ("dead_fraction", "dead latents", "#d55e00"),
    ("active_per_batch", "latents active per batch", "#009e73"),
)
# points in a line, beyond which it is drawn thinner: a screen shows no more
_POINTS = 600


def draw_training(log: pd.DataFrame, description: str) -> Drawing:
    """FVU, dead latents and active latents per batch, against tokens seen."""
    stride = max(1, len(log) // _POINTS)
    shown = log.iloc[sorted({*range(0, len(log), stride), len(log) - 1})]
    drawn = [part for part in _PANELS if part[0] in log.columns and log[part[0]].notna().any()]

    def paint(figure: Figure) -> None:
        axes = figure.subplots(1, len(drawn), squeeze=False)[0]
        for panel, (column, title, colour) in zip(axes, drawn, strict=True):
            panel.plot(shown["tokens"], shown[column], color=colour, linewidth=1.3)
            panel.set_title(title)
            panel.set_xlabel("tokens seen")
            panel.xaxis.set_major_formatter(FuncFormatter(_thousands))
            _fit(panel, column, log)

    return draw("sae-training", (3.6 * len(drawn), 2.9), paint, log, description)


def _fit(panel: Axes, column: str, log: pd.DataFrame) -> None:
    if column == "dead_fraction":
        panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    panel.set_ylim(bottom=0)
    if column == "fvu":
        # the first steps, before the bias and scale have settled, would press the rest flat
        panel.set_ylim(top=max(0.05, min(1.2, float(log[column].max()) * 1.05)))


def _thousands(value: float, _: object) -> str:
    if value >= 1e6:
        return f"{value / 1e6:g} M"
    return f"{value / 1e3:g} k" if value >= 1e3 else f"{value:g}"
