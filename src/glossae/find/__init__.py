"""Which units stand for a language: rules, tests with error rates, scores, identification, stability."""

from glossae.find import identify, scores, testing
from glossae.find.comparable import MatchedTokenisation, match_tokenisation, passages, tokenisation
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
from glossae.find.lape import lape
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
from glossae.find.stability import SAME, LatentMatch, LatentMatcher, Shares, match_latents
from glossae.find.testing import auroc_table

__all__ = [
    "HIGHER_IS_BETTER",
    "SAME",
    "SCORES",
    "UNANSWERED",
    "Attribution",
    "LatentMatch",
    "LatentMatcher",
    "MatchedTokenisation",
    "NgramModel",
    "Regression",
    "Rows",
    "Selection",
    "Shares",
    "TokenCounts",
    "TokenSample",
    "adaptive_probe",
    "all_scores",
    "attribution_difference",
    "auroc_table",
    "best_units",
    "chosen_by",
    "evaluate",
    "f_statistic",
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
    "log_odds",
    "match_latents",
    "match_tokenisation",
    "mean_difference",
    "mutual_information",
    "paper_rule",
    "passages",
    "passes_paper_rule",
    "pick",
    "random_token_difference",
    "random_token_filter",
    "random_token_sequences",
    "rate_difference",
    "sae_lape",
    "sample_tokens",
    "scores",
    "select",
    "sentence_areas",
    "sentence_firing",
    "sentence_means",
    "sentence_moments",
    "testing",
    "token_areas",
    "tokenisation",
]
