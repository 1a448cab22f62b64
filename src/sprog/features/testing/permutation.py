"""The null "no difference": labels dealt out anew, in closed form and by drawing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float, UInt8
from scipy.sparse import csr_array
from scipy.stats import norm

from sprog.features.table import SentenceTable
from sprog.features.testing.clusters import Clusters
from sprog.features.testing.placements import ENTRIES, Placements, placements
from sprog.features.testing.shuffle import Entries, Shuffle

Comparison: TypeAlias = tuple[str, str]
"""Target and reference."""

ALPHAS = (0.05, 0.001)
DENSE = 0.05
"""From this share of stored values on, a plain matrix product is the faster one (measured on two cores)."""


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

    def family_wise(
        self, score: Float[np.ndarray, "comparisons units"], comparisons: Sequence[Comparison]
    ) -> Float[np.ndarray, " units"]:
        """Single-step max-T adjusted p-values (Westfall and Young 1993) of the smallest score over comparisons.

        A unit's claim stands where its smallest score is large, and it is wrong where any one comparison is null;
        which one may differ from unit to unit, so a score is held against the largest maximum over the comparisons.
        Each comparison is drawn by itself, as if they were independent; with a common target they are positively
        dependent, which makes the true largest maximum smaller.

        Args:
            score: standard normal under the null, each row one of `comparisons`: `z` for "no difference", or
                `minimum.studentised`. For the latter the distribution of the maximum is borrowed from an AUROC of
                0.5, since labels cannot be dealt out under any other: what is borrowed is the tail of a
                standardised score and the dependence between units.
            comparisons: the rows.
        """
        rows = [self.comparisons.index(comparison) for comparison in comparisons]
        maxima = np.sort(self.maxima[rows].max(0))
        reached = len(maxima) - np.searchsorted(maxima, score.min(0), side="left")
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
        SprogError: a value is not finite.
    """
    clusters = Clusters.of(table)
    shuffles = [Shuffle.of(clusters, *comparison) for comparison in comparisons]
    deals = [
        shuffle.draw(draws, np.random.default_rng([seed, *"/".join(comparison).encode()]))
        for shuffle, comparison in zip(shuffles, comparisons, strict=True)
    ]
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
                drawn = _drawn(found, units, deal, draws)[varies]
                drawn -= torch.from_numpy(mean[varies, None]).float()
                drawn /= torch.from_numpy(deviation[varies, None]).float()
                maxima[row] = np.maximum(maxima[row], drawn.amax(0).numpy())
                below[row] += [int((drawn > float(norm.isf(alpha))).sum()) for alpha in ALPHAS]
                varying[row] += drawn.numel()
        progress((part.first + units) / table.units)
    return Permutations(tuple(comparisons), z, maxima, below / np.maximum(varying, 1)[:, None])


def _entries(part: Placements, shuffle: Shuffle, clusters: Clusters, comparison: Comparison) -> Entries:
    place = shuffle.place[part.row]
    chosen = np.flatnonzero(place >= 0)
    a, b = (clusters.languages.index(language) for language in comparison)
    # the place among both languages together is the rank, but for a constant
    return Entries(part.unit[chosen], place[chosen], part.above[a, chosen] + part.above[b, chosen])


def _drawn(
    entries: Entries, units: int, deal: UInt8[np.ndarray, "sentences bytes"], draws: int
) -> Float[torch.Tensor, "units permutations"]:
    """Every unit's rank sum in every deal."""
    labels = np.unpackbits(deal, axis=1, count=draws).astype(np.float32)
    labels *= 2
    labels -= 1
    indptr = np.searchsorted(entries.unit, np.arange(units + 1))
    ranks = csr_array((entries.rank.astype(np.float32), entries.place, indptr), shape=(units, len(labels)))
    many = np.diff(indptr) > DENSE * len(labels)
    sums = np.empty((units, draws), dtype=np.float32)
    sums[~many] = ranks[~many] @ labels
    full, dense = np.flatnonzero(many), torch.from_numpy(labels)
    # a bounded block of the units that fire on many sentences at a time
    for block in np.split(full, range(256, len(full), 256)):
        sums[block] = (torch.from_numpy(ranks[block].toarray()) @ dense).numpy()
    return torch.from_numpy(sums)
