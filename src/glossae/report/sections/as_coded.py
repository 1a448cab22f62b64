"""The paper's own optimisation of its probes, beside the optimum it was to find."""

import pandas as pd

from glossae.report.blocks import Block, Cell, Paragraph, Picture, Table
from glossae.report.figures.as_coded import as_coded_frame, draw_as_coded
from glossae.report.reading import RunFiles
from glossae.report.wording import NO_BREAK, model_name, number, percent, short


def as_coded_blocks(files: RunFiles, own: str) -> list[Block]:
    """A figure and a table; nothing where the recipe did not ask for the replay.

    Args:
        files: the run.
        own: the model that sentences and the table speak of.
    """
    rows = (files.section("probe") or {}).get("as_coded")
    if not rows:
        return []
    table = as_coded_frame(rows)
    table = table[table["model"] == own]
    finding = _finding(table, _agreements(files, own), own)
    return [
        Paragraph(
            f"The paper's code does not solve for the optimum: for this model it takes {_batches(table)} steps of Adam "
            "at a rate of 0.001, on batches of 32 sentences, on raw activations. Here that is replayed on this run's "
            "text, from seeded weights, and set beside the optimum at the same lambda.",
        ),
        Picture(
            "Figure 3 as coded",
            draw_as_coded(rows, finding),
            finding,
            "Means over seeds. Hollow marks: the optimum is exactly zero, so a probe that had reached it would give "
            "one constant answer; bars run from the worst seed to the best.",
        ),
        _by_lambda(table, _agreements(files, own)),
    ]


def _batches(table: pd.DataFrame) -> int:
    """The batches that the probes of one model were stepped on."""
    return int(table["batches"].iloc[0])


def _agreements(files: RunFiles, own: str) -> dict[float, float | None]:
    """By lambda, whether seeds put the layers in the same order by the accuracy of the replayed probes."""
    rows = (files.section("probe") or {}).get("agreement") or []
    return {
        row["lambda"]: row["spearman"] for row in rows if row["model"] == own and row["scores"] == "as_coded"
    }


def _finding(table: pd.DataFrame, agreements: dict[float, float | None], own: str) -> str:
    dead = table[table["collapsed"]]
    if dead.empty:
        return (
            f"At no lambda of this recipe is the optimum of a probe of {model_name(own)} exactly zero, so no "
            "replayed probe merely trembles around it."
        )
    best = dead.sort_values("accuracy_high", kind="stable").iloc[-1]
    span = _span(dead["norm"])
    words = (
        f"{len(dead)} of {len(table)} replayed probes of {model_name(own)} have an optimum of exactly zero. "
        f"{'Their norms are' if ' to ' in span else 'Their norm is'} {span}, and a constant answer is right on "
        f"{percent(dead['constant'].mean(), digits=1)} of held-out tokens; yet with them the accuracy lies between "
        f"{percent(dead['accuracy_low'].min(), digits=1)} and {percent(dead['accuracy_high'].max(), digits=1)} "
        f"(lambda {short(best['lambda'])}, layer {int(best['layer'])})"
    )
    strongest = table["lambda"].max()
    order = agreements.get(strongest)
    if order is None:
        return f"{words}."
    return (
        f"{words}. At lambda {short(strongest)} two seeds' orders of the layers have a rank correlation of "
        f"{number(order, 2)} on average."
    )


def _by_lambda(table: pd.DataFrame, agreements: dict[float, float | None]) -> Table:
    rows: list[list[str | Cell]] = []
    for value in sorted(set(table["lambda"])):
        line = table[table["lambda"] == value]
        rows.append(
            [
                short(value),
                f"{int(line['collapsed'].sum())} of {len(line)}",
                _span(line["optimum_norm"]),
                _span(line["norm"]),
                f"{percent(line['accuracy_low'].min(), digits=1)} to "
                f"{percent(line['accuracy_high'].max(), digits=1)}",
                number(agreements.get(value), 2),
            ]
        )
    return Table(
        "Replayed probes by lambda",
        "Over layers and seeds: how many layers' optimum is exactly zero, the norm at the optimum and after "
        f"{_batches(table)} batches, the accuracy of the latter, and Spearman's correlation of two seeds' orders of "
        "the layers by it.",
        (
            "Lambda",
            "Optimum zero",
            "Norm of the optimum",
            "Norm as coded",
            "Accuracy as coded",
            f"Rank{NO_BREAK}correlation",
        ),
        rows,
    )


def _span(values: "pd.Series[float]") -> str:
    low, high = _small(float(values.min())), _small(float(values.max()))
    return low if low == high else f"{low} to {high}"


def _small(value: float) -> str:
    """Two digits of what may be very small, and no exponent."""
    if value < 1e-9:
        return "0"
    return f"{value:.4f}" if value < 0.01 else f"{value:.2f}"
