"""Which layer tells the languages apart (section 4.1)."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from sprog.report.blocks import Block, Paragraph, Picture, Row, Section, Table, not_run
from sprog.report.figures import draw_layers, draw_probes, probe_table
from sprog.report.reading import RunFiles
from sprog.report.sections.as_coded import as_coded_blocks
from sprog.report.wording import NO_BREAK, counted, language_name, model_name, number, percent, short, whole


def probes_section(files: RunFiles) -> Section:
    """Figure 3, and what the layer rule saw."""
    return Section(
        "probes", "Probes: which layer tells the languages apart", "section 4.1, Figure 3", _blocks(files)
    )


def _blocks(files: RunFiles) -> list[Block]:
    probe = files.section("probe")
    if probe is None:
        return [not_run("Probes")]
    pictures = []
    table = probe_table(probe["cells"])
    own = _own_model(files)
    if not table.empty:
        finding = _accuracy(files, table, own)
        pictures.append(
            Picture(
                "Figure 3",
                draw_probes(probe["cells"], finding),
                finding,
                "A line per lambda, from dark (weak penalty) to light (strong), means over seeds. Hollow marks: "
                "the penalty left no weights in at least one seed, so the accuracy is noise. "
                "Bars: standard error at the smallest lambda.",
            )
        )
    layers = probe.get("layers") or []
    if layers:
        finding = _layer(files)
        pictures.append(
            Picture(
                "The layer rule",
                draw_layers(layers, own, probe.get("layer_used"), finding),
                finding,
                "Binary cross-entropy on held-out sentences at 0.1 times each layer's critical lambda, "
                "so that layers are penalised alike. Bars: standard error over sentences.",
            )
        )
    # one model's two figures fit beside each other
    alone = len({row["model"] for row in layers}) == 1 and len(pictures) == 2
    blocks: list[Block] = [Row(pictures)] if alone else [*pictures, *_layer_table(files)]
    if not table.empty:
        blocks.append(_norms(table[table["model"] == own], own))
    if layers:
        blocks.append(_layers([row for row in layers if row["model"] == own], own))
    return [*blocks, *as_coded_blocks(files, own)]


def _own_model(files: RunFiles) -> str:
    models = [cell["model"] for cell in (files.section("probe") or {})["cells"]]
    # the run's own model is probed first
    return files.recipe.model if files.recipe.model in models or not models else str(models[0])


def _accuracy(files: RunFiles, table: pd.DataFrame, own: str) -> str:
    weakest = table["lambda"].min()
    line = table[(table["model"] == own) & (table["lambda"] == weakest)]
    alive = line[~line["collapsed"]]
    if alive.empty:
        words = (
            f"Even at the smallest lambda, {short(weakest)}, no probe of {model_name(own)} keeps its weights"
        )
    else:
        best = alive.loc[alive["accuracy"].idxmax()]
        worst = alive.loc[alive["accuracy"].idxmin()]
        languages = f"{language_name(files.target)} from {language_name(files.reference)}"
        words = (
            f"At the smallest lambda, {short(weakest)}, the probes of {model_name(own)} tell {languages} on "
            f"{percent(best['accuracy'], digits=1)} of held-out tokens at layer {int(best['layer'])} and on "
            f"{percent(worst['accuracy'], digits=1)} at layer {int(worst['layer'])}"
        )
    dead = int(table["collapsed"].sum())
    if not dead:
        return f"{words}. Every probe keeps its weights."
    alive_at = table.loc[~table["collapsed"], "lambda"]
    all_dead = sorted(value for value in set(table["lambda"]) if (value > alive_at).all())
    words += f". In all, {dead} of {len(table)} probes are left without weights"
    return f"{words}; from lambda {short(all_dead[0])} on, every one is." if all_dead else f"{words}."


def _layer(files: RunFiles) -> str:
    probe = files.section("probe") or {}
    best, used = probe["best_layer"], probe.get("layer_used")
    words = f"{_order(files)}The rule ({probe['rule']}) points to layer {best}"
    if used is None:
        return f"{words}."
    if probe.get("chosen_by") == "probe":
        return f"{words}, and this run uses it."
    same = "the same layer" if used == best else f"layer {used}"
    return f"{words}; the recipe names {same}."


def _order(files: RunFiles) -> str:
    """Whether seeds agree on the order of the layers."""
    own = _own_model(files)
    for row in (files.section("probe") or {}).get("agreement") or []:
        if (row["model"], row["scores"]) == (own, "rule") and row["spearman"] is not None:
            return (
                f"Over {counted(row['seeds'])} seeds the orders of the layers by this loss have a mean rank "
                f"correlation of {number(row['spearman'], 2)}. "
            )
    return ""


def _norms(table: pd.DataFrame, own: str) -> Table:
    """What each penalty leaves of the probes: where it leaves nothing, the norm says so and the accuracy does not."""
    rows = []
    for value in sorted(set(table["lambda"])):
        line = table[table["lambda"] == value]
        alive = line[~line["collapsed"]]
        rows.append(
            (
                short(value),
                f"{len(alive)} of {len(line)}",
                _range([short(norm) for norm in (line["norm"].min(), line["norm"].max())]),
                "–"
                if alive.empty
                else _range(
                    [percent(share, digits=1) for share in (alive["accuracy"].min(), alive["accuracy"].max())]
                ),
            )
        )
    return Table(
        "What the penalty leaves",
        f"Probes of {model_name(own)} by lambda: layers with weights in every seed, the norm over all layers, and the "
        "accuracy of the layers with weights. That of the others is noise.",
        ("Lambda", "Layers with weights", "Norm", "Accuracy where there are weights"),
        rows,
    )


def _layers(layers: Sequence[dict[str, Any]], own: str) -> Table:
    return Table(
        "Layers",
        f"{model_name(own)} at 0.1 times each layer's critical lambda, means over seeds: held-out loss with its "
        "standard error over sentences, the standard deviation between seeds, and the lambda from which on there are "
        "no weights.",
        ("Layer", f"BCE{NO_BREAK}± SE", "Between seeds", "Critical lambda"),
        [
            (
                str(row["layer"]),
                f"{number(row['bce'])} ± {number(row['bce_se'])}",
                number(row.get("bce_sd")),
                number(row.get("critical_lambda"), 2),
            )
            for row in layers
        ],
    )


def _range(ends: Sequence[str]) -> str:
    low, high = ends
    return low if low == high else f"{low} to {high}"


def _layer_table(files: RunFiles) -> list[Block]:
    """The rule's numbers for many models, whose panels are small."""
    layers = (files.section("probe") or {}).get("layers") or []
    if not layers:
        return [Paragraph("The layer rule: not run.", "absent")]
    best: dict[str, dict[str, Any]] = {}
    for row in layers:
        if row["model"] not in best or row["bce"] < best[row["model"]]["bce"]:
            best[row["model"]] = row
    return [
        Table(
            "Best layer by model",
            "The layer with the lowest held-out loss; the rule takes the earliest within one standard error.",
            ("Model", "Layers", "Layer", f"BCE{NO_BREAK}± SE", "Critical lambda"),
            [
                (
                    model,
                    whole(sum(other["model"] == model for other in layers)),
                    str(row["layer"]),
                    f"{number(row['bce'])} ± {number(row['bce_se'])}",
                    number(row.get("critical_lambda"), 2),
                )
                for model, row in best.items()
            ],
        )
    ]
