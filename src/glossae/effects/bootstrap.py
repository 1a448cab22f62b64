"""Paired bootstrap over clusters of sentences, for ratios of sums."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

from glossae.text import Corpus

# resamples drawn at once, so that memory stays small for large corpora
CHUNK_VALUES = 2**24
# resamples of fewer values than this (16 MiB) are kept
KEPT_VALUES = 2**21


@dataclass(frozen=True)
class Clusters:
    """What is drawn whole: sentences that depend on each other, by document or by pair (`Corpus.clusters`).

    Sentences of one document vary together, so that a bootstrap over sentences gives intervals that are too narrow;
    one over clusters does not (Field and Welsh 2007, J. R. Stat. Soc. B 69, 369-390).

    Attributes:
        of: the cluster of each sentence, from 0.
        count: how many are drawn, those without any of these sentences included.
    """

    of: Int[np.ndarray, " sentences"]
    count: int

    @staticmethod
    def within(corpus: Corpus, chosen: Int[np.ndarray, " chosen"]) -> "Clusters":
        """Those that some sentences of a corpus have; clusters without them are not drawn."""
        names, of = np.unique(np.array(corpus.clusters)[chosen], return_inverse=True)
        return Clusters(of, len(names))

    @staticmethod
    def across(corpus: Corpus, language: str) -> "Clusters":
        """Those of a language's sentences, numbered and drawn such that languages can be held against each other.

        Languages that share clusters, also by way of others, are drawn together: with one seed, a resample has a
        document in all of them equally often. Others are drawn each by itself.
        """
        clusters = np.array(corpus.clusters)
        spoken = np.array([sentence.language for sentence in corpus.sentences])
        together = {language}
        while True:
            shared = np.isin(clusters, clusters[np.isin(spoken, list(together))])
            found = set(spoken[shared].tolist())
            if found == together:
                break
            together = found
        names = np.unique(clusters[shared])
        return Clusters(np.searchsorted(names, clusters[spoken == language]), len(names))

    def sums(self, table: Float[np.ndarray, "sentences columns"]) -> Float[np.ndarray, "clusters columns"]:
        """The sums over each cluster."""
        found = np.zeros((self.count, table.shape[1]))
        np.add.at(found, self.of, table)
        return found


def resampled_ratios(
    numerators: Sequence[Float[np.ndarray, " sentences"]],
    denominator: np.ndarray,
    *,
    draws: int,
    seed: int,
    clusters: Clusters | None = None,
) -> Float[np.ndarray, "draws numerators"]:
    """For each resample of the clusters, sum(numerator) / sum(denominator) for every numerator.

    All numerators share the resamples, so their differences are paired. Without `clusters` sentences are resampled.
    """
    sums = resampled_sums([*numerators, denominator], draws=draws, seed=seed, clusters=clusters)
    ratios: Float[np.ndarray, "draws numerators"] = sums[:, :-1] / sums[:, -1:]
    return ratios


def resampled_sums(
    columns: Sequence[np.ndarray], *, draws: int, seed: int, clusters: Clusters | None = None
) -> Float[np.ndarray, "draws columns"]:
    """The sums of some columns, a value for each sentence, over each resample of the clusters, or of the sentences."""
    table = np.stack(columns, axis=1).astype(np.float64)
    if clusters is not None:
        table = clusters.sums(table)
    count = len(table)
    if draws * count <= KEPT_VALUES:
        kept: Float[np.ndarray, "draws columns"] = _kept_weights(count, draws, seed) @ table
        return kept
    generator = np.random.default_rng(seed)
    sums = np.empty((draws, table.shape[1]))
    chunk = max(1, CHUNK_VALUES // count)
    for start in range(0, draws, chunk):
        size = min(chunk, draws - start)
        sums[start : start + size] = _weights(generator, count, size) @ table
    return sums


def _weights(generator: np.random.Generator, count: int, draws: int) -> Float[np.ndarray, "draws clusters"]:
    """How often each cluster is in each resample."""
    return generator.multinomial(count, np.full(count, 1 / count), size=draws).astype(np.float64)


@lru_cache(maxsize=8)
def _kept_weights(count: int, draws: int, seed: int) -> Float[np.ndarray, "draws clusters"]:
    """The weights of a seed: to draw them takes longer than to use them, and every set of units has the same."""
    return _weights(np.random.default_rng(seed), count, draws)


def interval(samples: Float[np.ndarray, " draws"]) -> tuple[float, float]:
    """The central 95 % of the resampled values; those that are NaN, of resamples without the language, are left out.

    Where nothing else is left, as of a loss that is NaN, both ends are NaN.
    """
    known = samples[~np.isnan(samples)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)
