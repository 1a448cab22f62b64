"""`glossae doctor`: what this machine has, what it would choose, and what is missing for which feature."""

from glossae.doctor.page import HELP, examine

__all__ = [
    "HELP",
    "examine",
]
