"""Scores of units for a language, one function each, and whether they order units alike."""

from glossae.find.scores.agreement import Agreement, agreement, best_units
from glossae.find.scores.areas import Areas, sentence_areas, token_areas
from glossae.find.scores.attribution import Attribution, attribution_difference, gradient_attribution
from glossae.find.scores.counts import TokenCounts, sentence_firing
from glossae.find.scores.entropy import Assigned, entropy, lape, sae_lape
from glossae.find.scores.evidence import Evidence
from glossae.find.scores.information import (
    LogOdds,
    f_statistic,
    log_odds,
    mutual_information,
    sentence_moments,
)
from glossae.find.scores.overlap import histogram_overlap
from glossae.find.scores.random_tokens import (
    MAX_RANDOM,
    MIN_RATE,
    random_token_difference,
    random_token_filter,
    random_token_sequences,
)
from glossae.find.scores.rates import mean_difference, passes_paper_rule, rate_difference
from glossae.find.scores.registry import HIGHER_IS_BETTER, SCORES, Score, all_scores, chosen_by
from glossae.find.scores.sparse_probe import AdaptiveProbe, ProbeFit, adaptive_probe, l1_probe

__all__ = [
    "HIGHER_IS_BETTER",
    "MAX_RANDOM",
    "MIN_RATE",
    "SCORES",
    "AdaptiveProbe",
    "Agreement",
    "Areas",
    "Assigned",
    "Attribution",
    "Evidence",
    "LogOdds",
    "ProbeFit",
    "Score",
    "TokenCounts",
    "adaptive_probe",
    "agreement",
    "all_scores",
    "attribution_difference",
    "best_units",
    "chosen_by",
    "entropy",
    "f_statistic",
    "gradient_attribution",
    "histogram_overlap",
    "l1_probe",
    "lape",
    "log_odds",
    "mean_difference",
    "mutual_information",
    "passes_paper_rule",
    "random_token_difference",
    "random_token_filter",
    "random_token_sequences",
    "rate_difference",
    "sae_lape",
    "sentence_areas",
    "sentence_firing",
    "sentence_moments",
    "token_areas",
]
