"""The units of a model (latents, neurons and directions), and their counts from one streaming pass."""

from glossae.units.contexts import (
    UnitDetail,
    readable_tokens,
    sentences_to_show,
    token_texts,
    unit_details,
    unit_row,
)
from glossae.units.counting import Counter, UnitStatistics, collect, collect_all, latent_statistics
from glossae.units.dashboards import (
    Seen,
    look_at_units,
    nearest_units,
    rounded,
    token_counts,
    unit_logits,
)
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
    check_ids,
    set_units,
)
from glossae.units.labels import Endpoint, explain
from glossae.units.sentences import SentenceTable

__all__ = [
    "LAYOUTS",
    "CountedUnits",
    "Counter",
    "Directions",
    "Endpoint",
    "Fired",
    "Kind",
    "Latents",
    "Moments",
    "Neurons",
    "Seen",
    "SentenceTable",
    "UnitDetail",
    "UnitStatistics",
    "Units",
    "activation_moments",
    "activation_samples",
    "check_ids",
    "collect",
    "collect_all",
    "difference_of_means",
    "discriminants",
    "explain",
    "latent_statistics",
    "look_at_units",
    "nearest_units",
    "probe_normal",
    "random_directions",
    "readable_tokens",
    "rounded",
    "sentences_to_show",
    "set_units",
    "token_counts",
    "token_texts",
    "unit_details",
    "unit_logits",
    "unit_row",
]
