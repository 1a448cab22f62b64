"""The stage `evidence`: test which units are the language, and whether they are again on other text."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from glossae.corpora import OPTIONAL
from glossae.errors import GlossaeError
from glossae.evidence import passages, scores, testing
from glossae.plan import Quantities, Work, sentences_of, tokens_of
from glossae.results import StageResults
from glossae.run.context import Context, Inputs, Progress, only, part
from glossae.run.folder import write_table
from glossae.stages.close import Looked, close_languages, within_source
from glossae.stages.found import (
    DIRECTION_TOKENS,
    MOST_ROWS,
    PER_DIMENSION,
    Again,
    Tested,
    find_and_freeze,
    language_directions,
    site_neurons,
    tables_of,
)
from glossae.stages.identification import identification, identification_work
from glossae.stages.panels import (
    Panel,
    first_sentences,
    first_tokens,
    replication_panel,
    tested_panel,
    too_small,
    untested_lines,
)
from glossae.stages.sae import load_sae
from glossae.stages.stage import Stage, settings_of
from glossae.units import CountedUnits, Latents, collect

# tokens of a passage in which short sentences are tested again, so that a reader sees what their length does
PASSAGE = 32
# sentences of each language behind attribution, and random tokens: enough for a ranking, and seconds of work
ATTRIBUTED_SENTENCES, RANDOM_TOKENS = 200, 2000


def run(context: Context, progress: Progress) -> StageResults:
    """Test units of every kind on half of the panel, freeze what passes, and test it on the rest and elsewhere."""
    try:
        panel = tested_panel(context)
        tested = _tested(context, panel, part(progress, 0.0, 0.6))
    except GlossaeError as error:
        if "panel" in context.roles.corpora:
            raise
        # text that was not given for this may be too little for it, and the run goes on without
        progress(1.0)
        return StageResults(evidence={"reason": str(error)})
    _write_units(context, tested)
    again = [_again(context, tested, panel, "held_out", part(progress, 0.6, 0.7))]
    elsewhere = replication_panel(context)
    if elsewhere is not None:
        again.append(_again(context, tested, elsewhere, "replicate", part(progress, 0.7, 0.8)))
    wanted = context.recipe.evidence.scores
    ranked = latent_scores(context, tested[0], panel, part(progress, 0.8, 0.9)) if wanted else None
    identified = identification(context, tested, again, panel, elsewhere, part(progress, 0.9, 1.0))
    settings = context.recipe.evidence
    return StageResults(
        evidence={
            "reason": None,
            **{name: getattr(settings, name) for name in ("minimum", "q", "method", "tokens")},
            "panels": [panel_row(each) for each in (panel, elsewhere) if each is not None],
            "claims": [row for family in tested for row in claim_rows(family)],
            "units": [row for family in tested for row in unit_rows(family, again)],
            "replication": [row for place in again for row in place.rows],
            "calibration": [row for family in tested for row in calibration_rows(family)],
            **{name: [row for place in again for row in place.close[name]] for name in again[0].close},
            "within_source": within_source(tested, again),
            "scores": ranked,
            "identification": identified,
        }
    )


def _tested(context: Context, panel: Panel, progress: Progress) -> list[Tested]:
    """The latents, the site's coordinates, and directions from `train`, tested and frozen."""
    families: list[CountedUnits] = [
        Latents(load_sae(context)),
        site_neurons(context),
        language_directions(context)[0],
    ]
    collected = tables_of(context, families, panel.found_on, part(progress, 0.1, 0.5))
    found = []
    for number, (units, (statistics, table)) in enumerate(zip(families, collected, strict=True)):
        share = 0.5 / len(families)
        evidence, frozen = find_and_freeze(
            context,
            table,
            context.folder.path / "evidence" / f"{units.kind}s.json",
            text=panel.found_on.corpus.sha256,
            permutations=context.recipe.evidence.permutations,
            progress=part(progress, 0.5 + share * number, 0.5 + share * (number + 1)),
        )
        found.append(Tested(units, table, statistics, evidence, frozen))
    return found


def _again(context: Context, tested: list[Tested], panel: Panel, place: str, progress: Progress) -> Again:
    """Every frozen set on other text: what the panel holds out."""
    tokens, settings = panel.held_out, context.recipe.evidence
    tables = [table for _, table in tables_of(context, [each.units for each in tested], tokens, progress)]
    looked = Looked(place, tested, tables, tokens, panel.doubtful)
    again = Again(place, [], {}, close_languages(looked, context.target, context.recipe.seed))
    for family, table in zip(tested, tables, strict=True):
        kind, frozen = family.units.kind, family.frozen
        again.tables[kind] = table
        for length in sorted({settings.tokens, max(settings.tokens, PASSAGE)}):
            try:
                replication = testing.replicate(
                    frozen, passages(table, length), text=tokens.corpus.sha256, within="all"
                )
            except GlossaeError as error:
                again.rows.append(untested_row(kind, place, length, len(frozen.units), str(error)))
                continue
            again.rows.append(replication_row(kind, place, length, replication))
            if length == settings.tokens:
                again.replications[kind] = replication
    return again


def _write_units(context: Context, tested: list[Tested]) -> None:
    """Every unit with every claim's p and q, and its AUROC against every other language."""
    rows = []
    for family in tested:
        evidence, target = family.evidence, family.evidence.target
        columns: dict[str, Any] = {}
        for each in evidence.claims:
            columns |= {f"p {each.claim.name}": each.p, f"q {each.claim.name}": each.q}
            if each.family_wise is not None:
                columns[f"family-wise {each.claim.name}"] = each.family_wise
        for other in evidence.auroc.languages:
            if other != target:
                columns[f"auroc {target} {other}"] = evidence.auroc.of(target, other)
        rows += [
            {"kind": family.units.kind, "unit": unit}
            | {name: float(values[unit]) for name, values in columns.items()}
            for unit in range(len(family.units))
        ]
    write_table(context.folder.path / "evidence" / "units.parquet", rows)


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


def score_rows(evidence: scores.ScoreInputs) -> dict[str, Any]:
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


def latent_scores(context: Context, latents: Tested, panel: Panel, progress: Progress) -> dict[str, Any]:
    """The `scores` of results.json: how far the field's scores agree, and what LangFIR's filter says of the frozen.

    Attribution is on the first sentences of each language of the half that was searched. Random sequences are as long
    as the target's first sentences there.
    """
    recipe, lm, site = context.recipe, context.lm, context.site
    attribution = scores.gradient_attribution(
        lm,
        site,
        latents.units,
        first_sentences(panel.found_on, ATTRIBUTED_SENTENCES),
        budget=recipe.batch_tokens,
        progress=part(progress, 0.0, 0.9),
    )
    like = first_tokens(only(panel.found_on, context.target), RANDOM_TOKENS)
    statistics, _ = collect(
        lm,
        site,
        latents.units,
        scores.random_token_sequences(lm, like, seed=recipe.seed),
        budget=recipe.batch_tokens,
        table=False,
        progress=part(progress, 0.9, 1.0),
    )
    counted = scores.TokenCounts.of(statistics)
    tokens = int(counted.tokens.sum())
    random_rate = counted.fired.sum(0) / tokens
    evidence = scores.ScoreInputs(
        context.target,
        scores.TokenCounts.of(latents.statistics),
        latents.table,
        attribution=attribution,
        random_rate=random_rate,
        seed=recipe.seed,
    )
    kept = scores.random_token_filter(rate=evidence.token_rate, random_rate=random_rate)
    return {
        **score_rows(evidence),
        "attributed": dict(zip(attribution.languages, attribution.predicted.tolist(), strict=True)),
        "random_tokens": {
            "tokens": tokens,
            "min_rate": scores.MIN_RATE,
            "max_random": scores.MAX_RANDOM,
            "units": [
                {
                    "unit": unit,
                    "rate": float(evidence.token_rate[unit]),
                    "random_rate": float(random_rate[unit]),
                    "on_random": bool(random_rate[unit] > scores.MAX_RANDOM),
                    "kept": bool(kept[unit]),
                }
                for unit in latents.frozen.units[:MOST_ROWS]
            ],
        },
    }


def lines(results: StageResults, target: str, reference: str) -> Iterator[str]:
    """How many units of each kind pass, how many of them again, and how well languages are told apart."""
    if not (evidence := results.evidence):
        return
    if evidence["reason"] is not None:
        yield f"evidence  not tested: {evidence['reason']}"
        return
    places = {"held_out": "the half held out", "replicate": "other text"}
    for kind in dict.fromkeys(row["kind"] for row in evidence["claims"]):
        claims = [row for row in evidence["claims"] if row["kind"] == kind]
        found = ", ".join(f"{row['units']} {row['claim']}" for row in claims)
        again = "".join(
            f"; {row['passed']} of {row['units']} again on {places[row['on']]}"
            for row in evidence["replication"]
            if row["kind"] == kind and row["share"] is not None and row["tokens"] == evidence["tokens"]
        )
        yield f"evidence  {claims[0]['of']} {kind}s, q {evidence['q']:g}: {found}{again}"
    own = [
        row
        for row in evidence.get("identification") or []
        if row["reason"] is None
        and (row["level"], row["on"], row["how"] == "largest") == ("sentence", "held_out", False)
    ]
    if own:
        languages = max((row["set"] for row in own), key=len)
        # of each kind the row of most units, which comes last
        last = {row["by"]: row for row in own if row["set"] == languages}
        told = ", ".join(
            f"{row['per_language']} {by}s each {row['macro_f1']:.3f}"
            if row["per_language"]
            else f"{by} {row['macro_f1']:.3f}"
            for by, row in last.items()
        )
        yield f"evidence  {' '.join(languages)} told apart, macro-F1: {told}"


def directions_from(counts: Quantities) -> float:
    """Tokens of train that directions are made from."""
    return min(counts.train_tokens, 2 * min(DIRECTION_TOKENS, PER_DIMENSION * counts.d_in))


def cost(counts: Quantities) -> Work:
    """One pass over text of train for directions, and one over each panel; every unit's tests; other scores."""
    panels = [counts.roles[role] for role in OPTIONAL if role in counts.roles]
    text = panels if "panel" in counts.roles else [counts.roles["select"], *panels]
    tokens, sentences = sum(map(tokens_of, text)), sum(map(sentences_of, text))
    passes = counts.forward(tokens + directions_from(counts), counts.depth)
    # neurons of both signs are in the table at every sentence, latents at those where they fire
    entries = sentences * 2 * counts.d_in + min(tokens * counts.live_latents, sentences * counts.latents)
    draws = 2 * counts.recipe.evidence.permutations * max(1, len(text[0]) - 1)
    tests = Work(float_flops=2 * entries * draws / 2, moved=entries * 400, held=entries * 60, seconds=2)
    work = passes + counts.encode(tokens) + tests
    if counts.recipe.evidence.scores:
        attributed = sum(
            a.tokens * min(1.0, ATTRIBUTED_SENTENCES / max(1.0, a.sentences)) for a in text[0].values()
        )
        # a backward pass through the whole model costs two forward ones
        asked = counts.forward(3 * attributed, counts.shape.layers, output=True)
        drawn = counts.forward(RANDOM_TOKENS, counts.depth)
        work += asked + drawn + counts.encode(attributed + RANDOM_TOKENS)
    return work + identification_work(counts, text)


def words(counts: Quantities) -> str:
    """How many units, on which text."""
    return (
        f"tests of {counts.latents:,} latents and the site's coordinates, each language against each, on "
        + ("panel" if "panel" in counts.roles else "select")
        + (" and again on replicate" if "replicate" in counts.roles else "")
    )


STAGE = Stage(
    name="evidence",
    does="testing which units are the language",
    run=run,
    inputs=lambda context: Inputs(
        ("train", *context.reads_panel), settings_of(context.recipe, "evidence", "seeds"), ("sae",)
    ),
    cost=cost,
    words=words,
    lower="batch_tokens, evidence.permutations or sae.latents (or sae.expansion)",
    notes=too_small,
    forecast=untested_lines,
    lines=lines,
)
