"""Measure how editing units changes the scores of downstream tasks."""

from glossae.tasks.controlled import States, controlled, encode_texts, fit_unscaled, states_under
from glossae.tasks.fine_tuned import Tuning, fine_tuned
from glossae.tasks.scoring import Arms, TaskScore

__all__ = [
    "Arms",
    "States",
    "TaskScore",
    "Tuning",
    "controlled",
    "encode_texts",
    "fine_tuned",
    "fit_unscaled",
    "states_under",
]
