"""Close languages: what the selected sets rank above what, and how well few units tell languages apart."""

from collections.abc import Sequence

from glossae.reporting.blocks import Blocks, Cell, Line, Paragraph, Table, not_run, table
from glossae.reporting.findings import PLACES
from glossae.reporting.reading import RunFiles
from glossae.reporting.wording import (
    capital,
    interval,
    language_list,
    language_name,
    listed,
    number,
    percent,
    plural,
    signed,
    whole,
)
from glossae.results import (
    EvidenceResult,
    IdentificationRow,
    LanguageMatrix,
    MatchedClaim,
    MatchedRow,
    MatchedUnit,
    NotTested,
)

_MOST_UNITS = 20
_WRITTEN = {"tokens_per_word": "tokens per word", "bytes_per_token": "bytes per token"}


def close_blocks(files: RunFiles) -> Blocks:
    """Every language over every other; matched tokenisation; sentences that could be in either of two."""
    evidence = files.results.evidence
    if evidence is None:
        yield not_run("Tests of units")
    elif isinstance(evidence, NotTested) or not evidence.matrix:
        yield Paragraph("No set of units was selected by a test, so there is none to look at here.", "absent")
    else:
        also = [_also(files, row) for row in evidence.matrix]
        yield Paragraph(" ".join(filter(None, also)), "finding")
        for row in evidence.matrix:
            yield _matrix(files, row)
        yield from _matched(files, evidence)
        yield from _doubtful(files, evidence)


def _auroc(value: Sequence[float | None]) -> Cell:
    return Cell(number(value[0]), interval(value[1], value[2], 2))


# ---- every language over every other


def _also(files: RunFiles, row: LanguageMatrix) -> str:
    """Which other languages the set ranks over the reference as well."""
    place = {code: number for number, code in enumerate(row.languages)}
    if files.reference not in place:
        return ""
    reference = place[files.reference]
    parts = []
    for code in files.languages[2:]:
        low = row.low[place[code]][reference] if code in place else None
        if low is not None and low > 0.5:
            parts.append(f"{language_name(code)} ({number(row.auroc[place[code]][reference], 2)})")
    target, name = files.names
    also = f"also rank {listed(parts)}" if parts else "rank no other language"
    return f"On {PLACES[row.on]} the {plural(row.units, row.kind)} of {target} together {also} over {name}."


def _matrix(files: RunFiles, row: LanguageMatrix) -> Table:
    codes = [code for code in files.languages if code in row.languages]

    def over(one: str, other: str) -> str | Cell:
        here, there = row.languages.index(one), row.languages.index(other)
        return "–" if one == other else _auroc([part[here][there] for part in (row.auroc, row.low, row.high)])

    return table(
        f"Every language over every other, {row.kind}s, {PLACES[row.on]}",
        f"AUROC of the row's language over the column's, with 95 % intervals, by {plural(row.units, row.kind)} "
        "as one score: the mean of their values on a sentence, each divided by its standard deviation over the "
        "sentences that the set was found on. 0.5: it does not tell the two apart.",
        [
            {"": language_name(one), **{f"over {language_name(other)}": over(one, other) for other in codes}}
            for one in codes
        ],
    )


# ---- matched on tokenisation


def _matched(files: RunFiles, evidence: EvidenceResult) -> Blocks:
    for row in evidence.matched_claims:
        yield Paragraph(_still(row), "finding")
    for kind, on in dict.fromkeys((row.kind, row.on) for row in evidence.matched):
        rows = [row for row in evidence.matched if (row.kind, row.on) == (kind, on)]
        rows.sort(key=lambda row: files.languages.index(row.other))
        yield table(
            f"Matched on tokenisation, {kind}s, {PLACES[on]}",
            "Sentences of the target, each with one of the other language that has nearly as many tokens per word and "
            "bytes per token (within 0.2 standard deviations of both), and how far apart the two languages are before "
            "and after, in standard deviations; below 0.1 is commonly taken as balance. AUROC of the set as one score, "
            "on all of these sentences and on the matched ones. Last, how many units pass against this language alone "
            "on the matched ones, on all, and on as many that are not matched, which is what so few sentences can "
            "show.",
            [_matched_line(row) for row in rows],
        )
        if on == "held_out":
            yield _matched_units(kind, rows)


def _still(row: MatchedClaim) -> str:
    """Whether what passes still passes."""
    text = f"{capital(PLACES[row.on])}, sentences that are tokenised alike: "
    units = plural(row.units, row.kind)
    left = "".join(f" Not against {language_name(code)}: {reason}." for code, reason in row.left_out.items())
    if row.passed is None:
        return f"{text}too few to test the {units} on.{left}"
    return (
        f"{text}of {units} {whole(row.passed)} pass as {row.claim} against {language_list(row.outside)} "
        f"on all sentences, {whole(row.passed_matched)} on the matched ones, and {whole(row.passed_as_many)} on "
        f"as many that are not matched.{left}"
    )


def _matched_line(row: MatchedRow) -> Line:
    passed = row.passed
    return {
        "Against": language_name(row.other),
        "matched": Cell(whole(row.matched), f"of {whole(row.found[0])} and {whole(row.found[1])}"),
        **{
            f"{words}, apart": Cell(signed(row.after[name], 2), f"before: {signed(row.before[name], 2)}")
            for name, words in _WRITTEN.items()
        },
        "all": _auroc(row.set.all),
        "matched ones": _auroc(row.set.matched),
        "pass": "too few"
        if passed is None
        else Cell(whole(passed.matched), f"all: {whole(passed.all)}; as many: {whole(passed.as_many)}"),
    }


def _matched_units(kind: str, rows: list[MatchedRow]) -> Table:
    units = rows[0].units[:_MOST_UNITS]
    more = f" The first {_MOST_UNITS}." if len(rows[0].units) > _MOST_UNITS else ""

    def auroc(unit: MatchedUnit) -> Cell:
        return Cell(number(unit.matched[0]), f"all: {number(unit.all[0])}")

    return Table(
        f"Each {kind} on matched sentences",
        f"AUROC of the target over each language on the matched sentences of the held-out half; below, on all.{more}",
        (capital(kind), *(f"over {language_name(row.other)}" for row in rows)),
        [
            (unit.label.removeprefix(f"{kind} "), *(auroc(row.units[place]) for row in rows))
            for place, unit in enumerate(units)
        ],
    )


# ---- sentences that could be in either


def _doubtful(files: RunFiles, evidence: EvidenceResult) -> Blocks:
    lines: list[Line] = [
        {
            "Text": PLACES["replicate"] if panel.role == "replicate" else "both halves",
            "Language": language_name(one),
            "could be": language_name(other),
            "sentences": whole(pair.sentences[one]),
            "doubtful": whole(pair.doubtful[one]),
            "share": percent(pair.doubtful[one] / pair.sentences[one]),
        }
        for panel in evidence.panels
        for pair in panel.doubtful
        for one, other in (pair.languages, pair.languages[::-1])
        if pair.doubtful[one]
    ]
    if not lines:
        yield Paragraph("By their words no sentences could be in another of the languages.")
        return
    fate = "were kept in every test above"
    if files.recipe.evidence.ambiguous == "drop":
        fate = "were set aside before anything was tested"
    yield table(
        "Sentences that could be in either language",
        "Sentences whose words all stand in the word lists of both, lists made of this text. Words alone are looked "
        f"at: grammar may give a sentence away all the same, so the count is an upper one. They {fate}.",
        lines,
        words=3,
    )
    if evidence.unambiguous:
        yield table(
            "With doubtful sentences and without",
            "AUROC of the target over each language with which it has such sentences, by the set as one score.",
            [
                {
                    "Units": f"{row.kind}s",
                    "on": PLACES[row.on],
                    "over": language_name(row.other),
                    "left out": " and ".join(whole(count) for count in row.left_out.values()),
                    "with": _auroc(row.all),
                    "without": _auroc(row.without),
                }
                for row in evidence.unambiguous
            ],
            words=3,
        )


# ---- languages told apart by a few units, beside the whole activation and characters

_BY = {
    "latent": "latents",
    "neuron": "neurons",
    "activation": "the whole activation",
    "ngram": "n-grams of characters",
    "ngram so far": "n-grams of the sentence so far",
}
_TEXTS = {
    ("panel", "held_out"): "the half held out",
    ("panel", "replicate"): "other text, fitted to as before",
    ("replicate", "replicate"): "half of the other text, fitted to the rest of it",
}


def identification_blocks(files: RunFiles) -> Blocks:
    """How well languages are told apart by what, where units lose, and which language is taken for which."""
    found = files.tested.identification if files.tested else []
    if not found:
        yield not_run("Language identification")
        return
    rows = [row for row in found if isinstance(row, IdentificationRow)]
    for words in _findings(rows):
        yield Paragraph(words, "finding")
    tokens = (
        " A token by itself is often the same in several languages, and an activation has read the sentence up to "
        "it: n-grams of the sentence so far know as much."
        if any(row.level == "token" for row in rows)
        else ""
    )
    yield Paragraph(
        "For each language the units are taken that tell it best from the language closest to it, on the half on "
        "which units are found; a multinomial logistic regression on them is fitted there too, its penalty chosen by "
        "cross-validation. “Largest” needs no regression: the language whose units' mean standardised value is the "
        "largest. The whole activation is the same regression on every dimension of the site; n-grams of up to four "
        "characters need no language model. Macro-F1 is the mean F1 of the languages, each weighing the same; "
        f"intervals are 95 % bootstraps over translated pairs, with all their tokens.{tokens}"
    )
    for level in ("sentence", "token"):
        for (fitted_on, on), text in _TEXTS.items():
            if own := _of(rows, level, fitted_on, on):
                yield _scores(level, text, own)
        yield from _confusion(level, rows)
    notes = [f"{language_list(row.set)} were not told apart: {row.reason}." for row in found if row.reason]
    if unfinished := sum(not row.converged for row in rows):
        notes.append(f"{whole(unfinished)} of the regressions did not reach their optimum.")
    for note in dict.fromkeys(notes):
        yield Paragraph(note, "note")


def _findings(rows: Sequence[IdentificationRow]) -> list[str]:
    """For the set of most languages and that of fewest, by sentences: what units reach, and to what they lose."""
    texts = []
    for own in _groups(rows):
        best = _at_most(own, "latent", "regression")
        if best is None:
            continue
        others = [_at_most(own, by, None) for by in ("neuron", "activation", "ngram", "ngram so far")]
        beside = [row for row in others if row is not None]
        # an interval is of one row, not of a difference: what is said is which number is larger
        better = [_beside(row) for row in beside if row.macro_f1 > best.macro_f1]
        worse = [_beside(row) for row in beside if row.macro_f1 < best.macro_f1]
        words = (
            f"{capital(best.level)}s in {language_list(best.set)}, {_TEXTS[best.fitted_on, best.on]}: "
            f"macro-F1 {number(best.macro_f1)} by at most {best.per_language} latents a language"
        )
        words += f"; they lose to {listed(better)}" if better else ""
        words += f"; they beat {listed(worse)}" if worse else ""
        texts.append(f"{words}.")
    return texts


def _groups(rows: Sequence[IdentificationRow]) -> list[list[IdentificationRow]]:
    """The rows of each level, text and set, of the largest and the smallest set of each level and text."""
    found = []
    for level, fitted_on, on in dict.fromkeys((r.level, r.fitted_on, r.on) for r in rows):
        own = _of(rows, level, fitted_on, on)
        sets = list(dict.fromkeys(r.set for r in own))
        # the first is the pair, where the text has it
        chosen = dict.fromkeys((sets[0], max(sets, key=len)))
        found += [[r for r in own if r.set == each] for each in chosen]
    return found


def _of(rows: Sequence[IdentificationRow], level: str, fitted_on: str, on: str) -> list[IdentificationRow]:
    return [row for row in rows if (row.level, row.fitted_on, row.on) == (level, fitted_on, on)]


def _at_most(rows: Sequence[IdentificationRow], by: str, how: str | None) -> IdentificationRow | None:
    """The row of the most units; of units always the regression."""
    own = [r for r in rows if r.by == by and r.how != "largest" and how in (None, r.how)]
    return max(own, key=lambda row: row.per_language or 0) if own else None


def _beside(row: IdentificationRow) -> str:
    return f"{_BY[row.by]} ({number(row.macro_f1)})"


def _scores(level: str, text: str, rows: Sequence[IdentificationRow]) -> Table:
    sets = list(dict.fromkeys(row.set for row in rows))
    kinds = dict.fromkeys((row.by, row.how, row.per_language) for row in rows)
    cells = {(r.set, r.by, r.how, r.per_language): r for r in rows}
    return table(
        f"{capital(level)}s",
        f"Macro-F1 of {level}s on {text}; below it its interval, and the accuracy.",
        [
            {"By": _what(*kind), **{" ".join(each): _score(cells.get((each, *kind))) for each in sets}}
            for kind in kinds
        ],
    )


def _what(by: str, how: str, per_language: int | None) -> str:
    if per_language is None:
        return capital(_BY[by])
    return f"{capital(plural(per_language, by))} a language" + (", largest" if how == "largest" else "")


def _score(row: IdentificationRow | None) -> Cell:
    if row is None:
        return Cell("–")
    ends = interval(*row.macro_f1_interval)
    return Cell(number(row.macro_f1), f"{ends}; accuracy {percent(row.accuracy, digits=1)}")


def _confusion(level: str, rows: Sequence[IdentificationRow]) -> Blocks:
    """What the most latents take for what, in the largest set on the half held out."""
    wanted = (level, "latent", "regression", "held_out")
    own = [row for row in rows if (row.level, row.by, row.how, row.on) == wanted]
    if not own:
        return
    row = max(own, key=lambda one: (len(one.set), one.per_language or 0))
    codes = row.languages
    yield Table(
        f"Confusion of {level}s",
        f"{capital(level)}s on {_TEXTS['panel', 'held_out']} by {row.per_language} latents a language: rows are "
        "what they are, columns what they were taken for.",
        ("", *(language_name(code) or "none" for code in codes), "F1"),
        [
            (language_name(code), *map(whole, counts), number(row.f1[code]))
            for code, counts in zip(codes, row.confusion, strict=True)
            if code in row.f1
        ],
    )
