"""Paired bootstrap over sentences, for ratios of sums."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

# resamples drawn at once, so that memory stays small for large corpora
CHUNK_VALUES = 2**24


def resampled_ratios(
    numerators: Sequence[Float[np.ndarray, " sentences"]],
    denominator: np.ndarray,
    *,
    draws: int,
    seed: int,
) -> Float[np.ndarray, "draws numerators"]:
    """For each resample of the sentences, sum(numerator) / sum(denominator) for every numerator.

    All numerators share the resamples, so their differences are paired.
    """
    sums = resampled_sums([*numerators, denominator], draws=draws, seed=seed)
    ratios: Float[np.ndarray, "draws numerators"] = sums[:, :-1] / sums[:, -1:]
    return ratios


def resampled_sums(
    columns: Sequence[np.ndarray], *, draws: int, seed: int
) -> Float[np.ndarray, "draws columns"]:
    """The sums of some columns over each resample of the sentences."""
    count = len(columns[0])
    table = np.stack(columns, axis=1).astype(np.float64)
    generator = np.random.default_rng(seed)
    sums = np.empty((draws, table.shape[1]))
    chunk = max(1, CHUNK_VALUES // count)
    for start in range(0, draws, chunk):
        size = min(chunk, draws - start)
        weights = generator.multinomial(count, np.full(count, 1 / count), size=size)
        sums[start : start + size] = weights @ table
    return sums


def interval(samples: Float[np.ndarray, " draws"]) -> tuple[float, float]:
    """The central 95 % of the resampled values."""
    low, high = np.quantile(samples, [0.025, 0.975])
    return float(low), float(high)
