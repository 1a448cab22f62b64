"""Whether another seed would put the layers in the same order."""

from itertools import combinations

import numpy as np
from jaxtyping import Float


def rank_agreement(scores: Float[np.ndarray, "seeds layers"]) -> float | None:
    """Spearman's rank correlation of two seeds' scores by layer, averaged over the pairs of seeds.

    Equal scores share the mean of their ranks. A seed that scores every layer alike has no order, and its pairs
    are left out.

    Returns:
        The mean, between -1 and 1; None where no pair of seeds has two orders to compare.
    """
    from scipy.stats import rankdata

    ranks = rankdata(scores, axis=1)
    ordered = [row - row.mean() for row in ranks if np.ptp(row) > 0]
    found = [float(a @ b / np.sqrt((a @ a) * (b @ b))) for a, b in combinations(ordered, 2)]
    return float(np.mean(found)) if found else None
