"""Select the latents of a language by the rate rule, or the closest to it if none passes."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from glossae.units import UnitStatistics

NEAREST = 5

Rates = Tensor | np.ndarray


@dataclass(frozen=True)
class Selection:
    """The selected latents, best first.

    Attributes:
        rule: `paper`: they pass the rate rule. `fallback`: none passes, and these come closest. `none`:
            there are none of either. `given`: the caller named them. `tested`: they passed the tests.
        units: their numbers.
        nearest: the latents with the largest rate difference, whether selected or not.
    """

    rule: Literal["paper", "fallback", "none", "given", "tested"]
    units: tuple[int, ...]
    nearest: tuple[int, ...]


def paper_rule(rate: Rates, other: Rates, *, min_target: float = 0.5, max_reference: float = 0.01) -> Any:
    """Which units pass the paper's rate rule (section 5.1) on the shares of tokens on which they fire."""
    return (rate > min_target) & (other < max_reference)


def select(
    statistics: UnitStatistics,
    target: str,
    reference: str,
    *,
    min_target: float = 0.5,
    max_reference: float = 0.01,
    fallback: int = 4,
    max_reference_fallback: float = 0.02,
    given: tuple[int, ...] = (),
    tested: tuple[int, ...] | None = None,
    but: tuple[int, ...] = (),
) -> Selection:
    """The latents that pass the paper's rate rule (section 5.1), or the tests, or are given.

    The rate rule: firing on more than half of the target's tokens and under 1 % of the reference's. If no
    latent passes, the fallback takes the `fallback` latents with the largest rate difference, among those
    that fire on under `max_reference_fallback` of the reference's tokens and more often on the target's.
    Latents that are `given` are taken as they are, in that order. Those that are `tested` (see `testing`)
    replace the rate rule; if there are none, the fallback applies. Neither the rate rule nor the
    fallback takes a latent of `but`.
    """
    rate, other = statistics.rate(target), statistics.rate(reference)
    difference = rate - other
    passing = paper_rule(rate, other, min_target=min_target, max_reference=max_reference)
    passing[list(but)] = False
    # stable, so that ties keep the order of the latents' numbers
    order = torch.argsort(difference, descending=True, stable=True)
    close = (other < max_reference_fallback) & (difference > 0)
    close[list(but)] = False
    nearest = tuple(order[:NEAREST].tolist())
    if given:
        return Selection("given", given, nearest)
    if tested is not None:
        if tested:
            return Selection("tested", tested, nearest)
    elif passing.any():
        return Selection("paper", tuple(order[passing[order]].tolist()), nearest)
    units = tuple(order[close[order]][:fallback].tolist())
    return Selection("fallback" if units else "none", units, nearest)
