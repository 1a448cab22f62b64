"""Sums over what is stored with signs drawn anew: one sparse product for each run of units."""

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from scipy.sparse import csr_array

DENSE = 0.05
"""From this share of stored values on, a plain matrix product is the faster one (measured on two cores)."""
BLOCK = 256
"""Units that are laid out in full at once."""


def signs(bits: UInt8[np.ndarray, "sentences bytes"], draws: int) -> Float[np.ndarray, "sentences draws"]:
    """1 where a bit is set and -1 where it is not."""
    drawn = np.unpackbits(bits, axis=1, count=draws).astype(np.float32)
    drawn *= 2
    drawn -= 1
    return drawn


def signed_sums(
    unit: Int[np.ndarray, " entries"],
    sentence: Int[np.ndarray, " entries"],
    weight: np.ndarray,
    units: int,
    drawn: Float[np.ndarray, "sentences draws"],
) -> Float[torch.Tensor, "units draws"]:
    """For each unit and draw the sum of weight x sign over the unit's entries, which are in its order."""
    indptr = np.searchsorted(unit, np.arange(units + 1))
    weights = csr_array((weight.astype(np.float32), sentence, indptr), shape=(units, len(drawn)))
    full = np.diff(indptr) > DENSE * len(drawn)
    sums = np.empty((units, drawn.shape[1]), dtype=np.float32)
    sums[~full] = weights[~full] @ drawn
    often, dense = np.flatnonzero(full), torch.from_numpy(drawn)
    for block in np.split(often, range(BLOCK, len(often), BLOCK)):
        sums[block] = (torch.from_numpy(weights[block].toarray()) @ dense).numpy()
    return torch.from_numpy(sums)
