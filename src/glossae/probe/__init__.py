"""Which layer tells the languages apart: probes along a path of penalties, on every layer."""

from glossae.probe.agreement import rank_agreement
from glossae.probe.clustered import clustered_mean
from glossae.probe.nearest import (
    LEAST_SENTENCES,
    NearestLayer,
    Separation,
    language_layers,
    nearest_candidates,
)
from glossae.probe.path import TOLERANCE, ProbePath, Solution
from glossae.probe.sample import ProbeSample, sample_sentences
from glossae.probe.stored import StoredLayers, stored_layers
from glossae.probe.sweep import LayerChoice, LayerScore, ProbeCell, choose_layer, probe_layers

__all__ = [
    "LEAST_SENTENCES",
    "TOLERANCE",
    "LayerChoice",
    "LayerScore",
    "NearestLayer",
    "ProbeCell",
    "ProbePath",
    "ProbeSample",
    "Separation",
    "Solution",
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
