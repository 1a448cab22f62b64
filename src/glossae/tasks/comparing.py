"""Scores with intervals, and arms held against each other on the same rows or the same splits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from glossae.effects import interval
from glossae.tasks.metrics import Confusions

Measure = Callable[[Confusions], np.ndarray]
# a difference is to be found so often that is there, at a level of 5 % on two sides
POWER, LEVEL = 0.8, 0.05


@dataclass(frozen=True)
class Compared:
    """A score of one arm, and what it is apart from its base's.

    Attributes:
        score: the score, with its 95 % interval from `low` to `high`.
        delta: less the base's, with its interval.
        p: of no difference, on two sides; None for a base itself.
        detectable: the smallest true difference that would be found in 80 % of tests like this one, at 5 % on two
            sides; None where no prediction differs, which leaves no spread to tell from.
    """

    score: float
    low: float
    high: float
    delta: float
    delta_low: float
    delta_high: float
    p: float | None
    detectable: float | None


def by_bootstrap(
    truth: Int[np.ndarray, " rows"],
    said: Int[np.ndarray, "arms seeds rows"],
    groups: Sequence[str],
    bases: Sequence[int],
    measure: Measure,
    *,
    labels: int,
    draws: int,
    seed: int,
) -> list[Compared]:
    """Scores on one test set: groups of rows are resampled, the same for all arms, and seeds, where there are several.

    A p-value is twice the smaller share of resampled differences on either side of 0, `(b + 1) / (draws + 1)`.

    Args:
        truth: the label of each row.
        said: what each arm says, once for each seed that it was trained with.
        groups: rows with the same one are drawn together.
        bases: the arm that each is compared with.
        measure: from tables of confusions to scores.
        labels: how many there are.
        draws: resamples.
        seed: theirs.
    """
    arms, seeds, _ = said.shape
    size = labels * labels
    _, place = np.unique(np.asarray(groups), return_inverse=True)
    cells = np.zeros((place.max() + 1, arms * seeds, size))
    for column, row in enumerate(said.reshape(arms * seeds, -1)):
        np.add.at(cells[:, column], (place, truth * labels + row), 1)
    whole = measure(cells.sum(0).reshape(arms, seeds, labels, labels)).mean(1)
    generator = np.random.default_rng(seed)
    count = len(cells)
    weights = generator.multinomial(count, np.full(count, 1 / count), size=draws)
    tables = (weights @ cells.reshape(count, -1)).reshape(draws, arms, seeds, labels, labels)
    scores = measure(tables)
    # a seed belongs to no arm: the same ones are drawn for all
    chosen = generator.integers(seeds, size=(draws, seeds))
    scores = np.take_along_axis(scores, chosen[:, None, :], axis=2).mean(2)
    return [
        _compared(
            whole[arm],
            whole[arm] - whole[base],
            scores[:, arm],
            scores[:, arm] - scores[:, base],
            arm == base,
        )
        for arm, base in enumerate(bases)
    ]


def _compared(
    score: float,
    delta: float,
    scores: Float[np.ndarray, " draws"],
    deltas: Float[np.ndarray, " draws"],
    is_base: bool,
) -> Compared:
    draws = len(deltas)
    side = min((deltas <= 0).sum(), (deltas >= 0).sum())
    spread = float(deltas.std(ddof=1))
    return Compared(
        float(score),
        *interval(scores),
        float(delta),
        *interval(deltas),
        None if is_base else float(min(1.0, 2 * (side + 1) / (draws + 1))),
        None
        if is_base or spread == 0
        else spread * float(stats.norm.ppf(1 - LEVEL / 2) + stats.norm.ppf(POWER)),
    )


def by_splits(
    scores: Float[np.ndarray, "splits arms"], bases: Sequence[int], *, train: int, test: int
) -> list[Compared]:
    """Scores on several random splits: Student's t with the variance that overlapping training sets call for.

    The variance of a mean over J splits is (1 / J + test / train) s^2 (Nadeau and Bengio 2003, *Inference for the
    generalization error*, equation 8).

    Args:
        scores: of each split and arm.
        bases: the arm that each is compared with.
        train: rows to learn from, in each split.
        test: rows to test on.
    """
    count = len(scores)
    widen = (1 / count + test / train) ** 0.5
    reach = float(stats.t.ppf(1 - LEVEL / 2, count - 1))
    power = float(stats.t.ppf(POWER, count - 1))
    found = []
    for arm, base in enumerate(bases):
        deltas = scores[:, arm] - scores[:, base]
        score, error = float(scores[:, arm].mean()), widen * float(scores[:, arm].std(ddof=1))
        delta, apart = float(deltas.mean()), widen * float(deltas.std(ddof=1))
        p = None
        if arm != base:
            p = (
                1.0
                if delta == 0
                else 0.0
                if apart == 0
                else float(2 * stats.t.sf(abs(delta) / apart, count - 1))
            )
        found.append(
            Compared(
                score,
                score - reach * error,
                score + reach * error,
                delta,
                delta - reach * apart,
                delta + reach * apart,
                p,
                None if arm == base or apart == 0 else (reach + power) * apart,
            )
        )
    return found
