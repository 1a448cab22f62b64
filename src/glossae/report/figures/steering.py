"""Success against damage: the share of continuations in the target language by KL on reference text."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glossae.report.figures.canvas import INK, QUIET, Drawing, draw
from glossae.report.reading import Row

# a kind of units has a colour, an operation a line
_COLOURS = {"latent": "#d55e00", "neuron": "#009e73", "direction": "#0072b2"}
_LINES = {"set": "-", "add": "--", "project_out": ":"}
_MARKERS = {"latent": "o", "neuron": "s", "direction": "^"}
_PANELS = (
    ("success", "share in the target language"),
    ("repetition", "repeated 4-grams"),
    ("loss", "loss, nats"),
)


def draw_steering(arms: Sequence[Row], names: Mapping[str, str], description: str) -> Drawing:
    """Success, repetition and loss of every family along its doses, by KL.

    Args:
        arms: the raw model first.
        names: of the families, in words.
        description: for who cannot see it.
    """
    raw, steered = arms[0], arms[1:]

    def paint(figure: Figure) -> None:
        axes = figure.subplots(1, len(_PANELS))
        for panel, (measure, words) in zip(axes, _PANELS, strict=True):
            _paint(panel, raw, steered, measure, names)
            panel.set_title(words)
            panel.set_xlabel("KL on reference text, nats a token")
        axes[0].set_ylim(-0.03, 1.03)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", ncols=3)

    return draw("steering-front", (11.5, 4.4), paint, steering_frame(arms), description)


def steering_frame(arms: Sequence[Row]) -> pd.DataFrame:
    """The arms' numbers in one flat table."""
    rows = []
    for arm in arms:
        row: dict[str, Any] = {name: value for name, value in arm.items() if name != "shares"}
        for identifier, shares in arm["shares"].items():
            row |= {f"{identifier}_{language}": share for language, share in (shares or {}).items()}
        rows.append(row)
    return pd.DataFrame(rows)


def _paint(panel: Axes, raw: Row, steered: Sequence[Row], measure: str, names: Mapping[str, str]) -> None:
    if raw[measure] is not None:
        panel.axhline(raw[measure], color=QUIET, linewidth=0.9, linestyle=(0, (1, 2)), label="the raw model")
    for family, words in names.items():
        line = sorted((arm for arm in steered if arm["family"] == family), key=lambda arm: arm["kl"])
        line = [arm for arm in line if arm[measure] is not None]
        if not line:
            continue
        kind = line[0]["kind"]
        panel.plot(
            [arm["kl"] for arm in line],
            [arm[measure] for arm in line],
            color=_COLOURS.get(kind, INK),
            linestyle=_LINES.get(line[0]["operation"], "-"),
            marker=_MARKERS.get(kind, "o"),
            linewidth=1.3,
            label=words,
        )
    if measure == "success":
        front = [arm for arm in steered if arm["on_front"]]
        panel.plot(
            [arm["kl"] for arm in front],
            [arm["success"] for arm in front],
            linestyle="none",
            marker="o",
            markersize=10,
            markerfacecolor="none",
            markeredgecolor=INK,
            label="not dominated",
        )
    smallest = min((arm["kl"] for arm in steered if arm["kl"] > 0), default=None)
    if smallest is not None:
        panel.set_xscale("symlog", linthresh=smallest, linscale=0.4)
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        panel.minorticks_off()
