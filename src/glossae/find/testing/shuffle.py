"""What "no difference" leaves open: the ways to deal out the labels of two languages anew."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int8, UInt8

from glossae.find.testing.clusters import Clusters


class Moments(NamedTuple):
    """A unit's rank sum and its distribution over all deals.

    The sum is of the ranks, counted from that of zero and doubled, of the target less that of the reference.

    Attributes:
        observed: with the labels as they are.
        mean: over the deals.
        variance: over the deals.
    """

    observed: Float[np.ndarray, " units"]
    mean: Float[np.ndarray, " units"]
    variance: Float[np.ndarray, " units"]


class Entries(NamedTuple):
    """What is stored of some units on the sentences of two languages.

    Attributes:
        unit: of each entry, in order.
        place: its sentence, among those of the two languages.
        rank: its rank among them (midrank of ties), counted from the rank of zero and doubled.
    """

    unit: Int[np.ndarray, " entries"]
    place: Int[np.ndarray, " entries"]
    rank: Int[np.ndarray, " entries"]


@dataclass(frozen=True)
class Shuffle:
    """How the labels of two languages are dealt out, such that clusters stay together.

    In a cluster with sentences of both languages they are dealt out anew within it: a pair flips. The clusters of one
    language only exchange their language with those of the same size.

    Attributes:
        place: of each row of the clusters, its number among the rows of the two languages; -1 for other rows.
        label: of each of those, 1 for the target and -1 for the reference.
        cluster: of each of those.
        counts: sentences of target and reference in each cluster.
    """

    place: Int[np.ndarray, " rows"]
    label: Int8[np.ndarray, " sentences"]
    cluster: Int[np.ndarray, " sentences"]
    counts: Int[np.ndarray, "clusters 2"]

    @staticmethod
    def of(clusters: Clusters, target: str, reference: str) -> "Shuffle":
        """The deals of one comparison."""
        a, b = clusters.languages.index(target), clusters.languages.index(reference)
        rows = np.flatnonzero((clusters.language == a) | (clusters.language == b))
        place = np.full(len(clusters.language), -1)
        place[rows] = np.arange(len(rows))
        label = np.where(clusters.language[rows] == a, 1, -1).astype(np.int8)
        return Shuffle(place, label, clusters.cluster[rows], clusters.counts[:, [a, b]])

    def moments(self, entries: Entries, units: int) -> Moments:
        """The exact mean and variance of a rank sum over all deals, ties included.

        Dealing p labels of one kind and q of another to things of value c_1 ... c_s gives the difference of the two
        sums a mean of (p - q) / s sum(c) and a variance of 4 p q / (s (s - 1)) (sum(c^2) - sum(c)^2 / s)
        (Lehmann 1975, appendix 4). For a pair that is the squared difference of its ranks. Deals are independent.
        """

        def by_unit(unit: np.ndarray, weight: np.ndarray) -> np.ndarray:
            return np.bincount(unit, weight, minlength=units).astype(np.float64)

        rank = entries.rank.astype(np.float64)
        observed = by_unit(entries.unit, rank * self.label[entries.place])
        cluster = self.cluster[entries.place]
        # one sum for each unit and cluster: their entries stand together
        begins = np.flatnonzero(
            np.diff(entries.unit, prepend=-1).astype(bool) | np.diff(cluster, prepend=-1).astype(bool)
        )
        total = np.add.reduceat(rank, begins) if len(begins) else rank
        unit, of = entries.unit[begins], cluster[begins]
        p, q = self.counts[of].T.astype(np.float64)
        size = p + q
        mean = by_unit(unit, np.where(p * q > 0, (p - q) / size, 0.0) * total)
        # 0 for a cluster of one language
        deal = 4 * self.counts.prod(1) / np.maximum(self._size * (self._size - 1), 1)
        variance = by_unit(entries.unit, deal[cluster] * rank**2) - by_unit(unit, deal[of] * total**2 / size)
        for members, targets in self._strata():
            among = np.zeros(len(self.counts), dtype=bool)
            among[members] = True
            chosen, s = among[of], len(members)
            if s < 2:
                mean += by_unit(unit[chosen], total[chosen]) * (2 * targets - s)
                continue
            sums = by_unit(unit[chosen], total[chosen])
            squares = by_unit(unit[chosen], total[chosen] ** 2)
            mean += sums * (2 * targets - s) / s
            variance += 4 * targets * (s - targets) / (s * (s - 1)) * (squares - sums**2 / s)
        return Moments(observed, mean, np.maximum(variance, 0))

    def draw(self, count: int, generator: np.random.Generator) -> UInt8[np.ndarray, "sentences bytes"]:
        """So many deals: a bit of each sentence is set where it is the target's, eight deals to a byte."""
        target = np.zeros((len(self.label), count), dtype=bool)
        target[self.label > 0] = True
        first = np.searchsorted(self.cluster, np.arange(len(self.counts)))
        for shape in np.unique(self.counts, axis=0):
            if not shape.all():
                continue
            # rows of a cluster stand together, in the order of their languages
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
        """Of the clusters of one language, those of each size, and how many of them are the target's."""
        lone = (self.counts.prod(1) == 0) & (self._size > 0)
        return [
            (members, int((self.counts[members, 0] > 0).sum()))
            for size in np.unique(self._size[lone])
            for members in [np.flatnonzero(lone & (self._size == size))]
        ]
