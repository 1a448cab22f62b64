"""Downstream tasks: their rows, and what units change about them."""

from glossae.tasks.controlled import States, controlled, encode_texts, fitted, states_under
from glossae.tasks.fine_tuned import Tuning, fine_tuned
from glossae.tasks.scoring import bases, by_bootstrap, score_rows, task_set

__all__ = [
    "States",
    "Tuning",
    "bases",
    "by_bootstrap",
    "controlled",
    "encode_texts",
    "fine_tuned",
    "fitted",
    "score_rows",
    "states_under",
    "task_set",
]
