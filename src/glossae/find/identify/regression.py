"""A multinomial logistic regression of the language, standardised, its penalty chosen by cross-validation."""

import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from glossae.errors import GlossaeError

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""The inverse penalties C that are tried; a larger one penalises less."""
FOLDS = 5
MANY_ROWS = 5_000
"""From so many rows on, two folds tell penalties apart as well as five."""
MAX_STEPS = 10_000

# the largest gradient that is left in a fit, in nats a row: of the last fit, and of those that are only compared
_TOLERANCE, _ROUGH = 1e-5, 1e-4
# the path of penalties ends where the loss has risen so often in a row
_RISES = 2

# what a held-out row costs at most, so that one that was surely wrong is not infinitely bad
_LEAST_PROBABLE = 1e-12


@dataclass(frozen=True)
class Scaling:
    """Moments by which columns are standardised; every language weighs the same in them.

    Attributes:
        mean: of each column.
        deviation: likewise; 1 for a column that is the same everywhere, which becomes 0.
    """

    mean: Float[np.ndarray, " columns"]
    deviation: Float[np.ndarray, " columns"]

    @staticmethod
    def of(x: Float[np.ndarray, "rows columns"], languages: Shaped[np.ndarray, " rows"]) -> "Scaling":
        """Those of some rows."""
        parts = [x[languages == language] for language in np.unique(languages)]
        mean = np.mean([part.mean(0) for part in parts], axis=0)
        deviation = np.sqrt(np.mean([np.square(part - mean).mean(0) for part in parts], axis=0))
        # rounding leaves a little where a column is constant
        differs = deviation > 1e-6 * np.abs(mean)
        return Scaling(mean, np.where(differs & (deviation > 0), deviation, 1.0))

    def __call__(self, x: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows columns"]:
        """Rows in standard deviations from the mean."""
        return np.asarray((x - self.mean) / self.deviation)


@dataclass(frozen=True)
class Regression:
    """A fitted regression.

    Attributes:
        languages: the classes, sorted.
        scaling: how its input is standardised.
        strength: the inverse penalty C.
        losses: by each C that was tried, the cross-validated log-loss in nats, each language weighing the same.
        converged: whether the last fit reached its optimum.
    """

    languages: tuple[str, ...]
    scaling: Scaling
    strength: float
    losses: dict[float, float]
    converged: bool
    _model: Any

    @staticmethod
    def fit(
        x: Float[np.ndarray, "rows columns"],
        languages: Shaped[np.ndarray, " rows"],
        clusters: Shaped[np.ndarray, " rows"],
        *,
        seed: int,
    ) -> "Regression":
        """Fit to rows, every language weighing the same.

        The penalty is the one of least log-loss in 5 folds; of equal ones the strongest. A cluster, such as a
        pair of translations, lies in one fold. Fewer folds are made where a language has fewer clusters, and two
        of many rows. Penalties are tried from the strongest on, until the loss has risen twice.

        Raises:
            GlossaeError: there is one language only, a language has one cluster only, or a value is not finite.
        """
        languages = languages.astype(str)
        codes = np.unique(languages)
        if len(codes) < 2:
            raise GlossaeError("identification: text in two languages or more is needed to tell them apart")
        if not np.isfinite(x).all():
            raise GlossaeError("identification: a value is not finite")
        fold = folds(languages, clusters, seed, FOLDS if len(x) < MANY_ROWS else 2)
        losses = _cross_validated(x, languages, fold)
        strength = min(losses, key=lambda one: (round(losses[one], 9), one))
        scaling = Scaling.of(x, languages)
        model = _logistic(_TOLERANCE)
        converged = _fit(model, scaling(x), languages, strength)
        return Regression(tuple(codes.tolist()), scaling, strength, losses, converged, model)

    def probabilities(self, x: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows languages"]:
        """How probable each language is for each row."""
        return np.asarray(self._model.predict_proba(self.scaling(x)))

    def identify(self, x: Float[np.ndarray, "rows columns"]) -> list[str]:
        """The most probable language of each row."""
        return [self.languages[number] for number in self.probabilities(x).argmax(1)]


def folds(
    languages: Shaped[np.ndarray, " rows"],
    clusters: Shaped[np.ndarray, " rows"],
    seed: int,
    most: int = FOLDS,
) -> Int[np.ndarray, " rows"]:
    """Into which of at most `most` folds each row goes: clusters whole, those of the same languages spread evenly.

    Raises:
        GlossaeError: a language has one cluster only.
    """
    names, cluster = np.unique(clusters.astype(str), return_inverse=True)
    spoken: list[set[str]] = [set() for _ in names]
    for number, language in zip(cluster.tolist(), languages.tolist(), strict=True):
        spoken[number].add(language)
    having: dict[str, int] = defaultdict(int)
    for codes in spoken:
        for code in codes:
            having[code] += 1
    scarcest = min(having, key=lambda code: (having[code], code))
    if having[scarcest] < 2:
        raise GlossaeError(
            f"identification: {scarcest} has sentences of one pair only: too few to fit to; give more text"
        )
    count = min(most, having[scarcest])
    shuffled = np.random.default_rng(seed).permutation(len(names)).tolist()
    by_languages = sorted(shuffled, key=lambda number: sorted(spoken[number]))
    of_cluster = np.empty(len(names), dtype=np.int64)
    of_cluster[by_languages] = np.arange(len(names)) % count
    return of_cluster[cluster]


def _cross_validated(
    x: Float[np.ndarray, "rows columns"],
    languages: Shaped[np.ndarray, " rows"],
    fold: Int[np.ndarray, " rows"],
) -> dict[float, float]:
    """By C, the mean over languages of the mean log-loss of their held-out rows."""
    codes = np.unique(languages)
    truth = np.searchsorted(codes, languages)
    splits = []
    for number in np.unique(fold):
        inside = fold != number
        if len(np.unique(languages[inside])) < len(codes):
            # all of a language fell into this fold: nobody could have known it
            continue
        scaling = Scaling.of(x[inside], languages[inside])
        splits.append((inside, scaling(x[inside]), scaling(x[~inside]), _logistic(_ROUGH)))
    losses: dict[float, float] = {}
    rises = 0
    # from the strongest penalty on, each fit starts where the last one ended
    for strength in STRENGTHS:
        loss, judged = np.zeros(len(x)), np.zeros(len(x), dtype=bool)
        for inside, known, held_out, model in splits:
            _fit(model, known, languages[inside], strength)
            p = model.predict_proba(held_out)[np.arange(len(held_out)), truth[~inside]]
            loss[~inside] = -np.log(np.maximum(p, _LEAST_PROBABLE))
            judged |= ~inside
        before = list(losses.values())[-1:]
        losses[strength] = _macro_mean(loss, languages, judged)
        rises = rises + 1 if before and losses[strength] > before[0] else 0
        if rises == _RISES:
            break
    return losses


def _macro_mean(
    loss: Float[np.ndarray, " rows"], languages: Shaped[np.ndarray, " rows"], judged: np.ndarray
) -> float:
    means = [loss[judged & (languages == code)] for code in np.unique(languages)]
    return float(np.mean([part.mean() for part in means if len(part)] or [0.0]))


def _logistic(tolerance: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(
        solver="lbfgs", class_weight="balanced", max_iter=MAX_STEPS, tol=tolerance, warm_start=True
    )


def _fit(model: Any, x: np.ndarray, languages: np.ndarray, strength: float) -> bool:
    """Fit, and say whether the optimum was reached."""
    from sklearn.exceptions import ConvergenceWarning

    model.set_params(C=strength)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(x, languages)
    for other in caught:
        if not issubclass(other.category, ConvergenceWarning):
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    return not any(issubclass(one.category, ConvergenceWarning) for one in caught)


def check_halves(find: Sequence[tuple[str, str, str]], held_out: Sequence[tuple[str, str, str]]) -> None:
    """Refuse to identify text that was fitted to, or in languages that nothing was fitted to.

    Args:
        find: language, source and pair of each sentence.
        held_out: likewise.

    Raises:
        GlossaeError: either is empty, they share a pair of a source, or `held_out` has a language of its own.
    """
    for name, half in (("to fit to", find), ("to test on", held_out)):
        if not half:
            raise GlossaeError(f"identification: no text {name}: give other text")
    if unknown := sorted({row[0] for row in held_out} - {row[0] for row in find}):
        raise GlossaeError(
            f"identification: {', '.join(unknown)}: to be told apart, but there is no such text to fit to"
        )
    if common := {row[1:] for row in find} & {row[1:] for row in held_out}:
        source, pair = min(common)
        raise GlossaeError(
            f"identification: pair {pair} of {source} and {len(common) - 1} more are both fitted to and tested "
            f"on: give other text to test on"
        )
