"""Probes on every layer, along a path of penalties, and the choice of the layer that separates the languages."""

from glossae.probing.layers import (
    ProbeCell,
    ProbeSample,
    StoredLayers,
    choose_layer,
    clustered_mean,
    probe_layers,
    rank_agreement,
    sample_sentences,
    stored_layers,
)
from glossae.probing.nearest import (
    LEAST_SENTENCES,
    NearestLayer,
    Separation,
    language_layers,
    nearest_candidates,
)
from glossae.probing.path import ProbePath

__all__ = [
    "LEAST_SENTENCES",
    "NearestLayer",
    "ProbeCell",
    "ProbePath",
    "ProbeSample",
    "Separation",
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
