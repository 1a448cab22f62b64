"""What the units do: edits, their effect on next-token loss, and on what the model writes."""

from sprog.effects.bootstrap import interval, resampled_ratios
from sprog.effects.doses import Dose, UnitRange, doses
from sprog.effects.edits import OPERATIONS, Edit, compile_edits
from sprog.effects.family import FAMILIES, Family, FamilyName, Steering, families
from sprog.effects.knob import Knob
from sprog.effects.language_of import Identified, language_of, lingua_languages, lingua_version
from sprog.effects.next_token import ALL_SOURCES, Cell, Measured, cells, measure_edits, sweep_edits
from sprog.effects.operations import Operation
from sprog.effects.prompts import PROMPTS, Continuation, continuations
from sprog.effects.selectivity import MATCHED_DAMAGE, Selectivity, selectivity
from sprog.effects.steering import MATCHED_KL, Arm, Steered, steer
from sprog.effects.tasks import TaskScore, Tuning, as_coded, controlled, erase_labels, fine_tuned
from sprog.effects.written import Ratio, continuation_losses, distinct, repetition, resamples

__all__ = [
    "ALL_SOURCES",
    "FAMILIES",
    "MATCHED_DAMAGE",
    "MATCHED_KL",
    "OPERATIONS",
    "PROMPTS",
    "Arm",
    "Cell",
    "Continuation",
    "Dose",
    "Edit",
    "Family",
    "FamilyName",
    "Identified",
    "Knob",
    "Measured",
    "Operation",
    "Ratio",
    "Selectivity",
    "Steered",
    "Steering",
    "TaskScore",
    "Tuning",
    "UnitRange",
    "as_coded",
    "cells",
    "compile_edits",
    "continuation_losses",
    "continuations",
    "controlled",
    "distinct",
    "doses",
    "erase_labels",
    "families",
    "fine_tuned",
    "interval",
    "language_of",
    "lingua_languages",
    "lingua_version",
    "measure_edits",
    "repetition",
    "resampled_ratios",
    "resamples",
    "selectivity",
    "steer",
    "sweep_edits",
]
