"""Downstream tasks: their rows, and what units change about them."""

from glossae.tasks.controlled import States, controlled, encode_texts, fitted, states_under
from glossae.tasks.fine_tuned import Tuning, fine_tuned
from glossae.tasks.scoring import Arms

__all__ = [
    "Arms",
    "States",
    "Tuning",
    "controlled",
    "encode_texts",
    "fine_tuned",
    "fitted",
    "states_under",
]
