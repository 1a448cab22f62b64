"""Bootstrap intervals of ratios of sums: clusters of sentences are resampled, and quantities share the resamples."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

from glossae.corpora import Corpus

# weights drawn at once, so that memory stays small for large corpora
CHUNK_VALUES = 2**24
# draws with fewer weights than this (16 MiB) are cached
KEPT_VALUES = 2**21


@dataclass(frozen=True)
class Clusters:
    """The cluster of each sentence: sentences of one document or pair (`Corpus.clusters`) are resampled together.

    Sentences of one document vary together, so that a bootstrap over sentences gives intervals that are too narrow;
    one over clusters does not (Field and Welsh 2007, J. R. Stat. Soc. B 69, 369-390).

    Attributes:
        of: the cluster of each sentence, from 0.
        count: the number of clusters that are drawn, those without any of these sentences included.
    """

    of: Int[np.ndarray, " sentences"]
    count: int

    @staticmethod
    def within(corpus: Corpus, chosen: Int[np.ndarray, " chosen"]) -> "Clusters":
        """The clusters of the chosen sentences; clusters without one of them are not drawn."""
        names, of = np.unique(np.array(corpus.clusters)[chosen], return_inverse=True)
        return Clusters(of, len(names))

    @staticmethod
    def across(corpus: Corpus, language: str) -> "Clusters":
        """The clusters of a language's sentences, drawn so that resamples of several languages are paired.

        Languages that share clusters, also by way of others, are drawn together: with one seed, a resample has a
        document in all of them equally often. Other languages are drawn each by itself.
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


def resampled_ratios(
    numerators: Sequence[Float[np.ndarray, " sentences"]],
    denominator: np.ndarray,
    *,
    draws: int,
    seed: int,
    clusters: Clusters | None = None,
) -> Float[np.ndarray, "draws numerators"]:
    """The ratio of each numerator's sum to the denominator's, in each resample (`resampled_sums`)."""
    sums = resampled_sums([*numerators, denominator], draws=draws, seed=seed, clusters=clusters)
    ratios: Float[np.ndarray, "draws numerators"] = sums[:, :-1] / sums[:, -1:]
    return ratios


def resampled_sums(
    columns: Sequence[np.ndarray], *, draws: int, seed: int, clusters: Clusters | None = None
) -> Float[np.ndarray, "draws columns"]:
    """The sums of columns, a value for each sentence, in each resample of the clusters.

    All columns share the resamples, so that their differences are paired. Without `clusters` sentences are resampled.
    """
    table = np.stack(columns, axis=1).astype(np.float64)
    if clusters is not None:
        of_sentence, table = table, np.zeros((clusters.count, table.shape[1]))
        np.add.at(table, clusters.of, of_sentence)
    count = len(table)
    if draws * count <= KEPT_VALUES:
        kept: Float[np.ndarray, "draws columns"] = _kept_weights(count, draws, seed) @ table
        return kept
    generator = np.random.default_rng(seed)
    sums = np.empty((draws, table.shape[1]))
    chunk = max(1, CHUNK_VALUES // count)
    for start in range(0, draws, chunk):
        size = min(chunk, draws - start)
        sums[start : start + size] = bootstrap_weights(generator, count, size) @ table
    return sums


def bootstrap_weights(
    generator: np.random.Generator, count: int, draws: int
) -> Float[np.ndarray, "draws clusters"]:
    """How often each of `count` clusters is in each resample."""
    return generator.multinomial(count, np.full(count, 1 / count), size=draws).astype(np.float64)


@lru_cache(maxsize=8)
def _kept_weights(count: int, draws: int, seed: int) -> Float[np.ndarray, "draws clusters"]:
    """The weights of a seed: drawing them takes longer than using them, and every set of units has the same."""
    return bootstrap_weights(np.random.default_rng(seed), count, draws)


def interval(samples: Float[np.ndarray, " draws"]) -> tuple[float, float]:
    """The central 95 % of resampled values, without those that are NaN (resamples without the language).

    Both ends are NaN where all values are.
    """
    known = samples[~np.isnan(samples)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.quantile(known, [0.025, 0.975])
    return float(low), float(high)
