"""Whether units tell languages apart by more than a stated minimum, with errors held over thousands of units."""

from glossae.find.testing.auroc import AurocTable, auroc_table
from glossae.find.testing.claims import Claim, claims
from glossae.find.testing.families import ClaimEvidence, Evidence, UnitEvidence, test_units
from glossae.find.testing.family_wise import Multipliers, multipliers
from glossae.find.testing.fdr import q_values
from glossae.find.testing.frozen import FrozenSet, Replication, freeze, load_frozen, replicate
from glossae.find.testing.independence import Independence, independence
from glossae.find.testing.minimum import exact_p, minimum_p, perfect_p, studentised
from glossae.find.testing.panel import carried_languages, check_panel, check_power, comparisons_needed
from glossae.find.testing.permutation import ALPHAS, Permutations, permutations
from glossae.find.testing.restricted import Restricted, passing_restricted, restrict
from glossae.find.testing.together import SetScore

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
