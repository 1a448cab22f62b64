"""What the evidence stage found, as rows for `results.json`."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from sprog.features import CountedUnits, SentenceTable, UnitStatistics, scores, testing
from sprog.run.context import Context
from sprog.run.panels import Panel

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


def unit_rows(family: Tested, again: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The frozen set's units, or where it is empty the one that came closest; directions all."""
    evidence, claim = family.evidence, family.evidence.claims[0].claim
    weakest = np.min([evidence.auroc.of(a, b) for a, b in claim.comparisons], axis=0)
    numbers = list(family.frozen.units[:MOST_ROWS]) or [int(weakest.argmax())]
    if family.units.kind == "direction":
        numbers = np.argsort(-weakest, kind="stable").tolist()
    rows = []
    for unit in evidence.units(numbers):
        later = {}
        for place in again:
            replication = place["found"].get(family.units.kind)
            if replication is None or unit.unit not in family.frozen.units:
                continue
            row = family.frozen.units.index(unit.unit)
            later[place["place"]] = {
                "passed": bool(replication.passed[row]),
                "auroc": {
                    other: float(replication.auroc.of(family.frozen.target, other)[row])
                    for other in replication.auroc.languages
                    if other != family.frozen.target
                },
                "interval": {
                    other: [
                        float(end[row]) for end in replication.auroc.interval(family.frozen.target, other)
                    ]
                    for other in replication.auroc.languages
                    if other != family.frozen.target
                },
            }
        rows.append(
            {
                "kind": family.units.kind,
                "unit": unit.unit,
                "label": family.units.name(unit.unit),
                "name": unit.name,
                "selected": unit.unit in family.frozen.units,
                "p": unit.p,
                "q": unit.q,
                "auroc": unit.auroc,
                "interval": {other: list(ends) for other, ends in unit.interval.items()},
                "fires_on": list(unit.fires_on),
                "again": later,
            }
        )
    return rows


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


def score_rows(context: Context, latents: Tested) -> dict[str, Any]:
    """How the field's other scores rank the same latents, among those that fire more on the target."""
    evidence = scores.Evidence(
        context.target, scores.TokenCounts.of(latents.statistics), latents.table, seed=context.recipe.seed
    )
    found = scores.all_scores(evidence)
    others = [language for language in latents.statistics.languages if language != context.target]
    rate = latents.statistics.rate(context.target).numpy()
    higher = rate > np.max([latents.statistics.rate(language).numpy() for language in others], axis=0)
    if higher.sum() < 2:
        return {"compared": int(higher.sum()), "names": [], "spearman": [], "shared": [], "top": 0}
    agreed = scores.agreement(
        found,
        higher_is_better={name: scores.SCORES[name].higher_is_better for name in found},
        among=higher,
    )
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
