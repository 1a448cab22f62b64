"""Which units are the language: streamed statistics, the rule that selects, and a closer look."""

from sprog.features import identify, scores, testing
from sprog.features.cosine import SAME
from sprog.features.detail import UnitDetail, auroc, fired_values, unit_details
from sprog.features.lape import LapeNeurons, lape
from sprog.features.matching import MatchedTokenisation, match_tokenisation, tokenisation
from sprog.features.passages import passages
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
from sprog.features.select import Selection, paper_rule, select
from sprog.features.sketch import LAYOUTS, Estimate, Layout
from sprog.features.stability import LatentMatch, LatentMatcher, Shares, match_latents
from sprog.features.statistics import UnitStatistics, merge
from sprog.features.storing import load_statistics, save_statistics
from sprog.features.streaming import Counter, collect, collect_all, latent_statistics
from sprog.features.table import SentenceTable
from sprog.features.texts import readable_tokens, sentences_to_show, token_texts
from sprog.features.units import (
    CountedUnits,
    Directions,
    Fired,
    Kind,
    Latents,
    Moments,
    Neurons,
    Units,
    activation_moments,
    activation_samples,
    changed,
    check_ids,
    difference_of_means,
    discriminants,
    merge_moments,
    probe_normal,
    random_directions,
)

__all__ = [
    "LAYOUTS",
    "SAME",
    "CountedUnits",
    "Counter",
    "Directions",
    "Estimate",
    "Fired",
    "Kind",
    "Kinds",
    "LapeNeurons",
    "LatentMatch",
    "LatentMatcher",
    "Latents",
    "Layout",
    "MatchedTokenisation",
    "Matching",
    "Moments",
    "Neurons",
    "PlantedSentences",
    "PlantedWorld",
    "Score",
    "Selection",
    "SentenceTable",
    "Shares",
    "UnitDetail",
    "UnitStatistics",
    "Units",
    "activation_moments",
    "activation_samples",
    "auroc",
    "changed",
    "check_ids",
    "collect",
    "collect_all",
    "difference_of_means",
    "discriminants",
    "draw_sentences",
    "fired_values",
    "identify",
    "lape",
    "latent_statistics",
    "load_statistics",
    "match",
    "match_latents",
    "match_tokenisation",
    "merge",
    "merge_moments",
    "paper_rule",
    "passages",
    "probe_normal",
    "random_directions",
    "readable_tokens",
    "save_statistics",
    "score",
    "score_latents",
    "scores",
    "select",
    "sentences_to_show",
    "testing",
    "token_texts",
    "tokenisation",
    "unit_details",
]
