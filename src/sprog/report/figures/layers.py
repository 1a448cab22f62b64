"""What the layer rule saw: the probes' loss at a penalty that is equally hard for every layer."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sprog.report.figures.canvas import FAINT, INK, QUIET, Drawing, draw, panels
from sprog.report.reading import Row
from sprog.report.wording import visible


def draw_layers(layers: Sequence[Row], model: str, used: int | None, description: str) -> Drawing:
    """Held-out BCE by layer with its standard error, the best layer's band, and the layer used.

    Args:
        layers: a row per model and layer.
        model: the run's own, whose used layer is marked.
        used: the layer that the autoencoder sits on.
        description: for who cannot see it.
    """
    table = pd.DataFrame(layers)
    models = list(dict.fromkeys(table["model"]))
    columns = min(len(models), 3)
    rows = -(-len(models) // columns)

    def paint(figure: Figure) -> None:
        axes = panels(figure, len(models), columns)
        for panel, name in zip(axes, models, strict=True):
            line = table[table["model"] == name].sort_values("layer")
            best = line.loc[line["bce"].idxmin()]
            low, high = best["bce"] - best["bce_se"], best["bce"] + best["bce_se"]
            panel.axhspan(low, high, color=FAINT, alpha=0.6, linewidth=0, label="best ± 1 SE")
            panel.errorbar(
                line["layer"],
                line["bce"],
                yerr=line["bce_se"],
                color=QUIET,
                marker="o",
                capsize=3,
                linewidth=1.4,
            )
            mark = line[line["layer"] == used]
            if name == model and not mark.empty:
                panel.plot(
                    mark["layer"], mark["bce"], "D", color="#d55e00", markersize=9, label="used", zorder=3
                )
            panel.set_title(visible(name), color=INK)
            panel.set_xlabel("layer")
            panel.set_ylim(bottom=0)
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            panel.legend()
        for panel in axes[::columns]:
            panel.set_ylabel("held-out BCE (nats per token)")

    return draw("layer-rule", (0.5 + 3.9 * columns, 0.5 + 3.1 * rows), paint, table, description)
