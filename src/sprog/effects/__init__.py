"""What the units do: edits, their effect on next-token loss, and on what the model writes."""

from sprog.effects.arms import Arm, centred, direction_arm, latent_arm, neuron_arm, projection
from sprog.effects.best_dose import BestDose, best_dose
from sprog.effects.bootstrap import interval, resampled_ratios
from sprog.effects.controls import (
    Control,
    Rises,
    compare_with_draws,
    compare_with_one,
    measure_rises,
    p_value,
    random_weights,
    redirected_edits,
)
from sprog.effects.doses import Dose, UnitRange, doses
from sprog.effects.edits import OPERATIONS, Edit, compile_edits
from sprog.effects.matched import MATCHED_DAMAGE
from sprog.effects.matching import matched_sets, profiles
from sprog.effects.next_token import (
    ALL_SOURCES,
    Cell,
    Measured,
    Moved,
    Sweep,
    cells,
    measure_edits,
    measure_sweeps,
    sweep_edits,
)
from sprog.effects.one_by_one import Part, part_edits, part_rows
from sprog.effects.operations import Operation
from sprog.effects.prompts import PROMPTS, Continuation, continuations
from sprog.effects.selectivity import MEAN_OF_OTHERS, NEAREST, Selectivity, selectivity
from sprog.effects.side_effects import SideEffect, side_effects

__all__ = [
    "ALL_SOURCES",
    "MATCHED_DAMAGE",
    "MEAN_OF_OTHERS",
    "NEAREST",
    "OPERATIONS",
    "PROMPTS",
    "Arm",
    "BestDose",
    "Cell",
    "Continuation",
    "Control",
    "Dose",
    "Edit",
    "Measured",
    "Moved",
    "Operation",
    "Part",
    "Rises",
    "Selectivity",
    "SideEffect",
    "Sweep",
    "UnitRange",
    "best_dose",
    "cells",
    "centred",
    "compare_with_draws",
    "compare_with_one",
    "compile_edits",
    "continuations",
    "direction_arm",
    "doses",
    "interval",
    "latent_arm",
    "matched_sets",
    "measure_edits",
    "measure_rises",
    "measure_sweeps",
    "neuron_arm",
    "p_value",
    "part_edits",
    "part_rows",
    "profiles",
    "projection",
    "random_weights",
    "redirected_edits",
    "resampled_ratios",
    "selectivity",
    "side_effects",
    "sweep_edits",
]
