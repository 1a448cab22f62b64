"""Compare SAEs of many settings (the paper's section 4.2): a grid's cells, its Pareto fronts, and the choice."""

from collections.abc import Sequence
from statistics import fmean

from glossae.results import GridCell, GridChoice, GridFront
from glossae.sae.trainer import TrainPoint

# the grid choice's bounds: the largest share of dead latents, and the range of FVUs that count as equal
MOST_DEAD = 0.5
EQUAL_FVU = 0.05


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


def fronts(cells: Sequence[GridCell], languages: Sequence[str]) -> list[GridFront]:
    """Return the Pareto fronts, overall and for each activation; FVU is the mean of `languages`."""
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
        GridFront(
            measures=measures,
            among=among,
            cells=tuple(own for own in group if not _dominated(own, group, points)),
        )
        for measures, points in planes.items()
        for among, group in groups.items()
    ]


def _dominated(own: int, group: Sequence[int], points: Sequence[tuple[float, float]]) -> bool:
    """Whether a point of the group is at most as large in both values and smaller in one."""
    x, y = points[own]
    return any(a <= x and b <= y and (a, b) != (x, y) for a, b in (points[other] for other in group))


def choose(cells: Sequence[GridCell], languages: Sequence[str], most_l0: int) -> GridChoice:
    """The grid choice: a cell, by bounds that were fixed before any grid was seen.

    Cells have to be sparse enough and mostly alive; of these the lowest FVU counts. FVUs within a few per
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
        reason = f"No cell fires at most {most_l0} latents at a token; the sparsest fires {least:.1f}."
        return GridChoice(cell=None, rule=rule, reason=reason)
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
    return GridChoice(cell=best, rule=rule, reason=reason)
