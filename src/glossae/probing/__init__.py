"""Probes on every layer, along a path of penalties, and the choice of the layer that separates the languages."""

from glossae.probing.layers import (
    ProbeSample,
    StoredLayers,
    choose_layer,
    clustered_mean,
    probe_layers,
    rank_agreement,
    sample_sentences,
    stored_layers,
)
from glossae.probing.nearest import LEAST_SENTENCES, language_layers, nearest_candidates
from glossae.probing.path import ProbePath

__all__ = [
    "LEAST_SENTENCES",
    "ProbePath",
    "ProbeSample",
    "StoredLayers",
    "choose_layer",
    "clustered_mean",
    "language_layers",
    "nearest_candidates",
    "probe_layers",
    "rank_agreement",
    "sample_sentences",
    "stored_layers",
]
