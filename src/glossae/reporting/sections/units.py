"""Which latents fire on the language (section 5.1): firing rates, Figure 5 and Figure 6."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, NullLocator

from glossae.errors import visible
from glossae.reporting.canvas import INK, ORANGE, PALE, QUIET, Figure, Panel, language_style
from glossae.reporting.exhibits import Exhibit, Missing, Texts, Token, table
from glossae.reporting.reading import Row, RunFiles
from glossae.reporting.verdict import rule_words, thresholds
from glossae.reporting.wording import language_name, listed, number
from glossae.results import SELECTED_BY

_MOST_ROWS = 40
_MOST_PANELS = 12
# tokens of a sentence that fit beside one another with their names legible
_MOST_TOKENS = 24
# places along an axis at which latents are drawn as one mark
_PLACES = 120
_TITLES = {"fallback": "The fallback's latents", "given": "The named latents"}


# ---- firing rates


def rates(files: RunFiles) -> Iterator[Exhibit]:
    """Every latent's rates, and the selected ones in numbers."""
    features, units = files.results.features, files.shown_units
    if not features:
        yield Missing("selection of units", stage="features")
        return
    if files.statistics is not None and units:
        yield _rates(files, files.statistics)
    if units:
        title = _TITLES.get(features.rule, "Selected latents")
        tested = all(unit.q_value is not None for unit in units)
        theirs = files.results.published.selected_units if files.results.published else []
        paper = f" The paper found {listed(list(map(str, theirs)))}: only behaviour can agree, not numbers."
        yield table(
            title if files.units else "The nearest latents, none of them selected",
            [
                dict(unit) | {"page": files.unit(unit.kind, unit.unit, str(unit.unit))}
                for unit in units[:_MOST_ROWS]
            ],
            "Latent=page; fires: *=rate.* %1; "
            + "; ".join(
                f"{name}|mean=mean.{code} 2; {name}|where it fires=mean_active.{code} 2"
                for code, name in zip(files.languages, files.names, strict=False)
            )
            + "; AUROC of tokens=token_auroc"
            + ("; AUROC of sentences=sentence_auroc; q of sentences=q_value short" if tested else ""),
            over=[code for code in files.languages if code in units[0].rate],
            key="selected-latents",
            rule=rule_words(files),
            paper=paper if theirs else "",
        )
    chosen = [row for row in files.next_token.chosen if row.language == files.target]
    if len({row.seed for row in chosen}) > 1:
        yield table(
            "Trained and untrained",
            [
                dict(row)
                | {
                    "what": "trained" if row.seed is None else f"untrained, seed {row.seed}",
                    "size": len(row.members),
                    "by": SELECTED_BY.get(row.rule, "–"),
                }
                for row in sorted(chosen, key=lambda row: row.seed is not None)
            ],
            "Autoencoder=what; Latents that pass=passing; of=of; Set=size; Selected by=by",
            rule="passes the run's tests" if chosen[0].asked == "tested" else rule_words(files),
        )


def _rates(files: RunFiles, statistics: pd.DataFrame) -> Figure:
    """A mark per latent, larger where several share a place; the rate rule's region shaded, selected ones ringed."""
    target, reference = files.target, files.reference
    selected = [unit.unit for unit in files.units]
    wide = statistics.pivot(index="unit", columns="language", values="rate").fillna(0.0)
    numbers = wide.reindex(columns=[code for code in files.languages if code in wide.columns]).add_prefix(
        "rate_"
    )
    numbers["selected"] = numbers.index.isin(selected)
    # below the smallest rate that was seen the scale is linear, so that zero has a place
    seen = wide[[target, reference]].to_numpy()
    least = float(seen[seen > 0].min()) if (seen > 0).any() else 1e-3
    floor = min(max(least, 1e-5), 1e-2)

    def paint(axes: Axes) -> None:
        axes.set_xscale("symlog", linthresh=floor, linscale=0.4)
        axes.set_yscale("symlog", linthresh=floor, linscale=0.4)
        axes.set_xlim(-floor / 2, 1.3)
        axes.set_ylim(-floor / 2, 1.3)
        least_target, most_reference = thresholds(files)
        corner, width, height = (least_target, -floor / 2), 1.3 - least_target, most_reference + floor / 2
        shade: Any = {"facecolor": ORANGE, "alpha": 0.18, "linewidth": 0, "label": "passes the rate rule"}
        axes.add_patch(Rectangle(corner, width, height, **shade))
        axes.plot([0, 1], [0, 1], color=PALE, linewidth=0.8, linestyle=":", label="equal rates")
        # latents that would lie on one another are one mark: 65,536 marks are too many for a page
        x, y = wide[target].to_numpy(), wide[reference].to_numpy()
        place = [np.round(_PLACES * np.log1p(each / floor) / np.log1p(1 / floor)) for each in (x, y)]
        _, first, count = np.unique(np.stack(place), axis=1, return_index=True, return_counts=True)
        marks: Any = {"color": QUIET, "alpha": 0.55, "linewidths": 0, "label": "latents"}
        axes.scatter(x[first], y[first], s=9 + 14 * np.log2(count), **marks)
        ringed = wide.reindex(selected).dropna()
        rings: Any = {"facecolor": "none", "edgecolor": ORANGE, "linewidths": 1.8, "label": "selected"}
        axes.scatter(ringed[target], ringed[reference], s=70, **rings)
        for side, name in zip((axes.xaxis, axes.yaxis), files.names, strict=True):
            # the first power of ten that stands clear of zero
            ticks = [0.0, *(10.0**power for power in range(int(np.ceil(np.log10(2 * floor))), 1))]
            side.set_ticks(ticks)
            side.set_minor_locator(NullLocator())
            side.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
            side.set_label_text(f"fires on this share of {name} tokens", color=INK)

    return Figure("firing-rates", "Firing rates", [Panel(paint)], numbers.reset_index(), size=(4.0, 4.2))


# ---- pre-activations


def preactivations(files: RunFiles) -> Iterator[Exhibit]:
    """Figure 5."""
    histograms = files.histograms if files.results.features else None
    known = set() if histograms is None else set(histograms["unit"])
    units = [unit.unit for unit in files.shown_units if unit.unit in known][:_MOST_PANELS]
    if histograms is None or not units:
        yield Missing(
            "pre-activations", "" if histograms is None else "there is no latent to show", "features"
        )
        return

    def panel(unit: int) -> Panel:
        own = histograms[histograms["unit"] == unit]
        return Panel(lambda axes: _paint_unit(axes, own, files.languages), f"latent {unit}")

    facts = {"which": "selected" if files.units else "nearest"}
    drawn = [panel(unit) for unit in units]
    yield Figure("figure-5-preactivations", "Figure 5", drawn, histograms, size=(3.2, 2.2), facts=facts)


def _paint_unit(panel: Axes, counts: pd.DataFrame, languages: Sequence[str]) -> None:
    for language in languages:
        bins = counts[counts["language"] == language].sort_values("left")
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
    panel.set_xlabel("pre-activation")
    panel.grid(visible=False)


# ---- a unit along texts


def texts(files: RunFiles) -> Iterator[Exhibit]:
    """Figure 6: the best unit for which there are texts, along them."""
    for best in files.shown_units:
        unit = best.unit
        found = [
            text | text["units"][str(unit)]
            for text in files.texts
            if str(unit) in text["units"] and text["tokens"]
        ]
        if found:
            break
    else:
        yield Missing("one latent along a text", stage="features")
        return
    order = {code: place for place, code in enumerate(files.languages)}
    pairs: dict[str, list[Row]] = {}
    for text in sorted(found, key=lambda text: order.get(text["language"], len(order))):
        pairs.setdefault(str(text["pair"]), []).append(text)
    # the first pair, so that the panels are translations of one another where the text is parallel
    parallel = next((pairs[str(text["pair"])] for text in found if len(pairs[str(text["pair"])]) > 1), None)
    columns = [[text for text in found if text["language"] == code] for code in files.languages]
    beside = (
        [pairs[pair] for pair in dict.fromkeys(str(text["pair"]) for text in found)]
        if parallel
        else [
            [column[row] for column in columns if row < len(column)] for row in range(max(map(len, columns)))
        ]
    )
    numbers = pd.DataFrame(
        [
            (
                unit,
                text["pair"],
                text["language"],
                place,
                visible(token),
                text["pre"][place],
                text["fires"][place],
            )
            for text in found
            for place, token in enumerate(text["tokens"])
        ],
        columns=["unit", "pair", "language", "position", "token", "pre_activation", "fires"],
    )

    def panel(text: Row) -> Panel:
        return Panel(lambda axes: _paint_text(axes, text, files.languages), language_name(text["language"]))

    drawn = [panel(text) for text in beside[0]]
    yield Figure(
        "figure-6-texts", "Figure 6", drawn, numbers, size=(4.0, 2.7), share=True, facts={"unit": unit}
    )
    highest = max((value for text in found for value in text["pre"]), default=0.0)
    yield Texts(
        [
            [(language_name(text["language"]), text["language"], _coloured(text, highest)) for text in pair]
            for pair in beside
        ]
    )


def _coloured(text: Row, highest: float) -> list[Token]:
    return [
        Token(
            token,
            f"{number(pre, 2)}{'' if fires else ', does not fire'}",
            round(min(max(pre / highest, 0.0), 1.0), 3) if fires and highest > 0 else None,
        )
        for token, pre, fires in zip(text["tokens"], text["pre"], text["fires"], strict=True)
    ]


def _paint_text(panel: Axes, text: Row, languages: Sequence[str]) -> None:
    """Pre-activations as bars, filled where the unit fires."""
    count = min(len(text["tokens"]), _MOST_TOKENS)
    colour = language_style(languages, text["language"])["color"]
    for fires, face, edge, label in ((True, colour, colour, "fires"), (False, "none", PALE, "does not fire")):
        places = [place for place in range(count) if bool(text["fires"][place]) is fires]
        heights = [text["pre"][place] for place in places]
        panel.bar(places, heights, width=0.75, color=face, edgecolor=edge, linewidth=0.8, label=label)
    names = [_label(token) for token in text["tokens"][:count]]
    panel.set_xticks(range(count), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=9)
    panel.set_xlim(-0.7, max(count, 8) - 0.3)
    panel.axhline(0, color=QUIET, linewidth=0.8)
    panel.grid(visible=False, axis="x")
    panel.set_ylabel("pre-activation")


def _label(token: str) -> str:
    text = visible(token).replace("\n", "⏎").replace("\t", "⇥").strip() or "·"
    return text if len(text) <= 14 else text[:13] + "…"
