"""Which units stand for a language: the rate rule, tests with error rates, confounders, identification, stability."""

from glossae.evidence import families, identify, layers, panels, scores, testing
from glossae.evidence.comparable import match_tokenisation, passages, tokenisation
from glossae.evidence.families import Family, find_families, own_claim
from glossae.evidence.identify import UNANSWERED, NgramModel
from glossae.evidence.lape import LapeNeurons, check_lape, lape
from glossae.evidence.layers import nearest_language, short_sizes
from glossae.evidence.panels import Panel, first_sentences
from glossae.evidence.result import evidence_result
from glossae.evidence.select import Selection, paper_rule, select
from glossae.evidence.settings import EvidenceSettings
from glossae.evidence.stability import LatentMatch, LatentMatcher, match_latents, stability_result
from glossae.evidence.testing import auroc_table

__all__ = [
    "UNANSWERED",
    "EvidenceSettings",
    "Family",
    "LapeNeurons",
    "LatentMatch",
    "LatentMatcher",
    "NgramModel",
    "Panel",
    "Selection",
    "auroc_table",
    "check_lape",
    "evidence_result",
    "families",
    "find_families",
    "first_sentences",
    "identify",
    "lape",
    "layers",
    "match_latents",
    "match_tokenisation",
    "nearest_language",
    "own_claim",
    "panels",
    "paper_rule",
    "passages",
    "scores",
    "select",
    "short_sizes",
    "stability_result",
    "testing",
    "tokenisation",
]
