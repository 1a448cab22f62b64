"""The tests of families of units on other text, and what else may be behind what passes, as a result."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from glossae.errors import GlossaeError
from glossae.evidence import scores, testing
from glossae.evidence.comparable import passages
from glossae.evidence.confounders import (
    MOST_ROWS,
    OtherText,
    language_matrices,
    matched_rows,
    unambiguous_rows,
    within_source,
)
from glossae.evidence.families import Family, tables_of
from glossae.evidence.identification import identification
from glossae.evidence.panels import Panel, first_sentences, first_tokens
from glossae.evidence.settings import EvidenceSettings
from glossae.lm import LanguageModel, Site
from glossae.results import (
    CalibrationRow,
    ClaimRow,
    EvidenceResult,
    FamilyUnit,
    IdentificationRow,
    LanguageMatrix,
    MatchedClaim,
    MatchedRow,
    NotIdentified,
    RandomTokens,
    RandomTokenUnit,
    ReplicationRow,
    ScoresResult,
    UnambiguousRow,
    UnitAgain,
)
from glossae.units import collect

# tokens of a passage in which short sentences are tested again, so that a reader sees what their length does
PASSAGE = 32
# sentences of each language behind attribution, and random tokens: enough for a ranking, and seconds of work
ATTRIBUTED_SENTENCES, RANDOM_TOKENS = 200, 2000

Progress = Callable[[float], None]


def evidence_result(
    lm: LanguageModel,
    site: Site,
    families: Sequence[Family],
    panel: Panel,
    elsewhere: Panel | None,
    settings: EvidenceSettings,
    progress: Progress = lambda _: None,
) -> EvidenceResult:
    """Test frozen sets on the half of a panel that is held out, and elsewhere, and look for what else is behind them.

    Args:
        lm: the model.
        site: where the units read.
        families: found on the half that is searched; the latents are the first.
        panel: the text.
        elsewhere: text of another kind, where there is some.
        settings: of the tests.
        progress: is told the share that is done.
    """
    texts, replication = list[OtherText](), list[ReplicationRow]()
    again: dict[str, dict[str, testing.Replication]] = {}
    places = {"held_out": panel} | ({} if elsewhere is None else {"replicate": elsewhere})
    for number, (on, own) in enumerate(places.items()):

        def told(share: float, number: int = number) -> None:
            progress((number + share) / 4)

        tables = tables_of(
            lm, site, [each.units for each in families], own.held_out, budget=settings.budget, progress=told
        )
        text = OtherText(on, families, [table for _, table in tables], own.held_out, own.doubtful)
        texts.append(text)
        rows, again[on] = _replicated(text, settings)
        replication += rows
    matrix, unambiguous = list[LanguageMatrix](), list[UnambiguousRow]()
    matched, claims = list[MatchedRow](), list[MatchedClaim]()
    for text in texts:
        # `replication` says why a text without the target, or with nothing else, tests nothing
        if text.has_languages(settings.target):
            matrix += language_matrices(text)
            unambiguous += unambiguous_rows(text, settings.target)
            rows_of_text, claims_of_text = matched_rows(text, settings.target, seed=settings.seed)
            matched += rows_of_text
            claims += claims_of_text
    ranked, identified = None, list[IdentificationRow | NotIdentified]()
    if settings.scores:
        ranked = latent_scores(
            lm, site, families[0], panel, settings, lambda share: progress(0.5 + share / 4)
        )
    if settings.identify:
        identified = identification(
            lm, site, families, panel, texts, settings, lambda share: progress(0.75 + share / 4)
        )
    progress(1.0)
    return EvidenceResult(
        minimum=settings.minimum,
        q=settings.q,
        method=settings.method,
        tokens=settings.tokens,
        panels=[each.row() for each in places.values()],
        claims=[row for family in families for row in _claim_rows(family)],
        units=[row for family in families for row in _unit_rows(family, again)],
        replication=replication,
        calibration=[row for family in families for row in _calibration_rows(family)],
        matrix=matrix,
        matched=matched,
        matched_claims=claims,
        unambiguous=unambiguous,
        within_source=within_source(texts),
        scores=ranked,
        identification=identified,
    )


def _replicated(
    text: OtherText, settings: EvidenceSettings
) -> tuple[list[ReplicationRow], dict[str, testing.Replication]]:
    """How much of every frozen set passes again, by sentences and in passages; and by kind the former."""
    rows, found = list[ReplicationRow](), dict[str, testing.Replication]()
    for family, table in zip(text.families, text.tables, strict=True):
        kind, frozen = family.units.kind, family.frozen
        for length in sorted({settings.tokens, max(settings.tokens, PASSAGE)}):
            own: dict[str, Any] = {"kind": kind, "on": text.on, "tokens": length, "units": len(frozen.units)}
            try:
                again = testing.replicate(
                    frozen, passages(table, length), text=text.tokens.corpus.sha256, within="all"
                )
            except GlossaeError as error:
                rows.append(ReplicationRow(**own, reason=str(error)))
                continue
            if again.share is not None:
                own |= {"low": again.low, "high": again.high}
            rows.append(ReplicationRow(**own, passed=int(again.passed.sum()), share=again.share))
            if length == settings.tokens:
                found[kind] = again
    return rows, found


def _claim_rows(family: Family) -> list[ClaimRow]:
    level = family.evidence.level
    return [
        ClaimRow(
            kind=family.units.kind,
            claim=each.claim.name,
            inside=each.claim.inside,
            outside=each.claim.outside,
            same=each.claim.same,
            units=int((each.q <= level).sum()),
            of=len(each.q),
            family_wise=None if each.family_wise is None else int((each.family_wise <= level).sum()),
        )
        for each in family.evidence.claims
    ]


def _unit_rows(family: Family, again: dict[str, dict[str, testing.Replication]]) -> list[FamilyUnit]:
    """The frozen set's units, or where it is empty the one that came closest; directions all."""
    evidence, frozen, kind = family.evidence, family.frozen, family.units.kind
    closest = np.argsort(-evidence.weakest(frozen.claim), kind="stable").tolist()
    numbers = closest if kind == "direction" else list(frozen.units[:MOST_ROWS]) or closest[:1]
    return [
        FamilyUnit(
            **dict(unit),
            kind=kind,
            label=family.units.name(unit.unit),
            selected=unit.unit in frozen.units,
            again={
                on: _unit_again(found[kind], frozen.units.index(unit.unit))
                for on, found in again.items()
                if unit.unit in frozen.units and kind in found
            },
        )
        for unit in evidence.units(numbers)
    ]


def _unit_again(replication: testing.Replication, row: int) -> UnitAgain:
    """One unit of a frozen set on other text: `row` is its place in the set."""
    target, auroc = replication.frozen.target, replication.auroc
    others = [language for language in auroc.languages if language != target]
    ends = {other: auroc.interval(target, other) for other in others}
    return UnitAgain(
        passed=bool(replication.passed[row]),
        auroc={other: float(auroc.of(target, other)[row]) for other in others},
        interval={other: (float(low[row]), float(high[row])) for other, (low, high) in ends.items()},
    )


def _calibration_rows(family: Family) -> list[CalibrationRow]:
    drawn = family.evidence.permutations
    if drawn is None:
        return []
    return [
        CalibrationRow(
            kind=family.units.kind, target=target, reference=reference, alpha=alpha, share=float(share)
        )
        for (target, reference), shares in zip(drawn.comparisons, drawn.below, strict=True)
        for alpha, share in zip(testing.ALPHAS, shares, strict=True)
    ]


def latent_scores(
    lm: LanguageModel,
    site: Site,
    latents: Family,
    panel: Panel,
    settings: EvidenceSettings,
    progress: Progress = lambda _: None,
) -> ScoresResult:
    """How far the field's scores agree, and what LangFIR's filter says of the frozen latents.

    Attribution is on the first 200 sentences of each language of the half that was searched. Random sequences are as
    long as the target's first sentences there, 2,000 tokens together.
    """
    attribution = scores.gradient_attribution(
        lm,
        site,
        latents.units,
        first_sentences(panel.found_on, ATTRIBUTED_SENTENCES),
        budget=settings.budget,
        progress=lambda share: progress(0.9 * share),
    )
    found_on = panel.found_on
    of_target = [i for i, s in enumerate(found_on.corpus.sentences) if s.language == settings.target]
    like = first_tokens(found_on.take(of_target), RANDOM_TOKENS)
    statistics, _ = collect(
        lm,
        site,
        latents.units,
        scores.random_token_sequences(lm, like, seed=settings.seed),
        budget=settings.budget,
        table=False,
        progress=lambda share: progress(0.9 + 0.1 * share),
    )
    counted = scores.TokenCounts.of(statistics)
    tokens = int(counted.tokens.sum())
    random_rate = counted.fired.sum(0) / tokens
    evidence = scores.ScoreInputs(
        settings.target,
        scores.TokenCounts.of(latents.statistics),
        latents.table,
        attribution=attribution,
        random_rate=random_rate,
        seed=settings.seed,
    )
    kept = scores.random_token_filter(rate=evidence.token_rate, random_rate=random_rate)
    ranks = scores.all_scores(evidence)
    higher = ranks["rate_difference"] > 0
    agreed = None
    if higher.sum() > 1:
        agreed = scores.agreement(ranks, higher_is_better=scores.HIGHER_IS_BETTER, among=higher)
    return ScoresResult(
        compared=int(higher.sum()),
        names=list(agreed.names) if agreed else [],
        # a score that is the same for all latents has no correlation with another
        spearman=[[None if v != v else v for v in row] for row in agreed.spearman.tolist()] if agreed else [],
        shared=agreed.overlap.tolist() if agreed else [],
        top=agreed.top if agreed else 0,
        attributed=dict(zip(attribution.languages, attribution.predicted.tolist(), strict=True)),
        random_tokens=RandomTokens(
            tokens=tokens,
            min_rate=scores.MIN_RATE,
            max_random=scores.MAX_RANDOM,
            units=[
                RandomTokenUnit(
                    unit=unit,
                    rate=float(evidence.token_rate[unit]),
                    random_rate=float(random_rate[unit]),
                    on_random=bool(random_rate[unit] > scores.MAX_RANDOM),
                    kept=bool(kept[unit]),
                )
                for unit in latents.frozen.units[:MOST_ROWS]
            ],
        ),
    )
