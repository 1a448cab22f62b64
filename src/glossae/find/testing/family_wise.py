"""Strong claims about single units: p-values adjusted for the largest of many scores that depend on each other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.sparse import csr_array

from glossae.find.testing.auroc import AurocTable
from glossae.find.testing.clusters import Clusters
from glossae.find.testing.permutation import Comparison
from glossae.find.testing.placements import ENTRIES, Placements, placements
from glossae.find.testing.product import Centre, largest_scores, signs, stored
from glossae.units import SentenceTable


@dataclass(frozen=True)
class Multipliers:
    """How large the largest of the units' scores becomes by chance, whatever their AUROC.

    Attributes:
        comparisons: target and reference of each row.
        maxima: of each draw, the largest score of any unit.
    """

    comparisons: tuple[Comparison, ...]
    maxima: Float[np.ndarray, "comparisons draws"]

    def adjusted(
        self, score: Float[np.ndarray, "comparisons units"], comparisons: Sequence[Comparison]
    ) -> Float[np.ndarray, " units"]:
        """Single-step max-T adjusted p-values of a claim: of each unit's smallest score over its comparisons.

        A claim is wrong where any one comparison is null, and which one may differ from unit to unit; so a score is
        held against the largest over all units and all of the claim's comparisons, which share their draws.

        Args:
            score: `minimum.studentised`, a row for each comparison.
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
    entries: int = ENTRIES,
    progress: Callable[[float], None] = lambda _: None,
) -> Multipliers:
    """Draw the largest score: a random sign for each cluster's influence (Chernozhukov, Chetverikov and Kato 2013).

    An estimate is its AUROC plus a sum of influences, the placement values less their mean, and the sum of squares over
    clusters is its variance (see `auroc_table`). With a random sign for each cluster the same sum has mean 0, that
    variance and, between units and comparisons, the estimates' own covariances.

    Why not labels dealt out anew. They belong to an AUROC of 0.5. Under a null of 0.8 the groups differ; pooled, they
    make all units that differ look dependent on each other beyond what the estimates are, and the largest of such is
    too small. With 60 units at an AUROC of exactly 0.8 and correlated 0.75 within languages, 80 pairs, the family-wise
    error at 0.1 was 27 of 120 with dealt labels.
    """
    clusters = Clusters.of(table)
    generator = np.random.default_rng(seed)
    bits = generator.integers(0, 256, size=(len(clusters.counts), -(-draws // 8)), dtype=np.uint8)
    drawn = signs(bits, draws)
    # the sum of the signs of all sentences of each language
    total = clusters.counts.T.astype(np.float32) @ drawn
    maxima = np.full((len(comparisons), draws), -np.inf)
    for part in placements(table, clusters, entries):
        run = slice(part.first, part.first + len(part.zero))
        for row, (target, reference) in enumerate(comparisons):
            a, b = clusters.languages.index(target), clusters.languages.index(reference)
            pairs = 2.0 * clusters.n[a] * clusters.n[b]
            deviation = auroc.se[run, a, b] * pairs
            varies = np.flatnonzero(deviation > 0)
            if not len(varies):
                continue
            present = np.asarray(clusters.counts[:, [a, b]].any(1))
            weights = _influences(part, clusters, a, b, present)[varies]
            # what is not stored has an influence too: all sentences less the mean of those of its language
            centres = []
            for own, other, way in ((a, b, 1), (b, a, -1)):
                mean = 2.0 * clusters.n[other] * auroc.estimate[run, own, other] - part.zero[:, other]
                centres.append(Centre(way * mean[varies], total[own]))
            largest = largest_scores(weights, drawn[present], centres, deviation[varies])
            maxima[row] = np.maximum(maxima[row], largest.maxima)
        progress(run.stop / table.units)
    return Multipliers(tuple(comparisons), maxima)


def _influences(
    part: Placements, clusters: Clusters, a: int, b: int, present: Bool[np.ndarray, " clusters"]
) -> csr_array:
    """The stored sentences' places above zero, each among the other language; of those of `b` the negative."""
    language = clusters.language[part.row]
    chosen = np.flatnonzero((language == a) | (language == b))
    weight = np.where(language[chosen] == a, part.above[b, chosen], -part.above[a, chosen])
    place = np.cumsum(present) - 1
    cluster = place[clusters.cluster[part.row[chosen]]]
    return stored(part.unit[chosen], cluster, weight, (len(part.zero), int(present.sum())))
