"""What the units do to downstream tasks (section 5.2, Figure 9) and to what the model writes (section 6.1)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from glossae.languages import counted_as
from glossae.reporting.canvas import BLUE, GREEN, INK, ORANGE, QUIET, Figure, Panel, language_style, ring
from glossae.reporting.exhibits import Cell, Exhibit, Missing, est, num, table
from glossae.reporting.reading import RunFiles, frame
from glossae.reporting.verdict import dose_unit, dose_words
from glossae.reporting.wording import (
    capital,
    language_list,
    language_name,
    listed,
    number,
    short,
    signed,
    whole,
)
from glossae.results import Continuation, PaperTasks, SteeredArm, SteeringResult, TaskScore

# ---- downstream tasks

_PROTOCOLS = {
    "controlled": "controlled",
    "as_coded": "as the paper's code has it",
    "fine_tuned": "fine-tuned with the edit in place",
}
_METRICS = {"macro_f1": "macro F1", "mcc": "Matthews' correlation", "weighted_f1": "weighted F1"}
_LEVEL = 0.05


def tasks(files: RunFiles) -> Iterator[Exhibit]:
    """What the units do to tasks that are read off the model, and the paper's Appendix D."""
    rows = files.results.tasks
    if not rows:
        yield Missing("downstream tasks", '--tasks.names "angry-tweets scala-da tweet-sentiment"', "tasks")
        return
    if files.task_sets:
        yield table(
            "Text of the tasks",
            [
                {
                    "Task": name,
                    "Language": language_name(facts["language"]),
                    "Labels": len(facts["labels"]),
                    "Rows": ", ".join(f"{whole(count)} of {split}" for split, count in facts["rows"].items()),
                    "Without text, left out": sum(sum(count.values()) for count in facts["dropped"].values()),
                }
                for name, facts in files.task_sets.items()
            ],
        )
    for protocol, name in _PROTOCOLS.items():
        own = [row for row in rows if row.protocol == protocol]
        if own:
            published = files.results.published
            paper = published.tasks if published and protocol == "as_coded" else None
            yield from _protocol(files, protocol, name, own, paper)


def _protocol(
    files: RunFiles, protocol: str, name: str, rows: Sequence[TaskScore], published: PaperTasks | None
) -> Iterator[Exhibit]:
    metrics = list(dict.fromkeys(row.metric for row in rows))
    main = [row for row in rows if row.metric == metrics[0]]
    metric = _METRICS[metrics[0]]
    names = list(dict.fromkeys(row.task for row in main))
    drawn = [_task(files, [row for row in main if row.task == task], metric, published) for task in names]
    label = "Figure 9" if protocol == "as_coded" else f"Figure 9, {name}"
    file, facts = f"figure-9-tasks-{protocol.replace('_', '-')}", {"metric": capital(metric)}
    yield Figure(file, label, drawn, frame(main), size=(3.8, 3.0), facts=facts)
    # how many comparisons with no edit there are, and below which p one of them passes
    compared = [row.p for row in main if row.edit == "set" and row.p is not None]
    bound = _LEVEL / max(len(compared), 1)
    yield table(
        f"{'Appendix D' if protocol == 'as_coded' else 'Downstream tasks'}: {name}",
        _lines(rows, metrics, published),
        key="downstream-tasks",
        metric=metric,
        passing=f"{sum(p < bound for p in compared)} of {len(compared)} comparisons pass p < {bound:.2g}",
    )


def _lines(
    rows: Sequence[TaskScore], metrics: Sequence[str], published: PaperTasks | None
) -> Iterator[dict[str, Any]]:
    by_key: dict[tuple[str, str, bool | None, float | None], dict[str, TaskScore]] = {}
    for row in rows:
        by_key.setdefault((row.task, row.edit, row.splice, row.value), {})[row.metric] = row
    for key, found in by_key.items():
        line: dict[str, Any] = {"Task": key[0], "Edit": _edit(*key[1:])}
        for metric in metrics:
            row, title = found[metric], capital(_METRICS[metric])
            line[title] = est(row.score, row.ci_low, row.ci_high)
            line[f"{title}|change"] = row.p and est(row.delta, row.delta_low, row.delta_high, write=signed)
            under = row.p is not None and row.p < 0.001
            line[f"{title}|p"] = Cell("under 0.001" if under else number(row.p), "", {"": row.p})
        first = found[metrics[0]]
        times = f", {first.splits} splits" if first.splits > 1 else ""
        late = "; not converged" if first.converged is False else ""
        line["Detectable"] = first.detectable
        line["Rows"] = num(first.n_test, 0, f"from {whole(first.n_train)}{times}{late}")
        if published:
            line["The paper's"] = _theirs(published, *key)
        yield line


def _edit(edit: str, splice: bool | None, value: float | None) -> str | Cell:
    if edit in ("raw", "project_out"):
        return "raw model" if edit == "raw" else "labels' directions erased"
    way = "splice" if splice else "error-preserving"
    return Cell("no modification" if edit == "none" else f"fixed at {short(value or 0.0)}", way)


def _theirs(
    published: PaperTasks, task: str, edit: str, splice: bool | None, value: float | None
) -> float | None:
    if not splice or task not in published.scores:
        return None
    by_value: dict[Any, float] = dict(zip(published.values, published.scores[task], strict=True))
    return published.no_modification.get(task) if edit == "none" else by_value.get(value)


def _task(files: RunFiles, rows: Sequence[TaskScore], metric: str, published: PaperTasks | None) -> Panel:
    """A task's score against the fixed value, with 95 % intervals and the paper's own scores."""
    task, colour = rows[0].task, language_style(files.languages, rows[0].language)["color"]

    def paint(axes: Axes) -> None:
        for edit, splice, dashes in (("raw", None, (0, (1, 2))), ("none", True, (0, (6, 3)))):
            for base in [row for row in rows if row.edit == edit and row.splice == splice][:1]:
                axes.axhline(base.score, color=INK, linewidth=1.0, linestyle=dashes)
                if splice is None:
                    axes.axhspan(base.ci_low, base.ci_high, color=QUIET, alpha=0.1, linewidth=0)
        for splice, words, marker, dash in (
            (False, "error-preserving", "o", "-"),
            (True, "splice", "s", "--"),
        ):
            line = [row for row in rows if row.edit == "set" and row.splice == splice]
            line.sort(key=lambda row: row.value or 0.0)
            if line:
                # a score at the end of an interval may lie a rounding outside it
                below = [max(0.0, row.score - row.ci_low) for row in line]
                above = [max(0.0, row.ci_high - row.score) for row in line]
                values, scores = [row.value or 0.0 for row in line], [row.score for row in line]
                style: Any = {"color": colour, "marker": marker, "linestyle": dash, "linewidth": 1.4}
                style |= {"capsize": 2.5, "alpha": 0.65 if splice else 1.0, "label": words}
                axes.errorbar(values, scores, yerr=[below, above], **style)
        if published is not None and task in published.scores:
            values, theirs = [float(value) for value in published.values], published.scores[task]
            axes.plot(values, theirs, color=QUIET, marker="x", linewidth=1.0, label="the paper")
        axes.set_xlabel(f"units fixed at ({dose_unit(files)})")
        axes.set_ylabel(metric)

    return Panel(paint, f"{task} ({language_name(rows[0].language)})")


# ---- the paper's prompts, continued (section 6.1, Tables 1 and 2)

_TABLES = {"da": "Table 1: ", "en": "Table 2: "}


def continuations(files: RunFiles) -> Iterator[Exhibit]:
    """A table per language, a column per edit."""
    rows = files.results.generation
    if not rows:
        yield Missing("continuations of the paper's prompts", stage="effects")
        return

    def heading(row: Continuation) -> str:
        if row.edit == "raw" or row.value is None:
            return "Raw model" if row.edit == "raw" else f"Units: {row.edit}"
        return f"Units fixed at {dose_words(files, short(row.value))}"

    for code in dict.fromkeys(row.language for row in rows):
        own = [row for row in rows if row.language == code]
        lines: dict[str, dict[str, Any]] = {
            row.prompt: {"Prompt": row.prompt} | {heading(each): None for each in own} for row in own
        }
        for row in own:
            lines[row.prompt][heading(row)] = row.text.removeprefix(row.prompt).strip() or "(nothing)"
        label = f"{_TABLES.get(code, '')}{language_name(code)} prompts"
        yield table(label, lines.values(), key="prompts")


# ---- families of units at the same KL

NAMES = {
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


def steering(files: RunFiles) -> Iterator[Exhibit]:
    """The figure, the table at the same KL, every dose, and examples."""
    found = files.results.steering
    if not found:
        yield Missing("steering over doses", "--steering.prompts 200", "steering")
        return
    raw, *arms = found.arms
    drawn = [_panel(raw, arms, measure, words) for measure, words in _PANELS.items()]
    yield Figure("steering-front", "Success against damage", drawn, _flat(found.arms), size=(4.0, 3.2))
    target, others = files.target, [code for code in _SHOWN if code != files.target]
    judges = {
        judge: name for judge, name in (("ngrams", "n-grams"), ("lingua", "lingua")) if raw.shares[judge]
    }
    best = "both" if raw.shares["both"] else "ngrams"
    columns = (
        f"Family=name; KL=kl 2; Dose=value short; {files.names[0]}=success %0; *=shares.{best}.* %0; "
        f"None=shares.{best}.unanswered %0; "
        + "".join(
            f"{files.names[0]}|by {name}=shares.{judge}.{target} %0; " for judge, name in judges.items()
        )
        + "Repetition=repetition %0; Distinct 1=distinct_1 2; Distinct 2=distinct_2 2; Loss=loss 2; "
        "Same top token=agreement %0"
    )
    matched = sorted((arm for arm in arms if arm.at is not None), key=lambda arm: arm.at or 0.0)
    doses = [arm for arm in arms if arm.at is None]
    for label, rows in (
        ("Steering at the same KL", [raw, *matched]),
        ("Steering at every dose", [raw, *doses]),
    ):
        # a language that nothing was written in has no share
        none = dict.fromkeys((target, *others, files.reference, "unanswered"), 0.0)
        lines = [
            dict(arm)
            | {"name": _name(arm.family), "shares": {j: none | (s or {}) for j, s in arm.shares.items()}}
            for arm in rows
        ]
        yield table(
            label, lines, columns, over=[*others, files.reference], key="steering", **_set_up(files, found)
        )
    lacking = [
        {"Family": _name(family), "Why": "there are no units to steer by"} for family in found.left_out
    ]
    lacking += [
        {
            "Family": _name(row.family),
            "Why": f"no dose has a KL of {listed([short(at) for at in row.unreached])}",
        }
        for row in found.families
        if row.unreached
    ]
    if lacking:
        yield table("Families that are not compared", lacking)
    if found.examples:
        yield table(
            "Examples",
            [
                {
                    "Prompt": row.prompt,
                    "Steered by": _name(row.family) + ("" if row.at is None else f", KL {short(row.at)}"),
                    "Continuation": row.text or "(nothing)",
                    "Identified as": language_name(row.language) if row.language else "no language",
                }
                for prompt in dict.fromkeys(row.prompt for row in found.examples)
                for row in found.examples
                if row.prompt == prompt
            ],
        )


def _name(family: str) -> str:
    return NAMES.get(family, family)


def _set_up(files: RunFiles, found: SteeringResult) -> dict[str, Any]:
    """What the captions say of prompts and identifiers."""
    lingua, known = found.identifiers.lingua, found.identifiers.ngrams
    judged = "one decides, since lingua is not installed (extra lid)"
    if lingua:
        among = language_list(lingua.languages)
        judged = f"two have to agree: lingua {lingua.version}, choosing among {among}"
        counted = counted_as(known)
        lacked = set(known) - {counted.get(code, code) for code in lingua.languages}
        if lacked:
            judged += (
                f" (the n-grams alone decide on {language_list(sorted(lacked))}, which lingua does not know)"
            )
    alone = not set(_SHOWN) & set(known) and files.target == "da"
    close = (
        " They take Norwegian and Swedish for Danish: there is no such text in train or select."
        if alone
        else ""
    )
    return {
        "judged": judged,
        "known": language_list(known) + "." + close,
        "prompts": whole(found.prompts.test),
        "first": found.prompts.tokens,
        "more": found.prompts.paper,
        "tokens": whole(found.kl_text.tokens),
    }


def _flat(arms: Sequence[SteeredArm]) -> pd.DataFrame:
    rows = []
    for arm in arms:
        row = arm.to_json()
        for identifier, shares in row.pop("shares").items():
            row |= {f"{identifier}_{language}": share for language, share in (shares or {}).items()}
        rows.append(row)
    return pd.DataFrame(rows)


def _panel(raw: SteeredArm, steered: Sequence[SteeredArm], measure: str, title: str) -> Panel:
    """Success, repetition or loss of every family along its doses, by KL."""
    families: Mapping[str, list[SteeredArm]] = {
        arm.family: [one for one in steered if one.family == arm.family and getattr(one, measure) is not None]
        for arm in steered
    }

    def paint(axes: Axes) -> None:
        if (level := getattr(raw, measure)) is not None:
            axes.axhline(level, color=QUIET, linewidth=0.9, linestyle=(0, (1, 2)))
        for family, line in families.items():
            line.sort(key=lambda arm: arm.kl)
            if line:
                kind, operation = line[0].kind or "", line[0].operation or ""
                kls, values = ([getattr(arm, key) for arm in line] for key in ("kl", measure))
                style: Any = {"linestyle": _LINES.get(operation, "-"), "marker": _MARKERS.get(kind, "o")}
                axes.plot(
                    kls, values, color=_COLOURS.get(kind, INK), linewidth=1.3, label=_name(family), **style
                )
        if measure == "success":
            front = [arm for arm in steered if arm.on_front]
            ring(axes, [arm.kl for arm in front], [arm.success for arm in front])
            axes.set_ylim(-0.03, 1.03)
        smallest = min((arm.kl for arm in steered if arm.kl > 0), default=None)
        if smallest is not None:
            axes.set_xscale("symlog", linthresh=smallest, linscale=0.4)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.minorticks_off()
        axes.set_xlabel("KL on reference text, nats a token")

    return Panel(paint, title)
