"""Which units are the language (section 5.1): firing rates, Figure 5 and Figure 6."""

from glossae.report.blocks import (
    Block,
    ColouredText,
    ColouredTexts,
    Paragraph,
    Picture,
    Section,
    Table,
    Token,
    not_run,
)
from glossae.report.figures.preactivations import MOST_PANELS, draw_preactivations
from glossae.report.figures.rates import draw_rates
from glossae.report.figures.texts import UnitAlongText, draw_text
from glossae.report.reading import Row, RunFiles
from glossae.report.sentences import rule_words, third_languages, thresholds, units_found
from glossae.report.wording import counted, language_name, listed, number, percent, short, whole

_MOST_ROWS = 40


def units_section(files: RunFiles) -> Section:
    """Every latent's rates, and the selected ones in numbers."""
    return Section("units", "Which latents fire on the language", "section 5.1", _rates(files))


def histograms_section(files: RunFiles) -> Section:
    """Figure 5."""
    return Section("preactivations", "Pre-activations", "section 5.1, Figure 5", _histograms(files))


def texts_section(files: RunFiles) -> Section:
    """Figure 6."""
    return Section("texts", "One latent along a text", "section 5.1, Figure 6", _texts(files))


def _rates(files: RunFiles) -> list[Block]:
    if files.features is None:
        return [not_run("Selection of units")]
    found = " ".join(filter(None, (units_found(files), third_languages(files))))
    blocks: list[Block] = []
    if files.statistics is not None and files.shown_units:
        blocks.append(
            Picture(
                "Firing rates",
                draw_rates(
                    files.statistics,
                    files.languages,
                    [unit["unit"] for unit in files.units],
                    thresholds(files),
                    found,
                ),
                found,
                "Every latent of the autoencoder, on all tokens of select. Larger marks are several latents.",
            )
        )
    else:
        blocks.append(Paragraph(found, "finding"))
    blocks += _unit_table(files)
    blocks += _untrained(files)
    published = (files.section("published") or {}).get("selected_units")
    if published:
        blocks.append(
            Paragraph(
                f"The paper found {counted(len(published))}: {listed([str(unit) for unit in published])}. "
                "Its weights are not released, so the numbers of latents cannot agree, only their behaviour."
            )
        )
    return blocks


def _unit_table(files: RunFiles) -> list[Block]:
    units = files.shown_units
    if not units:
        return []
    codes = [code for code in files.languages if code in units[0]["rate"]]
    names = [language_name(code) for code in codes]
    if files.units:
        rule = str((files.features or {}).get("rule"))
        title = {"fallback": "The fallback's latents", "given": "The named latents"}.get(
            rule, "Selected latents"
        )
    else:
        title = "The nearest latents, none of them selected"
    more = "" if len(units) <= _MOST_ROWS else f" The first {_MOST_ROWS} of {whole(len(units))}."
    target, reference = names[0], language_name(files.reference)
    tested = all(unit["q_value"] is not None for unit in units)
    sentences = (
        f" AUROC of sentences: how well its mean ranks {target} sentences above those of another language, the least "
        "over the languages that it is told from; q is of that test."
        if tested
        else ""
    )
    return [
        Table(
            title,
            "Share of tokens on which each fires, its mean pre-activation, and its mean where it fires. AUROC of "
            f"tokens: how well its pre-activation ranks {target} tokens above {reference} ones.{sentences}{more}",
            (
                "Latent",
                *(f"fires: {name}" for name in names),
                *(f"mean: {name}" for name in names[:2]),
                *(f"where it fires: {name}" for name in names[:2]),
                "AUROC of tokens",
                *(("AUROC of sentences", "q of sentences") if tested else ()),
            ),
            [
                (
                    str(unit["unit"]),
                    *(percent(unit["rate"].get(code), digits=1) for code in codes),
                    *(number(unit["mean"].get(code), 2) for code in codes[:2]),
                    *(number(unit["mean_active"].get(code), 2) for code in codes[:2]),
                    number(unit["token_auroc"]),
                    *((number(unit["sentence_auroc"]), short(unit["q_value"])) if tested else ()),
                )
                for unit in units[:_MOST_ROWS]
            ],
        )
    ]


def _untrained(files: RunFiles) -> list[Block]:
    """How many latents pass the run's rule in the trained autoencoder, and with random weights."""
    rows = [row for row in files.rows("next_token", "chosen") if row["language"] == files.target]
    trained = next((row for row in rows if row["seed"] is None), None)
    untrained = [row for row in rows if row["seed"] is not None]
    if trained is None or not untrained:
        return []
    rule = "the run's tests" if trained["asked"] == "tested" else rule_words(files)
    table = Table(
        "Trained and untrained",
        f"How many latents pass {rule}: the same rule on the same text for the trained autoencoder and for random "
        "weights of the same size. The set: whose effects are measured below, at most as many as are selected; "
        "fallback: none passes, and the nearest are taken.",
        ("Autoencoder", "Latents that pass", "Set", "Chosen by"),
        [
            (
                "trained" if row["seed"] is None else f"untrained, seed {row['seed']}",
                "not tested" if row["passing"] is None else f"{whole(row['passing'])} of {whole(row['of'])}",
                counted(len(row["members"])),
                row["rule"],
            )
            for row in (trained, *untrained)
        ],
    )
    own, others = trained["passing"], [row["passing"] for row in untrained]
    if own is None or None in others:
        return [table]
    if own > max(others):
        training = "The trained autoencoder has more than any of them."
    elif own < min(others):
        training = "Each of them has more: training adds no latent that passes."
    else:
        training = (
            "That is no more than without training: that latents pass says nothing of what was learned."
        )
    said = (
        f"{whole(own)} of {whole(trained['of'])} trained latents pass {rule}; of "
        f"{counted(len(untrained))} autoencoders with random weights, "
        f"{listed([whole(count) for count in others])} pass it on the same text. {training}"
    )
    return [Paragraph(said, "finding"), table]


def _histograms(files: RunFiles) -> list[Block]:
    if files.features is None or files.histograms is None:
        return [not_run("Pre-activations")]
    known = set(files.histograms["unit"])
    units = [unit for unit in files.shown_units if unit["unit"] in known]
    if not units:
        return [Paragraph("There is no latent to show.", "absent")]
    finding = _means(files, units)
    more = "" if len(units) <= MOST_PANELS else f" The first {MOST_PANELS} of {len(units)}."
    drawing = draw_preactivations(
        files.histograms, [unit["unit"] for unit in units], files.languages, finding
    )
    reading = (
        "Pre-activations: what the encoder says before only the k largest are kept. Each language's tokens "
        f"add up to one, so heights are comparable within a panel.{more}"
    )
    return [Picture("Figure 5", drawing, finding, reading)]


def _means(files: RunFiles, units: list[Row]) -> str:
    target, reference = files.target, files.reference
    higher = [unit for unit in units if unit["mean"][target] > unit["mean"][reference]]
    first = units[0]
    which = "selected" if files.units else "nearest"
    if len(units) == 1:
        share = f"The {which} latent has {'a higher' if higher else 'no higher'} mean pre-activation"
    elif len(higher) == len(units):
        share = f"All {counted(len(units))} {which} latents have a higher mean pre-activation"
    else:
        share = f"{len(higher)} of the {len(units)} {which} latents have a higher mean pre-activation"
    words = (
        f"{share} on {language_name(target)} than on {language_name(reference)} tokens: for latent "
        f"{first['unit']}, {number(first['mean'][target], 2)} against {number(first['mean'][reference], 2)}"
    )
    auroc = first["token_auroc"]
    if auroc is None:
        return f"{words}."
    return (
        f"{words}; in {percent(auroc, digits=1)} of pairs of one {language_name(target)} and "
        f"one {language_name(reference)} token it is higher on the {language_name(target)} one."
    )


def _along(files: RunFiles) -> tuple[int, list[UnitAlongText]]:
    """The best unit for which there are texts, and those texts."""
    for unit in files.shown_units:
        key = str(unit["unit"])
        texts = [text for text in files.texts if key in text["units"] and text["tokens"]]
        if texts:
            return unit["unit"], [
                UnitAlongText(
                    text["language"],
                    str(text["pair"]),
                    text["tokens"],
                    text["units"][key]["pre"],
                    text["units"][key]["fires"],
                )
                for text in texts
            ]
    return 0, []


def _texts(files: RunFiles) -> list[Block]:
    unit, texts = _along(files)
    if not texts:
        return [not_run("Coloured texts")]
    pairs: dict[str, list[UnitAlongText]] = {}
    for text in texts:
        pairs.setdefault(text.pair, []).append(text)
    order = {code: place for place, code in enumerate(files.languages)}
    for pair in pairs.values():
        pair.sort(key=lambda text: order.get(text.language, len(order)))
    first = {text.language: text for text in reversed(texts)}
    shown = [first[code] for code in (files.target, files.reference) if code in first]
    # the first pair, so that the panels are translations of one another where the text is parallel
    parallel = next((pair for pair in pairs.values() if len(pair) > 1), None)
    finding = _counts(files, unit, texts)
    highest = max((value for text in texts for value in text.pre), default=0.0)
    translations = " side by side with its translation" if parallel else ""
    return [
        Picture(
            "Figure 6",
            draw_text(parallel or shown or texts[:1], texts, unit, files.languages, finding),
            finding,
            "The pre-activation at each token of the first text below: filled where the latent fires.",
        ),
        Paragraph(
            f"Each text{translations}: tokens on which latent {unit} fires are coloured, the darker the higher its "
            "pre-activation; rest the pointer on a token for the number."
        ),
        ColouredTexts([[_coloured(text, highest) for text in pair] for pair in _side_by_side(files, pairs)]),
    ]


def _side_by_side(files: RunFiles, pairs: dict[str, list[UnitAlongText]]) -> list[list[UnitAlongText]]:
    """Pairs as they are; where text is not parallel, the languages' texts beside one another in order."""
    if any(len(pair) > 1 for pair in pairs.values()):
        return list(pairs.values())
    alone = [pair[0] for pair in pairs.values()]
    columns = [[text for text in alone if text.language == code] for code in files.languages]
    columns = [column for column in columns if column]
    rows = max((len(column) for column in columns), default=0)
    return [[column[row] for column in columns if row < len(column)] for row in range(rows)]


def _counts(files: RunFiles, unit: int, texts: list[UnitAlongText]) -> str:
    parts = []
    for code in files.languages:
        own = [fires for text in texts if text.language == code for fires in text.fires]
        if own:
            parts.append(f"{sum(own)} of {len(own)} {language_name(code)} tokens")
    return (
        f"In these texts latent {unit} fires on {listed(parts)}." if parts else f"Latent {unit} along texts."
    )


def _coloured(text: UnitAlongText, highest: float) -> ColouredText:
    tokens = [
        Token(
            token,
            f"{number(pre, 2)}{'' if fires else ', does not fire'}",
            _colour(pre / highest if highest > 0 else 0.0) if fires else "",
        )
        for token, pre, fires in zip(text.tokens, text.pre, text.fires, strict=True)
    ]
    return ColouredText(language_name(text.language), text.language, tokens)


def _colour(share: float) -> str:
    """From pale to strong orange; black text has a contrast above 7 on all of it."""
    pale, strong = (255, 236, 214), (240, 138, 60)
    share = min(max(share, 0.0), 1.0)
    parts = (round(a + (b - a) * share) for a, b in zip(pale, strong, strict=True))
    return "#" + "".join(f"{part:02x}" for part in parts)
