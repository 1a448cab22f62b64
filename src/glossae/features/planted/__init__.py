"""A planted world: activations whose features are known, and selections scored against the truth."""

from glossae.features.cosine import SAME
from glossae.features.planted.law import SentenceLaw, auroc_of
from glossae.features.planted.sample import PlantedSentences, draw_sentences
from glossae.features.planted.scoring import Matching, Score, match, score, score_latents
from glossae.features.planted.settings import Kinds
from glossae.features.planted.world import PlantedWorld

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
