"""Which units stand for a language: rules, tests with error rates, scores, identification, stability."""

from glossae.evidence import identify, scores, testing
from glossae.evidence.comparable import MatchedTokenisation, match_tokenisation, passages, tokenisation
from glossae.evidence.identify import UNANSWERED, NgramModel
from glossae.evidence.lape import LapeNeurons, lape
from glossae.evidence.select import Selection, paper_rule, select
from glossae.evidence.stability import SAME, LatentMatch, LatentMatcher, Shares, match_latents
from glossae.evidence.testing import auroc_table

__all__ = [
    "SAME",
    "UNANSWERED",
    "LapeNeurons",
    "LatentMatch",
    "LatentMatcher",
    "MatchedTokenisation",
    "NgramModel",
    "Selection",
    "Shares",
    "auroc_table",
    "identify",
    "lape",
    "match_latents",
    "match_tokenisation",
    "paper_rule",
    "passages",
    "scores",
    "select",
    "testing",
    "tokenisation",
]
