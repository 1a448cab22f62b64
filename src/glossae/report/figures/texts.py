"""Figure 6: a unit along a text, token by token."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from glossae.report.figures.canvas import QUIET, Drawing, draw, language_colour
from glossae.report.wording import language_name, visible

# tokens of a sentence that fit beside one another with their names legible
_MOST_TOKENS = 48


@dataclass(frozen=True)
class UnitAlongText:
    """A sentence with one unit's pre-activation at each token, and whether it fires there."""

    language: str
    pair: str
    tokens: Sequence[str]
    pre: Sequence[float]
    fires: Sequence[bool]


def draw_text(
    shown: Sequence[UnitAlongText],
    everything: Sequence[UnitAlongText],
    unit: int,
    languages: Sequence[str],
    description: str,
) -> Drawing:
    """Pre-activations as bars, filled where the unit fires; a panel per text.

    Args:
        shown: the texts that are drawn.
        everything: those whose numbers are kept.
        unit: the unit.
        languages: the target, the reference, then the others.
        description: for who cannot see it.
    """
    numbers = pd.DataFrame(
        [
            (text.pair, text.language, place, visible(token), pre, fires)
            for text in everything
            for place, (token, pre, fires) in enumerate(zip(text.tokens, text.pre, text.fires, strict=True))
        ],
        columns=["pair", "language", "position", "token", "pre_activation", "fires"],
    )
    numbers.insert(0, "unit", unit)

    def paint(figure: Figure) -> None:
        axes = figure.subplots(len(shown), 1, squeeze=False, sharey=True)[:, 0]
        marks = [
            Patch(facecolor=QUIET, label="fires"),
            Patch(facecolor="white", edgecolor="#9aa3ad", label="does not fire"),
        ]
        figure.legend(handles=marks, loc="outside upper right", ncols=2)
        for panel, text in zip(axes, shown, strict=True):
            count = min(len(text.tokens), _MOST_TOKENS)
            colour = language_colour(languages, text.language)
            for fires in (True, False):
                places = [place for place in range(count) if bool(text.fires[place]) is fires]
                panel.bar(
                    places,
                    [text.pre[place] for place in places],
                    width=0.75,
                    color=colour if fires else "white",
                    edgecolor=colour if fires else "#9aa3ad",
                    linewidth=0.8,
                )
            names = [_short(token) for token in text.tokens[:count]]
            panel.set_xticks(
                range(count), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=8.5
            )
            panel.set_xlim(-0.7, max(count, 12) - 0.3)
            panel.axhline(0, color="#6b7480", linewidth=0.8)
            panel.grid(visible=False, axis="x")
            panel.set_ylabel("pre-activation")
            panel.set_title(language_name(text.language))

    longest = max(min(len(text.tokens), _MOST_TOKENS) for text in shown)
    size = (min(11.0, max(5.5, 1.2 + 0.3 * longest)), 2.7 * len(shown))
    return draw("figure-6-texts", size, paint, numbers, description)


def _short(token: str) -> str:
    text = visible(token).replace("\n", "⏎").replace("\t", "⇥").strip() or "·"
    return text if len(text) <= 14 else text[:13] + "…"
