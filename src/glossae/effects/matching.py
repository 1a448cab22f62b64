"""Latents that are like the selected ones in all but what they stand for: what a set of latents has to beat."""

import numpy as np
from jaxtyping import Float, Int

from glossae.errors import GlossaeError

# of each selected latent, how many of those most like it take its place in turn
CANDIDATES = 20


def profiles(
    rate: Float[np.ndarray, " units"],
    mean_active: Float[np.ndarray, " units"],
    norm: Float[np.ndarray, " units"],
    reference_rate: Float[np.ndarray, " units"],
) -> Float[np.ndarray, "units 4"]:
    """What latents are matched on, in logarithms with the deviation 1; NaN where a latent does not fire.

    Args:
        rate: the share of the target's tokens on which each fires.
        mean_active: its mean value there.
        norm: the length of its row of the decoder.
        reference_rate: the share of the reference's tokens on which each fires, above 0 (`smoothed_rate`).
    """
    table = np.stack([rate, mean_active, norm, reference_rate], axis=1).astype(np.float64)
    alive = (table > 0).all(1)
    logs = np.full(table.shape, np.nan)
    logs[alive] = np.log(table[alive])
    spread = logs[alive].std(axis=0) if alive.any() else np.ones(table.shape[1])
    # rows that all have one length do not differ in it, but for rounding
    scaled: Float[np.ndarray, "units 4"] = logs / np.where(spread > 1e-6, spread, np.inf)
    return scaled


def smoothed_rate(fired: Int[np.ndarray, " units"], tokens: int) -> Float[np.ndarray, " units"]:
    """(fired + 1/2) / (tokens + 1): a firing rate with a logarithm where a latent was never seen to fire."""
    rate: Float[np.ndarray, " units"] = (fired + 0.5) / (tokens + 1)
    return rate


def matched_sets(
    profile: Float[np.ndarray, "units features"],
    selected: tuple[int, ...],
    draws: int,
    *,
    seed: int,
    candidates: int = CANDIDATES,
) -> Int[np.ndarray, "draws selected"]:
    """Sets of other latents, one for each selected one, drawn from those that are nearest to it.

    A set has no latent twice, and none that is selected.

    Args:
        profile: of every latent (`profiles`).
        selected: the latents that are matched.
        draws: how many sets.
        seed: the same seed gives the same sets.
        candidates: how many of the nearest may take a latent's place.

    Raises:
        GlossaeError: fewer latents are left than are selected.
    """
    free = np.isfinite(profile).all(1)
    free[list(selected)] = False
    pool = np.flatnonzero(free)
    if len(pool) < len(selected):
        raise GlossaeError(
            f"controls: {len(pool)} latents fire besides the {len(selected)} selected ones: too few to match them"
        )
    # a selected latent that never fires on the target's text has no profile; any will do in its place
    own = np.nan_to_num(profile[list(selected)])
    width = max(candidates, len(selected))
    nearest = [pool[np.argsort(np.square(profile[pool] - row).sum(1), kind="stable")[:width]] for row in own]
    generator = np.random.default_rng(seed)
    sets = np.empty((draws, len(selected)), dtype=np.int64)
    for draw in range(draws):
        taken: set[int] = set()
        # in another order every time, so that no place gets first choice
        for place in generator.permutation(len(selected)).tolist():
            left = [unit for unit in nearest[place].tolist() if unit not in taken]
            sets[draw, place] = left[int(generator.integers(len(left)))]
            taken.add(int(sets[draw, place]))
    return sets
