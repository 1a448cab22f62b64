"""Units of a model, and what one streaming pass counts of them: latents, neurons and directions."""

from glossae.units.detail import UnitDetail, auroc, fired_values, unit_details
from glossae.units.directions import Directions
from glossae.units.latents import Latents
from glossae.units.making import difference_of_means, discriminants, oas, probe_normal, random_directions
from glossae.units.moments import Moments, activation_moments, activation_samples, merge_moments
from glossae.units.neurons import Neurons
from glossae.units.protocol import CountedUnits, Fired, Kind, Units, changed, check_ids
from glossae.units.sketch import LAYOUTS, Estimate, Layout
from glossae.units.statistics import UnitStatistics, merge
from glossae.units.storing import load_statistics, save_statistics
from glossae.units.streaming import Counter, collect, collect_all, latent_statistics
from glossae.units.table import SentenceTable
from glossae.units.texts import readable_tokens, sentences_to_show, token_texts

__all__ = [
    "LAYOUTS",
    "CountedUnits",
    "Counter",
    "Directions",
    "Estimate",
    "Fired",
    "Kind",
    "Latents",
    "Layout",
    "Moments",
    "Neurons",
    "SentenceTable",
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
    "fired_values",
    "latent_statistics",
    "load_statistics",
    "merge",
    "merge_moments",
    "oas",
    "probe_normal",
    "random_directions",
    "readable_tokens",
    "save_statistics",
    "sentences_to_show",
    "token_texts",
    "unit_details",
]
