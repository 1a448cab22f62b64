"""What the layer rules saw: the probes' loss on the pair alone, and AUROC against the nearest language."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from glossae.report.figures.canvas import FAINT, INK, QUIET, Drawing, draw, panels
from glossae.report.reading import Row
from glossae.report.wording import visible


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


# a row's two methods, and how they are drawn
METHODS = {"difference": "difference of means", "probe": "standardised probe"}
_COLOURS = {"difference": "#0072b2", "probe": "#009e73"}


def nearest_table(rows: Sequence[Row]) -> pd.DataFrame:
    """A row for each layer and method: AUROC against the nearest language, its interval, the language."""
    return pd.DataFrame(
        [
            {"layer": row["layer"], "method": name}
            | {key: row[method][key] for key in ("nearest", "auroc", "se", "se_seeds", "low", "high")}
            for row in rows
            for method, name in METHODS.items()
        ]
    )


def draw_nearest(rows: Sequence[Row], candidates: Sequence[int], chosen: int, description: str) -> Drawing:
    """Least held-out AUROC by layer for both methods with 95 % intervals, the candidates, and the layer chosen.

    Args:
        rows: a row per layer.
        candidates: layers that short autoencoders were trained at.
        chosen: the layer of the rule.
        description: for who cannot see it.
    """
    table = nearest_table(rows)

    def paint(figure: Figure) -> None:
        (panel,) = panels(figure, 1, 1)
        panel.axhline(0.5, color=QUIET, linewidth=1, linestyle=":")
        for layer in candidates:
            panel.axvspan(
                layer - 0.4,
                layer + 0.4,
                color=FAINT,
                alpha=0.6,
                linewidth=0,
                label="candidate" if layer == candidates[0] else None,
            )
        for shift, (method, name) in zip((-0.08, 0.08), METHODS.items(), strict=True):
            line = table[table["method"] == name]
            panel.errorbar(
                line["layer"] + shift,
                line["auroc"],
                # an interval of draws need not hold its estimate to the last digit
                yerr=[
                    (line["auroc"] - line["low"]).clip(lower=0),
                    (line["high"] - line["auroc"]).clip(lower=0),
                ],
                color=_COLOURS[method],
                marker="o",
                capsize=3,
                linewidth=1.4,
                label=name,
            )
        (score,) = (row["score"] for row in rows if row["layer"] == chosen)
        panel.plot([chosen], [score], "D", color="#d55e00", markersize=9, label="chosen", zorder=3)
        panel.set_xlabel("layer")
        panel.set_ylabel("AUROC against the nearest language")
        panel.set_ylim(min(0.45, float(table["low"].min())), 1.02)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.legend()

    return draw("nearest-language", (6.4, 3.6), paint, table, description)
