"""glossae: find the units inside a language model that stand for a language, and turn them up or down."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from glossae._version import __version__
from glossae.environment import offline
from glossae.errors import GlossaeError

# before torch starts its threads: on a shared machine, those that spin while they wait for each other cost many times
# their work. Some tens of microseconds of it spare a step of many small products a fifth of its time
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "30000")
if offline() == "GLOSSAE_OFFLINE":
    # the hub's clients listen to a word of their own, and only before they are imported
    os.environ["HF_HUB_OFFLINE"] = "1"

if TYPE_CHECKING:
    from glossae.api import Effect, Layers, Text, Unit, Units, find, load, probe, report, sweep, text, train
    from glossae.effects import Knob
    from glossae.lm import LanguageModel
    from glossae.run import Run, open_run
    from glossae.sae import Sae

__all__ = [
    "Effect",
    "GlossaeError",
    "Knob",
    "LanguageModel",
    "Layers",
    "Run",
    "Sae",
    "Text",
    "Unit",
    "Units",
    "__version__",
    "find",
    "load",
    "open_run",
    "probe",
    "report",
    "sweep",
    "text",
    "train",
]

# these bring torch and pandas with them, so they are imported when first asked for
_ROOMS = {"Knob": "effects", "LanguageModel": "lm", "Sae": "sae", "Run": "run", "open_run": "run"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'glossae' has no attribute '{name}'")
    found = globals()[name] = getattr(import_module(f"glossae.{_ROOMS.get(name, 'api')}"), name)
    return found


def __dir__() -> list[str]:
    return __all__
