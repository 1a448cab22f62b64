"""Which units stand for a language: rules, tests with error rates, scores, identification, stability."""

from glossae.find import identify, scores, testing
from glossae.find.comparable import MatchedTokenisation, match_tokenisation, passages, tokenisation
from glossae.find.identify import UNANSWERED, NgramModel
from glossae.find.lape import lape
from glossae.find.select import Selection, paper_rule, select
from glossae.find.stability import SAME, LatentMatch, LatentMatcher, Shares, match_latents
from glossae.find.testing import auroc_table

__all__ = [
    "SAME",
    "UNANSWERED",
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
