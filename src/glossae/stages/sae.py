"""The stage `sae`: train the autoencoder, or take a given one, and measure it."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from glossae import ranks
from glossae.errors import GlossaeError
from glossae.files import delete, path_named
from glossae.lm import (
    FoundSinks,
    LanguageModel,
    StreamedTokens,
    TokenizedCorpus,
    activations,
    batches,
    cache_bytes,
)
from glossae.plan import Quantities, Work, bytes_text, count_text, share_of, stream_facts, tokens_of
from glossae.recipe import Recipe, quick_settings
from glossae.results import SaeResult, SinkLosses, StageResults
from glossae.run.context import Context, Inputs, Progress, part
from glossae.run.folder import as_rows, write_table
from glossae.sae import (
    Sae,
    SaeConfig,
    TrainPoint,
    check_fits,
    measure,
    placed,
    read_sae,
    sink_losses,
    untrained,
)
from glossae.stages.shared.sae_jobs import (
    check_kept,
    check_memory,
    step_of,
    train_jobs,
    train_settings,
    training_text,
    training_work,
)
from glossae.stages.stage import Stage, settings_of

SEEDS = 2**32
"""How many seeds there are."""
# tokens of train that an untrained autoencoder takes its centre and scale from
START_TOKENS = 1024

# of a dry run: tokens on which reconstruction is measured where a precision is asked for, and sentences in the first
# sample of losses (glossae.sae.quality, lm.batches)
RECONSTRUCTED, FIRST = 50_000, 32
# bytes of an activation at most, by the recipe's dtype
FLOAT_BYTES = {"auto": 4, "float32": 4, "bfloat16": 2, "float16": 2}
# upper bound on the standard deviation of what splicing adds to a sentence's loss, nats a token: .12 to .3 on the toy,
# tiny-da-en and Gemma-3-270M where it adds less than half a nat; where it adds more, a tenth of it is near enough
SPLICE_SPREAD = 0.5


def inputs(context: Context) -> Inputs:
    """Its settings, what is trained beside it, and the given autoencoder."""
    settings = {
        **settings_of(context.recipe, "sae"),
        "more": sorted(baseline_jobs(context.recipe)),
        "layer": context.site.layer,
        "given": None if context.given is None else context.given.identity,
    }
    text = context.trained_text() if context.given is None else Inputs(("train",))
    return Inputs((*text.roles, "select"), settings | text.settings)


def check_latents(recipe: Recipe, lm: LanguageModel) -> int:
    """How many latents the autoencoder gets.

    Raises:
        GlossaeError: fewer than k, or more than there is memory for.
    """
    width = lm.widths[recipe.site]
    latents = recipe.sae.latents if recipe.sae.latents is not None else (recipe.sae.expansion or 1) * width
    if recipe.sae.activation != "relu" and recipe.sae.k > latents:
        raise GlossaeError(
            f"sae.k: {recipe.sae.k} is more than the {latents} latents (sae.expansion times a width of {width})"
        )
    check_memory(recipe, lm, "sae", latents, [recipe.sae.tied])
    return latents


def latents_planned(context: Context) -> int:
    """The latents of the autoencoder that the recipe names, or of the one to be trained.

    Raises:
        GlossaeError: as `check_latents`.
    """
    given = context.given
    return check_latents(context.recipe, context.lm) if given is None else given.sae.config.latents


def check(context: Context) -> None:
    """Check the autoencoder and the units that the recipe names against the model.

    Raises:
        GlossaeError: the autoencoder cannot be had or belongs elsewhere, or it has no such unit.
    """
    recipe, lm, given = context.recipe, context.lm, context.given
    latents = latents_planned(context)
    check_kept(context)
    if given is not None:
        config = given.sae.config
        if recipe.layer == "auto" and config.site:
            raise GlossaeError(
                f"layer: the autoencoder of sae.from is of layer {config.layer}, and auto may choose another: "
                f"give --layer {config.layer}"
            )
        layer = config.layer if recipe.layer == "auto" else recipe.layer
        check_fits(given.sae, d_in=lm.widths[recipe.site], model=recipe.model, site=recipe.site, layer=layer)
    for unit in recipe.features.units:
        if unit >= latents:
            raise GlossaeError(
                f"features.units: there is no latent {unit}: the autoencoder has 0 to {latents - 1}"
            )


def run(context: Context, progress: Progress) -> StageResults:
    """Train the autoencoder on the target's and the reference's text, or take the given one; measure it on `select`."""
    recipe, site, folder = context.recipe, context.site, context.folder.path / "sae"
    log: list[TrainPoint] = []
    streamed: dict[str, int] = {}
    if context.given is None:
        sae, log, streamed = train_autoencoder(
            context, "sae", part(progress, 0.0, 0.75), more=baseline_jobs(recipe)
        )
        write_table(folder / "log.parquet", as_rows(log))
    else:
        sae = placed(context.given.sae, context.lm.device)
        check_fits(sae, d_in=context.lm.width(site), model=recipe.model, site=site.name, layer=site.layer)
        # a log of an earlier training in this folder is not this one's
        delete(folder / "log.parquet")
    save_sae(sae, folder)
    quality = sae.quality = measure(
        context.lm,
        site,
        sae,
        context.tokens("select"),
        judged=None if recipe.sae.text == "all" else (context.target, context.reference),
        # the paper measures all of its text
        precision=None if recipe.by_the_paper else recipe.sae.precision,
        seed=recipe.seed,
        budget=recipe.batch_tokens,
        progress=part(progress, 0.75, 1.0),
    )
    save_sae(sae, folder)
    if context.given is not None:
        context.given.check_unchanged()
    sinks = _sinks_spliced(context, sae)
    for language, losses in sinks.items():
        context.show.note(
            f"attention sinks at {site} are spliced, as in the paper: the loss in {language} is "
            f"{losses.spliced:.2f} nats a token with the reconstruction in place, {losses.left_alone:.2f} with the "
            f"sinks left alone, {losses.raw:.2f} without it (protocol controlled leaves them alone)"
        )
    config = sae.config
    return StageResults(
        sae=SaeResult(
            **{name: value for name, value in quality if name != "judged"},
            site=site.name,
            layer=site.layer,
            d_in=config.d_in,
            latents=config.latents,
            activation=config.activation,
            k=config.k,
            train_tokens=log[-1].tokens if log else None,
            from_=recipe.sae.from_,
            from_commit=None if context.given is None else context.given.commit,
            unsound=[*sae.unsound, *(_of_little_text(recipe) if sae.unsound else ())],
            sinks=sinks,
            streamed=streamed,
        )
    )


def _of_little_text(recipe: Recipe) -> list[str]:
    """What may mend an unsound autoencoder, if it was trained on no more text than `--quick` takes."""
    limit, quick = recipe.corpora.limit, int(str(quick_settings()["corpora.limit"]))
    if recipe.sae.from_ is not None or recipe.sae.stream is not None or limit is None or limit > quick:
        return []
    return [
        f"It was trained on at most {limit} sentences of each language, no more than --quick takes: with more text, "
        "fewer latents are usually dead, and errors are smaller."
    ]


def _sinks_spliced(context: Context, sae: Sae) -> dict[str, SinkLosses]:
    """What it costs that the paper splices attention sinks; nothing where they are left alone, or there are none."""
    found = [FoundSinks.from_json(row) for row in context.habits["sinks"]]
    here = [each for each in found if each.site == context.site and each.count]
    if not here or not context.recipe.by_the_paper:
        return {}
    return sink_losses(
        context.lm,
        context.site,
        sae,
        here,
        context.pair_tokens("select"),
        seed=context.recipe.seed,
        budget=context.recipe.batch_tokens,
    )


def save_sae(sae: Sae, folder: Path) -> None:
    """Write an autoencoder into a folder of the run's; other ranks wait, however large it is."""
    ranks.meet("an autoencoder that is saved")
    sae.save(folder)
    ranks.wait()


def load_sae(context: Context, folder: Path | None = None) -> Sae:
    """The run's autoencoder, or one that `save_sae` wrote into another folder of the run's."""
    # not `Sae.load`: a run says itself, once, what is unsound
    place = context.folder.path / "sae" if folder is None else folder
    return placed(read_sae(place / "sae.safetensors"), context.lm.device)


def untrained_autoencoders(context: Context, seeds: Sequence[int]) -> list[Sae]:
    """Autoencoders like the run's before their first step, one for each seed: see `glossae.sae.untrained`.

    Of one from elsewhere, whose k is not known, as many latents fire at a token as of that.
    """
    own, recipe = load_sae(context), context.recipe
    config = own.config
    if config.k is None and own.threshold is not None and own.quality is not None:
        config = dataclasses.replace(config, k=min(config.latents, max(1, round(own.quality.l0))))
    kept = context.parts["sae"].arrays("first", lambda: {"x": _first_activations(context).cpu().numpy()})
    first = torch.from_numpy(kept["x"]).to(context.lm.device)
    return [
        untrained(
            config,
            first,
            seed=seed,
            centre=recipe.sae.centre,
            published=recipe.by_the_paper,
            folder=context.folder.path / "sae",
        )
        for seed in seeds
    ]


def _first_activations(context: Context) -> Float[Tensor, "tokens d"]:
    site, tokens = context.site, context.training_tokens()
    parts, count = [], 0
    for one in activations(context.lm, batches(tokens, START_TOKENS, seed=context.recipe.seed), [site]):
        parts.append(one.sites[site].float())
        count += len(parts[-1])
        if count >= START_TOKENS:
            break
    return torch.cat(parts)


def train_autoencoder(
    context: Context,
    folder: str,
    progress: Progress,
    seed: int | None = None,
    more: Mapping[str, dict[str, Any]] = MappingProxyType({}),
) -> tuple[Sae, list[TrainPoint], dict[str, int]]:
    """Train an autoencoder as the recipe says, with checkpoints in `folder` of the run's.

    Args:
        context: the run.
        folder: the stage's, or one within it.
        progress: is told the share that is done.
        seed: of the first weights and of the order of the text; None: the recipe's.
        more: more to train in the same pass, by the name of a folder within `folder`, where they are saved: what is
            different in their `TrainSettings`.

    Returns:
        the autoencoder, its training, and of a stream the tokens of each file.

    Raises:
        GlossaeError: as `train_jobs`.
    """
    recipe, site = context.recipe, context.site
    if seed is not None:
        recipe = recipe.model_copy(update={"seed": seed})
    text, progress = training_text(context, context.lm, site, recipe, progress)
    latents = check_latents(recipe, context.lm)
    config = sae_config(recipe, d_in=context.lm.width(site), latents=latents, layer=site.layer)
    settings = train_settings(recipe, text)
    identity = training_identity(context, seed)
    jobs = [(config, dataclasses.replace(settings, **change)) for change in ({}, *more.values())]
    (sae, log), *others = train_jobs(context, folder, jobs, text, identity, progress)
    words = _trained_on(text.tokens, log[-1].tokens, chat=bool(context.lm.chat))
    sae.trained_on = words
    for name, (other, _) in zip(more, others, strict=True):
        other.trained_on = words
        save_sae(other, context.folder.path / folder / name)
    return sae, log, text.tokens.by_file if isinstance(text.tokens, StreamedTokens) else {}


def wants_baselines(recipe: Recipe) -> bool:
    """Whether the recipe has the stage `baselines`."""
    return recipe.baselines.untrained > 0 and not recipe.by_the_paper


def baseline_jobs(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """What is trained beside the run's autoencoder, for the stage baselines: by name, what is different of each."""
    if not wants_baselines(recipe):
        return {}
    wanted = recipe.baselines
    seeds = {f"seed_{seed}": {"seed": seed} for seed in other_seeds(recipe, wanted.trained)}
    frozen = (recipe.seed, *other_seeds(recipe, wanted.frozen))[: wanted.frozen]
    return seeds | {f"frozen_{seed}": {"seed": seed, "frozen_decoder": True} for seed in frozen}


def other_seeds(recipe: Recipe, count: int) -> tuple[int, ...]:
    """So many seeds beside the run's own; after the last seed comes 0."""
    return tuple((recipe.seed + 1 + number) % SEEDS for number in range(count))


def _trained_on(tokens: TokenizedCorpus | StreamedTokens, trained: int, *, chat: bool) -> str:
    """The text that an autoencoder was trained on, in words."""
    if isinstance(tokens, StreamedTokens):
        words = f"{trained:,} tokens of {tokens}"
    else:
        corpus = tokens.corpus
        words = f"{trained:,} tokens of {' and '.join(corpus.languages)} from {', '.join(corpus.sources)}"
    return f"{words}, as replies in a chat" if chat else words


def training_identity(context: Context, seed: int | None = None) -> str:
    """A fingerprint over whatever decides a bit of a training; checkpoints and measurements afterwards do not."""
    other: dict[str, Any] = {} if seed is None else {"training_seed": seed}
    if seed is None and (more := baseline_jobs(context.recipe)):
        other["more"] = sorted(more)
    text, settings = context.trained_text(), settings_of(context.recipe, "sae", "precision")
    return context.identity(*text.roles, **settings, **text.settings, layer=context.site.layer, **other)


def sae_config(recipe: Recipe, *, d_in: int, latents: int, layer: int) -> SaeConfig:
    """What the recipe's autoencoder is."""
    settings = recipe.sae
    nested = settings.matryoshka
    return SaeConfig(
        d_in=d_in,
        latents=latents,
        k=None if settings.activation == "relu" else settings.k,
        relu=not recipe.by_the_paper,
        model=recipe.model,
        site=recipe.site,
        layer=layer,
        activation=settings.activation,
        tied=settings.tied,
        pre_encoder_bias=settings.pre_encoder_bias,
        matryoshka=(*sorted(nested), latents) if nested else (),
    )


def lines(results: StageResults, target: str, reference: str) -> Iterator[str]:
    """What is unsound about the autoencoder, its size and its FVU."""
    if not (sae := results.sae):
        return
    yield from (f"unsound   {finding}" for finding in sae.unsound)
    # only top-k has k of every token; elsewhere k is at best what was aimed at
    sparsity = f"k {sae.k}" if sae.activation == "topk" else f"L0 {sae.l0:.1f}"
    fvu = ", ".join(f"{language} {value:.3f}" for language, value in sae.fvu.items())
    yield f"sae       {sae.latents} latents, {sparsity}: FVU {fvu}; {sae.dead_fraction:.1%} dead"


def cost(counts: Quantities) -> Work:
    """Training, unless an autoencoder is given, and the measurement on `select`: at most so much of it.

    Raises:
        GlossaeError: there is no such autoencoder, or there are fewer latents than k.
    """
    shape, sae = counts.shape, counts.recipe.sae
    if sae.from_ is not None and not sae.from_.startswith("hub:") and not path_named(sae.from_).exists():
        raise GlossaeError(f"sae.from: {sae.from_}: there is no such file or folder")
    if sae.from_ is None and sae.activation != "relu" and sae.k > counts.latents:
        raise GlossaeError(f"sae.k: {sae.k} is more than the {counts.latents} latents")
    train, together = Work(), 0
    if sae.from_ is None:
        together = 1 + len(baseline_jobs(counts.recipe))
        live = [counts.live_latents] * together
        train = training_work(counts, shape, counts.depth, counts.latents, live, [sae.tied] * together)
    weights = (1 if sae.tied else 2) * counts.d_in * counts.latents
    train = dataclasses.replace(train, written=4 * weights * max(1, together))
    seen, spliced = fidelity_tokens(counts)
    look = counts.forward(seen, counts.depth) + counts.encode(seen)
    codes = counts.encode(spliced)
    losses = counts.forward(spliced, shape.layers, output=True)
    losses += counts.forward(2 * spliced, counts.blocks_above, output=True)
    return train + look + losses.beside(codes)


def fidelity_sentences(counts: Quantities) -> int | None:
    """Sentences of each language, at most, on which losses with the autoencoder spliced in are measured; None: all.

    Samples double until 1.96 standard errors are at most `sae.precision`.
    """
    if counts.recipe.by_the_paper:
        return None
    errors, sample = 1.96 * SPLICE_SPREAD / counts.recipe.sae.precision, FIRST
    wanted = min(errors * errors, max((a.sentences for a in counts.roles["select"].values()), default=0))
    while sample < wanted:
        sample *= 2
    return sample


def fidelity_tokens(counts: Quantities) -> tuple[float, float]:
    """Tokens of `select`, at most, on which reconstruction is measured, and losses."""
    select, most = counts.roles["select"], fidelity_sentences(counts)
    every = tokens_of(select)
    if most is None:
        return every, every
    return min(every, RECONSTRUCTED), sum(a.tokens * share_of(a.sentences, most) for a in select.values())


def words(counts: Quantities) -> str:
    """Site and layer, size, training and measurement."""
    recipe, most = counts.recipe, fidelity_sentences(counts)
    layer = "the layer that the probes choose" if recipe.layer == "auto" else f"layer {recipe.layer}"
    measured = "measured on select"
    if most is not None:
        measured += (
            f" until losses are known to {recipe.sae.precision:g} nats, counted as {most:,} sentences of each "
            "language, which is an upper bound"
        )
    place = f"{recipe.site} at {layer}, width {counts.d_in:,}: "
    if recipe.sae.from_:
        return f"{place}taken from {recipe.sae.from_}, counted as {counts.latents:,} latents; {measured}"
    sparsity = f"k {recipe.sae.k}" if recipe.sae.activation != "relu" else f"L1 weight {recipe.sae.l1:g}"
    over = count_text(counts.sae_tokens * recipe.sae.epochs)
    if recipe.sae.stream is not None:
        kept = bytes_text(cache_bytes(counts.sae_tokens, counts.shape.vocabulary))
        over += f" of sae.stream, whose token ids take up to {kept} in glossae's cache"
    if recipe.sae.activations is not None:
        kept = bytes_text(counts.sae_tokens * recipe.sae.epochs * counts.d_in * FLOAT_BYTES[recipe.dtype])
        over += f"; the activations take up to {kept} in sae.activations"
    return (
        f"{place}{counts.latents:,} latents, {sparsity}, {2 * counts.d_in * counts.latents:,} weights; "
        f"{counts.steps:,} steps of ~{counts.step_tokens:,.0f} tokens over {over} ({_step_words(counts)}); then "
        f"{measured}"
    )


def _step_words(counts: Quantities) -> str:
    """What a step costs; of several ranks, each of them."""
    step = step_of(counts, counts.d_in, counts.latents, counts.live_latents, tied=counts.recipe.sae.tied)
    words = f"{step.flops + step.sparse_flops:.1e} FLOPs, {bytes_text(step.moved)} moved, {bytes_text(step.held)} held"
    if counts.ranks == 1:
        return f"a step: {words}"
    return f"a step of one of {counts.ranks} ranks: {words}, {bytes_text(step.sent)} sent"


STAGE = Stage(
    name="sae",
    does=lambda recipe: f"{'reading' if recipe.sae.from_ else 'training'} the autoencoder",
    run=run,
    inputs=inputs,
    cost=cost,
    words=words,
    lower="batch_tokens, sae.latents (or sae.expansion) or sae.batch_tokens",
    sources=stream_facts,
    check=check,
    lines=lines,
)
