"""Training autoencoders on a site's activations, on the target's and the reference's text, mixed."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from glossae.lm import (
    LanguageModel,
    Site,
    TokenizedCorpus,
    activations,
    batches,
    finite,
    in_text_order,
    pad,
    stored_activations,
)
from glossae.recipe import Recipe
from glossae.run.context import Context
from glossae.run.show import Report, part
from glossae.sae import Checkpoints, Mixer, Sae, SaeConfig, TrainPoint, TrainSettings, train_group

# activations mixed at a time, in values: 32 Mi float32 values are 128 MiB
POOL_VALUES = 2**25
# and those of the sentences that are brought into a random order at a time: 64 MiB
CHUNK_VALUES = 2**24
SECONDS_A_MINUTE = 60
# bytes of activations that are kept on disk for the length of a training
MOST_STORED = 8e9


@dataclass(frozen=True)
class TrainingText:
    """Text and a site to train on, and how it is cut into steps.

    Attributes:
        lm: the model.
        site: where its activations are taken.
        tokens: the text.
        recipe: says how many epochs, how large a step, and the seed.
    """

    lm: LanguageModel
    site: Site
    tokens: TokenizedCorpus
    recipe: Recipe

    @property
    def total(self) -> int:
        """Tokens of all epochs together, less the attention sinks that are to be expected."""
        sinks = self.lm.sinks.get(self.site)
        kept = 1.0 if sinks is None else 1 - sinks.share
        return round(int(self.tokens.lengths.sum()) * self.recipe.sae.epochs * kept)

    @property
    def stored(self) -> bool:
        """Whether activations are kept on disk, so that several epochs take one pass of the model."""
        settings = self.recipe.sae
        size = int(self.tokens.lengths.sum()) * self.lm.width(self.site) * self.lm.model.dtype.itemsize
        return settings.epochs > 1 and settings.batch_sentences is None and size <= MOST_STORED

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
        the paper's, or else so many sentences as fill part of the pool in which tokens are mixed.

        Raises:
            GlossaeError: some are not finite; the line shows the sentence.
        """
        # more than a run keeps, and never gone through again
        lm = dataclasses.replace(self.lm, passes=None)
        for chunk in itertools.islice(self._chunks(), start, None):
            text = self.tokens.take(chunk)
            size = self.recipe.sae.batch_sentences
            made = (
                batches(text, self.recipe.batch_tokens) if size is None else [pad(text, np.arange(len(text)))]
            )
            yield in_text_order(finite(lm, activations(lm, made, [self.site]), text))[self.site]

    def _chunks(self) -> Iterator[np.ndarray]:
        """The numbers of each chunk's sentences, all epochs."""
        settings, lengths = self.recipe.sae, self.tokens.lengths
        for epoch in range(settings.epochs):
            order = np.random.default_rng(self.recipe.seed + epoch).permutation(len(self.tokens))
            if settings.batch_sentences is None:
                full = np.cumsum(lengths[order]) // (CHUNK_VALUES // self.lm.width(self.site))
                starts = np.flatnonzero(np.diff(full)) + 1
            else:
                starts = np.arange(settings.batch_sentences, len(order), settings.batch_sentences)
            yield from (chunk for chunk in np.split(order, starts) if len(chunk))


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
        published=recipe.by_the_paper,
        seed=recipe.seed,
    )


def train_jobs(
    context: Context,
    stage: str,
    jobs: Sequence[tuple[SaeConfig, TrainSettings]],
    text: TrainingText,
    identity: str,
    report: Report,
) -> list[tuple[Sae, list[TrainPoint]]]:
    """Train autoencoders in one pass over the text, with checkpoints in the stage's folder.

    Args:
        context: the run.
        stage: whose folder the checkpoints lie in.
        jobs: what to train, and how.
        text: what to train on.
        identity: a fingerprint over whatever decides a bit of the result.
        report: progress.

    Raises:
        GlossaeError: as `train_group`.
    """
    minutes, folder = context.recipe.sae.checkpoint, context.folder.path / stage
    checkpoints = None
    if minutes is not None:
        checkpoints = Checkpoints(
            folder / "checkpoints",
            identity,
            seconds=SECONDS_A_MINUTE * minutes,
            device=context.lm.device,
            tell=context.show.note,
        )
    if text.stored:
        folder.mkdir(parents=True, exist_ok=True)
        with stored_activations(
            text.lm,
            text.tokens,
            [text.site],
            folder,
            budget=text.recipe.batch_tokens,
            progress=part(report, 0.0, 0.5),
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
                progress=part(report, 0.5, 1.0),
            )
    else:
        trained = train_group(jobs, text.stream, text.mixer(), checkpoints=checkpoints, progress=report)
    if checkpoints is not None:
        checkpoints.clear()
    return trained
