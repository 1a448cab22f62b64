"""Which layer tells the languages apart (section 4.1)."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from glossae.report.blocks import Block, Cell, Paragraph, Picture, Row, Section, Table, not_run
from glossae.report.figures.layers import draw_layers, draw_nearest
from glossae.report.figures.probes import draw_probes, probe_table
from glossae.report.reading import RunFiles
from glossae.report.sections.as_coded import as_coded_blocks
from glossae.report.wording import (
    NO_BREAK,
    counted,
    interval,
    language_name,
    listed,
    model_name,
    number,
    percent,
    plural,
    short,
    whole,
)


def probes_section(files: RunFiles) -> Section:
    """Figure 3, and what the layer rule saw."""
    return Section(
        "probes", "Probes: which layer tells the languages apart", "section 4.1, Figure 3", _blocks(files)
    )


def _blocks(files: RunFiles) -> list[Block]:
    probe = files.section("probe")
    if probe is None:
        return [not_run("Probes")]
    if probe.get("nearest") is not None and not probe["cells"]:
        return _nearest(files)
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
                "The layer rule" if probe.get("nearest") is None else "The pair alone",
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
    return [*_nearest(files), *blocks, *as_coded_blocks(files, own)]


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
    # folders of before have one rule, that of the pair
    pair = probe.get("pair") or {"layer": probe["best_layer"], "rule": probe["rule"]}
    best, used = pair["layer"], probe.get("layer_used")
    words = f"{_order(files)}The rule ({pair['rule']}) points to layer {best}"
    if probe.get("nearest") is not None:
        pair_names = f"{language_name(files.target)} against {language_name(files.reference)}"
        words = f"{_order(files)}By {pair_names} alone, the rule ({pair['rule']}) would point to layer {best}"
        return f"{words}; the nearest language decides, and this run uses layer {used}."
    if used is None:
        return f"{words}."
    if probe.get("chosen_by") == "probe":
        return f"{words}, and this run uses it."
    same = "the same layer" if used == best else f"layer {used}"
    return f"{words}; the recipe names {same}."


def _nearest(files: RunFiles) -> list[Block]:
    """The choice by the nearest language, or that it could not be made; nothing in folders without it."""
    probe = files.section("probe") or {}
    found = probe.get("nearest")
    if found is None:
        if probe.get("only_pair") is None:
            return []
        target, reference = language_name(files.target), language_name(files.reference)
        return [
            Paragraph(
                f"The layer rule can only see {target} against {reference}. A layer that tells these two apart may not "
                f"tell {target} from a closer language. Give text in more languages (corpora.panel, "
                "languages.others).",
                "warning",
            )
        ]
    rows, candidates, chosen = found["rows"], found["candidates"], found["chosen"]
    best = max(rows, key=lambda row: row["score"])
    worst = min(rows, key=lambda row: row["score"])
    finding = f"{_told(files, best)}, and {_least(worst)} at layer {worst['layer']}. {_settled(found)}" + (
        "" if probe.get("layer_used") in (None, chosen) else f" The recipe names layer {probe['layer_used']}."
    )
    by_probe = [float(row["probe"]["auroc"]) for row in rows]
    counts = [f"{language_name(code)} {whole(count)}" for code, count in found["sentences"].items()]
    picture = Picture(
        "The nearest language by layer",
        draw_nearest(rows, candidates, chosen, finding),
        finding,
        f"The least AUROC of a sentence of {language_name(files.target)} over one of another language, by layer: by "
        "the difference of means, and by an L2 logistic regression on standardised sentence means. Pairs are split in "
        f"halves, one to fit and one to test, {plural(found['seeds'], 'time')}. Below 0.5, sentences of the other "
        f"language lie further along the difference. By the regression alone it is {number(min(by_probe), 2)} to "
        f"{number(max(by_probe), 2)} over all layers. Bars: 95 % intervals over held-out sentences. Shaded: the layers "
        "within one standard error of the best, four at most, spread over the depth. "
        f"Sentences: {listed(counts)}; of the panel's half on which units are found.",
    )
    return [picture, _nearest_layers(rows, candidates), *_trials(files, found)]


def _least(row: dict[str, Any]) -> str:
    return number(row["score"], 2)


def _told(files: RunFiles, row: dict[str, Any]) -> str:
    weaker = min((row["difference"], row["probe"]), key=lambda method: float(method["auroc"]))
    return (
        f"{language_name(files.target)} is told best from its nearest other language, "
        f"{language_name(weaker['nearest'])}, at layer {row['layer']}: the weaker of both methods has an AUROC of "
        f"{_least(row)} there"
    )


def _settled(found: dict[str, Any]) -> str:
    """What chose among the candidates."""
    chosen, trials = found["chosen"], found["trials"]
    if not trials:
        return f"No other layer is within one standard error, so layer {chosen} is chosen."
    layers = listed([str(layer) for layer in found["candidates"]])
    latents = sum(trial["found"] for trial in trials if trial["layer"] == chosen)
    every = f"with an AUROC of {short(found['minimum'])} or more against every other language"
    if not latents:
        return (
            f"At layers {layers} short autoencoders find no latent {every}; layer {chosen}, where one comes closest, "
            "is chosen."
        )
    return (
        f"Short autoencoders at layers {layers} settle it: layer {chosen} is chosen, where they find "
        f"{plural(latents, 'latent')} {every}."
    )


def _nearest_layers(rows: Sequence[dict[str, Any]], candidates: Sequence[int]) -> Table:
    def cells(method: dict[str, Any]) -> tuple[Cell, str]:
        spread = "" if method["se_seeds"] is None else f"SE{NO_BREAK}{number(method['se_seeds'])} over seeds"
        known = interval(method["low"], method["high"], 2)
        below = f"{known}; {spread}" if spread else known
        return Cell(f"{number(method['auroc'], 2)}", below), language_name(method["nearest"])

    return Table(
        "Layers by the nearest language",
        "Least held-out AUROC against another language with its 95 % interval over sentences, and that language.",
        ("Layer", "Candidate", "Nearest by difference", "Nearest by probe", "Difference of means", "Probe"),
        [
            (
                str(row["layer"]),
                "yes" if row["layer"] in candidates else "",
                by_difference[1],
                by_probe[1],
                by_difference[0],
                by_probe[0],
            )
            for row in rows
            for by_difference, by_probe in [(cells(row["difference"]), cells(row["probe"]))]
        ],
        words=4,
    )


def _trials(files: RunFiles, found: dict[str, Any]) -> list[Block]:
    if not found["trials"]:
        return []
    return [
        Table(
            "Short autoencoders at the candidates",
            f"Two sizes of TopK autoencoders a layer, trained on {whole(found['train_tokens'])} tokens, two epochs. "
            f"Found: latents that rank sentences of {language_name(files.target)} above those of every other language "
            f"with an AUROC of {short(found['minimum'])} or more; best: the largest least AUROC of a latent. They only "
            "choose the layer, and no claim is made of these latents.",
            ("Layer", "Latents", "k", "FVU", "Found", "Best"),
            [
                (
                    str(trial["layer"]),
                    whole(trial["latents"]),
                    str(trial["k"]),
                    number(trial["fvu"], 2),
                    whole(trial["found"]),
                    number(trial["best_auroc"], 2),
                )
                for trial in found["trials"]
            ],
        )
    ]


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
