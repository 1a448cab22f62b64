"""Changing a site's tensor while a model runs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from glossae.errors import GlossaeError
from glossae.lm.model import LanguageModel
from glossae.lm.positions import Positions, Text, check_positions, text_of
from glossae.lm.sites import Activation, Site, attached

TokenEdit = Callable[[Float[Tensor, "tokens d"]], Float[Tensor, "tokens d"]]


class SiteEdit(NamedTuple):
    """One change: where, what is done to the tokens there, and to which of them."""

    site: Site
    fn: TokenEdit
    positions: Positions = "all"


@contextmanager
def edit(lm: LanguageModel, site: Site, fn: TokenEdit, *, positions: Positions = "all") -> Iterator[None]:
    """While the block runs, replace what the site carries by `fn` of it, in every pass of `lm.model`.

    Works in a plain forward, in a loss and in `generate`, with and without cache, left- or right-padded:
    `fn` gets the tokens that the attention mask shows and `positions` chooses, `(tokens, d)`, on the model's
    `device`; the others, pads, what stands before a text (`lm.bos`, `lm.chat`) and attention sinks (`lm.sinks`)
    keep their tensor bit for bit. A pass without such a token is left alone. Without an attention mask every position
    is a token. Edits nest, inner ones see what outer ones left. The edit is gone
    after the block, also after an exception.

    A left-padded plain forward needs `position_ids` where positions are learned (GPT-2, GPT-Neo): only
    `generate` makes them from the mask.

    Args:
        lm: the model.
        site: where.
        fn: what is done; all tokens of a pass at once.
        positions: `all`, `not_first`, `prompt`, `generated` or `last`; see `glossae.lm.chosen`.

    Raises:
        GlossaeError: the model has no such site, or there are no such positions; or (in the pass) `fn` changes the
            shape, or the model is given an attention mask that is not `(batch, seq)`.
    """
    with edits(lm, [SiteEdit(site, fn, positions)]):
        yield


@contextmanager
def edits(lm: LanguageModel, changes: Sequence[SiteEdit]) -> Iterator[None]:
    """Several edits at once, as `edit` does one; at a site with several, each sees what those before it left.

    Raises:
        GlossaeError: as for `edit`.
    """
    for change in changes:
        check_positions(change.positions)
    taps = [lm.tap(change.site) for change in changes]
    with text_of(lm) as text:
        visits = [partial(_replace, lm, text, change) for change in changes]
        with attached(list(zip(taps, visits, strict=True))):
            yield


def _replace(lm: LanguageModel, text: Text, change: SiteEdit, x: Activation) -> Activation | None:
    here = text.edited(lm, change.site, x, change.positions)
    tokens = x[here]
    if not len(tokens):
        return None
    edited = applied(change.site, change.fn, tokens.to(lm.device))
    replaced = x.clone()
    replaced[here] = edited.to(x)
    return replaced


def applied(site: Site, fn: TokenEdit, tokens: Float[Tensor, "tokens d"]) -> Float[Tensor, "tokens d"]:
    """What `fn` makes of the tokens.

    Raises:
        GlossaeError: it changes the shape.
    """
    edited = fn(tokens)
    if edited.shape != tokens.shape:
        raise GlossaeError(f"edit: {site}: the shape {tuple(tokens.shape)} became {tuple(edited.shape)}")
    return edited
