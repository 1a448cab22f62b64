"""How well languages are told apart by a few units, beside the whole activation and characters (the paper does not)."""

from collections.abc import Sequence

from glossae.report.blocks import Block, Cell, Paragraph, Section, Table, not_run
from glossae.report.reading import Row, RunFiles
from glossae.report.wording import capital, language_name, listed, number, percent, plural, whole

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


def identification_section(files: RunFiles) -> Section:
    """Who was told apart by what, where units lose, and who was taken for whom."""
    return Section("identification", "Telling languages apart", "not in the paper", _blocks(files))


def _blocks(files: RunFiles) -> list[Block]:
    evidence = files.section("evidence")
    found = (evidence or {}).get("identification")
    if not found:
        return [not_run("Language identification")]
    rows = [row for row in found if row["reason"] is None]
    blocks: list[Block] = [Paragraph(words, "finding") for words in _findings(rows)]
    blocks.append(Paragraph(_how(rows)))
    for level in ("sentence", "token"):
        for (fitted_on, on), where in _TEXTS.items():
            own = [r for r in rows if (r["level"], r["fitted_on"], r["on"]) == (level, fitted_on, on)]
            blocks += [_table(level, where, own)] if own else []
        blocks += _confusion(level, rows)
    blocks += [Paragraph(words, "note") for words in _notes(found)]
    return blocks


def _findings(rows: Sequence[Row]) -> list[str]:
    """For the set of most languages and that of fewest, by sentences: what units reach, and to what they lose."""
    texts = []
    for own in _groups(rows):
        best = _at_most(own, "latent", "regression")
        if best is None:
            continue
        beside = [
            row
            for by in ("neuron", "activation", "ngram", "ngram so far")
            if (row := _at_most(own, by, None)) is not None
        ]
        # an interval is of one row, not of a difference: what is said is which number is larger
        better = [row for row in beside if row["macro_f1"] > best["macro_f1"]]
        worse = [row for row in beside if row["macro_f1"] < best["macro_f1"]]
        words = (
            f"{capital(best['level'])}s in {_names(best['set'])}, {_TEXTS[best['fitted_on'], best['on']]}: "
            f"macro-F1 {number(best['macro_f1'], 3)} by at most {best['per_language']} latents a language"
        )
        if better:
            words += f"; they lose to {listed([_beside(row) for row in better])}"
        if worse:
            words += f"; they beat {listed([_beside(row) for row in worse])}"
        texts.append(f"{words}.")
    return texts


def _groups(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of each level, text and set, of the largest and the smallest set of each level and text."""
    found = []
    for key in dict.fromkeys((r["level"], r["fitted_on"], r["on"]) for r in rows):
        own = [r for r in rows if (r["level"], r["fitted_on"], r["on"]) == key]
        sets = list(dict.fromkeys(tuple(r["set"]) for r in own))
        # the first is the pair, where the text has it
        chosen = dict.fromkeys((sets[0], max(sets, key=len)))
        found += [[r for r in own if tuple(r["set"]) == each] for each in chosen]
    return found


def _at_most(rows: Sequence[Row], by: str, how: str | None) -> Row | None:
    """That of most units; of units always the regression."""
    own = [r for r in rows if r["by"] == by and r["how"] != "largest" and how in (None, r["how"])]
    return max(own, key=lambda row: row["per_language"] or 0) if own else None


def _beside(row: Row) -> str:
    return f"{_BY[row['by']]} ({number(row['macro_f1'], 3)})"


def _names(codes: Sequence[str]) -> str:
    return listed([language_name(code) for code in codes])


def _how(rows: Sequence[Row]) -> str:
    words = (
        "For each language the units are taken that tell it best from the language closest to it, on the half on which "
        "units are found; a multinomial logistic regression on them is fitted there too, its penalty chosen by "
        "cross-validation. “Largest” needs no regression: the language whose units' mean standardised value is the "
        "largest. "
        "The whole activation is the same regression on every dimension of the site; n-grams of up to four characters "
        "need no language model. Macro-F1 is the mean F1 of the languages, each weighing the same; intervals are 95 % "
        "bootstraps over translated pairs, with all their tokens."
    )
    if any(row["level"] == "token" for row in rows):
        words += (
            " A token by itself is often the same in several languages, and an activation has read the sentence up to "
            "it: n-grams of the sentence so far know as much."
        )
    return words


def _table(level: str, where: str, rows: Sequence[Row]) -> Table:
    sets = list(dict.fromkeys(tuple(row["set"]) for row in rows))
    kinds = dict.fromkeys((row["by"], row["how"], row["per_language"]) for row in rows)
    cells = {(tuple(r["set"]), r["by"], r["how"], r["per_language"]): r for r in rows}
    return Table(
        f"{capital(level)}s",
        f"Macro-F1 of {level}s on {where}; below it its interval, and the accuracy.",
        ("By", *(" ".join(each) for each in sets)),
        [(_what(*kind), *(_cell(cells.get((each, *kind))) for each in sets)) for kind in kinds],
    )


def _what(by: str, how: str, per_language: int | None) -> str:
    if per_language is None:
        return capital(_BY[by])
    return f"{capital(plural(per_language, by))} a language" + (", largest" if how == "largest" else "")


def _cell(row: Row | None) -> Cell:
    if row is None:
        return Cell("–")
    low, high = (number(end, 3) for end in row["macro_f1_interval"])
    return Cell(number(row["macro_f1"], 3), f"{low} to {high}; accuracy {percent(row['accuracy'], digits=1)}")


def _confusion(level: str, rows: Sequence[Row]) -> list[Block]:
    """That of the most latents, of the largest set on the half held out."""
    own = [
        row
        for row in rows
        if (row["level"], row["by"], row["how"], row["on"]) == (level, "latent", "regression", "held_out")
    ]
    if not own:
        return []
    row = max(own, key=lambda one: (len(one["set"]), one["per_language"]))
    codes = row["languages"]
    return [
        Table(
            f"Confusion of {level}s",
            f"{capital(level)}s on {_TEXTS['panel', 'held_out']} by {row['per_language']} latents a language: rows are "
            "what they are, columns what they were taken for.",
            ("", *(language_name(code) or "none" for code in codes), "F1"),
            [
                (language_name(code), *map(whole, counts), number(row["f1"][code], 3))
                for code, counts in zip(codes, row["confusion"], strict=True)
                if code in row["f1"]
            ],
        )
    ]


def _notes(rows: Sequence[Row]) -> list[str]:
    notes = [f"{_names(row['set'])} were not told apart: {row['reason']}." for row in rows if row["reason"]]
    unfinished = [row for row in rows if row["reason"] is None and not row["converged"]]
    if unfinished:
        notes.append(f"{whole(len(unfinished))} of the regressions did not reach their optimum.")
    return list(dict.fromkeys(notes))
