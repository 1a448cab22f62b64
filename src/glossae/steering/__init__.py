"""Steer what a model writes, and measure the language of it."""

from glossae.steering.steering import MATCHED_KL, PROMPTS, Prompts, Steered, continuations, cut_prompts, steer
from glossae.steering.written import lingua_languages, lingua_version

__all__ = [
    "MATCHED_KL",
    "PROMPTS",
    "Prompts",
    "Steered",
    "continuations",
    "cut_prompts",
    "lingua_languages",
    "lingua_version",
    "steer",
]
