"""Whether units tell languages apart by more than a stated minimum, with errors held over thousands of units."""

from sprog.features.testing.auroc import AurocTable, auroc_table
from sprog.features.testing.claims import Claim, claims
from sprog.features.testing.families import ClaimEvidence, Evidence, UnitEvidence, test_units
from sprog.features.testing.family_wise import Multipliers, multipliers
from sprog.features.testing.fdr import q_values
from sprog.features.testing.frozen import FrozenSet, Replication, freeze, load_frozen, replicate
from sprog.features.testing.independence import Independence, independence
from sprog.features.testing.minimum import exact_p, minimum_p, perfect_p, studentised
from sprog.features.testing.panel import carried_languages, check_panel, check_power, comparisons_needed
from sprog.features.testing.permutation import ALPHAS, Permutations, permutations
from sprog.features.testing.restricted import Restricted, passing_restricted, restrict
from sprog.features.testing.together import SetScore

__all__ = [
    "ALPHAS",
    "AurocTable",
    "Claim",
    "ClaimEvidence",
    "Evidence",
    "FrozenSet",
    "Independence",
    "Multipliers",
    "Permutations",
    "Replication",
    "Restricted",
    "SetScore",
    "UnitEvidence",
    "auroc_table",
    "carried_languages",
    "check_panel",
    "check_power",
    "claims",
    "comparisons_needed",
    "exact_p",
    "freeze",
    "independence",
    "load_frozen",
    "minimum_p",
    "multipliers",
    "passing_restricted",
    "perfect_p",
    "permutations",
    "q_values",
    "replicate",
    "restrict",
    "studentised",
    "test_units",
]
