"""A planted world: activations whose features are known, and selections scored against the truth."""

from sprog.features.cosine import SAME
from sprog.features.planted.law import SentenceLaw, auroc_of
from sprog.features.planted.sample import PlantedSentences, draw_sentences
from sprog.features.planted.scoring import Matching, Score, match, score, score_latents
from sprog.features.planted.settings import Kinds
from sprog.features.planted.world import PlantedWorld

__all__ = [
    "SAME",
    "Kinds",
    "Matching",
    "PlantedSentences",
    "PlantedWorld",
    "Score",
    "SentenceLaw",
    "auroc_of",
    "draw_sentences",
    "match",
    "score",
    "score_latents",
]
