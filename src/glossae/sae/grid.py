"""Compare SAEs of many settings (the paper's section 4.2): a grid's cells, its Pareto fronts, and the choice."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from glossae.sae.trainer import TrainPoint

# the rule's bounds: the largest share of dead latents, and the range of FVUs that count as equal
MOST_DEAD = 0.5
EQUAL_FVU = 0.05


@dataclass(frozen=True)
class GridCell:
    """One SAE of a grid.

    Attributes:
        activation, tied, pre_encoder_bias: its kind.
        k: topk: latents active per token; else None.
        l1: relu: weight of the penalty; else None.
        mse, l0, active_per_batch: mean squared error per token and dimension, latents firing per token, and
            distinct latents firing in a batch: means over the last batches of training, see `last_batches`.
        fvu: by language, held out: fraction of variance unexplained.
        l0_select: held out: latents firing per token.
        dead_fraction: held out: share of latents that fire on no token.
    """

    activation: str
    tied: bool
    pre_encoder_bias: bool
    k: int | None
    l1: float | None
    mse: float
    l0: float
    active_per_batch: float
    fvu: dict[str, float]
    l0_select: float
    dead_fraction: float

    def fvu_of(self, languages: Sequence[str]) -> float:
        """The mean FVU of some languages; infinite if none of them has any variance."""
        measured = [self.fvu[language] for language in languages if language in self.fvu]
        return fmean(measured) if measured else math.inf


@dataclass(frozen=True)
class Front:
    """The cells that no other cell dominates.

    Attributes:
        measures: the two compared measures: `l0_select` and `fvu`, both better if smaller, or
            `active_per_batch` (better if larger) and `mse` (better if smaller).
        among: `all`, or the activation of the compared cells.
        cells: the numbers of the cells on the front.
    """

    measures: tuple[str, str]
    among: str
    cells: tuple[int, ...]


@dataclass(frozen=True)
class Choice:
    """The chosen cell.

    Attributes:
        cell: its number; None if every cell fires too often.
        rule: the rule, in words.
        reason: how the rule led to this cell.
    """

    cell: int | None
    rule: str
    reason: str


def last_batches(log: Sequence[TrainPoint]) -> tuple[float, float, float]:
    """MSE, L0 and active latents per batch: means over the last eleven batches except the very last, as in the paper.

    A shorter training has the mean over all batches but the last, or its only one.
    """
    points = log[-11:-1] or log[-1:]
    return (
        fmean(point.mse for point in points),
        fmean(point.l0 for point in points),
        fmean(point.active_per_batch for point in points),
    )


def fronts(cells: Sequence[GridCell], languages: Sequence[str]) -> list[Front]:
    """The Pareto fronts, overall and for each activation; FVU is the mean of `languages`."""
    groups = {"all": list(range(len(cells)))}
    for number, cell in enumerate(cells):
        groups.setdefault(cell.activation, []).append(number)
    if len(groups) == 2:
        # with a single activation, its front is the overall one
        del groups[cells[0].activation]
    planes = {
        ("l0_select", "fvu"): [(cell.l0_select, cell.fvu_of(languages)) for cell in cells],
        ("active_per_batch", "mse"): [(-cell.active_per_batch, cell.mse) for cell in cells],
    }
    return [
        Front(measures, among, tuple(own for own in group if not _dominated(own, group, points)))
        for measures, points in planes.items()
        for among, group in groups.items()
    ]


def _dominated(own: int, group: Sequence[int], points: Sequence[tuple[float, float]]) -> bool:
    """Whether a point of the group is at most as large in both values and smaller in one."""
    x, y = points[own]
    return any(a <= x and b <= y and (a, b) != (x, y) for a, b in (points[other] for other in group))


def choose(cells: Sequence[GridCell], languages: Sequence[str], most_l0: int) -> Choice:
    """Choose a cell by a rule that was fixed before any grid was seen.

    Cells have to be sparse enough and mostly alive; the rule then takes the lowest FVU. FVUs within a few per
    cent differ by less than they do between seeds, so among those the cell with the fewest dead latents is
    chosen.

    Args:
        cells: the grid.
        languages: the languages of the mean FVU.
        most_l0: the most latents that may fire per token.
    """
    rule = (
        f"Of the cells that fire at most {most_l0} latents at a token and leave at most {MOST_DEAD:.0%} of them dead, "
        f"those within {EQUAL_FVU:.0%} of the least FVU, and of these the one with the fewest dead latents; "
        "all on select. Where no cell leaves so few dead, all count."
    )
    fvu = [cell.fvu_of(languages) for cell in cells]
    dead = [cell.dead_fraction for cell in cells]
    sparse = [number for number, cell in enumerate(cells) if cell.l0_select <= most_l0]
    if not sparse:
        least = min(cell.l0_select for cell in cells)
        return Choice(
            None, rule, f"No cell fires at most {most_l0} latents at a token; the sparsest fires {least:.1f}."
        )
    alive = [number for number in sparse if dead[number] <= MOST_DEAD]
    passing = alive or sparse
    least = min(fvu[number] for number in passing)
    equal = [number for number in passing if fvu[number] <= (1 + EQUAL_FVU) * least]
    best = min(equal, key=lambda number: (dead[number], fvu[number], number))
    few_dead = f"{len(alive)} of them with few enough dead" if alive else "none of them with few enough dead"
    near = "and no other comes near"
    if len(equal) > 1:
        near = (
            f"{len(equal)} are near it, and of these this one, with {fvu[best]:.3f}, leaves the fewest dead"
        )
    reason = (
        f"{len(sparse)} of {len(cells)} cells are sparse enough, {few_dead}; the least FVU is {least:.3f}, "
        f"{near} ({dead[best]:.1%} dead)."
    )
    return Choice(best, rule, reason)
