"""Which layer tells the languages apart (section 4.1)."""

from typing import Any

import pandas as pd

from sprog.report.blocks import Block, Paragraph, Picture, Row, Section, Table, not_run
from sprog.report.figures import draw_layers, draw_probes, probe_table
from sprog.report.reading import RunFiles
from sprog.report.wording import NO_BREAK, language_name, model_name, number, percent, short, whole


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
    if len({row["model"] for row in layers}) == 1 and len(pictures) == 2:
        return [Row(pictures)]
    return [*pictures, *_layer_table(files)]


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
    words = f"The rule ({probe['rule']}) points to layer {best}"
    if used is None:
        return f"{words}."
    if probe.get("chosen_by") == "probe":
        return f"{words}, and this run uses it."
    same = "the same layer" if used == best else f"layer {used}"
    return f"{words}; the recipe names {same}."


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
