"""The stages of a run, a file each. A new stage is a file with a `STAGE` in it, and its name in this list."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glossae.stages.stage import Stage

__all__ = ["STAGES", "load_stages", "stage_of"]

STAGES = (
    "corpora",
    "probe",
    "grid",
    "sae",
    "evidence",
    "stability",
    "features",
    "dashboards",
    "baselines",
    "effects",
    "controls",
    "tasks",
    "steering",
    "report",
)
"""The stages in their order. The report is written after each of the others, and last."""


def stage_of(name: str) -> "Stage":
    """The stage of this name; its file brings torch with it, so it is imported when first asked for."""
    stage: Stage = import_module(f"glossae.stages.{name}").STAGE
    return stage


def load_stages() -> "list[Stage]":
    """Every stage, in order."""
    return [stage_of(name) for name in STAGES]
