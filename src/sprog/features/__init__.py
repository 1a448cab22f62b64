"""Which units are the language: streamed statistics, the rule that selects, and a closer look."""

from sprog.features.detail import UnitDetail, auroc, fired_values, unit_details
from sprog.features.select import Selection, select
from sprog.features.sketch import LAYOUTS, Estimate, Layout
from sprog.features.statistics import UnitStatistics, merge
from sprog.features.storing import load_statistics, save_statistics
from sprog.features.streaming import Counter, collect, collect_all, latent_statistics
from sprog.features.table import SentenceTable
from sprog.features.texts import readable_tokens, sentences_to_show, token_texts
from sprog.features.units import Directions, Fired, Latents, Neurons, Units, changed, check_ids

__all__ = [
    "LAYOUTS",
    "Counter",
    "Directions",
    "Estimate",
    "Fired",
    "Latents",
    "Layout",
    "Neurons",
    "Selection",
    "SentenceTable",
    "UnitDetail",
    "UnitStatistics",
    "Units",
    "auroc",
    "changed",
    "check_ids",
    "collect",
    "collect_all",
    "fired_values",
    "latent_statistics",
    "load_statistics",
    "merge",
    "readable_tokens",
    "save_statistics",
    "select",
    "sentences_to_show",
    "token_texts",
    "unit_details",
]
