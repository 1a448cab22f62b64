"""Doses of different families that do the same damage: found by measuring, not by interpolation."""

import math
from collections.abc import Callable, Collection, Sequence

import numpy as np

from glossae.effects.arms import Arm, partway
from glossae.effects.edits import Edit
from glossae.effects.next_token import Arrays, Keep, Sweep, keep_nothing, measure_sweeps
from glossae.lm import LanguageModel, Site, TokenizedCorpus
from glossae.sae import Sae
from glossae.units import Units

# how near is near enough, and how often to look
NEAR, ROUNDS = 0.02, 10
# where a level is to be reached and not just come near to, so much more damage is looked for
ABOVE = 1.025
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
    (found,) = doses_of_each(lambda asked: [damage(asked[0])], [known], [levels])
    return found


def doses_of_each(
    damage: Callable[[list[list[float]]], list[list[float]]],
    known: Sequence[dict[float, float]],
    levels: Sequence[Sequence[float]],
    *,
    furthest: float = FURTHEST,
) -> list[dict[float, float | None]]:
    """`doses_at` for several families together, so that the doses of all of them are measured at once.

    Args:
        damage: of several doses of each family; of none where a family has found its own.
        known: of each family, damage by dose, as in `doses_at`.
        levels: of each family, above zero.
        furthest: how many times the largest known dose is the largest that is tried.
    """
    largest = [max(own) for own in known]
    done: list[dict[float, float | None]] = [{} for _ in known]
    for _ in range(ROUNDS):
        asked = []
        for own, most, wished, found in zip(known, largest, levels, done, strict=True):
            wanted = set()
            for level in wished:
                if level in found:
                    continue
                dose = _next(own, level)
                if dose in own:
                    found[level] = dose
                elif dose > furthest * most:
                    found[level] = None
                else:
                    wanted.add(dose)
            asked.append(sorted(wanted))
        if not any(asked):
            break
        for own, doses, rises in zip(known, asked, damage(asked), strict=True):
            own.update(zip(doses, rises, strict=True))
    return [
        {level: found[level] if level in found else _nearest(own, level) for level in wished}
        for own, wished, found in zip(known, levels, done, strict=True)
    ]


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


def matched_sweeps(
    lm: LanguageModel,
    site: Site,
    arms: Sequence[Arm],
    tokens: TokenizedCorpus,
    levels: Sequence[float],
    *,
    only_off: Collection[str] = (),
    budget: int = 1024,
    keep: Keep = keep_nothing,
    progress: Callable[[float], None] = lambda _: None,
) -> list[Sweep]:
    """For each set no edit, its units switched off, and on each way down a dose that just reaches each level of damage.

    A dose is looked for from no edit to the end of the way in the set's own sweep, and left out where the damage there
    is below the level. Where latents at 0 do more damage than a level, the way down from 0 begins too late for it.

    Args:
        lm: the model.
        site: where the units are.
        arms: the sets.
        tokens: the sentences whose loss is to rise.
        levels: by how much, nats a token.
        only_off: names of sets that have no doses.
        budget: tokens in a batch.
        keep: the search of all doses is one part of the work.
        progress: called with a share that is done, which grows more slowly from round to round.
    """
    ways = [
        (number, units, end)
        for number, arm in enumerate(arms)
        if arm.name not in only_off
        for units, end in arm.strongest
    ]
    rounds = 0

    def rises(edits: Sequence[tuple[Sae | Units, Edit]]) -> list[float]:
        nonlocal rounds
        none = [(edits[0][0], Edit("none"))]
        base, *found = measure_sweeps(lm, site, [_together([*none, *edits])], tokens, budget=budget)[0]
        rounds += 1
        progress(1 - 0.5**rounds)
        return [float((m.losses - base.losses).sum() / tokens.predicted.sum()) for m in found]

    def search() -> Arrays:
        first = [pair for arm in arms if arm.name not in only_off for pair in (*arm.off, *arm.strongest)]
        damage = dict(zip((id(edit) for _, edit in first), rises(first), strict=True))
        switched = {
            number: damage[id(edit)]
            for number, arm in enumerate(arms)
            for _, edit in arm.off
            if id(edit) in damage
        }
        known, wished = [], []
        for number, _, end in ways:
            own = {1.0: damage[id(end)]}
            if end.operation == "scale" and number in switched:
                assert end.value is not None
                own[1 / (1 - end.value)] = switched[number]
            known.append(own)
            too_late = switched.get(number, 0.0) if end.operation == "set" else 0.0
            wished.append([ABOVE * level for level in levels if level > too_late])

        def further(asked: list[list[float]]) -> list[list[float]]:
            edits = [
                (units, partway(end, share))
                for (_, units, end), shares in zip(ways, asked, strict=True)
                for share in shares
            ]
            found = iter(rises(edits))
            return [[next(found) for _ in shares] for shares in asked]

        shares = np.full((len(ways), len(levels)), np.nan)
        for row, reached in enumerate(doses_of_each(further, known, wished, furthest=1.0)):
            for column, level in enumerate(levels):
                shares[row, column] = np.nan if (dose := reached.get(ABOVE * level)) is None else dose
        return {"shares": shares}

    shares = keep("doses", search)["shares"] if ways and len(tokens) else np.full((len(ways), 0), np.nan)
    found = [[(arm.sweep[0][0], Edit("none")), *arm.off] for arm in arms]
    for (number, units, end), own in zip(ways, shares, strict=True):
        doses = sorted({float(share) for share in own if not math.isnan(share)})
        found[number] += [(units, partway(end, dose)) for dose in doses]
    progress(1.0)
    return [_together(edits) for edits in found]


def _together(edits: Sequence[tuple[Sae | Units, Edit]]) -> Sweep:
    """A sweep in which edits of the same units that follow each other stand together, so that they encode once."""
    found: list[tuple[Sae | Units, list[tuple[Edit | None, bool | None]]]] = []
    for units, change in edits:
        if not found or found[-1][0] is not units:
            found.append((units, []))
        found[-1][1].append((change, None))
    return found
