"""What the evidence stage found, as rows for `results.json`."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from glossae.find import scores, testing
from glossae.run.panels import Panel
from glossae.units import CountedUnits, SentenceTable, UnitStatistics

# rows of a family of units that the report has room for
MOST_ROWS = 40


@dataclass(frozen=True)
class Tested:
    """A family of units with what was found of it."""

    units: CountedUnits
    table: SentenceTable
    statistics: UnitStatistics
    evidence: testing.Evidence
    frozen: testing.FrozenSet


@dataclass(frozen=True)
class Again:
    """Every frozen set on other text.

    Attributes:
        on: `held_out` or `replicate`.
        rows: how much of each set passes, for `results.json`.
        replications: by kind of unit, where the text allowed it.
        close: the sets against close languages, and on matched sentences (`close_languages`).
        tables: what every unit did on the text, by kind.
    """

    on: str
    rows: list[dict[str, Any]]
    replications: dict[str, testing.Replication]
    close: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    tables: dict[str, SentenceTable] = field(default_factory=dict)


def panel_row(panel: Panel) -> dict[str, Any]:
    """How much text there was, found on and held out, and what is doubtful in it."""
    halves = (panel.found_on, panel.held_out)
    return {
        "role": panel.role,
        "source": panel.source,
        "sentences": {
            language: [len(half.corpus.only(language)) for half in halves]
            for language in panel.held_out.corpus.languages
        },
        "identical": panel.identical,
        "ambiguous": panel.ambiguous,
        "too_few": panel.too_few,
        "doubtful": [pair.as_row() for pair in panel.doubtful],
    }


def claim_rows(family: Tested) -> list[dict[str, Any]]:
    """How many units pass each claim."""
    return [
        {
            "kind": family.units.kind,
            "claim": each.claim.name,
            "inside": list(each.claim.inside),
            "outside": list(each.claim.outside),
            "same": list(each.claim.same),
            "units": int((each.q <= family.evidence.level).sum()),
            "of": len(each.q),
            "family_wise": None
            if each.family_wise is None
            else int((each.family_wise <= family.evidence.level).sum()),
        }
        for each in family.evidence.claims
    ]


def unit_rows(family: Tested, again: list[Again]) -> list[dict[str, Any]]:
    """The frozen set's units, or where it is empty the one that came closest; directions all."""
    evidence, frozen = family.evidence, family.frozen
    closest = np.argsort(-evidence.weakest(frozen.claim), kind="stable").tolist()
    numbers = list(frozen.units[:MOST_ROWS]) or closest[:1]
    if family.units.kind == "direction":
        numbers = closest
    return [
        {
            "kind": family.units.kind,
            "unit": unit.unit,
            "label": family.units.name(unit.unit),
            "name": unit.name,
            "selected": unit.unit in frozen.units,
            "p": unit.p,
            "q": unit.q,
            "auroc": unit.auroc,
            "interval": {other: list(ends) for other, ends in unit.interval.items()},
            "fires_on": list(unit.fires_on),
            "again": {
                place.on: _unit_again(replication, frozen.units.index(unit.unit))
                for place in again
                if unit.unit in frozen.units
                and (replication := place.replications.get(family.units.kind)) is not None
            },
        }
        for unit in evidence.units(numbers)
    ]


def _unit_again(replication: testing.Replication, row: int) -> dict[str, Any]:
    """One unit of a frozen set on other text: `row` is its place in the set."""
    target, auroc = replication.frozen.target, replication.auroc
    others = [language for language in auroc.languages if language != target]
    return {
        "passed": bool(replication.passed[row]),
        "auroc": {other: float(auroc.of(target, other)[row]) for other in others},
        "interval": {other: [float(end[row]) for end in auroc.interval(target, other)] for other in others},
    }


def replication_row(kind: str, on: str, tokens: int, replication: testing.Replication) -> dict[str, Any]:
    """How much of a frozen set passes again, in passages of at least so many tokens."""
    known = replication.share is not None
    return {
        "kind": kind,
        "on": on,
        "tokens": tokens,
        "reason": None,
        "units": len(replication.passed),
        "passed": int(replication.passed.sum()),
        "share": replication.share,
        "low": replication.low if known else None,
        "high": replication.high if known else None,
    }


def untested_row(kind: str, on: str, tokens: int, units: int, reason: str) -> dict[str, Any]:
    """That a frozen set of so many units could not be tested again, and why."""
    nothing = dict.fromkeys(("passed", "share", "low", "high"))
    return {"kind": kind, "on": on, "tokens": tokens, "reason": reason, "units": units, **nothing}


def calibration_rows(family: Tested) -> list[dict[str, Any]]:
    """How often labels dealt out anew give a p-value of "no difference" under a level."""
    drawn = family.evidence.permutations
    if drawn is None:
        return []
    return [
        {
            "kind": family.units.kind,
            "target": target,
            "reference": reference,
            "alpha": alpha,
            "share": float(share),
        }
        for (target, reference), shares in zip(drawn.comparisons, drawn.below, strict=True)
        for alpha, share in zip(testing.ALPHAS, shares, strict=True)
    ]


def score_rows(evidence: scores.Evidence) -> dict[str, Any]:
    """How the field's other scores rank the same latents, among those that fire more on the target."""
    found = scores.all_scores(evidence)
    higher = found["rate_difference"] > 0
    if higher.sum() < 2:
        return {"compared": int(higher.sum()), "names": [], "spearman": [], "shared": [], "top": 0}
    agreed = scores.agreement(found, higher_is_better=scores.HIGHER_IS_BETTER, among=higher)
    return {
        "compared": int(higher.sum()),
        "names": list(agreed.names),
        # a score that is the same for all latents has no correlation with another
        "spearman": [
            [None if value != value else value for value in row] for row in agreed.spearman.tolist()
        ],
        "shared": agreed.overlap.tolist(),
        "top": agreed.top,
    }
