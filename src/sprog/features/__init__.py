"""Which units are the language: streamed statistics, the rule that selects, and a closer look."""

from sprog.features.detail import UnitDetail, auroc, fired_values, unit_details
from sprog.features.planted import (
    Kinds,
    Matching,
    PlantedSentences,
    PlantedWorld,
    Score,
    draw_sentences,
    match,
    score,
    score_latents,
)
from sprog.features.select import Selection, select
from sprog.features.statistics import LatentStatistics, latent_statistics
from sprog.features.texts import readable_tokens, sentences_to_show, token_texts

__all__ = [
    "Kinds",
    "LatentStatistics",
    "Matching",
    "PlantedSentences",
    "PlantedWorld",
    "Score",
    "Selection",
    "UnitDetail",
    "auroc",
    "draw_sentences",
    "fired_values",
    "latent_statistics",
    "match",
    "readable_tokens",
    "score",
    "score_latents",
    "select",
    "sentences_to_show",
    "token_texts",
    "unit_details",
]
