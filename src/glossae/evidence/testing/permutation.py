"""Permuted labels and random signs: the null "no difference", and p-values adjusted for many units."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int, Int8, UInt8
from scipy.sparse import csr_array
from scipy.stats import norm

from glossae.evidence.testing.auroc import AurocTable, Clusters, placements
from glossae.units import SentenceTable

Comparison: TypeAlias = tuple[str, str]
"""Target and reference."""
Centre: TypeAlias = tuple[Float[np.ndarray, " units"], Float[np.ndarray, " draws"] | None]
"""A term subtracted from a sum: a value for each unit, times a factor for each draw; None for 1."""

ALPHAS = (0.05, 0.001)
DENSE = 0.05
"""From this share of stored values on, a dense matrix product is faster (measured on two cores)."""
BLOCK = 128
"""Units whose sums are held at once: half a megabyte with a thousand draws, which stays in the cache."""


@dataclass(frozen=True)
class Permutations:
    """Every unit's rank sum under permuted labels, comparison by comparison.

    Attributes:
        comparisons: target and reference of each row.
        z: each unit's rank sum, standardised by its exact moments over all permutations; 0 if it never varies.
        maxima: for each drawn permutation, the largest z of any unit.
        below: for each of `ALPHAS`, the share of drawn permutations and varying units with a p-value below it.
    """

    comparisons: tuple[Comparison, ...]
    z: Float[np.ndarray, "comparisons units"]
    maxima: Float[np.ndarray, "comparisons permutations"]
    below: Float[np.ndarray, "comparisons alphas"]


def permutations(
    table: SentenceTable,
    comparisons: Sequence[Comparison],
    *,
    draws: int = 1000,
    seed: int = 0,
    progress: Callable[[float], None] = lambda _: None,
) -> Permutations:
    """Moments over all permutations, and the maxima over units in `draws` of them, in one pass over the table.

    A comparison's permutations depend on the seed, its languages and the pairs, not on any order. For each run
    of units and each comparison they are one product, (units x sentences) x (sentences x draws), with ranks
    counted from that of zero, so that values that are not stored add nothing.

    Raises:
        GlossaeError: a value is not finite.
    """
    clusters = Clusters.of(table)
    shuffles = [Shuffle.of(clusters, *comparison) for comparison in comparisons]
    deals = [
        shuffle.draw(draws, np.random.default_rng([seed, *"/".join(comparison).encode()]))
        for shuffle, comparison in zip(shuffles, comparisons, strict=True)
    ]
    cuts = [float(norm.isf(alpha)) for alpha in ALPHAS]
    z = np.zeros((len(comparisons), table.units))
    maxima = np.full((len(comparisons), draws), -np.inf)
    below, varying = np.zeros((len(comparisons), len(ALPHAS))), np.zeros(len(comparisons))
    for part in placements(table, clusters):
        units = len(part.zero)
        for row, (comparison, shuffle, deal) in enumerate(zip(comparisons, shuffles, deals, strict=True)):
            place = shuffle.place[part.row]
            chosen = np.flatnonzero(place >= 0)
            a, b = (clusters.languages.index(language) for language in comparison)
            # the place among both languages together is the rank, up to a constant
            rank = part.above[a, chosen] + part.above[b, chosen]
            unit, place = part.unit[chosen], place[chosen]
            observed, mean, variance = shuffle.moments(unit, place, rank, units)
            varies = variance > 0
            deviation = np.sqrt(np.where(varies, variance, 1.0))
            z[row, part.first : part.first + units] = np.where(varies, (observed - mean) / deviation, 0.0)
            if draws and varies.any():
                weights = sparse_rows(unit, place, rank, (units, len(deal)))[varies]
                largest, above = largest_scores(
                    weights, signs(deal, draws), [(mean[varies], None)], deviation[varies], cuts
                )
                maxima[row] = np.maximum(maxima[row], largest)
                below[row] += above
                varying[row] += weights.shape[0] * draws
        progress((part.first + units) / table.units)
    return Permutations(tuple(comparisons), z, maxima, below / np.maximum(varying, 1)[:, None])


@dataclass(frozen=True)
class Multipliers:
    """The distribution of the largest of the units' scores by chance, at any AUROC.

    Attributes:
        comparisons: target and reference of each row.
        maxima: for each draw, the largest score of any unit.
    """

    comparisons: tuple[Comparison, ...]
    maxima: Float[np.ndarray, "comparisons draws"]

    def adjusted(
        self, score: Float[np.ndarray, "comparisons units"], comparisons: Sequence[Comparison]
    ) -> Float[np.ndarray, " units"]:
        """Single-step max-T adjusted p-values of a claim, for each unit's smallest score over its comparisons.

        A claim is wrong if any one comparison is null, and that one may differ between units; so a score is
        compared with the largest over all units and all of the claim's comparisons, which share their draws.

        Args:
            score: `studentised`, a row for each comparison.
            comparisons: the rows.
        """
        rows = [self.comparisons.index(comparison) for comparison in comparisons]
        maxima = np.sort(self.maxima[rows].max(0))
        reached = len(maxima) - np.searchsorted(maxima, score.min(0), side="left")
        return np.asarray((1 + reached) / (1 + len(maxima)))


def multipliers(
    table: SentenceTable,
    auroc: AurocTable,
    comparisons: Sequence[Comparison],
    *,
    draws: int = 1000,
    seed: int = 0,
    progress: Callable[[float], None] = lambda _: None,
) -> Multipliers:
    """Draw the largest score: a random sign for each cluster's influence (Chernozhukov, Chetverikov and Kato 2013).

    An estimate is its AUROC plus a sum of influences, the placement values less their mean, and the sum of
    squares over clusters is its variance (see `auroc_table`). With a random sign for each cluster the same sum
    has mean 0, that variance and, between units and comparisons, the estimates' own covariances.

    Permuted labels would be wrong here: they belong to an AUROC of 0.5. Under a null of 0.8, pooling the
    groups makes units that differ look more dependent on each other than their estimates are, and the largest
    score too small. With 60 units at an AUROC of exactly 0.8, correlated 0.75 within languages, and 80 pairs,
    the family-wise error at 0.1 was 27 of 120 with permuted labels.
    """
    clusters = Clusters.of(table)
    generator = np.random.default_rng(seed)
    bits = generator.integers(0, 256, size=(len(clusters.counts), -(-draws // 8)), dtype=np.uint8)
    drawn = signs(bits, draws)
    # the sum of the signs of all sentences of each language
    total = clusters.counts.T.astype(np.float32) @ drawn
    maxima = np.full((len(comparisons), draws), -np.inf)
    for part in placements(table, clusters):
        run = slice(part.first, part.first + len(part.zero))
        for row, (target, reference) in enumerate(comparisons):
            a, b = clusters.languages.index(target), clusters.languages.index(reference)
            pairs = 2.0 * clusters.n[a] * clusters.n[b]
            deviation = auroc.se[run, a, b] * pairs
            varies = np.flatnonzero(deviation > 0)
            if not len(varies):
                continue
            # the stored sentences' places above zero, each among the other language; negative for those of `b`
            present = np.asarray(clusters.counts[:, [a, b]].any(1))
            language = clusters.language[part.row]
            chosen = np.flatnonzero((language == a) | (language == b))
            weight = np.where(language[chosen] == a, part.above[b, chosen], -part.above[a, chosen])
            cluster = (np.cumsum(present) - 1)[clusters.cluster[part.row[chosen]]]
            shape = (len(part.zero), int(present.sum()))
            weights = sparse_rows(part.unit[chosen], cluster, weight, shape)[varies]
            # values that are not stored have an influence too: all sentences less the mean of their language
            centres = []
            for own, other, way in ((a, b, 1), (b, a, -1)):
                mean = 2.0 * clusters.n[other] * auroc.estimate[run, own, other] - part.zero[:, other]
                centres.append((way * mean[varies], total[own]))
            largest, _ = largest_scores(weights, drawn[present], centres, deviation[varies])
            maxima[row] = np.maximum(maxima[row], largest)
        progress(run.stop / table.units)
    return Multipliers(tuple(comparisons), maxima)


@dataclass(frozen=True)
class Shuffle:
    """The permutations of the labels of two languages that keep clusters together.

    A cluster with sentences of both languages permutes its labels: a pair flips. A cluster of one language
    exchanges its language with another of the same size.

    Attributes:
        place: for each row of the clusters, its number among the rows of the two languages; -1 for other rows.
        label: for each of those, 1 for the target and -1 for the reference.
        cluster: for each of those.
        counts: sentences of target and reference in each cluster.
    """

    place: Int[np.ndarray, " rows"]
    label: Int8[np.ndarray, " sentences"]
    cluster: Int[np.ndarray, " sentences"]
    counts: Int[np.ndarray, "clusters 2"]

    @staticmethod
    def of(clusters: Clusters, target: str, reference: str) -> "Shuffle":
        """The permutations of one comparison."""
        a, b = clusters.languages.index(target), clusters.languages.index(reference)
        rows = np.flatnonzero((clusters.language == a) | (clusters.language == b))
        place = np.full(len(clusters.language), -1)
        place[rows] = np.arange(len(rows))
        label = np.where(clusters.language[rows] == a, 1, -1).astype(np.int8)
        return Shuffle(place, label, clusters.cluster[rows], clusters.counts[:, [a, b]])

    def moments(
        self,
        unit: Int[np.ndarray, " entries"],
        place: Int[np.ndarray, " entries"],
        rank: Int[np.ndarray, " entries"],
        units: int,
    ) -> tuple[Float[np.ndarray, " units"], Float[np.ndarray, " units"], Float[np.ndarray, " units"]]:
        """Rank sums of the target less those of the reference, with exact mean and variance over all permutations.

        An entry has its unit (ascending), its sentence among those of the two languages, and its rank among
        them (the midrank of ties), counted from the rank of zero and doubled.

        Assigning p labels of one kind and q of another to values c_1 ... c_s gives the difference of the two
        sums a mean of (p - q) / s sum(c) and a variance of 4 p q / (s (s - 1)) (sum(c^2) - sum(c)^2 / s)
        (Lehmann 1975, appendix 4). For a pair the variance is the squared difference of its ranks. Clusters
        are independent.
        """

        def by_unit(unit: np.ndarray, weight: np.ndarray) -> np.ndarray:
            return np.bincount(unit, weight, minlength=units).astype(np.float64)

        value = rank.astype(np.float64)
        observed = by_unit(unit, value * self.label[place])
        cluster = self.cluster[place]
        # one sum for each unit and cluster, whose entries are neighbours
        begins = np.flatnonzero(
            np.diff(unit, prepend=-1).astype(bool) | np.diff(cluster, prepend=-1).astype(bool)
        )
        total = np.add.reduceat(value, begins) if len(begins) else value
        first, of = unit[begins], cluster[begins]
        p, q = self.counts[of].T.astype(np.float64)
        size = p + q
        mean = by_unit(first, np.where(p * q > 0, (p - q) / size, 0.0) * total)
        # 0 for a cluster of one language
        deal = 4 * self.counts.prod(1) / np.maximum(self._size * (self._size - 1), 1)
        variance = by_unit(unit, deal[cluster] * value**2) - by_unit(first, deal[of] * total**2 / size)
        for members, targets in self._strata():
            among = np.zeros(len(self.counts), dtype=bool)
            among[members] = True
            chosen, s = among[of], len(members)
            if s < 2:
                mean += by_unit(first[chosen], total[chosen]) * (2 * targets - s)
                continue
            sums = by_unit(first[chosen], total[chosen])
            squares = by_unit(first[chosen], total[chosen] ** 2)
            mean += sums * (2 * targets - s) / s
            variance += 4 * targets * (s - targets) / (s * (s - 1)) * (squares - sums**2 / s)
        return observed, mean, np.maximum(variance, 0)

    def draw(self, count: int, generator: np.random.Generator) -> UInt8[np.ndarray, "sentences bytes"]:
        """Draw permutations: a sentence's bit is set if it gets the target's label; eight permutations per byte."""
        target = np.zeros((len(self.label), count), dtype=bool)
        target[self.label > 0] = True
        first = np.searchsorted(self.cluster, np.arange(len(self.counts)))
        for shape in np.unique(self.counts, axis=0):
            if not shape.all():
                continue
            # rows of a cluster are neighbours, in the order of their languages
            begins = first[(self.counts == shape).all(1)]
            rows = begins[:, None] + np.arange(shape.sum())
            if shape.sum() == 2:
                flip = generator.integers(0, 2, size=(len(begins), count), dtype=np.uint8).astype(bool)
                target[rows] ^= flip[:, None]
            else:
                target[rows] = generator.permuted(target[rows].swapaxes(1, 2), axis=2).swapaxes(1, 2)
        for members, targets in self._strata():
            dealt = np.zeros((count, len(members)), dtype=bool)
            dealt[:, :targets] = True
            dealt = generator.permuted(dealt, axis=1).T
            for sentence in range(int(self._size[members[0]])):
                target[first[members] + sentence] = dealt
        return np.packbits(target, axis=1)

    @property
    def _size(self) -> Int[np.ndarray, " clusters"]:
        return np.asarray(self.counts.sum(1))

    def _strata(self) -> list[tuple[Int[np.ndarray, " members"], int]]:
        """The clusters of one language by size, and how many of each size are the target's."""
        lone = (self.counts.prod(1) == 0) & (self._size > 0)
        return [
            (members, int((self.counts[members, 0] > 0).sum()))
            for size in np.unique(self._size[lone])
            for members in [np.flatnonzero(lone & (self._size == size))]
        ]


def signs(bits: UInt8[np.ndarray, "sentences bytes"], draws: int) -> Float[np.ndarray, "sentences draws"]:
    """1 where a bit is set and -1 where it is not."""
    drawn = np.unpackbits(bits, axis=1, count=draws).astype(np.float32)
    drawn *= 2
    drawn -= 1
    return drawn


def sparse_rows(
    unit: Int[np.ndarray, " entries"],
    sentence: Int[np.ndarray, " entries"],
    weight: np.ndarray,
    shape: tuple[int, int],
) -> csr_array:
    """`(units, sentences)` float32, from entries in the order of their units; entries of one place add up."""
    indptr = np.searchsorted(unit, np.arange(shape[0] + 1))
    return csr_array((weight.astype(np.float32), sentence, indptr), shape=shape)


def largest_scores(
    weights: csr_array,
    drawn: Float[np.ndarray, "sentences draws"],
    centres: Sequence[Centre],
    deviation: Float[np.ndarray, " units"],
    cuts: Sequence[float] = (),
) -> tuple[Float[np.ndarray, " draws"], Int[np.ndarray, " cuts"]]:
    """The largest of the units' scores, (weights @ drawn - centres) / deviation, in each draw.

    And for each cut, the number of larger scores over units and draws. There are far more scores than stored
    values, and several passes over all of them would cost more than the product. So blocks are computed,
    standardised and reduced one at a time, on as many threads as torch has. The results do not depend on the
    order of the blocks.

    Args:
        weights: `(units, sentences)` float32, of stored values.
        drawn: the signs.
        centres: subtracted one after the other.
        deviation: positive, of each unit.
        cuts: the thresholds above which scores are counted.

    Returns:
        The maxima (minus infinity without units), and the counts.
    """
    full = np.diff(weights.indptr) > DENSE * len(drawn)
    signs_of = torch.from_numpy(drawn)
    taken = [(value.astype(np.float32)[:, None], factor) for value, factor in centres]
    scale = deviation.astype(np.float32)[:, None]

    def sparse(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return reduced(rows, weights[rows] @ drawn)

    def dense(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return reduced(rows, (torch.from_numpy(weights[rows].toarray()) @ signs_of).numpy())

    def reduced(rows: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        for value, factor in taken:
            scores -= value[rows] if factor is None else value[rows] * factor
        scores /= scale[rows]
        return scores.max(0), np.array([np.count_nonzero(scores > cut) for cut in cuts], dtype=int)

    def blocks(chosen: np.ndarray) -> list[np.ndarray]:
        units = np.flatnonzero(chosen)
        return [units[first : first + BLOCK] for first in range(0, len(units), BLOCK)]

    # a dense product already uses torch's threads
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        parts = [*pool.map(sparse, blocks(~full)), *map(dense, blocks(full))]
    maxima = np.max([np.full(drawn.shape[1], -np.inf), *(largest for largest, _ in parts)], axis=0)
    return maxima, np.sum([np.zeros(len(cuts), dtype=int), *(above for _, above in parts)], axis=0)
