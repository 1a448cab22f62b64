"""Telling languages apart: by a few units, by the whole activation, and by characters alone."""

from glossae.find.identify.dense import identify_by_activations, sentence_means, sentence_rows
from glossae.find.identify.evaluation import UNANSWERED, Identified, evaluate
from glossae.find.identify.from_units import (
    identify_by_largest,
    identify_languages,
    identify_sentences,
    identify_sentences_by_largest,
    pick,
)
from glossae.find.identify.likelihood import (
    identify_by_likelihood,
    identify_by_ngrams,
    identify_tokens_by_ngrams,
    sentence_likelihoods,
    token_likelihoods,
)
from glossae.find.identify.ngrams import NgramModel
from glossae.find.identify.regression import Regression
from glossae.find.identify.rows import Rows, identify_rows
from glossae.find.identify.tokens import (
    TokenSample,
    identify_tokens,
    identify_tokens_by_activations,
    sample_tokens,
)

__all__ = [
    "UNANSWERED",
    "Identified",
    "NgramModel",
    "Regression",
    "Rows",
    "TokenSample",
    "evaluate",
    "identify_by_activations",
    "identify_by_largest",
    "identify_by_likelihood",
    "identify_by_ngrams",
    "identify_languages",
    "identify_rows",
    "identify_sentences",
    "identify_sentences_by_largest",
    "identify_tokens",
    "identify_tokens_by_activations",
    "identify_tokens_by_ngrams",
    "pick",
    "sample_tokens",
    "sentence_likelihoods",
    "sentence_means",
    "sentence_rows",
    "token_likelihoods",
]
