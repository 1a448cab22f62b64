"""The paper's numbers beside this run's, cell by cell, and where its code does not do what its text says."""

import math
from collections.abc import Iterable, Sequence
from statistics import mean
from typing import TypeAlias, TypeVar

from glossae.reporting.blocks import Blocks, Cell, Line, Paragraph, Table, table
from glossae.reporting.findings import find_cell
from glossae.reporting.reading import RunFiles
from glossae.reporting.wording import capital, interval, language_name, number, percent, short, signed
from glossae.results import AsCodedRow, PaperBest, PaperMean, PaperModel, PaperTasks, ProbeCell, TaskScore

Penalised = TypeVar("Penalised", ProbeCell, AsCodedRow, ProbeCell | AsCodedRow, PaperMean, PaperBest)

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


def beside_blocks(files: RunFiles) -> Blocks:
    """Figures 3 and 4, Appendices C and D beside this run's; nothing of the paper's where it is another recipe."""
    published, coded = files.results.published, files.recipe.protocol == "as_coded"
    if not published and not coded:
        yield Paragraph(
            "The paper's own numbers stand beside those of its recipe, which this is not; --protocol as_coded "
            "sets what its code does beside what its text says for any recipe.",
            "absent",
        )
        return
    if published:
        adds = " This run does what its text says; --protocol as_coded adds what its code does."
        yield Paragraph(
            "The paper's weights and seeds are not released, so that of its numbers only sign and shape can come "
            f"again.{'' if coded else adds}"
        )
    if coded:
        yield Table(
            "Switches",
            "Where the paper's code does not do what its text says. As coded: the right column. Sentences are the "
            "first in the order of this run's seed.",
            ("What", "By its text", "By its code"),
            _SWITCHES,
            words=3,
        )
    yield from _probes(files)
    if published and files.results.grid:
        yield Paragraph("Figure 4's 48 autoencoders stand beside the paper's in their own section, above.")
    yield from _next_token(files)
    yield from _tasks(files)


# ---- Figure 3: accuracy by model and strength of the penalty


def _probes(files: RunFiles) -> Blocks:
    """Accuracy by model and lambda; and around layer 16 what stands behind it; nothing of another recipe's."""
    if files.results.published is None:
        return
    published, probe = files.results.published.probes, files.results.probe
    if not probe:
        yield Paragraph("Figure 3: probes were not run.", "absent")
        return
    coded, optima = probe.as_coded or [], probe.cells
    theirs = {model.model: model for model in published.models}
    models = dict.fromkeys((*theirs, *(row.model for row in optima)))
    yield table(
        "Figure 3, beside the paper",
        "Accuracy on held-out tokens, the mean over layers (and seeds); under it the best layer. The paper's are those "
        "of its code. The optimum of a strong penalty is exactly zero, and its accuracy that of a constant answer.",
        [
            {
                "Model": name,
                "Lambda": short(cell.penalty),
                "The paper": _their_accuracy(theirs.get(name), cell.penalty),
                "As coded": _our_accuracy(coded, name, cell.penalty),
                "The optimum": _our_accuracy(optima, name, cell.penalty),
            }
            for name in models
            for cell in published.models[0].accuracy
        ],
    )
    pairs = [
        (
            row,
            next(
                (own for own in _at(coded, row.penalty) if (own.model, own.layer) == (row.model, row.layer)),
                None,
            ),
        )
        for row in published.cells
    ]
    if any(own is not None for _, own in pairs):
        yield Table(
            "Around layer 16 of Pythia 1.4B",
            "What is behind the paper's choice of a layer: where the norm is nothing and the cross-entropy is that of "
            "knowing nothing (0.693), the accuracy is a tremor.",
            ("Lambda", "Layer", "Norm", "As coded", "Cross-entropy", "As coded", "Accuracy", "As coded"),
            [
                (
                    short(row.penalty),
                    str(row.layer),
                    *(
                        number(getattr(each, key, None))
                        for key in ("norm", "bce", "accuracy")
                        for each in (row, own)
                    ),
                )
                for row, own in pairs
            ],
        )


def _at(rows: Iterable[Penalised], value: float) -> list[Penalised]:
    # lambdas are rounded in the paper's tables
    return [row for row in rows if math.isclose(row.penalty, value, rel_tol=0.01)]


def _their_accuracy(model: PaperModel | None, value: float) -> Cell:
    means = _at(model.accuracy, value) if model else []
    best = _at(model.best, value) if model else []
    return Cell(
        percent(means[0].mean, digits=1) if means else "–",
        _best_layer(best[0].layer, best[0].accuracy) if best else "",
    )


def _our_accuracy(rows: Sequence[ProbeCell | AsCodedRow], model: str, value: float) -> str | Cell:
    layers: dict[int, list[float]] = {}
    for row in _at(rows, value):
        if row.model == model:
            layers.setdefault(row.layer, []).append(row.accuracy)
    if not layers:
        return "–"
    means = {layer: mean(values) for layer, values in layers.items()}
    best = max(means, key=lambda layer: means[layer])
    return Cell(percent(mean(means.values()), digits=1), _best_layer(best, means[best]))


def _best_layer(layer: int, accuracy: float) -> str:
    return f"layer {layer}: {percent(accuracy, digits=1)}"


# ---- Appendix C: the loss under every value, as coded and as it should be

_Losses: TypeAlias = dict[tuple[str, float | None], float]
"""Losses by language and value; no value is no modification."""

# what the paper's two digits cannot tell from no change
_ROUNDING = 0.01
_COLUMNS = {
    "paper": "The paper",
    "coded": "As coded",
    "splice": "With the splice",
    "kept": "Error-preserving",
}


def _next_token(files: RunFiles) -> Blocks:
    """Losses and changes, what the target's change is to the reference's, and how many go the paper's way."""
    pair = (files.target, files.reference)
    columns: dict[str, _Losses] = {}
    published = files.results.published.next_token if files.results.published else None
    if published and all(code in published.losses for code in pair):
        columns["paper"] = {
            (code, float(value)): ce
            for code in pair
            for value, ce in zip(published.values, published.losses[code], strict=True)
        } | {(code, None): published.no_modification[code] for code in pair}
    coded = files.next_token.as_coded or []
    if coded:
        columns["coded"] = {(row.language, row.value): row.ce for row in coded}
    for name, splice in (("splice", True), ("kept", False)):
        wanted = (files.target, "all", splice)
        own = {
            (cell.language, cell.value): cell.ce
            for cell in files.next_token.cells
            if (cell.units, cell.source, cell.splice) == wanted
            and cell.language in pair
            and cell.edit in ("set", "none")
        }
        if own:
            columns[name] = own
    if "paper" not in columns and "coded" not in columns:
        return
    if list(columns) == ["paper"]:
        yield Paragraph("Appendix C: the sweep was not run.", "absent")
        return
    changes: dict[str, _Losses] = {
        name: {
            (code, value): ce - losses[code, None]
            for (code, value), ce in losses.items()
            if value is not None and (code, None) in losses
        }
        for name, losses in columns.items()
    }
    if "paper" in columns and (same := _same_sign(changes)):
        yield Paragraph(
            f"This run's changes have the same sign as the paper's, where its two digits show one: {same}.",
            "finding",
        )
    values = sorted({value for losses in columns.values() for _, value in losses if value is not None})
    counts = {row.language: row.sentences for row in coded}
    on = (
        f" As coded: means over {' and '.join(str(counts[code]) for code in pair)} sentences."
        if counts
        else ""
    )
    lines: list[Line] = []
    for code in pair:
        for value in (*values, None):
            what = "no modification" if value is None else f"fixed at {short(value)}"
            found = {
                _COLUMNS[name]: _loss(losses, changes[name], (code, value), _digits(name))
                for name, losses in columns.items()
            }
            lines.append({"Language": Cell(language_name(code), what), **found})
        if (raw := find_cell(files, code, "raw", None)) is not None:
            ce = number(raw.ce)
            measured = {_COLUMNS[name]: ce if name in ("splice", "kept") else "–" for name in columns}
            lines.append({"Language": Cell(language_name(code), "raw model"), **measured})
    yield table(
        f"Appendix C, {'beside the paper' if 'paper' in columns else 'as coded'}",
        f"Cross-entropy, nats, and under it the change from no modification.{on} The other columns are means over all "
        "tokens of test.",
        lines,
    )
    target, reference = files.names
    yield Table(
        f"What {target} loses for what {reference} loses",
        "The one change over the other, where both rise and the other by 0.01 nats or more; under it, both.",
        ("Value", *(_COLUMNS[name] for name in columns)),
        [
            (short(value), *(_ratio(own, pair, value, _digits(name)) for name, own in changes.items()))
            for value in values
        ],
    )


def _digits(name: str) -> int:
    return 2 if name == "paper" else 3


def _loss(losses: _Losses, changes: _Losses, key: tuple[str, float | None], digits: int) -> str | Cell:
    if key not in losses:
        return "–"
    return Cell(number(losses[key], digits), signed(changes[key], digits) if key in changes else "")


def _ratio(changes: _Losses, pair: tuple[str, str], value: float, digits: int) -> str | Cell:
    own, other = (changes.get((code, value)) for code in pair)
    if own is None or other is None:
        return "–"
    ratio = own / other if other >= _ROUNDING and own > 0 else None
    return Cell(number(ratio, 1), f"{signed(own, digits)} / {signed(other, digits)}")


def _same_sign(changes: dict[str, _Losses]) -> str:
    """How many of the paper's changes have the same sign here."""
    theirs = {key: change for key, change in changes["paper"].items() if abs(change) > _ROUNDING / 2}
    words = []
    for name, own in changes.items():
        alike = [(change > 0) == (own[key] > 0) for key, change in theirs.items() if key in own]
        if alike and name != "paper":
            words.append(f"{_COLUMNS[name].lower()}, {sum(alike)} of {len(alike)}")
    return "; ".join(words)


# ---- Appendix D: tasks under every value, as coded and controlled

_TaskKey: TypeAlias = tuple[str, str, str, float | None]
# by what the columns are called: protocol and metric
_OURS = {"As coded": ("as_coded", "weighted_f1"), "Controlled, macro F1": ("controlled", "macro_f1")}


def _tasks(files: RunFiles) -> Blocks:
    """The paper's three tasks at its values, whatever of them was set here; nothing of another recipe's."""
    if files.results.published is None:
        return
    published = files.results.published.tasks
    names = list(published.scores)
    rows = [row for row in files.results.tasks or [] if row.task in names and row.splice is True]
    found: dict[_TaskKey, TaskScore] = {
        (row.task, row.protocol, row.metric, row.value): row
        for row in reversed(rows)
        if row.edit == ("none" if row.value is None else "set")
    }
    if not rows:
        yield Paragraph("Its tasks were not set in this run: tasks.names asks for them.", "absent")
    elif said := _same_way(published, found, names):
        yield Paragraph(said, "finding")
    lines: list[Line] = []
    for name in names:
        for value in (*published.values, None):
            score, change = _theirs(published, name, value)
            lines.append(
                {
                    "Task": name,
                    "Value": "no modification" if value is None else short(value),
                    "The paper": Cell(number(score), "" if change is None else signed(change)),
                    **{title: _score(found.get((name, *ours, value))) for title, ours in _OURS.items()},
                }
            )
    yield table(
        "Appendix D, beside the paper",
        f"The paper: {published.metric}. Under each score the change from no modification, and for ours its 95 % "
        "interval.",
        lines,
    )


def _score(row: TaskScore | None) -> str | Cell:
    if row is None or row.value is None:
        return "–" if row is None else number(row.score)
    return Cell(number(row.score), f"{signed(row.delta)} ({interval(row.delta_low, row.delta_high)})")


def _theirs(published: PaperTasks, name: str, value: float | None) -> tuple[float, float | None]:
    """The paper's score, and its change from no modification."""
    none = published.no_modification[name]
    if value is None:
        return none, None
    score = published.scores[name][published.values.index(int(value))]
    return score, score - none


def _same_way(published: PaperTasks, found: dict[_TaskKey, TaskScore], names: Sequence[str]) -> str:
    """How many of the paper's changes have the same sign here; and how many of ours are more than chance."""
    words = []
    for title, ours in _OURS.items():
        pairs = [
            (_theirs(published, name, value)[1], found[(name, *ours, value)])
            for name in names
            for value in published.values
            if (name, *ours, value) in found
        ]
        if not pairs:
            continue
        alike = sum((theirs or 0.0) * own.delta > 0 for theirs, own in pairs)
        clear = sum(own.p is not None and own.p < 0.05 / len(pairs) for _, own in pairs)
        words.append(
            f"{title[0].lower()}{title[1:]}: {alike} of {len(pairs)} changes have the paper's sign, and {clear} "
            f"differ from no modification at p < {0.05 / len(pairs):.2g} (0.05 over their number)"
        )
    return capital(f"{'; '.join(words)}.") if words else ""
