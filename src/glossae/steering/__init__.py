"""Steer what a model writes, and measure the language of it."""

from glossae.steering.steering import MATCHED_KL, PROMPTS, Steered, continuations, steer
from glossae.steering.written import lingua_languages, lingua_version

__all__ = [
    "MATCHED_KL",
    "PROMPTS",
    "Steered",
    "continuations",
    "lingua_languages",
    "lingua_version",
    "steer",
]
