"""Test the claims of a panel on every unit at a false discovery rate: which units stand for a language."""

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float

from glossae.errors import GlossaeError
from glossae.evidence.testing.auroc import (
    AurocTable,
    Method,
    auroc_table,
    independence,
    minimum_p,
    perfect_p,
    studentised,
)
from glossae.evidence.testing.permutation import Multipliers, Permutations, multipliers
from glossae.evidence.testing.permutation import permutations as permute
from glossae.results import UnitEvidence
from glossae.units import SentenceTable

COMMON_LANGUAGE = "en"
"""The language of the claim "non-English": the one that nearly every model has read most."""
APART = 0.05
"""The largest share by which two languages' sentences may differ in their sources."""

Within: TypeAlias = Literal["source", "all"]


@dataclass(frozen=True)
class Claim:
    """The claim that a unit stands for the languages inside, and for none of those outside.

    It holds if every language inside is separated from every one outside: an intersection of alternatives, so
    its p-value is the largest of theirs (Berger 1982).

    Attributes:
        name: such as `Danish`, `Danish, Norwegian Bokmål aside`, `Scandinavian` or `non-English`.
        inside: codes, sorted.
        outside: codes, sorted.
        same: wider names that this panel cannot distinguish from it, since they have the same languages inside
            and outside: with Danish and English only, `Danish` may as well be `non-English`.
    """

    name: str
    inside: tuple[str, ...]
    outside: tuple[str, ...]
    same: tuple[str, ...] = ()

    @property
    def comparisons(self) -> tuple[tuple[str, str], ...]:
        """Every language inside with every one outside."""
        return tuple((a, b) for a in self.inside for b in self.outside)


def claims(target: str, languages: Sequence[str]) -> tuple[Claim, ...]:
    """The claims that a panel allows, the most specific first: the target, its groups from narrow to wide, non-English.

    A group's claim needs two of its languages in the panel and one outside it. If the panel has a language so
    close to the target that readers of one read the other (Bokmål, for Danish), there is a claim that leaves
    it aside.

    Raises:
        GlossaeError: the panel lacks the target, or has no other language.
    """
    panel = tuple(sorted(set(languages)))
    if target not in panel:
        raise GlossaeError(
            f"{target}: the table has no sentence of this language, only {', '.join(panel) or 'none'}"
        )
    if len(panel) == 1:
        raise GlossaeError(f"{target}: the table has no other language to tell it from")
    everybody = set(panel)
    sets = [(language_name(target), {target}, everybody - {target})]
    if aside := everybody.intersection(_column(target, "closest")):
        names = " and ".join(sorted(map(language_name, aside)))
        sets.append((f"{language_name(target)}, {names} aside", {target}, everybody - {target} - aside))
    for group in _column(target, "groups"):
        inside = {code for code in panel if group in _column(code, "groups")}
        sets.append((group, inside, everybody - inside))
    if target != COMMON_LANGUAGE and COMMON_LANGUAGE in panel:
        sets.append(
            (f"non-{language_name(COMMON_LANGUAGE)}", everybody - {COMMON_LANGUAGE}, {COMMON_LANGUAGE})
        )
    found: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for name, inside, outside in sets:
        if outside:
            found.setdefault((tuple(sorted(inside)), tuple(sorted(outside))), []).append(name)
    return tuple(
        Claim(name, inside, outside, tuple(same)) for (inside, outside), (name, *same) in found.items()
    )


def untested_relatives(target: str, languages: Sequence[str]) -> tuple[str, ...]:
    """English names of the target's closest languages and of its narrowest group that a panel lacks, sorted."""
    groups = _column(target, "groups")[:1]
    near = {*_column(target, "closest")}
    near |= {code for code in _languages() if {*groups} & {*_column(code, "groups")}}
    # "no", Norwegian of either standard, would name Bokmål and Nynorsk again
    return tuple(sorted(map(language_name, near - {*languages, target, "no"})))


def language_name(code: str) -> str:
    """The English name of a language; its code if `languages.tsv` lacks it."""
    return _languages()[code]["name"] if code in _languages() else code


def _column(code: str, name: str) -> tuple[str, ...]:
    """A language's groups, from narrow to wide, or the languages closest to it."""
    column = _languages()[code][name] if code in _languages() else ""
    return tuple(part.strip() for part in column.split(",") if part)


@cache
def _languages() -> dict[str, dict[str, str]]:
    text = files("glossae.evidence.testing").joinpath("languages.tsv").read_text(encoding="utf-8")
    return {row["code"]: row for row in csv.DictReader(text.splitlines(), delimiter="\t")}


def check_panel(table: SentenceTable, within: Within = "source") -> None:
    """Refuse languages from different sources: a unit that separates talks from news would pass for a language.

    Raises:
        GlossaeError: a language has more than a twentieth of its sentences from other sources than another has.
    """
    if within == "all":
        return
    names, source = np.unique(table.sources.astype(str), return_inverse=True)
    shares = {
        language: np.bincount(source[table.rows(language)], minlength=len(names)) / len(table.rows(language))
        for language in table.present
    }
    first, *others = table.present
    for language in others:
        difference = shares[language] - shares[first]
        # for 95 and 5 sentences the share is 5 %, up to rounding
        if np.abs(difference).sum() / 2 > APART + 1e-9:
            here, there = names[difference.argmax()], names[difference.argmin()]
            raise GlossaeError(
                f"{language} and {first}: their sentences come from different sources "
                f"({here} is {shares[language][difference.argmax()]:.0%} of {language} and "
                f"{shares[first][difference.argmax()]:.0%} of {first}, {there} the other way round): "
                f"test a table of one source, or say within='all'"
            )


def comparisons_needed(units: int, minimum: float = 0.8, q: float = 0.05) -> int:
    """The fewest independent comparisons with which one unit out of `units` can pass.

    That is ceil(log(q / units) / log(minimum)). The p-value of a perfect unit is minimum^m with m independent
    comparisons (see `perfect_p`), and the first discovery of Benjamini and Hochberg (1995) among the units
    needs at most q / units. m sentences of each language are m comparisons, and m pairs of translations are m
    / 2 (see `independence`).
    """
    return max(1, math.ceil(math.log(q / units) / math.log(minimum)))


def languages_to_test(
    pairs: Mapping[str, Sequence[str]],
    target: str,
    reference: str,
    units: int,
    minimum: float = 0.8,
    q: float = 0.05,
) -> tuple[str, ...]:
    """The languages of a text with enough sentences for a test of `units` units, before any unit is computed.

    Args:
        pairs: by language, the pair of each sentence; sentences that share one are translations of each other.
        target: the language that units are to stand for.
        reference: a language that is always compared.
        units: the number of units tested together.
        minimum: the AUROC that a unit has to exceed.
        q: the false discovery rate.

    Returns:
        The target, the reference, and each other language with enough sentences for every claim's comparisons;
        empty if target or reference has too few.
    """
    kept: tuple[str, ...] = (target, reference)
    if not set(kept) <= pairs.keys():
        return ()
    names, cluster = np.unique([pair for own in pairs.values() for pair in own], return_inverse=True)
    parts = np.split(cluster, np.cumsum([len(own) for own in pairs.values()])[:-1])
    counts = {code: np.bincount(part, minlength=len(names)) for code, part in zip(pairs, parts, strict=True)}
    needed, known = comparisons_needed(units, minimum, q), dict[tuple[str, str], bool]()

    def enough(languages: tuple[str, ...]) -> bool:
        for comparison in (pair for claim in claims(target, languages) for pair in claim.comparisons):
            if comparison not in known:
                ways = independence(np.stack([counts[code] for code in comparison], axis=1))
                known[comparison] = max(way.blocks for way in ways) >= needed
            if not known[comparison]:
                return False
        return True

    if not enough(kept):
        return ()
    for code in counts:
        if code not in kept and enough((*kept, code)):
            kept = (*kept, code)
    return kept


def check_power(
    auroc: AurocTable, comparisons: Sequence[tuple[str, str]], units: int, minimum: float, q: float
) -> None:
    """Refuse so few sentences that even a perfect unit could not pass.

    Raises:
        GlossaeError: with the languages, and the number of sentences needed.
    """
    for target, reference in comparisons:
        if perfect_p(auroc, target, reference, minimum) <= q / units:
            continue
        needed = comparisons_needed(units, minimum, q)
        have = max(way.blocks for way in auroc.independence(target, reference))
        sizes = [int(auroc.n[auroc.languages.index(language)]) for language in (target, reference)]
        raise GlossaeError(
            f"{target} and {reference}: {sizes[0]} and {sizes[1]} sentences are too few: no unit of {units:,} "
            f"could show an AUROC over {minimum} at q = {q}; that takes {needed} independent comparisons and "
            f"here are {have}: {needed} sentences of each language, or {2 * needed} pairs"
        )


@dataclass(frozen=True)
class ClaimEvidence:
    """One claim, tested on every unit.

    Attributes:
        claim: the claim.
        p: each unit's p-value: the largest over the claim's comparisons.
        q: the same as false discovery rates, over all units.
        family_wise: max-T adjusted p-values, for strong claims about single units; None if no draws were asked
            for.
    """

    claim: Claim
    p: Float[np.ndarray, " units"]
    q: Float[np.ndarray, " units"]
    family_wise: Float[np.ndarray, " units"] | None


@dataclass(frozen=True)
class Evidence:
    """Every claim about a target that a table allows, tested on every unit.

    Attributes:
        target: the language.
        reference: the language that `fires_on` compares with.
        minimum: the AUROC that a unit has to exceed.
        level: the false discovery rate at which a unit passes a claim; it holds claim by claim.
        method: of the p-values.
        identity: identifies the units.
        claims: the most specific first.
        auroc: of every unit and ordered pair of languages.
        permutations: permuted labels for each comparison, if asked for: the null "no difference", and how
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
        """The units that pass a claim, in descending order of their smallest AUROC."""
        units = np.flatnonzero(self.claim(name).q <= self.level)
        return tuple(units[np.argsort(-self.weakest(name)[units], kind="stable")].tolist())

    def weakest(self, name: str) -> Float[np.ndarray, " units"]:
        """Each unit's smallest AUROC over a claim's comparisons."""
        return np.asarray(
            np.min([self.auroc.of(*pair) for pair in self.claim(name).claim.comparisons], axis=0)
        )

    @cached_property
    def names(self) -> tuple[str | None, ...]:
        """The name of each unit: the most specific claim that it passes."""
        passes = np.array([evidence.q <= self.level for evidence in self.claims])
        first = np.where(passes.any(0), passes.argmax(0), -1)
        return tuple(self.claims[i].claim.name if i >= 0 else None for i in first.tolist())

    def units(self, units: Sequence[int]) -> list[UnitEvidence]:
        """The test results of some units."""
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


def units_evidence(
    table: SentenceTable,
    target: str,
    *,
    minimum: float = 0.8,
    q: float = 0.05,
    method: Method = "exact",
    permutations: int = 0,
    seed: int = 0,
    reference: str | None = None,
    within: Within = "source",
    progress: Callable[[float], None] = lambda _: None,
) -> Evidence:
    """Test every claim about `target` on every unit.

    A unit's p-value for a claim is the largest over the claim's comparisons, each of the null "AUROC is at
    most `minimum`" (see `minimum_p`); Benjamini-Hochberg over the units gives q. The test is one-sided: a unit
    that is lower on the target than elsewhere passes nothing.

    Args:
        permutations: draws, for max-T adjusted p-values at the minimum and for the null "no difference"; 0 for
            none.
        reference: the language that `fires_on` compares with; by default English, or else the first language
            outside.
        within: `source` refuses a table whose languages come from different sources, or in different shares.

    Raises:
        GlossaeError: a language is missing; the languages' sources differ; there are so few sentences that no
            unit could pass; a setting is out of its range.
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
        reference = COMMON_LANGUAGE if COMMON_LANGUAGE in outside else outside[0]
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
        claims=tuple(claim_evidence(auroc, claim, minimum, method, drawn) for claim in allowed),
        auroc=auroc,
        permutations=shuffled,
    )


def claim_evidence(
    auroc: AurocTable,
    claim: Claim,
    minimum: float,
    method: Method,
    drawn: Multipliers | None = None,
) -> ClaimEvidence:
    """Test one claim on every unit of an AUROC table."""
    p = np.max([minimum_p(auroc, a, b, minimum, method=method) for a, b in claim.comparisons], axis=0)
    family_wise = None
    if drawn is not None:
        score = np.array([studentised(auroc, a, b, minimum) for a, b in claim.comparisons])
        family_wise = drawn.adjusted(score, claim.comparisons)
    return ClaimEvidence(claim, p, q_values(p), family_wise)


def q_values(p: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """The smallest false discovery rate at which each test would be a discovery.

    By Benjamini and Hochberg (1995), for independent or positively dependent tests.
    """
    from scipy.stats import false_discovery_control

    q: np.ndarray = false_discovery_control(p)
    return q
