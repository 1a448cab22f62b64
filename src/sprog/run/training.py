"""What autoencoders are trained on: a site's activations on the target's and the reference's text, mixed."""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sprog.lm import (
    Batch,
    LanguageModel,
    Site,
    TokenizedCorpus,
    activations,
    batches,
    finite,
    sentence_batches,
)
from sprog.recipe import Recipe
from sprog.sae import Mixer

# activations mixed at a time, in values: 32 Mi float32 values are 128 MiB
POOL_VALUES = 2**25


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
        """Tokens of all epochs together."""
        return int(self.tokens.lengths.sum()) * self.recipe.sae.epochs

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
        size = settings.batch_tokens if settings.batch_sentences is None else None
        generator = torch.Generator().manual_seed(self.recipe.seed)
        # no larger than what there is to mix
        return Mixer(size, min(POOL_VALUES // self.lm.width(self.site), self.total), generator)

    def stream(self, start: int) -> Iterator[Tensor]:
        """The activations of one batch after the other, from number `start` on; earlier ones are not computed.

        Raises:
            SprogError: some are not finite; the line shows the sentence.
        """
        found = activations(self.lm, itertools.islice(self._batches(), start, None), [self.site])
        yield from (part.sites[self.site] for part in finite(self.lm, found, self.tokens))

    def _batches(self) -> Iterator[Batch]:
        recipe = self.recipe
        make: Callable[[int], Iterator[Batch]]
        if recipe.sae.batch_sentences is None:
            make = lambda seed: batches(self.tokens, recipe.batch_tokens, seed=seed)  # noqa: E731
        else:
            size = recipe.sae.batch_sentences
            make = lambda seed: sentence_batches(self.tokens, size, seed=seed)  # noqa: E731
        for epoch in range(recipe.sae.epochs):
            yield from make(recipe.seed + epoch)
