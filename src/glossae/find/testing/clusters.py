"""Which sentences depend on each other: those that share a pair or a document."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int

from glossae.units import SentenceTable


@dataclass(frozen=True)
class Clusters:
    """The sentences of a table by cluster and language; a cluster is a pair or a document with all of its sentences.

    Attributes:
        languages: the codes, sorted.
        order: the table's rows, sorted by cluster and by language within it.
        language: of each row in that order, its place in `languages`.
        cluster: of each row in that order.
        counts: how many sentences of each language a cluster has.
    """

    languages: tuple[str, ...]
    order: Int[np.ndarray, " sentences"]
    language: Int[np.ndarray, " sentences"]
    cluster: Int[np.ndarray, " sentences"]
    counts: Int[np.ndarray, "clusters languages"]

    @staticmethod
    def of(table: SentenceTable) -> "Clusters":
        """Those of a table."""
        languages = table.present
        language = np.searchsorted(np.array(languages), table.languages.astype(str))
        names, cluster = np.unique(table.clusters.astype(str), return_inverse=True)
        order = np.lexsort((language, cluster))
        size = len(names) * len(languages)
        counts = np.bincount(cluster * len(languages) + language, minlength=size)
        return Clusters(
            languages,
            order,
            language[order],
            cluster[order],
            counts.reshape(len(names), len(languages)),
        )

    @cached_property
    def n(self) -> Int[np.ndarray, " languages"]:
        """The sentences of each language."""
        return np.asarray(self.counts.sum(0))

    @cached_property
    def lone(self) -> bool:
        """Whether every sentence is a cluster of its own."""
        return len(self.counts) == len(self.order)

    @cached_property
    def single(self) -> bool:
        """Whether no cluster has two sentences of one language."""
        return bool((self.counts <= 1).all())
