"""Figure 8: the loss on the next token as the units are fixed at a value."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glossae.report.figures.canvas import QUIET, Drawing, draw, language_colour, language_style
from glossae.report.reading import Row
from glossae.report.wording import language_name

_TITLES = {True: "Splice, as in the paper", False: "Error-preserving"}


def draw_next_token(
    cells: Sequence[Row],
    languages: Sequence[str],
    unit_of_value: str,
    published: Mapping[str, Any] | None,
    description: str,
) -> Drawing:
    """Loss against the fixed value, one panel for each way of editing.

    Args:
        cells: all cells of one set of units, with those of the raw model and of no edit.
        languages: the target, the reference, then the others.
        unit_of_value: what the value counts, for the axis.
        published: the paper's own curves: `values` and one list per language.
        description: for who cannot see it.
    """
    pooled = [cell for cell in cells if cell["source"] == "all"]

    def paint(figure: Figure) -> None:
        axes = figure.subplots(1, 2, sharey=True)
        for panel, splice in zip(axes, (True, False), strict=True):
            _shade_out_of_range(panel, [c for c in pooled if c["edit"] == "set" and c["splice"] is splice])
            for language in languages:
                _paint_language(panel, pooled, languages, language, splice)
            if splice and published is not None:
                _paint_published(panel, published, languages)
            if not any(cell["edit"] == "set" for cell in pooled):
                panel.set_xticks([])
            panel.set_title(_TITLES[splice])
            panel.set_xlabel(f"units fixed at ({unit_of_value})")
        axes[0].set_ylabel("cross-entropy (nats per token)")
        entries: dict[str, Artist] = {}
        for panel in axes:
            for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
                entries.setdefault(label, handle)
        figure.legend(list(entries.values()), list(entries), loc="outside lower left", ncols=4)

    return draw("figure-8-next-token", (11.0, 4.8), paint, pd.DataFrame(cells), description)


def _paint_language(
    panel: Axes, cells: Sequence[Row], languages: Sequence[str], language: str, splice: bool
) -> None:
    own = [cell for cell in cells if cell["language"] == language]
    style = language_style(languages, language)
    name = language_name(language)
    main = languages.index(language) < 2
    none = next((c for c in own if c["edit"] == "none" and c["splice"] is splice), None)
    raw = next((c for c in own if c["edit"] == "raw"), None)
    line = sorted(
        (c for c in own if c["edit"] == "set" and c["splice"] is splice), key=lambda cell: cell["value"]
    )
    if line:
        values = [cell["value"] for cell in line]
        panel.plot(values, [cell["ce"] for cell in line], label=name, marker="o" if main else None, **style)
    if line and none is not None and all(cell["ci_low"] is not None for cell in line):
        # the interval is the difference's from no edit
        panel.fill_between(
            values,
            [none["ce"] + cell["ci_low"] for cell in line],
            [none["ce"] + cell["ci_high"] for cell in line],
            color=style["color"],
            alpha=0.18 if main else 0.08,
            linewidth=0,
        )
    if main:
        for cell, dashes, words in ((none, (0, (6, 3)), "units unmodified"), (raw, (0, (1, 2)), "raw model")):
            if cell is not None:
                panel.axhline(
                    cell["ce"],
                    color=style["color"],
                    linewidth=1.1,
                    linestyle=dashes,
                    label=f"{name}, {words}",
                )


def _shade_out_of_range(panel: Axes, cells: Sequence[Row]) -> None:
    """Shade the values that the units never take on text of the target."""
    inside = {cell["value"]: cell.get("in_range") for cell in cells}
    values = sorted(inside)
    if len(values) < 2:
        return
    # the border lies somewhere between the last dose inside and the first outside: halfway
    borders = [values[0], *((a + b) / 2 for a, b in pairwise(values)), values[-1]]
    labelled = False
    for value, left, right in zip(values, borders, borders[1:], strict=False):
        if inside[value] is False:
            label = None if labelled else "values the units never take"
            panel.axvspan(left, right, color=QUIET, alpha=0.1, linewidth=0, label=label, zorder=0)
            labelled = True


def _paint_published(panel: Axes, published: Mapping[str, Any], languages: Sequence[str]) -> None:
    for language in languages[:2]:
        if language in published:
            panel.plot(
                np.asarray(published["values"], dtype=float),
                np.asarray(published[language], dtype=float),
                color=language_colour(languages, language),
                alpha=0.55,
                linewidth=1.0,
                marker="x",
                label=f"{language_name(language)}, the paper",
            )
