"""Units of a model, and what one streaming pass counts of them: latents, neurons and directions."""

from glossae.units.contexts import (
    UnitDetail,
    readable_tokens,
    sentences_to_show,
    token_texts,
    unit_details,
    unit_row,
)
from glossae.units.counting import Counter, UnitStatistics, collect, collect_all, latent_statistics
from glossae.units.directions import (
    Moments,
    activation_moments,
    activation_samples,
    difference_of_means,
    discriminants,
    probe_normal,
    random_directions,
)
from glossae.units.histograms import LAYOUTS
from glossae.units.kinds import (
    CountedUnits,
    Directions,
    Fired,
    Kind,
    Latents,
    Neurons,
    Units,
    changed,
    check_ids,
)
from glossae.units.sentences import SentenceTable

__all__ = [
    "LAYOUTS",
    "CountedUnits",
    "Counter",
    "Directions",
    "Fired",
    "Kind",
    "Latents",
    "Moments",
    "Neurons",
    "SentenceTable",
    "UnitDetail",
    "UnitStatistics",
    "Units",
    "activation_moments",
    "activation_samples",
    "changed",
    "check_ids",
    "collect",
    "collect_all",
    "difference_of_means",
    "discriminants",
    "latent_statistics",
    "probe_normal",
    "random_directions",
    "readable_tokens",
    "sentences_to_show",
    "token_texts",
    "unit_details",
    "unit_row",
]
