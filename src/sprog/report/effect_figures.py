"""Figure 8: the loss at every value the units are fixed at."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from sprog.report.drawing import Drawing, colours, finish, panels
from sprog.report.reading import Run
from sprog.report.words import language_name

TITLES = {True: "splice (the paper's way)", False: "error-preserving"}


def draw_sweep(run: Run) -> Drawing | None:
    """Loss against value, spliced and error-preserving; None where nothing was swept."""
    languages = run.swept
    if not any(run.cells("set", splice, language) for splice in TITLES for language in languages):
        return None
    shades = colours(languages)
    figure, axes = panels(2, columns=2, height=4.4)
    rows: list[dict[str, Any]] = []
    for ax, (splice, title) in zip(axes, TITLES.items(), strict=True):
        for language in languages:
            main = language in (run.target, run.reference)
            _curve(ax, run, splice, language, shades[language], 1.8 if main else 0.8)
            rows += [*run.cells("raw", None, language), *run.cells("none", splice, language)]
            rows += run.cells("set", splice, language)
        ax.set_title(title)
        ax.set_xlabel(f"value the units are fixed at ({unit_of_value(run)})")
        ax.set_ylabel("cross-entropy (nats per token)")
    low = min(ax.get_ylim()[0] for ax in axes)
    high = max(ax.get_ylim()[1] for ax in axes)
    for ax in axes:
        ax.set_ylim(low, high)
    axes[0].plot([], [], "--", lw=1, color="black", label="no edit")
    axes[0].plot([], [], ":", lw=1, color="black", label="model as it is")
    axes[0].plot([], [], "o", ms=5, color="black", label="in range")
    axes[0].plot([], [], "o", ms=5, mfc="white", mec="black", label="out of range")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)))
    label = "Cross-entropy by the value that the units are fixed at, spliced and error-preserving"
    columns = [
        "edit",
        "splice",
        "value",
        "language",
        "ce",
        "ce_per_byte",
        "delta",
        "ci_low",
        "ci_high",
        "in_range",
    ]
    numbers = pd.DataFrame(rows)[columns].drop_duplicates(ignore_index=True)
    return finish(figure, "figure-8-loss", label, numbers)


def unit_of_value(run: Run) -> str:
    """What one step of a dose is."""
    return "times the 99th percentile" if run.recipe.effects.unit == "p99" else "units of the latent"


def _curve(ax: Axes, run: Run, splice: bool, language: str, colour: str, width: float) -> None:
    doses = run.cells("set", splice, language)
    values = [row["value"] for row in doses]
    ax.plot(values, [row["ce"] for row in doses], lw=width, color=colour, label=language_name(language))
    for inside in (True, False):
        marked = [row for row in doses if bool(row["in_range"]) == inside]
        ax.plot(
            [row["value"] for row in marked],
            [row["ce"] for row in marked],
            "o",
            ms=2 + 1.6 * width,
            mec=colour,
            mfc=colour if inside else "white",
        )
    for row in run.cells("none", splice, language):
        ax.axhline(row["ce"], ls="--", lw=width / 2, color=colour)
        # the interval is of the difference from no edit
        ax.fill_between(
            values,
            [row["ce"] + dose["ci_low"] for dose in doses],
            [row["ce"] + dose["ci_high"] for dose in doses],
            color=colour,
            alpha=0.18,
            lw=0,
        )
    for row in run.cells("raw", None, language):
        ax.axhline(row["ce"], ls=":", lw=width / 2, color=colour)
