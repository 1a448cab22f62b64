"""A set of units as one score of a sentence: whom it ranks above whom."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float32
from scipy.sparse import csc_array

from glossae.errors import GlossaeError
from glossae.files import fingerprint
from glossae.find.testing.auroc import AurocTable, auroc_table
from glossae.find.testing.frozen import FrozenSet
from glossae.units import SentenceTable


@dataclass(frozen=True)
class SetScore:
    """The mean of a frozen set's standardised values.

    Each unit's value on a sentence is divided by its standard deviation over the sentences that the set was found on,
    so that no unit counts for more because its values are larger. Means are not taken off: that would shift all
    sentences alike, and change no rank.

    Attributes:
        units: their numbers.
        deviation: the standard deviation of each on the text that the set was found on.
        identity: whose units these are.
    """

    units: tuple[int, ...]
    deviation: Float[np.ndarray, " units"]
    identity: str

    @staticmethod
    def of(frozen: FrozenSet, table: SentenceTable) -> "SetScore":
        """The score of a frozen set, scaled by the table that it was found on.

        Raises:
            GlossaeError: the set is empty, or the table is of other units.
        """
        frozen.check_units(table.identity)
        if not frozen.units:
            raise GlossaeError(
                f"the frozen set of {frozen.claim} is empty: there is nothing to take the mean of"
            )
        values = csc_array(table.columns(frozen.units).values, dtype=np.float64)
        mean = np.asarray(values.mean(axis=0)).ravel()
        squares = np.asarray(values.power(2).mean(axis=0)).ravel()
        return SetScore(frozen.units, np.sqrt(np.maximum(squares - mean**2, 0)), table.identity)

    def values(self, table: SentenceTable) -> Float32[np.ndarray, " sentences"]:
        """The score of every sentence; a unit that was the same everywhere on the text it was found on adds nothing.

        Raises:
            GlossaeError: the table is of other units.
        """
        if table.identity != self.identity:
            raise GlossaeError(f"these are different units: {self.identity} and {table.identity}")
        weight = np.divide(1.0, self.deviation, out=np.zeros_like(self.deviation), where=self.deviation > 0)
        values = csc_array(table.columns(self.units).values, dtype=np.float64)
        return np.asarray(values @ (weight / len(weight)), dtype=np.float32)

    def auroc(self, table: SentenceTable, rows: Sequence[int] | np.ndarray | None = None) -> AurocTable:
        """AUROC of the score, as the one unit of the result, on all sentences or on those with the numbers `rows`.

        Raises:
            GlossaeError: the table is of other units.
        """
        column = csc_array(self.values(table)[:, None])
        named = f"set {fingerprint({'units': self.units, 'of': self.identity})}"
        silent = csc_array(column.shape, dtype=np.int32)
        scored = replace(table, values=column, fired=silent, identity=named)
        return auroc_table(scored if rows is None else scored.take(rows))
