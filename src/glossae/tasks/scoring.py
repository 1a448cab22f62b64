"""Score tasks under edits: division into training and test rows, metrics, intervals, and the table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from glossae.corpora import Example, Task
from glossae.effects import Edit, Step, Sweep, UnitSet, edit_columns
from glossae.errors import GlossaeError
from glossae.results import TaskScore
from glossae.sae import Sae
from glossae.stats import bootstrap_weights, interval
from glossae.units import Units

Protocol = Literal["controlled", "as_coded", "fine_tuned"]
Metric = Literal["macro_f1", "mcc", "weighted_f1"]
Confusions = Float[np.ndarray, "*more labels labels"]
"""The number of rows by true label (second to last axis) and predicted label (last axis)."""
Measure = Callable[[Confusions], Float[np.ndarray, "*more"]]

SPLITS, TEST_SHARE = 10, 0.2
# the power of the detectable difference, at a two-sided level of 5 %
POWER, LEVEL = 0.8, 0.05


@dataclass(frozen=True)
class Division:
    """The used rows of a task, and their division.

    Attributes:
        rows: the rows.
        labels: the label of each, as its place among the task's labels.
        groups: the number of each row's pair.
        splits: (train, test) places among `rows`; a single split if the task has test rows.
        left_out: training rows whose text is also in test.
    """

    rows: tuple[Example, ...]
    labels: Int[np.ndarray, " rows"]
    groups: Int[np.ndarray, " rows"]
    splits: tuple[tuple[Int[np.ndarray, " train"], Int[np.ndarray, " test"]], ...]
    left_out: int


def divide(task: Task, *, rows: int, seed: int, splits: int = SPLITS) -> Division:
    """Divide a task: by its own test rows, or else into several random splits with a fifth for testing.

    Rows of a pair stay together. Training rows whose text is also in test are left out. If there are more than
    `rows`, that many are drawn, from train and test in proportion.

    Raises:
        GlossaeError: there are too few rows for training or testing, or a label is in one part only.
    """
    generator = np.random.default_rng(seed)
    test = list(task.test or ())
    tested = {row.text for row in test}
    kept = [row for row in task.train if row.text not in tested]
    left_out = len(task.train) - len(kept)
    share = min(1.0, rows / max(1, len(kept) + len(test)))
    kept, test = _drawn(kept, share, generator), _drawn(test, share, generator)
    used = (*kept, *test)
    labels = np.array([task.labels.index(row.label) for row in used], dtype=np.int64)
    # pairs of train and test are different, whatever their names
    named = [f"{place >= len(kept)} {row.pair}" for place, row in enumerate(used)]
    groups = np.unique(named, return_inverse=True)[1].astype(np.int64) if used else labels
    if test:
        parts = [(np.arange(len(kept)), np.arange(len(kept), len(used)))]
    else:
        parts = [_split(groups, generator) for _ in range(splits)]
    for learned, tried in parts:
        for what, place in (("learn from", learned), ("test on", tried)):
            missing = set(range(len(task.labels))) - set(labels[place].tolist())
            if missing:
                raise GlossaeError(
                    f"{task.source}: among the {len(place)} rows to {what} none has the label "
                    f"{task.labels[min(missing)]!r}: give more rows"
                )
    return Division(used, labels, groups, tuple(parts), left_out)


def _drawn(rows: Sequence[Example], share: float, generator: np.random.Generator) -> list[Example]:
    """A random share of the pairs, in their order."""
    if share >= 1:
        return list(rows)
    pairs = list(dict.fromkeys(row.pair for row in rows))
    chosen = generator.permutation(len(pairs))[: int(share * len(pairs))]
    taken = {pairs[place] for place in chosen}
    return [row for row in rows if row.pair in taken]


def _split(groups: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    order = generator.permutation(groups.max() + 1)
    held = np.isin(groups, order[: max(1, round(TEST_SHARE * len(order)))])
    return np.flatnonzero(~held), np.flatnonzero(held)


def _f1(confusions: Confusions) -> Float[np.ndarray, "*more labels"]:
    right = np.diagonal(confusions, axis1=-2, axis2=-1)
    both = confusions.sum(-1) + confusions.sum(-2)
    return np.asarray(np.divide(2 * right, both, out=np.zeros_like(both), where=both > 0))


def macro_f1(confusions: Confusions) -> Float[np.ndarray, "*more"]:
    """The mean over labels of F1 = 2 tp / (2 tp + fp + fn); a label that never occurs has 0."""
    return np.asarray(_f1(confusions).mean(-1))


def weighted_f1(confusions: Confusions) -> Float[np.ndarray, "*more"]:
    """The mean F1 weighted by the labels' numbers of rows; the paper's measure."""
    support = confusions.sum(-1)
    return np.asarray((_f1(confusions) * support).sum(-1) / support.sum(-1))


def matthews(confusions: Confusions) -> Float[np.ndarray, "*more"]:
    """Matthews' correlation, for any number of labels (Gorodkin 2004, equation 8); 0 where only one is predicted."""
    rows, truth, predicted = confusions.sum((-1, -2)), confusions.sum(-1), confusions.sum(-2)
    right = np.trace(confusions, axis1=-2, axis2=-1)
    above = right * rows - (truth * predicted).sum(-1)
    below = np.sqrt((rows**2 - (predicted**2).sum(-1)) * (rows**2 - (truth**2).sum(-1)))
    return np.asarray(np.divide(above, below, out=np.zeros_like(below), where=below > 0))


METRICS: dict[Metric, Measure] = {"macro_f1": macro_f1, "mcc": matthews, "weighted_f1": weighted_f1}


def confusion(
    truth: Int[np.ndarray, " rows"], predicted: Int[np.ndarray, " rows"], labels: int
) -> Confusions:
    """The confusion matrix of one set of predictions."""
    counts = np.bincount(truth * labels + predicted, minlength=labels * labels)
    return counts.reshape(labels, labels).astype(np.float64)


class ScoreComparison(NamedTuple):
    """The score of one arm and its difference from the base; columns of `TaskScore`."""

    score: float
    ci_low: float
    ci_high: float
    delta: float
    delta_low: float
    delta_high: float
    p: float | None
    detectable: float | None


def by_bootstrap(
    truth: Int[np.ndarray, " rows"],
    predicted: Int[np.ndarray, "arms seeds rows"],
    groups: Sequence[str],
    bases: Sequence[int],
    metric: Metric,
    *,
    labels: int,
    draws: int,
    seed: int,
) -> list[ScoreComparison]:
    """Scores on one test set, with resamples of groups of rows and of seeds, in common for all arms.

    A p-value is twice the smaller share of resampled differences on either side of 0, `(b + 1) / (draws + 1)`;
    a base has none.

    Args:
        predicted: each arm's predictions, once for each training seed.
        groups: rows with the same number are drawn together.
    """
    arms, seeds, _ = predicted.shape
    size = labels * labels
    _, place = np.unique(np.asarray(groups), return_inverse=True)
    cells = np.zeros((place.max() + 1, arms * seeds, size))
    for column, row in enumerate(predicted.reshape(arms * seeds, -1)):
        np.add.at(cells[:, column], (place, truth * labels + row), 1)
    measure = METRICS[metric]
    whole = measure(cells.sum(0).reshape(arms, seeds, labels, labels)).mean(1)
    generator = np.random.default_rng(seed)
    count = len(cells)
    weights = bootstrap_weights(generator, count, draws)
    tables = (weights @ cells.reshape(count, -1)).reshape(draws, arms, seeds, labels, labels)
    scores = measure(tables)
    # seeds are common to all arms, so the same ones are drawn for all
    chosen = generator.integers(seeds, size=(draws, seeds))
    scores = np.take_along_axis(scores, chosen[:, None, :], axis=2).mean(2)
    found = []
    for arm, base in enumerate(bases):
        deltas = scores[:, arm] - scores[:, base]
        side = min((deltas <= 0).sum(), (deltas >= 0).sum())
        spread = float(deltas.std(ddof=1))
        reach = float(stats.norm.ppf(1 - LEVEL / 2) + stats.norm.ppf(POWER))
        compared = ScoreComparison(
            float(whole[arm]),
            *interval(scores[:, arm]),
            float(whole[arm] - whole[base]),
            *interval(deltas),
            None if arm == base else float(min(1.0, 2 * (side + 1) / (draws + 1))),
            None if arm == base or spread == 0 else spread * reach,
        )
        found.append(compared)
    return found


def by_splits(
    scores: Float[np.ndarray, "splits arms"], bases: Sequence[int], *, train: int, test: int
) -> list[ScoreComparison]:
    """Scores on several random splits: Student's t with a variance corrected for overlapping training sets.

    The variance of a mean over J splits is (1 / J + test / train) s^2 (Nadeau and Bengio 2003, *Inference for the
    generalization error*, equation 8).
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
        if arm == base:
            p = None
        elif delta == 0 or apart == 0:
            p = float(delta == 0)
        else:
            p = float(2 * stats.t.sf(abs(delta) / apart, count - 1))
        detectable = None if arm == base or apart == 0 else (reach + power) * apart
        ends = (delta, delta - reach * apart, delta + reach * apart)
        found.append(
            ScoreComparison(score, score - reach * error, score + reach * error, *ends, p, detectable)
        )
    return found


def task_set(units: Sae | Units, edits: Sequence[Edit], name: str) -> UnitSet:
    """A set with all ways that a model is run on a task: as it is, spliced where an edit is spliced, every edit.

    Edits that are no more than one of the first two are left out.
    """
    spliced = [Edit("none", splice=True)] if any(edit.splice for edit in edits) else []
    ways = (None, *spliced, *(edit for edit in edits if edit.units))
    return UnitSet(name, units, sweep=[Step(units, edit) for edit in ways])


def bases(steps: Sweep) -> list[int]:
    """The step that each is compared with: no edit, with the same splice."""
    return [int(step.edit is not None and step.edit.splice) for step in steps]


def score_rows(
    task: Task,
    sets: Sequence[UnitSet],
    compared: Sequence[ScoreComparison],
    converged: Sequence[bool] | None = None,
    *,
    splits: int = 1,
    seeds: int = 1,
    penalty: float | None = None,
    **facts: Any,
) -> list[TaskScore]:
    """A row of the table for each step of some sets."""
    steps = [(own.name, step) for own in sets for step in own.sweep]
    return [
        TaskScore(
            task=task.name,
            language=task.language,
            units=name,
            kind=step.kind,
            **edit_columns(step.edit),
            **found._asdict(),
            splits=splits,
            seeds=seeds,
            converged=None if converged is None else converged[number],
            penalty=penalty,
            **facts,
        )
        for number, ((name, step), found) in enumerate(zip(steps, compared, strict=True))
    ]
