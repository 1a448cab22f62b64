"""Which units are the language: streamed statistics, the rule that selects, and a closer look."""

from glossae.features import identify, scores, testing
from glossae.features.cosine import SAME
from glossae.features.detail import UnitDetail, auroc, fired_values, unit_details
from glossae.features.lape import LapeNeurons, lape
from glossae.features.matching import MatchedTokenisation, match_tokenisation, tokenisation
from glossae.features.passages import passages
from glossae.features.planted import (
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
from glossae.features.select import Selection, paper_rule, select
from glossae.features.sketch import LAYOUTS, Estimate, Layout
from glossae.features.stability import LatentMatch, LatentMatcher, Shares, match_latents
from glossae.features.statistics import UnitStatistics, merge
from glossae.features.storing import load_statistics, save_statistics
from glossae.features.streaming import Counter, collect, collect_all, latent_statistics
from glossae.features.table import SentenceTable
from glossae.features.texts import readable_tokens, sentences_to_show, token_texts
from glossae.features.units import (
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
