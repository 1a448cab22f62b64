"""What other languages lose at the same damage to the target: the selected units, other sets, and drawn ones."""

import math

from glossae.reporting.blocks import Blocks, Cell, Line, Paragraph, Table, estimate, not_run, table
from glossae.reporting.findings import (
    against_controls,
    at_matched_damage,
    has_interval,
    rank_words,
    ratio_words,
    statistic_words,
)
from glossae.reporting.reading import RunFiles
from glossae.reporting.sections.effects import WAYS
from glossae.reporting.wording import NO_BREAK, interval, language_name, number, percent, short, signed, whole
from glossae.results import BestDose, LossCell, PartEffect, Selectivity

# of a set's edits, those that the matrix of languages shows
_ABLATIONS = {"latent": "zero", "neuron": "mean", "direction": "project_out"}


def selectivity_blocks(files: RunFiles) -> Blocks:
    """What other languages lose where the target has lost a given amount: this set, other sets, its parts, draws."""
    # rows of the panel stand with those of the other sets, below
    wanted = (files.target, "set", "test")
    rows = [row for row in files.next_token.selectivity if (row.units, row.edit, row.text) == wanted]
    if rows:
        for splice, way in ((False, "Error-preserving"), (True, "With the splice")):
            said = " ".join(filter(None, (at_matched_damage(files, at, splice) for at in (0.1, 0.3))))
            if said:
                yield Paragraph(f"{way}: {said}", "finding")
        target = language_name(files.target)
        yield Table(
            "Selectivity",
            f"What the other language's loss has done where the {target} loss has risen by the given nats per token, "
            "interpolated between doses from no edit down. All else is in nats per byte, by which languages compare "
            "more nearly, but for the last column. Margin: the one minus the other; ratio: the one over the other, or, "
            "after ≥, a one-sided 95 % lower limit where the other's rise may be 0. Small print: 95 % intervals.",
            (
                *("Way", "Units", "Versus", f"{target} rises by", "Value"),
                *("Other's change", "Margin", "Ratio", "Other's change per token"),
            ),
            [_selectivity_row(row) for row in rows],
            words=3,
        )
    elif files.results.next_token:
        yield Paragraph("There is no sweep to compare languages along.", "absent")
    else:
        yield not_run("Selectivity")
    several = len(files.next_token.sets) > 1
    if several:
        yield from _families(files)
    yield from _best(files)
    yield from _side_effects(files)
    if several:
        yield from _matrix(files)
    yield from _one_by_one(files)
    yield from _best_dose(files)
    yield from _controls(files)


def _selectivity_row(row: Selectivity) -> tuple[str | Cell, ...]:
    # several languages together have no code
    together = " " in row.versus or row.versus == "nearest"
    versus = row.versus if together else language_name(row.versus)
    head = (WAYS[row.splice], f"{row.units} ({row.kind}s)", Cell(versus))
    if not row.reached:
        return (*head, short(row.at), "not reached", "–", "–", "–", "–")
    return (
        *head,
        Cell(short(row.at), f"{number(row.target_delta_per_byte, 4)} per byte"),
        "above 0" if row.value is None else number(row.value, 2),
        signed(row.other_delta_per_byte, 4),
        _margin(row),
        _ratio(row),
        Cell(signed(row.other_delta), f"difference {signed(row.margin)}"),
    )


def _ratio(row: Selectivity | None) -> str | Cell:
    """The ratio per byte; in small print what it is, and the difference."""
    if row is None or not row.reached:
        return "–"
    spread = (
        interval(row.ratio_per_byte_low, row.ratio_per_byte_high, 1)
        if has_interval(row)
        else f"one-sided 95{NO_BREAK}% limit"
    )
    return Cell(ratio_words(row), f"{spread}; difference {signed(row.margin_per_byte, 4)}")


def _margin(row: Selectivity) -> Cell:
    """The difference of the rises per byte, with its interval."""
    return estimate(row.margin_per_byte, row.margin_per_byte_low, row.margin_per_byte_high, 4, signed)


# ---- latents, neurons and directions side by side


def set_name(files: RunFiles, name: str) -> str:
    """What a set is called: the selected latents by the language they are of."""
    if name == files.target:
        return f"selected ({language_name(name)})"
    return f"{language_name(name)} latents" if name in files.languages else name


def path_words(kind: str, edit: str) -> str:
    """What a way down does to units of a kind."""
    if edit != "scale":
        return {"set": "fixed, down from 0", "add": "taken away"}[edit]
    # a latent's own value is multiplied; of neurons and directions it is the distance from the reference's mean
    if kind == "latent":
        return "own values switched off, then turned to the opposite sign"
    return "drawn to the reference's mean and beyond"


def _own(files: RunFiles) -> list[Selectivity]:
    """Rows at matched damage to the run's target, error-preserving."""
    rows = files.next_token.selectivity
    return [row for row in rows if not row.splice and row.units not in files.languages[1:]]


def _families(files: RunFiles) -> Blocks:
    target, reference = files.names
    groups: dict[tuple[str, str, float, str], dict[str, Selectivity]] = {}
    for row in _own(files):
        groups.setdefault((row.units, row.edit, row.at, row.text), {})[row.versus] = row
    lines: list[Line] = []
    for at in (0.3, 0.1):
        for (name, edit, height, text), versus in groups.items():
            if height != at:
                continue
            kind = next(iter(versus.values())).kind
            other = versus.get(files.reference)
            # of two languages there is one other, which is the nearest too
            nearest, mean = versus.get("nearest", other), versus.get("mean of others", other)
            if nearest is None or not nearest.reached:
                nearest = other = mean = None
            per_byte = f"{number(nearest.target_delta_per_byte, 4)} per byte" if nearest else ""
            lines.append(
                {
                    "Units": Cell(set_name(files, name), kind),
                    "Edit": Cell(edit, path_words(kind, edit)),
                    "Text": "held-out panel" if text == "panel" else text,
                    f"{target} rises by": Cell(short(at), per_byte),
                    f"Over {reference}": _ratio(other) if nearest else "not reached",
                    "Over the mean of others": _ratio(mean),
                    "Over the nearest": _ratio(nearest),
                    "Margin over the nearest": _margin(nearest) if nearest else "–",
                }
            )
    if lines:
        yield table(
            "Families side by side",
            f"Every set on every way down, error-preserving, where the {target} loss has risen by the given nats per "
            "token. Doses of other sets than the selected one are looked for, on the sentences that it is measured on. "
            "All else is in nats per byte, by which languages compare more nearly. Ratio: that rise over the other's, "
            f"or, after ≥, a one-sided 95{NO_BREAK}% lower limit where the other's rise may be 0; difference: the one "
            "less the other; margin over the nearest: less the largest of the others'. Small print: "
            f"95{NO_BREAK}% intervals.",
            lines,
            words=3,
        )


def _best(files: RunFiles) -> Blocks:
    """Whether the selected latents are the most selective of what was tried."""

    def least(row: Selectivity) -> tuple[float, float]:
        # a ratio without a lower limit is infinite; then the difference counts
        limit = row.ratio_per_byte_least
        return math.inf if limit is None else limit, row.margin_per_byte or 0.0

    target, reference = files.names
    best: dict[str, Selectivity] = {}
    for row in _own(files):
        wanted = (row.at, row.versus, row.text) == (0.3, files.reference, "test")
        if wanted and row.reached:
            best[row.kind] = max(best.get(row.kind, row), row, key=least)
    if len(best) < 2 or "latent" not in best:
        return
    order = sorted(best.values(), key=least, reverse=True)
    parts = ", ".join(
        f"{row.kind}s {ratio_words(row)}, difference {signed(row.margin_per_byte, 4)} "
        f"({set_name(files, row.units)}, {row.edit})"
        for row in order
    )
    lost = "" if order[0].kind == "latent" else " Here latents lose to what is cheaper."
    yield Paragraph(
        f"At 0.3 nats per token of {target}, by the one-sided 95{NO_BREAK}% lower limit of the "
        f"ratio over {reference} per byte, the best of each family: {parts}.{lost}",
        "finding",
    )


def _side_effects(files: RunFiles) -> Blocks:
    target, reference = files.names
    rows = [row for row in files.next_token.side_effects if row.reached]
    if rows:
        yield table(
            f"Side effects on {reference}",
            f"Where the {target} loss has risen by the given nats per token: how far predictions on {reference} text "
            "of test move (KL from the model's own, nats per token), how often the most probable token stays, and the "
            f"length of the change at the site relative to the activation's. Small print: 95{NO_BREAK}% intervals.",
            [
                {
                    "Units": Cell(set_name(files, row.units), row.kind),
                    "Edit": row.edit,
                    f"{target} rises by": short(row.at),
                    "KL": estimate(row.kl, row.kl_low, row.kl_high, 4),
                    "Top-1 agreement": estimate(
                        row.agreement, row.agreement_low, row.agreement_high, 1, percent
                    ),
                    "Size of the change": Cell(percent(row.change, digits=1)),
                }
                for row in rows
            ],
            words=2,
        )


def _matrix(files: RunFiles) -> Blocks:
    """Every set's ablation on every language."""
    cells = [
        cell
        for cell in files.next_token.cells
        if cell.source in ("all", "panel") and not cell.splice and cell.edit == _ABLATIONS[cell.kind]
    ]
    columns = list(dict.fromkeys((cell.source, cell.language) for cell in cells))
    found = {(cell.units, cell.source, cell.language): cell for cell in cells}

    def change(cell: LossCell | None) -> str | Cell:
        if cell is None:
            return "–"
        spread = interval(cell.ci_low, cell.ci_high)
        return Cell(signed(cell.delta), f"{spread}; per byte {signed(cell.delta_per_byte)}")

    if cells:
        yield table(
            "Every set on every language",
            "The change of the loss in nats per token when a set is switched off (latents at zero; neurons and "
            "directions brought to the reference's mean), error-preserving; below it per byte, by which languages "
            "compare more nearly.",
            [
                {"Units": set_name(files, name), "Edit": edit}
                | {
                    Cell(language_name(language), "held-out panel" if source == "panel" else "test"): change(
                        found.get((name, source, language))
                    )
                    for source, language in columns
                }
                for name, edit in dict.fromkeys((cell.units, cell.edit) for cell in cells)
            ],
            words=2,
        )


def _one_by_one(files: RunFiles) -> Blocks:
    rows = files.next_token.one_by_one
    lines: dict[tuple[int, str, str, float | None], dict[str, PartEffect]] = {}
    for row in rows:
        line = lines.setdefault((row.unit, row.way, row.edit, row.value), {})
        line[row.language] = row
    codes = dict.fromkeys(row.language for row in rows)
    if rows:
        yield table(
            "Latent by latent",
            f"The change of the loss in nats per token, with its 95{NO_BREAK}% interval, when one latent alone "
            "is edited, and when all but that one are: switched off, and fixed where the whole set costs 0.3 nats.",
            [
                {
                    "Latent": str(unit),
                    "Way": way,
                    "Edit": _edit(edit, value),
                    **{language_name(code): _delta(line[code]) if code in line else "–" for code in codes},
                }
                for (unit, way, edit, value), line in lines.items()
            ],
            words=3,
        )


def _edit(edit: str, value: float | None, to: str = " to") -> str:
    return edit if value is None else f"{edit}{to} {number(value, 2)}"


def _delta(row: PartEffect | BestDose, digits: int = 3) -> Cell:
    return estimate(row.delta, row.ci_low, row.ci_high, digits, signed)


def _best_dose(files: RunFiles) -> Blocks:
    target = language_name(files.target)
    rows = files.next_token.best_dose
    if rows:
        yield table(
            "The best dose",
            f"Can an edit make the model better at {target}? Of each set's edits the one with the lowest "
            f"{target} loss on tune, and what it does on test (nats per token, 95{NO_BREAK}% interval). A spliced "
            "edit's change is from the reconstruction without an edit.",
            [
                {
                    "Units": set_name(files, row.units),
                    "Spliced": "yes" if row.splice else "no",
                    "Edit": _edit(row.edit, row.value, to=""),
                    "On tune": signed(row.tune_delta, 4),
                    "On test": _delta(row, 4),
                    "Helps": "yes" if row.helps else "no",
                }
                for row in rows
            ],
            words=3,
        )


# ---- what drawn units do


def _controls(files: RunFiles) -> Blocks:
    """The table of ranks with what it says; nothing where no controls were drawn."""
    controls = files.results.controls
    if not controls or not controls.rows:
        return
    if said := against_controls(files):
        yield Paragraph(said, "finding")
    target, reference = files.names
    sentences = ", ".join(
        f"{whole(count)} {language_name(code)}" for code, count in controls.sentences.items()
    )
    likeness = ""
    if matched := controls.matched:
        words = {
            "rate": f"of {target} tokens",
            "reference_rate": f"of {reference} tokens",
            "mean_active": "when they fire",
            "norm": "long",
        }
        pairs = [
            f"{number(matched[what].drawn)} against {number(matched[what].selected)} {likewise}"
            for what, likewise in words.items()
        ]
        likeness = f" (drawn against selected: {', '.join(pairs)})"
    yield table(
        "Controls",
        f"On {sentences} frozen sentences of test: the rise of the {target} loss in nats per byte; that less the rise "
        f"of the {reference} loss; and, with other languages (effects.controls_on), less the largest rise of any "
        f"of them. Matched latents are those that fire most nearly as often on {target} and on {reference}, as "
        f"strongly, and have decoder rows as long{likeness}. Random directions: the set's own "
        "edit, written along random directions, so that every token is moved as far. Rank: the set's place among "
        "itself and the draws, the largest first. It says how the set compares with those draws; it is no p-value, "
        "since the set was not drawn like them. Other rows: one other set.",
        [
            {
                "Units": set_name(files, row.units),
                "Edit": _edit(row.edit, row.value),
                "Against": Cell(
                    set_name(files, row.control),
                    row.control_edit if row.rank is None else f"{whole(row.draws)} draws",
                ),
                "Rise of": statistic_words(files, row.statistic),
                "Observed": signed(row.observed, 4),
                "Control": signed(row.null_mean, 4),
                "95 % of draws below": signed(row.null_p95, 4),
                "Rank": "–" if row.rank is None else rank_words(row),
            }
            for row in controls.rows
        ],
        words=4,
    )
