"""Figure 3 beside the paper's: how well the languages are told apart, by model and strength of the penalty."""

import math
from collections.abc import Sequence
from statistics import mean

from glossae.report.blocks import Block, Cell, Paragraph, Table
from glossae.report.reading import Row, RunFiles
from glossae.report.wording import number, percent, short

# lambdas are rounded in the paper's tables
_ALIKE = 0.01


def probe_blocks(files: RunFiles) -> list[Block]:
    """Accuracy by model and lambda; and around layer 16 what stands behind it; nothing of another recipe's."""
    published = (files.section("published") or {}).get("probes")
    if published is None:
        return []
    probe = files.section("probe")
    if probe is None:
        return [Paragraph("Figure 3: probes were not run.", "absent")]
    coded, optima = probe.get("as_coded") or [], probe["cells"]
    return [_accuracies(published, coded, optima), *_around(published, coded)]


def _accuracies(published: Row, coded: Sequence[Row], optima: Sequence[Row]) -> Table:
    theirs = {model["model"]: model for model in published["models"]}
    own = dict.fromkeys(row["model"] for row in optima)
    lambdas = [cell["lambda"] for cell in published["models"][0]["accuracy"]]
    rows: list[list[str | Cell]] = []
    for name in dict.fromkeys((*theirs, *own)):
        for value in lambdas:
            line: list[str | Cell] = [name, short(value)]
            their_mean = _at(theirs[name]["accuracy"], value) if name in theirs else []
            their_best = _at(theirs[name]["best"], value) if name in theirs else []
            line.append(
                Cell(
                    percent(their_mean[0]["mean"], digits=1) if their_mean else "–",
                    _layer(their_best[0]) if their_best else "",
                )
            )
            line += [_ours(rows_of, name, value) for rows_of in (coded, optima)]
            rows.append(line)
    return Table(
        "Figure 3, beside the paper",
        "Accuracy on held-out tokens, the mean over layers (and seeds); under it the best layer. The paper's are those "
        "of its code. The optimum of a strong penalty is exactly zero, and its accuracy that of a constant answer.",
        ("Model", "Lambda", "The paper", "As coded", "The optimum"),
        rows,
        words=1,
    )


def _ours(rows: Sequence[Row], model: str, value: float) -> str | Cell:
    layers: dict[int, list[float]] = {}
    for row in _at([row for row in rows if row["model"] == model], value):
        layers.setdefault(row["layer"], []).append(row["accuracy"])
    if not layers:
        return "–"
    means = {layer: mean(values) for layer, values in layers.items()}
    best = max(means, key=lambda layer: means[layer])
    return Cell(percent(mean(means.values()), digits=1), _layer({"layer": best, "accuracy": means[best]}))


def _around(published: Row, coded: Sequence[Row]) -> list[Block]:
    cells = []
    for theirs in published["cells"]:
        own = [
            row
            for row in _at(coded, theirs["lambda"])
            if (row["model"], row["layer"]) == (theirs["model"], theirs["layer"])
        ]
        cells.append((theirs, own[0] if own else None))
    if not any(own for _, own in cells):
        return []
    return [
        Table(
            "Around layer 16 of Pythia 1.4B",
            "What is behind the paper's choice of a layer: where the norm is nothing and the cross-entropy is that of "
            "knowing nothing (0.693), the accuracy is a tremor.",
            ("Lambda", "Layer", "Norm", "As coded", "Cross-entropy", "As coded", "Accuracy", "As coded"),
            [
                (
                    short(theirs["lambda"]),
                    str(theirs["layer"]),
                    *(
                        text
                        for key in ("norm", "bce", "accuracy")
                        for text in (number(theirs[key]), number(own[key] if own else None))
                    ),
                )
                for theirs, own in cells
            ],
        )
    ]


def _at(rows: Sequence[Row], value: float) -> list[Row]:
    return [row for row in rows if math.isclose(row["lambda"], value, rel_tol=_ALIKE)]


def _layer(best: Row) -> str:
    return f"layer {best['layer']}: {percent(best['accuracy'], digits=1)}"
