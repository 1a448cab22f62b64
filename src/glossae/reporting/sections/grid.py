"""Choosing the autoencoder: a grid of them side by side (section 4.2, Figure 4, Appendix A)."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, TypeAlias

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from glossae.reporting.blocks import Blocks, Cell, Line, Paragraph, Picture, not_run, table
from glossae.reporting.canvas import BLUE, INK, ORANGE, Drawing, draw, legend_below, ring
from glossae.reporting.reading import RunFiles
from glossae.reporting.wording import language_name, listed, model_name, number, percent, plural, short, whole
from glossae.results import GridCell, GridChoice, GridFront, PaperCell, PaperGrid, SaeKind

Pairs: TypeAlias = Sequence[tuple[PaperCell, PaperCell]]
"""Cells of the grid with the paper's of the same kind."""
_Marks: TypeAlias = tuple[Collection[int], Collection[int]]
"""The numbers of cells that are not dominated in the left panel's terms, and in the right one's."""

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


def grid_blocks(files: RunFiles) -> Blocks:
    """Figure 4, what each choice changes, the cell that the rule chooses, and every cell in numbers."""
    grid, published = files.results.grid, files.results.published
    if not grid or grid.chosen is None:
        yield not_run("The grid search over autoencoders")
        return
    cells, paper = grid.cells, None if published is None else published.grid
    pairs = same_cells(cells, paper.cells) if paper else []
    theirs = [other for _, other in pairs]
    overall = {front.measures: front.cells for front in grid.pareto if front.among == "all"}
    left, right = (overall.get(measures, ()) for measures in _FRONTS)
    found = finding(cells)
    numbers = _numbers(cells, (left, right), grid.chosen.cell, pairs)
    whose = "" if grid.model == files.recipe.model else f" of {model_name(grid.model)}"
    yield Paragraph(
        f"{plural(len(cells), 'autoencoder')} of {whole(grid.latents)} latents each, all trained in one "
        f"pass over the same {whole(grid.train_tokens)} tokens, on {grid.site} of layer {grid.layer}{whose} "
        f"({whole(grid.d_in)} wide), and measured on {whole(grid.tokens)} tokens of select."
    )
    yield Picture(
        "Figure 4",
        _draw_grid(cells, (left, right), theirs, numbers, found),
        found,
        "Means over the last eleven batches of training but the very last, as in the paper. Ringed: no other has "
        "fewer latents active at a token and a lower FVU, both on select (left), or more latents active in a batch "
        "and a smaller error (right).",
    )
    yield from _choices(cells, pairs)
    yield Paragraph(choice(cells, grid.chosen, paper), "finding")
    yield Paragraph(
        f"The rule, fixed before any grid was seen: {grid.chosen.rule} FVU is the mean of "
        f"{files.names[0]}'s and {files.names[1]}'s. This run's own autoencoder "
        "does not follow it: it is what the recipe says, in the next section."
    )
    for words in disagreements(theirs):
        yield Paragraph(words, "note")
    beside = " Below a number: the paper's own." if pairs else ""
    same = {_key(own): other for own, other in pairs}
    yield table(
        "Appendix A: every autoencoder",
        "Error, L0 (latents active at a token) and latents active in a batch are means over the last training batches; "
        f"FVU and dead latents (firing on no token) are held out, on select.{beside} "
        "Not dominated: among all cells, or among those of the same activation.",
        [
            _line(
                cell, place, grid.pareto, place == grid.chosen.cell, same.get(_key(cell)), files.languages[:2]
            )
            for place, cell in enumerate(cells)
        ],
        words=2,
    )


def _line(
    cell: GridCell,
    place: int,
    pareto: Sequence[GridFront],
    chosen: bool,
    other: PaperCell | None,
    pair: Sequence[str],
) -> Line:
    def beside(name: str, text: Callable[[float], str]) -> str | Cell:
        own = text(getattr(cell, name))
        return own if other is None else Cell(own, text(getattr(other, name)))

    fronts = []
    for measures, words in _FRONTS.items():
        own = [front.among for front in pareto if front.measures == measures and place in front.cells]
        if own:
            fronts.append(words if "all" in own else f"{words} ({_activation(own[0])})")
    return {
        "Kind": Cell(_kind(cell), "chosen by the rule") if chosen else _kind(cell),
        "Not dominated in": "; ".join(fronts) or "–",
        "k or L1": short(cell.l1 if cell.l1 is not None else cell.k or 0),
        "Error": beside("mse", short),
        "L0": beside("l0", short),
        "Active in a batch": beside(
            "active_per_batch", lambda value: short(value) if value < 100 else whole(value)
        ),
        **{f"FVU: {language_name(code)}": number(cell.fvu.get(code)) for code in pair},
        "Dead": percent(cell.dead_fraction, digits=1),
    }


# ---- kinds of autoencoders in words


def _activation(activation: str) -> str:
    return _ACTIVATIONS.get(activation, activation)


def _kind(cell: SaeKind) -> str:
    """`TopK, separate, bias`."""
    matrices = "tied" if cell.tied else "separate"
    return f"{_activation(cell.activation)}, {matrices}, {'bias' if cell.pre_encoder_bias else 'no bias'}"


def _kind_words(cell: SaeKind) -> str:
    """`TopK, separate matrices, with a pre-encoder bias`."""
    matrices, bias = ("tied" if cell.tied else "separate", "with" if cell.pre_encoder_bias else "without")
    return f"{_activation(cell.activation)}, {matrices} matrices, {bias} a pre-encoder bias"


def _sparsity(cell: PaperCell) -> str:
    """`k 30` or `L1 0.001`."""
    return f"L1 {short(cell.l1)}" if cell.l1 is not None else f"k {cell.k}"


def _key(cell: PaperCell, without: str | None = None) -> tuple[object, ...]:
    """What a cell is, all of it or all but one thing."""
    return tuple(getattr(cell, name) for name in (*_KIND, "k", "l1") if name != without)


def same_cells(cells: Sequence[PaperCell], others: Sequence[PaperCell]) -> list[tuple[PaperCell, PaperCell]]:
    """Cells of one grid with those of the same kind in another."""
    known = {_key(other): other for other in others}
    return [(cell, known[_key(cell)]) for cell in cells if _key(cell) in known]


# ---- what each choice changes: pairs that differ in one thing only


@dataclass(frozen=True)
class Comparison:
    """A measure of autoencoders that have something over the measure of those that differ in lacking it.

    Attributes:
        what: `tied` or `pre_encoder_bias`.
        among: which autoencoders, in words.
        measure: `mse` or `active_per_batch`.
        ratios: one for each pair.
    """

    what: str
    among: str
    measure: str
    ratios: tuple[float, ...]

    @property
    def names(self) -> tuple[str, str, str]:
        """The choice, among which, and the measure, as a table has them."""
        return _CHOICES[self.what], self.among, _MEASURES[self.measure]

    @property
    def direction(self) -> int:
        """Whether it makes for more (1), less (-1) or neither (0)."""
        middle = median(self.ratios)
        return (middle > 1 + _ALIKE) - (middle < 1 - _ALIKE)

    @property
    def words(self) -> str:
        """`1.53 times (1.45 to 1.75)`."""
        middle = f"{number(median(self.ratios), 2)} times"
        low, high = number(min(self.ratios), 2), number(max(self.ratios), 2)
        return middle if low == high else f"{middle} ({low} to {high})"


def comparisons(cells: Sequence[PaperCell]) -> list[Comparison]:
    """What tying and a pre-encoder bias change, for each activation, and for small and large k."""
    found = []
    for what in _CHOICES:
        for among, group in _groups(cells):
            lacking = {_key(cell, what): cell for cell in group if not getattr(cell, what)}
            having = [cell for cell in group if getattr(cell, what) and _key(cell, what) in lacking]
            for measure in _MEASURES:
                pairs = [
                    (getattr(cell, measure), getattr(lacking[_key(cell, what)], measure)) for cell in having
                ]
                # no ratio to an autoencoder that fires nowhere
                if ratios := tuple(own / other for own, other in pairs if other > 0):
                    found.append(Comparison(what, among, measure, ratios))
    return found


def large_k(cells: Sequence[PaperCell]) -> int | None:
    """From where on a k of the grid is large: the upper half of them; None if there is one at most."""
    ks = sorted({cell.k for cell in cells if cell.k is not None})
    return ks[len(ks) // 2] if len(ks) > 1 else None


def _groups(cells: Sequence[PaperCell]) -> Iterator[tuple[str, list[PaperCell]]]:
    bound = large_k(cells)
    for activation in dict.fromkeys(cell.activation for cell in cells):
        own = [cell for cell in cells if cell.activation == activation]
        if bound is None or activation != "topk":
            yield _activation(activation), own
        else:
            for words, large in ((f"TopK, k below {bound}", False), (f"TopK, k {bound} and more", True)):
                yield words, [cell for cell in own if ((cell.k or 0) >= bound) is large]


def _choices(cells: Sequence[PaperCell], pairs: Pairs) -> Blocks:
    """What tying and the bias change, and whether it is what they change in the paper's numbers."""
    own = comparisons([cell for cell, _ in pairs] or cells)
    theirs = {c.names: c for c in comparisons([other for _, other in pairs])}
    if not own:
        return
    caption = (
        "The measure of an autoencoder over that of the one that differs in nothing else: the median of all pairs, "
        "and their range."
    )
    if pairs:
        caption += " The same way: both medians above 1.05, both below 0.95, or both between."
    lines: list[Line] = []
    alike: list[bool] = []
    for c in own:
        line = dict(zip(("Choice", "Among", "Measure"), c.names, strict=True)) | {"This run": c.words}
        if pairs:
            line |= {"The paper's numbers": "–", "The same way": "–"}
            if other := theirs.get(c.names):
                alike.append(c.direction == other.direction)
                line |= {"The paper's numbers": other.words, "The same way": "yes" if alike[-1] else "no"}
        lines.append(line)
    yield table("What each choice changes", caption, lines, words=3)
    if not pairs:
        return
    ranks = {words: rank_correlation(pairs, measure) for measure, words in _MEASURES.items()}
    ranked = [f"{number(value, 2)} in {words}" for words, value in ranks.items() if value is not None]
    order = (
        f"the order of the {len(pairs)} autoencoders agrees to a rank correlation of {listed(ranked)}; "
        if ranked
        else ""
    )
    yield Paragraph(
        f"Beside the paper's numbers: {order}{sum(alike)} of {len(alike)} comparisons point the same way. "
        f"In its numbers: {finding([other for _, other in pairs])}",
        "finding",
    )


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


# ---- sentences


def finding(cells: Sequence[PaperCell]) -> str:
    """Which activation outdoes the other; with one activation, how far the error goes."""
    if {cell.activation for cell in cells} == {"topk", "relu"}:
        beaten, of_relu = outdone(cells, "relu", "topk")
        back, of_topk = outdone(cells, "topk", "relu")
        return (
            f"{beaten} of the {of_relu} ReLU autoencoders are outdone by a TopK one, with no more latents active at a "
            f"token and no more error; {back} of the {of_topk} TopK ones by a ReLU one."
        )
    best, worst = (pick(cells, key=lambda cell: cell.mse) for pick in (min, max))
    return (
        f"The mean squared error goes from {short(worst.mse)} ({_sparsity(worst)}) "
        f"to {short(best.mse)} ({_sparsity(best)})."
    )


def choice(cells: Sequence[GridCell], chosen: GridChoice, published: PaperGrid | None) -> str:
    """What the rule chooses, why, and whether the paper chose the same kind."""
    cell = None if chosen.cell is None else cells[chosen.cell]
    what = "none" if cell is None else f"{_kind_words(cell)}, {_sparsity(cell)}"
    words = f"The rule chooses {what}. {chosen.reason}"
    if published is None:
        return words
    theirs = published.chosen
    words += f" The paper chose {_kind_words(theirs)} (of the matrices its Table 4 says otherwise)"
    if cell is None:
        return f"{words}."
    names = zip(_KIND, ("the activation", "the matrices", "the bias"), strict=True)
    apart = [name for part, name in names if getattr(cell, part) != getattr(theirs, part)]
    return f"{words}: {'the same kind' if not apart else 'the rule differs in ' + listed(apart)}."


def disagreements(cells: Sequence[PaperCell]) -> list[str]:
    """Where the paper's text says something else than its own numbers, or more than they can bear."""
    bound = large_k(cells)
    topk = [cell for cell in cells if cell.activation == "topk"]
    found = comparisons(topk)
    large = f"TopK, k {bound} and more"
    tied = {c.measure: c for c in found if bound and (c.what, c.among) == ("tied", large)}
    bias = [r for c in found if (c.what, c.measure) == ("pre_encoder_bias", "mse") for r in c.ratios]
    helped = [ratio for ratio in bias if ratio < 1]
    said = []
    if bound and len(tied) == len(_MEASURES):
        fewest = [
            min((cell for cell in topk if cell.k == k), key=lambda cell: cell.active_per_batch)
            for k in sorted({cell.k for cell in topk if cell.k is not None and cell.k >= bound})
        ]
        theirs = all(cell.pre_encoder_bias and not cell.tied for cell in fewest)
        said.append(
            f"Of tied matrices the paper's text sees no clear impact. Its own numbers show one: from k {bound} on, "
            f"{tied['active_per_batch'].words} as many latents are active in a batch, at {tied['mse'].words} the error"
            + ("; the kind that it chose has the fewest of all at each of these k." if theirs else ".")
        )
    if bias:
        said.append(
            "The pre-encoder bias it took on others' advice, seeing no clear difference. In its numbers the error of "
            f"TopK with one is smaller in {len(helped)} of {len(bias)} pairs"
            + (f", at best by {percent(1 - min(helped))}." if helped else ".")
        )
    if len(topk) < len(cells):
        said.append(
            "The decoder rows of its ReLU autoencoders are free. The penalty can then be paid off with smaller latents "
            "and longer rows, so that the weight of the penalty does not say how sparse an autoencoder had to be."
        )
    return said


# ---- the figure


def _numbers(cells: Sequence[GridCell], marks: _Marks, chosen: int | None, pairs: Pairs) -> pd.DataFrame:
    """The grid's numbers in one flat table, the paper's beside them where it has the same cell."""
    theirs = {_key(own): other for own, other in pairs}
    rows = []
    for place, cell in enumerate(cells):
        row: dict[str, Any] = {name: value for name, value in cell if name != "fvu"}
        row |= {f"fvu_{language}": value for language, value in cell.fvu.items()}
        row |= {"on_l0_fvu_front": place in marks[0], "on_active_mse_front": place in marks[1]}
        row["chosen"] = place == chosen
        if pairs:
            other = theirs.get(_key(cell))
            row |= {f"paper_{name}": getattr(other, name, None) for name in (*_PANELS, "mse")}
        rows.append(row)
    # some kinds have no k: without this they would make numbers with a point of all
    return pd.DataFrame(rows).astype({"k": "Int64"})


def _draw_grid(
    cells: Sequence[GridCell],
    marks: _Marks,
    published: Sequence[PaperCell],
    numbers: pd.DataFrame,
    description: str,
) -> Drawing:
    """Error by sparsity, the run's own with rings around marked cells, and below it the paper's if it has some."""
    rows: list[tuple[str, Sequence[PaperCell], _Marks]] = [("This run" if published else "", cells, marks)]
    rows += [("The paper", published, ((), ()))] if published else []

    def paint(figure: Figure) -> None:
        axes = figure.subplots(len(rows), 2, squeeze=False, sharex="col", sharey=True)
        for line, (whose, shown, ringed) in zip(axes, rows, strict=True):
            line[0].set_title(whose)
            for panel, measure, some in zip(line, _PANELS, ringed, strict=True):
                _paint(panel, shown, measure, some)
        for panel, (measure, words) in zip(axes[-1], _PANELS.items(), strict=True):
            panel.set_xlabel(words)
            _scale(panel, "x", [getattr(cell, measure) for _, shown, _ in rows for cell in shown])
        for line in axes:
            line[0].set_ylabel("mean squared error")
        _scale(axes[0][0], "y", [cell.mse for _, shown, _ in rows for cell in shown])
        legend_below(figure, axes[0][:1], 3)

    return draw("figure-4-grid", (10.4, 1.5 + 3.5 * len(rows)), paint, numbers, description)


def _paint(panel: Axes, cells: Sequence[PaperCell], measure: str, ringed: Collection[int]) -> None:
    kinds: dict[str, list[PaperCell]] = {}
    for cell in cells:
        kinds.setdefault(_kind(cell), []).append(cell)
    for words, line in kinds.items():
        kind = line[0]
        colour = _COLOURS.get(kind.activation, INK)
        xs, errors = ([getattr(cell, key) for cell in line] for key in (measure, "mse"))
        style: Any = {"linestyle": "--", "marker": "s"} if kind.tied else {"linestyle": "-", "marker": "o"}
        style |= {"color": colour, "linewidth": 1.1, "markersize": 4.5, "label": words}
        panel.plot(xs, errors, markerfacecolor=colour if kind.pre_encoder_bias else "white", **style)
    if ringed:
        some = [cells[place] for place in sorted(ringed)]
        ring(panel, [getattr(cell, measure) for cell in some], [cell.mse for cell in some])


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
