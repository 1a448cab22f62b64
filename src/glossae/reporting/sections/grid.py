"""Choosing the autoencoder: a grid of them side by side (section 4.2, Figure 4, Appendix A)."""

import math
from collections.abc import Collection, Iterator, Sequence
from statistics import median
from typing import Any, TypeAlias

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from glossae.reporting.canvas import BLUE, INK, ORANGE, Figure, Panel, ring
from glossae.reporting.exhibits import Exhibit, Missing, num, table
from glossae.reporting.reading import RunFiles
from glossae.reporting.wording import model_name, number, short, whole
from glossae.results import GridCell, PaperCell, SaeKind

Pairs: TypeAlias = Sequence[tuple[PaperCell, PaperCell]]
"""Cells of the grid with the paper's of the same kind."""

_ACTIVATIONS = {"topk": "TopK", "relu": "ReLU"}
_COLOURS = {"topk": ORANGE, "relu": BLUE}
_KIND = ("activation", "tied", "pre_encoder_bias")
_CHOICES = {
    "tied": "Tied against separate matrices",
    "pre_encoder_bias": "With against without a pre-encoder bias",
}
_MEASURES = {"mse": "error", "active_per_batch": "latents active in a batch"}
_PANELS = {"l0": "latents active at a token", "active_per_batch": "latents active in a batch"}
_FRONTS = {("l0_select", "fvu"): "L0 and FVU", ("active_per_batch", "mse"): "active and error"}
# ratios this close to one are no difference
_ALIKE = 0.05


def grid(files: RunFiles) -> Iterator[Exhibit]:
    """Figure 4, what each choice changes, the grid choice, and every cell in numbers."""
    found, published = files.results.grid, files.results.published
    if not found or found.chosen is None:
        yield Missing("the grid search over autoencoders", "--grid.k 8,32", "grid")
        return
    cells, paper = found.cells, None if published is None else published.grid
    pairs = same_cells(cells, paper.cells) if paper else []
    theirs = {_key(own): other for own, other in pairs}
    fronts = {front.measures: front.cells for front in found.pareto if front.among == "all"}
    marks = [fronts.get(measures, ()) for measures in _FRONTS]
    facts = {name: whole(getattr(found, name)) for name in ("latents", "train_tokens", "d_in", "tokens")}
    facts |= {
        "count": str(len(cells)),
        "where": f"{found.site} of layer {found.layer} of {model_name(found.model)}",
    }
    numbers = _numbers(cells, marks, found.chosen.cell, theirs if paper else None)
    drawn = _panels(cells, marks, [other for _, other in pairs])
    yield Figure("figure-4-grid", "Figure 4", drawn, numbers, size=(4.0, 3.4), share=True, facts=facts)
    chosen = None if found.chosen.cell is None else cells[found.chosen.cell]
    choices = {"grid choice": chosen} | ({"the paper's choice": paper.chosen} if paper else {})
    yield table(
        "The choice",
        [
            {"Chosen": by, "Kind": kind_words(cell), "k or L1": _sparsity(cell)}
            for by, cell in choices.items()
        ],
        rule=found.chosen.rule,
        reason=found.chosen.reason,
    )
    yield from _choices(cells, pairs)
    lines = []
    for place, cell in enumerate(cells):
        ahead = {front.measures: front.among for front in found.pareto[::-1] if place in front.cells}
        words = [
            name if ahead[m] == "all" else f"{name} ({ahead[m]})" for m, name in _FRONTS.items() if m in ahead
        ]
        own = {"kind": kind_words(cell), "ahead": "; ".join(words) or "–", "size": _sparsity(cell)}
        lines.append(dict(cell) | own | {"paper": theirs.get(_key(cell))})
    beside = {"Error": "mse", "L0": "l0", "Active in a batch": "active_per_batch"}
    columns = "; ".join(
        f"{t}={p} short" + (f"; {t}|paper=paper.{p} short" if pairs else "") for t, p in beside.items()
    )
    yield table(
        "Appendix A: every autoencoder",
        lines,
        f"Kind=kind; Not dominated in=ahead; k or L1=size; {columns}; FVU: *=fvu.*; Dead=dead_fraction %1",
        over=files.languages[:2],
        **facts,
    )


def kind_words(cell: SaeKind | None) -> str:
    """`TopK, separate, bias`, or none."""
    if cell is None:
        return "none"
    matrices, bias = ("tied" if cell.tied else "separate", "bias" if cell.pre_encoder_bias else "no bias")
    return f"{_ACTIVATIONS.get(cell.activation, cell.activation)}, {matrices}, {bias}"


def _sparsity(cell: SaeKind | None) -> str:
    return short(cell.l1 if cell.l1 is not None else cell.k or 0) if isinstance(cell, PaperCell) else "–"


def _key(cell: PaperCell, without: str | None = None) -> tuple[object, ...]:
    """What a cell is, all of it or all but one thing."""
    return tuple(getattr(cell, name) for name in (*_KIND, "k", "l1") if name != without)


def same_cells(cells: Sequence[PaperCell], others: Sequence[PaperCell]) -> list[tuple[PaperCell, PaperCell]]:
    """Cells of one grid with those of the same kind in another."""
    known = {_key(other): other for other in others}
    return [(cell, known[_key(cell)]) for cell in cells if _key(cell) in known]


# ---- what each choice changes: pairs that differ in one thing only


def comparisons(cells: Sequence[PaperCell]) -> dict[tuple[str, str, str], list[float]]:
    """What tying and a pre-encoder bias change: ratios of pairs, by choice, among which, and measure."""
    found = {}
    for what in _CHOICES:
        for among, group in _groups(cells):
            lacking = {_key(cell, what): cell for cell in group if not getattr(cell, what)}
            having = [cell for cell in group if getattr(cell, what) and _key(cell, what) in lacking]
            for measure in _MEASURES:
                pairs = [
                    (getattr(cell, measure), getattr(lacking[_key(cell, what)], measure)) for cell in having
                ]
                # no ratio to an autoencoder that fires nowhere
                if ratios := [own / other for own, other in pairs if other > 0]:
                    found[what, among, measure] = ratios
    return found


def _groups(cells: Sequence[PaperCell]) -> Iterator[tuple[str, list[PaperCell]]]:
    ks = sorted({cell.k for cell in cells if cell.k is not None})
    # from where on a k of the grid is large: the upper half of them
    bound = ks[len(ks) // 2] if len(ks) > 1 else None
    for activation in dict.fromkeys(cell.activation for cell in cells):
        own, name = (
            [cell for cell in cells if cell.activation == activation],
            _ACTIVATIONS.get(activation, activation),
        )
        if bound is None or activation != "topk":
            yield name, own
        else:
            yield f"{name}, k below {bound}", [cell for cell in own if (cell.k or 0) < bound]
            yield f"{name}, k {bound} and more", [cell for cell in own if (cell.k or 0) >= bound]


def direction(ratios: Sequence[float]) -> int:
    """Whether a choice makes for more (1), less (-1) or neither (0)."""
    middle = median(ratios)
    return (middle > 1 + _ALIKE) - (middle < 1 - _ALIKE)


def _choices(cells: Sequence[PaperCell], pairs: Pairs) -> Iterator[Exhibit]:
    """What tying and the bias change, and whether it is what they change in the paper's numbers."""
    theirs = comparisons([other for _, other in pairs])
    lines = []
    for key, ratios in comparisons([cell for cell, _ in pairs] or cells).items():
        what, among, measure = key
        line: dict[str, Any] = {"Choice": _CHOICES[what], "Among": among, "Measure": _MEASURES[measure]}
        sides = {"This run": ratios} | ({"The paper's numbers": theirs.get(key)} if pairs else {})
        for title, own in sides.items():
            spread = f"{number(min(own), 2)} to {number(max(own), 2)}" if own else ""
            line[title] = num(median(own), 2, spread) if own else None
        if pairs:
            line["The same way"] = direction(ratios) == direction(theirs[key]) if key in theirs else None
        lines.append(line)
    if lines:
        yield table("What each choice changes", lines)
    overall: list[dict[str, Any]] = []
    for one, by in (("relu", "topk"), ("topk", "relu")):
        if {one, by} <= {cell.activation for cell in cells}:
            line = {"What": f"{_ACTIVATIONS[one]} autoencoders that a {_ACTIVATIONS[by]} one outdoes"}
            whose = {"This run": cells} | ({"The paper's numbers": [o for _, o in pairs]} if pairs else {})
            overall.append(
                line | {name: "{} of {}".format(*outdone(own, one, by)) for name, own in whose.items()}
            )
    if overall:
        ranks = (
            [f"{number(rank_correlation(pairs, m), 2)} in {words}" for m, words in _MEASURES.items()]
            if pairs
            else []
        )
        ranked = (
            f" Rank correlation (Spearman) with the paper's grid: {' and '.join(ranks)}." if ranks else ""
        )
        yield table("The grid as a whole", overall, ranked=ranked)


def outdone(cells: Sequence[PaperCell], activation: str, by: str) -> tuple[int, int]:
    """Of the cells of one activation, how many one of the other's outdoes, and of how many.

    One outdoes another that fires no fewer latents at a token and has no smaller error.
    """
    own, others = ([cell for cell in cells if cell.activation == name] for name in (activation, by))
    beaten = sum(any(b.l0 <= a.l0 and b.mse <= a.mse for b in others) for a in own)
    return beaten, len(own)


def rank_correlation(pairs: Pairs, measure: str) -> float | None:
    """Spearman's, between the cells of two grids; None where one of them has no order."""
    ranks = pd.DataFrame([[getattr(cell, measure) for cell in pair] for pair in pairs]).rank()
    if len(ranks) < 2 or (ranks.nunique() == 1).any():
        return None
    return float(ranks[0].corr(ranks[1]))


# ---- the figure


def _numbers(
    cells: Sequence[GridCell],
    marks: Sequence[Collection[int]],
    chosen: int | None,
    theirs: dict[tuple[object, ...], PaperCell] | None,
) -> pd.DataFrame:
    """The grid's numbers in one flat table, the paper's beside them where it has the same cell."""
    rows = []
    for place, cell in enumerate(cells):
        row: dict[str, Any] = {name: value for name, value in cell if name != "fvu"}
        row |= {f"fvu_{language}": value for language, value in cell.fvu.items()}
        row |= {"on_l0_fvu_front": place in marks[0], "on_active_mse_front": place in marks[1]}
        row["chosen"] = place == chosen
        if theirs is not None:
            row |= {
                f"paper_{name}": getattr(theirs.get(_key(cell)), name, None) for name in (*_PANELS, "mse")
            }
        rows.append(row)
    # some kinds have no k: without this they would make numbers with a point of all
    return pd.DataFrame(rows).astype({"k": "Int64"})


def _panels(
    cells: Sequence[GridCell], marks: Sequence[Collection[int]], published: Sequence[PaperCell]
) -> list[Panel]:
    """Error by sparsity, the run's own with rings around marked cells, then the paper's if it has some."""
    rows = [("This run", cells, marks), *([("The paper", published, ((), ()))] if published else [])]

    def panel(whose: str, shown: Sequence[PaperCell], measure: str, ringed: Collection[int]) -> Panel:
        def paint(axes: Axes) -> None:
            kinds: dict[str, list[PaperCell]] = {}
            for cell in shown:
                kinds.setdefault(kind_words(cell), []).append(cell)
            for words, line in kinds.items():
                colour = _COLOURS.get(line[0].activation, INK)
                xs, errors = ([getattr(cell, key) for cell in line] for key in (measure, "mse"))
                style: Any = (
                    {"linestyle": "--", "marker": "s"} if line[0].tied else {"linestyle": "-", "marker": "o"}
                )
                face = colour if line[0].pre_encoder_bias else "#ffffff"
                axes.plot(xs, errors, markerfacecolor=face, color=colour, linewidth=1.1, label=words, **style)
            if some := [shown[place] for place in sorted(ringed)]:
                ring(axes, [getattr(cell, measure) for cell in some], [cell.mse for cell in some])
            axes.set_xlabel(_PANELS[measure])
            axes.set_ylabel("mean squared error")
            _scale(axes, "x", [getattr(cell, measure) for _, own, _ in rows for cell in own])
            _scale(axes, "y", [cell.mse for _, own, _ in rows for cell in own])

        return Panel(paint, whose)

    return [
        panel(whose, shown, measure, ringed)
        for whose, shown, own in rows
        for measure, ringed in zip(_PANELS, own, strict=True)
    ]


def _scale(panel: Axes, side: str, values: Sequence[float]) -> None:
    """A logarithmic axis; where there is a zero, linear below the smallest other value."""
    positive = [value for value in values if value > 0]
    if not positive:
        return
    setter, axis = (panel.set_xscale, panel.xaxis) if side == "x" else (panel.set_yscale, panel.yaxis)
    if len(positive) == len(values):
        setter("log")
        decades = math.log10(max(positive) / min(positive))
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 3 else (1.0,)))
    else:
        setter("symlog", linthresh=min(positive), linscale=0.4)
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
