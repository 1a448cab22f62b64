"""Which layer tells the languages apart: the probes and the layer choice (section 4.1, Figure 3)."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from glossae.reporting.canvas import BLUE, FAINT, GREEN, INK, ORANGE, PALE, QUIET, Figure, Panel
from glossae.reporting.exhibits import Exhibit, Missing, Note, table
from glossae.reporting.reading import RunFiles, frame
from glossae.reporting.wording import (
    interval,
    language_name,
    listed,
    model_name,
    number,
    percent,
    short,
    span,
    whole,
)
from glossae.results import NearestLanguage, ProbeCell, ProbeLayer

_METHODS = {"difference": ("difference of means", BLUE), "probe": ("standardised probe", GREEN)}
"""The two methods of the layer choice by the nearest language: their names in the figure, and their colours."""
_HOLLOW: Any = {"linestyle": "none", "marker": "o", "markerfacecolor": "#ffffff", "markeredgecolor": PALE}
_LAYER = "BCE=bce; ± SE=bce_se; Between seeds=bce_sd; Critical lambda=critical_lambda 2"


def probes(files: RunFiles) -> Iterator[Exhibit]:
    """Figure 3, what the layer choice saw, and the paper's own optimisation where it was replayed."""
    probe = files.results.probe
    if not probe:
        yield Missing("probes", stage="probe")
        return
    if probe.nearest is not None:
        yield from _nearest(probe.nearest)
    elif probe.only_pair is not None:
        target, reference = files.names
        yield Note(
            f"The layer choice compares {target} with {reference} only. A layer that tells these two apart may not "
            f"tell {target} from a closer language. Give text in more languages (corpora.panel, languages.others)."
        )
    layers, own = probe.layers, files.recipe.model
    if not layers:
        # the nearest language chose, and the paper's probes were not asked for
        return
    means, model = _means(probe.cells), model_name(own)
    if not means.empty:
        drawn = _by_model(means, _paint_probes)
        yield Figure("figure-3-probes", "Figure 3", drawn, means, size=(3.6, 2.9), share=True)
    orders = [row.spearman for row in probe.agreement if (row.model, row.scores) == (own, "rule")]
    order = (
        f" Seeds agree on the order of layers to a rank correlation of {number(orders[0], 2)}."
        if any(orders)
        else ""
    )
    choice = f" Layer choice: {probe.pair.rule}, layer {probe.pair.layer}." if probe.pair else ""
    yield _by_pair(layers, own, probe.layer_used, choice + order)
    if len({row.model for row in layers}) > 1:
        best = {row.model: row for row in sorted(layers, key=lambda row: -row.bce)}
        yield table("Best layer by model", best.values(), f"Model=model; Layer=layer; {_LAYER}")
    mine = [row for row in layers if row.model == own]
    yield table("Layers", mine, f"Layer=layer; {_LAYER}", model=model)
    if not means.empty:
        lines = []
        ours = means[means["model"] == own]
        for value in sorted(set(ours["lambda"])):
            line = ours[ours["lambda"] == value]
            alive = line[~line["collapsed"]]["accuracy"]
            accuracy = "–" if alive.empty else span(percent(alive.min(), 1), percent(alive.max(), 1))
            lines.append(
                {"Lambda": short(value), "Layers with weights": f"{len(alive)} of {len(line)}"}
                | {"Norm": span(short(line["norm"].min()), short(line["norm"].max()))}
                | {"Accuracy where there are weights": accuracy}
            )
        yield table("What the penalty leaves", lines, model=model)
    if probe.as_coded:
        # by lambda, whether seeds put the layers in the same order by the accuracy of the replayed probes
        coded = [row for row in probe.agreement if (row.model, row.scores) == (own, "as_coded")]
        yield from _as_coded(frame(probe.as_coded), {row.penalty: row.spearman for row in coded}, own)


# ---- accuracy by layer and lambda


def _means(cells: Sequence[ProbeCell]) -> pd.DataFrame:
    """Means over seeds of the grid's cells, by model, layer and lambda, and whether any seed collapsed."""
    found = frame([cell for cell in cells if not cell.rule])
    if found.empty:
        return found
    # models keep the order in which they were probed
    found["model"] = pd.Categorical(found["model"], categories=list(dict.fromkeys(found["model"])))
    averaged = ("accuracy", "accuracy_se", "bce", "norm", "critical_lambda")
    means = found.groupby(["model", "layer", "lambda"], observed=True, as_index=False).agg(
        **{name: (name, "mean") for name in averaged},
        seeds=("seed", "nunique"),
        collapsed=("collapsed", "any"),
    )
    means["model"] = means["model"].astype(str)
    return means


def _by_model(
    numbers: pd.DataFrame, paint: Callable[[Axes, pd.DataFrame, dict[float, float]], None]
) -> list[Panel]:
    """Held-out accuracy by layer, a panel per model, lambdas from dark (weak) to light (strong)."""
    lambdas = sorted(set(numbers["lambda"]))
    shades = {value: 1 - 0.78 * place / max(len(lambdas) - 1, 1) for place, value in enumerate(lambdas)}

    def panel(model: str) -> Panel:
        def painted(axes: Axes) -> None:
            paint(axes, numbers[numbers["model"] == model], shades)
            _by_layer(axes, "held-out accuracy")
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))

        return Panel(painted, model_name(model))

    return [panel(model) for model in dict.fromkeys(numbers["model"])]


def _by_layer(axes: Axes, what: str) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("layer")
    axes.set_ylabel(what)


def _paint_probes(axes: Axes, means: pd.DataFrame, shades: dict[float, float]) -> None:
    for value, shade in shades.items():
        line = means[means["lambda"] == value].sort_values("layer")
        alive, dead = line[~line["collapsed"]], line[line["collapsed"]]
        if not dead.empty:
            axes.plot(line["layer"], line["accuracy"], color=FAINT, linewidth=0.9, zorder=1.5)
            axes.plot(dead["layer"], dead["accuracy"], zorder=1.8, **_HOLLOW)
        # a gap in the line where a layer's probe is nothing
        heard = line["accuracy"].where(~line["collapsed"])
        axes.plot(line["layer"], heard, color=BLUE, alpha=shade, marker="o", label=f"λ {short(value)}")
        if value == min(shades):
            bars: Any = {"fmt": "none", "ecolor": BLUE, "capsize": 2.5}
            axes.errorbar(alive["layer"], alive["accuracy"], yerr=alive["accuracy_se"], **bars)
    if means["collapsed"].any():
        axes.plot([], [], label="no weights", **_HOLLOW)
    axes.axhline(0.5, color=QUIET, linewidth=0.8, linestyle=":")


# ---- the layer choice by the pair


def _by_pair(layers: Sequence[ProbeLayer], model: str, used: int | None, said: str) -> Figure:
    """Held-out BCE by layer with its standard error, the best layer's band, and the layer that `model` uses."""
    numbers = frame(layers)

    def panel(name: str) -> Panel:
        def paint(axes: Axes) -> None:
            line = numbers[numbers["model"] == name].sort_values("layer")
            best = line.sort_values("bce").iloc[0]
            low, high = best["bce"] - best["bce_se"], best["bce"] + best["bce_se"]
            axes.axhspan(low, high, color=FAINT, alpha=0.6, linewidth=0, label="best ± 1 SE")
            style: Any = {"color": QUIET, "marker": "o", "capsize": 3, "linewidth": 1.4}
            axes.errorbar(line["layer"], line["bce"], yerr=line["bce_se"], **style)
            mark = line[line["layer"] == used]
            if name == model and not mark.empty:
                axes.plot(mark["layer"], mark["bce"], "D", color=ORANGE, markersize=9, label="used", zorder=3)
            axes.set_ylim(bottom=0)
            _by_layer(axes, "held-out BCE (nats per token)")

        return Panel(paint, model_name(name))

    drawn = [panel(name) for name in dict.fromkeys(numbers["model"])]
    return Figure(
        "layer-choice", "Layer choice by the pair", drawn, numbers, size=(3.6, 2.9), facts={"said": said}
    )


# ---- the layer choice by the nearest language


def _nearest(found: NearestLanguage) -> Iterator[Exhibit]:
    """The choice by the nearest language."""
    counts = [f"{language_name(code)} {whole(count)}" for code, count in found.sentences.items()]
    numbers = pd.DataFrame(
        [
            {"layer": row.layer, "method": name} | getattr(row, method).model_dump(exclude={"by_language"})
            for row in found.rows
            for method, (name, _) in _METHODS.items()
        ]
    )

    def paint(axes: Axes) -> None:
        axes.axhline(0.5, color=QUIET, linewidth=1, linestyle=":")
        for layer in found.candidates:
            label = "candidate" if layer == found.candidates[0] else None
            axes.axvspan(layer - 0.4, layer + 0.4, color=FAINT, alpha=0.6, linewidth=0, label=label)
        for shift, (name, colour) in zip((-0.08, 0.08), _METHODS.values(), strict=True):
            line = numbers[numbers["method"] == name]
            # an interval of draws need not hold its estimate to the last digit
            bars = [end.clip(lower=0) for end in (line["auroc"] - line["low"], line["high"] - line["auroc"])]
            style: Any = {"color": colour, "marker": "o", "capsize": 3, "linewidth": 1.4, "label": name}
            axes.errorbar(line["layer"] + shift, line["auroc"], yerr=bars, **style)
        score = next(row.score for row in found.rows if row.layer == found.chosen)
        axes.plot([found.chosen], [score], "D", color=ORANGE, markersize=9, label="chosen", zorder=3)
        axes.set_ylim(min(0.45, float(numbers["low"].min())), 1.02)
        _by_layer(axes, "AUROC against the nearest language")

    facts = {"seeds": found.seeds, "sentences": listed(counts)}
    label = "The nearest language by layer"
    yield Figure("nearest-language", label, [Panel(paint)], numbers, size=(4.0, 3.4), facts=facts)
    taken = dict.fromkeys(found.candidates, "yes") | {found.chosen: "chosen"}
    yield table(
        "Layers by the nearest language",
        [dict(row) | {"taken": taken.get(row.layer, "–")} for row in found.rows],
        "Layer=layer; Candidate=taken; Nearest by difference=difference.nearest lang; Nearest by probe=probe.nearest "
        "lang; Difference of means=difference.auroc[difference.low,difference.high] 2; SE over seeds|difference="
        "difference.se_seeds; Probe=probe.auroc[probe.low,probe.high] 2; SE over seeds|probe=probe.se_seeds",
    )
    if found.trials:
        yield table(
            "Short autoencoders at the candidates",
            found.trials,
            "Layer=layer; Latents=latents; k=k; FVU=fvu 2; Found=found; Best=best_auroc 2",
            tokens=whole(found.train_tokens),
            minimum=short(found.minimum),
        )


# ---- the paper's own optimisation


def _as_coded(
    numbers: pd.DataFrame, agreement: dict[float | None, float | None], own: str
) -> Iterator[Exhibit]:
    """The replay of the paper's optimiser beside the optimum: a figure of every model, a table of the run's own."""
    means = numbers[numbers["model"] == own]
    facts: dict[str, Any] = {"batches": int(means["batches"].iloc[0])}
    drawn = _by_model(numbers, _paint_replayed)
    yield Figure(
        "probes-as-coded", "Figure 3 as coded", drawn, numbers, size=(3.6, 2.9), share=True, facts=facts
    )
    lines: list[dict[str, Any]] = []
    for value in sorted(set(means["lambda"])):
        line = means[means["lambda"] == value]
        lines.append(
            {"Lambda": short(value), "Optimum zero": f"{int(line['collapsed'].sum())} of {len(line)}"}
            | {
                "Norm of the optimum": _norm_span(line["optimum_norm"]),
                "Norm as coded": _norm_span(line["norm"]),
            }
            | {
                "Accuracy as coded": interval(
                    line["accuracy_low"].min(), line["accuracy_high"].max(), 1, percent
                )
            }
            | {
                "Constant answer": percent(line["constant"].mean(), 1),
                "Rank correlation": agreement.get(value),
            }
        )
    yield table("Replayed probes by lambda", lines, **facts)


def _paint_replayed(axes: Axes, means: pd.DataFrame, shades: dict[float, float]) -> None:
    for value, shade in shades.items():
        line = means[means["lambda"] == value].sort_values("layer")
        dead = line[line["collapsed"]]
        axes.plot(
            line["layer"], line["accuracy"], color=BLUE, alpha=shade, marker="o", label=f"λ {short(value)}"
        )
        bars = [dead["accuracy"] - dead["accuracy_low"], dead["accuracy_high"] - dead["accuracy"]]
        style: Any = {"fmt": "o", "markerfacecolor": "#ffffff", "elinewidth": 0.8, "zorder": 3}
        axes.errorbar(dead["layer"], dead["accuracy"], yerr=bars, color=BLUE, alpha=shade, **style)
    constant = means.groupby("layer")["constant"].mean()
    axes.plot(constant.index, constant, color=INK, linewidth=0.8, linestyle=":", label="constant answer")


def _norm_span(norms: "pd.Series[float]") -> str:
    """Two digits of what may be very small, and no exponent; an optimum that is exactly zero is reached to rounding."""
    ends = (float(norms.min()), float(norms.max()))
    low, high = ("0" if value < 1e-9 else f"{value:.{4 if value < 0.01 else 2}f}" for value in ends)
    return span(low, high)
