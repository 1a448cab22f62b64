"""The page's later sections: units, their effects, and how it was run."""

from typing import Any

from sprog.report.blocks import Section, Table, Texts, Token, Verbatim
from sprog.report.early_sections import NOT_RUN
from sprog.report.effect_figures import draw_sweep, unit_of_value
from sprog.report.reading import Run
from sprog.report.unit_figures import draw_histograms, draw_rates
from sprog.report.verdict import is_selective, lowest_dose_sentence, selectivity_sentence, units_sentence
from sprog.report.words import dose, interval, language_name, number, percent, signed


def unit_sections(run: Run) -> list[Section]:
    """Which units, Figure 5 and Figure 6."""
    which = Section(f"Which latents are {language_name(run.target)}")
    histograms, texts = Section("Pre-activations (Figure 5)"), Section("In running text (Figure 6)")
    features = run.results["features"]
    if not features:
        for section in (which, histograms, texts):
            section.blocks.append(NOT_RUN)
        return [which, histograms, texts]
    which.blocks.append(units_sentence(run))
    if run.statistics is not None:
        which.blocks.append(draw_rates(run, run.statistics))
    kind = "Selected" if run.selected else "Nearest (not selected)"
    languages = run.ordered(features["tokens"])
    names = [language_name(language) for language in languages]
    head = ["latent", *[f"fires, {name}" for name in names]]
    head += [f"{word}, {name}" for name in names[:2] for word in ("mean", "mean where it fires")] + ["AUROC"]
    rows = [
        [str(row["unit"]), *[percent(row["rate"][language]) for language in languages]]
        + [number(row[key][language]) for language in languages[:2] for key in ("mean", "mean_active")]
        + [number(row["auroc"])]
        for row in run.shown
    ]
    which.blocks.append(Table(f"{kind} latents", head, rows))
    if run.histograms is not None and run.shown:
        scores = [row["auroc"] for row in run.shown]
        histograms.blocks.append(
            f"A {names[0]} token has a larger pre-activation than a {names[1]} one with a probability of "
            f"{number(min(scores))} to {number(max(scores))} (AUROC) across the latents shown."
        )
        histograms.blocks.append(draw_histograms(run, run.histograms))
    else:
        histograms.blocks.append(NOT_RUN)
    texts.blocks += _texts(run)
    return [which, histograms, texts]


def _texts(run: Run) -> list[Any]:
    if not run.texts or not run.shown:
        return ["Not run: there is no text to show."]
    unit = str(run.shown[0]["unit"])
    values = [
        v
        for t in run.texts
        for v, f in zip(t["units"][unit]["pre"], t["units"][unit]["fires"], strict=True)
        if f
    ]
    largest = max([*values, 1e-9])
    languages = [run.target, run.reference]
    pairs: dict[str, list[list[Token]]] = {}
    fired, seen = dict.fromkeys(languages, 0), dict.fromkeys(languages, 0)
    for text in run.texts:
        tokens = []
        unit_row = text["units"][unit]
        for piece, pre, fires in zip(text["tokens"], unit_row["pre"], unit_row["fires"], strict=True):
            tokens.append(Token(piece, max(0.1, pre / largest) if fires else 0.0, number(pre, 2)))
        fired[text["language"]] += sum(unit_row["fires"])
        seen[text["language"]] += len(tokens)
        pairs.setdefault(text["pair"], [[], []])[languages.index(text["language"])] += tokens
    shares = ", ".join(f"{fired[code]} of {seen[code]} {language_name(code)} tokens" for code in languages)
    sentence = f"Latent {unit} fires on {shares} below; the darker, the larger its pre-activation."
    return [sentence, Texts([language_name(code) for code in languages], list(pairs.values()))]


def effect_sections(run: Run) -> list[Section]:
    """Figure 8 and Appendix C, selectivity, continuations."""
    loss = Section("What they do to the loss (Figure 8, Appendix C)")
    matched, prompts = Section("Selectivity"), Section("Continuations (Tables 1 and 2)")
    table = run.results["next_token"]
    if not table:
        loss.blocks.append(NOT_RUN)
        matched.blocks.append(NOT_RUN)
    else:
        loss.blocks.append(
            lowest_dose_sentence(run) if run.selected else "No unit was selected: nothing was swept."
        )
        loss.blocks.append(draw_sweep(run))
        loss.blocks += [_appendix(run, splice) for splice in (True, False)]
        matched.blocks.append(
            selectivity_sentence(run) if run.selected else "No unit, so nothing to compare."
        )
        if table["selectivity"]:
            matched.blocks.append(_matched(table["selectivity"]))
    generation = run.results["generation"]
    if not generation:
        prompts.blocks.append(NOT_RUN)
    for language in run.ordered({row["language"] for row in generation or []}):
        own = [row for row in generation if row["language"] == language]
        arms = list(dict.fromkeys((row["edit"], row["value"]) for row in own))
        text = {(row["prompt"], row["edit"], row["value"]): row["text"] for row in own}
        head = [
            "prompt",
            *["as it is" if edit == "raw" else f"fixed at {dose(value)}" for edit, value in arms],
        ]
        rows = [
            [prompt, *[text.get((prompt, *arm), "") for arm in arms]]
            for prompt in dict.fromkeys(row["prompt"] for row in own)
        ]
        prompts.blocks.append(Table(f"{language_name(language)} prompts, continued", head, rows))
    return [loss, matched, prompts]


def _appendix(run: Run, splice: bool) -> Table:
    edits = ("raw", None), ("none", splice), ("set", splice), ("mean", splice)
    head, rows = ["language"], []
    for language in run.swept:
        cells = [cell for edit, how in edits for cell in run.cells(edit, how, language)]
        names = {"raw": "model as it is", "none": "no edit", "mean": "reference's mean"}
        head = [
            "language",
            *[names.get(c["edit"]) or dose(c["value"]) + ("" if c["in_range"] else " *") for c in cells],
        ]
        name = language_name(language)
        rows.append([f"{name}, CE", *[number(c["ce"]) for c in cells]])
        rows.append([f"{name}, CE per byte", *[number(c["ce_per_byte"]) for c in cells]])
        deltas = [f"{signed(c['delta'])} ({interval(c['ci_low'], c['ci_high'])})" for c in cells]
        rows.append([f"{name}, change from no edit", *deltas])
    way = "spliced" if splice else "error-preserving"
    return Table(f"Loss by fixed value ({unit_of_value(run)}), {way}; * out of range", head, rows)


def _matched(rows: list[dict[str, Any]]) -> Table:
    head = ["against", "way", "target's rise", "other's rise", "ratio", "margin", "dose", "selective"]
    body = []
    for row in rows:
        way = "spliced" if row["splice"] else "error-preserving"
        cells = [language_name(row["versus"]), way, number(row["at"], 1)]
        if not row["reached"]:
            body.append([*cells, "not reached", *["–"] * 4])
            continue
        ratio = f"{'≥ ' if row['floored'] else ''}{number(row['ratio'], 1)}"
        body.append(
            [
                *cells,
                signed(row["other_delta"]),
                f"{ratio} ({interval(row['ratio_low'], row['ratio_high'], 1)})",
                f"{signed(row['margin'])} ({interval(row['margin_low'], row['margin_high'])})",
                dose(row["value"]),
                "yes" if is_selective(row) else "no",
            ]
        )
    return Table("The other language's loss where the target's has risen by so many nats", head, body)


def published_section(run: Run) -> Section:
    """The paper's Appendix C beside this run's spliced sweep."""
    paper = run.results["published"]["next_token"]
    rows = []
    for language in (run.target, run.reference):
        if language not in paper:
            continue
        ours = {row["value"]: row["ce"] for row in run.cells("set", True, language)}
        none = [row["ce"] for row in run.cells("none", True, language)] or [None]
        name, values = language_name(language), paper["values"]
        rows.append(
            [
                f"{name}, paper",
                *[number(x, 2) for x in [*paper[language], paper["no_modification"][language]]],
            ]
        )
        rows.append(
            [f"{name}, this run", *[number(ours.get(float(x)), 2) for x in values], number(none[0], 2)]
        )
    head = ["loss", *[dose(value) for value in paper["values"]], "no edit"]
    section = Section("Beside the paper's numbers")
    section.blocks.append("The paper's weights and seeds are not released: only sign and shape can agree.")
    section.blocks.append(
        Table(f"Cross-entropy on {paper['source']} in the paper, and here, spliced", head, rows)
    )
    return section


def run_section(run: Run) -> Section:
    """Recipe, versions, hashes and times."""
    record = run.record
    facts = [
        [key, str(record[key])]
        for key in ("sprog", "device", "dtype", "threads", "seed", "model_commit")
        if key in record
    ]
    facts += [[name, version] for name, version in record.get("versions", {}).items()]
    facts += [[f"text of {role}, sha256", value] for role, value in record.get("text", {}).items()]
    stages = [
        [name, number(facts_of.get("seconds"), 1), number(facts_of.get("peak_memory_mb"), 0)]
        for name, facts_of in record.get("stages", {}).items()
    ]
    blocks = [
        Table("Wall time and peak memory", ["stage", "seconds", "peak memory so far, MB"], stages),
        Table("What the numbers depend on besides the recipe", ["what", "value"], facts),
        Verbatim(run.recipe.to_yaml()),
    ]
    return Section("How it was run", blocks)
