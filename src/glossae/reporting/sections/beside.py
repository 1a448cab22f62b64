"""The paper's numbers beside this run's, cell by cell, and where its code does not do what its text says."""

import math
from collections.abc import Iterator, Sequence
from statistics import mean
from typing import Any, TypeAlias

from glossae.reporting.exhibits import Cell, Exhibit, Missing, num, pct, table
from glossae.reporting.reading import RunFiles
from glossae.reporting.sections.effects import find_cell
from glossae.reporting.wording import interval, language_name, percent, short, signed
from glossae.results import AsCodedRow, PaperModel, ProbeCell, TaskScore

# what is done, by the paper's text and by its code (its repository's notebooks)
_SWITCHES = (
    (
        "Probes",
        "the optimum for each lambda",
        "329 to 544 steps of Adam, by the model, ending at strong lambdas in a tremor around zero",
    ),
    (
        "The autoencoder's code",
        "reads x less the pre-encoder bias, as it was trained",
        "reads x itself, wherever latents are found or fixed",
    ),
    ("Finding latents", "on the test set", "on its first 100 sentences"),
    (
        "No modification",
        "the model",
        "the reconstruction from the mis-read code in the activation's place; the model itself is not measured",
    ),
    (
        "Next-token loss",
        "the mean over tokens",
        "the mean over sentences of each one's mean, on the first 251 Danish and 250 English ones",
    ),
    (
        "Tasks",
        "fine-tuned, all rows",
        "frozen; states averaged over pads too; an unscaled regression of at most 100 steps on 2,000 rows; weighted F1",
    ),
)


def beside(files: RunFiles) -> Iterator[Exhibit]:
    """Figure 3, Appendices C and D beside this run's; nothing of the paper's where it is another recipe."""
    if files.recipe.protocol == "as_coded":
        columns = ("What", "By its text", "By its code")
        yield table("Switches", [dict(zip(columns, switch, strict=True)) for switch in _SWITCHES])
    elif files.results.published:
        yield Missing("what the paper's code does differently", "--protocol as_coded")
    yield from _probes(files)
    yield from _next_token(files)
    yield from _tasks(files)


# ---- Figure 3: accuracy by model and strength of the penalty


def _probes(files: RunFiles) -> Iterator[Exhibit]:
    """Accuracy by model and lambda; and around layer 16 what stands behind it; nothing of another recipe's."""
    probe = files.results.probe
    if files.results.published is None or not probe:
        return
    published, coded = files.results.published.probes, probe.as_coded or []
    theirs = {model.model: model for model in published.models}
    yield table(
        "Figure 3, beside the paper",
        [
            {
                "Model": name,
                "Lambda": short(cell.penalty),
                "The paper": _their_accuracy(theirs.get(name), cell.penalty),
                "As coded": _our_accuracy(coded, name, cell.penalty),
                "The optimum": _our_accuracy(probe.cells, name, cell.penalty),
            }
            for name in dict.fromkeys((*theirs, *(row.model for row in probe.cells)))
            for cell in published.models[0].accuracy
        ],
    )
    own = {
        (row.layer, row.penalty): next(
            (c for c in coded if (c.model, c.layer) == (row.model, row.layer) and _alike(c, row)), None
        )
        for row in published.cells
    }
    if any(own.values()):
        yield table(
            "Around layer 16 of Pythia 1.4B",
            [dict(row) | {"own": own[row.layer, row.penalty]} for row in published.cells],
            "Lambda=penalty short; Layer=layer; Norm=norm; Norm|as coded=own.norm; Cross-entropy=bce; "
            "Cross-entropy|as coded=own.bce; Accuracy=accuracy; Accuracy|as coded=own.accuracy",
        )


def _alike(row: Any, other: Any) -> bool:
    # lambdas are rounded in the paper's tables
    return math.isclose(row.penalty, getattr(other, "penalty", other), rel_tol=0.01)


def _their_accuracy(model: PaperModel | None, value: float) -> Cell:
    means = [row for row in model.accuracy if _alike(row, value)] if model else []
    best = [row for row in model.best if _alike(row, value)] if model else []
    return pct(means[0].mean if means else None, 1, _best(best[0].layer, best[0].accuracy) if best else "")


def _our_accuracy(rows: Sequence[ProbeCell | AsCodedRow], model: str, value: float) -> Cell | None:
    layers: dict[int, list[float]] = {}
    for row in rows:
        if row.model == model and _alike(row, value):
            layers.setdefault(row.layer, []).append(row.accuracy)
    means = {layer: mean(values) for layer, values in layers.items()}
    best = max(means, key=lambda layer: means[layer], default=None)
    return None if best is None else pct(mean(means.values()), 1, _best(best, means[best]))


def _best(layer: int, accuracy: float) -> str:
    return f"layer {layer}: {percent(accuracy, digits=1)}"


# ---- Appendix C: the loss under every value, as coded and as it should be

_Losses: TypeAlias = dict[tuple[str, float | None], float]
"""Losses by language and value; no value is no modification."""

# what the paper's two digits cannot tell from no change
_ROUNDING = 0.01


def _next_token(files: RunFiles) -> Iterator[Exhibit]:
    """Losses and changes, what the target's change is to the reference's, and how many go the paper's way."""
    pair, columns = (files.target, files.reference), dict[str, _Losses]()
    published = files.results.published.next_token if files.results.published else None
    coded = files.next_token.as_coded or []
    if published and set(pair) <= set(published.losses):
        columns["The paper"] = {
            (code, float(value)): ce
            for code in pair
            for value, ce in zip(published.values, published.losses[code], strict=True)
        } | {(code, None): published.no_modification[code] for code in pair}
    columns["As coded"] = {(row.language, row.value): row.ce for row in coded}
    for name, splice in (("With the splice", True), ("Error-preserving", False)):
        columns[name] = {
            (cell.language, cell.value): cell.ce
            for cell in files.next_token.cells
            if (cell.units, cell.source, cell.splice) == (files.target, "all", splice)
            and cell.language in pair
            and cell.edit in ("set", "none")
        }
    columns = {name: losses for name, losses in columns.items() if losses}
    if not {"The paper", "As coded"} & set(columns) or list(columns) == ["The paper"]:
        return
    changes: dict[str, _Losses] = {
        name: {key: ce - losses[key[0], None] for key, ce in losses.items() if (key[0], None) in losses}
        for name, losses in columns.items()
    }
    values = sorted({value for losses in columns.values() for _, value in losses if value is not None})
    lines: list[dict[str, Any]] = []
    for code in pair:
        for value in (*values, None):
            edit = "no modification" if value is None else f"fixed at {short(value)}"
            line: dict[str, Any] = {"Language": language_name(code), "Edit": edit}
            for name, losses in columns.items():
                change = None if value is None else changes[name].get((code, value))
                below = "" if change is None else signed(change, _digits(name))
                line[name] = num(losses.get((code, value)), _digits(name), below)
            lines.append(line)
        if (raw := find_cell(files, code, "raw", None)) is not None:
            own = {
                name: raw.ce if name in ("With the splice", "Error-preserving") else None for name in columns
            }
            lines.append({"Language": language_name(code), "Edit": "raw model"} | own)
    counts = {row.language: row.sentences for row in coded}
    on = (
        f" As coded: means over {' and '.join(str(counts[code]) for code in pair)} sentences."
        if counts
        else ""
    )
    label = "beside the paper" if "The paper" in columns else "as coded"
    yield table(f"Appendix C, {label}", lines, key="appendix-c-beside", on=on, alike=_same_sign(changes))
    target, reference = files.names
    yield table(
        f"What {target} loses for what {reference} loses",
        [
            {"Value": short(value)}
            | {name: _ratio(own, pair, value, _digits(name)) for name, own in changes.items()}
            for value in values
        ],
        key="ratios",
    )


def _digits(name: str) -> int:
    return 2 if name == "The paper" else 3


def _ratio(changes: _Losses, pair: tuple[str, str], value: float, digits: int) -> Cell | None:
    own, other = (changes.get((code, value)) for code in pair)
    if own is None or other is None:
        return None
    ratio = own / other if other >= _ROUNDING and own > 0 else None
    return num(ratio, 1, f"{signed(own, digits)} / {signed(other, digits)}")


def _same_sign(changes: dict[str, _Losses]) -> str:
    """How many of the paper's changes have the same sign here."""
    theirs = {
        key: change for key, change in changes.get("The paper", {}).items() if abs(change) > _ROUNDING / 2
    }
    words = []
    for name, own in changes.items():
        alike = [(change > 0) == (own[key] > 0) for key, change in theirs.items() if key in own]
        if alike and name != "The paper":
            words.append(f"{name.lower()}, {sum(alike)} of {len(alike)}")
    said = "; ".join(words)
    return f" Changes with the paper's sign, where its two digits show one: {said}." if words else ""


# ---- Appendix D: tasks under every value, as coded and controlled

# by what the columns are called: protocol and metric
_OURS = {"As coded": ("as_coded", "weighted_f1"), "Controlled, macro F1": ("controlled", "macro_f1")}


def _tasks(files: RunFiles) -> Iterator[Exhibit]:
    """The paper's three tasks at its values, whatever of them was set here; nothing of another recipe's."""
    if files.results.published is None:
        return
    published = files.results.published.tasks
    found: dict[tuple[Any, ...], TaskScore] = {
        (row.task, row.protocol, row.metric, row.value): row
        for row in reversed(files.results.tasks or [])
        if row.splice is True and row.edit == ("none" if row.value is None else "set")
    }
    lines, alike = [], dict[str, list[bool]]()
    for name, scores in published.scores.items():
        none = published.no_modification[name]
        for value, score in (*zip(published.values, scores, strict=True), (None, none)):
            change = score - none
            line: dict[str, Any] = {
                "Task": name,
                "Value": "no modification" if value is None else short(value),
            }
            line["The paper"] = num(score, 3, "" if value is None else signed(change))
            for title, ours in _OURS.items():
                row = found.get((name, *ours, value))
                line[title] = row and _score(row)
                if row and value is not None:
                    alike.setdefault(title.lower(), []).append(change * row.delta > 0)
            lines.append(line)
    said = "; ".join(f"{title}, {sum(same)} of {len(same)}" for title, same in alike.items())
    yield table(
        "Appendix D, beside the paper",
        lines,
        metric=published.metric,
        alike=f" Changes with the paper's sign: {said}." if said else "",
    )


def _score(row: TaskScore) -> Cell:
    return num(
        row.score,
        3,
        "" if row.value is None else f"{signed(row.delta)} ({interval(row.delta_low, row.delta_high)})",
    )
