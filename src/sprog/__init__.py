"""sprog: find the units inside a language model that stand for a language, and turn them up or down."""

from sprog._version import __version__
from sprog.errors import SprogError

__all__ = ["SprogError", "__version__"]
