"""The two products that make a TopK autoencoder sparse, each with its exact backward.

A token's code is k values and the k latents they belong to. The forward needs one dense product, the
encoder's; everything after it touches only the selected latents. With tokens T, latents m, width d and
selections k, the backward's three products cost T k d each, where autograd through a dense code costs
T m d.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

# With fewer latents than this many times k, a dense product is faster than gathering rows: it runs at the
# processor's arithmetic rate, the gather at the memory's.
DENSE_BELOW = 64
# rows gathered at once, in values: 64 MiB of float32
GATHERED_VALUES = 2**24


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
        values, indices = torch.addmm(bias, x, weight.T).topk(k, dim=1, sorted=False)
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
    (tokens, k), (latents, d_in) = indices.shape, weight.shape
    if latents < DENSE_BELOW * k:
        return (x @ weight.T).gather(1, indices)
    out = torch.empty(tokens, k, dtype=x.dtype, device=x.device)
    slab = max(1, GATHERED_VALUES // (k * d_in))
    for start in range(0, tokens, slab):
        rows = slice(start, start + slab)
        out[rows] = torch.bmm(weight[indices[rows]], x[rows, :, None]).squeeze(2)
    return out


def sum_by_latent(
    indices: Int[Tensor, "tokens k"],
    values: Float[Tensor, "tokens k"],
    x: Float[Tensor, "tokens d_in"],
    latents: int,
) -> Float[Tensor, "latents d_in"]:
    """`out[i] = sum over (t, j) with indices[t, j] = i of values[t, j] x[t]`."""
    tokens, k = indices.shape
    if latents < DENSE_BELOW * k:
        dense = torch.zeros(tokens, latents, dtype=values.dtype, device=values.device)
        return dense.scatter_add_(1, indices, values).T @ x
    out = torch.zeros(latents, x.shape[1], dtype=x.dtype, device=x.device)
    slab = max(1, GATHERED_VALUES // (k * x.shape[1]))
    for start in range(0, tokens, slab):
        rows = slice(start, start + slab)
        out.index_add_(0, indices[rows].flatten(), (values[rows, :, None] * x[rows, None, :]).flatten(0, 1))
    return out
