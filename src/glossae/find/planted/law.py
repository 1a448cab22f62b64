"""The law of what a planted feature reads on one sentence, and from it the population's AUROC, without sampling."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int
from scipy.special import gammainc, gammaln, ndtr

# lengths of sentences, in tokens: log-normal, rounded, cut off at both ends
SHORTEST, LONGEST = 4, 40
MEDIAN_LENGTH, LENGTH_SPREAD = 14.0, 0.45
# Gauss-Hermite nodes for the sentence's random effect, and points where a distribution function is kept; twice as
# many of both move no AUROC by 1e-5 (tests/features/test_planted_law.py)
NODES = 32
POINTS = 1024
SMALLEST, LARGEST = 1e-4, 10.0


@dataclass(frozen=True)
class SentenceLaw:
    """The distribution of one feature's sentence mean, for any intensity.

    On a sentence of T tokens a feature of intensity eta (expected events a token) reads

        W = exp(spread z - spread^2 / 2),  z ~ N(0, 1)         the sentence's random effect, of mean 1
        N | W, T ~ Binomial(T, 1 - exp(-eta W))                tokens where it fires
        V | N, T ~ Gamma(shape N, mean N) / T                  the sentence mean, in units of the feature's magnitude

    with T log-normal, rounded and cut off. W and T are integrated out by quadrature, N by its sum.

    Attributes:
        spread: standard deviation of the logarithm of the random effect.
        shape: of the gamma distribution of a single reading; its variation coefficient is shape^-1/2.
        nodes: quadrature nodes for W.
        points: where the distribution function is kept, besides 0.
    """

    spread: float
    shape: float
    nodes: int = NODES
    points: int = POINTS

    @cached_property
    def effect(self) -> tuple[Float[np.ndarray, " nodes"], Float[np.ndarray, " nodes"]]:
        """Nodes and weights of the random effect W."""
        z, weight = np.polynomial.hermite_e.hermegauss(self.nodes)
        return np.exp(self.spread * z - self.spread**2 / 2), weight / weight.sum()

    @cached_property
    def _cells(self) -> tuple[Int[np.ndarray, " cells"], Int[np.ndarray, " cells"]]:
        """Every length with every number of firing tokens: T and N."""
        cells = [(t, n) for t in range(SHORTEST, LONGEST + 1) for n in range(t + 1)]
        length, count = np.array(cells).T
        return length, count

    @cached_property
    def _below(self) -> Float[np.ndarray, "cells points"]:
        """P(V <= v | N, T) for every cell, at 0 and at points evenly spread over the logarithm."""
        length, count = self._cells
        v = np.concatenate([[0.0], np.geomspace(SMALLEST, LARGEST, self.points)])
        some = np.maximum(count, 1)[:, None]
        below = gammainc(self.shape * some, self.shape * v * length[:, None])
        return np.where(count[:, None] == 0, 1.0, below)

    def token_rate(self, intensity: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The share of tokens on which a feature of this intensity fires: E[1 - exp(-eta W)]."""
        node, weight = self.effect
        return np.asarray(-np.expm1(-intensity[:, None] * node) @ weight)

    def intensity(self, token_rate: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The intensity at which a feature fires on this share of tokens, by bisection."""
        low, high = np.full(len(token_rate), -25.0), np.full(len(token_rate), 10.0)
        for _ in range(60):
            middle = (low + high) / 2
            under = self.token_rate(np.exp(middle)) < token_rate
            low, high = np.where(under, middle, low), np.where(under, high, middle)
        return np.asarray(np.exp((low + high) / 2))

    def cdf(self, intensity: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n points"]:
        """P(V <= v) at 0 and at the points, for each intensity."""
        length, count = self._cells
        node, weight = self.effect
        known = _length_weights()[length - SHORTEST] * np.exp(
            gammaln(length + 1) - gammaln(count + 1) - gammaln(length - count + 1)
        )
        mixed = np.zeros((len(intensity), len(length)))
        for w, share in zip(node, weight, strict=True):
            eta = intensity[:, None] * w
            fires, silent = -np.expm1(-eta), np.exp(-eta)
            # powers by repeated multiplication, then looked up: an exponential a cell would be most of the time
            up = np.cumprod(np.concatenate([np.ones_like(eta), np.repeat(fires, LONGEST, 1)], 1), 1)
            down = np.cumprod(np.concatenate([np.ones_like(eta), np.repeat(silent, LONGEST, 1)], 1), 1)
            mixed += share * up[:, count] * down[:, length - count]
        return np.asarray((mixed * known) @ self._below)


def auroc_of(
    target: Float[np.ndarray, "*#n points"], other: Float[np.ndarray, "*#n points"]
) -> Float[np.ndarray, "*m"]:
    """P(V > V') + P(V = V') / 2 for independent sentences of two languages, from their distribution functions.

    The first point is the atom at 0, which is exact; between two others both are taken for evenly spread.
    """
    steps = np.diff(target, axis=-1, prepend=0.0)
    before = np.concatenate([np.zeros_like(other[..., :1]), other[..., :-1]], axis=-1)
    # what lies beyond the last point is not seen by either; it is less than 1e-9
    return np.asarray((steps * (before + other) / 2).sum(-1), dtype=np.float64)


def _length_weights() -> Float[np.ndarray, " lengths"]:
    """The probability of each length from the shortest to the longest."""
    edges = np.log(np.arange(SHORTEST, LONGEST) + 0.5)
    below = ndtr((edges - np.log(MEDIAN_LENGTH)) / LENGTH_SPREAD)
    return np.asarray(np.diff(np.concatenate([[0.0], below, [1.0]])))


def lengths_of(normal: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Lengths of that law from standard normal numbers."""
    length = np.exp(np.log(MEDIAN_LENGTH) + LENGTH_SPREAD * normal)
    return np.asarray(np.clip(np.rint(length), SHORTEST, LONGEST), dtype=np.int64)
