"""Sentence tables made of plain arrays, and a brute-force AUROC to hold against."""

import numpy as np
from scipy.sparse import csc_array

from glossae.units import SentenceTable


def make_table(values, languages, pairs=None, sources=None, identity="latent layer3.resid abc"):
    """A table of a dense array; every sentence its own pair unless given."""
    values = np.asarray(values, dtype=np.float32)
    count = len(values)
    return SentenceTable(
        values=csc_array(values),
        fired=csc_array((values != 0).astype(np.int32)),
        tokens=np.full(count, 10),
        languages=np.array(languages),
        sources=np.array(["text.tsv"] * count if sources is None else sources),
        pairs=np.array([f"lone {i}" for i in range(count)] if pairs is None else pairs),
        identity=identity,
    )


def brute_force(x, y, x_pairs, y_pairs):
    """AUROC of x over y and its cluster-robust standard error, comparison by comparison (Obuchowski 1997)."""
    kernel = (x[:, None] > y) + 0.5 * (x[:, None] == y)
    estimate = kernel.mean()
    sums = {}
    for side, (pairs, influence) in enumerate(
        [(x_pairs, kernel.mean(1) - estimate), (y_pairs, kernel.mean(0) - estimate)]
    ):
        for pair, one in zip(pairs, influence, strict=True):
            sums.setdefault(pair, [0.0, 0.0])[side] += one
    total = np.array(list(sums.values())) / [len(x), len(y)]

    def correction(count):
        return count / (count - 1) if count > 1 else np.nan

    variance = (
        correction(len(set(x_pairs))) * (total[:, 0] ** 2).sum()
        + correction(len(set(y_pairs))) * (total[:, 1] ** 2).sum()
        + correction(len(sums)) * 2 * (total[:, 0] * total[:, 1]).sum()
    )
    return estimate, np.sqrt(max(variance, 0))
