"""The autoencoder: how it was trained and how faithful it is (section 5, Table 4)."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from glossae.reporting.blocks import Blocks, Paragraph, Picture, not_run, table
from glossae.reporting.canvas import BLUE, GREEN, ORANGE, Drawing, draw
from glossae.reporting.findings import site_words
from glossae.reporting.reading import Row, RunFiles
from glossae.reporting.wording import language_name, listed, moves, number, percent, plural, whole
from glossae.results import SaeResult

_PANELS = (
    ("fvu", "variance unexplained (FVU)", BLUE),
    ("dead_fraction", "dead latents", ORANGE),
    ("active_per_batch", "latents active per batch", GREEN),
)
# points in a line, beyond which it is drawn thinner: a screen shows no more
_POINTS = 600


def autoencoder_blocks(files: RunFiles) -> Blocks:
    """Table 4, the training log, fidelity by language."""
    sae = files.results.sae
    if not sae:
        yield not_run("The autoencoder")
        return
    if sae.unsound:
        yield Paragraph(f"This autoencoder is unsound. {' '.join(sae.unsound)}", "warning")
    if habits := (files.run.get("habits") or {}).get(files.recipe.model):
        yield Paragraph(f"{_beginnings(habits)}. {_sinks(files, sae, habits)}", "note")
    yield table(
        "Table 4: training details",
        "The autoencoder and its training.",
        [{"What": what, "This run": value} for what, value in _details(files, sae).items()],
        words=2,
    )
    if files.log is not None:
        finding = _training(files.log)
        yield Picture(
            "Training",
            _draw_training(files.log, finding),
            finding,
            "On the batch at each step. FVU: the fraction of the variance that the reconstruction leaves unexplained.",
        )
    yield from _fidelity(files, sae)


def _beginnings(habits: Row) -> str:
    """How texts begin, and the loss that they were chosen to begin so by."""
    begin = f"Texts begin {'with' if habits['bos'] else 'without'} a BOS"
    on = f"loss on {plural(habits['sentences'], 'sentence')}"
    alone = number(habits["loss_without_bos"], 2)
    if chat := habits.get("chat"):
        begin = (
            f"Texts are read as replies in a chat: {plural(len(chat), 'token')} of the model's chat template stand "
            "before each, and are neither trained on nor edited"
        )
        if habits["loss_in_chat"] is not None and habits["loss_without_bos"] is not None:
            begin += (
                f" ({on}: {number(habits['loss_in_chat'], 2)} nats a token as replies, {alone} by themselves)"
            )
    elif habits["loss_with_bos"] is not None:
        begin += f" ({on}: {number(habits['loss_with_bos'], 2)} nats a token with one, {alone} without)"
    if habits.get("bfloat16"):
        begin += f"; passes are in bfloat16, in which the loss is {number(habits['loss_in_bfloat16'])}"
    return begin


def _sinks(files: RunFiles, sae: SaeResult, habits: Row) -> str:
    """Which tokens are attention sinks at the site."""
    at_site = [row for row in habits["sinks"] if (row["site"], row["layer"]) == (sae.site, sae.layer)]
    here = [row for row in at_site if row["count"] > 0]
    if not here:
        return "No attention sinks were found at this site."
    (row,) = here
    fate = "trained on and edited, as in the paper" if files.recipe.by_the_paper else "left out"
    return (
        f"Attention sinks: {row['count']} of {whole(row['tokens'])} tokens looked at have a norm of about "
        f"{whole(row['norm'])}, and other tokens one of {whole(row['median'])}; {row['first']} of them are the first "
        f"token of their text; the most frequent are {listed([repr(token) for token in row['examples']])}. "
        f"They are {fate}."
    )


def _details(files: RunFiles, sae: SaeResult) -> dict[str, str]:
    settings, taken = files.recipe.sae, sae.from_
    activation = sae.activation
    if sae.k is not None:
        activation += f", k = {sae.k}"
    elif settings.l1 is not None and not taken:
        activation += f", L1 weight {settings.l1:g}"
    training = {
        "Encoder and decoder": "one matrix" if settings.tied else "separate matrices",
        "Pre-encoder bias": "yes" if settings.pre_encoder_bias else "no",
        "Batch size": f"{whole(settings.batch_sentences)} sentences"
        if settings.batch_sentences
        else f"{whole(settings.batch_tokens)} tokens",
        "Epochs": str(settings.epochs),
        "Tokens trained on": whole(sae.train_tokens),
    }
    return {
        "Site": site_words(files),
        "Width of the site": whole(sae.d_in),
        "Latents": f"{whole(sae.latents)} ({number(sae.latents / sae.d_in, 1)} times the width)",
        "Activation": activation,
        **({"Taken from": taken} if taken else training),
        "Tokens measured on": whole(sae.tokens),
        "L0 (latents firing at a token)": number(sae.l0, 1),
        "Dead latents (firing on no token)": percent(sae.dead_fraction, digits=1),
        "Variance along one direction": percent(sae.top_direction, digits=1),
        "Variance in the largest 1 % of tokens": percent(sae.top_tokens, digits=1),
    }


def _fidelity(files: RunFiles, sae: SaeResult) -> Blocks:
    """What the reconstruction costs and leaves unexplained, by language."""
    losses = {code: sae.ce[code] for code in files.languages if code in sae.ce}
    parts = [
        f"the {language_name(code)} loss {moves(losses[code].spliced - losses[code].raw)}"
        for code in files.languages[:2]
    ]
    text = (
        "all of select"
        if files.recipe.by_the_paper
        else f"random sentences of select, doubled until ± is {files.recipe.sae.precision:g} or there are no more"
    )
    yield table(
        "Fidelity by language",
        f"With the reconstruction in the site's place, {listed(parts)}. Measured on {text}, cross-entropy in nats per "
        "token. ±: half the width of the 95 % interval of what the reconstruction adds, over sentences. Recovered: how "
        f"far the reconstruction closes the gap between zeros in the site's place ({percent(0)}) and the model itself "
        f"({percent(1)}).",
        [
            {
                "Language": language_name(code),
                "Sentences": whole(ce.sentences),
                "Tokens": whole(ce.tokens),
                "Raw model": number(ce.raw),
                "Reconstruction in place": number(ce.spliced),
                "±": number(ce.half_width),
                "Zeros in place": number(ce.ablated),
                "Recovered": _recovered(ce.recovered),
            }
            for code, ce in losses.items()
        ],
    )
    if sae.sinks:
        yield table(
            "Attention sinks spliced",
            "The paper splices attention sinks like any other token. Here the same sentences have the "
            "reconstruction in the place of every token, and of every token but the sinks. Cross-entropy in nats "
            "per token. ±: half the width of the 95 % interval of what the spliced sinks add, over sentences.",
            [
                {
                    "Language": language_name(code),
                    "Sentences": whole(ce.sentences),
                    "Raw model": number(ce.raw),
                    "Sinks spliced": number(ce.spliced),
                    "Sinks left alone": number(ce.left_alone),
                    "Added by sinks": number(ce.spliced - ce.left_alone),
                    "±": number(ce.half_width),
                }
                for code, ce in sae.sinks.items()
            ],
        )
    yield table(
        "Reconstruction by language",
        f"The fraction of variance unexplained (FVU), on {whole(sae.tokens)} tokens of select: around the mean "
        "of the whole text; around the language's own mean, where telling languages apart explains nothing; and as "
        "a mean over tokens of each token's own share, where large tokens count no more than small ones.",
        [
            {
                "Language": language_name(code),
                "FVU": number(sae.fvu.get(code)),
                "Within the language": number(sae.fvu_within.get(code)),
                "Mean over tokens": number(sae.fvu_normalised.get(code)),
            }
            for code in losses
        ],
    )


def _recovered(share: float | None) -> str:
    # below zero the reconstruction is worse than zeros
    return "–" if share is None else percent(share, digits=1) if share >= 0 else f"{number(100 * share, 1)} %"


def _training(log: pd.DataFrame) -> str:
    first, last = log.iloc[0], log.iloc[-1]
    dead = percent(last["dead_fraction"], digits=1) if last["dead_fraction"] else "none"
    return (
        f"Over {whole(last['tokens'])} tokens the variance unexplained went from {percent(first['fvu'])} to "
        f"{percent(last['fvu'])}; at the end {dead} of the latents {'was' if dead == 'none' else 'were'} dead."
    )


def _draw_training(log: pd.DataFrame, description: str) -> Drawing:
    """FVU, dead latents and active latents per batch, against tokens seen."""
    stride = max(1, len(log) // _POINTS)
    shown = log.iloc[sorted({*range(0, len(log), stride), len(log) - 1})]
    drawn = [part for part in _PANELS if part[0] in log.columns and log[part[0]].notna().any()]

    def paint(figure: Figure) -> None:
        axes = figure.subplots(1, len(drawn), squeeze=False)[0]
        for panel, (column, title, colour) in zip(axes, drawn, strict=True):
            panel.plot(shown["tokens"], shown[column], color=colour, linewidth=1.3)
            panel.set_title(title)
            panel.set_xlabel("tokens seen")
            panel.xaxis.set_major_formatter(FuncFormatter(_thousands))
            if column == "dead_fraction":
                panel.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            panel.set_ylim(bottom=0)
            if column == "fvu":
                # the first steps, before the bias and scale have settled, would press the rest flat
                panel.set_ylim(top=max(0.05, min(1.2, float(log[column].max()) * 1.05)))

    return draw("sae-training", (3.6 * len(drawn), 2.9), paint, log, description)


def _thousands(value: float, _: object) -> str:
    if value >= 1e6:
        return f"{value / 1e6:g} M"
    return f"{value / 1e3:g} k" if value >= 1e3 else f"{value:g}"
