"""The largest score of many units under signs drawn anew: one sparse product for each run of units, block by block."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from scipy.sparse import csr_array

DENSE = 0.05
"""From this share of stored values on, a plain matrix product is the faster one (measured on two cores)."""
BLOCK = 128
"""Units whose sums are held at once: with a thousand draws half a megabyte, which stays near the core."""


class Centre(NamedTuple):
    """What is taken off a sum: of each unit its value times each draw's factor.

    Attributes:
        value: of each unit.
        factor: of each draw; None for 1.
    """

    value: Float[np.ndarray, " units"]
    factor: Float[np.ndarray, " draws"] | None = None


class Largest(NamedTuple):
    """What is kept of the scores of some units.

    Attributes:
        maxima: of each draw, the largest of any unit; minus infinity without units.
        above: for each cut, how many scores of units and draws are larger.
    """

    maxima: Float[np.ndarray, " draws"]
    above: Int[np.ndarray, " cuts"]


def signs(bits: UInt8[np.ndarray, "sentences bytes"], draws: int) -> Float[np.ndarray, "sentences draws"]:
    """1 where a bit is set and -1 where it is not."""
    drawn = np.unpackbits(bits, axis=1, count=draws).astype(np.float32)
    drawn *= 2
    drawn -= 1
    return drawn


def stored(
    unit: Int[np.ndarray, " entries"],
    sentence: Int[np.ndarray, " entries"],
    weight: np.ndarray,
    shape: tuple[int, int],
) -> csr_array:
    """`(units, sentences)` float32, of entries in the order of their units; those of one place add up."""
    indptr = np.searchsorted(unit, np.arange(shape[0] + 1))
    return csr_array((weight.astype(np.float32), sentence, indptr), shape=shape)


def largest_scores(
    weights: csr_array,
    drawn: Float[np.ndarray, "sentences draws"],
    centres: Sequence[Centre],
    deviation: Float[np.ndarray, " units"],
    cuts: Sequence[float] = (),
) -> Largest:
    """The largest of the units' scores, (weights @ drawn - centres) / deviation, in each draw.

    There are far more scores than stored values, and passing over all of them several times costs more than the
    product; so they are made, standardised and reduced a block at a time. Blocks are shared among as many threads as
    torch has, in any order: maxima and counts do not depend on it.

    Args:
        weights: `(units, sentences)` float32, of what is stored.
        drawn: the signs.
        centres: taken off one after the other.
        deviation: positive, of each unit.
        cuts: above which scores are counted.
    """
    full = np.diff(weights.indptr) > DENSE * len(drawn)
    signs_of = torch.from_numpy(drawn)
    taken = [Centre(c.value.astype(np.float32)[:, None], c.factor) for c in centres]
    scale = deviation.astype(np.float32)[:, None]

    def sparse(rows: Int[np.ndarray, " block"]) -> Largest:
        return reduced(rows, weights[rows] @ drawn)

    def dense(rows: Int[np.ndarray, " block"]) -> Largest:
        return reduced(rows, (torch.from_numpy(weights[rows].toarray()) @ signs_of).numpy())

    def reduced(rows: Int[np.ndarray, " block"], scores: Float[np.ndarray, "block draws"]) -> Largest:
        for value, factor in taken:
            scores -= value[rows] if factor is None else value[rows] * factor
        scores /= scale[rows]
        return Largest(scores.max(0), np.array([np.count_nonzero(scores > cut) for cut in cuts], dtype=int))

    # a dense product has torch's threads already
    parts = [
        *_each(sparse, np.flatnonzero(~full), torch.get_num_threads()),
        *_each(dense, np.flatnonzero(full)),
    ]
    return Largest(
        np.max([np.full(drawn.shape[1], -np.inf), *(part.maxima for part in parts)], axis=0),
        np.sum([np.zeros(len(cuts), dtype=int), *(part.above for part in parts)], axis=0),
    )


def _each(
    of: Callable[[Int[np.ndarray, " block"]], Largest], units: Int[np.ndarray, " chosen"], threads: int = 1
) -> list[Largest]:
    blocks = [units[first : first + BLOCK] for first in range(0, len(units), BLOCK)]
    if threads < 2 or len(blocks) < 2:
        return [of(block) for block in blocks]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(of, blocks))
