"""Every latent's firing rates on the target and the reference, and where the rule lies."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, NullLocator

from glossae.report.figures.canvas import INK, Drawing, draw, language_colour
from glossae.report.wording import language_name

# places along an axis at which latents are drawn as one mark
_PLACES = 160


def draw_rates(
    statistics: pd.DataFrame,
    languages: Sequence[str],
    selected: Sequence[int],
    thresholds: tuple[float, float],
    description: str,
) -> Drawing:
    """A mark per latent, larger where several share a place; the rule's region shaded, selected ones ringed.

    Args:
        statistics: a row per unit and language.
        languages: the target, the reference, then the others.
        selected: the units to ring.
        thresholds: the least rate on the target and the greatest on the reference.
        description: for who cannot see it.
    """
    target, reference = languages[:2]
    wide = statistics.pivot(index="unit", columns="language", values="rate").fillna(0.0)
    numbers = wide.reindex(columns=[code for code in languages if code in wide.columns]).add_prefix("rate_")
    numbers["selected"] = numbers.index.isin(list(selected))
    # below the smallest rate that was seen the scale is linear, so that zero has a place
    seen = wide[[target, reference]].to_numpy()
    least = float(seen[seen > 0].min()) if (seen > 0).any() else 1e-3
    floor = min(max(least, 1e-5), 1e-2)

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        axes.set_xscale("symlog", linthresh=floor, linscale=0.4)
        axes.set_yscale("symlog", linthresh=floor, linscale=0.4)
        axes.set_xlim(-floor / 2, 1.3)
        axes.set_ylim(-floor / 2, 1.3)
        least_target, most_reference = thresholds
        region = Rectangle(
            (least_target, -floor / 2),
            1.3 - least_target,
            most_reference + floor / 2,
            facecolor="#d55e00",
            alpha=0.14,
            linewidth=0,
            label="passes the rule",
        )
        axes.add_patch(region)
        axes.plot([0, 1], [0, 1], color="#9aa3ad", linewidth=0.8, linestyle=":", label="equal rates")
        x, y, count = _merged(wide[target].to_numpy(), wide[reference].to_numpy(), floor)
        axes.scatter(
            x, y, s=9 + 14 * np.log2(count), color="#3d4753", alpha=0.55, linewidths=0, label="latents"
        )
        ringed = wide.reindex(list(selected)).dropna()
        axes.scatter(
            ringed[target],
            ringed[reference],
            s=70,
            facecolor="none",
            edgecolor=language_colour(languages, target),
            linewidths=1.8,
            label="selected",
        )
        for side, code in ((axes.xaxis, target), (axes.yaxis, reference)):
            # the first power of ten that stands clear of zero
            ticks = [0.0, *(10.0**power for power in range(int(np.ceil(np.log10(2 * floor))), 1))]
            side.set_ticks(ticks)
            side.set_minor_locator(NullLocator())
            side.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
            side.set_label_text(f"fires on this share of {language_name(code)} tokens", color=INK)
        figure.legend(loc="outside upper left", ncols=4)

    return draw("firing-rates", (6.2, 5.6), paint, numbers.reset_index(), description)


def _merged(
    x: "np.ndarray[tuple[int], np.dtype[np.float64]]",
    y: "np.ndarray[tuple[int], np.dtype[np.float64]]",
    floor: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Latents that would lie on one another as one, with their count: 65,536 marks are too many for a page."""
    place = np.stack(
        [np.round(_PLACES * np.log1p(values / floor) / np.log1p(1 / floor)) for values in (x, y)]
    )
    _, first, count = np.unique(place, axis=1, return_index=True, return_counts=True)
    return x[first], y[first], count
