"""Measure how editing units changes the scores of downstream tasks."""

from glossae.tasks.controlled import States, check_rows, controlled, encode_texts, fit_unscaled, states_under
from glossae.tasks.fine_tuned import Tuning, fine_tuned, peft_library
from glossae.tasks.scoring import bases, by_bootstrap, score_rows, task_set

__all__ = [
    "States",
    "Tuning",
    "bases",
    "by_bootstrap",
    "check_rows",
    "controlled",
    "encode_texts",
    "fine_tuned",
    "fit_unscaled",
    "peft_library",
    "score_rows",
    "states_under",
    "task_set",
]
