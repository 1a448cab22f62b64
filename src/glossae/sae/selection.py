"""Which latents take part at which tokens, from a batch's dense pre-activations. Nothing dense is kept."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

# latents in a stripe of the two-step search for the largest
STRIPE = 8


class Entries(NamedTuple):
    """The selected latents of a batch, token by token.

    Attributes:
        tokens: the token of each entry, ascending.
        latents: its latent; none twice at a token.
        values: its pre-activation.
    """

    tokens: Int[Tensor, " entries"]
    latents: Int[Tensor, " entries"]
    values: Float[Tensor, " entries"]


def top_k(pre: Float[Tensor, "tokens latents"], k: int, *, signed: bool = True) -> Entries:
    """The k largest of every token (Gao et al. 2024, eq. 2).

    Args:
        pre: pre-activations.
        k: how many.
        signed: whether it matters which are taken where fewer than k are above zero.
    """
    values, latents = _largest(pre, k, signed=signed)
    tokens = torch.arange(len(pre), device=pre.device).repeat_interleave(k)
    return Entries(tokens, latents.flatten(), values.flatten())


def _largest(
    pre: Shaped[Tensor, "tokens latents"], k: int, *, signed: bool
) -> tuple[Shaped[Tensor, "tokens k"], Int[Tensor, "tokens k"]]:
    """The k largest of every row and where they are, searched for among the best of its eighths.

    The k stripes with the largest maxima hold the k largest values: a value outside them is no larger than each of
    those k maxima. So two searches through few values do for one through many.
    """
    rows, latents = pre.shape
    stripes = latents // STRIPE
    if pre.dtype == torch.bfloat16 and not signed:
        # as whole numbers, bfloat16 above zero are in the same order and faster to compare; the others are all
        # below them, though among themselves in the wrong order
        values, which = _largest(pre.view(torch.int16), k, signed=True)
        return values.view(torch.bfloat16), which
    if latents % STRIPE or stripes < 2 * k:
        return pre.topk(k, dim=1, sorted=False)
    # a stripe is every so-manieth latent, so that its maximum is taken down columns, which is fast
    best = pre.view(rows, STRIPE, stripes).amax(1).topk(k, dim=1, sorted=False).indices
    steps = torch.arange(0, latents, stripes, device=pre.device)
    candidates = (best[:, None, :] + steps[:, None]).flatten(1)
    values, which = pre.gather(1, candidates).topk(k, dim=1, sorted=False)
    return values, candidates.gather(1, which)


def batch_top_k(pre: Float[Tensor, "tokens latents"], count: int, guess: float) -> Entries:
    """The `count` largest of all tokens together, among those above zero (Bussmann et al. 2024, eq. 5).

    Args:
        pre: pre-activations.
        count: k times the number of tokens.
        guess: about where the smallest of them will lie: it decides how long the search takes, not what is found.
    """
    found = above(pre, max(guess, 0.0))
    while len(found.values) < count and guess > 0:
        guess = 0.5 * guess if guess > 1e-3 else 0.0
        found = above(pre, guess)
    if len(found.values) > count:
        # sorted again, so that the entries stay token by token
        kept = found.values.topk(count, sorted=False).indices.sort().values
        found = Entries(*(part[kept] for part in found))
    return found


def above(pre: Float[Tensor, "tokens latents"], edge: float | Float[Tensor, " latents"]) -> Entries:
    """All that lie above an edge, one for all or one for each latent."""
    tokens, latents = (pre > edge).nonzero(as_tuple=True)
    return Entries(tokens, latents, pre[tokens, latents])
