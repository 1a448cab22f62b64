"""glossae: find the units inside a language model that stand for a language, and turn them up or down."""

from typing import TYPE_CHECKING, Any

from glossae._version import __version__
from glossae.errors import GlossaeError

if TYPE_CHECKING:
    from glossae.effects import Knob
    from glossae.run import Run, open_run

__all__ = [
    "GlossaeError",
    "Knob",
    "Run",
    "__version__",
    "open_run",
]


def __getattr__(name: str) -> Any:
    """These bring torch and pandas with them, so they are imported when first asked for."""
    if name in ("Run", "open_run"):
        from glossae import run

        return getattr(run, name)
    if name == "Knob":
        from glossae.effects import Knob

        return Knob
    raise AttributeError(f"module 'glossae' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
