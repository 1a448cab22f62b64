"""A frozen set tested again on chosen sentences: whether it still holds where something else is held alike."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from glossae.errors import GlossaeError
from glossae.find.testing.auroc import AurocTable, auroc_table
from glossae.find.testing.fdr import q_values
from glossae.find.testing.frozen import FrozenSet
from glossae.find.testing.minimum import minimum_p
from glossae.find.testing.panel import check_power
from glossae.units import SentenceTable


@dataclass(frozen=True)
class Restricted:
    """A frozen set against one language, on some of another text's sentences.

    Attributes:
        other: the language.
        auroc: of the set's units, in its order, on these sentences.
        p: of each unit, for "AUROC of the target over the other is at most the set's minimum".
        reason: why there are too few sentences for any unit to pass; None where there are enough.
    """

    other: str
    auroc: AurocTable
    p: Float[np.ndarray, " units"]
    reason: str | None


def restrict(
    frozen: FrozenSet, table: SentenceTable, other: str, rows: Sequence[int] | np.ndarray, *, text: str
) -> Restricted:
    """Test a frozen set's target against one language, on the sentences `rows` of a text not looked at before.

    Args:
        frozen: the set.
        table: the same units on that text, all of them.
        other: the language.
        rows: numbers of sentences of the target and of `other`, such as matched ones; sentences in further languages
            play no part.
        text: the hash of the whole text.

    Raises:
        GlossaeError: the units are others, it is the text that the set was selected on, or one of the two languages
            has no sentence among the rows.
    """
    frozen.check_units(table.identity)
    frozen.check_text(text)
    part = table.columns(frozen.units).take(rows)
    for language in (frozen.target, other):
        if language not in part.present:
            raise GlossaeError(f"{frozen.claim}: none of the chosen sentences is in {language}")
    auroc, reason = auroc_table(part), None
    try:
        check_power(auroc, [(frozen.target, other)], max(len(frozen.units), 1), frozen.minimum, frozen.q)
    except GlossaeError as error:
        reason = str(error)
    p = minimum_p(auroc, frozen.target, other, frozen.minimum, method=frozen.method)
    return Restricted(other, auroc, p, reason)


def passing_restricted(frozen: FrozenSet, parts: Sequence[Restricted]) -> Bool[np.ndarray, " units"]:
    """Which of a frozen set's units pass against every language of `parts`, at the set's rate of false discoveries.

    A unit's p-value is the largest over the parts; Benjamini-Hochberg over the set gives q, as in `replicate`.

    Raises:
        GlossaeError: there is no part, or one has too few sentences.
    """
    if not parts:
        raise GlossaeError(f"{frozen.claim}: there is no language to test against")
    for part in parts:
        if part.reason is not None:
            raise GlossaeError(part.reason)
    passed: np.ndarray = q_values(np.max([part.p for part in parts], axis=0)) <= frozen.q
    return passed
