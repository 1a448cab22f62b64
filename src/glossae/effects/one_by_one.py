"""Every selected unit alone, and the set without it: which of them does the work."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from glossae.effects.edits import Edit
from glossae.effects.next_token import Measured, cells
from glossae.lm import TokenizedCorpus

Way = Literal["alone", "left out"]


@dataclass(frozen=True)
class Part:
    """What a part of a set does to a language: one unit alone, or all but that one.

    Attributes:
        units: the set's name.
        unit: the unit.
        way: `alone`, or `left out`.
        delta: the change of the loss from no edit, nats per token, with its 95 % interval.
    """

    units: str
    unit: int
    way: Way
    edit: str
    value: float | None
    language: str
    delta: float
    ci_low: float
    ci_high: float


def part_edits(edit: Edit) -> list[tuple[int, Way, Edit]]:
    """An edit of each of its units alone, and of all but that one; of one unit there is nothing to leave out."""
    parts: list[tuple[int, Way, Edit]] = []
    for place, unit in enumerate(edit.units):
        ways: list[tuple[Way, list[int]]] = [("alone", [place])]
        if len(edit.units) > 1:
            ways.append(("left out", [other for other in range(len(edit.units)) if other != place]))
        for way, kept in ways:
            targets = tuple(edit.targets[i] for i in kept) if edit.targets else ()
            units = tuple(edit.units[i] for i in kept)
            parts.append(
                (unit, way, Edit(edit.operation, units, targets, edit.splice, edit.value, edit.positions))
            )
    return parts


def part_rows(
    parts: Sequence[tuple[int, Way, Edit]],
    measured: Sequence[Measured],
    tokens: TokenizedCorpus,
    *,
    name: str,
    draws: int,
    seed: int,
) -> list[Part]:
    """A row for each part and language.

    Args:
        parts: as `part_edits` gives them.
        measured: no edit, then each part's edit.
        tokens: the text.
        name: of the set.
        draws: resamples behind an interval.
        seed: of the resamples.
    """
    rows = []
    table = cells(measured, tokens, name=name, draws=draws, seed=seed, by_source=False)
    for start in range(0, len(table), len(measured)):
        # no edit comes first in every language
        for (unit, way, edit), cell in zip(parts, table[start + 1 : start + len(measured)], strict=True):
            rows.append(
                Part(
                    name,
                    unit,
                    way,
                    edit.operation,
                    edit.value,
                    cell.language,
                    cell.delta,
                    cell.ci_low,
                    cell.ci_high,
                )
            )
    return rows
