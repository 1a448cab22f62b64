"""What the units do (section 5.2): Figure 8, Appendix C, selectivity at matched damage."""

from glossae.report.blocks import Block, Cell, Paragraph, Picture, Section, Table, not_run
from glossae.report.figures.next_token import draw_next_token
from glossae.report.reading import Row, RunFiles
from glossae.report.sections.controls import control_blocks
from glossae.report.sections.families import family_blocks, margin_cell, ratio_cell
from glossae.report.sentences import at_matched_damage, doses, find_cell, site_words, sweep, sweep_details
from glossae.report.wording import NO_BREAK, interval, language_name, number, short, signed, whole

# the false discovery rate at which consecutive sentences are called correlated
SERIAL_LEVEL = 0.05
_WAYS = {True: "splice", False: "error-preserving"}


def effects_section(files: RunFiles) -> Section:
    """Figure 8 and the tables of Appendix C."""
    return Section(
        "effects",
        "What the latents do to the next token",
        "section 5.2, Figures 7 and 8, Appendix C",
        _blocks(files),
    )


def selectivity_section(files: RunFiles) -> Section:
    """How much other languages lose when the target has lost so and so much."""
    rows = [
        row
        for row in files.rows("next_token", "selectivity")
        # the panel's stand with those of the other sets, below
        if row["units"] == files.target and row["edit"] == "set" and row.get("text", "test") == "test"
    ]
    blocks: list[Block] = []
    if not rows and files.section("next_token") is not None:
        blocks.append(Paragraph("There is no sweep to compare languages along.", "absent"))
    elif not rows:
        blocks.append(not_run("Selectivity"))
    else:
        said = [at_matched_damage(files, at, splice) for splice in (False, True) for at in (0.1, 0.3)]
        for way, sentences in (("Error-preserving", said[:2]), ("With the splice", said[2:])):
            words = " ".join(filter(None, sentences))
            if words:
                blocks.append(Paragraph(f"{way}: {words}", "finding"))
        blocks.append(_selectivity_table(files, rows))
    blocks += [*family_blocks(files), *control_blocks(files)]
    return Section("selectivity", "Selectivity at the same damage", "not in the paper", blocks)


def _blocks(files: RunFiles) -> list[Block]:
    cells = [
        cell for cell in files.rows("next_token", "cells") if (cell["units"] or files.target) == files.target
    ]
    if not cells:
        return [not_run("The sweep over fixed values")]
    finding = f"{sweep(files, splice=False)} {sweep(files, splice=True)}"
    if not files.units:
        finding = (
            "No latent was selected, so there is nothing to fix: only the model and the splice were measured."
        )
    published = (files.section("published") or {}).get("next_token")
    blocks: list[Block] = [
        Paragraph(
            f"The paper's Figure 7 is a drawing of the set-up: the autoencoder sits on {site_words(files)}. "
            "Spliced, its reconstruction replaces the activation, as in the paper; error-preserving, only the "
            "difference that the edit makes is added, so that the autoencoder's error does not count."
        ),
        Picture(
            "Figure 8",
            draw_next_token(cells, files.languages, _value_unit(files), published, finding),
            finding,
            "Dashed: units unmodified. Dotted: the raw model. Bands: 95 % bootstrap intervals over sentences, or "
            "documents where they are told, of the change from unmodified. Shaded: values that the units never take "
            "on text of the target.",
        ),
        *(Paragraph(words) for splice in (False, True) if (words := sweep_details(files, splice))),
        *(_sweep_table(files, splice, published) for splice in (True, False)),
    ]
    others = _other_edits(files, cells)
    return [*blocks, *([others] if others else []), *_serial_blocks(files)]


def _serial_blocks(files: RunFiles) -> list[Block]:
    """Whether consecutive sentences are correlated where no documents are told, and what that does to intervals."""
    rows = files.rows("next_token", "serial_correlation")
    if not rows:
        return []
    too_narrow = [row for row in rows if row["q"] <= SERIAL_LEVEL]
    blocks: list[Block] = []
    if too_narrow:
        worst: dict[tuple[str, str], Row] = {}
        for row in sorted(too_narrow, key=lambda row: row["inflation"]):
            worst[row["source"], row["language"]] = row
        parts = [
            f"{source}, {language_name(code)}: the variance is {number(row['inflation'], 1)} times that of independent "
            f"sentences, so intervals should be {number(row['inflation'] ** 0.5, 1)} times as wide"
            for (source, code), row in sorted(worst.items())
        ]
        blocks.append(
            Paragraph(
                "Intervals are too narrow: consecutive sentences are correlated, and their source tells no documents. "
                f"{'; '.join(parts)}. Name documents (a column doc, or a file each), and whole ones are resampled.",
                "warning",
            )
        )
    blocks.append(
        Table(
            "Correlation of consecutive sentences",
            "Of each source that tells no documents: the autocorrelation at lag 1 of what a sentence adds to the error "
            "of the mean, in the order of the source; p over permutations of that order, q over all rows. Variance: "
            "that of the mean over that of as many independent sentences, 1 + 2 times the sum of autocorrelations "
            "(Bayley and Hammersley 1946), up to the first pair that is not positive (Geyer 1992).",
            ("Text", "Source", "Language", "Of", "Sentences", "Lag 1", "p", "q", "Variance"),
            [
                (
                    row["text"],
                    row["source"],
                    language_name(row["language"]),
                    "loss" if row["edit"] is None else f"change by {row['edit']}",
                    whole(row["sentences"]),
                    signed(row["lag_1"]),
                    number(row["p"], 3),
                    number(row["q"], 3),
                    number(row["inflation"], 2),
                )
                for row in rows
            ],
            words=4,
        )
    )
    return blocks


def _value_unit(files: RunFiles) -> str:
    return "times the 99th percentile" if files.recipe.effects.unit == "p99" else "in units of the latent"


def _measured_languages(files: RunFiles) -> list[str]:
    return [code for code in files.languages if find_cell(files, code, "raw", None) is not None]


def _sweep_table(files: RunFiles, splice: bool, published: Row | None) -> Table:
    values = doses(files, splice)
    columns: list[str | Cell] = ["Value"]
    for value in values:
        cell = find_cell(files, files.target, "set", splice, value)
        beyond = cell is not None and cell.get("in_range") is False
        columns.append(Cell(short(value), "", "beyond") if beyond else short(value))
    columns += ["No modification", "Raw model"]
    rows: list[list[str | Cell]] = []
    for code in _measured_languages(files):
        line = [find_cell(files, code, "set", splice, value) for value in values]
        line += [find_cell(files, code, "none", splice), find_cell(files, code, "raw", None)]
        name = language_name(code)
        rows.append([Cell(name, "nats per token"), *(number(cell["ce"]) if cell else "–" for cell in line)])
        if splice and published is not None and code in published:
            rows.append(_published_row(name, published, code, values))
        if values:
            rows.append([Cell(name, "change"), *(_change(cell) for cell in line)])
        rows.append(
            [Cell(name, "nats per byte"), *(number(cell["ce_per_byte"]) if cell else "–" for cell in line)]
        )
    way = "with the splice, the paper's way" if splice else "error-preserving"
    return Table(
        f"Appendix C, {way}",
        f"Cross-entropy with the units fixed at each value ({_value_unit(files)}), on {_measured_text(files)}. "
        f"Change: from no modification, with its 95{NO_BREAK}% interval. Values in italics are never taken "
        "by the units themselves. Per token, languages do not compare; per byte, they do more nearly.",
        columns,
        rows,
    )


def _measured_text(files: RunFiles) -> str:
    """How many sentences of `test` the sweep was measured on, and why so many."""
    counts = [
        f"{language_name(code)} {whole(cell['sentences'])}"
        for code in _measured_languages(files)
        if (cell := find_cell(files, code, "raw", None)) is not None
    ]
    precision = files.recipe.effects.precision
    until = (
        ""
        if precision is None
        else f", doubled until ± of every change is {precision:g} or a tenth of it, or there are no more"
    )
    return f"sentences of test ({', '.join(counts)}{until})"


def _change(cell: Row | None) -> str | Cell:
    if cell is None or cell["edit"] in ("none", "raw"):
        return "–"
    return Cell(signed(cell["delta"]), interval(cell["ci_low"], cell["ci_high"]))


def _published_row(name: str, published: Row, code: str, values: list[float]) -> list[str | Cell]:
    theirs = dict(zip(map(float, published["values"]), published[code], strict=True))
    none = (published.get("no_modification") or {}).get(code)
    return [
        Cell(name, "the paper's"),
        *(number(theirs.get(value), 2) for value in values),
        number(none, 2),
        "not measured",
    ]


def _other_edits(files: RunFiles, cells: list[Row]) -> Table | None:
    shown = [c for c in cells if c["source"] == "all" and c["edit"] not in ("raw", "none", "set")]
    if not shown:
        return None
    return Table(
        "Other edits",
        f"Mean: each unit fixed at its mean on {language_name(files.reference)} text of select.",
        ("Edit", "Way", "Language", "Nats per token", "Change"),
        [
            (
                cell["edit"],
                _WAYS[bool(cell["splice"])],
                language_name(cell["language"]),
                number(cell["ce"]),
                _change(cell),
            )
            for cell in shown
        ],
        words=3,
    )


def _selectivity_table(files: RunFiles, rows: list[Row]) -> Table:
    target = language_name(files.target)
    return Table(
        "Selectivity",
        f"What the other language's loss has done where the {target} loss has risen by so many nats per token, "
        "interpolated between doses from no edit down. All else is in nats per byte, by which languages compare more "
        "nearly, but for the last column. Margin: the one minus the other; ratio: the one over the other, or, after ≥, "
        "a one-sided 95 % lower limit where the other's rise may be 0. Small print: 95 % intervals.",
        (
            "Way",
            "Units",
            "Versus",
            f"{target} rises by",
            "Value",
            "Other's change",
            "Margin",
            "Ratio",
            "Other's change per token",
        ),
        [_selectivity_row(row) for row in rows],
        words=3,
    )


def _versus(name: str) -> str:
    # several languages together have no code
    return name if " " in name or name == "nearest" else language_name(name)


def _selectivity_row(row: Row) -> tuple[str | Cell, ...]:
    head = (
        _WAYS[bool(row["splice"])],
        f"{row['units']} ({row['kind']}s)",
        Cell(_versus(row["versus"]), "held-out panel" if row.get("text") == "panel" else ""),
        short(row["at"]),
    )
    if not row["reached"]:
        return (*head, "not reached", "–", "–", "–", "–")
    return (
        *head[:-1],
        Cell(short(row["at"]), f"{number(row['target_delta_per_byte'], 4)} per byte"),
        "above 0" if row["value"] is None else number(row["value"], 2),
        signed(row["other_delta_per_byte"], 4),
        margin_cell(row),
        ratio_cell(row),
        Cell(signed(row["other_delta"]), f"difference {signed(row['margin'])}"),
    )
