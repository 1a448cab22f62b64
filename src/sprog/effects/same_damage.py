"""Doses of different families that do the same damage: found by measuring, not by interpolation."""

import math
from collections.abc import Callable, Sequence

# how near is near enough, and how often to look
NEAR, ROUNDS = 0.02, 10
# a family that does not get there at so many times the largest dose is called off
FURTHEST = 64.0


def doses_at(
    damage: Callable[[list[float]], list[float]], known: dict[float, float], levels: Sequence[float]
) -> dict[float, float | None]:
    """For each level, a dose whose damage is within 2 % of it; None if no dose gets there.

    Where the damage first reaches a level the dose is looked for on a line through both sides in logarithms of
    dose and damage, which near no change is straight: KL grows with the square of the dose.

    Args:
        damage: of several doses, all measured at once.
        known: damage by dose, of positive doses, at least one; what is measured is added to it.
        levels: above zero.
    """
    largest = max(known)
    done: dict[float, float | None] = {}
    for _ in range(ROUNDS):
        wanted: dict[float, float] = {}
        for level in levels:
            if level in done:
                continue
            dose = _next(known, level)
            if dose in known:
                done[level] = dose
            elif dose > FURTHEST * largest:
                done[level] = None
            else:
                wanted[level] = dose
        if not wanted:
            break
        asked = sorted(set(wanted.values()))
        known.update(zip(asked, damage(asked), strict=True))
    return {level: done[level] if level in done else _nearest(known, level) for level in levels}


def _next(known: dict[float, float], level: float) -> float:
    """A dose that is near enough, or else where to look next."""
    near = [dose for dose, found in known.items() if abs(found - level) <= NEAR * level]
    if near:
        return min(near)
    doses = sorted(known)
    above = [dose for dose in doses if known[dose] > level]
    if not above:
        return 2 * doses[-1]
    high = above[0]
    below = [dose for dose in doses if dose < high]
    if not below:
        # a little further than the square says, so that the level comes to lie between two doses
        return 0.9 * high * math.sqrt(level / known[high])
    low = below[-1]
    if known[low] <= 0:
        return math.sqrt(low * high)
    slope = math.log(known[high] / known[low]) / math.log(high / low)
    share = math.log(level / known[low]) / slope / math.log(high / low)
    # never on an end of the bracket, from which nothing would be learnt
    return float(low * (high / low) ** min(0.95, max(0.05, share)))


def _nearest(known: dict[float, float], level: float) -> float | None:
    """The dose that came nearest, if it is within a tenth of the level."""
    dose = min(known, key=lambda dose: abs(known[dose] - level))
    return dose if abs(known[dose] - level) <= 0.1 * level else None
