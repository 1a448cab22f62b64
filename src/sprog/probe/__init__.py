"""Which layer tells the languages apart: probes along a path of penalties, on every layer."""

from sprog.probe.path import TOLERANCE, ProbePath, Solution
from sprog.probe.sample import ProbeSample, sample_sentences
from sprog.probe.sweep import LayerChoice, ProbeCell, choose_layer, probe_layers

__all__ = [
    "TOLERANCE",
    "LayerChoice",
    "ProbeCell",
    "ProbePath",
    "ProbeSample",
    "Solution",
    "choose_layer",
    "probe_layers",
    "sample_sentences",
]
