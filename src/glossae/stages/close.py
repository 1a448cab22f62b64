"""Selected sets against close languages: all sentences, those tokenised alike, and those of one source."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from glossae.errors import GlossaeError
from glossae.evidence import MatchedTokenisation, match_tokenisation, testing
from glossae.lm import TokenizedCorpus
from glossae.stages.found import MOST_ROWS, Again, Tested
from glossae.stages.panels import Doubtful
from glossae.units import SentenceTable

# sentences of a language that are matched: enough for an AUROC to two places, and quickly gone through
MATCHED_SENTENCES = 4000
# sentences on either side of a comparison within a source, at least
LEAST = 20


@dataclass(frozen=True)
class Looked:
    """Every family's table on one text that was not opened before.

    Attributes:
        on: `held_out` or `replicate`.
        tested: the families.
        tables: of each, on this text.
        tokens: the text; its sentence i is row i of the tables.
        doubtful: its sentences that could be in either of two languages.
    """

    on: str
    tested: list[Tested]
    tables: list[SentenceTable]
    tokens: TokenizedCorpus
    doubtful: list[Doubtful]

    def sets(self) -> list[tuple[Tested, SentenceTable, testing.SetScore]]:
        """The families of which something was selected, with that set as one score."""
        return [
            (family, table, testing.SetScore.of(family.frozen, family.table))
            for family, table in zip(self.tested, self.tables, strict=True)
            if family.frozen.units
        ]

    def numbers(self, language: str) -> Int[np.ndarray, " sentences"]:
        """The sentences of a language."""
        return self.tables[0].rows(language)


def close_languages(looked: Looked, target: str, seed: int) -> dict[str, list[dict[str, Any]]]:
    """The parts of `evidence` in results.json: `matrix`, `matched`, `matched_claims`, `unambiguous`."""
    names = ("matrix", "matched", "matched_claims", "unambiguous")
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    present = looked.tables[0].present
    if target not in present or len(present) < 2:
        # `replicate` says why such a text tests nothing
        return found
    found["matrix"] = matrix_rows(looked)
    found["unambiguous"] = _unambiguous_rows(looked, target)
    matches = _matches(looked, target, seed)
    for family, table, score in looked.sets():
        rows, claim = _matched_rows(looked, family, table, score, matches)
        found["matched"] += rows
        found["matched_claims"].append(claim)
    return found


def matrix_rows(looked: Looked) -> list[dict[str, Any]]:
    """AUROC of every language over every other by each selected set as one score, with 95 % intervals."""
    rows = []
    for family, table, score in looked.sets():
        auroc = score.auroc(table)
        cells = [[_cell(auroc, a, b) for b in auroc.languages] for a in auroc.languages]
        rows.append(
            {
                "kind": family.units.kind,
                "on": looked.on,
                "languages": list(auroc.languages),
                "units": len(score.units),
                **{
                    name: [[cell[place] for cell in row] for row in cells]
                    for place, name in enumerate(("auroc", "low", "high"))
                },
            }
        )
    return rows


def _cell(auroc: testing.AurocTable, a: str, b: str, row: int = 0) -> list[float | None]:
    """An estimate and the ends of its interval; a language over itself has none, and neither has a lone sentence."""
    ends = [float(end[row]) if a != b else np.nan for end in auroc.interval(a, b)]
    return [float(auroc.of(a, b)[row]), *(None if np.isnan(end) else end for end in ends)]


def _matches(looked: Looked, target: str, seed: int) -> dict[str, MatchedTokenisation | str]:
    """For every language but the target, sentences of both that are tokenised alike, or why there are none."""
    # the text is shuffled, so its first sentences are a fair sample
    chosen = {code: looked.numbers(code)[:MATCHED_SENTENCES] for code in looked.tables[0].present}
    found: dict[str, MatchedTokenisation | str] = {}
    for other in chosen:
        if other == target:
            continue
        rows = np.sort(np.concatenate([chosen[target], chosen[other]]))
        try:
            match = match_tokenisation(looked.tokens.take(rows), target, other, seed=seed)
        except GlossaeError as error:
            found[other] = str(error)
            continue
        found[other] = MatchedTokenisation(
            rows[match.first], rows[match.second], match.found, match.before, match.after
        )
    return found


def _matched_rows(
    looked: Looked,
    family: Tested,
    table: SentenceTable,
    score: testing.SetScore,
    matches: dict[str, MatchedTokenisation | str],
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """One set against each language, on all sentences and on those matched; and what passes the claim on both."""
    frozen, kind, text = family.frozen, family.units.kind, looked.tokens.corpus.sha256
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
            np.sort(np.concatenate([looked.numbers(code)[:most] for code in codes]))
            for most in (MATCHED_SENTENCES, len(match))
        )
        places = [sample, match.rows, as_many]
        parts = [testing.restrict(frozen, table, other, place, text=text) for place in places]
        sets = [_cell(score.auroc(table, place), frozen.target, other) for place in places[:2]]
        reason = next((part.reason for part in parts if part.reason is not None), None)
        units = [
            {
                "unit": unit,
                "label": family.units.name(unit),
                **{
                    name: _cell(part.auroc, frozen.target, other, number)
                    for name, part in zip(("all", "matched"), parts[:2], strict=True)
                },
            }
            for number, unit in enumerate(frozen.units[:MOST_ROWS])
        ]
        rows.append(
            {
                "kind": kind,
                "on": looked.on,
                "other": other,
                **match.as_json(),
                "reason": reason,
                "passed": None if reason else _passing(frozen, [parts]),
                "set": dict(zip(("all", "matched"), sets, strict=True)),
                "units": units,
            }
        )
        if other not in frozen.outside:
            continue
        if reason is None:
            compared.append(parts)
        else:
            left_out[other] = reason
    passed = _passing(frozen, compared).values() if compared else (None, None, None)
    return rows, {
        "kind": kind,
        "on": looked.on,
        "claim": frozen.claim,
        "units": len(frozen.units),
        "outside": [parts[0].other for parts in compared],
        "left_out": left_out,
        # None where there is no language to test against
        **dict(zip(("passed", "passed_matched", "passed_as_many"), passed, strict=True)),
    }


def _passing(frozen: testing.FrozenSet, compared: list[list[testing.SubsetTest]]) -> dict[str, int]:
    """How many units pass on all sentences, on the matched ones, and on as many others."""
    return {
        name: int(testing.passing_subsets(frozen, [parts[place] for parts in compared]).sum())
        for place, name in enumerate(("all", "matched", "as_many"))
    }


def _unambiguous_rows(looked: Looked, target: str) -> list[dict[str, Any]]:
    """The target over each language with which it has doubtful sentences, with these and without."""
    rows = []
    for pair in looked.doubtful:
        marked = np.array(
            [sentence in pair.marked for sentence in looked.tokens.corpus.sentences], dtype=bool
        )
        if target not in pair.languages or not marked.any():
            continue
        (other,) = (code for code in pair.languages if code != target)
        both = np.concatenate([looked.numbers(code) for code in (target, other)])
        kept = both[~marked[both]]
        if len(set(looked.tables[0].languages[kept].tolist())) < 2:
            continue
        rows += [
            {
                "kind": family.units.kind,
                "on": looked.on,
                "other": other,
                "left_out": {code: int(marked[looked.numbers(code)].sum()) for code in (target, other)},
                "all": _cell(score.auroc(table, both), target, other),
                "without": _cell(score.auroc(table, kept), target, other),
            }
            for family, table, score in looked.sets()
        ]
    return rows


def within_source(tested: Sequence[Tested], again: Sequence[Again]) -> dict[str, Any]:
    """The check for sources as confounders, on text that no unit was selected on.

    `apart` says of each text whether its languages come from different sources (`testing.check_panel`), in which case
    what tells them apart may be the source. `rows` has, for every frozen set: the target against each other language
    inside every source that has both; and the target's sentences of one source against those of another, which a unit
    of the language ranks at .5.
    """
    apart = []
    for place in again:
        table = place.tables[tested[0].units.kind]
        try:
            testing.check_panel(table)
            reason = None
        except GlossaeError as error:
            reason = str(error).partition(": test a table")[0]
        apart.append({"on": place.on, "reason": reason})
    rows = []
    for family in tested:
        kind, frozen = family.units.kind, family.frozen
        if not frozen.units:
            continue
        table = SentenceTable.join([place.tables[kind] for place in again]).columns(frozen.units)
        target, minimum = frozen.target, family.evidence.minimum
        sources = list(dict.fromkeys(table.sources.tolist()))
        for source in sources:
            own = table.take(np.flatnonzero(table.sources == source))
            for other in own.present:
                if other != target and target in own.present:
                    rows += _row(
                        own, (target, other), minimum, {"kind": kind, "source": source, "versus": other}
                    )
        of_target = table.take(table.rows(target))
        by_source = replace(of_target, languages=of_target.sources)
        for pair in combinations(sources, 2):
            rows += _row(by_source, pair, minimum, {"kind": kind, "source": pair[0], "versus": None}, pair[1])
    return {"apart": apart, "rows": rows}


def _row(
    table: SentenceTable,
    pair: tuple[str, str],
    minimum: float,
    names: dict[str, Any],
    other_source: str | None = None,
) -> list[dict[str, Any]]:
    sizes = [len(table.rows(name)) for name in pair]
    if min(sizes) < LEAST:
        return []
    chosen = table.take(np.concatenate([table.rows(name) for name in pair]))
    auroc: Float[np.ndarray, " units"] = testing.auroc_table(chosen).of(*pair)
    # a source may fire a unit more, or less
    strong = auroc if other_source is None else np.maximum(auroc, 1 - auroc)
    return [
        {
            **names,
            "other_source": other_source,
            "sentences": sizes,
            "units": len(auroc),
            "least": float(auroc.min()),
            "median": float(np.median(auroc)),
            "most": float(auroc.max()),
            "told": int((strong >= minimum).sum()),
        }
    ]
