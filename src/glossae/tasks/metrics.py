"""Scores of predictions, from tables of how often each label was taken for each."""

from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

Confusions = Float[np.ndarray, "*more labels labels"]
"""How many rows of a label (second to last) were taken for which (last)."""
Metric = Literal["macro_f1", "mcc", "weighted_f1"]


def _f1(confusions: Confusions) -> Float[np.ndarray, "*more labels"]:
    right = np.diagonal(confusions, axis1=-2, axis2=-1)
    both = confusions.sum(-1) + confusions.sum(-2)
    return np.asarray(np.divide(2 * right, both, out=np.zeros_like(both), where=both > 0))


def macro_f1(confusions: Confusions) -> Float[np.ndarray, "*more"]:
    """The mean over labels of F1 = 2 tp / (2 tp + fp + fn); a label that is nowhere has 0."""
    return np.asarray(_f1(confusions).mean(-1))


def weighted_f1(confusions: Confusions) -> Float[np.ndarray, "*more"]:
    """The same, each label as much as it has rows; the paper's measure."""
    support = confusions.sum(-1)
    return np.asarray((_f1(confusions) * support).sum(-1) / support.sum(-1))


def matthews(confusions: Confusions) -> Float[np.ndarray, "*more"]:
    """Matthews' correlation, for any number of labels (Gorodkin 2004, equation 8); 0 where only one is predicted."""
    rows, truth, said = confusions.sum((-1, -2)), confusions.sum(-1), confusions.sum(-2)
    right = np.trace(confusions, axis1=-2, axis2=-1)
    above = right * rows - (truth * said).sum(-1)
    below = np.sqrt((rows**2 - (said**2).sum(-1)) * (rows**2 - (truth**2).sum(-1)))
    return np.asarray(np.divide(above, below, out=np.zeros_like(below), where=below > 0))


METRICS: dict[Metric, Callable[[Confusions], Float[np.ndarray, "*more"]]] = {
    "macro_f1": macro_f1,
    "mcc": matthews,
    "weighted_f1": weighted_f1,
}


def confusion(truth: Int[np.ndarray, " rows"], said: Int[np.ndarray, " rows"], labels: int) -> Confusions:
    """The table of one set of predictions."""
    counts = np.bincount(truth * labels + said, minlength=labels * labels)
    return counts.reshape(labels, labels).astype(np.float64)
