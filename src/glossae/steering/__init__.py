"""Steer the text that a model writes, and measure its language."""

from glossae.steering.measures import lingua_languages, lingua_version
from glossae.steering.steering import MATCHED_KL, PROMPTS, Prompts, Steered, continuations, cut_prompts, steer

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
