"""Whether scores order units alike."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import kendalltau, rankdata

from glossae.errors import GlossaeError


@dataclass(frozen=True)
class Agreement:
    """How alike scores are, over the same units.

    Attributes:
        names: of the scores; rows and columns of what follows.
        spearman: rank correlation; NaN where a score is the same for all units.
        kendall: Kendall's tau-b; NaN there too.
        overlap: the share of the `top` best units of one score that are among those of the other.
        units: how many units were compared.
        top: how many best units were.
    """

    names: tuple[str, ...]
    spearman: Float[np.ndarray, "scores scores"]
    kendall: Float[np.ndarray, "scores scores"]
    overlap: Float[np.ndarray, "scores scores"]
    units: int
    top: int


def agreement(
    scores: Mapping[str, Float[np.ndarray, " units"]],
    *,
    higher_is_better: Mapping[str, bool],
    among: Bool[np.ndarray, " units"],
    top: int = 10,
) -> Agreement:
    """Rank correlations of all pairs of scores, and what their best units have in common.

    Args:
        scores: by name. NaN is worse than anything.
        higher_is_better: by name, whether a high value is a good one.
        among: which units are compared, such as those that ever fire. Scores that do not say which language is the
            high one are compared fairly only among units that fire more on the target.
        top: how many best units of each are compared; ties go by the unit's number.

    Raises:
        GlossaeError: fewer than two units are compared.
    """
    chosen = np.flatnonzero(among)
    if len(chosen) < 2:
        raise GlossaeError(f"scores: there are {len(chosen)} units to compare scores on, and 2 are needed")
    names, top = tuple(scores), min(top, len(chosen))
    goodness = [_goodness(scores[name][chosen], higher_is_better[name]) for name in names]
    best = [set(np.argsort(-good, kind="stable")[:top].tolist()) for good in goodness]
    spearman, kendall, overlap = (np.eye(len(names)) for _ in range(3))
    for i, j in zip(*np.triu_indices(len(names)), strict=True):
        constant = goodness[i].min() == goodness[i].max() or goodness[j].min() == goodness[j].max()
        spearman[i, j] = spearman[j, i] = np.nan if constant else np.corrcoef(goodness[i], goodness[j])[0, 1]
        kendall[i, j] = kendall[j, i] = np.nan if constant else kendalltau(goodness[i], goodness[j]).statistic
        overlap[i, j] = overlap[j, i] = len(best[i] & best[j]) / top
    return Agreement(names, spearman, kendall, overlap, len(chosen), top)


def best_units(
    score: Float[np.ndarray, " units"],
    *,
    higher_is_better: bool,
    among: Bool[np.ndarray, " units"],
    top: int = 10,
) -> Int[np.ndarray, " best"]:
    """The best units by a score, best first; ties go by the unit's number."""
    chosen = np.flatnonzero(among)
    best: np.ndarray = chosen[np.argsort(-_goodness(score[chosen], higher_is_better), kind="stable")[:top]]
    return best


def _goodness(score: np.ndarray, higher_is_better: bool) -> np.ndarray:
    """Ranks, the best the highest; ties share theirs, and NaN ranks lowest."""
    oriented = np.where(np.isnan(score), -np.inf, score if higher_is_better else -score)
    ranks: np.ndarray = rankdata(oriented)
    return ranks
