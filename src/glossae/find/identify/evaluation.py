"""How well languages were told apart: accuracy, macro-F1 and who was taken for whom, with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from glossae.errors import GlossaeError

UNANSWERED = ""
"""What is predicted where nothing can be said; it counts as wrong."""

# resampled confusion matrices held at once, in values
_CHUNK_VALUES = 2**24


@dataclass(frozen=True)
class Identified:
    """How well the languages of some texts were identified.

    Attributes:
        languages: the classes: those of the text, sorted, then those that were only predicted.
        confusion: how many rows in one language (first axis) were taken for another (second axis).
        accuracy: the share that was right.
        accuracy_interval: its central 95 %, over resamples of the clusters.
        macro_f1: the mean F1 of the languages of the text, each weighing the same.
        macro_f1_interval: likewise.
        f1: of each language of the text; 0 where none of its rows was recognised.
        units: the units that each language was given, best first; none where no units are behind it.
        converged: whether what was fitted reached its optimum; true where nothing was fitted.
        strength: the inverse penalty C of the regression, chosen by cross-validation; none without one.
    """

    languages: tuple[str, ...]
    confusion: Int[np.ndarray, "languages languages"]
    accuracy: float
    accuracy_interval: tuple[float, float]
    macro_f1: float
    macro_f1_interval: tuple[float, float]
    f1: dict[str, float]
    units: dict[str, tuple[int, ...]] = field(default_factory=dict)
    converged: bool = True
    strength: float | None = None

    def __len__(self) -> int:
        """How many rows were identified."""
        return int(self.confusion.sum())

    def as_json(self) -> dict[str, Any]:
        """All of it, fit for JSON."""
        return {
            "languages": list(self.languages),
            "confusion": self.confusion.tolist(),
            "rows": len(self),
            "accuracy": self.accuracy,
            "accuracy_interval": list(self.accuracy_interval),
            "macro_f1": self.macro_f1,
            "macro_f1_interval": list(self.macro_f1_interval),
            "f1": self.f1,
            "units": {language: list(units) for language, units in self.units.items()},
            "converged": self.converged,
            "strength": self.strength,
        }


def evaluate(
    truth: Sequence[str] | Shaped[np.ndarray, " rows"],
    predicted: Sequence[str] | Shaped[np.ndarray, " rows"],
    clusters: Sequence[str] | Shaped[np.ndarray, " rows"],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Identified:
    """Compare predicted languages with the true ones.

    Intervals are bootstraps over clusters, which are drawn whole: a pair of translations, or a sentence with all
    its tokens. The order of rows plays no part.

    Args:
        truth: the code of each row.
        predicted: likewise; `UNANSWERED` is always wrong.
        clusters: what is drawn together, by name.
        draws: how many resamples.

    Raises:
        GlossaeError: there is nothing to compare, or fewer than 1 resample.
    """
    if len(truth) == 0:
        raise GlossaeError("identification: no text to test on: give other text")
    if draws < 1:
        raise GlossaeError(f"identification: {draws} draws: an interval takes at least 1")
    true, guessed, names = (np.asarray(column, dtype=str) for column in (truth, predicted, clusters))
    known = sorted(set(true.tolist()))
    languages = (*known, *sorted(set(guessed.tolist()) - set(known)))
    code = {language: number for number, language in enumerate(languages)}
    cell = np.array([code[a] * len(languages) + code[b] for a, b in zip(true, guessed, strict=True)])
    patterns, numbers = _patterns(names, cell, len(languages) ** 2)
    shape = (-1, len(languages), len(languages))
    confusion = (numbers @ patterns).reshape(shape)
    accuracy, f1 = _accuracy(confusion), _f1(confusion)[:, : len(known)]
    resampled = _resampled(patterns, numbers, draws, seed).reshape(shape)
    return Identified(
        languages=languages,
        confusion=confusion[0],
        accuracy=float(accuracy[0]),
        accuracy_interval=_interval(_accuracy(resampled)),
        macro_f1=float(f1.mean()),
        macro_f1_interval=_interval(_macro(resampled, len(known))),
        f1=dict(zip(known, f1[0].tolist(), strict=True)),
    )


def _patterns(
    clusters: Shaped[np.ndarray, " rows"], cell: Int[np.ndarray, " rows"], cells: int
) -> tuple[Int[np.ndarray, "patterns cells"], Int[np.ndarray, "1 patterns"]]:
    """The different confusion matrices of single clusters, and how many clusters have each."""
    _, cluster = np.unique(clusters, return_inverse=True)
    count = int(cluster.max()) + 1
    tables = np.bincount(cluster * cells + cell, minlength=count * cells).reshape(count, cells)
    patterns, numbers = np.unique(tables, axis=0, return_counts=True)
    return patterns, numbers[None, :]


def _resampled(
    patterns: Int[np.ndarray, "patterns cells"], numbers: Int[np.ndarray, "1 patterns"], draws: int, seed: int
) -> Int[np.ndarray, "draws cells"]:
    """Confusion matrices of resamples. To draw clusters is to draw their patterns, by how many have each."""
    generator = np.random.default_rng(seed)
    clusters = int(numbers.sum())
    chunk = max(1, _CHUNK_VALUES // numbers.size)
    parts = [
        generator.multinomial(clusters, numbers[0] / clusters, size=min(chunk, draws - start)) @ patterns
        for start in range(0, draws, chunk)
    ]
    return np.concatenate(parts)


def _accuracy(confusion: Int[np.ndarray, "draws languages languages"]) -> Float[np.ndarray, " draws"]:
    right = np.trace(confusion, axis1=1, axis2=2)
    return np.asarray(right / confusion.sum((1, 2)))


def _f1(confusion: Int[np.ndarray, "draws languages languages"]) -> Float[np.ndarray, "draws languages"]:
    """2 TP / (2 TP + FP + FN); 0 for a class that neither is there nor was predicted."""
    right = np.diagonal(confusion, axis1=1, axis2=2)
    either = confusion.sum(1) + confusion.sum(2)
    return np.asarray(2 * right / np.maximum(either, 1))


def _macro(
    confusion: Int[np.ndarray, "draws languages languages"], known: int
) -> Float[np.ndarray, " draws"]:
    """Over the languages that a resample has: a small one may be missing from some."""
    there = confusion.sum(2)[:, :known] > 0
    return np.asarray((_f1(confusion)[:, :known] * there).sum(1) / there.sum(1))


def _interval(samples: Float[np.ndarray, " draws"]) -> tuple[float, float]:
    low, high = np.quantile(samples, [0.025, 0.975])
    return float(low), float(high)
