"""Units of every kind behind one interface."""

from sprog.features.units.directions import Directions
from sprog.features.units.latents import Latents
from sprog.features.units.neurons import Neurons
from sprog.features.units.protocol import Fired, Kind, Units, changed, check_ids

__all__ = ["Directions", "Fired", "Kind", "Latents", "Neurons", "Units", "changed", "check_ids"]
