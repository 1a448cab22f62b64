"""A planted world: activations whose features are known, and selections scored against the truth."""

from glossae.find.cosine import SAME
from glossae.find.planted.law import SentenceLaw, auroc_of
from glossae.find.planted.sample import PlantedSentences, draw_sentences
from glossae.find.planted.scoring import Matching, Score, match, score, score_latents
from glossae.find.planted.settings import Kinds
from glossae.find.planted.world import PlantedWorld

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
