"""How well each unit tells any two languages apart, sentence by sentence: AUROC and its standard error."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit, logit
from scipy.stats import norm

from glossae.find.testing.clusters import Clusters
from glossae.find.testing.independence import Independence, independence
from glossae.find.testing.placements import ENTRIES, Placements, placements
from glossae.units import SentenceTable


@dataclass(frozen=True)
class AurocTable:
    """AUROC of every unit and every ordered pair of languages.

    Attributes:
        languages: the codes, sorted.
        estimate: `[unit, a, b]`: how often a random sentence of `a` has a larger value than a random one of `b`,
            ties counted half; `[unit, b, a]` is one less it, and the diagonal is 0.5.
        se: its standard error, robust to sentences of one pair depending on each other; NaN where a language
            has one cluster only.
        n: sentences of each language.
        counts: sentences of each language in each cluster.
    """

    languages: tuple[str, ...]
    estimate: Float[np.ndarray, "units languages languages"]
    se: Float[np.ndarray, "units languages languages"]
    n: Int[np.ndarray, " languages"]
    counts: Int[np.ndarray, "clusters languages"]

    def of(self, target: str, reference: str) -> Float[np.ndarray, " units"]:
        """The estimate of one comparison."""
        return self.estimate[:, self.languages.index(target), self.languages.index(reference)]

    def se_of(self, target: str, reference: str) -> Float[np.ndarray, " units"]:
        """The standard error of one comparison."""
        return self.se[:, self.languages.index(target), self.languages.index(reference)]

    def independence(self, target: str, reference: str) -> list[Independence]:
        """How many independent comparisons one comparison of languages is worth."""
        return independence(self.counts[:, [self.languages.index(target), self.languages.index(reference)]])

    def interval(
        self, target: str, reference: str, level: float = 0.95
    ) -> tuple[Float[np.ndarray, " units"], Float[np.ndarray, " units"]]:
        """The lower and upper end of a Wald interval on the logit scale (Pepe 2003, section 5.2.5).

        Where the estimate is 0 or 1 the standard error is 0 and says nothing. There the interval reaches to where
        so extreme an estimate would have half of what `level` leaves (see `minimum.exact_p`): with m independent
        sentences a side, down from 1 to ((1 - level) / 2)^(1/m).
        """
        estimate, se = self.of(target, reference), self.se_of(target, reference)
        inside = (estimate > 0) & (estimate < 1)
        # 0.5 stands in where the logit would be infinite
        safe = np.where(inside, estimate, 0.5)
        half = norm.ppf(0.5 + level / 2) * se / (safe * (1 - safe))
        low, high = expit(logit(safe) - half), expit(logit(safe) + half)
        blocks = max(way.blocks for way in self.independence(target, reference))
        end = ((1 - level) / 2) ** (1 / blocks) if blocks else 0.0
        low = np.where(inside, low, np.where(estimate == 1, end, 0.0))
        high = np.where(inside, high, np.where(estimate == 1, 1.0, 1 - end))
        return low, high


def auroc_table(table: SentenceTable, *, entries: int = ENTRIES) -> AurocTable:
    """AUROC of every unit and ordered pair of languages, about `entries` values of the table at a time.

    The standard error is that of the placement values (DeLong, DeLong and Clarke-Pearson 1988): with V_i the share of
    `b` that lies below sentence i of `a`, and W_j the share of `a` above sentence j of `b`, the variance is
    var(V)/n_a + var(W)/n_b. Sentences of one pair count as one (Obuchowski 1997): the squares are of sums over
    clusters, and a cluster with sentences of both languages adds the product of its two sums.

    Raises:
        GlossaeError: a value is not finite.
    """
    clusters = Clusters.of(table)
    size = (table.units, len(clusters.languages), len(clusters.languages))
    estimate, se = np.empty(size), np.empty(size)
    for part in placements(table, clusters, entries):
        run = slice(part.first, part.first + len(part.zero))
        estimate[run], se[run] = auroc_of(part, clusters)
    return AurocTable(clusters.languages, estimate, se, clusters.n, clusters.counts)


def auroc_of(
    part: Placements, clusters: Clusters
) -> tuple[Float[np.ndarray, "units languages languages"], Float[np.ndarray, "units languages languages"]]:
    """Estimate and standard error of a run of units.

    Everything is counted in whole half sentences, so that a unit that tells two languages apart without
    exception has an estimate of exactly 1 and a standard error of exactly 0.
    """
    sums = _Sums(part, clusters)
    n = clusters.n.astype(np.float64)
    pairs = 2 * n[:, None] * n
    estimate = (part.zero[:, None, :] * n[:, None] + sums.first) / pairs
    of_language = (clusters.counts > 0).sum(0)
    either = ((clusters.counts[:, :, None] > 0) | (clusters.counts[:, None, :] > 0)).sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        # one cluster says nothing of how clusters differ
        own = sums.squares() * np.where(of_language > 1, of_language / (of_language - 1), np.nan)[:, None]
        both = sums.products() * np.where(either > 1, either / (either - 1), np.nan)
        variance = own + own.swapaxes(1, 2) - both - both.swapaxes(1, 2)
    se = np.sqrt(np.maximum(variance, 0)) / pairs
    same = np.arange(len(n))
    estimate[:, same, same], se[:, same, same] = 0.5, 0.0
    return estimate, se


class _Sums:
    """Sums of placements over clusters, by unit, own language a and other language b.

    With G_k the sum of `above[b]` over the sentences of `a` in cluster k, m_k their number, and g the mean of
    `above[b]` over all sentences of `a`, the influence of a cluster's sentences of `a` is G_k - m_k g. What is not
    stored adds nothing to a sum of `above`, so all of these run over the entries only.
    """

    def __init__(self, part: Placements, clusters: Clusters) -> None:
        self.units, self.languages = part.zero.shape
        self.clusters, self.counts = clusters, clusters.counts.astype(np.float64)
        self.unit, self.above = part.unit, part.above
        self.language, self.cluster = clusters.language[part.row], clusters.cluster[part.row]
        self.cell = self.unit * self.languages + self.language
        self.first = self._by_other(lambda b: part.above[b])
        self.mean = self.first / clusters.n[:, None]
        if not clusters.single:
            self._merge()

    def squares(self) -> Float[np.ndarray, "units languages languages"]:
        """The sum over clusters of (G_k - m_k g)^2."""
        square = self._by_other(lambda b: np.square(self.above[b], dtype=np.float64))
        n = self.clusters.n.astype(np.float64)[:, None]
        if self.clusters.single:
            # n S2 - S1^2 rather than with the mean: whole numbers, and exactly zero if all are alike
            return np.asarray(np.maximum(n * square - np.square(self.first), 0) / n)
        own = self.counts[self.cluster, self.language]
        weighted = self._by_other(lambda b: self.above[b] * own)
        sizes = np.square(self.counts).sum(0)[:, None]
        return np.asarray(square - 2 * self.mean * weighted + np.square(self.mean) * sizes)

    def products(self) -> Float[np.ndarray, "units languages languages"]:
        """The sum over clusters of (G_k - m_k g) of `a` against `b` times the same of `b` against `a`."""
        if self.clusters.lone:
            return np.zeros_like(self.first)
        other = self._by_other(lambda b: self.above[b] * self.counts[self.cluster, b])
        cross = self.mean.swapaxes(1, 2) * other
        together = self.counts.T @ self.counts
        means = self.mean * self.mean.swapaxes(1, 2)
        return np.asarray(self._stored() - cross - cross.swapaxes(1, 2) + means * together)

    def _stored(self) -> Float[np.ndarray, "units languages languages"]:
        """The sum over clusters of the product of the two G_k, where both are stored."""
        shape = (self.units, self.languages, self.languages)
        total = np.zeros(np.prod(shape, dtype=int))
        group = self.unit * len(self.counts) + self.cluster
        for lag in range(1, self.languages):
            # entries are sorted by unit, cluster and language: those of one cluster are a few places apart
            left = np.flatnonzero(group[lag:] == group[:-lag])
            right = left + lag
            a, b = self.language[left], self.language[right]
            product = self.above[b, left].astype(np.float64) * self.above[a, right]
            total += np.bincount(
                (self.unit[left] * self.languages + a) * self.languages + b, product, minlength=len(total)
            )
        half = total.reshape(shape)
        return half + half.swapaxes(1, 2)

    def _merge(self) -> None:
        """Make one entry out of a cluster's entries of one language and unit."""
        key = (self.unit * len(self.counts) + self.cluster) * self.languages + self.language
        begins = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]])) if len(key) else key
        if len(begins):
            self.above = np.add.reduceat(self.above, begins, axis=1)
        self.unit, self.cell = self.unit[begins], self.cell[begins]
        self.language, self.cluster = self.language[begins], self.cluster[begins]

    def _by_other(
        self, weight: Callable[[int], np.ndarray]
    ) -> Float[np.ndarray, "units languages languages"]:
        """For every language b the sum of a weight over the entries of each unit and language."""
        size = self.units * self.languages
        sums = [np.bincount(self.cell, weight(b), minlength=size) for b in range(self.languages)]
        stacked = np.stack(sums, axis=1).reshape(self.units, self.languages, self.languages)
        return stacked.astype(np.float64, copy=False)
