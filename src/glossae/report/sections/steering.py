"""What steering makes the model write: families of units at the same KL, their Pareto front, and examples."""

from collections.abc import Sequence

from glossae.report.blocks import Block, Cell, Paragraph, Picture, Section, Table, not_run
from glossae.report.figures.steering import draw_steering
from glossae.report.reading import Row, RunFiles
from glossae.report.wording import (
    NO_BREAK,
    interval,
    language_name,
    listed,
    number,
    percent,
    plural,
    short,
    whole,
)

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
_UNANSWERED = "unanswered"


def steering_section(files: RunFiles) -> Section:
    """The table at the same KL, the figure, every dose, and examples."""
    return Section("steering", "What steering makes it write", "not in the paper", _blocks(files))


def _blocks(files: RunFiles) -> list[Block]:
    steering = files.section("steering")
    if steering is None:
        return [not_run("Steering over doses")]
    arms: list[Row] = steering["arms"]
    finding = _finding(files, steering)
    return [
        Paragraph(_set_up(files, steering)),
        Paragraph(finding, "finding"),
        *_missing(files, steering),
        _table(files, arms, matched=True),
        Picture(
            "Success against damage",
            draw_steering(
                arms, {row["family"]: _name(row["family"]) for row in steering["families"]}, finding
            ),
            finding,
            "Along each line the dose rises. Ringed: no other arm has more success at a smaller KL. A high share "
            "with much repetition is no success.",
        ),
        _table(files, arms, matched=False),
        _examples(steering),
    ]


def _set_up(files: RunFiles, steering: Row) -> str:
    target, reference = language_name(files.target), language_name(files.reference)
    prompts, text, known = steering["prompts"], steering["kl_text"], steering["identifiers"]
    lingua = known["lingua"]
    judged = (
        f"Two identifiers have to agree: lingua {lingua['version']}, choosing among "
        f"{listed([language_name(code) for code in lingua['languages']])}, and the run's own character n-grams"
        if lingua
        else "lingua is not installed (extra lid), so that one identifier decides: the run's own character n-grams"
    )
    return (
        f"{whole(prompts['test'])} prompts are the first {prompts['tokens']} tokens of {reference} sentences of test, "
        f"{prompts['paper']} more are the paper's. The damage is the KL divergence per token between the model and the "
        f"steered one on those whole sentences ({whole(text['tokens'])} predicted tokens). {judged}, which know "
        f"{listed([language_name(code) for code in known['ngrams']])}. A text with fewer than ten letters, or on which "
        f"they differ, is in no language. At dose 1 a unit goes from its mean on {reference} to its mean on {target} "
        f"text of select."
    )


def _finding(files: RunFiles, steering: Row) -> str:
    target = language_name(files.target)
    said = []
    for at in steering["kl"]:
        arms = sorted(_at(steering["arms"], at), key=lambda arm: -arm["success"])
        if arms:
            best, *others = arms
            rest = (
                listed([f"{_name(arm['family'])} {percent(arm['success'])}" for arm in others])
                if others
                else ""
            )
            said.append(
                f"At a KL of {short(at)} nats a token {percent(best['success'])} of the continuations are {target} "
                f"with the {_name(best['family'])}" + (f", against {rest}." if rest else ".")
            )
    if not said:
        return f"No family comes to a KL at which it could be compared; raw, {_raw_words(files, steering)}."
    return f"Raw, {_raw_words(files, steering)}. {' '.join(said)}"


def _raw_words(files: RunFiles, steering: Row) -> str:
    return f"{percent(steering['arms'][0]['success'])} of the continuations are {language_name(files.target)}"


def _missing(files: RunFiles, steering: Row) -> list[Block]:
    blocks: list[Block] = []
    if steering["left_out"]:
        names = listed([_name(family) for family in steering["left_out"]])
        blocks.append(Paragraph(f"There are no units to steer by: {names}.", "note"))
    for row in steering["families"]:
        if row["unreached"]:
            levels = listed([short(at) for at in row["unreached"]])
            blocks.append(Paragraph(f"The {_name(row['family'])}: no dose has a KL of {levels}.", "note"))
    if not set(_SHOWN) & set(steering["identifiers"]["ngrams"]) and files.target == "da":
        blocks.append(
            Paragraph(
                "There is no Norwegian or Swedish text in train or select, so that the n-grams take both for Danish.",
                "note",
            )
        )
    return blocks


def _at(arms: Sequence[Row], at: float) -> list[Row]:
    return [arm for arm in arms if arm["at"] == at]


def _name(family: str) -> str:
    return _NAMES.get(family, family)


def _table(files: RunFiles, arms: list[Row], *, matched: bool) -> Table:
    raw, steered = arms[0], arms[1:]
    if matched:
        levels = sorted({arm["at"] for arm in steered if arm["at"] is not None})
        shown = [raw, *(arm for at in levels for arm in _at(steered, at))]
    else:
        shown = [raw, *(arm for arm in steered if arm["at"] is None)]
    codes = [files.target, *(code for code in _SHOWN if code != files.target), files.reference]
    judges = [name for name in ("ngrams", "lingua") if raw["shares"][name] is not None]
    return Table(
        "Steering at the same KL" if matched else "Steering at every dose",
        ("Doses were looked for that have these KL. " if matched else "")
        + f"Shares of all continuations; {language_name(files.target)}: by both identifiers, with its 95{NO_BREAK}% "
        "interval over prompts, and by each. Loss: of the continuations, under the model as it is. Repetition: 4-grams "
        "of tokens that stood before in the same text. Distinct: different tokens, and pairs, over all.",
        (
            "Family",
            "KL",
            "Dose",
            *(language_name(code) for code in codes),
            "None",
            *(
                f"{language_name(files.target)} by {'n-grams' if judge == 'ngrams' else judge}"
                for judge in judges
            ),
            "Repetition",
            "Distinct 1, 2",
            "Loss",
            "Same top token",
        ),
        [_row(arm, codes, judges) for arm in shown],
    )


def _row(arm: Row, codes: Sequence[str], judges: Sequence[str]) -> list[str | Cell]:
    best = arm["shares"]["both"] or arm["shares"]["ngrams"]
    target, *others = codes
    return [
        _name(arm["family"]),
        number(arm["kl"], 2),
        "–" if arm["value"] is None else short(arm["value"]),
        Cell(percent(arm["success"]), _percents(arm["success_low"], arm["success_high"])),
        *(percent(best.get(code, 0.0)) for code in others),
        percent(best.get(_UNANSWERED, 0.0)),
        *(percent(arm["shares"][judge].get(target, 0.0)) for judge in judges),
        Cell(percent(arm["repetition"]), _percents(arm["repetition_low"], arm["repetition_high"])),
        f"{number(arm['distinct_1'], 2)}, {number(arm['distinct_2'], 2)}",
        Cell(number(arm["loss"], 2), interval(arm["loss_low"], arm["loss_high"], 2)),
        percent(arm["agreement"]),
    ]


def _percents(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{percent(low)} to {percent(high)}"


def _examples(steering: Row) -> Table:
    examples: list[Row] = steering["examples"]
    prompts = list(dict.fromkeys(row["prompt"] for row in examples))
    rows: list[list[str | Cell]] = []
    for prompt in prompts:
        for row in (row for row in examples if row["prompt"] == prompt):
            how = _name(row["family"]) + ("" if row["at"] is None else f", KL {short(row['at'])}")
            language = language_name(row["language"]) if row["language"] else "in no language"
            rows.append([prompt, how, Cell(row["text"] or "(nothing)", language)])
    return Table(
        f"Examples: {plural(len(prompts), 'prompt')}",
        "The first prompts, in the order of the text: nothing is picked. Below each, its language by the identifiers.",
        ("Prompt", "Steered by", "Continuation"),
        rows,
        words=3,
    )
