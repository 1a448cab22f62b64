"""What the model writes: continuations of the paper's prompts, and families of units at the same KL."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glossae.reporting.blocks import Blocks, Cell, Line, Paragraph, Picture, Table, estimate, not_run, table
from glossae.reporting.canvas import BLUE, GREEN, INK, ORANGE, QUIET, Drawing, draw, legend_below, ring
from glossae.reporting.findings import dose_words
from glossae.reporting.reading import RunFiles
from glossae.reporting.wording import (
    NO_BREAK,
    language_list,
    language_name,
    listed,
    number,
    percent,
    plural,
    short,
    whole,
)
from glossae.results import Continuation, SteeredArm, SteeringExample, SteeringResult

# ---- the paper's prompts, continued (section 6.1, Tables 1 and 2)

_TABLES = {"da": "Table 1: ", "en": "Table 2: "}


def continuations_blocks(files: RunFiles) -> Blocks:
    """A table per language, a column per edit."""
    rows = files.results.generation
    if not rows:
        yield not_run("Continuations")
        return
    yield Paragraph(_changed(rows), "finding")
    for code in dict.fromkeys(row.language for row in rows):
        yield _continuations(files, code, [row for row in rows if row.language == code])


def _continuations(files: RunFiles, code: str, rows: list[Continuation]) -> Table:
    texts: dict[str, dict[tuple[str, str, float | None], str]] = {}
    for row in rows:
        texts.setdefault(row.prompt, {})[row.units, row.edit, row.value] = row.text
    arms = dict.fromkeys((row.units, row.edit, row.value) for row in rows)

    def heading(edit: str, value: float | None) -> str:
        if edit == "raw":
            return "Raw model"
        return f"Units: {edit}" if value is None else f"Units fixed at {dose_words(files, short(value))}"

    def written(prompt: str, text: str | None) -> str:
        return "–" if text is None else text.removeprefix(prompt).strip() or "(nothing)"

    return Table(
        f"{_TABLES.get(code, '')}{language_name(code)} prompts",
        "The most likely continuation at every step. The paper shows those of the raw model only.",
        ("Prompt", *(heading(edit, value) for _, edit, value in arms)),
        [(prompt, *(written(prompt, own.get(arm)) for arm in arms)) for prompt, own in texts.items()],
        words=1 + len(arms),
    )


def _changed(rows: list[Continuation]) -> str:
    raw = {row.prompt: row.text for row in rows if row.edit == "raw"}
    steered = [row for row in rows if row.edit != "raw" and row.prompt in raw]
    if not steered:
        return f"The raw model continues {len(raw)} prompts; nothing was steered."
    different = sum(row.text != raw[row.prompt] for row in steered)
    return (
        f"{different} of {len(steered)} continuations with the units fixed differ from the raw model's. "
        "Whether they are another language, or worse, is for the reader to see: nothing here scores them."
    )


# ---- families of units at the same KL

_NAMES = {
    "raw": "the raw model",
    "latents_set": "selected latents, set",
    "latents_add": "selected latents, added",
    "neurons_set": "best neurons, set",
    "neurons_add": "best neurons, added",
    "means_add": "difference of means, added",
    "means_project": "difference of means, projected to",
}
# of the languages told apart, those whose shares the table shows beside the target's
_SHOWN = ("nb", "sv")
# a kind of units has a colour and a marker, an operation a line
_COLOURS = {"latent": ORANGE, "neuron": GREEN, "direction": BLUE}
_MARKERS = {"latent": "o", "neuron": "s", "direction": "^"}
_LINES = {"set": "-", "add": "--", "project_out": ":"}
_PANELS = {
    "success": "share in the target language",
    "repetition": "repeated 4-grams",
    "loss": "loss, nats",
}


def steering_blocks(files: RunFiles) -> Blocks:
    """The table at the same KL, the figure, every dose, and examples."""
    steering = files.results.steering
    if not steering:
        yield not_run("Steering over doses")
        return
    raw, *arms = steering.arms
    finding = _finding(files, steering)
    yield Paragraph(_set_up(files, steering))
    yield Paragraph(finding, "finding")
    yield from _missing(files, steering)
    levels = sorted({arm.at for arm in arms if arm.at is not None})
    matched = [arm for at in levels for arm in arms if arm.at == at]
    yield _table(
        files, "Steering at the same KL", "Doses were looked for that have these KL. ", [raw, *matched]
    )
    yield Picture(
        "Success against damage",
        _draw_steering(raw, arms, {row.family: _name(row.family) for row in steering.families}, finding),
        finding,
        "Along each line the dose rises. Ringed: no other arm has more success at a smaller KL. A high share "
        "with much repetition is no success.",
    )
    yield _table(files, "Steering at every dose", "", [raw, *(arm for arm in arms if arm.at is None)])
    yield _examples(steering.examples)


def _name(family: str) -> str:
    return _NAMES.get(family, family)


def _set_up(files: RunFiles, steering: SteeringResult) -> str:
    target, reference = files.names
    prompts, text, known = steering.prompts, steering.kl_text, steering.identifiers
    lingua = known.lingua
    judged = (
        f"Two identifiers have to agree: lingua {lingua.version}, choosing among "
        f"{language_list(lingua.languages)}, and the run's own character n-grams"
        if lingua
        else "lingua is not installed (extra lid), so that one identifier decides: the run's own character n-grams"
    )
    return (
        f"{whole(prompts.test)} prompts are the first {prompts.tokens} tokens of {reference} sentences of "
        f"test, {prompts.paper} more are the paper's. The damage is the KL divergence per token between the model "
        f"and the steered one on those whole sentences ({whole(text.tokens)} predicted tokens). {judged}, which "
        f"know {language_list(known.ngrams)}. A text with fewer than ten letters, or on which they differ, is in "
        f"no language. At dose 1 a unit goes from its mean on {reference} to its mean on {target} text of select."
    )


def _finding(files: RunFiles, steering: SteeringResult) -> str:
    target = language_name(files.target)
    raw = f"{percent(steering.arms[0].success)} of the continuations are {target}"
    said = []
    for at in steering.kl:
        if arms := [arm for arm in steering.arms if arm.at == at]:
            best, *others = sorted(arms, key=lambda arm: -arm.success)
            rest = [f"{_name(arm.family)} {percent(arm.success)}" for arm in others]
            said.append(
                f"At a KL of {short(at)} nats a token {percent(best.success)} of the continuations are {target} "
                f"with the {_name(best.family)}{f', against {listed(rest)}' if rest else ''}."
            )
    if not said:
        return f"No family comes to a KL at which it could be compared; raw, {raw}."
    return f"Raw, {raw}. {' '.join(said)}"


def _missing(files: RunFiles, steering: SteeringResult) -> Blocks:
    if steering.left_out:
        names = listed([_name(family) for family in steering.left_out])
        yield Paragraph(f"There are no units to steer by: {names}.", "note")
    for row in steering.families:
        if row.unreached:
            levels = listed([short(at) for at in row.unreached])
            yield Paragraph(f"The {_name(row.family)}: no dose has a KL of {levels}.", "note")
    if not set(_SHOWN) & set(steering.identifiers.ngrams) and files.target == "da":
        yield Paragraph(
            "There is no Norwegian or Swedish text in train or select, so that the n-grams take both for Danish.",
            "note",
        )


def _table(files: RunFiles, label: str, doses: str, arms: Sequence[SteeredArm]) -> Table:
    target = language_name(files.target)
    others = [*(code for code in _SHOWN if code != files.target), files.reference]
    judges = {"ngrams": "n-grams", "lingua": "lingua"}
    judges = {judge: name for judge, name in judges.items() if arms[0].shares[judge] is not None}

    def line(arm: SteeredArm) -> Line:
        shares = {judge: own or {} for judge, own in arm.shares.items()}
        best = shares["both"] or shares["ngrams"]
        return {
            "Family": _name(arm.family),
            "KL": number(arm.kl, 2),
            "Dose": "–" if arm.value is None else short(arm.value),
            target: estimate(arm.success, arm.success_low, arm.success_high, 0, percent),
            **{language_name(code): percent(best.get(code, 0.0)) for code in others},
            "None": percent(best.get("unanswered", 0.0)),
            **{
                f"{target} by {name}": percent(shares[j].get(files.target, 0.0)) for j, name in judges.items()
            },
            "Repetition": estimate(arm.repetition, arm.repetition_low, arm.repetition_high, 0, percent),
            "Distinct 1, 2": f"{number(arm.distinct_1, 2)}, {number(arm.distinct_2, 2)}",
            "Loss": estimate(arm.loss, arm.loss_low, arm.loss_high, 2),
            "Same top token": percent(arm.agreement),
        }

    return table(
        label,
        f"{doses}Shares of all continuations; {target}: by both identifiers, with its 95{NO_BREAK}% "
        "interval over prompts, and by each. Loss: of the continuations, under the model as it is. Repetition: 4-grams "
        "of tokens that stood before in the same text. Distinct: different tokens, and pairs, over all.",
        [line(arm) for arm in arms],
    )


def _examples(examples: list[SteeringExample]) -> Table:
    prompts = list(dict.fromkeys(row.prompt for row in examples))
    return Table(
        f"Examples: {plural(len(prompts), 'prompt')}",
        "The first prompts, in the order of the text: nothing is picked. Below each, its language by the identifiers.",
        ("Prompt", "Steered by", "Continuation"),
        [
            (
                prompt,
                _name(row.family) + ("" if row.at is None else f", KL {short(row.at)}"),
                Cell(
                    row.text or "(nothing)",
                    language_name(row.language) if row.language else "in no language",
                ),
            )
            for prompt in prompts
            for row in examples
            if row.prompt == prompt
        ],
        words=3,
    )


def _draw_steering(
    raw: SteeredArm, arms: Sequence[SteeredArm], names: Mapping[str, str], description: str
) -> Drawing:
    """Success, repetition and loss of every named family along its doses, by KL."""
    rows = []
    for arm in (raw, *arms):
        row = arm.to_json()
        for identifier, shares in row.pop("shares").items():
            row |= {f"{identifier}_{language}": share for language, share in (shares or {}).items()}
        rows.append(row)

    def paint(figure: Figure) -> None:
        axes = figure.subplots(1, len(_PANELS))
        for panel, (measure, words) in zip(axes, _PANELS.items(), strict=True):
            _paint(panel, raw, arms, measure, names)
            panel.set_title(words)
            panel.set_xlabel("KL on reference text, nats a token")
        axes[0].set_ylim(-0.03, 1.03)
        legend_below(figure, axes[:1], 3)

    return draw("steering-front", (11.5, 4.4), paint, pd.DataFrame(rows), description)


def _paint(
    panel: Axes, raw: SteeredArm, steered: Sequence[SteeredArm], measure: str, names: Mapping[str, str]
) -> None:
    if (level := getattr(raw, measure)) is not None:
        panel.axhline(level, color=QUIET, linewidth=0.9, linestyle=(0, (1, 2)), label="the raw model")
    for family, words in names.items():
        line = [arm for arm in steered if arm.family == family and getattr(arm, measure) is not None]
        line.sort(key=lambda arm: arm.kl)
        if line:
            kind, operation = line[0].kind or "", line[0].operation or ""
            kls, values = ([getattr(arm, key) for arm in line] for key in ("kl", measure))
            style: Any = {"linestyle": _LINES.get(operation, "-"), "marker": _MARKERS.get(kind, "o")}
            panel.plot(kls, values, color=_COLOURS.get(kind, INK), linewidth=1.3, label=words, **style)
    if measure == "success":
        front = [arm for arm in steered if arm.on_front]
        ring(panel, [arm.kl for arm in front], [arm.success for arm in front])
    smallest = min((arm.kl for arm in steered if arm.kl > 0), default=None)
    if smallest is not None:
        panel.set_xscale("symlog", linthresh=smallest, linscale=0.4)
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        panel.minorticks_off()
