"""Activations out of a model, several sites in one pass, stopped at the deepest of them."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sprog.lm.batches import Batch
from sprog.lm.model import LanguageModel
from sprog.lm.sites import Activation, Site, attached


class _Enough(Exception):  # noqa: N818 - it is no error
    """Raised inside a hook once every site asked for has been seen: the rest of the pass is not needed."""


@dataclass(frozen=True)
class Activations:
    """What one batch left at the sites, text tokens only, row by row.

    Attributes:
        sites: the tensor of each site, on the model's `device` whichever its block lies on.
        sentence: which sentence of the tokenized corpus each token belongs to.
        position: its place in the sentence (position 0 is an attention sink in most models).
        batch: where it came from.
    """

    sites: dict[Site, Float[Tensor, "tokens _"]]
    sentence: Int[Tensor, " tokens"]
    position: Int[Tensor, " tokens"]
    batch: Batch


@torch.no_grad()
def activations(lm: LanguageModel, batches: Iterable[Batch], sites: Sequence[Site]) -> Iterator[Activations]:
    """Stream the activations at `sites`, one forward pass a batch.

    Everything above the deepest site is skipped, the unembedding always.

    Raises:
        SprogError: the model has no such site.
    """
    taps = [(site, lm.tap(site)) for site in dict.fromkeys(sites)]
    for batch in batches:
        seen: dict[Site, Activation] = {}

        def keep(site: Site, x: Activation, seen: dict[Site, Activation] = seen) -> None:
            seen[site] = x
            if len(seen) == len(taps):
                raise _Enough

        ids, mask, content = (t.to(lm.device) for t in (batch.ids, batch.mask, batch.content))
        taken = [(tap, partial(keep, site)) for site, tap in taps]
        with attached(taken), suppress(_Enough):
            lm.model.base_model(input_ids=ids, attention_mask=mask.long(), use_cache=False)
        rows, positions = content.nonzero(as_tuple=True)
        yield Activations(
            sites={site: _tokens(seen[site], content) for site in sites},
            sentence=batch.index.to(lm.device)[rows],
            position=positions,
            batch=batch,
        )


def _tokens(x: Activation, content: Bool[Tensor, "batch seq"]) -> Float[Tensor, "tokens _"]:
    """The text's tokens, moved to where the mask lies."""
    return x[content.to(x.device)].to(content.device)
