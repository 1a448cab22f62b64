"""What every unit did on every sentence: the table that tests, scores and identification read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int, Shaped
from scipy.sparse import csc_array, sparray

from glossae.errors import GlossaeError
from glossae.text import cluster_names


@dataclass(frozen=True)
class SentenceTable:
    """Each unit's mean value on each sentence; memory is the number of entries that are not zero.

    Tokens of a sentence depend on each other, and so do sentences of one pair, which are translations of each other,
    and of one document. What is drawn independently are clusters.

    Attributes:
        values: `(sentences, units)` float32, by column: the mean over the sentence's tokens of what the unit
            reads, 0 at a token where it does not fire; of a direction, of all it reads. What is not stored is 0.
            Indices are sorted.
        fired: `(sentences, units)` int32, by column: on how many of the sentence's tokens the unit fires.
        tokens: of each sentence.
        languages: the code of each sentence.
        sources: the source of each sentence.
        pairs: the pair of each sentence.
        identity: whose units these are, `KIND SITE HASH`; tables of different units are never joined.
        docs: the document of each sentence, empty where none is told; None where none is told of any.
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
        """How many units it has."""
        return int(self.values.shape[1])

    @cached_property
    def present(self) -> tuple[str, ...]:
        """The languages that occur, sorted."""
        return tuple(sorted(set(self.languages.tolist())))

    @cached_property
    def clusters(self) -> Shaped[np.ndarray, " sentences"]:
        """The cluster of each sentence: its pair, with the pairs and documents that it shares sentences with."""
        if self.docs is None:
            return self.pairs
        return np.array(cluster_names(self.pairs.tolist(), self.docs.tolist()), dtype=np.str_)

    def rows(self, language: str) -> Int[np.ndarray, " chosen"]:
        """The numbers of a language's sentences."""
        return np.flatnonzero(self.languages == language)

    def take(self, rows: Sequence[int] | np.ndarray) -> "SentenceTable":
        """The sentences with these numbers, in this order."""
        index = np.asarray(rows, dtype=np.int64)
        return SentenceTable(
            values=_by_column(self.values.tocsr()[index]),
            fired=_by_column(self.fired.tocsr()[index]),
            tokens=self.tokens[index],
            languages=self.languages[index],
            sources=self.sources[index],
            pairs=self.pairs[index],
            identity=self.identity,
            docs=None if self.docs is None else self.docs[index],
        )

    def columns(self, units: Sequence[int] | np.ndarray) -> "SentenceTable":
        """The same sentences, and these units only, in this order."""
        index = np.asarray(units, dtype=np.int64)
        return SentenceTable(
            values=_by_column(self.values[:, index]),
            fired=_by_column(self.fired[:, index]),
            tokens=self.tokens,
            languages=self.languages,
            sources=self.sources,
            pairs=self.pairs,
            identity=self.identity,
            docs=self.docs,
        )

    def chunks(self, entries: int = 4_000_000) -> Iterator[tuple[int, int]]:
        """Runs of units `(first, last + 1)` with at most about so many entries each, at least one unit."""
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
            GlossaeError: they are tables of different units.
        """
        from scipy.sparse import vstack

        first = tables[0]
        for table in tables[1:]:
            if table.identity != first.identity:
                raise GlossaeError(f"these are different units: {first.identity} and {table.identity}")
        return SentenceTable(
            values=_by_column(vstack([table.values for table in tables])),
            fired=_by_column(vstack([table.fired for table in tables])),
            tokens=np.concatenate([table.tokens for table in tables]),
            languages=np.concatenate([table.languages for table in tables]),
            sources=np.concatenate([table.sources for table in tables]),
            pairs=np.concatenate([table.pairs for table in tables]),
            identity=first.identity,
            docs=None
            if all(table.docs is None for table in tables)
            else np.concatenate(
                [np.full(len(table), "") if table.docs is None else table.docs for table in tables]
            ),
        )


def _by_column(matrix: sparray) -> csc_array:
    by_column = csc_array(matrix)
    by_column.sort_indices()
    return by_column
