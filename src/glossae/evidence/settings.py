"""How units are tested."""

from dataclasses import dataclass
from typing import Literal

from glossae.evidence.testing.auroc import Method


@dataclass(frozen=True, kw_only=True)
class EvidenceSettings:
    """How units are tested.

    Attributes:
        target: the language that they are to stand for.
        reference: a language that they are compared with in any case.
        minimum: the sentence AUROC that a unit has to exceed.
        q: the rate of false discoveries over all units of a kind.
        method: of the p-values.
        tokens: of the passages that sentences are joined into; 1 for sentences themselves.
        permutations: draws of labels, as in `testing.units_evidence`.
        ambiguous: whether sentences that could be in another language stay.
        scores: whether the field's scores are compared.
        identify: whether languages are told apart by a few units.
        identify_units: by so many units of each language.
        identify_languages: a set of languages to tell apart besides those that the text suggests.
        seed: of whatever is drawn.
        budget: tokens in a batch.
    """

    target: str
    reference: str
    minimum: float = 0.8
    q: float = 0.05
    method: Method = "exact"
    tokens: int = 1
    permutations: int = 1000
    ambiguous: Literal["keep", "drop"] = "keep"
    scores: bool = True
    identify: bool = True
    identify_units: tuple[int, ...] = (1, 5, 20)
    identify_languages: tuple[str, ...] = ()
    seed: int = 0
    budget: int = 1024
