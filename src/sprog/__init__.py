"""sprog: find the units inside a language model that stand for a language, and turn them up or down."""

from typing import TYPE_CHECKING, Any

from sprog._version import __version__
from sprog.errors import SprogError

if TYPE_CHECKING:
    from sprog.effects.knob import Knob
    from sprog.run.opening import Run, open_run

__all__ = ["Knob", "Run", "SprogError", "__version__", "open_run"]


def __getattr__(name: str) -> Any:
    """These bring torch and pandas with them, so they are imported when first asked for."""
    if name in ("Run", "open_run"):
        from sprog.run import opening

        return getattr(opening, name)
    if name == "Knob":
        from sprog.effects import Knob

        return Knob
    raise AttributeError(f"module 'sprog' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
