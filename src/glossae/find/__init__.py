"""Which units are the language: streamed statistics, the rule that selects, and a closer look."""

from glossae.find import identify, scores, testing
from glossae.find.cosine import SAME
from glossae.find.identify import UNANSWERED, NgramModel
from glossae.find.lape import LapeNeurons, lape
from glossae.find.matching import MatchedTokenisation, match_tokenisation, tokenisation
from glossae.find.passages import passages
from glossae.find.planted.law import SentenceLaw, auroc_of
from glossae.find.planted.sample import PlantedSentences, draw_sentences
from glossae.find.planted.scoring import Matching, Score, match, score, score_latents
from glossae.find.planted.settings import Kinds
from glossae.find.planted.world import PlantedWorld
from glossae.find.select import Selection, paper_rule, select
from glossae.find.stability.matched import LatentMatch, LatentMatcher, Shares, match_latents
from glossae.find.testing.auroc import auroc_table
from glossae.find.testing.families import Evidence, test_units
from glossae.find.testing.family_wise import multipliers
from glossae.find.testing.fdr import q_values
from glossae.find.testing.frozen import FrozenSet, freeze, load_frozen, replicate
from glossae.find.testing.minimum import exact_p, minimum_p, perfect_p, studentised
from glossae.find.testing.panel import carried_languages, check_panel, check_power, comparisons_needed
from glossae.find.testing.permutation import permutations

__all__ = [
    "SAME",
    "UNANSWERED",
    "Evidence",
    "FrozenSet",
    "Kinds",
    "LapeNeurons",
    "LatentMatch",
    "LatentMatcher",
    "MatchedTokenisation",
    "Matching",
    "NgramModel",
    "PlantedSentences",
    "PlantedWorld",
    "Score",
    "Selection",
    "SentenceLaw",
    "Shares",
    "auroc_of",
    "auroc_table",
    "carried_languages",
    "check_panel",
    "check_power",
    "comparisons_needed",
    "draw_sentences",
    "exact_p",
    "freeze",
    "identify",
    "lape",
    "load_frozen",
    "match",
    "match_latents",
    "match_tokenisation",
    "minimum_p",
    "multipliers",
    "paper_rule",
    "passages",
    "perfect_p",
    "permutations",
    "q_values",
    "replicate",
    "score",
    "score_latents",
    "scores",
    "select",
    "studentised",
    "test_units",
    "testing",
    "tokenisation",
]
