"""Downstream tasks with an edit in place: what it does to what can be read off the model's final state."""

from sprog.effects.tasks.arms import Arm, arms_of
from sprog.effects.tasks.as_coded import as_coded
from sprog.effects.tasks.controlled import controlled
from sprog.effects.tasks.erasing import erase_labels
from sprog.effects.tasks.features import encode_texts, padded_states, pooled_states
from sprog.effects.tasks.fine_tuned import Tuning, fine_tuned
from sprog.effects.tasks.metrics import METRICS, Metric, macro_f1, matthews, weighted_f1
from sprog.effects.tasks.rows import TaskScore

__all__ = [
    "METRICS",
    "Arm",
    "Metric",
    "TaskScore",
    "Tuning",
    "arms_of",
    "as_coded",
    "controlled",
    "encode_texts",
    "erase_labels",
    "fine_tuned",
    "macro_f1",
    "matthews",
    "padded_states",
    "pooled_states",
    "weighted_f1",
]
