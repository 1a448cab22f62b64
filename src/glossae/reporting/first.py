"""The first screen: units by language, loss by dose, one continuation as it is and turned, and what adds the latter."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from glossae.errors import visible
from glossae.reporting.canvas import INK, NAMED, PALE, QUIET, Figure, Panel, language_style, name_ends
from glossae.reporting.reading import RunFiles
from glossae.reporting.verdict import dose_unit, dose_words
from glossae.reporting.wording import language_name, listed, number, percent, short, signed, whole
from glossae.results import FamilyUnit, LossCell

_MOST_LANGUAGES = 8
# of each group of rows
_SELECTED, _NEAREST, _TESTED = 6, 4, 3


# ---- units by language


def heat_map(files: RunFiles) -> Figure | None:
    """Firing rates of the selected and the next best latents, and AUROCs of the best tested units of each kind."""
    units, features = files.units[:_SELECTED], files.results.features
    taken = [unit.unit for unit in files.units]
    near = [unit for unit in (features.nearest if features else []) if unit.unit not in taken][:_NEAREST]
    rates: list[tuple[str, dict[str, float]]] = [
        *((f"● latent {unit.unit}", unit.rate) for unit in units),
        *((f"latent {unit.unit}", unit.rate) for unit in near),
    ]
    aurocs = [(unit.label, _latest(unit)) for unit in _best(files)]
    if not rates and not aurocs:
        return None
    known = [code for code in files.languages if any(code in values for _, values in (*rates, *aurocs))]
    known = [files.target, *(code for code in known if code != files.target)][:_MOST_LANGUAGES]
    groups = [
        (f"share of tokens on which it fires{_chosen(len(units), len(files.units))}", "firing rate", rates),
        (f"AUROC: {files.names[0]} sentences over the language's", "AUROC", aurocs),
    ]
    groups = [group for group in groups if group[2]]
    numbers = pd.DataFrame(
        [
            {"unit": label.removeprefix("● "), "selected": label.startswith("●"), "measure": measure}
            | {code: values.get(code) for code in known}
            for _, measure, rows in groups
            for label, values in rows
        ]
    )

    def paint(axes: Axes) -> None:
        colours, place = matplotlib.colormaps["viridis"], 0
        labels: dict[float, str] = {}
        for title, _, rows in groups:
            axes.annotate(
                title,
                (0, place + 0.65),
                xycoords=("figure fraction", "data"),
                fontsize=9,
                va="center",
                color=INK,
            )
            place += 1
            for label, values in rows:
                for column, code in enumerate(known):
                    value = values.get(code)
                    face = "none" if value is None else to_hex(colours(value))
                    axes.add_patch(
                        Rectangle((column + 0.02, place + 0.03), 0.96, 0.94, facecolor=face, linewidth=0)
                    )
                    ink = PALE if value is None else "#fefefe" if value < 0.6 else "#010101"
                    words = "–" if value is None else number(value, 2)
                    axes.text(
                        column + 0.5, place + 0.5, words, ha="center", va="center", fontsize=9, color=ink
                    )
                labels[place + 0.5] = visible(label)
                place += 1
        axes.set_xlim(0, len(known))
        axes.set_ylim(place, 0)
        axes.set_yticks(list(labels), list(labels.values()), fontsize=9)
        axes.set_xticks([column + 0.5 for column in range(len(known))], _columns(known), fontsize=9)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.grid(visible=False)
        for side in axes.spines.values():
            side.set_visible(False)

    size = (4.0, 0.45 + 0.27 * (len(numbers) + len(groups)))
    return Figure(
        "heat-map", "Units by language", [Panel(paint)], numbers, size=size, facts={"codes": _codes(known)}
    )


def _chosen(shown: int, selected: int) -> str:
    some = f"{shown} of {selected} " if shown < selected else ""
    return f" (● {some}selected)" if shown else ""


def _columns(known: Sequence[str]) -> list[str]:
    """Names of languages where there is room for them, else codes."""
    names = [language_name(code) for code in known]
    return [
        name if len(name) <= 7 and len(known) <= 5 else code for code, name in zip(known, names, strict=True)
    ]


def _codes(known: Sequence[str]) -> str:
    said = [
        f"{code} {language_name(code)}"
        for code in set(known) & set(_columns(known))
        if code != language_name(code)
    ]
    return f" {', '.join(sorted(said))}." if said else ""


def _best(files: RunFiles) -> list[FamilyUnit]:
    """The first tested units of each kind; random directions only where they were selected."""
    units = files.tested.units if files.tested else []
    own = [unit for unit in units if unit.selected or not unit.label.startswith("random ")]
    kinds = dict.fromkeys(unit.kind for unit in own)
    return [unit for kind in kinds for unit in [unit for unit in own if unit.kind == kind][:_TESTED]]


def _latest(unit: FamilyUnit) -> dict[str, float]:
    """AUROCs on the half held out, where the unit was tested there."""
    later = unit.again.get("held_out")
    return later.auroc if later and later.auroc else unit.auroc


# ---- loss by dose

_GREY_DASHES = ("-", "--", ":", "-.", (0, (7, 2, 1, 2, 1, 2)), (0, (9, 4)))
_OFF = ("zero", "mean", "project_out")


def dose_response(files: RunFiles) -> Figure | None:
    """Change of the loss per byte by dose, for three languages; other sets behind in grey."""
    cells = [cell for cell in files.next_token.cells if cell.source == "all" and not cell.splice]
    own = [cell for cell in cells if cell.units == files.target]
    scaled = any(cell.edit == "scale" for cell in own)
    lines = {code: _line(own, code, scaled) for code in files.languages}
    lines = {code: line for code, line in lines.items() if len(line) > 1}
    if files.target not in lines:
        return None
    others = [code for code in lines if code not in files.languages[:2]]
    # of the others the one that loses most where the target's loss has risen most
    worst = max(others, key=lambda code: max(cell.delta_per_byte for _, cell in lines[code]), default=None)
    drawn = [code for code in lines if code in (files.target, files.reference, worst)]
    sets = dict.fromkeys(cell.units for cell in cells if cell.units not in files.languages)
    behind = {
        name: line
        for name in sets
        if scaled and len(line := _line([c for c in cells if c.units == name], files.target, scaled)) > 1
    }
    controls = files.results.controls
    draws = [
        row
        for row in (controls.rows if controls else [])
        if (row.units, row.edit, row.statistic) == (files.target, "zero", "target")
        and row.null_p95 is not None
    ]

    def paint(axes: Axes) -> None:
        axes.axhline(0, color=PALE, linewidth=0.8)
        grey: Any = {
            "color": QUIET,
            "linewidth": 1.0,
            "marker": ".",
            "markersize": 5,
            "zorder": 1.5,
            "gid": NAMED,
        }
        top = max(cell.byte_ci_high for code in drawn for _, cell in lines[code])
        labels = {name: "untrained SAEs" if name.startswith("random weights") else name for name in behind}
        dashes = dict(zip(dict.fromkeys(labels.values()), cycle(_GREY_DASHES), strict=False))
        for name, line in behind.items():
            own, heights = labels[name], [cell.delta_per_byte for _, cell in line]
            axes.plot([dose for dose, _ in line], heights, label=own, linestyle=dashes[own], **grey)
        for row in draws if scaled else ():
            axes.vlines(
                1, row.null_mean, row.null_p95 or 0.0, color=PALE, linewidth=4, label=f"draws: {row.control}"
            )
        for code in drawn:
            line, style = lines[code], language_style(files.languages, code)
            doses = [dose for dose, _ in line]
            low, high = ([getattr(cell, end) for _, cell in line] for end in ("byte_ci_low", "byte_ci_high"))
            axes.fill_between(doses, low, high, color=style["color"], alpha=0.15, linewidth=0)
            heights = [cell.delta_per_byte for _, cell in line]
            axes.plot(doses, heights, marker="o", label=language_name(code), **style | {"linewidth": 2.0})
        axes.set_ylim(top=top * 1.08 if top > 0 else None)
        name_ends(axes)
        axes.set_ylabel("change of loss (nats per byte)")
        if scaled:
            axes.set_xlabel("dose: 0 as it is, 1 off, 2 opposite")
        else:
            axes.set_xlabel(f"latents fixed at ({dose_unit(files)})")

    rows = [
        {"units": name, "language": code, "dose": dose, "edit": cell.edit, "value": cell.value}
        | {"change_per_byte": cell.delta_per_byte, "low": cell.byte_ci_low, "high": cell.byte_ci_high}
        for name, code, line in [
            *((files.target, code, lines[code]) for code in lines),
            *((name, files.target, line) for name, line in behind.items()),
        ]
        for dose, cell in line
    ]
    grey = f" Grey: what other sets cost {files.names[0]}, on the same scale (of neurons and directions: the way to "
    facts = {
        "how": "their own values times 1 - dose" if scaled else "fixed at each value, error-preserving",
        "grey": f"{grey}{files.names[1]}'s mean)." if behind else "",
    }
    numbers = pd.DataFrame(rows)
    return Figure("dose-response", "Loss by dose", [Panel(paint)], numbers, size=(4.0, 3.6), facts=facts)


def _line(cells: Sequence[LossCell], language: str, scaled: bool) -> list[tuple[float, LossCell]]:
    """A language's cells by dose: 1 less the share that is left of the units' own value, or the fixed value."""
    line = {}
    for cell in cells:
        if cell.language != language:
            continue
        if not scaled and cell.edit == "set" and cell.value is not None:
            line[cell.value] = cell
        elif scaled and cell.edit == "scale" and cell.value is not None:
            line[1 - cell.value] = cell
        elif scaled and cell.edit in ("none", *_OFF):
            line.setdefault(0.0 if cell.edit == "none" else 1.0, cell)
    return sorted(line.items(), key=lambda pair: pair[0])


# ---- one continuation


@dataclass(frozen=True)
class Continued:
    """A prompt's continuation as it is and turned, with the rule by which it was taken."""

    prompt: str
    raw: str
    raw_note: str
    turned: str
    turned_note: str
    rule: str


def continuation(files: RunFiles) -> Continued | None:
    """The first prompt whose turned continuation is in the target language, or else differs; None without any.

    Of the families that steer, the first one's: the others' shares of the target language stand beside it.
    """
    target = files.names[0]
    if steering := files.results.steering:
        raw = {row.prompt: row for row in steering.examples if row.family == "raw"}
        shown = [row for row in steering.examples if row.at is not None and row.prompt in raw]
        turned = [row for row in shown if row.family == shown[0].family]
        if turned:
            into = [row for row in turned if row.language == files.target != raw[row.prompt].language]
            row = (into or turned)[0]
            before = raw[row.prompt]

            def note(language: str | None) -> str:
                return f"identified as {language_name(language)}" if language else "in no language"

            def named(family: str) -> str:
                return family.replace("_", " ")

            dose = short(row.value) if row.value is not None else "–"
            shares = [
                f"{named(arm.family)} {percent(arm.success)}" for arm in steering.arms if arm.at == row.at
            ]
            return Continued(
                row.prompt,
                before.text,
                note(before.language),
                row.text,
                f"{named(row.family)}, dose {dose}, KL {short(row.at or 0)}; {note(row.language)}",
                (
                    f"The first of {whole(len(turned))} examples that turns {target}; {whole(len(into))} of them do. "
                    if into
                    else f"The first of {whole(len(turned))} examples; none of them turns {target}. "
                )
                + f"Of all continuations at this KL (how far predictions on {files.names[1]} text move, nats a token), "
                f"in {target}: {', '.join(shares)}.",
            )
    rows = files.results.generation or []
    before_of = {row.prompt: row for row in rows if row.edit == "raw"}
    after = [row for row in rows if row.edit != "raw" and row.prompt in before_of]
    changed = [row for row in after if row.text != before_of[row.prompt].text]
    if not after:
        return None
    costs = {
        (cell.edit, cell.value, cell.language): cell.delta
        for cell in files.next_token.cells
        if cell.units == files.target and cell.source == "all" and not cell.splice
    }
    # where all doses cost alike, or none was measured, the first prompt's
    first = min(changed or after, key=lambda row: costs.get((row.edit, row.value, files.reference), 0.0))
    dose = "–" if first.value is None else dose_words(files, short(first.value))
    rises = [
        f"{language_name(code)} {signed(rise)}"
        for code in (files.target, files.reference)
        if (rise := costs.get((first.edit, first.value, code))) is not None
    ]
    cost = f"; loss {', '.join(rises)} nats a token" if rises else ""
    return Continued(
        first.prompt,
        before_of[first.prompt].text,
        "the most probable token at every step",
        first.text,
        (f"latents fixed at {dose}" if first.edit == "set" else f"latents: {first.edit}") + cost,
        f"Of the continuations that change ({whole(len(changed))} of {whole(len(after))}), the first at the dose that "
        f"costs {files.names[1]} least. Which language it is was not asked (--steering.prompts 200).",
    )


# ---- what a flag would add


def to_add(files: RunFiles, dose: bool, continued: bool) -> str:
    """Which flags add the loss by dose and a continuation; empty where both are there, or no flag would add them.

    Args:
        files: of the run.
        dose: whether the loss by dose is shown.
        continued: whether a continuation is shown.
    """
    effects = files.recipe.effects
    lacking = [
        words for words, shown in (("the loss by dose", dose), ("one continuation", continued)) if not shown
    ]
    flags = [] if effects.sweep else ["--effects.sweep true"]
    flags += [] if effects.prompts or continued else ["--effects.prompts true"]
    if not lacking or not flags or not files.units or "effects" in files.to_come:
        return ""
    return (
        f"Not measured in this run: {listed(lacking)}. The same command with {' '.join(flags)} adds "
        f"{'it' if len(lacking) == 1 else 'both'} and keeps the stages that are done."
    )
