"""Downstream tasks: their rows, and what units change about them."""

from glossae.tasks.arms import arms_of, compiled_arms, kind_of
from glossae.tasks.comparing import by_bootstrap
from glossae.tasks.controlled import controlled
from glossae.tasks.erasing import erase_labels
from glossae.tasks.features import encode_texts, padded_states, pooled_states
from glossae.tasks.fine_tuned import Tuning, fine_tuned
from glossae.tasks.metrics import METRICS
from glossae.tasks.rows import TaskScore, score_rows

__all__ = [
    "METRICS",
    "TaskScore",
    "Tuning",
    "arms_of",
    "by_bootstrap",
    "compiled_arms",
    "controlled",
    "encode_texts",
    "erase_labels",
    "fine_tuned",
    "kind_of",
    "padded_states",
    "pooled_states",
    "score_rows",
]
