"""The two products that make an autoencoder sparse, as autograd functions with exact gradients.

A token's code is k values and the k latents they belong to. The forward needs one dense product, the encoder's;
everything after it touches only the selected latents. With tokens T, latents m, width d and selections k, the
backward's three products cost T k d each, where autograd through a dense code costs T m d.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from glossae.sae.segments import ByLatent

# pre-activations held at once, in values: 256 MiB of float32
PRE_ACTIVATIONS = 2**26


def slabs(tokens: int, latents: int) -> Iterator[slice]:
    """Slices of tokens whose dense pre-activations are held at once."""
    size = max(1, PRE_ACTIVATIONS // latents)
    for start in range(0, tokens, size):
        yield slice(start, min(start + size, tokens))


class TopKEncode(torch.autograd.Function):
    """The k largest pre-activations `x W' + b` of each token."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Float[Tensor, "tokens d_in"],
        weight: Float[Tensor, "latents d_in"],
        bias: Float[Tensor, " latents"],
        k: int,
    ) -> tuple[Float[Tensor, "tokens k"], Int[Tensor, "tokens k"]]:
        """Select; the indices have no gradient."""
        values = x.new_empty(len(x), k)
        indices = torch.empty(len(x), k, dtype=torch.int64, device=x.device)
        for rows in slabs(len(x), len(weight)):
            values[rows], indices[rows] = torch.addmm(bias, x[rows], weight.T).topk(k, dim=1, sorted=False)
        ctx.save_for_backward(x, weight, indices)
        ctx.mark_non_differentiable(indices)
        return values, indices

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        """Gradients of x, weight and bias through the selected pre-activations."""
        x, weight, indices = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        wants_x, wants_weight, wants_bias, _ = ctx.needs_input_grad
        return (
            combine_rows(indices, gradient, weight) if wants_x else None,
            sum_by_latent(indices, gradient, x, len(weight)) if wants_weight else None,
            torch.zeros_like(weight[:, 0]).index_add_(0, indices.flatten(), gradient.flatten())
            if wants_bias
            else None,
            None,
        )


class SparseDecode(torch.autograd.Function):
    """Each token's values times the rows of its latents, summed."""

    @staticmethod
    def forward(
        ctx: Any,
        values: Float[Tensor, "tokens k"],
        indices: Int[Tensor, "tokens k"],
        weight: Float[Tensor, "latents d_in"],
    ) -> Float[Tensor, "tokens d_in"]:
        """Combine."""
        ctx.save_for_backward(values, indices, weight)
        return combine_rows(indices, values, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        """Gradients of values and weight."""
        values, indices, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        wants_values, _, wants_weight = ctx.needs_input_grad
        return (
            dot_rows(indices, gradient, weight) if wants_values else None,
            None,
            sum_by_latent(indices, values, gradient, len(weight)) if wants_weight else None,
        )


def combine_rows(
    indices: Int[Tensor, "tokens k"], values: Float[Tensor, "tokens k"], weight: Float[Tensor, "latents d_in"]
) -> Float[Tensor, "tokens d_in"]:
    """`out[t] = sum_j values[t, j] weight[indices[t, j]]`."""
    return torch.nn.functional.embedding_bag(indices, weight, per_sample_weights=values, mode="sum")


def dot_rows(
    indices: Int[Tensor, "tokens k"], x: Float[Tensor, "tokens d_in"], weight: Float[Tensor, "latents d_in"]
) -> Float[Tensor, "tokens k"]:
    """`out[t, j] = x[t] . weight[indices[t, j]]`."""
    pattern = _pattern(indices, len(weight))
    return pattern.unsorted(pattern.dots(weight, x)).reshape(indices.shape)


def sum_by_latent(
    indices: Int[Tensor, "tokens k"],
    values: Float[Tensor, "tokens k"],
    x: Float[Tensor, "tokens d_in"],
    latents: int,
) -> Float[Tensor, "latents d_in"]:
    """`out[i] = sum over (t, j) with indices[t, j] = i of values[t, j] x[t]`."""
    pattern = _pattern(indices, latents)
    out = x.new_zeros(latents, x.shape[1])
    pattern.sums(values.flatten()[pattern.order], x, out)
    return out


def _pattern(indices: Int[Tensor, "tokens k"], latents: int) -> ByLatent:
    tokens, k = indices.shape
    each = torch.arange(tokens, device=indices.device).repeat_interleave(k)
    return ByLatent(indices.flatten(), each, latents, tokens)
