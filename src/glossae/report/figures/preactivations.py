"""Figure 5: how the selected units' pre-activations are spread in each language."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glossae.report.figures.canvas import Drawing, draw, language_style, panels
from glossae.report.wording import language_name

MOST_PANELS = 12


def draw_preactivations(
    histograms: pd.DataFrame, units: Sequence[int], languages: Sequence[str], description: str
) -> Drawing:
    """A panel per unit: the target and the reference filled, others as thin lines."""
    known = set(histograms["unit"])
    drawn = [unit for unit in units if unit in known][:MOST_PANELS]
    columns = 2 if len(drawn) == 4 else min(len(drawn), 3)
    rows = -(-len(drawn) // columns)

    def paint(figure: Figure) -> None:
        axes = panels(figure, len(drawn), columns)
        for panel, unit in zip(axes, drawn, strict=True):
            _paint_unit(panel, histograms[histograms["unit"] == unit], languages)
            panel.set_title(f"latent {unit}")
        for panel in axes[-columns:]:
            panel.set_xlabel("pre-activation")
        for panel in axes[::columns]:
            panel.set_ylabel("density of tokens")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=max(len(labels), 1))

    size = (max(4.6, 3.6 * columns), 0.7 + 2.6 * rows)
    return draw("figure-5-preactivations", size, paint, histograms, description)


def _paint_unit(panel: Axes, table: pd.DataFrame, languages: Sequence[str]) -> None:
    for language in languages:
        bins = table[table["language"] == language].sort_values("left")
        total = bins["count"].sum()
        if not total:
            continue
        edges = np.append(bins["left"].to_numpy(), bins["right"].to_numpy()[-1])
        density = bins["count"].to_numpy() / total / np.diff(edges)
        style = language_style(languages, language)
        name = language_name(language)
        if languages.index(language) < 2:
            panel.stairs(density, edges, fill=True, color=style["color"], alpha=0.4, label=name)
            panel.stairs(density, edges, color=style["color"], linewidth=1.2)
        else:
            panel.stairs(density, edges, label=name, **style)
    panel.set_yticks([])
    panel.grid(visible=False)
