"""Which layer tells the languages apart: probes along a path of penalties, on every layer."""

from glossae.probe.agreement import rank_agreement
from glossae.probe.as_coded import AsCodedCell, AsCodedRow, as_coded_table, paper_batches, replay_layers
from glossae.probe.nearest import (
    LEAST_SENTENCES,
    NearestLayer,
    Separation,
    language_layers,
    nearest_candidates,
)
from glossae.probe.path import TOLERANCE, ProbePath, Solution
from glossae.probe.sample import ProbeSample, sample_sentences
from glossae.probe.sweep import LayerChoice, LayerScore, ProbeCell, choose_layer, probe_layers

__all__ = [
    "LEAST_SENTENCES",
    "TOLERANCE",
    "AsCodedCell",
    "AsCodedRow",
    "LayerChoice",
    "LayerScore",
    "NearestLayer",
    "ProbeCell",
    "ProbePath",
    "ProbeSample",
    "Separation",
    "Solution",
    "as_coded_table",
    "choose_layer",
    "language_layers",
    "nearest_candidates",
    "paper_batches",
    "probe_layers",
    "rank_agreement",
    "replay_layers",
    "sample_sentences",
]
