"""Which layer tells the languages apart: the probes and the layer rules (section 4.1, Figure 3)."""

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from glossae.reporting.blocks import Blocks, Cell, Paragraph, Picture, SideBySide, Table, not_run, table
from glossae.reporting.canvas import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    PALE,
    QUIET,
    Drawing,
    draw,
    panels,
    rows_of,
)
from glossae.reporting.reading import RunFiles, frame
from glossae.reporting.wording import (
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
    span,
    visible,
    whole,
)
from glossae.results import (
    AsCodedRow,
    NearestLanguage,
    NearestLayer,
    ProbeCell,
    ProbeLayer,
    ProbeResult,
    Separation,
)

# an optimum that is exactly zero is reached to rounding
_ZERO = 1e-9
_METHODS = {"difference": ("difference of means", BLUE), "probe": ("standardised probe", GREEN)}
"""The two methods of the rule by the nearest language: their names in the figure, and their colours."""
_HOLLOW: Any = {"linestyle": "none", "marker": "o", "markerfacecolor": "white", "markeredgecolor": PALE}


def probes_blocks(files: RunFiles) -> Blocks:
    """Figure 3, what the layer rules saw, and the paper's own optimisation where it was replayed."""
    probe = files.results.probe
    if not probe:
        yield not_run("Probes")
        return
    yield from _nearest(files, probe)
    layers, own = probe.layers, files.recipe.model
    if not layers:
        # the nearest language chose, and the paper's probes were not asked for
        return
    pictures, means = list[Picture](), _probe_table(probe.cells)
    if not means.empty:
        finding = _accuracy(files, means, own)
        pictures.append(
            Picture(
                "Figure 3",
                _draw_by_layer("figure-3-probes", means, _paint_probes, finding),
                finding,
                "A line per lambda, from dark (weak penalty) to light (strong), means over seeds. Hollow marks: "
                "the penalty left no weights in at least one seed, so the accuracy is noise. "
                "Bars: standard error at the smallest lambda.",
            )
        )
    finding = _order(probe, own) + _layer(files, probe)
    pictures.append(
        Picture(
            "The layer rule" if probe.nearest is None else "The pair alone",
            _draw_layers(layers, own, probe.layer_used, finding),
            finding,
            "Binary cross-entropy on held-out sentences at 0.1 times each layer's critical lambda, "
            "so that layers are penalised alike. Bars: standard error over sentences.",
        )
    )
    # one model's two figures fit beside each other
    if len({row.model for row in layers}) == 1 and len(pictures) == 2:
        yield SideBySide(pictures)
    else:
        yield from pictures
        yield _best_layers(layers)
    if not means.empty:
        yield _norms(means[means["model"] == own], own)
    yield table(
        "Layers",
        f"{model_name(own)} at 0.1 times each layer's critical lambda, means over seeds: held-out loss with its "
        "standard error over sentences, the standard deviation between seeds, and the lambda from which on there "
        "are no weights.",
        [
            {
                "Layer": str(row.layer),
                f"BCE{NO_BREAK}± SE": f"{number(row.bce)} ± {number(row.bce_se)}",
                "Between seeds": number(row.bce_sd),
                "Critical lambda": number(row.critical_lambda, 2),
            }
            for row in layers
            if row.model == own
        ],
    )
    if probe.as_coded:
        yield from _as_coded(probe, probe.as_coded, own)


# ---- accuracy by layer and lambda


def _probe_table(cells: Sequence[ProbeCell]) -> pd.DataFrame:
    """Means over seeds of the grid's cells, by model, layer and lambda, and whether any seed collapsed."""
    found = frame([cell for cell in cells if not cell.rule])
    if found.empty:
        return found
    # models keep the order in which they were probed
    found["model"] = pd.Categorical(found["model"], categories=list(dict.fromkeys(found["model"])))
    means = found.groupby(["model", "layer", "lambda"], observed=True, as_index=False).agg(
        accuracy=("accuracy", "mean"),
        accuracy_se=("accuracy_se", "mean"),
        bce=("bce", "mean"),
        norm=("norm", "mean"),
        critical_lambda=("critical_lambda", "mean"),
        seeds=("seed", "nunique"),
        collapsed=("collapsed", "any"),
    )
    means["model"] = means["model"].astype(str)
    return means


def _draw_by_layer(
    name: str,
    numbers: pd.DataFrame,
    paint_model: Callable[[Axes, pd.DataFrame, dict[float, str]], None],
    description: str,
) -> Drawing:
    """Held-out accuracy by layer, a panel per model, with one legend of lambdas from dark (weak) to light (strong)."""
    models = list(dict.fromkeys(numbers["model"]))
    lambdas = sorted(set(numbers["lambda"]))
    scale = matplotlib.colormaps["viridis"]
    # the lightest end of the scale cannot be seen on white
    shares = [0.88 * place / max(len(lambdas) - 1, 1) for place in range(len(lambdas))]
    colours = {value: to_hex(scale(share)) for value, share in zip(lambdas, shares, strict=True)}
    columns = min(len(models), 3)

    def paint(figure: Figure) -> None:
        axes = panels(figure, len(models), columns, sharey=True)
        for panel, model in zip(axes, models, strict=True):
            paint_model(panel, numbers[numbers["model"] == model], colours)
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            panel.set_title(visible(model_name(model)))
            panel.set_xlabel("layer")
        for panel in axes[::columns]:
            panel.set_ylabel("held-out accuracy")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", title="lambda")

    size = (2.1 + 3.9 * columns, 0.5 + 3.1 * rows_of(len(models), columns))
    return draw(name, size, paint, numbers, description)


def _paint_probes(panel: Axes, means: pd.DataFrame, colours: dict[float, str]) -> None:
    for value, colour in colours.items():
        line = means[means["lambda"] == value].sort_values("layer")
        alive, dead = line[~line["collapsed"]], line[line["collapsed"]]
        if not dead.empty:
            panel.plot(line["layer"], line["accuracy"], color=FAINT, linewidth=0.9, zorder=1.5)
            panel.plot(dead["layer"], dead["accuracy"], zorder=1.8, **_HOLLOW)
        # a gap in the line where a layer's probe is nothing
        heard = line["accuracy"].where(~line["collapsed"])
        panel.plot(line["layer"], heard, color=colour, marker="o", label=short(value))
        if value == min(colours):
            bars = alive["accuracy_se"]
            panel.errorbar(
                alive["layer"], alive["accuracy"], yerr=bars, fmt="none", ecolor=colour, capsize=2.5
            )
    if means["collapsed"].any():
        panel.plot([], [], label="no weights", **_HOLLOW)
    panel.axhline(0.5, color=QUIET, linewidth=0.8, linestyle=":")


def _accuracy(files: RunFiles, means: pd.DataFrame, own: str) -> str:
    weakest = means["lambda"].min()
    line = means[(means["model"] == own) & (means["lambda"] == weakest)]
    alive = line[~line["collapsed"]]
    if alive.empty:
        words = (
            f"Even at the smallest lambda, {short(weakest)}, no probe of {model_name(own)} keeps its weights"
        )
    else:
        best, worst = alive.loc[alive["accuracy"].idxmax()], alive.loc[alive["accuracy"].idxmin()]
        words = (
            f"At the smallest lambda, {short(weakest)}, the probes of {model_name(own)} tell "
            f"{' from '.join(files.names)} on {percent(best['accuracy'], digits=1)} of held-out tokens at layer "
            f"{int(best['layer'])} and on {percent(worst['accuracy'], digits=1)} at layer {int(worst['layer'])}"
        )
    dead = int(means["collapsed"].sum())
    if not dead:
        return f"{words}. Every probe keeps its weights."
    alive_at = means.loc[~means["collapsed"], "lambda"]
    all_dead = sorted(value for value in set(means["lambda"]) if (value > alive_at).all())
    words += f". In all, {dead} of {len(means)} probes are left without weights"
    return f"{words}; from lambda {short(all_dead[0])} on, every one is." if all_dead else f"{words}."


def _norms(means: pd.DataFrame, own: str) -> Table:
    """What each penalty leaves of the probes: where it leaves nothing, the norm says so and the accuracy does not."""
    lines: list[dict[str | Cell, str | Cell]] = []
    for value in sorted(set(means["lambda"])):
        line = means[means["lambda"] == value]
        alive = line[~line["collapsed"]]["accuracy"]
        lines.append(
            {
                "Lambda": short(value),
                "Layers with weights": f"{len(alive)} of {len(line)}",
                "Norm": span(short(line["norm"].min()), short(line["norm"].max())),
                "Accuracy where there are weights": "–"
                if alive.empty
                else span(percent(alive.min(), digits=1), percent(alive.max(), digits=1)),
            }
        )
    return table(
        "What the penalty leaves",
        f"Probes of {model_name(own)} by lambda: layers with weights in every seed, the norm over all layers, and the "
        "accuracy of the layers with weights. That of the others is noise.",
        lines,
    )


# ---- the rule on the pair


def _draw_layers(layers: Sequence[ProbeLayer], model: str, used: int | None, description: str) -> Drawing:
    """Held-out BCE by layer with its standard error, the best layer's band, and the layer that `model` uses."""
    numbers = frame(layers)
    models = list(dict.fromkeys(numbers["model"]))
    columns = min(len(models), 3)

    def paint(figure: Figure) -> None:
        axes = panels(figure, len(models), columns)
        for panel, name in zip(axes, models, strict=True):
            line = numbers[numbers["model"] == name].sort_values("layer")
            best = line.loc[line["bce"].idxmin()]
            low, high = best["bce"] - best["bce_se"], best["bce"] + best["bce_se"]
            panel.axhspan(low, high, color=FAINT, alpha=0.6, linewidth=0, label="best ± 1 SE")
            style: Any = {"color": QUIET, "marker": "o", "capsize": 3, "linewidth": 1.4}
            panel.errorbar(line["layer"], line["bce"], yerr=line["bce_se"], **style)
            mark = line[line["layer"] == used]
            if name == model and not mark.empty:
                panel.plot(
                    mark["layer"], mark["bce"], "D", color=ORANGE, markersize=9, label="used", zorder=3
                )
            panel.set_title(visible(name), color=INK)
            panel.set_xlabel("layer")
            panel.set_ylim(bottom=0)
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
            panel.legend()
        for panel in axes[::columns]:
            panel.set_ylabel("held-out BCE (nats per token)")

    size = (0.5 + 3.9 * columns, 0.5 + 3.1 * rows_of(len(models), columns))
    return draw("layer-rule", size, paint, numbers, description)


def _order(probe: ProbeResult, own: str) -> str:
    """Whether seeds agree on the order of the layers."""
    for row in probe.agreement:
        if (row.model, row.scores) == (own, "rule") and row.spearman is not None:
            return (
                f"Over {counted(row.seeds)} seeds the orders of the layers by this loss have a mean rank "
                f"correlation of {number(row.spearman, 2)}. "
            )
    return ""


def _layer(files: RunFiles, probe: ProbeResult) -> str:
    pair = probe.pair
    if pair is None:
        return ""
    best, used = pair.layer, probe.layer_used
    if probe.nearest is not None:
        return (
            f"By {' against '.join(files.names)} alone, the rule ({pair.rule}) would point to layer {best}; the "
            f"nearest language decides, and this run uses layer {used}."
        )
    words = f"The rule ({pair.rule}) points to layer {best}"
    if probe.chosen_by == "probe":
        return f"{words}, and this run uses it."
    return f"{words}; the recipe names {'the same layer' if used == best else f'layer {used}'}."


def _best_layers(layers: Sequence[ProbeLayer]) -> Table:
    """The rule's numbers for many models, whose panels are small."""
    best: dict[str, ProbeLayer] = {}
    for row in layers:
        if row.model not in best or row.bce < best[row.model].bce:
            best[row.model] = row
    return table(
        "Best layer by model",
        "The layer with the lowest held-out loss; the rule takes the earliest within one standard error.",
        [
            {
                "Model": model,
                "Layers": whole(sum(row.model == model for row in layers)),
                "Layer": str(row.layer),
                f"BCE{NO_BREAK}± SE": f"{number(row.bce)} ± {number(row.bce_se)}",
                "Critical lambda": number(row.critical_lambda, 2),
            }
            for model, row in best.items()
        ],
    )


# ---- the rule by the nearest language


def _nearest(files: RunFiles, probe: ProbeResult) -> Blocks:
    """The choice by the nearest language, or that it could not be made."""
    found = probe.nearest
    target, reference = files.names
    if found is None:
        if probe.only_pair is not None:
            yield Paragraph(
                f"The layer rule can only see {target} against {reference}. A layer that tells these two apart may not "
                f"tell {target} from a closer language. Give text in more languages (corpora.panel, "
                "languages.others).",
                "warning",
            )
        return
    rows, candidates, chosen = found.rows, found.candidates, found.chosen
    best = max(rows, key=lambda row: row.score)
    worst = min(rows, key=lambda row: row.score)
    weaker = min((best.difference, best.probe), key=lambda method: method.auroc)
    finding = (
        f"{target} is told best from its nearest other language, {language_name(weaker.nearest)}, at layer "
        f"{best.layer}: the weaker of both methods has an AUROC of {number(best.score, 2)} there, and "
        f"{number(worst.score, 2)} at layer {worst.layer}. {_settled(found)}"
    )
    if probe.layer_used not in (None, chosen):
        finding += f" The recipe names layer {probe.layer_used}."
    by_probe = [row.probe.auroc for row in rows]
    counts = [f"{language_name(code)} {whole(count)}" for code, count in found.sentences.items()]
    yield Picture(
        "The nearest language by layer",
        _draw_nearest(rows, candidates, chosen, finding),
        finding,
        f"The least AUROC of a sentence of {target} over one of another language, by layer: by "
        "the difference of means, and by an L2 logistic regression on standardised sentence means. Pairs are split in "
        f"halves, one to fit and one to test, {plural(found.seeds, 'time')}. Below 0.5, sentences of the other "
        f"language lie further along the difference. By the regression alone it is {number(min(by_probe), 2)} to "
        f"{number(max(by_probe), 2)} over all layers. Bars: 95 % intervals over held-out sentences. Shaded: the layers "
        "within one standard error of the best, four at most, spread over the depth. "
        f"Sentences: {listed(counts)}; of the panel's half on which units are found.",
    )
    yield table(
        "Layers by the nearest language",
        "Least held-out AUROC against another language with its 95 % interval over sentences, and that language.",
        [
            {
                "Layer": str(row.layer),
                "Candidate": "yes" if row.layer in candidates else "",
                "Nearest by difference": language_name(row.difference.nearest),
                "Nearest by probe": language_name(row.probe.nearest),
                "Difference of means": _auroc(row.difference),
                "Probe": _auroc(row.probe),
            }
            for row in rows
        ],
        words=4,
    )
    if found.trials:
        yield table(
            "Short autoencoders at the candidates",
            f"Two sizes of TopK autoencoders a layer, trained on {whole(found.train_tokens)} tokens, two epochs. "
            f"Found: latents that rank sentences of {target} above those of every other language "
            f"with an AUROC of {short(found.minimum)} or more; best: the largest least AUROC of a latent. They only "
            "choose the layer, and no claim is made of these latents.",
            [
                {
                    "Layer": str(trial.layer),
                    "Latents": whole(trial.latents),
                    "k": str(trial.k),
                    "FVU": number(trial.fvu, 2),
                    "Found": whole(trial.found),
                    "Best": number(trial.best_auroc, 2),
                }
                for trial in found.trials
            ],
        )


def _auroc(method: Separation) -> Cell:
    ends = interval(method.low, method.high, 2)
    if method.se_seeds is not None:
        ends += f"; SE{NO_BREAK}{number(method.se_seeds)} over seeds"
    return Cell(number(method.auroc, 2), ends)


def _settled(found: NearestLanguage) -> str:
    """What chose among the candidates."""
    chosen, trials = found.chosen, found.trials
    if not trials:
        return f"No other layer is within one standard error, so layer {chosen} is chosen."
    layers = listed([str(layer) for layer in found.candidates])
    latents = sum(trial.found for trial in trials if trial.layer == chosen)
    every = f"with an AUROC of {short(found.minimum)} or more against every other language"
    if not latents:
        return (
            f"At layers {layers} short autoencoders find no latent {every}; layer {chosen}, where one comes closest, "
            "is chosen."
        )
    return (
        f"Short autoencoders at layers {layers} settle it: layer {chosen} is chosen, where they find "
        f"{plural(latents, 'latent')} {every}."
    )


def _draw_nearest(
    rows: Sequence[NearestLayer], candidates: Sequence[int], chosen: int, description: str
) -> Drawing:
    """Least held-out AUROC by layer for both methods with 95 % intervals, the candidates, and the layer chosen."""
    numbers = pd.DataFrame(
        [
            {"layer": row.layer, "method": name} | getattr(row, method).model_dump(exclude={"by_language"})
            for row in rows
            for method, (name, _) in _METHODS.items()
        ]
    )

    def paint(figure: Figure) -> None:
        (panel,) = panels(figure, 1, 1)
        panel.axhline(0.5, color=QUIET, linewidth=1, linestyle=":")
        for layer in candidates:
            label = "candidate" if layer == candidates[0] else None
            panel.axvspan(layer - 0.4, layer + 0.4, color=FAINT, alpha=0.6, linewidth=0, label=label)
        for shift, (name, colour) in zip((-0.08, 0.08), _METHODS.values(), strict=True):
            line = numbers[numbers["method"] == name]
            # an interval of draws need not hold its estimate to the last digit
            ends = (line["auroc"] - line["low"], line["high"] - line["auroc"])
            bars = [end.clip(lower=0) for end in ends]
            style: Any = {"color": colour, "marker": "o", "capsize": 3, "linewidth": 1.4, "label": name}
            panel.errorbar(line["layer"] + shift, line["auroc"], yerr=bars, **style)
        (mark,) = (row for row in rows if row.layer == chosen)
        panel.plot([chosen], [mark.score], "D", color=ORANGE, markersize=9, label="chosen", zorder=3)
        panel.set_xlabel("layer")
        panel.set_ylabel("AUROC against the nearest language")
        panel.set_ylim(min(0.45, float(numbers["low"].min())), 1.02)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.legend()

    return draw("nearest-language", (6.4, 3.6), paint, numbers, description)


# ---- the paper's own optimisation


def _as_coded(probe: ProbeResult, rows: Sequence[AsCodedRow], own: str) -> Blocks:
    """The replay of the paper's optimiser beside the optimum: a figure of every model, a table of the run's own."""
    numbers = frame(rows)
    means = numbers[numbers["model"] == own]
    batches = int(means["batches"].iloc[0])
    # by lambda, whether seeds put the layers in the same order by the accuracy of the replayed probes
    agreement = {
        row.penalty: row.spearman
        for row in probe.agreement
        if (row.model, row.scores) == (own, "as_coded") and row.penalty is not None
    }
    finding = _replayed(means, agreement, own)
    yield Paragraph(
        f"The paper's code does not solve for the optimum: for this model it takes {batches} steps of Adam "
        "at a rate of 0.001, on batches of 32 sentences, on raw activations. Here that is replayed on this run's "
        "text, from seeded weights, and set beside the optimum at the same lambda."
    )
    yield Picture(
        "Figure 3 as coded",
        _draw_by_layer("probes-as-coded", numbers, _paint_replayed, finding),
        finding,
        "Means over seeds. Hollow marks: the optimum is exactly zero, so a probe that had reached it would give "
        "one constant answer; bars run from the worst seed to the best.",
    )
    lines: list[dict[str | Cell, str | Cell]] = []
    for value in sorted(set(means["lambda"])):
        line = means[means["lambda"] == value]
        low, high = line["accuracy_low"].min(), line["accuracy_high"].max()
        lines.append(
            {
                "Lambda": short(value),
                "Optimum zero": f"{int(line['collapsed'].sum())} of {len(line)}",
                "Norm of the optimum": _norm_span(line["optimum_norm"]),
                "Norm as coded": _norm_span(line["norm"]),
                "Accuracy as coded": interval(low, high, 1, percent),
                f"Rank{NO_BREAK}correlation": number(agreement.get(value), 2),
            }
        )
    yield table(
        "Replayed probes by lambda",
        "Over layers and seeds: how many layers' optimum is exactly zero, the norm at the optimum and after "
        f"{batches} batches, the accuracy of the latter, and Spearman's correlation of two seeds' orders of "
        "the layers by it.",
        lines,
    )


def _paint_replayed(panel: Axes, means: pd.DataFrame, colours: dict[float, str]) -> None:
    for value, colour in colours.items():
        line = means[means["lambda"] == value].sort_values("layer")
        dead = line[line["collapsed"]]
        panel.plot(line["layer"], line["accuracy"], color=colour, marker="o", label=short(value))
        bars = [dead["accuracy"] - dead["accuracy_low"], dead["accuracy_high"] - dead["accuracy"]]
        style: Any = {"fmt": "o", "markerfacecolor": "white", "elinewidth": 0.8, "zorder": 3}
        style |= {"markeredgecolor": colour, "ecolor": colour}
        panel.errorbar(dead["layer"], dead["accuracy"], yerr=bars, **style)
    constant = means.groupby("layer")["constant"].mean()
    panel.plot(constant.index, constant, color=QUIET, linewidth=0.8, linestyle=":", label="constant answer")


def _replayed(means: pd.DataFrame, agreement: dict[float, float | None], own: str) -> str:
    dead = means[means["collapsed"]]
    if dead.empty:
        return (
            f"At no lambda of this recipe is the optimum of a probe of {model_name(own)} exactly zero, so no "
            "replayed probe merely trembles around it."
        )
    best = dead.sort_values("accuracy_high", kind="stable").iloc[-1]
    norms = _norm_span(dead["norm"])
    words = (
        f"{len(dead)} of {len(means)} replayed probes of {model_name(own)} have an optimum of exactly zero. "
        f"{'Their norms are' if ' to ' in norms else 'Their norm is'} {norms}, and a constant answer is right on "
        f"{percent(dead['constant'].mean(), digits=1)} of held-out tokens; yet with them the accuracy lies between "
        f"{percent(dead['accuracy_low'].min(), digits=1)} and {percent(dead['accuracy_high'].max(), digits=1)} "
        f"(lambda {short(best['lambda'])}, layer {int(best['layer'])})"
    )
    strongest = means["lambda"].max()
    order = agreement.get(strongest)
    if order is None:
        return f"{words}."
    return (
        f"{words}. At lambda {short(strongest)} two seeds' orders of the layers have a rank correlation of "
        f"{number(order, 2)} on average."
    )


def _norm_span(norms: "pd.Series[float]") -> str:
    return span(_small(float(norms.min())), _small(float(norms.max())))


def _small(value: float) -> str:
    """Two digits of what may be very small, and no exponent."""
    if value < _ZERO:
        return "0"
    return f"{value:.4f}" if value < 0.01 else f"{value:.2f}"
