"""Choosing the autoencoder: a grid of them side by side (section 4.2, Figure 4, Appendix A)."""

from collections.abc import Callable, Sequence

from glossae.report.blocks import Block, Cell, Paragraph, Picture, Section, Table, not_run
from glossae.report.figures.grid import Marks, draw_grid, grid_table
from glossae.report.kinds import activation_name, comparisons, key, matrices_words, same_cells
from glossae.report.reading import Row, RunFiles
from glossae.report.sections.grid_words import agreement, choice, disagreements, finding, what_was_trained
from glossae.report.wording import language_name, number, percent, short, whole

_FRONTS = {("l0_select", "fvu"): "L0 and FVU", ("active_per_batch", "mse"): "active and error"}
_Pairs = Sequence[tuple[Row, Row]]
"""Cells of the grid with the paper's of the same kind."""


def grid_section(files: RunFiles) -> Section:
    """Figure 4, what each choice changes, the cell that the rule chooses, and every cell in numbers."""
    return Section("grid", "Choosing the autoencoder", "section 4.2, Figure 4, Appendix A", _blocks(files))


def _blocks(files: RunFiles) -> list[Block]:
    grid = files.section("grid")
    if grid is None:
        return [not_run("The grid search over autoencoders")]
    cells: list[Row] = grid["cells"]
    published = (files.section("published") or {}).get("grid")
    pairs = same_cells(cells, published["cells"]) if published else []
    marks = _marks(grid)
    found = finding(cells)
    numbers = grid_table(cells, marks, grid["chosen"]["cell"], pairs)
    return [
        Paragraph(what_was_trained(files, grid)),
        Picture(
            "Figure 4",
            draw_grid(cells, marks, [other for _, other in pairs], numbers, found),
            found,
            "Means over the last eleven batches of training but the very last, as in the paper. Ringed: no other has "
            "fewer latents active at a token and a lower FVU, both on select (left), or more latents active in a batch "
            "and a smaller error (right).",
        ),
        *_choices(cells, pairs),
        Paragraph(choice(grid, published), "finding"),
        Paragraph(
            f"The rule, fixed before any grid was seen: {grid['chosen']['rule']} FVU is the mean of "
            f"{language_name(files.target)}'s and {language_name(files.reference)}'s. This run's own autoencoder "
            "does not follow it: it is what the recipe says, in the next section."
        ),
        *(
            Paragraph(words, "note")
            for words in (disagreements([other for _, other in pairs]) if pairs else ())
        ),
        _table(files, grid, pairs),
    ]


def _marks(grid: Row) -> Marks:
    overall = {
        tuple(front["measures"]): front["cells"] for front in grid["pareto"] if front["among"] == "all"
    }
    left, right = (overall.get(measures, ()) for measures in _FRONTS)
    return left, right


def _choices(cells: Sequence[Row], pairs: _Pairs) -> list[Block]:
    """What tying and the bias change, and whether it is what they change in the paper's numbers."""
    own = comparisons([cell for cell, _ in pairs] or cells)
    theirs = {c.names: c for c in comparisons([other for _, other in pairs])}
    if not own:
        return []
    columns = ("Choice", "Among", "Measure", "This run")
    rows = [(*c.names, c.words) for c in own]
    caption = (
        "The measure of an autoencoder over that of the one that differs in nothing else: the median of all pairs, "
        "and their range."
    )
    if not pairs:
        return [Table("What each choice changes", caption, columns, rows, words=3)]
    beside = [(c, theirs.get(c.names)) for c in own]
    alike = [c.direction == other.direction for c, other in beside if other is not None]
    table = Table(
        "What each choice changes",
        f"{caption} The same way: both medians above 1.05, both below 0.95, or both between.",
        (*columns, "The paper's numbers", "The same way"),
        [
            (*row, "–", "–")
            if other is None
            else (*row, other.words, "yes" if c.direction == other.direction else "no")
            for row, (c, other) in zip(rows, beside, strict=True)
        ],
        words=3,
    )
    return [table, Paragraph(agreement(pairs, sum(alike), len(alike)), "finding")]


def _table(files: RunFiles, grid: Row, pairs: _Pairs) -> Table:
    theirs = {key(own): other for own, other in pairs}
    pair = (files.target, files.reference)
    beside = " Below a number: the paper's own." if pairs else ""
    return Table(
        "Appendix A: every autoencoder",
        "Error, L0 (latents active at a token) and latents active in a batch are means over the last training batches; "
        f"FVU and dead latents (firing on no token) are held out, on select.{beside} "
        "Not dominated: among all cells, or among those of the same activation.",
        (
            "Kind",
            "Not dominated in",
            "k or L1",
            "Error",
            "L0",
            "Active in a batch",
            *(f"FVU: {language_name(code)}" for code in pair),
            "Dead",
        ),
        [_row(grid, place, cell, theirs.get(key(cell)), pair) for place, cell in enumerate(grid["cells"])],
        words=2,
    )


def _row(grid: Row, place: int, cell: Row, other: Row | None, pair: tuple[str, str]) -> list[str | Cell]:
    def beside(name: str, text: Callable[[float], str]) -> str | Cell:
        return text(cell[name]) if other is None else Cell(text(cell[name]), text(other[name]))

    bias = "bias" if cell["pre_encoder_bias"] else "no bias"
    kind = f"{activation_name(cell['activation'])}, {matrices_words(cell)}, {bias}"
    return [
        Cell(kind, "chosen by the rule") if place == grid["chosen"]["cell"] else kind,
        _fronts(grid, place),
        short(cell["k"] if cell["l1"] is None else cell["l1"]),
        beside("mse", short),
        beside("l0", short),
        beside("active_per_batch", lambda value: short(value) if value < 100 else whole(value)),
        *(number(cell["fvu"].get(code)) for code in pair),
        percent(cell["dead_fraction"], digits=1),
    ]


def _fronts(grid: Row, place: int) -> str:
    """In which terms no other cell dominates this one."""
    said = []
    for measures, words in _FRONTS.items():
        own = [f["among"] for f in grid["pareto"] if tuple(f["measures"]) == measures and place in f["cells"]]
        if own:
            said.append(words if "all" in own else f"{words} ({activation_name(own[0])})")
    return "; ".join(said) or "–"
