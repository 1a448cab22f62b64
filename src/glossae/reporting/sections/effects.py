"""What the units do to the next token (section 5.2), what training adds, and what other languages and sets lose."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes

from glossae.reporting.canvas import BLUE, INK, ORANGE, PALE, QUIET, Figure, Panel, language_style
from glossae.reporting.exhibits import Cell, Exhibit, Missing, Note, Table, est, num, table
from glossae.reporting.reading import RunFiles, frame
from glossae.reporting.verdict import (
    DAMAGES,
    controls_flags,
    dose_unit,
    has_interval,
    site_words,
    statistic_words,
)
from glossae.reporting.wording import language_list, language_name, number, short, signed, whole
from glossae.results import Baselines, LossCell, PaperLosses, Selectivity

# ---- what training adds

_PLACES = {"held_out": "half held out", "replicate": "other text"}


def baselines(files: RunFiles) -> Iterator[Exhibit]:
    """The difference that training makes, the autoencoders, and the sets that were switched off."""
    found = files.results.baselines
    if not found or found.reason is not None:
        how = found.reason if found and found.reason else "--baselines.untrained 3"
        yield Missing("untrained autoencoders, coordinates, directions and LAPE neurons", how, "baselines")
        return
    if found.differences:
        words = {
            "target": f"rise of {files.names[0]}",
            "margin": f"{files.names[0]} less the nearest language",
        }
        drawn = [_added(found, what, title) for what, title in words.items()]
        numbers = frame(found.differences)
        yield Figure("training-adds", "What training adds", drawn, numbers, size=(3.6, 2.8), share=True)
        yield table(
            "Trained less untrained",
            [dict(row) | {"title": words[row.what], "counts": row.seeds} for row in found.differences],
            "What=title; latents=size; trained=trained +3; untrained=untrained +3; difference=difference[low,high] +3; "
            "seeds=counts list",
            trained=", ".join(map(str, found.carries.trained)),
            untrained=", ".join(map(str, found.carries.untrained)),
        )
    again = "; ".join(
        f"least AUROC|{words}=again.{place}.best; above|{words}=again.{place}.above; *|{words}=again.{place}.auroc.* 2"
        for place, words in _PLACES.items()
        if place in found.autoencoders[0].again
    )
    yield table(
        "The same test for all",
        found.autoencoders,
        "Units=group; seed=seed; of=units; passing=passing; rate rule=paper; least AUROC=weakest; best=best; "
        f"{again}; stable=stable 2; FVU *=fvu.* 2".replace("; ;", ";"),
        over=files.languages,
        minimum=number(found.minimum, 2),
        outside=language_list(found.outside),
        q=f"{found.q:g}",
    )
    measured = found.measured
    counts = [
        f"{language_name(c)} {m.sentences} sentences, loss {number(m.loss, 2)}" for c, m in measured.items()
    ]
    for label, damaged in (("Switched off", False), ("At the same damage", True)):
        rows = [row for row in found.sets if (row.at is not None) is damaged]
        if rows:
            yield table(
                label,
                rows,
                f"Units=group; seed=seed; size=size; {'at=at 1; dose=dose 2; ' if damaged else ''}"
                "*=change.*.delta[change.*.low,change.*.high] +3; *|per byte=change.*.per_byte +4",
                over=[code for code in dict.fromkeys((*files.languages, *measured)) if code in measured],
                counts="; ".join(counts),
            )


def _added(found: Baselines, what: str, title: str) -> Panel:
    rows = [row for row in found.differences if row.what == what]

    def paint(axes: Axes) -> None:
        places = list(range(len(rows)))
        for values, colour, label, shift in (
            ([row.trained for row in rows], ORANGE, "trained", -0.2),
            ([row.untrained for row in rows], BLUE, "untrained", 0.2),
        ):
            axes.bar([place + shift for place in places], values, width=0.38, color=colour, label=label)
        low, high = ([row.untrained + getattr(row, end) for row in rows] for end in ("low", "high"))
        label = "95 % of the difference"
        axes.vlines([place - 0.2 for place in places], low, high, color=INK, linewidth=1.4, label=label)
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set_xticks(places, [str(row.size) for row in rows])
        axes.set_xlabel("latents switched off")
        axes.set_ylabel("rise of loss (nats per token)")

    return Panel(paint, title)


# ---- Figure 8 and the tables of Appendix C

# the false discovery rate at which consecutive sentences are called correlated
_SERIAL = 0.05
_WAYS = {True: "splice", False: "error-preserving"}


def effects(files: RunFiles) -> Iterator[Exhibit]:
    """Figure 8 and the tables of Appendix C."""
    cells = [cell for cell in files.next_token.cells if cell.units == files.target]
    if not cells:
        yield Missing("the sweep over fixed values", stage="effects")
        return
    published = files.results.published.next_token if files.results.published else None
    correlated = {
        f"{row.source}, {language_name(row.language)}: {number(row.inflation**0.5, 1)} times as wide"
        for row in files.next_token.serial_correlation
        if row.q <= _SERIAL
    }
    if correlated:
        yield Note(
            "Intervals are too narrow: consecutive sentences are correlated, and their source tells no documents. "
            f"They should be: {'; '.join(sorted(correlated))}. Name documents (a column doc, or a file each), and "
            "whole ones are resampled."
        )
    pooled = [cell for cell in cells if cell.source == "all"]
    drawn = [_sweep(files, pooled, splice, published if splice else None) for splice in (True, False)]
    facts = {"site": site_words(files)}
    yield Figure(
        "figure-8-next-token", "Figure 8", drawn, frame(cells), size=(4.0, 3.4), share=True, facts=facts
    )
    for splice in (True, False):
        yield _sweep_table(files, splice, published if splice else None)
    others = [cell for cell in pooled if cell.edit not in ("raw", "none", "set")]
    if others:
        yield table(
            "Other edits",
            [dict(cell) | {"way": _WAYS[bool(cell.splice)]} for cell in others],
            "Edit=edit; Way=way; Language=language lang; Dose=value 2; Loss=ce; Change=delta[ci_low,ci_high] +3",
        )
    if rows := files.next_token.serial_correlation:
        yield table(
            "Correlation of consecutive sentences",
            [dict(row) | {"of": f"change by {row.edit}" if row.edit else "loss"} for row in rows],
            "Text=text; Source=source; Language=language lang; Of=of; Sentences=sentences; Lag 1=lag_1 +3; p=p; q=q; "
            "Variance=inflation 2",
        )


def find_cell(
    files: RunFiles, language: str, edit: str, splice: bool | None, value: float | None = None
) -> LossCell | None:
    """The cell of the target's units on pooled text, if it was measured."""
    wanted = (files.target, "all", language, edit, splice)
    for cell in files.next_token.cells:
        own = (cell.units, cell.source, cell.language, cell.edit, cell.splice)
        if own == wanted and value in (None, cell.value):
            return cell
    return None


def _sweep_table(files: RunFiles, splice: bool, published: PaperLosses | None) -> Table:
    raw = {code: find_cell(files, code, "raw", None) for code in files.languages}
    known = [code for code, cell in raw.items() if cell is not None]
    fixed = sorted({value for value, _ in _fixed(_own_cells(files), splice)})
    points = [*((short(value), "set", value) for value in fixed), ("no modification", "none", None)]
    rows = []
    for words, edit, value in [*points, ("raw model", "raw", None)]:
        line = {
            code: find_cell(files, code, edit, None if edit == "raw" else splice, value) for code in known
        }
        own = line.get(files.target)
        row: dict[str, Any] = {"Value": Cell(words, "never taken" if own and own.in_range is False else "")}
        for code, cell in line.items():
            name, moved = language_name(code), cell if edit == "set" else None
            row[name] = cell and cell.ce
            row[f"{name}|change"] = moved and est(moved.delta, moved.ci_low, moved.ci_high, write=signed)
            row[f"{name}|per byte"] = cell and cell.ce_per_byte
            if published is not None and code in published.losses:
                theirs: dict[Any, float] = dict(zip(published.values, published.losses[code], strict=True))
                theirs[None] = published.no_modification[code]
                row[f"{name}|the paper's"] = None if edit == "raw" else num(theirs.get(value), 2)
        rows.append(row)
    precision = files.recipe.effects.precision
    # by the paper's protocol all sentences are measured
    until = f", doubled until ± of every change is {precision} or a tenth of it, or there are no more"
    return table(
        f"Appendix C, {'with the splice' if splice else 'error-preserving'}",
        rows,
        key="appendix-c",
        unit=dose_unit(files),
        counts=", ".join(
            f"{language_name(code)} {whole(cell.sentences)}" for code, cell in raw.items() if cell
        )
        + (until if precision is not None else ""),
    )


def _own_cells(files: RunFiles) -> list[LossCell]:
    return [cell for cell in files.next_token.cells if (cell.units, cell.source) == (files.target, "all")]


def _fixed(cells: Sequence[LossCell], splice: bool) -> list[tuple[float, LossCell]]:
    """The cells of units that are fixed at a value, by value."""
    found = [(cell.value, cell) for cell in cells if cell.edit == "set" and cell.splice == splice]
    return sorted(((value, cell) for value, cell in found if value is not None), key=lambda pair: pair[0])


def _sweep(files: RunFiles, cells: Sequence[LossCell], splice: bool, published: PaperLosses | None) -> Panel:
    """Loss against the fixed value by one way of editing, with the paper's own curves."""

    def paint(axes: Axes) -> None:
        _shade_out_of_range(axes, _fixed(cells, splice))
        for place, language in enumerate(files.languages):
            own, style = (
                [cell for cell in cells if cell.language == language],
                language_style(files.languages, language),
            )
            name, colour, main = language_name(language), style["color"], place < 2
            none = next((cell for cell in own if cell.edit == "none" and cell.splice == splice), None)
            raw = next((cell for cell in own if cell.edit == "raw"), None)
            line = _fixed(own, splice)
            values = [value for value, _ in line]
            if line:
                axes.plot(
                    values, [cell.ce for _, cell in line], label=name, marker="o" if main else None, **style
                )
            if line and none is not None:
                # the interval is the difference's from no edit
                low, high = (
                    [none.ce + getattr(cell, end) for _, cell in line] for end in ("ci_low", "ci_high")
                )
                axes.fill_between(values, low, high, color=colour, alpha=0.18 if main else 0.08, linewidth=0)
            for cell, dashes in ((none, (0, (6, 3))), (raw, (0, (1, 2)))):
                if main and cell is not None:
                    axes.axhline(cell.ce, color=colour, linewidth=1.1, linestyle=dashes)
            if main and published is not None and language in published.losses:
                theirs: Any = {
                    "color": colour,
                    "alpha": 0.55,
                    "linewidth": 1.0,
                    "label": f"{name}, the paper",
                }
                axes.plot(
                    list(map(float, published.values)), published.losses[language], marker="x", **theirs
                )
        if not any(cell.edit == "set" for cell in cells):
            axes.set_xticks([])
        axes.set_xlabel(f"units fixed at ({dose_unit(files)})")
        axes.set_ylabel("cross-entropy (nats per token)")

    return Panel(paint, "Splice, as in the paper" if splice else "Error-preserving")


def _shade_out_of_range(panel: Axes, cells: Sequence[tuple[float, LossCell]]) -> None:
    """Shade the values that the units never take on text of the target."""
    inside = {value: cell.in_range for value, cell in cells}
    values = sorted(inside)
    if len(values) < 2:
        return
    # the border lies somewhere between the last dose inside and the first outside: halfway
    borders = [values[0], *((a + b) / 2 for a, b in pairwise(values)), values[-1]]
    for value, left, right in zip(values, borders, borders[1:], strict=False):
        if inside[value] is False:
            panel.axvspan(left, right, color=QUIET, alpha=0.12, linewidth=0, zorder=0)


# ---- what other languages lose at the same damage, by this set, other sets, its parts, and drawn ones

# of a set's edits, those that the matrix of languages shows
_ABLATIONS = {"latent": "zero", "neuron": "mean", "direction": "project_out"}


def selectivity(files: RunFiles) -> Iterator[Exhibit]:
    """What other languages lose where the target has lost a given amount: this set, other sets, its parts, draws."""
    found, names = files.next_token, {"target": files.names[0], "reference": files.names[1]}
    if not files.results.next_token:
        yield Missing("selectivity", stage="effects")
    # rows of the panel stand with those of the other sets, below
    rows = [
        row for row in found.selectivity if (row.units, row.edit, row.text) == (files.target, "set", "test")
    ]
    several = len(found.sets) > 1
    if several:
        yield from _margins(files)
    if rows:
        yield _compared(files, "Selectivity", rows)
    if several:
        more = [row for row in found.selectivity if not row.splice and row.units not in files.languages[1:]]
        more = [row for row in more if row.versus in (files.reference, "nearest", "mean of others")]
        if more:
            yield _compared(files, "Families side by side", more)
        if moved := [row for row in found.side_effects if row.reached]:
            yield table(
                f"Side effects on {files.names[1]}",
                [dict(row) | {"name": set_name(files, row.units)} for row in moved],
                "Units=name; Kind=kind; Edit=edit; At=at short; KL=kl 4; Top-1 agreement=agreement %1; "
                "Size of the change=change %1",
                key="side-effects",
            )
        yield from _matrix(files)
    if found.one_by_one:
        lines: dict[tuple[int, str, str, float | None], dict[str, Any]] = {}
        for part in found.one_by_one:
            lines.setdefault((part.unit, part.way, part.edit, part.value), {})[part.language] = part
        yield table(
            "Latent by latent",
            [
                {
                    "page": files.unit("latent", unit, str(unit)),
                    "way": way,
                    "edit": edit,
                    "value": value,
                    "of": of,
                }
                for (unit, way, edit, value), of in lines.items()
            ],
            "Latent=page; Way=way; Edit=edit; Value=value 2; *=of.*.delta[of.*.ci_low,of.*.ci_high] +3",
            over=list(dict.fromkeys(part.language for part in found.one_by_one)),
        )
    if found.best_dose:
        yield table(
            "The best dose",
            [dict(row) | {"name": set_name(files, row.units)} for row in found.best_dose],
            "Units=name; Edit=edit; Spliced=splice; Value=value 2; On tune=tune_delta +4; "
            "On test=delta[ci_low,ci_high] +4; Helps=helps",
        )
    yield from _controls(files, names)


def set_name(files: RunFiles, name: str) -> str:
    """What a set is called: the selected latents by the language they are of."""
    if name == files.target:
        return f"selected ({language_name(name)})"
    return f"{language_name(name)} latents" if name in files.languages else name


_COMPARED = (
    "Units=name; Kind=kind; Edit=edit; Way=way; Text=text; Versus=over; At=at short; Dose=value 2; "
    "Rise=target_delta_per_byte 4; Other's change=other_delta_per_byte +4; Margin=margin_per_byte +4; "
    "Ratio=ratio_per_byte 1; Ratio|at least=ratio_per_byte_least 1; Other's change|per token=other_delta +3"
)


def _compared(files: RunFiles, label: str, rows: Sequence[Selectivity]) -> Table:
    """Sets at one damage against one other language, or several together, which have no code."""
    lines = [
        dict(row)
        | {"name": set_name(files, row.units), "way": _WAYS[row.splice], "over": language_name(row.versus)}
        # where the other's loss does not rise, a ratio has no interval, but a one-sided limit
        | ({} if has_interval(row) else {"ratio_per_byte": None, "ratio_per_byte_low": None})
        for row in rows
    ]
    return table(label, lines, _COMPARED)


def _margins(files: RunFiles) -> Iterator[Exhibit]:
    """Every set's margin over the reference and the nearest language, at the most damage that is compared."""
    at = max(DAMAGES)
    rows = [
        row
        for row in files.next_token.selectivity
        if (row.at, row.text, row.reached, row.splice) == (at, "test", True, False)
        and row.units not in files.languages[1:]
    ]
    kinds = {files.reference: f"over {files.names[1]}", "nearest": "over the nearest language"}
    kinds = {versus: title for versus, title in kinds.items() if any(row.versus == versus for row in rows)}
    names = list(dict.fromkeys((row.units, row.edit) for row in rows))
    if len(names) < 2:
        return

    def panel(versus: str, title: str) -> Panel:
        def paint(axes: Axes) -> None:
            for row in rows:
                if row.versus == versus and row.margin_per_byte is not None:
                    place = names.index((row.units, row.edit))
                    colour = ORANGE if row.units == files.target else QUIET
                    low, high = row.margin_per_byte_low, row.margin_per_byte_high
                    if low is not None and high is not None:
                        axes.hlines(place, low, high, color=colour, linewidth=1.8)
                    axes.plot([row.margin_per_byte], [place], "o", color=colour)
            axes.axvline(0, color=INK, linewidth=0.8)
            axes.axvline(rows[0].target_delta_per_byte or 0, color=PALE, linewidth=0.8, linestyle=":")
            axes.set_yticks(range(len(names)), [f"{set_name(files, name)}, {edit}" for name, edit in names])
            axes.set_ylim(len(names) - 0.4, -0.6)
            axes.set_xlabel("margin (nats per byte)")

        return Panel(paint, title)

    drawn = [panel(versus, title) for versus, title in kinds.items()]
    numbers = frame([row for row in rows if row.versus in kinds])
    size, facts = (4.0, 0.9 + 0.24 * len(names)), {"at": short(at)}
    yield Figure("families", "Families at the same damage", drawn, numbers, size=size, facts=facts)


def _matrix(files: RunFiles) -> Iterator[Exhibit]:
    """Every set's ablation on every language."""
    lines: dict[tuple[str, str, str], dict[str, LossCell]] = {}
    for cell in files.next_token.cells:
        if cell.source in ("all", "panel") and not cell.splice and cell.edit == _ABLATIONS[cell.kind]:
            lines.setdefault((cell.units, cell.edit, cell.source), {})[cell.language] = cell
    if lines:
        yield table(
            "Every set on every language",
            [
                {"name": set_name(files, name), "edit": edit, "text": source.replace("all", "test"), "of": of}
                for (name, edit, source), of in lines.items()
            ],
            "Units=name; Edit=edit; Text=text; *=of.*.delta[of.*.ci_low,of.*.ci_high] +3; "
            "*|per byte=of.*.delta_per_byte +4",
            over=list(dict.fromkeys(code for of in lines.values() for code in of)),
        )


def _controls(files: RunFiles, names: dict[str, str]) -> Iterator[Exhibit]:
    """The table of ranks; what asks for draws where none were made."""
    found = files.results.controls
    if not found or not found.rows:
        yield Missing("matched latents and random directions", controls_flags(files), "controls")
        return
    yield table(
        "Controls",
        [
            dict(row)
            | {"name": set_name(files, row.units), "other": set_name(files, row.control)}
            | {"drawn": row.draws if row.rank else None, "what": statistic_words(files, row.statistic)}
            | {"place": None if row.rank is None else f"rank {row.rank} of {row.draws + 1}"}
            for row in found.rows
        ],
        "Units=name; Edit=edit; Value=value 2; Against=other; by=control_edit; Rise of=what; draws=drawn; "
        "Observed=observed +4; Control=null_mean +4; 95 % of draws below=null_p95 +4; Rank=place",
        sentences=", ".join(
            f"{whole(count)} {language_name(code)}" for code, count in found.sentences.items()
        ),
    )
    if found.matched:
        words = {
            "rate": f"share of {names['target']} tokens on which it fires",
            "reference_rate": f"share of {names['reference']} tokens on which it fires",
            "mean_active": "mean where it fires",
            "norm": "length of its decoder row",
        }
        yield table(
            "Likeness of matched latents",
            [dict(each) | {"what": words[what]} for what, each in found.matched.items()],
            "What=what; Selected=selected; Drawn=drawn",
        )
