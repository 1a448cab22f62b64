"""Units of every kind behind one interface."""

from sprog.features.units.directions import Directions
from sprog.features.units.latents import Latents
from sprog.features.units.making import (
    difference_of_means,
    discriminants,
    oas,
    probe_normal,
    random_directions,
)
from sprog.features.units.moments import Moments, activation_moments, activation_samples, merge_moments
from sprog.features.units.neurons import Neurons
from sprog.features.units.protocol import CountedUnits, Fired, Kind, Units, changed, check_ids

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
