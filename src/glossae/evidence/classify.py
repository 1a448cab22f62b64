"""Classify rows of numbers by language with a regression, and measure the accuracy."""

import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from glossae.corpora import Corpus, cluster_names
from glossae.errors import GlossaeError
from glossae.results import Identified

UNANSWERED = ""
"""The prediction for a text that gives no information; it counts as wrong."""

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""The inverse penalties C that are tried; a larger one penalises less."""
FOLDS = 5
MANY_ROWS = 5_000
"""From this number of rows on, two folds rank penalties as well as five."""
MAX_STEPS = 10_000

# resampled confusion matrices held at once, in values
_CHUNK_VALUES = 2**24
# the largest gradient at which a fit stops, in nats per row: for the final fit, and for fits that are only
# compared
_TOLERANCE, _ROUGH = 1e-5, 1e-4
# the path of penalties ends after the loss has risen this many times in a row
_RISES = 2
# the largest log-loss of a held-out row, so that one confident error is not infinitely bad
_LEAST_PROBABLE = 1e-12


def evaluate(
    truth: Sequence[str] | Shaped[np.ndarray, " rows"],
    predicted: Sequence[str] | Shaped[np.ndarray, " rows"],
    clusters: Sequence[str] | Shaped[np.ndarray, " rows"],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Identified:
    """Compare predicted languages with the true ones.

    Intervals are bootstraps over clusters, which are drawn whole: a pair of translations, or a sentence with
    all its tokens. The order of rows plays no part.

    Args:
        truth: the code of each row.
        predicted: likewise; `UNANSWERED` is always wrong.
        clusters: the name of each row's cluster.
        draws: the number of resamples.
        seed: of the resamples.

    Raises:
        GlossaeError: there are no rows.
    """
    if len(truth) == 0:
        raise GlossaeError("identification: no text to test on: give other text")
    true, guessed, names = (np.asarray(column, dtype=str) for column in (truth, predicted, clusters))
    known = sorted(set(true.tolist()))
    languages = (*known, *sorted(set(guessed.tolist()) - set(known)))
    code = {language: number for number, language in enumerate(languages)}
    cell = np.array([code[a] * len(languages) + code[b] for a, b in zip(true, guessed, strict=True)])

    # drawing clusters is drawing the distinct confusion matrices of single clusters, by their frequencies
    cells, (_, cluster) = len(languages) ** 2, np.unique(names, return_inverse=True)
    count = int(cluster.max()) + 1
    tables = np.bincount(cluster * cells + cell, minlength=count * cells).reshape(count, cells)
    patterns, numbers = np.unique(tables, axis=0, return_counts=True)
    generator = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_VALUES // len(numbers))
    resampled = [
        generator.multinomial(count, numbers / count, size=min(chunk, draws - start)) @ patterns
        for start in range(0, draws, chunk)
    ]

    shape = (-1, len(languages), len(languages))
    confusion = tables.sum(0).reshape(shape)
    accuracy, f1, macro = _measures(confusion, len(known))
    accuracies, _, macros = _measures(np.concatenate(resampled).reshape(shape), len(known))
    return Identified(
        languages=languages,
        confusion=confusion[0].tolist(),
        rows=int(confusion.sum()),
        accuracy=float(accuracy[0]),
        accuracy_interval=_interval(accuracies),
        macro_f1=float(macro[0]),
        macro_f1_interval=_interval(macros),
        f1=dict(zip(known, f1[0].tolist(), strict=True)),
    )


def _measures(
    confusion: Int[np.ndarray, "draws languages languages"], known: int
) -> tuple[Float[np.ndarray, " draws"], Float[np.ndarray, "draws known"], Float[np.ndarray, " draws"]]:
    """Accuracy, F1 of the known languages, and the mean F1 of those that a resample contains."""
    right = np.diagonal(confusion, axis1=1, axis2=2)
    # 2 TP / (2 TP + FP + FN); 0 for a class that neither occurs nor was predicted
    f1 = (2 * right / np.maximum(confusion.sum(1) + confusion.sum(2), 1))[:, :known]
    there = confusion.sum(2)[:, :known] > 0
    return right.sum(1) / confusion.sum((1, 2)), f1, (f1 * there).sum(1) / there.sum(1)


def _interval(samples: Float[np.ndarray, " draws"]) -> tuple[float, float]:
    low, high = np.quantile(samples, [0.025, 0.975])
    return float(low), float(high)


@dataclass(frozen=True)
class Rows:
    """Features and labels of some sentences or tokens.

    Attributes:
        x: a row of numbers for each.
        languages: the code of each.
        sources: the source of each.
        pairs: the pair of each; rows of one pair depend on each other.
        docs: the document of each, likewise; empty if unknown, None if all are unknown.
    """

    x: Float[np.ndarray, "rows columns"]
    languages: Shaped[np.ndarray, " rows"]
    sources: Shaped[np.ndarray, " rows"]
    pairs: Shaped[np.ndarray, " rows"]
    docs: Shaped[np.ndarray, " rows"] | None = None

    @staticmethod
    def of(x: Float[np.ndarray, "rows columns"], corpus: Corpus) -> "Rows":
        """Rows for the sentences of a corpus."""
        sentences = corpus.sentences
        columns = ([getattr(s, name) for s in sentences] for name in ("language", "source", "pair", "doc"))
        rows = Rows(x, *(np.array(column, dtype=np.str_) for column in columns))
        return rows if any(s.doc for s in sentences) else replace(rows, docs=None)

    def __len__(self) -> int:
        return len(self.languages)

    def take(self, rows: Int[np.ndarray, " chosen"] | Bool[np.ndarray, " rows"]) -> "Rows":
        """The rows with these numbers, or those of a mask."""
        docs = None if self.docs is None else self.docs[rows]
        return Rows(self.x[rows], self.languages[rows], self.sources[rows], self.pairs[rows], docs)

    def only(self, languages: Sequence[str]) -> "Rows":
        """The rows in some languages."""
        return self.take(np.isin(self.languages, list(languages)))

    @cached_property
    def clusters(self) -> Shaped[np.ndarray, " rows"]:
        """The cluster of each row: rows that share pairs or documents, directly or through others."""
        if self.docs is None:
            return self.pairs
        return np.array(cluster_names(self.pairs.tolist(), self.docs.tolist()), dtype=np.str_)


def check_halves(find: Rows, held_out: Rows) -> None:
    """Refuse to test on fitted text, or on languages that nothing was fitted to.

    Raises:
        GlossaeError: either is empty, they share a pair of a source, or `held_out` has a language that `find`
            lacks.
    """
    for name, half in (("to fit to", find), ("to test on", held_out)):
        if not len(half):
            raise GlossaeError(f"identification: no text {name}: give other text")
    if unknown := sorted(set(held_out.languages.tolist()) - set(find.languages.tolist())):
        raise GlossaeError(
            f"identification: {', '.join(unknown)}: there is text to test on, but none to fit to"
        )
    ours, theirs = (
        set(zip(half.sources.tolist(), half.pairs.tolist(), strict=True)) for half in (find, held_out)
    )
    if common := ours & theirs:
        source, pair = min(common)
        raise GlossaeError(
            f"identification: pair {pair} of {source} and {len(common) - 1} more are both fitted to and tested "
            f"on: give other text to test on"
        )


def identify_rows(find: Rows, held_out: Sequence[Rows], *, seed: int = 0) -> list[Identified]:
    """Classify languages by a multinomial logistic regression on the standardised columns.

    Every language has the same weight. The inverse penalty is the one of `STRENGTHS` with the least log-loss
    in 5 folds; of equal ones, the strongest penalty. A cluster, such as a pair of translations, lies in one
    fold. There are fewer folds if a language has fewer clusters, and two from `MANY_ROWS` rows on. Penalties
    are tried from the strongest on, until the loss has risen twice.

    Args:
        find: the rows to fit to.
        held_out: the texts to test on, each separately.
        seed: of folds and resamples.

    Raises:
        GlossaeError: the texts share a pair; one to test on has a language that `find` lacks; there is only
            one language; a language has only one cluster; or a value is not finite.
    """
    for each in held_out:
        check_halves(find, each)
    x, languages = find.x.astype(np.float64), find.languages.astype(str)
    if len(np.unique(languages)) < 2:
        raise GlossaeError("identification: text in two languages or more is needed to tell them apart")
    if not np.isfinite(x).all():
        raise GlossaeError("identification: a value is not finite")
    fold = folds(languages, find.clusters, seed, FOLDS if len(x) < MANY_ROWS else 2)
    losses = _cross_validated(x, languages, fold)
    strength = min(losses, key=lambda one: (round(losses[one], 9), one))
    scaling, model = Scaling.of(x, languages), _logistic(_TOLERANCE)
    converged = _fit(model, scaling(x), languages, strength)
    found = []
    for each in held_out:
        said = model.classes_[model.predict_proba(scaling(each.x.astype(np.float64))).argmax(1)]
        evaluated = evaluate(each.languages, said, each.clusters, seed=seed)
        found.append(evaluated.model_copy(update={"converged": converged, "strength": strength}))
    return found


@dataclass(frozen=True)
class Scaling:
    """Means and deviations for standardising columns, with equal weight for every language.

    Attributes:
        mean: of each column.
        deviation: likewise; 1 for a constant column, which becomes 0.
    """

    mean: Float[np.ndarray, " columns"]
    deviation: Float[np.ndarray, " columns"]

    @staticmethod
    def of(x: Float[np.ndarray, "rows columns"], languages: Shaped[np.ndarray, " rows"]) -> "Scaling":
        """The scaling of some rows."""
        parts = [x[languages == language] for language in np.unique(languages)]
        mean = np.mean([part.mean(0) for part in parts], axis=0)
        deviation = np.sqrt(np.mean([np.square(part - mean).mean(0) for part in parts], axis=0))
        # rounding leaves a small deviation for a constant column
        differs = deviation > 1e-6 * np.abs(mean)
        return Scaling(mean, np.where(differs & (deviation > 0), deviation, 1.0))

    def __call__(self, x: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows columns"]:
        """The rows in standard deviations from the mean."""
        return np.asarray((x - self.mean) / self.deviation)


def folds(
    languages: Shaped[np.ndarray, " rows"],
    clusters: Shaped[np.ndarray, " rows"],
    seed: int,
    most: int = FOLDS,
) -> Int[np.ndarray, " rows"]:
    """The fold of each row, out of at most `most`: clusters stay whole, and those of the same languages spread evenly.

    Raises:
        GlossaeError: a language has only one cluster.
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
            # all rows of a language are in this fold, so that the fit does not know it
            continue
        scaling = Scaling.of(x[inside], languages[inside])
        splits.append((inside, scaling(x[inside]), scaling(x[~inside]), _logistic(_ROUGH)))
    losses: dict[float, float] = {}
    rises, before = 0, np.inf
    # from the strongest penalty on, each fit starts where the last one ended
    for strength in STRENGTHS:
        loss, judged = np.zeros(len(x)), np.zeros(len(x), dtype=bool)
        for inside, known, held_out, model in splits:
            _fit(model, known, languages[inside], strength)
            p = model.predict_proba(held_out)[np.arange(len(held_out)), truth[~inside]]
            loss[~inside] = -np.log(np.maximum(p, _LEAST_PROBABLE))
            judged |= ~inside
        parts = [loss[judged & (languages == code)] for code in codes]
        losses[strength] = float(np.mean([part.mean() for part in parts if len(part)] or [0.0]))
        rises = rises + 1 if losses[strength] > before else 0
        before = losses[strength]
        if rises == _RISES:
            break
    return losses


def _logistic(tolerance: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(
        solver="lbfgs", class_weight="balanced", max_iter=MAX_STEPS, tol=tolerance, warm_start=True
    )


def _fit(model: Any, x: np.ndarray, languages: np.ndarray, strength: float) -> bool:
    """Fit, and return whether the optimum was reached."""
    from sklearn.exceptions import ConvergenceWarning

    model.set_params(C=strength)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(x, languages)
    for other in caught:
        if not issubclass(other.category, ConvergenceWarning):
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    return not any(issubclass(one.category, ConvergenceWarning) for one in caught)
