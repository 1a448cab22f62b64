"""The null "no difference": labels dealt out anew, in closed form and by drawing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from scipy.stats import norm

from glossae.find.testing.clusters import Clusters
from glossae.find.testing.placements import ENTRIES, Placements, placements
from glossae.find.testing.product import Centre, largest_scores, signs, stored
from glossae.find.testing.shuffle import Entries, Shuffle
from glossae.units import SentenceTable

Comparison: TypeAlias = tuple[str, str]
"""Target and reference."""

ALPHAS = (0.05, 0.001)


@dataclass(frozen=True)
class Permutations:
    """What labels dealt out anew do to every unit's rank sum, comparison by comparison.

    Attributes:
        comparisons: target and reference of each row.
        z: each unit's rank sum, standardised by its exact moments over all deals; 0 where it never varies.
        maxima: of each drawn deal, the largest z of any unit.
        below: for each of `ALPHAS`, the share of drawn deals and units (of those that vary) with a p-value under it.
    """

    comparisons: tuple[Comparison, ...]
    z: Float[np.ndarray, "comparisons units"]
    maxima: Float[np.ndarray, "comparisons permutations"]
    below: Float[np.ndarray, "comparisons alphas"]

    def p(self, target: str, reference: str) -> Float[np.ndarray, " units"]:
        """Each unit's p-value for "no difference", against larger values on the target; normal with exact moments."""
        return np.asarray(norm.sf(self.z[self.comparisons.index((target, reference))]))

    def adjusted(self, target: str, reference: str) -> Float[np.ndarray, " units"]:
        """The p-values of "no difference" adjusted for all units: single-step max-T (Westfall and Young 1993)."""
        row = self.comparisons.index((target, reference))
        maxima = np.sort(self.maxima[row])
        reached = len(maxima) - np.searchsorted(maxima, self.z[row], side="left")
        return np.asarray((1 + reached) / (1 + len(maxima)))


def permutations(
    table: SentenceTable,
    comparisons: Sequence[Comparison],
    *,
    draws: int = 1000,
    seed: int = 0,
    entries: int = ENTRIES,
    progress: Callable[[float], None] = lambda _: None,
) -> Permutations:
    """Moments over all deals, and the maxima over units of `draws` of them, in one pass over the table.

    A comparison's deals depend on the seed, its languages and the pairs, and not on the order of anything. Per run of
    units and comparison they are one product, (units x sentences) x (sentences x draws), with ranks counted from that
    of zero, so that what is not stored adds nothing.

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
    for part in placements(table, clusters, entries):
        units = len(part.zero)
        for row, (comparison, shuffle, deal) in enumerate(zip(comparisons, shuffles, deals, strict=True)):
            found = _entries(part, shuffle, clusters, comparison)
            observed, mean, variance = shuffle.moments(found, units)
            varies = variance > 0
            deviation = np.sqrt(np.where(varies, variance, 1.0))
            z[row, part.first : part.first + units] = np.where(varies, (observed - mean) / deviation, 0.0)
            if draws and varies.any():
                weights = stored(*found, (units, len(deal)))[varies]
                centre = Centre(mean[varies])
                largest = largest_scores(weights, signs(deal, draws), [centre], deviation[varies], cuts)
                maxima[row] = np.maximum(maxima[row], largest.maxima)
                below[row] += largest.above
                varying[row] += weights.shape[0] * draws
        progress((part.first + units) / table.units)
    return Permutations(tuple(comparisons), z, maxima, below / np.maximum(varying, 1)[:, None])


def _entries(part: Placements, shuffle: Shuffle, clusters: Clusters, comparison: Comparison) -> Entries:
    place = shuffle.place[part.row]
    chosen = np.flatnonzero(place >= 0)
    a, b = (clusters.languages.index(language) for language in comparison)
    # the place among both languages together is the rank, but for a constant
    return Entries(part.unit[chosen], place[chosen], part.above[a, chosen] + part.above[b, chosen])
