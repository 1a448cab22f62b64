"""Downstream tasks with an edit in place: what it does to what can be read off the model's final state."""

from glossae.effects.tasks.arms import Arm, arms_of
from glossae.effects.tasks.as_coded import as_coded
from glossae.effects.tasks.controlled import controlled
from glossae.effects.tasks.erasing import erase_labels
from glossae.effects.tasks.features import encode_texts, padded_states, pooled_states
from glossae.effects.tasks.fine_tuned import Tuning, fine_tuned
from glossae.effects.tasks.metrics import METRICS, Metric, macro_f1, matthews, weighted_f1
from glossae.effects.tasks.rows import TaskScore

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
