"""Which units are the language: streamed statistics, the rule that selects, and a closer look."""

from sprog.features import scores
from sprog.features.detail import UnitDetail, auroc, fired_values, unit_details
from sprog.features.select import Selection, select
from sprog.features.statistics import LatentStatistics, latent_statistics
from sprog.features.texts import readable_tokens, sentences_to_show, token_texts

__all__ = [
    "LatentStatistics",
    "Selection",
    "UnitDetail",
    "auroc",
    "fired_values",
    "latent_statistics",
    "readable_tokens",
    "scores",
    "select",
    "sentences_to_show",
    "token_texts",
    "unit_details",
]
