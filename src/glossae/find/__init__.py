"""Which units are the language: streamed statistics, the rule that selects, and a closer look."""

from glossae.find import identify, scores, testing
from glossae.find.cosine import SAME
from glossae.find.identify.dense import identify_by_activations, sentence_means
from glossae.find.identify.evaluation import UNANSWERED, evaluate
from glossae.find.identify.from_units import identify_by_largest, identify_languages, pick
from glossae.find.identify.likelihood import (
    identify_by_likelihood,
    identify_by_ngrams,
    identify_tokens_by_ngrams,
)
from glossae.find.identify.ngrams import NgramModel
from glossae.find.identify.regression import Regression
from glossae.find.identify.rows import Rows
from glossae.find.identify.tokens import (
    TokenSample,
    identify_tokens,
    identify_tokens_by_activations,
    sample_tokens,
)
from glossae.find.lape import LapeNeurons, lape
from glossae.find.matching import MatchedTokenisation, match_tokenisation, tokenisation
from glossae.find.passages import passages
from glossae.find.planted.law import SentenceLaw, auroc_of
from glossae.find.planted.sample import PlantedSentences, draw_sentences
from glossae.find.planted.scoring import Matching, Score, match, score, score_latents
from glossae.find.planted.settings import Kinds
from glossae.find.planted.world import PlantedWorld
from glossae.find.scores.agreement import best_units
from glossae.find.scores.areas import sentence_areas, token_areas
from glossae.find.scores.attribution import Attribution, attribution_difference, gradient_attribution
from glossae.find.scores.counts import TokenCounts, sentence_firing
from glossae.find.scores.entropy import sae_lape
from glossae.find.scores.information import f_statistic, log_odds, mutual_information, sentence_moments
from glossae.find.scores.overlap import histogram_overlap
from glossae.find.scores.random_tokens import (
    random_token_difference,
    random_token_filter,
    random_token_sequences,
)
from glossae.find.scores.rates import mean_difference, passes_paper_rule, rate_difference
from glossae.find.scores.registry import HIGHER_IS_BETTER, SCORES, all_scores, chosen_by
from glossae.find.scores.sparse_probe import adaptive_probe, l1_probe
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
    "HIGHER_IS_BETTER",
    "SAME",
    "SCORES",
    "UNANSWERED",
    "Attribution",
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
    "Regression",
    "Rows",
    "Score",
    "Selection",
    "SentenceLaw",
    "Shares",
    "TokenCounts",
    "TokenSample",
    "adaptive_probe",
    "all_scores",
    "attribution_difference",
    "auroc_of",
    "auroc_table",
    "best_units",
    "carried_languages",
    "check_panel",
    "check_power",
    "chosen_by",
    "comparisons_needed",
    "draw_sentences",
    "evaluate",
    "exact_p",
    "f_statistic",
    "freeze",
    "gradient_attribution",
    "histogram_overlap",
    "identify",
    "identify_by_activations",
    "identify_by_largest",
    "identify_by_likelihood",
    "identify_by_ngrams",
    "identify_languages",
    "identify_tokens",
    "identify_tokens_by_activations",
    "identify_tokens_by_ngrams",
    "l1_probe",
    "lape",
    "load_frozen",
    "log_odds",
    "match",
    "match_latents",
    "match_tokenisation",
    "mean_difference",
    "minimum_p",
    "multipliers",
    "mutual_information",
    "paper_rule",
    "passages",
    "passes_paper_rule",
    "perfect_p",
    "permutations",
    "pick",
    "q_values",
    "random_token_difference",
    "random_token_filter",
    "random_token_sequences",
    "rate_difference",
    "replicate",
    "sae_lape",
    "sample_tokens",
    "score",
    "score_latents",
    "scores",
    "select",
    "sentence_areas",
    "sentence_firing",
    "sentence_means",
    "sentence_moments",
    "studentised",
    "test_units",
    "testing",
    "token_areas",
    "tokenisation",
]
