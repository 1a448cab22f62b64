"""Activations out of a model, several sites in one pass, stopped at the deepest of them."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from glossae.lm.batches import Batch
from glossae.lm.model import LanguageModel
from glossae.lm.sites import Activation, Site, Tap, attached


class _Enough(Exception):  # noqa: N818 - it is no error
    """Raised inside a hook once every site asked for has been seen: the rest of the pass is not needed."""


@dataclass(frozen=True)
class Activations:
    """What one batch left at the sites, text tokens only and no attention sinks, row by row.

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

    Everything above the deepest site is skipped, the unembedding always. Tokens that are attention sinks at any of
    the sites (`lm.sinks`) are left out at all of them, so that a row is the same token everywhere. Where the model has
    `passes` and one site is asked for, a batch that comes again is not run again.

    Raises:
        GlossaeError: the model has no such site.
    """
    taps = {site: lm.tap(site) for site in sites}
    for batch in batches:
        content = batch.content.to(lm.device)
        rows, positions = content.nonzero(as_tuple=True)
        found = _once(lm, batch, content, taps)
        limits = [(site, lm.sinks[site]) for site in sites if site in lm.sinks]
        if limits:
            kept = torch.stack([limit.holds(found[site]) for site, limit in limits]).all(0)
            if not bool(kept.all()):
                found = {site: x[kept] for site, x in found.items()}
                rows, positions = rows[kept], positions[kept]
        yield Activations(
            sites=found,
            sentence=batch.index.to(lm.device)[rows],
            position=positions,
            batch=batch,
        )


def in_text_order(parts: Iterable[Activations]) -> dict[Site, Float[Tensor, "tokens _"]]:
    """The tensors of all parts together, sentence after sentence, whatever the batches were.

    There has to be a part.
    """
    seen = list(parts)
    order = torch.cat([part.sentence for part in seen]).argsort(stable=True)
    return {site: torch.cat([part.sites[site] for part in seen])[order] for site in seen[0].sites}


def _once(
    lm: LanguageModel, batch: Batch, content: Bool[Tensor, "batch seq"], taps: dict[Site, Tap]
) -> dict[Site, Float[Tensor, "tokens _"]]:
    """A pass, or what an earlier one of the same batch left."""
    passes, (site, *others) = lm.passes, taps
    path = (
        None
        if passes is None or others
        else passes.path(lm.model, [batch.ids, batch.mask, batch.content], site)
    )
    if passes is None or path is None:
        return _pass(lm, batch, content, taps)
    known = passes.read(path, lm.device)
    if known is None:
        known = _pass(lm, batch, content, taps)[site]
        passes.keep(path, known)
    return {site: known}


def _pass(
    lm: LanguageModel, batch: Batch, content: Bool[Tensor, "batch seq"], taps: dict[Site, Tap]
) -> dict[Site, Float[Tensor, "tokens _"]]:
    """One forward pass, as far as the last of the taps."""
    seen: dict[Site, Float[Tensor, "tokens _"]] = {}

    def keep(site: Site, x: Activation) -> None:
        # taken at once, because some blocks (Falcon's) go on to write into what a sub-layer gave
        seen[site] = x[content.to(x.device)].to(lm.device)
        if len(seen) == len(taps):
            raise _Enough

    ids, mask = batch.ids.to(lm.device), batch.mask.to(lm.device).long()
    with attached([(tap, partial(keep, site)) for site, tap in taps.items()]), suppress(_Enough):
        lm.model.base_model(input_ids=ids, attention_mask=mask, use_cache=False)
    return {site: seen[site] for site in taps}
