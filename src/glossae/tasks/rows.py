"""What is kept of a task under an edit: a row for each arm and metric."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from glossae.tasks.arms import Arm
from glossae.tasks.comparing import Compared
from glossae.tasks.metrics import Metric
from glossae.text import Task

Protocol = Literal["controlled", "as_coded", "fine_tuned"]


@dataclass(frozen=True)
class TaskScore:
    """A score on a task with an edit in place.

    Attributes:
        task: its name. language: of its texts.
        units: the units' name. kind: latent, neuron or direction.
        edit: raw, none or the operation. splice: None for raw. value: the dose.
        protocol: controlled, as_coded or fine_tuned. metric: macro_f1, mcc or weighted_f1.
        score: with its 95 % interval, `ci_low` to `ci_high`.
        delta: less the score without an edit (for a splice: the splice without one), with its interval and p-value.
        detectable: the smallest true difference that would be found in 80 % of tests like this one, at 5 %.
        n_train: rows to learn from. n_test: rows to test on; of each split, where there are several.
        splits: how many; 1 where the test rows are given or drawn once.
        seeds: trainings behind the score.
        converged: whether the solver did; None for fine-tuning, which has none.
        penalty: the C of the regression; None for fine-tuning.
    """

    task: str
    language: str
    units: str
    kind: str
    edit: str
    splice: bool | None
    value: float | None
    protocol: Protocol
    metric: Metric
    score: float
    ci_low: float
    ci_high: float
    delta: float
    delta_low: float
    delta_high: float
    p: float | None
    detectable: float | None
    n_train: int
    n_test: int
    splits: int
    seeds: int
    converged: bool | None
    penalty: float | None


def score_rows(
    task: Task,
    arms: Sequence[Arm],
    compared: Sequence[Compared],
    *,
    protocol: Protocol,
    metric: Metric,
    n_train: int,
    n_test: int,
    splits: int = 1,
    seeds: int = 1,
    converged: Sequence[bool] | None = None,
    penalty: float | None = None,
) -> list[TaskScore]:
    """A row for each arm."""
    return [
        TaskScore(
            task=task.name,
            language=task.language,
            units=arm.units,
            kind=arm.kind,
            edit="raw" if arm.edit is None else arm.edit.operation,
            splice=None if arm.edit is None else arm.edit.splice,
            value=None if arm.edit is None else arm.edit.value,
            protocol=protocol,
            metric=metric,
            score=found.score,
            ci_low=found.low,
            ci_high=found.high,
            delta=found.delta,
            delta_low=found.delta_low,
            delta_high=found.delta_high,
            p=found.p,
            detectable=found.detectable,
            n_train=n_train,
            n_test=n_test,
            splits=splits,
            seeds=seeds,
            converged=None if converged is None else converged[number],
            penalty=penalty,
        )
        for number, (arm, found) in enumerate(zip(arms, compared, strict=True))
    ]
