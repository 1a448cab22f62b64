"""Whom the selected sets rank above whom, and what is left where tokenisation is alike and no sentence is doubtful."""

from glossae.report.blocks import Block, Cell, Paragraph, Section, Table, not_run
from glossae.report.reading import Row, RunFiles
from glossae.report.wording import (
    capital,
    interval,
    language_name,
    listed,
    number,
    percent,
    plural,
    signed,
    whole,
)

PLACES = {"held_out": "the half held out", "replicate": "the other text"}
_MOST_UNITS = 20
_WRITTEN = {"tokens_per_word": "tokens per word", "bytes_per_token": "bytes per token"}


def close_section(files: RunFiles) -> Section:
    """Every language over every other; matched tokenisation; sentences that could be in either of two."""
    return Section("close", "Close languages and the tokenizer", "section 6.2 asks for it", _blocks(files))


def _blocks(files: RunFiles) -> list[Block]:
    evidence = files.section("evidence")
    if evidence is None:
        return [not_run("Tests of units")]
    if evidence["reason"] is not None or not evidence["matrix"]:
        return [
            Paragraph("No set of units was selected by a test, so there is none to look at here.", "absent")
        ]
    return [
        *_matrices(files, evidence),
        *_matched(files, evidence),
        *_doubtful(files, evidence),
    ]


def _ordered(files: RunFiles, codes: list[str]) -> list[str]:
    return [code for code in files.languages if code in codes]


# ---- every language over every other


def _matrices(files: RunFiles, evidence: Row) -> list[Block]:
    words = [_also(files, row) for row in evidence["matrix"]]
    return [
        Paragraph(" ".join(filter(None, words)), "finding"),
        *(_matrix(files, row) for row in evidence["matrix"]),
    ]


def _also(files: RunFiles, row: Row) -> str:
    """Which other languages the set ranks over the reference as well."""
    if files.reference not in row["languages"]:
        return ""
    reference = row["languages"].index(files.reference)
    parts = []
    for code in _ordered(files, row["languages"]):
        place = row["languages"].index(code)
        low = row["low"][place][reference]
        if code not in (files.target, files.reference) and low is not None and low > 0.5:
            parts.append(f"{language_name(code)} ({number(row['auroc'][place][reference], 2)})")
    name, found = language_name(files.reference), plural(row["units"], row["kind"])
    start = f"On {PLACES[row['on']]} the {found} of {language_name(files.target)} together"
    return (
        f"{start} also rank {listed(parts)} over {name}."
        if parts
        else f"{start} rank no other language over {name}."
    )


def _matrix(files: RunFiles, row: Row) -> Table:
    codes = _ordered(files, row["languages"])
    places = [row["languages"].index(code) for code in codes]
    return Table(
        f"Every language over every other, {row['kind']}s, {PLACES[row['on']]}",
        f"AUROC of the row's language over the column's, with 95 % intervals, by {plural(row['units'], row['kind'])} "
        "as one score: the mean of their values on a sentence, each divided by its standard deviation over the "
        "sentences that the set was found on. 0.5: it does not tell the two apart.",
        ("", *(f"over {language_name(code)}" for code in codes)),
        [
            (
                language_name(code),
                *(
                    "–"
                    if here == there
                    else Cell(
                        number(row["auroc"][here][there], 3),
                        interval(row["low"][here][there], row["high"][here][there], 2),
                    )
                    for there in places
                ),
            )
            for code, here in zip(codes, places, strict=True)
        ],
    )


# ---- matched on tokenisation


def _matched(files: RunFiles, evidence: Row) -> list[Block]:
    blocks: list[Block] = [Paragraph(_still(row), "finding") for row in evidence["matched_claims"]]
    for kind, on in dict.fromkeys((row["kind"], row["on"]) for row in evidence["matched"]):
        rows = [row for row in evidence["matched"] if (row["kind"], row["on"]) == (kind, on)]
        rows.sort(key=lambda row: files.languages.index(row["other"]))
        blocks.append(_matched_set(kind, on, rows))
        if on == "held_out":
            blocks.append(_matched_units(kind, rows))
    return blocks


def _still(row: Row) -> str:
    """Whether what passes still passes."""
    where = f"{capital(PLACES[row['on']])}, sentences that are tokenised alike: "
    left = "".join(
        f" Not against {language_name(code)}: {reason}." for code, reason in row["left_out"].items()
    )
    if row["passed"] is None:
        return f"{where}too few to test the {plural(row['units'], row['kind'])} on.{left}"
    others = listed([language_name(code) for code in row["outside"]])
    return (
        f"{where}of {plural(row['units'], row['kind'])} {whole(row['passed'])} pass as {row['claim']} against {others} "
        f"on all sentences, {whole(row['passed_matched'])} on the matched ones, and {whole(row['passed_as_many'])} on "
        f"as many that are not matched.{left}"
    )


def _matched_set(kind: str, on: str, rows: list[Row]) -> Table:
    return Table(
        f"Matched on tokenisation, {kind}s, {PLACES[on]}",
        "Sentences of the target, each with one of the other language that has nearly as many tokens per word and "
        "bytes per token (within 0.2 standard deviations of both), and how far apart the two languages are before and "
        "after, in standard deviations; below 0.1 is commonly taken as balance. AUROC of the set as one score, on "
        "all of these sentences and on the matched ones. Last, how many units pass against this language alone on the "
        "matched ones, on all, and on as many that are not matched, which is what so few sentences can show.",
        (
            "Against",
            "matched",
            *(f"{name}, apart" for name in _WRITTEN.values()),
            "all",
            "matched ones",
            "pass",
        ),
        [
            (
                language_name(row["other"]),
                Cell(whole(row["matched"]), f"of {whole(row['found'][0])} and {whole(row['found'][1])}"),
                *(
                    Cell(signed(row["after"][name], 2), f"before: {signed(row['before'][name], 2)}")
                    for name in _WRITTEN
                ),
                *(_cell(row["set"][where]) for where in ("all", "matched")),
                _passing(row["passed"]),
            )
            for row in rows
        ],
    )


def _passing(passed: Row | None) -> str | Cell:
    if passed is None:
        return "too few"
    return Cell(whole(passed["matched"]), f"all: {whole(passed['all'])}; as many: {whole(passed['as_many'])}")


def _matched_units(kind: str, rows: list[Row]) -> Table:
    units = rows[0]["units"][:_MOST_UNITS]
    more = f" The first {_MOST_UNITS}." if len(rows[0]["units"]) > _MOST_UNITS else ""
    return Table(
        f"Each {kind} on matched sentences",
        f"AUROC of the target over each language on the matched sentences of the held-out half; below, on all.{more}",
        (capital(kind), *(f"over {language_name(row['other'])}" for row in rows)),
        [
            (
                unit["label"].removeprefix(f"{kind} "),
                *(
                    Cell(
                        number(row["units"][place]["matched"][0], 3),
                        f"all: {number(row['units'][place]['all'][0], 3)}",
                    )
                    for row in rows
                ),
            )
            for place, unit in enumerate(units)
        ],
    )


def _cell(value: list[float | None]) -> Cell:
    return Cell(number(value[0], 3), interval(value[1], value[2], 2))


# ---- sentences that could be in either


def _doubtful(files: RunFiles, evidence: Row) -> list[Block]:
    rows = [
        (PLACES["replicate"] if panel["role"] == "replicate" else "both halves", pair)
        for panel in evidence["panels"]
        for pair in panel["doubtful"]
        if any(pair["doubtful"].values())
    ]
    if not rows:
        return [Paragraph("By their words no sentences could be in another of the languages.")]
    dropped = files.recipe.evidence.ambiguous == "drop"
    fate = (
        "They were set aside before anything was tested."
        if dropped
        else "They were kept in every test above."
    )
    table = Table(
        "Sentences that could be in either language",
        "Sentences whose words all stand in the word lists of both, lists made of this text. Words alone are looked "
        f"at: grammar may give a sentence away all the same, so the count is an upper one. {fate}",
        ("Text", "Language", "could be", "sentences", "doubtful", "share"),
        [
            (
                place,
                language_name(one),
                language_name(other),
                whole(pair["sentences"][one]),
                whole(pair["doubtful"][one]),
                percent(pair["doubtful"][one] / pair["sentences"][one]),
            )
            for place, pair in rows
            for one, other in (pair["languages"], pair["languages"][::-1])
            if pair["doubtful"][one]
        ],
        words=3,
    )
    if not evidence["unambiguous"]:
        return [table]
    without = Table(
        "With doubtful sentences and without",
        "AUROC of the target over each language with which it has such sentences, by the set as one score.",
        ("Units", "on", "over", "left out", "with", "without"),
        [
            (
                f"{row['kind']}s",
                PLACES[row["on"]],
                language_name(row["other"]),
                " and ".join(whole(count) for count in row["left_out"].values()),
                _cell(row["all"]),
                _cell(row["without"]),
            )
            for row in evidence["unambiguous"]
        ],
        words=3,
    )
    return [table, without]
