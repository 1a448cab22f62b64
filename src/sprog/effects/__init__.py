"""What the units do: edits, their effect on next-token loss, and on what the model writes."""

from sprog.effects.bootstrap import interval, resampled_ratios
from sprog.effects.doses import Dose, UnitRange, doses
from sprog.effects.edits import OPERATIONS, Edit, compile_edits
from sprog.effects.next_token import ALL_SOURCES, Cell, Measured, cells, measure_edits, sweep_edits
from sprog.effects.operations import Operation
from sprog.effects.prompts import PROMPTS, Continuation, continuations
from sprog.effects.selectivity import MATCHED_DAMAGE, Selectivity, selectivity
from sprog.effects.tasks import TaskScore, Tuning, as_coded, controlled, erase_labels, fine_tuned

__all__ = [
    "ALL_SOURCES",
    "MATCHED_DAMAGE",
    "OPERATIONS",
    "PROMPTS",
    "Cell",
    "Continuation",
    "Dose",
    "Edit",
    "Measured",
    "Operation",
    "Selectivity",
    "TaskScore",
    "Tuning",
    "UnitRange",
    "as_coded",
    "cells",
    "compile_edits",
    "continuations",
    "controlled",
    "doses",
    "erase_labels",
    "fine_tuned",
    "interval",
    "measure_edits",
    "resampled_ratios",
    "selectivity",
    "sweep_edits",
]
