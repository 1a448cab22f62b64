"""What went into a run: text (section 3), the autoencoder (section 5, Table 4), recipe and times (Appendix B)."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, PercentFormatter

from glossae.reporting.canvas import BLUE, GREEN, ORANGE, Figure, Panel
from glossae.reporting.exhibits import Exhibit, Listing, Missing, Note, Value, num, pct, table
from glossae.reporting.reading import Row, RunFiles
from glossae.reporting.verdict import site_words
from glossae.reporting.wording import number, whole
from glossae.results import SaeResult, by_file

_USES = {
    "train": "the autoencoder and the probes",
    "select": "which units",
    "tune": "doses",
    "test": "every claim",
    "panel": "tests of units",
    "replicate": "the same tests again",
}


def text(files: RunFiles) -> Iterator[Exhibit]:
    """The roles with what was read, kept and left out, and the hashes of what they hold."""
    rows = files.results.corpora
    if not rows:
        yield Missing("text", stage="corpora")
        return
    if files.run.get("translations_may_straddle"):
        yield Note("Some text has no pair ids: a sentence and its translation may be in different roles.")
    yield table(
        "Text by role",
        [
            dict(row)
            | {"use": _USES.get(row.role, "–")}
            | {what: _tally(getattr(row, what)) for what in ("dropped", "changed", "moved")}
            for row in rows
            # a source that is not in a language has nothing to tell of it
            if row.read or row.sentences
        ],
        "Role=role; Read for=use; Source=name; Language=language lang; Read=read; Kept=sentences; Tokens=tokens; "
        "Documents=documents; Cut=cut; Dropped=dropped; Mended=changed; To others=moved; SHA-256=sha256",
        cuts="".join(f" {role}: {words}." for role, words in (files.run.get("cuts") or {}).items()),
    )


def _tally(counts: Mapping[str, int]) -> str:
    parts = [f"{whole(count)} {reason.replace('_', ' ')}" for reason, count in counts.items() if count]
    return ", ".join(parts) or "–"


def how(files: RunFiles) -> Iterator[Exhibit]:
    """The recipe, versions and wall times."""
    run = files.run
    # what is recorded of a stage that is still to come is of an earlier run of the folder
    stages = {name: facts for name, facts in (run.get("stages") or {}).items() if name not in files.to_come}
    words = (run.get("throughput") or {}).get("words")
    if stages:
        yield table(
            "Stages",
            [{"stage": name, "gflops": _gflops(facts)} | facts for name, facts in stages.items()],
            "Stage=stage; Seconds=seconds 1; Peak memory (MB)=peak_memory_mb 0; Tokens per second=tokens_per_second 0; "
            "Model GFLOP/s=gflops 1; Fingerprint=fingerprint",
            seconds=number(sum(facts.get("seconds") or 0 for facts in stages.values()), 1),
            # a run that is not complete has that of the one before
            throughput="" if files.to_come or not words else f" Throughput: {words}.",
        )
    count = _made_under(run).get("ranks", 1)
    facts = {
        "Model": files.recipe.model,
        "Model's commit": run.get("model_commit") or "a folder, without one",
        "Protocol": files.recipe.protocol,
        "Seed": run.get("seed", files.recipe.seed),
        "Device": run.get("device"),
        **({"Stages made with another": elsewhere} if (elsewhere := _elsewhere(run, stages)) else {}),
        "Precision": run.get("dtype"),
        "Threads": run.get("threads"),
        **({"Processes that did the run together (ranks)": count} if count > 1 else {}),
        "glossae": run.get("glossae", run.get("sprog")),
        **(run.get("versions") or {}),
    }
    known = {name: str(value) for name, value in facts.items() if value is not None}
    yield table("Surroundings", [{"What": name, "In this run": value} for name, value in known.items()])
    yield Listing("The recipe, every setting resolved", files.recipe.to_yaml())


def _gflops(facts: Row) -> float | None:
    """What language models were run at in a stage; runs of before glossae counted it have none."""
    rate = facts.get("model_flops_per_second")
    return None if rate is None else rate / 1e9


def _made_under(facts: Row) -> dict[str, Any]:
    """What a run or a stage was made under; nothing where that is not known."""
    found = facts.get("made_under")
    return found if isinstance(found, dict) else {}


def _elsewhere(run: Row, stages: Row) -> str:
    """The stages that were made with another torch, device, or number of threads or ranks than the last start has."""
    now, said = _made_under(run), list[str]()
    for name, facts in stages.items():
        before = _made_under(facts) or now
        own = [f"{what} {before[what]}" for what in now if before.get(what, now[what]) != now[what]]
        said += [f"{name} ({', '.join(own)})"] if own else []
    return "; ".join(said)


# ---- the autoencoder

_PANELS = (
    ("fvu", "variance unexplained (FVU)", BLUE),
    ("dead_fraction", "dead latents", ORANGE),
    ("active_per_batch", "latents active per batch", GREEN),
)
# points in a line, beyond which it is drawn thinner: a screen shows no more
_POINTS = 300


def autoencoder(files: RunFiles) -> Iterator[Exhibit]:
    """Table 4, the training log, fidelity by language."""
    sae = files.results.sae
    if not sae:
        yield Missing("the autoencoder", stage="sae")
        return
    facts = _details(files, sae) | _habits(files, sae)
    yield table(
        "Table 4: training details", [{"What": what, "This run": value} for what, value in facts.items()]
    )
    if files.log is not None:
        yield _training(files.log)
    on = f"random sentences of select, doubled until ± is {files.recipe.sae.precision} or there are no more"
    losses = {code: sae.ce[code] for code in files.languages if code in sae.ce}
    fvu = {
        code: {"fvu": sae.fvu.get(code), "in": sae.fvu_within.get(code), "by": sae.fvu_normalised.get(code)}
        for code in losses
    }
    yield table(
        "Fidelity by language",
        [dict(ce) | {"language": code} | fvu[code] for code, ce in losses.items()],
        "Language=language lang; Sentences=sentences; Tokens=tokens; Raw model=raw; Reconstruction=spliced; "
        "±=half_width; Zeros=ablated; Recovered=recovered %1; FVU=fvu; FVU|within=in; FVU|by token=by",
        on="all of select" if files.recipe.by_the_paper else on,
        tokens=whole(sae.tokens),
    )
    if sae.sinks:
        yield table(
            "Attention sinks spliced",
            [
                dict(ce) | {"language": code, "added": ce.spliced - ce.left_alone}
                for code, ce in sae.sinks.items()
            ],
            "Language=language lang; Sentences=sentences; Raw model=raw; Sinks spliced=spliced; "
            "Sinks left alone=left_alone; Added by sinks=added; ±=half_width",
        )


def _details(files: RunFiles, sae: SaeResult) -> dict[str, Value]:
    settings, taken = files.recipe.sae, sae.from_
    activation = sae.activation
    if sae.k is not None:
        activation += f", k = {sae.k}"
    elif settings.l1 is not None and not taken:
        activation += f", L1 weight {settings.l1:g}"
    batch = f"{whole(settings.batch_tokens)} tokens"
    training: dict[str, Value] = {
        "Encoder and decoder": "one matrix" if settings.tied else "separate matrices",
        "Pre-encoder bias": settings.pre_encoder_bias,
        "Batch size": f"{whole(settings.batch_sentences)} sentences" if settings.batch_sentences else batch,
        "Epochs": settings.epochs,
        "Tokens trained on": sae.train_tokens,
    }
    if settings.stream is not None:
        training["Text trained on"] = f"the stream {settings.stream}"
    if words := by_file(sae.streamed):
        training["Tokens by file of the stream"] = words
    return {
        "Site": site_words(files),
        "Width of the site": sae.d_in,
        "Latents": num(sae.latents, 0, f"{number(sae.latents / sae.d_in, 1)} times the width"),
        "Activation": activation,
        **({"Taken from": taken} if taken else training),
        "Tokens measured on": sae.tokens,
        "L0 (latents firing at a token)": num(sae.l0, 1),
        "Dead latents (firing on no token)": pct(sae.dead_fraction, 1),
        "Variance along one direction": pct(sae.top_direction, 1),
        "Variance in the largest 1 % of tokens": pct(sae.top_tokens, 1),
    }


def _habits(files: RunFiles, sae: SaeResult) -> dict[str, Value]:
    """How texts begin, with the losses that say so, and the attention sinks at the site."""
    habits = (files.run.get("habits") or {}).get(files.recipe.model)
    if not habits:
        return {}
    losses = {
        "with a BOS": habits["loss_with_bos"],
        "without a BOS": habits["loss_without_bos"],
        "as replies in a chat": habits.get("loss_in_chat"),
        "in bfloat16": habits.get("loss_in_bfloat16"),
    }
    chat = f"after {len(habits['chat'])} tokens of the chat template" if habits.get("chat") else ""
    facts: dict[str, Value] = {"Texts begin": chat or ("with a BOS" if habits["bos"] else "without a BOS")}
    said = [f"{number(loss, 2)} {how}" for how, loss in losses.items() if loss is not None]
    facts[f"Loss on {habits['sentences']} sentences (nats a token)"] = ", ".join(said) or "–"
    fate = "trained on and edited, as in the paper" if files.recipe.by_the_paper else "left out"
    sinks = [
        row
        for row in habits["sinks"]
        if (row["site"], row["layer"]) == (sae.site, sae.layer) and row["count"]
    ]
    for row in sinks:
        facts[f"Attention sinks, {fate}"] = (
            f"{row['count']} of {whole(row['tokens'])} tokens: norm {whole(row['norm'])}, of others "
            f"{whole(row['median'])}; {row['first']} are first tokens; such as {', '.join(map(repr, row['examples']))}"
        )
    return facts if sinks else facts | {"Attention sinks": "none found at this site"}


def _training(log: pd.DataFrame) -> Figure:
    """FVU, dead latents and active latents per batch, against tokens seen."""
    stride = max(1, len(log) // _POINTS)
    shown = log.iloc[sorted({*range(0, len(log), stride), len(log) - 1})]

    def panel(column: str, title: str, colour: str) -> Panel:
        def paint(axes: Axes) -> None:
            axes.plot(shown["tokens"], shown[column], color=colour, linewidth=1.3)
            axes.set_xlabel("tokens seen")
            axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
            if column == "dead_fraction":
                axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            axes.set_ylim(bottom=0)
            if column == "fvu":
                # the first steps, before the bias and scale have settled, would press the rest flat
                axes.set_ylim(top=max(0.05, min(1.2, float(log[column].max()) * 1.05)))

        return Panel(paint, title)

    drawn = [panel(*part) for part in _PANELS if part[0] in log.columns and log[part[0]].notna().any()]
    return Figure("sae-training", "Training", drawn, log, size=(3.4, 2.3))


def _thousands(value: float, _: object) -> str:
    if value >= 1e6:
        return f"{value / 1e6:g} M"
    return f"{value / 1e3:g} k" if value >= 1e3 else f"{value:g}"
