"""Which values to fix the units at, and which of them the units ever take by themselves."""

from collections.abc import Sequence
from dataclasses import dataclass

from glossae.errors import GlossaeError


@dataclass(frozen=True)
class Dose:
    """A value to fix units at.

    Attributes:
        value: as reported: in units of the saved latent, or in multiples of each unit's 99th percentile.
        targets: each unit's value in units of the saved latent.
        in_range: whether every unit takes such values by itself on target text (0 counts: not firing).
    """

    value: float
    targets: tuple[float, ...]
    in_range: bool


@dataclass(frozen=True)
class UnitRange:
    """What one unit emits on target text where it fires: smallest, median, 99th percentile, largest value."""

    smallest: float
    median: float
    p99: float
    largest: float

    def __contains__(self, value: object) -> bool:
        return isinstance(value, float) and min(0.0, self.smallest) <= value <= max(0.0, self.largest)


def doses(values: Sequence[float], ranges: Sequence[UnitRange], unit: str) -> list[Dose]:
    """The recipe's values, 0, and two in-range ones: the units' typical median and 99th percentile.

    Raises:
        GlossaeError: multiples of the 99th percentile are asked for and a unit never fires on the target.
    """
    if not ranges:
        return []
    if unit == "p99":
        if any(r.p99 <= 0 for r in ranges):
            raise GlossaeError(
                "effects.unit: p99 needs units that fire with positive values on the target's text"
            )
        medians = sorted(r.median / r.p99 for r in ranges)
        in_range = [medians[len(medians) // 2], 1.0]
    else:
        # where the units differ much, the mean of the medians is more than one of them ever emits
        lowest = min(r.p99 for r in ranges)
        in_range = [min(sum(r.median for r in ranges) / len(ranges), lowest), lowest]
    result = []
    for value in sorted({0.0, *values, *in_range}):
        targets = tuple(value * (r.p99 if unit == "p99" else 1.0) for r in ranges)
        result.append(Dose(value, targets, all(t in r for t, r in zip(targets, ranges, strict=True))))
    return result
