"""Units of every kind behind one interface."""

from glossae.features.units.directions import Directions
from glossae.features.units.latents import Latents
from glossae.features.units.making import (
    difference_of_means,
    discriminants,
    oas,
    probe_normal,
    random_directions,
)
from glossae.features.units.moments import Moments, activation_moments, activation_samples, merge_moments
from glossae.features.units.neurons import Neurons
from glossae.features.units.protocol import CountedUnits, Fired, Kind, Units, changed, check_ids

__all__ = [
    "CountedUnits",
    "Directions",
    "Fired",
    "Kind",
    "Latents",
    "Moments",
    "Neurons",
    "Units",
    "activation_moments",
    "activation_samples",
    "changed",
    "check_ids",
    "difference_of_means",
    "discriminants",
    "merge_moments",
    "oas",
    "probe_normal",
    "random_directions",
]
