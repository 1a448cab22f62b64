"""Which latents take part at which tokens, from a batch's dense pre-activations. Nothing dense is kept."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


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


def top_k(pre: Float[Tensor, "tokens latents"], k: int) -> Entries:
    """The k largest of every token (Gao et al. 2024, eq. 2)."""
    values, latents = pre.topk(k, dim=1, sorted=False)
    tokens = torch.arange(len(pre), device=pre.device).repeat_interleave(k)
    return Entries(tokens, latents.flatten(), values.flatten())


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
