"""Which latents fire on the language (section 5.1): firing rates, Figure 5 and Figure 6."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, NullLocator

from glossae.reporting.blocks import (
    Blocks,
    ColouredText,
    ColouredTexts,
    Paragraph,
    Picture,
    Token,
    not_run,
    table,
)
from glossae.reporting.canvas import (
    INK,
    ORANGE,
    PALE,
    QUIET,
    Drawing,
    draw,
    language_colour,
    language_style,
    panels,
    rows_of,
)
from glossae.reporting.findings import rule_words, third_languages, thresholds, units_found
from glossae.reporting.reading import RunFiles
from glossae.reporting.wording import counted, language_name, listed, number, percent, short, visible, whole
from glossae.results import UnitRow

_MOST_ROWS = 40
_MOST_PANELS = 12
# tokens of a sentence that fit beside one another with their names legible
_MOST_TOKENS = 48
# places along an axis at which latents are drawn as one mark
_PLACES = 160


# ---- firing rates


def rates_blocks(files: RunFiles) -> Blocks:
    """Every latent's rates, and the selected ones in numbers."""
    if not files.results.features:
        yield not_run("Selection of units")
        return
    found = " ".join(filter(None, (units_found(files), third_languages(files))))
    if files.statistics is not None and files.shown_units:
        yield Picture(
            "Firing rates",
            _draw_rates(files, files.statistics, found),
            found,
            "Every latent of the autoencoder, on all tokens of select. Larger marks are several latents.",
        )
    else:
        yield Paragraph(found, "finding")
    yield from _unit_table(files)
    yield from _untrained(files)
    if files.results.published:
        theirs = files.results.published.selected_units
        yield Paragraph(
            f"The paper found {counted(len(theirs))}: {listed([str(unit) for unit in theirs])}. "
            "Its weights are not released, so the numbers of latents cannot agree, only their behaviour."
        )


def _unit_table(files: RunFiles) -> Blocks:
    units, features = files.shown_units, files.results.features
    if not units or not features:
        return
    title = "The nearest latents, none of them selected"
    if files.units:
        titles = {"fallback": "The fallback's latents", "given": "The named latents"}
        title = titles.get(features.rule, "Selected latents")
    codes = [code for code in files.languages if code in units[0].rate]
    names = {code: language_name(code) for code in codes}
    pair = codes[:2]
    target, reference = names[codes[0]], language_name(files.reference)
    more = "" if len(units) <= _MOST_ROWS else f" The first {_MOST_ROWS} of {whole(len(units))}."
    tested = all(unit.q_value is not None for unit in units)
    sentences = (
        f" AUROC of sentences: how well its mean ranks {target} sentences above those of another language, the least "
        "over the languages that it is told from; q is of that test."
        if tested
        else ""
    )

    yield table(
        title,
        "Share of tokens on which each fires, its mean pre-activation, and its mean where it fires. AUROC of "
        f"tokens: how well its pre-activation ranks {target} tokens above {reference} ones.{sentences}{more}",
        [
            {
                "Latent": str(unit.unit),
                **{f"fires: {names[code]}": percent(unit.rate.get(code), digits=1) for code in codes},
                **{f"mean: {names[code]}": number(unit.mean.get(code), 2) for code in pair},
                **{f"where it fires: {names[code]}": number(unit.mean_active.get(code), 2) for code in pair},
                "AUROC of tokens": number(unit.token_auroc),
                **({"AUROC of sentences": number(unit.sentence_auroc)} if tested else {}),
                **({"q of sentences": short(unit.q_value or 0)} if tested else {}),
            }
            for unit in units[:_MOST_ROWS]
        ],
    )


def _untrained(files: RunFiles) -> Blocks:
    """How many latents pass the run's rule in the trained autoencoder, and with random weights."""
    rows = [row for row in files.next_token.chosen if row.language == files.target]
    untrained = [row for row in rows if row.seed is not None]
    if len(rows) == len(untrained) or not untrained:
        return
    trained = next(row for row in rows if row.seed is None)
    rule = "the run's tests" if trained.asked == "tested" else rule_words(files)
    own, others = trained.passing, [row.passing for row in untrained if row.passing is not None]
    if own is not None and len(others) == len(untrained):
        if own > max(others):
            training = "The trained autoencoder has more than any of them."
        elif own < min(others):
            training = "Each of them has more: training adds no latent that passes."
        else:
            training = (
                "That is no more than without training: that latents pass says nothing of what was learned."
            )
        yield Paragraph(
            f"{whole(own)} of {whole(trained.of)} trained latents pass {rule}; of "
            f"{counted(len(untrained))} autoencoders with random weights, "
            f"{listed([whole(count) for count in others])} pass it on the same text. {training}",
            "finding",
        )
    yield table(
        "Trained and untrained",
        f"How many latents pass {rule}: the same rule on the same text for the trained autoencoder and for random "
        "weights of the same size. The set: whose effects are measured below, at most as many as are selected; "
        "fallback: none passes, and the nearest are taken.",
        [
            {
                "Autoencoder": "trained" if row.seed is None else f"untrained, seed {row.seed}",
                "Latents that pass": "not tested"
                if row.passing is None
                else f"{whole(row.passing)} of {whole(row.of)}",
                "Set": counted(len(row.members)),
                "Chosen by": row.rule,
            }
            for row in (trained, *untrained)
        ],
    )


def _draw_rates(files: RunFiles, statistics: pd.DataFrame, description: str) -> Drawing:
    """A mark per latent, larger where several share a place; the rule's region shaded, selected ones ringed."""
    languages, target, reference = files.languages, files.target, files.reference
    selected = [unit.unit for unit in files.units]
    wide = statistics.pivot(index="unit", columns="language", values="rate").fillna(0.0)
    numbers = wide.reindex(columns=[code for code in languages if code in wide.columns]).add_prefix("rate_")
    numbers["selected"] = numbers.index.isin(selected)
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
        least_target, most_reference = thresholds(files)
        corner, width, height = (least_target, -floor / 2), 1.3 - least_target, most_reference + floor / 2
        shade: Any = {"facecolor": ORANGE, "alpha": 0.14, "linewidth": 0, "label": "passes the rule"}
        axes.add_patch(Rectangle(corner, width, height, **shade))
        axes.plot([0, 1], [0, 1], color=PALE, linewidth=0.8, linestyle=":", label="equal rates")
        # latents that would lie on one another are one mark: 65,536 marks are too many for a page
        x, y = wide[target].to_numpy(), wide[reference].to_numpy()
        place = [np.round(_PLACES * np.log1p(rates / floor) / np.log1p(1 / floor)) for rates in (x, y)]
        _, first, count = np.unique(np.stack(place), axis=1, return_index=True, return_counts=True)
        marks: Any = {"color": "#3d4753", "alpha": 0.55, "linewidths": 0, "label": "latents"}
        axes.scatter(x[first], y[first], s=9 + 14 * np.log2(count), **marks)
        ringed = wide.reindex(selected).dropna()
        edge = language_colour(languages, target)
        rings: Any = {"facecolor": "none", "edgecolor": edge, "linewidths": 1.8, "label": "selected"}
        axes.scatter(ringed[target], ringed[reference], s=70, **rings)
        for side, name in zip((axes.xaxis, axes.yaxis), files.names, strict=True):
            # the first power of ten that stands clear of zero
            ticks = [0.0, *(10.0**power for power in range(int(np.ceil(np.log10(2 * floor))), 1))]
            side.set_ticks(ticks)
            side.set_minor_locator(NullLocator())
            side.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
            side.set_label_text(f"fires on this share of {name} tokens", color=INK)
        figure.legend(loc="outside upper left", ncols=4)

    return draw("firing-rates", (6.2, 5.6), paint, numbers.reset_index(), description)


# ---- pre-activations


def preactivations_blocks(files: RunFiles) -> Blocks:
    """Figure 5."""
    if not files.results.features or files.histograms is None:
        yield not_run("Pre-activations")
        return
    known = set(files.histograms["unit"])
    units = [unit for unit in files.shown_units if unit.unit in known]
    if not units:
        yield Paragraph("There is no latent to show.", "absent")
        return
    finding = _means(files, units)
    more = "" if len(units) <= _MOST_PANELS else f" The first {_MOST_PANELS} of {len(units)}."
    drawn = [unit.unit for unit in units[:_MOST_PANELS]]
    yield Picture(
        "Figure 5",
        _draw_preactivations(files.histograms, drawn, files.languages, finding),
        finding,
        "Pre-activations: what the encoder says before only the k largest are kept. Each language's tokens "
        f"add up to one, so heights are comparable within a panel.{more}",
    )


def _means(files: RunFiles, units: list[UnitRow]) -> str:
    """How many units have the higher mean on the target, and by how much the first."""
    target, reference = files.names
    means = [(unit.mean[files.target], unit.mean[files.reference]) for unit in units]
    higher = sum(own > other for own, other in means)
    which = "selected" if files.units else "nearest"
    if len(units) == 1:
        share = f"The {which} latent has {'a higher' if higher else 'no higher'} mean pre-activation"
    elif higher == len(units):
        share = f"All {counted(len(units))} {which} latents have a higher mean pre-activation"
    else:
        share = f"{higher} of the {len(units)} {which} latents have a higher mean pre-activation"
    words = (
        f"{share} on {target} than on {reference} tokens: for latent "
        f"{units[0].unit}, {number(means[0][0], 2)} against {number(means[0][1], 2)}"
    )
    return (
        f"{words}; in {percent(units[0].token_auroc, digits=1)} of pairs of one {target} and "
        f"one {reference} token it is higher on the {target} one."
    )


def _draw_preactivations(
    histograms: pd.DataFrame, units: Sequence[int], languages: Sequence[str], description: str
) -> Drawing:
    """A panel per unit: the target and the reference filled, others as thin lines."""
    columns = 2 if len(units) == 4 else min(len(units), 3)

    def paint(figure: Figure) -> None:
        axes = panels(figure, len(units), columns)
        for panel, unit in zip(axes, units, strict=True):
            _paint_unit(panel, histograms[histograms["unit"] == unit], languages)
            panel.set_title(f"latent {unit}")
        for panel in axes[-columns:]:
            panel.set_xlabel("pre-activation")
        for panel in axes[::columns]:
            panel.set_ylabel("density of tokens")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=max(len(labels), 1))

    size = (max(4.6, 3.6 * columns), 0.7 + 2.6 * rows_of(len(units), columns))
    return draw("figure-5-preactivations", size, paint, histograms, description)


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
    panel.grid(visible=False)


# ---- a unit along texts


@dataclass(frozen=True)
class _Text:
    """A sentence with one unit's pre-activation at each token, and whether it fires there."""

    language: str
    pair: str
    tokens: Sequence[str]
    pre: Sequence[float]
    fires: Sequence[bool]


def texts_blocks(files: RunFiles) -> Blocks:
    """Figure 6."""
    unit, texts = _along(files)
    if not texts:
        yield not_run("Coloured texts")
        return
    pairs: dict[str, list[_Text]] = {}
    for text in texts:
        pairs.setdefault(text.pair, []).append(text)
    order = {code: place for place, code in enumerate(files.languages)}
    for pair in pairs.values():
        pair.sort(key=lambda text: order.get(text.language, len(order)))
    first = {text.language: text for text in reversed(texts)}
    shown = [first[code] for code in (files.target, files.reference) if code in first]
    # the first pair, so that the panels are translations of one another where the text is parallel
    parallel = next((pair for pair in pairs.values() if len(pair) > 1), None)
    finding = _counts(files, unit, texts)
    yield Picture(
        "Figure 6",
        _draw_texts(parallel or shown or texts[:1], texts, unit, files.languages, finding),
        finding,
        "The pre-activation at each token of the first text below: filled where the latent fires.",
    )
    translations = " side by side with its translation" if parallel else ""
    yield Paragraph(
        f"Each text{translations}: tokens on which latent {unit} fires are coloured, the darker the higher its "
        "pre-activation; rest the pointer on a token for the number."
    )
    highest = max((value for text in texts for value in text.pre), default=0.0)
    beside = list(pairs.values()) if parallel else _in_columns(files.languages, texts)
    yield ColouredTexts([[_coloured(text, highest) for text in pair] for pair in beside])


def _along(files: RunFiles) -> tuple[int, list[_Text]]:
    """The best unit for which there are texts, and those texts."""
    for unit in files.shown_units:
        texts = [
            _Text(text["language"], str(text["pair"]), text["tokens"], own["pre"], own["fires"])
            for text in files.texts
            if (own := text["units"].get(str(unit.unit))) is not None and text["tokens"]
        ]
        if texts:
            return unit.unit, texts
    return 0, []


def _in_columns(languages: Sequence[str], texts: Sequence[_Text]) -> list[list[_Text]]:
    """Texts that are not parallel, the languages' beside one another in order."""
    columns = [[text for text in texts if text.language == code] for code in languages]
    rows = max((len(column) for column in columns), default=0)
    return [[column[row] for column in columns if row < len(column)] for row in range(rows)]


def _counts(files: RunFiles, unit: int, texts: list[_Text]) -> str:
    parts = []
    for code in files.languages:
        own = [fires for text in texts if text.language == code for fires in text.fires]
        if own:
            parts.append(f"{sum(own)} of {len(own)} {language_name(code)} tokens")
    return (
        f"In these texts latent {unit} fires on {listed(parts)}." if parts else f"Latent {unit} along texts."
    )


def _coloured(text: _Text, highest: float) -> ColouredText:
    tokens = [
        Token(
            token,
            f"{number(pre, 2)}{'' if fires else ', does not fire'}",
            _colour(pre / highest if highest > 0 else 0.0) if fires else "",
        )
        for token, pre, fires in zip(text.tokens, text.pre, text.fires, strict=True)
    ]
    return ColouredText(language_name(text.language), text.language, tokens)


def _colour(share: float) -> str:
    """From pale to strong orange; black text has a contrast above 7 on all of it."""
    pale, strong = (255, 236, 214), (240, 138, 60)
    share = min(max(share, 0.0), 1.0)
    parts = (round(a + (b - a) * share) for a, b in zip(pale, strong, strict=True))
    return "#" + "".join(f"{part:02x}" for part in parts)


def _draw_texts(
    shown: Sequence[_Text], texts: Sequence[_Text], unit: int, languages: Sequence[str], description: str
) -> Drawing:
    """Pre-activations of the `shown` texts as bars, filled where the unit fires; the numbers are those of all."""
    numbers = pd.DataFrame(
        [
            (text.pair, text.language, place, visible(token), pre, fires)
            for text in texts
            for place, (token, pre, fires) in enumerate(zip(text.tokens, text.pre, text.fires, strict=True))
        ],
        columns=["pair", "language", "position", "token", "pre_activation", "fires"],
    )
    numbers.insert(0, "unit", unit)

    def paint(figure: Figure) -> None:
        axes = figure.subplots(len(shown), 1, squeeze=False, sharey=True)[:, 0]
        marks = [
            Patch(facecolor=QUIET, label="fires"),
            Patch(facecolor="white", edgecolor=PALE, label="does not fire"),
        ]
        figure.legend(handles=marks, loc="outside upper right", ncols=2)
        for panel, text in zip(axes, shown, strict=True):
            count = min(len(text.tokens), _MOST_TOKENS)
            colour = language_colour(languages, text.language)
            for fires in (True, False):
                places = [place for place in range(count) if bool(text.fires[place]) is fires]
                heights = [text.pre[place] for place in places]
                face, edge = (colour, colour) if fires else ("white", PALE)
                panel.bar(places, heights, width=0.75, color=face, edgecolor=edge, linewidth=0.8)
            names = [_label(token) for token in text.tokens[:count]]
            panel.set_xticks(
                range(count), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=8.5
            )
            panel.set_xlim(-0.7, max(count, 12) - 0.3)
            panel.axhline(0, color=QUIET, linewidth=0.8)
            panel.grid(visible=False, axis="x")
            panel.set_ylabel("pre-activation")
            panel.set_title(language_name(text.language))

    longest = max(min(len(text.tokens), _MOST_TOKENS) for text in shown)
    size = (min(11.0, max(5.5, 1.2 + 0.3 * longest)), 2.7 * len(shown))
    return draw("figure-6-texts", size, paint, numbers, description)


def _label(token: str) -> str:
    text = visible(token).replace("\n", "⏎").replace("\t", "⇥").strip() or "·"
    return text if len(text) <= 14 else text[:13] + "…"
