"""Which units stand for a language, with a false discovery rate: every claim tested over every unit."""
# ruff: noqa: PT028  (`test_units` is no test of pytest's, and has defaults)

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from glossae.errors import GlossaeError
from glossae.find.testing.auroc import AurocTable, auroc_table
from glossae.find.testing.claims import EVERYBODY, Claim, claims
from glossae.find.testing.family_wise import Multipliers, multipliers
from glossae.find.testing.fdr import Dependence, q_values
from glossae.find.testing.minimum import Method, minimum_p, studentised
from glossae.find.testing.panel import Within, check_panel, check_power
from glossae.find.testing.permutation import Permutations
from glossae.find.testing.permutation import permutations as permute
from glossae.units import SentenceTable


@dataclass(frozen=True)
class ClaimEvidence:
    """One claim, tested on every unit.

    Attributes:
        claim: what is claimed.
        p: each unit's p-value: the largest over the claim's comparisons.
        q: the same as false discovery rates, over all units.
        family_wise: max-T adjusted p-values, for strong claims about single units; None where no draws were asked
            for.
    """

    claim: Claim
    p: Float[np.ndarray, " units"]
    q: Float[np.ndarray, " units"]
    family_wise: Float[np.ndarray, " units"] | None


@dataclass(frozen=True)
class UnitEvidence:
    """What is known of one unit.

    Attributes:
        unit: its number.
        name: the most specific claim that it passes, if any.
        p, q: by claim.
        auroc: of the target over each other language.
        interval: of each of these, 95 %.
        fires_on: the other languages that it tells from the reference as well as asked of the target.
    """

    unit: int
    name: str | None
    p: dict[str, float]
    q: dict[str, float]
    auroc: dict[str, float]
    interval: dict[str, tuple[float, float]]
    fires_on: tuple[str, ...]


@dataclass(frozen=True)
class Evidence:
    """Every claim about a target that a table allows, tested on every unit.

    Attributes:
        target: the language.
        reference: what `fires_on` is measured against.
        minimum: the AUROC that a unit has to exceed.
        level: the false discovery rate at which a unit passes a claim; it holds claim by claim.
        method: of the p-values.
        identity: whose units these are.
        claims: the most specific first.
        auroc: of every unit and ordered pair of languages.
        permutations: labels dealt out anew, comparison by comparison, if asked for: the null "no difference", and how
            often its p-values are small when it holds.
    """

    target: str
    reference: str
    minimum: float
    level: float
    method: Method
    identity: str
    claims: tuple[ClaimEvidence, ...]
    auroc: AurocTable
    permutations: Permutations | None

    def claim(self, name: str) -> ClaimEvidence:
        """A claim by its name.

        Raises:
            GlossaeError: the panel has no such claim.
        """
        for evidence in self.claims:
            if evidence.claim.name == name:
                return evidence
        known = ", ".join(evidence.claim.name for evidence in self.claims)
        raise GlossaeError(f"{name}: the table's languages allow no such claim, only {known}")

    def passing(self, name: str) -> tuple[int, ...]:
        """The units that pass a claim, those with the largest smallest AUROC first."""
        units = np.flatnonzero(self.claim(name).q <= self.level)
        return tuple(units[np.argsort(-self.weakest(name)[units], kind="stable")].tolist())

    def weakest(self, name: str) -> Float[np.ndarray, " units"]:
        """Each unit's smallest AUROC over a claim's comparisons."""
        return np.asarray(
            np.min([self.auroc.of(*pair) for pair in self.claim(name).claim.comparisons], axis=0)
        )

    @cached_property
    def names(self) -> tuple[str | None, ...]:
        """What each unit is called: the most specific claim that it passes."""
        passes = np.array([evidence.q <= self.level for evidence in self.claims])
        first = np.where(passes.any(0), passes.argmax(0), -1)
        return tuple(self.claims[i].claim.name if i >= 0 else None for i in first.tolist())

    def units(self, units: Sequence[int]) -> list[UnitEvidence]:
        """All that is known of some units."""
        others = [language for language in self.auroc.languages if language != self.target]
        ends = {other: self.auroc.interval(self.target, other) for other in others}
        fires = {
            language: self.auroc.of(language, self.reference) >= self.minimum
            for language in others
            if language != self.reference
        }
        return [
            UnitEvidence(
                unit=unit,
                name=self.names[unit],
                p={evidence.claim.name: float(evidence.p[unit]) for evidence in self.claims},
                q={evidence.claim.name: float(evidence.q[unit]) for evidence in self.claims},
                auroc={other: float(self.auroc.of(self.target, other)[unit]) for other in others},
                interval={
                    other: (float(low[unit]), float(high[unit])) for other, (low, high) in ends.items()
                },
                fires_on=tuple(language for language, on in fires.items() if on[unit]),
            )
            for unit in units
        ]


def test_units(
    table: SentenceTable,
    target: str,
    *,
    minimum: float = 0.8,
    q: float = 0.05,
    method: Method = "exact",
    dependence: Dependence = "positive",
    permutations: int = 0,
    seed: int = 0,
    reference: str | None = None,
    within: Within = "source",
    progress: Callable[[float], None] = lambda _: None,
) -> Evidence:
    """Test every claim about `target` on every unit.

    A unit's p-value for a claim is the largest over the claim's comparisons, each of the null "AUROC is at most
    `minimum`" (see `minimum`); Benjamini-Hochberg over the units gives q. One-sided: a unit that is lower on the target
    than elsewhere passes nothing.

    Args:
        permutations: draws, for max-T adjusted p-values at the minimum and for the null "no difference"; 0 for none.
        reference: what `fires_on` is measured against; English, or else the first language outside.
        within: `source` refuses a table whose languages come from different sources, or in different shares.

    Raises:
        GlossaeError: a language is missing; the languages' sources differ; there are so few sentences that no unit
            could pass; a setting is out of its range.
    """
    if not 0.5 <= minimum < 1:
        raise GlossaeError(f"minimum: is {minimum}: give an AUROC of at least 0.5 and less than 1")
    if not 0 < q < 1:
        raise GlossaeError(f"q: is {q}: give a rate between 0 and 1")
    if permutations < 0:
        raise GlossaeError(f"permutations: is {permutations}: give a number of draws, or 0 for none")
    allowed = claims(target, table.present)
    if reference is None:
        outside = allowed[0].outside
        reference = EVERYBODY if EVERYBODY in outside else outside[0]
    if reference not in table.present or reference == target:
        raise GlossaeError(f"reference: {reference} is not one of the table's other languages")
    check_panel(table, within)
    auroc = auroc_table(table)
    compared = tuple(dict.fromkeys(pair for claim in allowed for pair in claim.comparisons))
    check_power(auroc, compared, table.units, minimum, q)
    shuffled = drawn = None
    if permutations:
        settings = {"draws": permutations, "seed": seed}
        shuffled = permute(table, compared, **settings, progress=lambda done: progress(done / 2))
        drawn = multipliers(
            table, auroc, compared, **settings, progress=lambda done: progress((1 + done) / 2)
        )
    return Evidence(
        target=target,
        reference=reference,
        minimum=minimum,
        level=q,
        method=method,
        identity=table.identity,
        claims=tuple(claim_evidence(auroc, claim, minimum, method, dependence, drawn) for claim in allowed),
        auroc=auroc,
        permutations=shuffled,
    )


test_units.__test__ = False  # type: ignore[attr-defined]  # its name means no test to pytest


def claim_evidence(
    auroc: AurocTable,
    claim: Claim,
    minimum: float,
    method: Method,
    dependence: Dependence = "positive",
    drawn: Multipliers | None = None,
) -> ClaimEvidence:
    """Test one claim on every unit of an AUROC table."""
    p = np.max([minimum_p(auroc, a, b, minimum, method=method) for a, b in claim.comparisons], axis=0)
    family_wise = None
    if drawn is not None:
        score = np.array([studentised(auroc, a, b, minimum) for a, b in claim.comparisons])
        family_wise = drawn.adjusted(score, claim.comparisons)
    return ClaimEvidence(claim, p, q_values(p, dependence=dependence), family_wise)
