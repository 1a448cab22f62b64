"""What the units do to the next token (section 5.2): Figure 8 and the tables of Appendix C."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glossae.reporting.blocks import Blocks, Cell, Paragraph, Picture, Table, estimate, not_run, table
from glossae.reporting.canvas import QUIET, Drawing, draw, language_colour, language_style, legend_below
from glossae.reporting.findings import dose_unit, dose_words, doses, find_cell, site_words
from glossae.reporting.reading import RunFiles, frame
from glossae.reporting.wording import (
    NO_BREAK,
    interval,
    language_name,
    listed,
    moves,
    number,
    short,
    signed,
    whole,
)
from glossae.results import LossCell, PaperLosses, SerialCorrelation

# the false discovery rate at which consecutive sentences are called correlated
SERIAL_LEVEL = 0.05
WAYS = {True: "splice", False: "error-preserving"}


def effects_blocks(files: RunFiles) -> Blocks:
    """Figure 8 and the tables of Appendix C."""
    cells = [cell for cell in files.next_token.cells if cell.units == files.target]
    if not cells:
        yield not_run("The sweep over fixed values")
        return
    finding = f"{sweep(files, splice=False)} {sweep(files, splice=True)}"
    if not files.units:
        finding = (
            "No latent was selected, so there is nothing to fix: only the model and the splice were measured."
        )
    published = files.results.published.next_token if files.results.published else None
    yield Paragraph(
        f"The paper's Figure 7 is a drawing of the set-up: the autoencoder sits on {site_words(files)}. "
        "Spliced, its reconstruction replaces the activation, as in the paper; error-preserving, only the "
        "difference that the edit makes is added, so that the autoencoder's error does not count."
    )
    yield Picture(
        "Figure 8",
        _draw_sweep(files, cells, published, finding),
        finding,
        "Dashed: units unmodified. Dotted: the raw model. Bands: 95 % bootstrap intervals over sentences, or "
        "documents where they are told, of the change from unmodified. Shaded: values that the units never take "
        "on text of the target.",
    )
    for splice in (False, True):
        if words := sweep_details(files, splice):
            yield Paragraph(words)
    for splice in (True, False):
        yield _sweep_table(files, splice, published)
    others = [c for c in cells if c.source == "all" and c.edit not in ("raw", "none", "set")]
    if others:
        yield table(
            "Other edits",
            f"Mean: each unit fixed at its mean on {language_name(files.reference)} text of select.",
            [
                {
                    "Edit": cell.edit,
                    "Way": WAYS[bool(cell.splice)],
                    "Language": language_name(cell.language),
                    "Nats per token": number(cell.ce),
                    "Change": _change(cell),
                }
                for cell in others
            ],
            words=3,
        )
    yield from _serial_correlation(files.next_token.serial_correlation)


# ---- sentences


def _way(splice: bool) -> str:
    return "With the reconstruction spliced in, as in the paper" if splice else "Error-preserving"


def _changes(files: RunFiles, splice: bool, value: float) -> list[str]:
    """What the losses of the target and the reference do with the units fixed at a value."""
    words = []
    for code in (files.target, files.reference):
        cell = find_cell(files, code, "set", splice, value)
        if cell is not None:
            # an interval that reaches below zero is no longer one of a rise
            of = "" if cell.ci_low >= 0 else " of the change"
            inside = f"(95{NO_BREAK}% interval{of} {interval(cell.ci_low, cell.ci_high)})"
            words.append(f"the {language_name(code)} loss {moves(cell.delta)} {inside}")
    return words


def sweep(files: RunFiles, splice: bool) -> str:
    """What the lowest value does."""
    values = doses(files, splice)
    if not values:
        return f"{_way(splice)}: there are no units to sweep."
    changes = _changes(files, splice, values[0])
    if not changes:
        return f"{_way(splice)}: neither language was measured."
    cell = find_cell(files, files.target, "set", splice, values[0])
    beyond = " (a value the units never take by themselves)" if cell and cell.in_range is False else ""
    return f"{_way(splice)}: at {dose_words(files, short(values[0]))}{beyond}, {listed(changes)}."


def sweep_details(files: RunFiles, splice: bool) -> str:
    """What switching off does, and where the target's loss is lowest."""
    values = doses(files, splice)
    sentences = []
    if 0.0 in values and (changes := _changes(files, splice, 0.0)):
        sentences.append(f"switched off (fixed at 0), {listed(changes)}.")
    own = {value: find_cell(files, files.target, "set", splice, value) for value in values}
    losses = {value: cell.ce for value, cell in own.items() if cell is not None}
    none = find_cell(files, files.target, "none", splice)
    if losses and none is not None:
        best = min(losses, key=lambda value: losses[value])
        than = "lower than" if losses[best] < none.ce else "but not lower than"
        sentences.append(
            f"{'The' if sentences else 'the'} {language_name(files.target)} loss is lowest at "
            f"{dose_words(files, short(best))} ({number(losses[best])}), "
            f"{than} with the units unmodified ({number(none.ce)})."
        )
    return f"{_way(splice)}: {' '.join(sentences)}" if sentences else ""


# ---- tables


def _sweep_table(files: RunFiles, splice: bool, published: PaperLosses | None) -> Table:
    raw = {code: find_cell(files, code, "raw", None) for code in files.languages}
    values = doses(files, splice)
    columns: list[str | Cell] = ["Value"]
    for value in values:
        cell = find_cell(files, files.target, "set", splice, value)
        beyond = cell is not None and cell.in_range is False
        columns.append(Cell(short(value), "", "beyond") if beyond else short(value))
    rows: list[list[str | Cell]] = []
    for code in (code for code, cell in raw.items() if cell is not None):
        line = [find_cell(files, code, "set", splice, value) for value in values]
        line += [find_cell(files, code, "none", splice), raw[code]]
        name = language_name(code)
        rows.append([Cell(name, "nats per token"), *(number(cell.ce) if cell else "–" for cell in line)])
        if splice and published is not None and code in published.losses:
            theirs = dict(zip(map(float, published.values), published.losses[code], strict=True))
            none = published.no_modification.get(code)
            losses = [*(theirs.get(value) for value in values), none]
            rows.append([Cell(name, "the paper's"), *(number(loss, 2) for loss in losses), "not measured"])
        if values:
            rows.append([Cell(name, "change"), *(_change(cell) for cell in line)])
        rows.append(
            [Cell(name, "nats per byte"), *(number(cell.ce_per_byte) if cell else "–" for cell in line)]
        )
    counts = [f"{language_name(code)} {whole(cell.sentences)}" for code, cell in raw.items() if cell]
    precision = files.recipe.effects.precision
    until = (
        ""
        if precision is None
        else f", doubled until ± of every change is {precision:g} or a tenth of it, or there are no more"
    )
    way = "with the splice, the paper's way" if splice else "error-preserving"
    return Table(
        f"Appendix C, {way}",
        f"Cross-entropy with the units fixed at each value ({dose_unit(files)}), on sentences of test "
        f"({', '.join(counts)}{until}). "
        f"Change: from no modification, with its 95{NO_BREAK}% interval. Values in italics are never taken "
        "by the units themselves. Per token, languages do not compare; per byte, they do more nearly.",
        [*columns, "No modification", "Raw model"],
        rows,
    )


def _change(cell: LossCell | None) -> str | Cell:
    if cell is None or cell.edit in ("none", "raw"):
        return "–"
    return estimate(cell.delta, cell.ci_low, cell.ci_high, write=signed)


def _serial_correlation(rows: Sequence[SerialCorrelation]) -> Blocks:
    """Whether consecutive sentences are correlated where no documents are told, and what that does to intervals."""
    if not rows:
        return
    worst: dict[tuple[str, str], SerialCorrelation] = {}
    for row in sorted(rows, key=lambda row: row.inflation):
        if row.q <= SERIAL_LEVEL:
            worst[row.source, row.language] = row
    if worst:
        parts = [
            f"{source}, {language_name(code)}: the variance is {number(row.inflation, 1)} times that of independent "
            f"sentences, so intervals should be {number(row.inflation**0.5, 1)} times as wide"
            for (source, code), row in sorted(worst.items())
        ]
        yield Paragraph(
            "Intervals are too narrow: consecutive sentences are correlated, and their source tells no documents. "
            f"{'; '.join(parts)}. Name documents (a column doc, or a file each), and whole ones are resampled.",
            "warning",
        )
    yield table(
        "Correlation of consecutive sentences",
        "Of each source that tells no documents: the autocorrelation at lag 1 of what a sentence adds to the error "
        "of the mean, in the order of the source; p over permutations of that order, q over all rows. Variance: "
        "that of the mean over that of as many independent sentences, 1 + 2 times the sum of autocorrelations "
        "(Bayley and Hammersley 1946), up to the first pair that is not positive (Geyer 1992).",
        [
            {
                "Text": row.text,
                "Source": row.source,
                "Language": language_name(row.language),
                "Of": "loss" if row.edit is None else f"change by {row.edit}",
                "Sentences": whole(row.sentences),
                "Lag 1": signed(row.lag_1),
                "p": number(row.p),
                "q": number(row.q),
                "Variance": number(row.inflation, 2),
            }
            for row in rows
        ],
        words=4,
    )


# ---- the figure


def _draw_sweep(
    files: RunFiles, cells: Sequence[LossCell], published: PaperLosses | None, description: str
) -> Drawing:
    """Loss against the fixed value, a panel for each way of editing; in that of the splice the paper's own curves."""
    pooled = [cell for cell in cells if cell.source == "all"]
    languages = files.languages

    def paint(figure: Figure) -> None:
        axes = figure.subplots(1, 2, sharey=True)
        for panel, splice in zip(axes, (True, False), strict=True):
            _shade_out_of_range(panel, _fixed(pooled, splice))
            for language in languages:
                _paint_language(panel, pooled, languages, language, splice)
            if splice and published is not None:
                _paint_published(panel, published, languages)
            if not any(cell.edit == "set" for cell in pooled):
                panel.set_xticks([])
            panel.set_title("Splice, as in the paper" if splice else "Error-preserving")
            panel.set_xlabel(f"units fixed at ({dose_unit(files)})")
        axes[0].set_ylabel("cross-entropy (nats per token)")
        legend_below(figure, axes, 4)

    return draw("figure-8-next-token", (11.0, 4.8), paint, frame(cells), description)


def _fixed(cells: Sequence[LossCell], splice: bool) -> list[tuple[float, LossCell]]:
    """The cells of units that are fixed at a value, by value."""
    found = [(cell.value, cell) for cell in cells if cell.edit == "set" and cell.splice == splice]
    return sorted(((value, cell) for value, cell in found if value is not None), key=lambda pair: pair[0])


def _paint_language(
    panel: Axes, cells: Sequence[LossCell], languages: Sequence[str], language: str, splice: bool
) -> None:
    own = [cell for cell in cells if cell.language == language]
    style = language_style(languages, language)
    name, colour, main = language_name(language), style["color"], languages.index(language) < 2
    none = next((cell for cell in own if cell.edit == "none" and cell.splice == splice), None)
    raw = next((cell for cell in own if cell.edit == "raw"), None)
    line = _fixed(own, splice)
    values = [value for value, _ in line]
    if line:
        panel.plot(values, [cell.ce for _, cell in line], label=name, marker="o" if main else None, **style)
    if line and none is not None:
        # the interval is the difference's from no edit
        low, high = [none.ce + cell.ci_low for _, cell in line], [none.ce + cell.ci_high for _, cell in line]
        panel.fill_between(values, low, high, color=colour, alpha=0.18 if main else 0.08, linewidth=0)
    for cell, dashes, words in ((none, (0, (6, 3)), "units unmodified"), (raw, (0, (1, 2)), "raw model")):
        if main and cell is not None:
            label = f"{name}, {words}"
            panel.axhline(cell.ce, color=colour, linewidth=1.1, linestyle=dashes, label=label)


def _shade_out_of_range(panel: Axes, cells: Sequence[tuple[float, LossCell]]) -> None:
    """Shade the values that the units never take on text of the target."""
    inside = {value: cell.in_range for value, cell in cells}
    values = sorted(inside)
    if len(values) < 2:
        return
    # the border lies somewhere between the last dose inside and the first outside: halfway
    borders = [values[0], *((a + b) / 2 for a, b in pairwise(values)), values[-1]]
    label: str | None = "values the units never take"
    for value, left, right in zip(values, borders, borders[1:], strict=False):
        if inside[value] is False:
            panel.axvspan(left, right, color=QUIET, alpha=0.1, linewidth=0, label=label, zorder=0)
            label = None


def _paint_published(panel: Axes, published: PaperLosses, languages: Sequence[str]) -> None:
    for language in languages[:2]:
        if language in published.losses:
            values, losses = list(map(float, published.values)), published.losses[language]
            style: Any = {"color": language_colour(languages, language), "alpha": 0.55, "linewidth": 1.0}
            panel.plot(values, losses, marker="x", label=f"{language_name(language)}, the paper", **style)
