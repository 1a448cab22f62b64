"""Steer what a model writes, and measure the language of it."""

from glossae.steering.language_of import Identified, language_of, lingua_languages, lingua_version
from glossae.steering.steering import MATCHED_KL, Steered, SteeredArm, steer
from glossae.steering.written import Ratio, continuation_losses, distinct, repetition, resamples

__all__ = [
    "MATCHED_KL",
    "Identified",
    "Ratio",
    "Steered",
    "SteeredArm",
    "continuation_losses",
    "distinct",
    "language_of",
    "lingua_languages",
    "lingua_version",
    "repetition",
    "resamples",
    "steer",
]
