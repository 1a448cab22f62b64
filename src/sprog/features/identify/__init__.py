"""Telling languages apart: by a few units, by the whole activation, and by characters alone."""

from sprog.features.identify.dense import identify_by_activations, identify_by_ngrams, sentence_means
from sprog.features.identify.evaluation import UNANSWERED, Identified, evaluate
from sprog.features.identify.from_units import identify_by_largest, identify_languages, pick
from sprog.features.identify.ngrams import NgramModel
from sprog.features.identify.regression import Regression

__all__ = [
    "UNANSWERED",
    "Identified",
    "NgramModel",
    "Regression",
    "evaluate",
    "identify_by_activations",
    "identify_by_largest",
    "identify_by_ngrams",
    "identify_languages",
    "pick",
    "sentence_means",
]
