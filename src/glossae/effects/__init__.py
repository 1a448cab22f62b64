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
from glossae.effects.language_of import Identified, language_of, lingua_languages, lingua_version
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
    measure_edits,
    measure_growing,
    measure_sweeps,
    sweep_edits,
)
from glossae.effects.one_by_one import Part, part_edits, part_rows
from glossae.effects.operations import Operation
from glossae.effects.prompts import PROMPTS, Continuation, continuations
from glossae.effects.same_damage import doses_of_each, matched_sweeps
from glossae.effects.selectivity import MEAN_OF_OTHERS, NEAREST, Selectivity, selectivity
from glossae.effects.sentence_means import CODED_SENTENCES, CodedCell, coded_cells
from glossae.effects.serial import (
    SerialCorrelation,
    autocorrelations,
    lag_1_test,
    serial_correlations,
    variance_inflation,
)
from glossae.effects.side_effects import SideEffect, side_effects
from glossae.effects.steering import MATCHED_KL, Steered, SteeredArm, steer
from glossae.effects.switched_off import Switched, UnitSet, switch_off
from glossae.effects.tasks import TaskScore, Tuning, as_coded, controlled, erase_labels, fine_tuned
from glossae.effects.written import Ratio, continuation_losses, distinct, repetition, resamples

__all__ = [
    "ALL_SOURCES",
    "CODED_SENTENCES",
    "FAMILIES",
    "MATCHED_DAMAGE",
    "MATCHED_KL",
    "MEAN_OF_OTHERS",
    "NEAREST",
    "OPERATIONS",
    "PROMPTS",
    "UNTRAINED",
    "Arm",
    "Arrays",
    "BestDose",
    "Cell",
    "Clusters",
    "CodedCell",
    "Continuation",
    "Control",
    "Dose",
    "Edit",
    "Family",
    "FamilyName",
    "Identified",
    "Keep",
    "Knob",
    "Measured",
    "Moved",
    "Operation",
    "Part",
    "Ratio",
    "Rises",
    "Selectivity",
    "SerialCorrelation",
    "SideEffect",
    "Steered",
    "SteeredArm",
    "Steering",
    "Sweep",
    "Switched",
    "TaskScore",
    "Tuning",
    "UnitRange",
    "UnitSet",
    "as_coded",
    "autocorrelations",
    "best_dose",
    "best_neurons",
    "cells",
    "centred",
    "coded_cells",
    "compare_with_draws",
    "compare_with_one",
    "compile_edits",
    "continuation_losses",
    "continuations",
    "controlled",
    "direction_arm",
    "distinct",
    "doses",
    "doses_of_each",
    "erase_labels",
    "families",
    "fine_tuned",
    "interval",
    "lag_1_test",
    "language_of",
    "latent_arm",
    "lingua_languages",
    "lingua_version",
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
    "repetition",
    "resampled_ratios",
    "resamples",
    "selectivity",
    "serial_correlations",
    "side_effects",
    "smoothed_rate",
    "steer",
    "sweep_edits",
    "switch_off",
    "variance_inflation",
]
