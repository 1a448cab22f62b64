"""Autoencoders of many kinds side by side (the paper's section 4.2): what is compared, and which one is chosen."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from glossae.sae.trainer import TrainPoint

# of the rule that chooses: how many latents may be dead, and which FVUs count as equal
MOST_DEAD = 0.5
EQUAL_FVU = 0.05


@dataclass(frozen=True)
class GridCell:
    """One autoencoder of a grid.

    Attributes:
        activation, tied, pre_encoder_bias: what kind it is.
        k: topk: latents active at a token; else None.
        l1: relu: weight of the penalty; else None.
        mse, l0, active_per_batch: mean squared error per token and dimension, latents firing at a token and
            distinct ones firing in a batch: means over the last batches of training, as `last_batches` takes them.
        fvu: by language, held out: fraction of variance unexplained.
        l0_select: held out: latents firing at a token.
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
        """The mean FVU of some languages; infinite if none of them has any variance to explain."""
        measured = [self.fvu[language] for language in languages if language in self.fvu]
        return fmean(measured) if measured else math.inf


@dataclass(frozen=True)
class Front:
    """Which cells no other dominates.

    Attributes:
        measures: what they are compared in: `l0_select` and `fvu`, less of each being better, or
            `active_per_batch` and `mse`, more active latents and less error being better.
        among: `all`, or the activation to which the comparison keeps.
        cells: their numbers.
    """

    measures: tuple[str, str]
    among: str
    cells: tuple[int, ...]


@dataclass(frozen=True)
class Choice:
    """What the rule chooses.

    Attributes:
        cell: its number; None if none fires seldom enough.
        rule: the rule.
        reason: how it came to this cell.
    """

    cell: int | None
    rule: str
    reason: str


def last_batches(log: Sequence[TrainPoint]) -> tuple[float, float, float]:
    """MSE, L0 and active latents per batch: means over the last eleven batches but the very last, as in the paper.

    A training of fewer batches has the mean over all but its last, or its only one.
    """
    points = log[-11:-1] or log[-1:]
    return (
        fmean(point.mse for point in points),
        fmean(point.l0 for point in points),
        fmean(point.active_per_batch for point in points),
    )


def not_dominated(points: Sequence[tuple[float, float]]) -> tuple[int, ...]:
    """The numbers of the points than which no other is at most as large in both values and smaller in one."""
    return tuple(
        number
        for number, (x, y) in enumerate(points)
        if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in points)
    )


def fronts(cells: Sequence[GridCell], languages: Sequence[str]) -> list[Front]:
    """The Pareto fronts, overall and for each activation; FVU is the mean of `languages`."""
    groups = {"all": list(range(len(cells)))}
    for number, cell in enumerate(cells):
        groups.setdefault(cell.activation, []).append(number)
    if len(groups) == 2:
        # one activation is all there is
        del groups[cells[0].activation]
    planes = {
        ("l0_select", "fvu"): [(cell.l0_select, cell.fvu_of(languages)) for cell in cells],
        ("active_per_batch", "mse"): [(-cell.active_per_batch, cell.mse) for cell in cells],
    }
    return [
        Front(measures, among, tuple(group[i] for i in not_dominated([points[number] for number in group])))
        for measures, points in planes.items()
        for among, group in groups.items()
    ]


def choose(cells: Sequence[GridCell], languages: Sequence[str], most_l0: int) -> Choice:
    """Choose a cell by a rule that was fixed before any grid was seen.

    Sparse enough, mostly alive, and then faithful; since FVUs within a few per cent differ by less than another
    seed makes them differ, the fewest dead latents decide between those.

    Args:
        cells: the grid.
        languages: whose mean FVU counts.
        most_l0: latents that may fire at a token.
    """
    rule = (
        f"Of the cells that fire at most {most_l0} latents at a token and leave at most {MOST_DEAD:.0%} of them dead, "
        f"those within {EQUAL_FVU:.0%} of the least FVU, and of these the one with the fewest dead latents; "
        "all on select. Where no cell leaves so few dead, all count."
    )
    sparse = [number for number, cell in enumerate(cells) if cell.l0_select <= most_l0]
    if not sparse:
        least = min(cell.l0_select for cell in cells)
        return Choice(
            None, rule, f"No cell fires at most {most_l0} latents at a token; the sparsest fires {least:.1f}."
        )
    alive = [number for number in sparse if cells[number].dead_fraction <= MOST_DEAD]
    passing = alive or sparse
    least = min(cells[number].fvu_of(languages) for number in passing)
    equal = [number for number in passing if cells[number].fvu_of(languages) <= (1 + EQUAL_FVU) * least]
    best = min(
        equal, key=lambda number: (cells[number].dead_fraction, cells[number].fvu_of(languages), number)
    )
    own = cells[best]
    words = (
        f"{len(sparse)} of {len(cells)} cells are sparse enough, "
        + (f"{len(alive)} of them with few enough dead" if alive else "none of them with few enough dead")
        + f"; the least FVU is {least:.3f}, "
        + (
            "and no other comes near"
            if len(equal) == 1
            else f"{len(equal)} are near it, and of these this one, with {own.fvu_of(languages):.3f}, "
            f"leaves the fewest dead"
        )
        + f" ({own.dead_fraction:.1%} dead)."
    )
    return Choice(best, rule, words)
