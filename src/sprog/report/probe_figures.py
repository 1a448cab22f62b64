"""Figure 3: probes by layer and lambda, and what the layer rule looks at."""

from typing import Any

import pandas as pd
from matplotlib import colormaps

from sprog.report.drawing import GREY, REFERENCE, TARGET, Drawing, finish, panels
from sprog.report.words import plain


def grid_means(probe: dict[str, Any]) -> pd.DataFrame:
    """Mean over seeds of every probe of the grid; a probe is collapsed where every seed's norm is 0."""
    table = pd.DataFrame([cell for cell in probe["cells"] if not cell.get("rule", False)])
    if table.empty:
        return table
    means = table.groupby(["model", "lambda", "layer"], sort=False, as_index=False).agg(
        accuracy=("accuracy", "mean"),
        accuracy_se=("accuracy_se", "mean"),
        bce=("bce", "mean"),
        norm=("norm", "mean"),
        largest_norm=("norm", "max"),
        critical_lambda=("critical_lambda", "mean"),
        seeds=("seed", "nunique"),
    )
    means["collapsed"] = means.pop("largest_norm") == 0
    return means.sort_values(["model", "lambda", "layer"], ignore_index=True)


def draw_accuracy(probe: dict[str, Any]) -> Drawing | None:
    """Held-out accuracy by layer, a line for each lambda."""
    means = grid_means(probe)
    if means.empty:
        return None
    models = list(dict.fromkeys(cell["model"] for cell in probe["cells"]))
    lambdas = sorted(set(means["lambda"]))
    figure, axes = panels(len(models), columns=2, height=3.6)
    shades = colormaps["viridis"].resampled(max(2, len(lambdas)))
    for ax, model in zip(axes, models, strict=True):
        own = means[means["model"] == model]
        for place, strength in enumerate(lambdas):
            line = own[own["lambda"] == strength]
            alive, dead = line[~line["collapsed"]], line[line["collapsed"]]
            shade = shades(place)
            ax.plot(
                alive["layer"], alive["accuracy"], "o-", ms=4, lw=1.3, color=shade, label=f"λ {strength:.2g}"
            )
            ax.plot(dead["layer"], dead["accuracy"], "o", ms=5, mfc="none", mec=GREY, mew=0.9)
        if own["collapsed"].any():
            ax.plot([], [], "o", ms=5, mfc="none", mec=GREY, label="collapsed (norm 0)")
        ax.set_title(plain(model))
        ax.set_xlabel("layer")
        ax.set_ylabel("held-out accuracy")
        ax.xaxis.get_major_locator().set_params(integer=True)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper")
    label = "Held-out accuracy of the language probe by layer, one line per penalty lambda"
    return finish(figure, "figure-3-probe-accuracy", label, means)


def draw_layer_rule(probe: dict[str, Any], model: str) -> Drawing | None:
    """The loss that the layer rule compares, with the choice marked."""
    table = pd.DataFrame([row for row in probe["layers"] if row["model"] == model])
    if table.empty:
        return None
    table["chosen"] = table["layer"] == probe["best_layer"]
    figure, (ax,) = panels(1, width=7.0, height=2.8)
    ax.errorbar(
        table["layer"], table["bce"], yerr=table["bce_se"], fmt="o-", ms=4, capsize=3, color=REFERENCE
    )
    best = table.loc[table["bce"].idxmin()]
    ax.axhline(best["bce"] + best["bce_se"], ls="--", lw=1, color=GREY, label="best + one standard error")
    chosen = table[table["chosen"]]
    ax.plot(
        chosen["layer"], chosen["bce"], "D", ms=9, mfc="none", mec=TARGET, mew=1.8, label="the rule's choice"
    )
    ax.set_xlabel("layer")
    ax.set_ylabel("held-out BCE (nats per token)")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend()
    label = "Held-out binary cross-entropy by layer at a tenth of the critical lambda, with standard errors"
    return finish(figure, "layer-rule", label, table)
