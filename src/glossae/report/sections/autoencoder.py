"""The autoencoder: how it was trained and how faithful it is (section 5, Table 4)."""

from glossae.report.blocks import Block, Paragraph, Picture, Section, Table, not_run
from glossae.report.figures.training import draw_training
from glossae.report.reading import Row, RunFiles
from glossae.report.sentences import site_words
from glossae.report.wording import language_name, listed, moves, number, percent, plural, whole


def autoencoder_section(files: RunFiles) -> Section:
    """Table 4, the training log, fidelity by language."""
    return Section("autoencoder", "The autoencoder", "section 5, Table 4", _blocks(files))


def _habits(files: RunFiles, sae: Row) -> str:
    """How texts begin, and which tokens are attention sinks at the site."""
    habits = (files.run.get("habits") or {}).get(files.recipe.model)
    if habits is None:
        return ""
    begin = f"Texts begin {'with' if habits['bos'] else 'without'} a BOS"
    if chat := habits.get("chat"):
        begin = (
            f"Texts are read as replies in a chat: {plural(len(chat), 'token')} of the model's chat template stand "
            "before each, and are neither trained on nor edited"
        )
        if habits["loss_in_chat"] is not None and habits["loss_without_bos"] is not None:
            begin += (
                f" (loss on {plural(habits['sentences'], 'sentence')}: {number(habits['loss_in_chat'], 2)} nats "
                f"a token as replies, {number(habits['loss_without_bos'], 2)} by themselves)"
            )
    elif habits["loss_with_bos"] is not None:
        begin += (
            f" (loss on {plural(habits['sentences'], 'sentence')}: {number(habits['loss_with_bos'], 2)} nats a token "
            f"with one, {number(habits['loss_without_bos'], 2)} without)"
        )
    if habits.get("bfloat16"):
        begin += f"; passes are in bfloat16, in which the loss is {number(habits['loss_in_bfloat16'], 3)}"
    here = [
        row
        for row in habits["sinks"]
        if (row["site"], row["layer"], row["count"] > 0) == (sae["site"], sae["layer"], True)
    ]
    if not here:
        return f"{begin}. No attention sinks were found at this site."
    (row,) = here
    fate = "trained on and edited, as in the paper" if files.recipe.by_the_paper else "left out"
    return (
        f"{begin}. Attention sinks: {row['count']} of {whole(row['tokens'])} tokens looked at have a norm of about "
        f"{whole(row['norm'])}, and other tokens one of {whole(row['median'])}; {row['first']} of them are the first "
        f"token of their text; the most frequent are {listed([repr(token) for token in row['examples']])}. "
        f"They are {fate}."
    )


def _blocks(files: RunFiles) -> list[Block]:
    sae = files.section("sae")
    if sae is None:
        return [not_run("The autoencoder")]
    blocks: list[Block] = []
    if sae["unsound"]:
        blocks.append(Paragraph(f"This autoencoder is unsound. {' '.join(sae['unsound'])}", "warning"))
    if habits := _habits(files, sae):
        blocks.append(Paragraph(habits, "note"))
    blocks.append(
        Table(
            "Table 4: training details",
            "The autoencoder and its training.",
            ("What", "This run"),
            _details(files, sae),
            words=2,
        )
    )
    if files.log is not None:
        finding = _training(files)
        blocks.append(
            Picture(
                "Training",
                draw_training(files.log, finding),
                finding,
                "On the batch at each step. FVU: the fraction of the variance that the reconstruction leaves "
                "unexplained.",
            )
        )
    blocks.append(
        Table(
            "Fidelity by language",
            f"{_fidelity(files, sae)} Measured on {_text(files)}, cross-entropy in nats per token. "
            "±: half the width of the 95 % interval of what the reconstruction adds, over sentences. "
            "Recovered: how far the reconstruction closes the gap between zeros in the site's place "
            f"({percent(0)}) and the model itself ({percent(1)}).",
            (
                "Language",
                "Sentences",
                "Tokens",
                "Raw model",
                "Reconstruction in place",
                "±",
                "Zeros in place",
                "Recovered",
            ),
            [_language_row(sae, code) for code in _languages(files, sae)],
        )
    )
    if sinks := sae["sinks"]:
        blocks.append(
            Table(
                "Attention sinks spliced",
                "The paper splices attention sinks like any other token. Here the same sentences have the "
                "reconstruction in the place of every token, and of every token but the sinks. Cross-entropy in nats "
                "per token. ±: half the width of the 95 % interval of what the spliced sinks add, over sentences.",
                (
                    "Language",
                    "Sentences",
                    "Raw model",
                    "Sinks spliced",
                    "Sinks left alone",
                    "Added by sinks",
                    "±",
                ),
                [_sinks_row(code, sinks[code]) for code in sinks],
            )
        )
    blocks.append(
        Table(
            "Reconstruction by language",
            f"The fraction of variance unexplained (FVU), on {whole(sae['tokens'])} tokens of select: around the mean "
            "of the whole text; around the language's own mean, where telling languages apart explains nothing; and as "
            "a mean over tokens of each token's own share, where large tokens count no more than small ones.",
            ("Language", "FVU", "Within the language", "Mean over tokens"),
            [_reconstruction_row(sae, code) for code in _languages(files, sae)],
        )
    )
    return blocks


def _sinks_row(code: str, losses: Row) -> tuple[str, ...]:
    return (
        language_name(code),
        whole(losses["sentences"]),
        *(number(losses[what]) for what in ("raw", "spliced", "left_alone")),
        number(losses["spliced"] - losses["left_alone"]),
        number(losses["half_width"]),
    )


def _details(files: RunFiles, sae: Row) -> list[tuple[str, str]]:
    settings = files.recipe.sae
    batch = (
        f"{whole(settings.batch_sentences)} sentences"
        if settings.batch_sentences
        else f"{whole(settings.batch_tokens)} tokens"
    )
    if sae.get("from"):
        training = [("Taken from", sae["from"])]
    else:
        training = [
            ("Encoder and decoder", "one matrix" if settings.tied else "separate matrices"),
            ("Pre-encoder bias", "yes" if settings.pre_encoder_bias else "no"),
            ("Batch size", batch),
            ("Epochs", str(settings.epochs)),
            ("Tokens trained on", whole(sae.get("train_tokens"))),
        ]
    return [
        ("Site", site_words(files)),
        ("Width of the site", whole(sae["d_in"])),
        ("Latents", f"{whole(sae['latents'])} ({number(sae['latents'] / sae['d_in'], 1)} times the width)"),
        ("Activation", _activation(files, sae)),
        *training,
        ("Tokens measured on", whole(sae["tokens"])),
        ("L0 (latents firing at a token)", number(sae["l0"], 1)),
        ("Dead latents (firing on no token)", percent(sae["dead_fraction"], digits=1)),
        ("Variance along one direction", percent(sae["top_direction"], digits=1)),
        ("Variance in the largest 1 % of tokens", percent(sae["top_tokens"], digits=1)),
    ]


def _activation(files: RunFiles, sae: Row) -> str:
    if sae["k"] is not None:
        return f"{sae['activation']}, k = {sae['k']}"
    weight = files.recipe.sae.l1
    return str(sae["activation"]) + ("" if weight is None or sae.get("from") else f", L1 weight {weight:g}")


def _languages(files: RunFiles, sae: Row) -> list[str]:
    return [code for code in files.languages if code in sae["fvu"] or code in (sae["ce"] or {})]


def _language_row(sae: Row, code: str) -> tuple[str, ...]:
    ce = (sae["ce"] or {}).get(code) or {}
    return (
        language_name(code),
        whole(ce.get("sentences")),
        whole(ce.get("tokens")),
        *(number(ce.get(what)) for what in ("raw", "spliced", "half_width", "ablated")),
        _recovered(ce.get("recovered")),
    )


def _reconstruction_row(sae: Row, code: str) -> tuple[str, ...]:
    return (
        language_name(code),
        *(number(sae[what].get(code)) for what in ("fvu", "fvu_within", "fvu_normalised")),
    )


def _text(files: RunFiles) -> str:
    """The text that losses are measured on."""
    if files.recipe.by_the_paper:
        return "all of select"
    return (
        f"random sentences of select, doubled until ± is {files.recipe.sae.precision:g} or there are no more"
    )


def _recovered(share: float | None) -> str:
    # below zero the reconstruction is worse than zeros
    return "–" if share is None else percent(share, digits=1) if share >= 0 else f"{number(100 * share, 1)} %"


def _fidelity(files: RunFiles, sae: Row) -> str:
    parts = []
    for code in (files.target, files.reference):
        ce = (sae["ce"] or {}).get(code)
        if ce:
            parts.append(f"the {language_name(code)} loss {moves(ce['spliced'] - ce['raw'])}")
    if not parts:
        return "What the reconstruction costs was not measured."
    return f"With the reconstruction in the site's place, {listed(parts)}."


def _training(files: RunFiles) -> str:
    assert files.log is not None
    first, last = files.log.iloc[0], files.log.iloc[-1]
    dead = percent(last["dead_fraction"], digits=1) if last["dead_fraction"] else "none"
    return (
        f"Over {whole(last['tokens'])} tokens the variance unexplained went from {percent(first['fvu'])} to "
        f"{percent(last['fvu'])}; at the end {dead} of the latents {'was' if dead == 'none' else 'were'} dead."
    )
