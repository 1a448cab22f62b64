"""The false discovery rate over many units."""

from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float

Dependence: TypeAlias = Literal["positive", "any"]


def q_values(
    p: Float[np.ndarray, " tests"], *, dependence: Dependence = "positive"
) -> Float[np.ndarray, " tests"]:
    """The smallest rate at which each test would be among the discoveries.

    `positive` is Benjamini and Hochberg (1995), for independent or positively dependent tests; `any` is Benjamini and
    Yekutieli (2001), which pays a factor of 1 + 1/2 + ... + 1/tests to hold for every dependence.
    """
    tests = len(p)
    if not tests:
        return np.zeros(0)
    rank = np.arange(1, tests + 1)
    price = float((1 / rank).sum()) if dependence == "any" else 1.0
    order = np.argsort(p, kind="stable")
    stepped = np.minimum.accumulate((p[order] * tests * price / rank)[::-1])[::-1]
    q = np.empty(tests)
    q[order] = np.minimum(stepped, 1)
    return q
