"""sprog: find the units inside a language model that stand for a language, and turn them up or down."""

from typing import TYPE_CHECKING, Any

from sprog._version import __version__
from sprog.errors import SprogError

if TYPE_CHECKING:
    from sprog.run.opening import Run, open_run

__all__ = ["Run", "SprogError", "__version__", "open_run"]


def __getattr__(name: str) -> Any:
    """`open_run` and `Run` bring torch and pandas with them, so they are imported when first asked for."""
    if name in ("Run", "open_run"):
        from sprog.run import opening

        return getattr(opening, name)
    raise AttributeError(f"module 'sprog' has no attribute '{name}'")
