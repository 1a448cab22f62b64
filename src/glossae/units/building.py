"""Building the sentence table batch by batch, entries only."""

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import coo_array, csc_array
from torch import Tensor

from glossae.lm import TokenizedCorpus
from glossae.units.protocol import Units
from glossae.units.table import SentenceTable


class TableBuilder:
    """A table in the making; memory is 16 bytes an entry.

    Args:
        tokens: the sentences; the table has a row for each, in this order.
        units: whose table it is.
    """

    def __init__(self, tokens: TokenizedCorpus, units: Units) -> None:
        self._corpus, self._identity = tokens.corpus, units.identity
        self._shape = (len(tokens), len(units))
        self._tokens = np.zeros(len(tokens), dtype=np.int64)
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []

    def sentences(self, numbers: Int[Tensor, " rows"], tokens: Int[Tensor, " rows"]) -> None:
        """Say how many tokens some sentences have."""
        self._tokens[numbers.cpu().numpy()] = tokens.cpu().numpy()

    def add(
        self,
        sentence: Int[Tensor, " entries"],
        unit: Int[Tensor, " entries"],
        value_sum: Float[Tensor, " entries"],
        fired: Int[Tensor, " entries"],
    ) -> None:
        """Add entries, no sentence and unit twice: the sum of a unit's values, and on how many tokens it fires."""
        row = sentence.cpu().numpy()
        mean = value_sum.cpu().numpy() / self._tokens[row]
        self._parts.append(
            (
                row.astype(np.int32),
                unit.to("cpu", torch.int32).numpy(),
                mean.astype(np.float32),
                fired.to("cpu", torch.int32).numpy(),
            )
        )

    def finish(self) -> SentenceTable:
        """The table."""
        kinds = (np.int32, np.int32, np.float32, np.int32)
        row, unit, mean, fired = (
            np.concatenate([np.zeros(0, dtype), *(part[i] for part in self._parts)])
            for i, dtype in enumerate(kinds)
        )
        self._parts.clear()
        sentences = self._corpus.sentences
        return SentenceTable(
            values=self._by_column(mean, row, unit),
            fired=self._by_column(fired, row, unit),
            tokens=self._tokens,
            languages=np.array([s.language for s in sentences], dtype=np.str_),
            sources=np.array([s.source for s in sentences], dtype=np.str_),
            pairs=np.array([s.pair for s in sentences], dtype=np.str_),
            identity=self._identity,
            docs=np.array([s.doc for s in sentences], dtype=np.str_)
            if any(s.doc for s in sentences)
            else None,
        )

    def _by_column(self, data: np.ndarray, row: np.ndarray, unit: np.ndarray) -> csc_array:
        matrix = coo_array((data, (row, unit)), shape=self._shape).tocsc()
        matrix.sort_indices()
        return matrix
