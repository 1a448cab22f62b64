"""The autoencoder's training, every latent's firing rates, and Figure 5: pre-activations."""

import numpy as np
import pandas as pd

from sprog.report.drawing import GREY, REFERENCE, TARGET, Drawing, colours, finish, panels
from sprog.report.reading import Run
from sprog.report.words import language_name

# rates below this stand on a linear scale, so that 0 has a place
LINEAR_BELOW = 1e-4
TICKS = (0, 1e-4, 1e-3, 1e-2, 1e-1, 1)
TICK_NAMES = ("0", "0.01 %", "0.1 %", "1 %", "10 %", "100 %")
# points closer than this, in decades, are one point in the drawing; the CSV has them all
SAME_POINT = 0.02


def draw_training(log: pd.DataFrame) -> Drawing:
    """Unexplained variance and dead latents along the training."""
    figure, (left, right) = panels(2, columns=2)
    for ax, column, title, colour in (
        (left, "fvu", "variance left unexplained (FVU)", REFERENCE),
        (right, "dead_fraction", "share of latents counted as dead", TARGET),
    ):
        ax.plot(log["tokens"], log[column], lw=1.5, color=colour)
        ax.set_title(title)
        ax.set_xlabel("tokens trained on")
        ax.set_ylim(bottom=0)
    label = "Fraction of variance unexplained and share of dead latents along the training"
    return finish(figure, "sae-training", label, log)


def draw_rates(run: Run, statistics: pd.DataFrame) -> Drawing:
    """Every latent's firing rate on the target against the reference, with the rule's region."""
    target, reference = run.target, run.reference
    table = statistics.pivot(index="unit", columns="language", values="rate").reset_index()
    chosen = {row["unit"] for row in run.selected}
    table["selected"] = table["unit"].isin(chosen)
    rule = run.results["features"]["thresholds"]
    figure, (ax,) = panels(1, width=7.0, height=5.2)
    others = table[~table["selected"]]
    spots = pd.DataFrame({"x": _decades(others[reference]), "y": _decades(others[target])})
    drawn = others[~(spots / SAME_POINT).round().duplicated()]
    ax.plot(drawn[reference], drawn[target], "o", ms=3, color=GREY, alpha=0.55, mew=0, label="other latents")
    ax.fill_between(
        [0, rule["max_reference"]],
        rule["min_target"],
        1,
        color=TARGET,
        alpha=0.13,
        lw=0,
        label="the rule's region",
    )
    picked = table[table["selected"]]
    if len(picked):
        ax.plot(
            picked[reference], picked[target], "D", ms=7, mfc="none", mec=TARGET, mew=1.6, label="selected"
        )
    for axis, language in ((ax.xaxis, reference), (ax.yaxis, target)):
        axis.set_label_text(f"fires on this share of {language_name(language)} tokens")
    ax.set_xscale("symlog", linthresh=LINEAR_BELOW)
    ax.set_yscale("symlog", linthresh=LINEAR_BELOW)
    ax.set_xticks(TICKS, TICK_NAMES)
    ax.set_yticks(TICKS, TICK_NAMES)
    ax.minorticks_off()
    ax.set_xlim(-LINEAR_BELOW / 3, 1.3)
    ax.set_ylim(-LINEAR_BELOW / 3, 1.3)
    ax.legend(loc="lower right")
    label = (
        f"Firing rate of every latent on {language_name(target)} against {language_name(reference)}, "
        "selected latents marked"
    )
    return finish(figure, "firing-rates", label, table)


def draw_histograms(run: Run, histograms: pd.DataFrame) -> Drawing:
    """Densities of pre-activations of the units shown, by language."""
    units = [row["unit"] for row in run.shown]
    own = histograms[histograms["unit"].isin(units)].copy()
    totals = own.groupby(["unit", "language"])["count"].transform("sum")
    widths = own["right"] - own["left"]
    # a unit whose pre-activation never changes has bins of no width, and no density
    own["density"] = own["count"] / (totals * widths).where(totals * widths > 0)
    own["density"] = own["density"].fillna(0.0)
    languages = run.ordered(set(own["language"]))
    shades = colours(languages)
    figure, axes = panels(len(units), height=2.6)
    for ax, unit in zip(axes, units, strict=True):
        for language in languages:
            rows = own[(own["unit"] == unit) & (own["language"] == language)]
            if rows.empty:
                continue
            edges = np.append(rows["left"].to_numpy(), rows["right"].to_numpy()[-1])
            main = language in (run.target, run.reference)
            ax.stairs(
                rows["density"].to_numpy(),
                edges,
                fill=main,
                alpha=0.45 if main else 1.0,
                lw=1.0,
                color=shades[language],
                label=language_name(language),
            )
        ax.set_title(f"latent {unit}")
        ax.set_xlabel("pre-activation")
        ax.set_yticks([])
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=len(languages))
    label = "Densities of the units' pre-activations by language"
    return finish(figure, "figure-5-pre-activations", label, own)


def _decades(rates: "pd.Series[float]") -> "pd.Series[float]":
    return np.log10(1 + rates / LINEAR_BELOW)
