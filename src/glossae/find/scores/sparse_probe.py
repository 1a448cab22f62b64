"""Logistic probes on sentence values that use few units, and what they are worth on sentences held out."""

import warnings
from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_array, diags_array

from glossae.errors import GlossaeError
from glossae.find.scores.information import sentence_moments
from glossae.units import SentenceTable

HELD_OUT = 0.3
MAX_STEPS = 2000
# Gurnee et al. divide activations by so many standard deviations, and the strengths of penalties go with it
DEVIATIONS = 10.0


@dataclass(frozen=True)
class ProbeFit:
    """One fitted probe.

    Attributes:
        units: the units it may use.
        coefficients: of each of them, for values by `DEVIATIONS` standard deviations; above zero speaks for the
            target.
        mcc: Matthews correlation on the held-out sentences.
        f1: F1 of the target on the held-out sentences.
        converged: whether the solver came to its tolerance.
    """

    units: Int[np.ndarray, " k"]
    coefficients: Float[np.ndarray, " k"]
    mcc: float
    f1: float
    converged: bool


@dataclass(frozen=True)
class AdaptiveProbe:
    """Probes on fewer and fewer units.

    Attributes:
        rounds: the fits, from many units to one.
        order: all units of the first round, the one kept last first.
    """

    rounds: tuple[ProbeFit, ...]
    order: Int[np.ndarray, " largest"]

    @property
    def unconverged(self) -> int:
        """How many of the fits did not come to the solver's tolerance."""
        return sum(not fit.converged for fit in self.rounds)


def l1_probe(
    table: SentenceTable, target: str, *, strength: float = 0.1, held_out: float = HELD_OUT, seed: int = 0
) -> ProbeFit:
    """An L1 probe on all units that fire (Gurnee et al. 2023, arXiv 2305.01610; balanced classes, C from their code).

    Args:
        strength: C, the inverse of the penalty's weight.
        held_out: the share of pairs that is not fitted on.

    Raises:
        GlossaeError: either part has no sentence of the target, or none of another language.
    """
    split = _Split(table, target, held_out, seed)
    return split.fit(split.alive, strength=strength, l1_ratio=1.0)


def adaptive_probe(
    table: SentenceTable, target: str, *, largest: int = 256, held_out: float = HELD_OUT, seed: int = 0
) -> AdaptiveProbe:
    """Adaptive thresholding (Gurnee et al. 2023, arXiv 2305.01610).

    As `telescopic_sparsity_sweep` in their code: start from the `largest` units by absolute difference of means in
    standard deviations. For k falling by halves down to 1, fit an elastic net with C = k / 20 and an L1 share of
    exp(-k / 20) within [0.1, 0.9], order by absolute coefficient, keep the next k.

    Their penalty does not grow with the text: it wants thousands of sentences. On a few hundred the last probes are
    all zero, judged at an MCC of 0.

    Args:
        largest: the first k; the next power of two below, where fewer units fire.
        held_out: the share of pairs that is not fitted on.

    Raises:
        GlossaeError: either part has no sentence of the target, or none of another language.
    """
    split = _Split(table, target, held_out, seed)
    kept = split.by_mean_difference()
    k = 2 ** int(np.log2(min(largest, len(kept))))
    rounds, dropped = [], kept[:0]
    kept = kept[:k]
    while k:
        fit = split.fit(np.sort(kept), strength=k / 20, l1_ratio=float(np.clip(np.exp(-k / 20), 0.1, 0.9)))
        rounds.append(fit)
        kept = fit.units[np.argsort(-np.abs(fit.coefficients), kind="stable")]
        k //= 2
        dropped, kept = np.concatenate([kept[k:], dropped]), kept[:k]
    return AdaptiveProbe(tuple(rounds), dropped)


def held_out_rows(table: SentenceTable, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to fit on, and rows held out: whole pairs and documents, whatever the order of the table."""
    clusters, of = np.unique(table.clusters, return_inverse=True)
    taken = np.zeros(len(clusters), dtype=bool)
    taken[np.random.default_rng(seed).permutation(len(clusters))[: round(share * len(clusters))]] = True
    return np.flatnonzero(~taken[of]), np.flatnonzero(taken[of])


class _Split:
    """A table cut in two, its values scaled by what they are where probes are fitted."""

    def __init__(self, table: SentenceTable, target: str, held_out: float, seed: int) -> None:
        self.target, self.seed = target, seed
        self.parts = [table.take(rows) for rows in held_out_rows(table, held_out, seed)]
        for part, name in zip(self.parts, ("fit on", "hold out"), strict=True):
            found = len(part.rows(target))
            if found in (0, len(part)):
                raise GlossaeError(
                    f"scores: a probe has to {name} sentences of {target} and of another language, "
                    f"and there are {found} and {len(part) - found}"
                )
        sizes, sums, squares = sentence_moments(self.parts[0], target)
        total = int(sizes.sum())
        self.deviation = np.sqrt(np.maximum(squares.sum(0) / total - (sums.sum(0) / total) ** 2, 0.0))
        # a unit that is the same everywhere cannot be scaled, and says nothing
        self.alive = np.flatnonzero(self.deviation > 1e-6 * np.sqrt(squares.sum(0) / total))
        if not len(self.alive):
            raise GlossaeError("scores: no unit differs between the sentences a probe is fitted on")
        self.difference = sums[0] / sizes[0] - sums[1] / sizes[1]

    def by_mean_difference(self) -> Int[np.ndarray, " alive"]:
        """The units that differ at all, by absolute difference of means in standard deviations."""
        standardised = np.abs(self.difference[self.alive]) / self.deviation[self.alive]
        order: np.ndarray = self.alive[np.argsort(-standardised, kind="stable")]
        return order

    def fit(self, units: Int[np.ndarray, " k"], *, strength: float, l1_ratio: float) -> ProbeFit:
        """Fit on some units, and judge on what is held out."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.metrics import f1_score, matthews_corrcoef

        scale = diags_array(1 / (DEVIATIONS * self.deviation[units]))
        x, x_held_out = (csr_array(part.values[:, units].astype(np.float64) @ scale) for part in self.parts)
        y, y_held_out = ((part.languages == self.target).astype(np.int64) for part in self.parts)
        probe = _logistic(C=strength, l1_ratio=l1_ratio, random_state=self.seed)
        with warnings.catch_warnings():
            # counted instead
            warnings.simplefilter("ignore", ConvergenceWarning)
            probe.fit(x, y)
        guess = probe.predict(x_held_out)
        return ProbeFit(
            units=units,
            coefficients=probe.coef_[0].astype(np.float64),
            mcc=float(matthews_corrcoef(y_held_out, guess)),
            f1=float(f1_score(y_held_out, guess, zero_division=0.0)),
            converged=bool(probe.n_iter_[0] < MAX_STEPS),
        )


def _logistic(**settings: Any) -> Any:
    from sklearn.linear_model import LogisticRegression

    # before scikit-learn 1.8 the penalty has to be named, and from then on it must not be
    penalty = signature(LogisticRegression).parameters.get("penalty")
    if penalty is not None and penalty.default == "l2":
        settings["penalty"] = "elasticnet"
    return LogisticRegression(solver="saga", class_weight="balanced", max_iter=MAX_STEPS, **settings)
