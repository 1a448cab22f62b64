"""Which units stand for the language, tested against every other language (the paper has no tests)."""

from glossae.report.blocks import Block, Cell, Paragraph, Section, Table, not_run
from glossae.report.reading import Row, RunFiles
from glossae.report.sections.random_tokens import random_token_blocks
from glossae.report.sections.stability import seeds_blocks
from glossae.report.wording import capital, counted, language_name, listed, number, percent, whole

_PLACES = {"held_out": "the half held out", "replicate": "the other text"}
_MOST_UNITS = 20


def evidence_section(files: RunFiles) -> Section:
    """Claims, the units behind them, and whether they hold again."""
    return Section("evidence", "Which units are the language: tests", "not in the paper", _blocks(files))


def _blocks(files: RunFiles) -> list[Block]:
    evidence = files.section("evidence")
    if evidence is None:
        return [not_run("Tests of units")]
    if evidence["reason"] is not None:
        return [Paragraph(f"Units were not tested: {evidence['reason']}.", "absent")]
    blocks: list[Block] = [Paragraph(_finding(evidence), "finding"), Paragraph(_how(evidence))]
    blocks += [Paragraph(_text(panel)) for panel in evidence["panels"]]
    blocks += [
        _claims(evidence),
        *_again(evidence),
        *_within_source(files, evidence),
        *_units(files, evidence),
    ]
    blocks += [*seeds_blocks(files), *_scores(evidence), *random_token_blocks(evidence)]
    return blocks


def _finding(evidence: Row) -> str:
    parts = []
    for kind in dict.fromkeys(row["kind"] for row in evidence["claims"]):
        first = next(row for row in evidence["claims"] if row["kind"] == kind)
        parts.append(f"{whole(first['units'])} of {whole(first['of'])} {kind}s")
    first = evidence["claims"][0]
    others = listed([language_name(code) for code in first["outside"]])
    words = f"{capital(listed(parts))} pass as {first['claim']}: told from {others}, each by itself."
    random = [row for row in evidence["units"] if row["selected"] and row["label"].startswith("random ")]
    if random:
        words += (
            f" {capital(counted(len(random)))} of these directions {'is' if len(random) == 1 else 'are'} random: "
            "in this model a direction drawn by chance can tell the language."
        )
    if first["same"]:
        words += (
            f" With these languages alone that is the same claim as {listed(first['same'])}: "
            "nothing here says which it is."
        )
    return words


def _how(evidence: Row) -> str:
    method = (
        "by a bound that holds for any number of sentences and any distribution"
        if evidence["method"] == "exact"
        else "by the studentised logit, which is close to normal"
    )
    return (
        f"The null is not “no difference”, which thousands of sentences refute for nearly every unit, but a sentence "
        f"AUROC of at most {evidence['minimum']:g}: how often a random sentence of one language has a larger mean "
        f"value than a random one of the other. P-values are found {method}; for a claim the largest over its "
        f"comparisons counts; false discoveries are held at {evidence['q']:g} over all units of a kind (Benjamini and "
        "Hochberg 1995). Sentences are the units of sampling; translations of each other, and the "
        "sentences of a document where documents are told, count as one."
        + (
            f" Sentences were joined into passages of {whole(evidence['tokens'])} tokens or more, "
            "which are ranked instead."
            if evidence["tokens"] > 1
            else ""
        )
    )


def _text(panel: Row) -> str:
    role = panel["role"] if panel["source"] is None else f"{panel['source']} in {panel['role']}"
    sizes = listed(
        [
            " and ".join(whole(size) for size in (found, held) if size) + f" {language_name(code)}"
            for code, (found, held) in panel["sentences"].items()
        ]
    )
    doubtful = [f"{whole(n)} {language_name(code)}" for code, n in panel["ambiguous"].items() if n]
    words = (
        f"Text: {role}; sentences to find units on and held out: {sizes}."
        if any(found for found, _ in panel["sentences"].values())
        else f"Text to test again on: {role}; sentences: {sizes}."
    )
    if doubtful:
        words += f" By their words {listed(doubtful)} sentences could be in another of the languages too."
    if short := panel.get("too_few"):
        few = listed([f"{whole(n)} {language_name(code)}" for code, n in short.items()])
        words += f" {few} sentences are too few for a test and were left out."
    if panel["identical"]:
        words += f" {whole(panel['identical'])} texts stood in two languages and were left out."
    return words


def _claims(evidence: Row) -> Table:
    return Table(
        "Claims",
        "How many units of each kind pass each claim. Family-wise: how many pass with not even one false discovery "
        "expected at that level, by the largest of randomly signed influences: another test than that of the column "
        "beside it, which may let more through.",
        ("Units", "Claim", "told from", "of", "pass", "family-wise"),
        [
            (
                f"{row['kind']}s",
                row["claim"],
                listed([language_name(code) for code in row["outside"]]),
                whole(row["of"]),
                whole(row["units"]),
                whole(row["family_wise"]),
            )
            for row in evidence["claims"]
        ],
        words=3,
    )


def _within_source(files: RunFiles, evidence: Row) -> list[Block]:
    """Whether the units tell the language or the source."""
    found = evidence.get("within_source")
    if found is None:
        return []
    target = language_name(files.target)
    blocks: list[Block] = [
        Paragraph(
            f"Source and language go together in {_PLACES[each['on']]} ({each['reason']}): a unit that passes there "
            "may tell the source. Text of one source in every language would say.",
            "warning",
        )
        for each in found["apart"]
        if each["reason"] is not None
    ]
    confused = [row for row in found["rows"] if row["versus"] is None and row["told"]]
    if confused:
        blocks.append(
            Paragraph(
                f"Some units tell {target} of one source from {target} of another at an AUROC of "
                f"{evidence['minimum']:g} or more: "
                + "; ".join(
                    f"{whole(row['told'])} of {whole(row['units'])} {row['kind']}s, {row['source']} from "
                    f"{row['other_source']}"
                    for row in confused
                )
                + ". These may be the source's.",
                "warning",
            )
        )
    if found["rows"]:
        blocks.append(
            Table(
                "Within one source",
                f"AUROC of the units found, on text they were not found on: {target} over each other language inside "
                f"one source; and {target} of one source over {target} of another, where a unit of the language has "
                f".5. Told: units at {evidence['minimum']:g} or more, for two sources in either direction.",
                ("Units", "Source", "Versus", "Least", "Median", "Most", "Told"),
                [
                    (
                        f"{whole(row['units'])} {row['kind']}s",
                        row["source"],
                        row["other_source"] if row["versus"] is None else language_name(row["versus"]),
                        number(row["least"]),
                        number(row["median"]),
                        number(row["most"]),
                        whole(row["told"]),
                    )
                    for row in found["rows"]
                ],
                words=3,
            )
        )
    return blocks


def _again(evidence: Row) -> list[Block]:
    rows = evidence["replication"]
    notes = dict.fromkeys(row["reason"] for row in rows if row["reason"])
    return [
        Table(
            "Replication",
            "Of the units that were found, those that pass the same test again on text that was not opened before, "
            "sentence by sentence or joined into passages. A mean over few tokens varies more, so what passes in "
            "passages only is kept from passing by short sentences.",
            ("Units", "on", "ranked", "found", "pass again", "share"),
            [
                (
                    f"{row['kind']}s",
                    _PLACES[row["on"]],
                    _ranked(row["tokens"]),
                    whole(row["units"]),
                    whole(row["passed"]),
                    Cell(percent(row["share"]), _ends(row["low"], row["high"])),
                )
                for row in rows
            ],
            words=3,
        ),
        *(Paragraph(f"{capital(note)}.", "note") for note in notes),
    ]


def _ranked(tokens: int) -> str:
    return "sentences" if tokens == 1 else f"passages of {whole(tokens)} tokens or more"


def _ends(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{percent(low)} to {percent(high)}"


def _units(files: RunFiles, evidence: Row) -> list[Block]:
    blocks: list[Block] = []
    for kind in dict.fromkeys(row["kind"] for row in evidence["units"]):
        units = [row for row in evidence["units"] if row["kind"] == kind]
        others = list(units[0]["auroc"])
        more = f" The first {_MOST_UNITS}." if len(units) > _MOST_UNITS else ""
        blocks.append(
            Table(
                f"{capital(kind)}s",
                f"AUROC of {language_name(files.target)} over each language on the held-out half, with 95 % intervals, "
                f"where the unit was found; else on the half that was searched, where it is the closest.{more}",
                (
                    capital(kind),
                    "passes as",
                    "also fires on",
                    "q",
                    *(f"over {language_name(code)}" for code in others),
                ),
                [
                    (
                        unit["label"].removeprefix(f"{kind} "),
                        unit["name"] or "–",
                        listed([language_name(code) for code in unit["fires_on"]])
                        if unit["fires_on"]
                        else "–",
                        _small(next(iter(unit["q"].values()))),
                        *(_auroc(unit, code) for code in others),
                    )
                    for unit in units[:_MOST_UNITS]
                ],
                words=3,
            )
        )
    return blocks


def _auroc(unit: Row, code: str) -> Cell:
    later = unit["again"].get("held_out")
    if later is None or code not in later["auroc"]:
        low, high = unit["interval"][code]
        return Cell(number(unit["auroc"][code], 3), f"{number(low, 2)} to {number(high, 2)}")
    low, high = later["interval"][code]
    return Cell(number(later["auroc"][code], 3), f"{number(low, 2)} to {number(high, 2)}")


def _small(value: float) -> str:
    return number(value, 3) if value >= 0.001 else f"{value:.0e}"


def _scores(evidence: Row) -> list[Block]:
    scores = evidence["scores"]
    if not scores or not scores["names"]:
        return []
    names = [name.replace("_", " ") for name in scores["names"]]
    return [
        Table(
            "Agreement of scores",
            f"Spearman's rank correlation of the field's scores over the {whole(scores['compared'])} latents that fire "
            f"more on the target than on any other language; below it, the share of the {scores['top']} best that two "
            "scores have in common.",
            ("Score", *names),
            [
                (
                    name,
                    *(
                        Cell(number(value, 2), percent(shared))
                        for value, shared in zip(scores["spearman"][row], scores["shared"][row], strict=True)
                    ),
                )
                for row, name in enumerate(names)
            ],
        )
    ]
