"""What the units do: edits, their effect on next-token loss, and on what the model writes."""

from glossae.effects.arms import Arm, centred, direction_arm, latent_arm, neuron_arm, projection
from glossae.effects.best_dose import BestDose, best_dose, lowest
from glossae.effects.bootstrap import Clusters, interval, resampled_ratios
from glossae.effects.controls import (
    UNTRAINED,
    Control,
    Rises,
    compare_with_draws,
    compare_with_one,
    measure_rises,
    rank,
    redirected_edits,
)
from glossae.effects.doses import Dose, UnitRange, doses
from glossae.effects.edits import OPERATIONS, Edit, compile_edits
from glossae.effects.family import FAMILIES, Family, FamilyName, Steering, best_neurons, families
from glossae.effects.knob import Knob
from glossae.effects.matched import MATCHED_DAMAGE
from glossae.effects.matching import matched_sets, profiles, smoothed_rate
from glossae.effects.neurons import neurons_off
from glossae.effects.next_token import (
    ALL_SOURCES,
    Arrays,
    Cell,
    Keep,
    Measured,
    Moved,
    Sweep,
    cells,
    keep_nothing,
    measure_edits,
    measure_growing,
    measure_sweeps,
    sweep_edits,
)
from glossae.effects.one_by_one import Part, part_edits, part_rows
from glossae.effects.operations import Operation
from glossae.effects.prompts import PROMPTS, Continuation, continuations
from glossae.effects.same_damage import NEAR, doses_at, doses_of_each, matched_sweeps
from glossae.effects.selectivity import MEAN_OF_OTHERS, NEAREST, Selectivity, selectivity
from glossae.effects.serial import (
    SerialCorrelation,
    autocorrelations,
    lag_1_test,
    serial_correlations,
    variance_inflation,
)
from glossae.effects.side_effects import SideEffect, side_effects
from glossae.effects.switched_off import Switched, UnitSet, switch_off

__all__ = [
    "ALL_SOURCES",
    "FAMILIES",
    "MATCHED_DAMAGE",
    "MEAN_OF_OTHERS",
    "NEAR",
    "NEAREST",
    "OPERATIONS",
    "PROMPTS",
    "UNTRAINED",
    "Arm",
    "Arrays",
    "BestDose",
    "Cell",
    "Clusters",
    "Continuation",
    "Control",
    "Dose",
    "Edit",
    "Family",
    "FamilyName",
    "Keep",
    "Knob",
    "Measured",
    "Moved",
    "Operation",
    "Part",
    "Rises",
    "Selectivity",
    "SerialCorrelation",
    "SideEffect",
    "Steering",
    "Sweep",
    "Switched",
    "UnitRange",
    "UnitSet",
    "autocorrelations",
    "best_dose",
    "best_neurons",
    "cells",
    "centred",
    "compare_with_draws",
    "compare_with_one",
    "compile_edits",
    "continuations",
    "direction_arm",
    "doses",
    "doses_at",
    "doses_of_each",
    "families",
    "interval",
    "keep_nothing",
    "lag_1_test",
    "latent_arm",
    "lowest",
    "matched_sets",
    "matched_sweeps",
    "measure_edits",
    "measure_growing",
    "measure_rises",
    "measure_sweeps",
    "neuron_arm",
    "neurons_off",
    "part_edits",
    "part_rows",
    "profiles",
    "projection",
    "rank",
    "redirected_edits",
    "resampled_ratios",
    "selectivity",
    "serial_correlations",
    "side_effects",
    "smoothed_rate",
    "sweep_edits",
    "switch_off",
    "variance_inflation",
]
