"""The sentence table: the mean value of every unit on every sentence, for tests, scores and identification."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from scipy.sparse import coo_array, csc_array, sparray, vstack
from torch import Tensor

from glossae import ranks
from glossae.corpora import cluster_names
from glossae.errors import GlossaeError
from glossae.lm import TokenizedCorpus
from glossae.units.kinds import Units


@dataclass(frozen=True)
class SentenceTable:
    """Each unit's mean value on each sentence; memory is proportional to the nonzero entries.

    Tokens of a sentence depend on each other, and so do sentences of one pair, which are translations of each
    other, and of one document. Clusters of such sentences are independent draws.

    Attributes:
        values: `(sentences, units)` float32, by column: the mean over the sentence's tokens of the unit's
            value, 0 at a token where it does not fire; for a direction, of all its values. Entries that are
            not stored are 0. Indices are sorted.
        fired: `(sentences, units)` int32, by column: the number of the sentence's tokens on which the unit
            fires.
        tokens: the number of tokens of each sentence.
        languages: the code of each sentence.
        sources: the source of each sentence.
        pairs: the pair of each sentence.
        identity: identifies the units, `KIND SITE HASH`; tables of different units are never joined.
        docs: the document of each sentence, empty if unknown; None if all are unknown.
    """

    values: csc_array
    fired: csc_array
    tokens: Int[np.ndarray, " sentences"]
    languages: Shaped[np.ndarray, " sentences"]
    sources: Shaped[np.ndarray, " sentences"]
    pairs: Shaped[np.ndarray, " sentences"]
    identity: str
    docs: Shaped[np.ndarray, " sentences"] | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def units(self) -> int:
        """The number of units."""
        return int(self.values.shape[1])

    @cached_property
    def present(self) -> tuple[str, ...]:
        """The languages that occur, sorted."""
        return tuple(sorted(set(self.languages.tolist())))

    @cached_property
    def clusters(self) -> Shaped[np.ndarray, " sentences"]:
        """The cluster of each sentence: sentences that share pairs or documents, directly or through others."""
        if self.docs is None:
            return self.pairs
        return np.array(cluster_names(self.pairs.tolist(), self.docs.tolist()), dtype=np.str_)

    def rows(self, language: str) -> Int[np.ndarray, " chosen"]:
        """The numbers of a language's sentences."""
        return np.flatnonzero(self.languages == language)

    def take(self, rows: Sequence[int] | np.ndarray) -> "SentenceTable":
        """The sentences with these numbers, in this order."""
        index = np.asarray(rows, dtype=np.int64)
        return replace(
            self,
            values=_by_column(self.values.tocsr()[index]),
            fired=_by_column(self.fired.tocsr()[index]),
            tokens=self.tokens[index],
            languages=self.languages[index],
            sources=self.sources[index],
            pairs=self.pairs[index],
            docs=None if self.docs is None else self.docs[index],
        )

    def columns(self, units: Sequence[int] | np.ndarray) -> "SentenceTable":
        """The same sentences, and these units only, in this order."""
        index = np.asarray(units, dtype=np.int64)
        return replace(self, values=_by_column(self.values[:, index]), fired=_by_column(self.fired[:, index]))

    def chunks(self, entries: int = 4_000_000) -> Iterator[tuple[int, int]]:
        """Runs of units `(first, last + 1)` with at most about `entries` entries each, at least one unit."""
        first = 0
        while first < self.units:
            last = int(np.searchsorted(self.values.indptr, self.values.indptr[first] + entries, "right")) - 1
            last = min(max(last, first + 1), self.units)
            yield first, last
            first = last

    @staticmethod
    def join(tables: Sequence["SentenceTable"]) -> "SentenceTable":
        """The sentences of several tables of the same units, one after the other.

        Raises:
            GlossaeError: the tables are of different units.
        """
        first = tables[0]
        for table in tables[1:]:
            if table.identity != first.identity:
                raise GlossaeError(f"these are different units: {first.identity} and {table.identity}")
        docs = None
        if any(table.docs is not None for table in tables):
            docs = np.concatenate([np.full(len(t), "") if t.docs is None else t.docs for t in tables])
        return replace(
            first,
            values=_by_column(vstack([table.values for table in tables])),
            fired=_by_column(vstack([table.fired for table in tables])),
            tokens=np.concatenate([table.tokens for table in tables]),
            languages=np.concatenate([table.languages for table in tables]),
            sources=np.concatenate([table.sources for table in tables]),
            pairs=np.concatenate([table.pairs for table in tables]),
            docs=docs,
        )


class TableBuilder:
    """Builds a sentence table batch by batch; memory is 16 bytes per entry.

    Args:
        tokens: the sentences; the table has a row for each, in this order.
        units: the units of the table.
    """

    def __init__(self, tokens: TokenizedCorpus, units: Units) -> None:
        self._corpus, self._identity = tokens.corpus, units.identity
        self._shape = (len(tokens), len(units))
        self._tokens = np.zeros(len(tokens), dtype=np.int64)
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []

    def sentences(self, numbers: Int[Tensor, " rows"], tokens: Int[Tensor, " rows"]) -> None:
        """Set the number of tokens of some sentences."""
        self._tokens[numbers.cpu().numpy()] = tokens.cpu().numpy()

    def add(
        self,
        sentence: Int[Tensor, " entries"],
        unit: Int[Tensor, " entries"],
        value_sum: Float[Tensor, " entries"],
        fired: Int[Tensor, " entries"],
    ) -> None:
        """Add entries, each sentence and unit once: the sum of the values, and the number of tokens that fire."""
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

    def join(self) -> None:
        """Take in what the other ranks have added, in joint work (`glossae.ranks`)."""
        if ranks.count() == 1:
            return
        ranks.sum_arrays("tokens of sentences", self._tokens)
        row, unit, mean, fired = (
            torch.cat(ranks.gather_lists(torch.from_numpy(own), "entries of a table")).numpy()
            for own in self._columns()
        )
        self._parts = [(row, unit, mean, fired)]

    def _columns(self) -> Iterator[np.ndarray]:
        """Row, unit, mean and tokens that fire, of every entry."""
        for i, dtype in enumerate((np.int32, np.int32, np.float32, np.int32)):
            yield np.concatenate([np.zeros(0, dtype), *(part[i] for part in self._parts)])

    def finish(self) -> SentenceTable:
        """Return the table."""
        row, unit, mean, fired = self._columns()
        self._parts.clear()
        sentences = self._corpus.sentences
        languages, sources, pairs, docs = (
            np.array([getattr(s, name) for s in sentences], dtype=np.str_)
            for name in ("language", "source", "pair", "doc")
        )
        return SentenceTable(
            values=_by_column(coo_array((mean, (row, unit)), shape=self._shape)),
            fired=_by_column(coo_array((fired, (row, unit)), shape=self._shape)),
            tokens=self._tokens,
            languages=languages,
            sources=sources,
            pairs=pairs,
            identity=self._identity,
            docs=docs if any(s.doc for s in sentences) else None,
        )


def _by_column(matrix: sparray) -> csc_array:
    by_column = csc_array(matrix)
    by_column.sort_indices()
    return by_column
