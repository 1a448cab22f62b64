"""What else may be behind a frozen set: close languages, tokenisation, doubtful sentences, and sources."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int

from glossae.errors import GlossaeError
from glossae.evidence import testing
from glossae.evidence.comparable import MatchedTokenisation, match_tokenisation
from glossae.evidence.families import Family
from glossae.evidence.panels import Doubtful
from glossae.lm import TokenizedCorpus
from glossae.results import (
    Estimate,
    LanguageMatrix,
    MatchedClaim,
    MatchedEstimates,
    MatchedPassing,
    MatchedRow,
    MatchedUnit,
    SourceRow,
    SourcesApart,
    UnambiguousRow,
    WithinSource,
)
from glossae.units import SentenceTable

# rows of a family of units that results.json has
MOST_ROWS = 40
# sentences of a language that are matched: enough for an AUROC to two places, and quickly gone through
MATCHED_SENTENCES = 4000
# sentences on either side of a comparison within a source, at least
LEAST = 20


@dataclass(frozen=True)
class OtherText:
    """Every family on one text that was not opened before.

    Attributes:
        on: `held_out` or `replicate`.
        families: the families.
        tables: of each, on this text.
        tokens: the text; its sentence i is row i of the tables.
        doubtful: its sentences that could be in either of two languages.
    """

    on: str
    families: Sequence[Family]
    tables: Sequence[SentenceTable]
    tokens: TokenizedCorpus
    doubtful: Sequence[Doubtful]

    def sets(self) -> list[tuple[Family, SentenceTable, testing.SetScore]]:
        """The families of which something was selected, with that set as one score."""
        return [
            (family, table, testing.SetScore.of(family.frozen, family.table))
            for family, table in zip(self.families, self.tables, strict=True)
            if family.frozen.units
        ]

    def numbers(self, language: str) -> Int[np.ndarray, " sentences"]:
        """The sentences of a language."""
        return self.tables[0].rows(language)

    def has_languages(self, target: str) -> bool:
        """Whether the text has the target and another language; if not, it tests nothing."""
        return target in self.tables[0].present and len(self.tables[0].present) > 1


def language_matrices(text: OtherText) -> list[LanguageMatrix]:
    """AUROC of every language over every other by each frozen set as one score."""
    found = []
    for family, table, score in text.sets():
        auroc = score.auroc(table)
        cells = [[_estimate(auroc, a, b) for b in auroc.languages] for a in auroc.languages]
        found.append(
            LanguageMatrix(
                kind=family.units.kind,
                on=text.on,
                languages=auroc.languages,
                units=len(score.units),
                auroc=[[cell[0] for cell in row] for row in cells],
                low=[[cell[1] for cell in row] for row in cells],
                high=[[cell[2] for cell in row] for row in cells],
            )
        )
    return found


def _estimate(auroc: testing.AurocTable, a: str, b: str, row: int = 0) -> Estimate:
    """An estimate and the ends of its interval; a language over itself has none, and neither has a lone sentence."""
    ends = [float(end[row]) if a != b else np.nan for end in auroc.interval(a, b)]
    low, high = (None if np.isnan(end) else end for end in ends)
    return float(auroc.of(a, b)[row]), low, high


def matched_rows(
    text: OtherText, target: str, *, seed: int = 0
) -> tuple[list[MatchedRow], list[MatchedClaim]]:
    """Each frozen set against each language on sentences that are tokenised alike; and what passes its claim there."""
    rows, claims = list[MatchedRow](), list[MatchedClaim]()
    matches = _matches(text, target, seed)
    for family, table, score in text.sets():
        own, claim = _matched_rows(text, family, table, score, matches)
        rows += own
        claims.append(claim)
    return rows, claims


def _matches(text: OtherText, target: str, seed: int) -> dict[str, MatchedTokenisation | str]:
    """For every language but the target, sentences of both that are tokenised alike, or why there are none."""
    # the text is shuffled, so its first sentences are a fair sample
    chosen = {code: text.numbers(code)[:MATCHED_SENTENCES] for code in text.tables[0].present}
    found: dict[str, MatchedTokenisation | str] = {}
    for other in chosen:
        if other == target:
            continue
        rows = np.sort(np.concatenate([chosen[target], chosen[other]]))
        try:
            match = match_tokenisation(text.tokens.take(rows), target, other, seed=seed)
        except GlossaeError as error:
            found[other] = str(error)
            continue
        found[other] = MatchedTokenisation(
            rows[match.first], rows[match.second], match.found, match.before, match.after
        )
    return found


def _matched_rows(
    text: OtherText,
    family: Family,
    table: SentenceTable,
    score: testing.SetScore,
    matches: dict[str, MatchedTokenisation | str],
) -> tuple[list[MatchedRow], MatchedClaim]:
    """One set against each language, on all sentences and on those matched; and what passes the claim on both."""
    frozen, kind, sha256 = family.frozen, family.units.kind, text.tokens.corpus.sha256
    rows, compared = [], []
    left_out: dict[str, str] = {}
    for other, match in matches.items():
        if isinstance(match, str):
            left_out[other] = match
            continue
        codes = (frozen.target, other)
        # the text is shuffled, so its first sentences are drawn at random: those that were matched from, and as many
        # as were matched, whatever their tokenisation: what so few can show at all
        sample, as_many = (
            np.sort(np.concatenate([text.numbers(code)[:most] for code in codes]))
            for most in (MATCHED_SENTENCES, len(match))
        )
        places = [sample, match.rows, as_many]
        parts = [testing.restrict(frozen, table, other, place, text=sha256) for place in places]
        reason = next((part.reason for part in parts if part.reason is not None), None)
        sets = [_estimate(score.auroc(table, place), *codes) for place in places[:2]]
        units = [
            MatchedUnit(
                unit=unit,
                label=family.units.name(unit),
                all=_estimate(parts[0].auroc, *codes, number),
                matched=_estimate(parts[1].auroc, *codes, number),
            )
            for number, unit in enumerate(frozen.units[:MOST_ROWS])
        ]
        rows.append(
            MatchedRow(
                **dict(match.counts()),
                kind=kind,
                on=text.on,
                other=other,
                reason=reason,
                passed=None if reason else _passing(frozen, [parts]),
                set=MatchedEstimates(all=sets[0], matched=sets[1]),
                units=units,
            )
        )
        if other not in frozen.outside:
            continue
        if reason is None:
            compared.append(parts)
        else:
            left_out[other] = reason
    passed = _passing(frozen, compared) if compared else None
    claim = MatchedClaim(
        kind=kind,
        on=text.on,
        claim=frozen.claim,
        units=len(frozen.units),
        outside=[parts[0].other for parts in compared],
        left_out=left_out,
        passed=passed.all if passed else None,
        passed_matched=passed.matched if passed else None,
        passed_as_many=passed.as_many if passed else None,
    )
    return rows, claim


def _passing(frozen: testing.FrozenSet, compared: list[list[testing.SubsetTest]]) -> MatchedPassing:
    """How many units pass on all sentences, on the matched ones, and on as many others."""
    every, matched, as_many = (
        int(testing.passing_subsets(frozen, [parts[place] for parts in compared]).sum()) for place in range(3)
    )
    return MatchedPassing(all=every, matched=matched, as_many=as_many)


def unambiguous_rows(text: OtherText, target: str) -> list[UnambiguousRow]:
    """The target over each language with which it has doubtful sentences, with these and without."""
    rows = []
    for pair in text.doubtful:
        marked = np.array([sentence in pair.marked for sentence in text.tokens.corpus.sentences], dtype=bool)
        if target not in pair.languages or not marked.any():
            continue
        (other,) = (code for code in pair.languages if code != target)
        both = np.concatenate([text.numbers(code) for code in (target, other)])
        kept = both[~marked[both]]
        if len(set(text.tables[0].languages[kept].tolist())) < 2:
            continue
        rows += [
            UnambiguousRow(
                kind=family.units.kind,
                on=text.on,
                other=other,
                left_out={code: int(marked[text.numbers(code)].sum()) for code in (target, other)},
                all=_estimate(score.auroc(table, both), target, other),
                without=_estimate(score.auroc(table, kept), target, other),
            )
            for family, table, score in text.sets()
        ]
    return rows


def within_source(texts: Sequence[OtherText]) -> WithinSource:
    """The check for sources as confounders, on texts that no unit was selected on.

    `apart` says of each text whether its languages come from different sources (`testing.check_panel`), in which case
    what tells them apart may be the source. `rows` has, for every frozen set: the target against each other language
    inside every source that has both; and the target's sentences of one source against those of another, which a unit
    of the language ranks at .5.
    """
    apart = []
    for text in texts:
        try:
            testing.check_panel(text.tables[0])
            reason = None
        except GlossaeError as error:
            reason = str(error).partition(": test a table")[0]
        apart.append(SourcesApart(on=text.on, reason=reason))
    rows = list[SourceRow]()
    for number, family in enumerate(texts[0].families):
        kind, frozen, minimum = family.units.kind, family.frozen, family.evidence.minimum
        if not frozen.units:
            continue
        table = SentenceTable.join([text.tables[number] for text in texts]).columns(frozen.units)
        sources = list(dict.fromkeys(table.sources.tolist()))
        for source in sources:
            own = table.take(np.flatnonzero(table.sources == source))
            for other in own.present:
                if other != frozen.target and frozen.target in own.present:
                    rows += _source_row(own, (frozen.target, other), minimum, kind, source, versus=other)
        of_target = table.take(table.rows(frozen.target))
        by_source = replace(of_target, languages=of_target.sources)
        for pair in combinations(sources, 2):
            rows += _source_row(by_source, pair, minimum, kind, pair[0], other_source=pair[1])
    return WithinSource(apart=apart, rows=rows)


def _source_row(
    table: SentenceTable,
    pair: tuple[str, str],
    minimum: float,
    kind: str,
    source: str,
    *,
    versus: str | None = None,
    other_source: str | None = None,
) -> list[SourceRow]:
    """One row, or none where either side has too few sentences."""
    sizes = len(table.rows(pair[0])), len(table.rows(pair[1]))
    if min(sizes) < LEAST:
        return []
    chosen = table.take(np.concatenate([table.rows(name) for name in pair]))
    auroc: Float[np.ndarray, " units"] = testing.auroc_table(chosen).of(*pair)
    # a source may fire a unit more, or less
    strong = auroc if other_source is None else np.maximum(auroc, 1 - auroc)
    return [
        SourceRow(
            kind=kind,
            source=source,
            versus=versus,
            other_source=other_source,
            sentences=sizes,
            units=len(auroc),
            least=float(auroc.min()),
            median=float(np.median(auroc)),
            most=float(auroc.max()),
            told=int((strong >= minimum).sum()),
        )
    ]
