"""Units of every kind behind one interface."""

from sprog.features.units.protocol import Fired, Kind, Units

__all__ = ["Fired", "Kind", "Units"]
