"""Training autoencoders on a site's activations: the run's, those of other seeds, a grid."""

import dataclasses
import itertools
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from glossae import meter, ranks
from glossae.errors import GlossaeError
from glossae.files import fingerprint, make_folder, path_named
from glossae.lm import (
    LanguageModel,
    Passes,
    Site,
    StreamedTokens,
    TokenizedCorpus,
    batches,
    in_chunks,
    in_text_order,
    own_activations,
    pad,
    require_finite,
    resolve_device,
    stored_activations,
)
from glossae.plan import Quantities, Shape, Work, bytes_text, memory_bytes
from glossae.recipe import Recipe
from glossae.results import by_file
from glossae.run.context import Context, Progress, model_identity, part
from glossae.run.folder import CHECKPOINTS
from glossae.sae import (
    KEPT,
    OPERATIONS,
    Checkpoints,
    Mixer,
    Sae,
    SaeConfig,
    StepCost,
    TrainPoint,
    TrainSettings,
    step_cost,
    train_group,
)

# activations mixed at a time, in values: 32 Mi float32 values are 128 MiB
POOL_VALUES = 2**25
# and those of the sentences that are brought into a random order at a time: 64 MiB
CHUNK_VALUES = 2**24
SECONDS_A_MINUTE = 60
# share of the progress that tokenizing a stream is counted as
TOKENIZING = 0.1
# bytes of activations that are kept on disk for the length of a training
MOST_STORED = 8e9


@dataclass(frozen=True)
class TrainingText:
    """Text and a site to train on, and how it is cut into steps.

    Attributes:
        lm: the model.
        site: where its activations are taken.
        tokens: the text, or of a stream what is kept of it on disk.
        recipe: says how many epochs, how large a step, and the seed.
        kept: where `sae.activations` keeps activations, if it does.
    """

    lm: LanguageModel
    site: Site
    tokens: TokenizedCorpus | StreamedTokens
    recipe: Recipe
    kept: Passes | None = None

    @property
    def once(self) -> int:
        """Tokens of one epoch."""
        return (
            self.tokens.tokens if isinstance(self.tokens, StreamedTokens) else int(self.tokens.lengths.sum())
        )

    @property
    def total(self) -> int:
        """Tokens of all epochs together, less the attention sinks that are to be expected."""
        sinks = self.lm.sinks.get(self.site)
        kept = 1.0 if sinks is None else 1 - sinks.share
        return round(self.once * self.recipe.sae.epochs * kept)

    @property
    def stored(self) -> bool:
        """Whether activations are kept on disk, so that several epochs take one pass of the model."""
        settings = self.recipe.sae
        many = settings.epochs > 1 and settings.batch_sentences is None
        return many and isinstance(self.tokens, TokenizedCorpus) and self._bytes_once <= MOST_STORED

    @property
    def bytes_kept(self) -> int:
        """Bytes that `sae.activations` keeps of this text: each epoch has other batches, unless one pass is stored."""
        return self._bytes_once * (1 if self.stored else self.recipe.sae.epochs)

    @property
    def _bytes_once(self) -> int:
        size: int = self.once * self.lm.width(self.site) * self.lm.model.dtype.itemsize
        return size

    @property
    def steps(self) -> int:
        """Optimiser steps of all epochs together."""
        settings = self.recipe.sae
        if settings.batch_sentences is None:
            return math.ceil(self.total / settings.batch_tokens)
        return math.ceil(len(self.tokens) / settings.batch_sentences) * settings.epochs

    def mixer(self) -> Mixer:
        """A mixer of tokens; with the paper's batches of whole sentences it lets them through."""
        settings = self.recipe.sae
        # no larger than what there is to mix, or memory would be kept for tokens that never come
        size = min(settings.batch_tokens, self.total) if settings.batch_sentences is None else None
        generator = torch.Generator().manual_seed(self.recipe.seed)
        return Mixer(size, min(POOL_VALUES // self.lm.width(self.site), self.total), generator)

    def stream(self, start: int) -> Iterator[Tensor]:
        """The activations of one chunk after the other, from number `start` on; earlier ones are not computed.

        Sentences come in a random order that the size of the model's batches does not change. A chunk is a batch of
        the paper's, or else so many sentences as fill part of the pool in which tokens are mixed. In joint work, each
        rank runs the model over its own chunks, and all ranks get all of them.

        Raises:
            GlossaeError: some are not finite; the line shows the sentence.
        """
        own = ((x,) for x in self._own(start + ranks.rank(), ranks.count()))
        yield from (x for (x,) in ranks.in_turn(own, self.lm.device, f"training text at {self.site}"))

    def _own(self, start: int, every: int) -> Iterator[Tensor]:
        # unless asked for: more than a run keeps, and never gone through again
        lm = dataclasses.replace(self.lm, passes=self.kept)
        for text in itertools.islice(self._texts(), start, None, every):
            own = text()
            size = self.recipe.sae.batch_sentences
            made = batches(own, self.recipe.batch_tokens) if size is None else [pad(own, np.arange(len(own)))]
            yield in_text_order(require_finite(lm, own_activations(lm, made, [self.site]), own))[self.site]

    def _texts(self) -> Iterator[Callable[[], TokenizedCorpus]]:
        """Each chunk of all epochs, read when it is called for: those that are passed over cost nothing."""
        settings, tokens = self.recipe.sae, self.tokens
        size = CHUNK_VALUES // self.lm.width(self.site)
        for epoch in range(settings.epochs):
            seed = self.recipe.seed + epoch
            if isinstance(tokens, StreamedTokens):
                yield from (partial(tokens.take, chunk) for chunk in tokens.chunks(size, seed))
                continue
            order = np.random.default_rng(seed).permutation(len(tokens))
            if settings.batch_sentences is None:
                chunks = in_chunks(order, tokens.lengths, size)
            else:
                starts = np.arange(settings.batch_sentences, len(order), settings.batch_sentences)
                chunks = (chunk for chunk in np.split(order, starts) if len(chunk))
            yield from (partial(tokens.take, chunk) for chunk in chunks)


def training_text(
    context: Context, lm: LanguageModel, site: Site, recipe: Recipe, progress: Progress
) -> tuple[TrainingText, Progress]:
    """What autoencoders are trained on, and the progress that is left for that once a stream has been tokenized.

    Raises:
        GlossaeError: as `Context.streamed_tokens`; or `sae.activations` cannot be written to, or its disk is too small.
    """
    if context.stream is None:
        return _kept(context, TrainingText(lm, site, context.training_tokens(lm), recipe)), progress
    tokens = context.streamed_tokens(lm, part(progress, 0.0, TOKENIZING))
    files = by_file(tokens.by_file)
    if tokens.left_out or files:
        context.show.note(f"sae.stream: {tokens.tokens:,} tokens of {tokens}{files and f': {files}'}")
    return _kept(context, TrainingText(lm, site, tokens, recipe)), part(progress, TOKENIZING, 1.0)


def check_kept(context: Context) -> None:
    """Check that `sae.activations` may be a folder that outlives the run.

    Raises:
        GlossaeError: it is a file, or lies in the run's folder, whose files are replaced and deleted.
    """
    if context.recipe.sae.activations is None:
        return
    folder = path_named(context.recipe.sae.activations)
    if folder.exists() and not folder.is_dir():
        raise GlossaeError(f"sae.activations: {folder} is a file: give a folder")
    if folder.resolve().is_relative_to(context.folder.path.resolve()):
        raise GlossaeError(f"sae.activations: {folder} lies in the run's folder: give a folder beside it")


def _kept(context: Context, text: TrainingText) -> TrainingText:
    """The text with the folder of `sae.activations`, if the recipe has one."""
    if text.recipe.sae.activations is None:
        return text
    folder, lm = path_named(text.recipe.sae.activations), text.lm
    # a batch is found by its token ids, so that several texts, sites and layers have room beside each other
    identity = fingerprint([model_identity(lm.name), str(lm.model.dtype), context.device])
    try:
        make_folder(folder / identity)
        kept = Passes(folder, lm.model, identity, most=math.inf, stopped=context.show.note)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise GlossaeError(
            f"sae.activations: {folder}: cannot be written to ({error.strerror}): give another folder"
        ) from error
    if text.bytes_kept - kept.size > free:
        raise GlossaeError(
            f"sae.activations: {folder}: these activations take {bytes_text(text.bytes_kept)}, and "
            f"{bytes_text(free)} are free: give a folder on a larger disk, or leave sae.activations out"
        )
    return dataclasses.replace(text, kept=kept)


def train_settings(recipe: Recipe, text: TrainingText) -> TrainSettings:
    """How the recipe trains autoencoders on this text."""
    settings = recipe.sae
    return TrainSettings(
        steps=text.steps,
        tokens=text.total,
        lr=settings.lr,
        warmup=settings.warmup,
        decay=settings.decay,
        aux_k=None if settings.aux_k == "auto" else settings.aux_k,
        l1=settings.l1 or 0.0,
        unit_rows=settings.unit_rows,
        centre=settings.centre,
        encoder_dtype=settings.encoder_dtype,
        moments=settings.moments,
        published=recipe.by_the_paper,
        seed=recipe.seed,
    )


@meter.training()
def train_jobs(
    context: Context,
    stage: str,
    jobs: Sequence[tuple[SaeConfig, TrainSettings]],
    text: TrainingText,
    identity: str,
    progress: Progress,
) -> list[tuple[Sae, list[TrainPoint]]]:
    """Train autoencoders in one pass over the text, with checkpoints in the stage's folder.

    In joint work (`glossae.ranks`), each rank holds a share of the latents.

    Args:
        context: the run.
        stage: whose folder the checkpoints lie in.
        jobs: what to train, and how.
        text: what to train on.
        identity: a fingerprint over whatever decides a bit of the result.
        progress: is told the share that is done.

    Raises:
        GlossaeError: as `train_group`.
    """
    ranks.meet(f"training {len(jobs)} autoencoders on {text.total} tokens, {len(text.tokens)} texts")
    minutes, folder = context.recipe.sae.checkpoint, context.folder.path / stage
    checkpoints = None
    if minutes is not None:
        checkpoints = Checkpoints(
            folder / CHECKPOINTS,
            identity,
            seconds=SECONDS_A_MINUTE * minutes,
            device=context.lm.device,
            tell=context.show.note,
        )
    if text.stored:
        assert isinstance(text.tokens, TokenizedCorpus)
        folder.mkdir(parents=True, exist_ok=True)
        with stored_activations(
            text.lm,
            text.tokens,
            [text.site],
            folder,
            budget=text.recipe.batch_tokens,
            passes=text.kept,
            progress=part(progress, 0.0, 0.5),
        ) as stored:
            settings, seed = text.recipe.sae, text.recipe.seed
            epochs = partial(
                stored.batches, text.site, settings.batch_tokens, epochs=settings.epochs, seed=seed
            )
            # batches come mixed already
            mixer = Mixer(None, 0, torch.Generator())
            trained = train_group(
                jobs,
                lambda start: epochs(start=start),
                mixer,
                checkpoints=checkpoints,
                folder=folder,
                progress=part(progress, 0.5, 1.0),
            )
    else:
        trained = train_group(
            jobs, text.stream, text.mixer(), checkpoints=checkpoints, folder=folder, progress=progress
        )
    if checkpoints is not None and ranks.rank() == 0:
        checkpoints.clear()
    return trained


def check_memory(recipe: Recipe, lm: LanguageModel, key: str, latents: int, tied: Sequence[bool]) -> None:
    """Refuse autoencoders that are larger than the machine: a system may promise the memory, and then end the run.

    Args:
        recipe: says the site and the device.
        lm: the model whose site it is.
        key: the group of settings they come from, `sae` or `grid`.
        latents: of each.
        tied: of each, whether it has one matrix or two.

    Raises:
        GlossaeError: a step holds more than there is, or a rank would have no latents.
    """
    width, (_, count) = lm.widths[recipe.site], ranks.world()
    settings = recipe.sae if key == "sae" else recipe.grid
    size = "latents" if settings.latents is not None else "expansion"
    each = ranks.share(latents, count, f"{key}.{size}")
    tokens = recipe.sae.batch_tokens if recipe.sae.batch_sentences is None else 0
    config = SaeConfig(d_in=width, latents=latents, k=1)
    steps = [_step(recipe, dataclasses.replace(config, tied=one), tokens, None, count) for one in tied]
    # pre-activations are of a step's tokens, which a step that does not fit names
    needed = sum(step.held - step.made for step in steps)
    there = _memory_of(recipe)
    if needed > there:
        what = f"{each} latents" if len(tied) == 1 else f"{len(tied)} autoencoders of {each} latents"
        fewer = "" if key == "sae" else ", or give fewer grid.k or grid.l1"
        halved = "" if recipe.sae.moments == "bfloat16" else ", or give --sae.moments bfloat16"
        raise GlossaeError(
            f"{key}.{size}: training {what} on a site of width {width} holds {bytes_text(needed)} (weights, Adam's two "
            f"moments, and gradients), and there are {bytes_text(there)}; lower {key}.{size}{fewer}"
            f"{halved}"
        )


def _memory_of(recipe: Recipe) -> float:
    """Bytes of memory where the recipe computes."""
    device = resolve_device(recipe.device)
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    return memory_bytes()


def training_work(
    counts: Quantities, shape: Shape, depth: int, m: int, live: Sequence[float], tied: Sequence[bool]
) -> Work:
    """Training autoencoders of m latents in one pass of a model over the text.

    Args:
        counts: of the run.
        shape: the model's.
        depth: blocks that its passes go through.
        m: latents of each.
        live: how many are live at a token, in each.
        tied: whether each has one matrix or two.
    """
    recipe, d, n = counts.recipe, shape.site_width(counts.recipe.site), counts.ranks
    tokens = counts.sae_tokens * recipe.sae.epochs
    parts, on_gpu = (
        [step_of(counts, d, m, each, tied=one, kernels=kernels) for each, one in zip(live, tied, strict=True)]
        for kernels in (False, True)
    )
    pool = 0 if recipe.sae.batch_sentences else 4 * min(POOL_VALUES, counts.sae_tokens * d)
    passes = counts.forward(tokens, depth, shape=shape)
    flops = counts.steps * sum(each.flops for each in parts)
    low = lowered(recipe)
    steps = Work(
        half_flops=flops if low else 0,
        float_flops=0 if low else flops,
        moved=counts.steps * sum(each.moved for each in parts),
        spared=counts.steps * sum(a.moved - b.moved for a, b in zip(parts, on_gpu, strict=True)),
        operations=counts.steps * OPERATIONS * len(parts),
        checkpoints=0
        if recipe.sae.checkpoint is None
        else KEPT * (n * sum(each.kept for each in parts) + 4 * pool),
    )
    # pre-activations of one after the other, and what is made of them
    made = max(each.made for each in parts)
    held = sum(each.held - each.made for each in parts) + 3 * made + 4 * pool
    weights = d * m * sum(1 if one else 2 for one in tied)
    return dataclasses.replace(passes + steps, held=passes.held + held) + counts.joined(weights)


def step_of(
    counts: Quantities, d: int, m: int, live: float, *, tied: bool, kernels: bool = False
) -> StepCost:
    """A rank's part of a step of an autoencoder of m latents on a site of width d, of which `live` fire at a token.

    `kernels`: as the Triton kernels take it.

    Raises:
        GlossaeError: there are fewer latents than ranks.
    """
    recipe = counts.recipe
    config = SaeConfig(
        d_in=d, latents=m, k=max(1, min(m, round(live))), tied=tied, activation=recipe.sae.activation
    )
    return _step(recipe, config, counts.step_tokens, live, counts.ranks, kernels=kernels)


def _step(
    recipe: Recipe, config: SaeConfig, tokens: float, live: float | None, count: int, *, kernels: bool = False
) -> StepCost:
    return step_cost(
        config,
        tokens,
        live=live,
        low=lowered(recipe),
        moments=recipe.sae.moments,
        unit_rows=recipe.sae.unit_rows and not recipe.by_the_paper,
        kernels=kernels,
        count=count,
    )


def lowered(recipe: Recipe) -> bool:
    """Whether the encoder's product is in bfloat16, where the device is built for it."""
    return recipe.sae.encoder_dtype != "float32" and not recipe.by_the_paper
