"""The forward and backward pass of one training step, written out: losses, and exact gradients.

With g_t the gradient of token t's reconstruction, z the code, and `live` the entries that the activation
passes, the gradients are

    dz[t, i]  = g_t . W_dec[i]                      dW_dec[i] = sum_t z[t, i] g_t
    dpre[t, i] = live[t, i] (dz[t, i] + l1)         dW_enc[i] = sum_t dpre[t, i] (x_t - b_dec)
    db_enc[i] = sum_t dpre[t, i]                    db_dec    = sum_t g_t - W_enc' db_enc

The gradients of biases and thresholds are written to their `.grad`. Those of the two weight matrices are as large as
these, and are made a block of latents at a time, by the `RowGradients` of a pass, so that no more than a block is ever
held. Autograd would hold them whole, and allocate them at every step. The tests compare every gradient with autograd's.
A decoder that does not require a gradient is frozen, and dW_dec is not computed.

In joint work of several ranks the SAE is this rank's share of the latents. The reconstruction is the sum of the ranks'
parts, and so are `W_enc' db_enc` and L0; every other product is of this rank's rows alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from glossae import ranks
from glossae.sae.sae import Sae
from glossae.sae.sparse import ByLatent, Entries, among_largest, sums_by_token


@dataclass(frozen=True)
class Penalty:
    """The terms added to the reconstruction loss.

    Attributes:
        l1: weight of the sum of a token's latents, averaged over tokens (Bricken et al. 2023).
        l0: weight of (L0 / target - 1)^2, where L0 is the latents firing per token; its gradient reaches only
            the thresholds (Rajamanoharan et al. 2024; the target form is Conerly et al. 2025's).
        l0_target: that target.
        bandwidth: jumprelu: the width around a threshold within which a pre-activation moves it.
    """

    l1: float = 0.0
    l0: float = 0.0
    l0_target: float = 1.0
    bandwidth: float = 0.0


Rows = Callable[[int, int, Tensor, Tensor | None], None]
"""Makes the gradients of the encoder's rows, and the decoder's, from one latent up to another, in given tensors."""


@dataclass(frozen=True)
class Pass:
    """The result of a forward and backward pass.

    Attributes:
        gradient: the loss's gradient at the reconstruction by the whole dictionary.
        factor: `error * factor = gradient`, where error is reconstruction minus x.
        fires: how often each latent fired.
        smallest: batchtopk: the smallest value that fired; zero if none did.
        along: the part of the decoder's gradient along each of its rows, `dW_dec[i] . W_dec[i]`, computed as
            sum_t z[t, i] dz[t, i] from values of the backward pass.
        rows: writes the gradients of a block of both matrices' rows. Tied weights have one gradient, the encoder's,
            and a frozen decoder has none: the decoder's tensor is then None.
    """

    gradient: Float[Tensor, "tokens d_in"]
    factor: float
    fires: Float[Tensor, " latents"]
    smallest: Float[Tensor, ""]
    along: Float[Tensor, " latents"]
    rows: Rows


def make_gradients(sae: Sae) -> None:
    """Allocate a `.grad` for the biases, and for jumprelu's thresholds."""
    sae.b_enc.grad, sae.b_dec.grad = torch.zeros_like(sae.b_enc), torch.zeros_like(sae.b_dec)
    if sae.config.activation == "jumprelu" and sae.threshold is not None:
        sae.threshold.grad = torch.zeros_like(sae.threshold)


@torch.no_grad()
def sparse_pass(
    sae: Sae,
    x: Float[Tensor, "tokens d_in"],
    entries: Entries,
    penalty: Penalty,
    *,
    recompute: bool,
    read: Float[Tensor, "tokens d_in"] | None = None,
) -> Pass:
    """Run forward and backward over selected entries only, in entries x d_in work; overwrites the biases' `.grad`s.

    For jumprelu the entries include those slightly below their thresholds. If entries were selected in a lower
    precision, `recompute` computes their pre-activations again in float32. `read` is the encoder's input for
    the batch, if known.
    """
    read, rows = sae.centred(x) if read is None else read, sae.config.latents
    pattern = ByLatent(entries.latents, entries.tokens, rows, len(x))
    latents = pattern.latents
    if recompute:
        pre = pattern.dots(sae.W_enc.detach(), read).add_(sae.b_enc[latents])
    else:
        pre = entries.values[pattern.order].to(x.dtype)
    threshold = None if sae.threshold is None else sae.threshold.expand(rows)[latents]
    live = _live(sae, pre, threshold)
    z = torch.where(live, pre, 0)

    offsets = torch.zeros(len(x) + 1, dtype=torch.int64, device=x.device)
    torch.cumsum(torch.bincount(entries.tokens, minlength=len(x)), 0, out=offsets[1:])
    by_token = pattern.unsorted(z)

    def part_of(first: int, last: int) -> Float[Tensor, "tokens d_in"]:
        weights = by_token
        if (first, last) != (0, rows):
            inside = (entries.latents >= first) & (entries.latents < last)
            weights = torch.where(inside, by_token, 0)
        return sums_by_token(entries._replace(values=weights), offsets, sae.W_dec.detach())

    gradients, whole, factor = _levels(sae, x, part_of)
    dz = torch.empty_like(z)
    for (first, last), gradient in gradients:
        if first == last:
            continue
        part, some = pattern.part(first, last) if len(gradients) > 1 else (pattern, slice(None))
        dz[some] = part.dots(sae.W_dec.detach()[first:last], gradient)
    dpre = torch.where(live, dz + penalty.l1 / len(x), 0)

    def write(first: int, last: int, encoder: Tensor, decoder: Tensor | None) -> None:
        into = encoder if sae.config.tied else decoder
        if into is not None:
            for (begin, end), gradient in _overlapping(gradients, first, last):
                part, some = pattern.part(begin, end)
                part.sums(z[some], gradient, into[begin - first : end - first])
        part, some = pattern.part(first, last)
        part.sums(dpre[some], read, encoder, add=sae.config.tied)

    fires = pattern.per_latent(live.to(x.dtype))
    if sae.config.activation == "jumprelu":
        near = _near(pre, threshold, penalty)
        _threshold_gradient(
            sae, pattern.per_latent(near * dz), pattern.per_latent(near), fires, penalty, len(x)
        )
    _bias_gradients(sae, pattern.per_latent(dpre), gradients[0][1])
    least = smallest(z[live]) if sae.config.activation == "batchtopk" else z.new_zeros(())
    return Pass(whole, factor, fires, least, pattern.per_latent(z * dz), write)


@torch.no_grad()
def dense_pass(
    sae: Sae,
    x: Float[Tensor, "tokens d_in"],
    penalty: Penalty,
    pre: Float[Tensor, "tokens latents"] | None = None,
) -> Pass:
    """The same through dense codes, which is faster if a large share of latents is live.

    `pre` is the batch's pre-activations, if known in float32.
    """
    read = sae.centred(x)
    if pre is None:
        pre = torch.nn.functional.linear(read, sae.W_enc, sae.b_enc)
    live = _live(sae, pre, sae.threshold)
    z = torch.where(live, pre, 0)
    gradients, whole, factor = _levels(sae, x, lambda first, last: z[:, first:last] @ sae.W_dec[first:last])
    dz = torch.empty_like(z)
    for (first, last), gradient in gradients:
        dz[:, first:last] = gradient @ sae.W_dec[first:last].T
    dpre = torch.where(live, dz + penalty.l1 / len(x), 0)

    def write(first: int, last: int, encoder: Tensor, decoder: Tensor | None) -> None:
        into = encoder if sae.config.tied else decoder
        if into is not None:
            for (begin, end), gradient in _overlapping(gradients, first, last):
                torch.mm(z[:, begin:end].T, gradient, out=into[begin - first : end - first])
        torch.addmm(encoder, dpre[:, first:last].T, read, beta=float(sae.config.tied), out=encoder)

    fires = live.sum(0).to(x.dtype)
    if sae.config.activation == "jumprelu":
        near = _near(pre, sae.threshold, penalty)
        _threshold_gradient(sae, (near * dz).sum(0), near.sum(0), fires, penalty, len(x))
    _bias_gradients(sae, dpre.sum(0), gradients[0][1])
    return Pass(whole, factor, fires, z.new_zeros(()), (z * dz).sum(0), write)


@torch.no_grad()
def add_auxiliary(
    sae: Sae,
    x: Float[Tensor, "tokens d_in"],
    error: Float[Tensor, "tokens d_in"],
    dead: Bool[Tensor, " latents"],
    k: int,
    weight: float,
    done: Pass,
    dtype: torch.dtype | None = None,
) -> Pass:
    """AuxK (Gao et al. 2024, A.2): the best dead latents learn to reconstruct the error of the live ones.

    The loss is `weight ||e_hat - e||^2 / ||e||^2`: relative to the error, so that it does not fade as the fit
    improves. Its gradient is added to those of the biases, to `done.along`, and to the rows of the pass that is
    returned. Its products are in `dtype`, by default that of `error`, in which they are added up.
    """
    chosen = dead.nonzero()[:, 0]
    k = min(k, ranks.total(len(chosen)))
    if k == 0:
        return done
    used = (sae.centred(x), sae.W_enc[chosen], sae.W_dec[chosen])
    read, rows, written = (each.to(dtype or error.dtype) for each in used)
    pre = (read @ rows.T).add_(sae.b_enc[chosen])
    values, which = pre.topk(min(k, len(chosen)), dim=1, sorted=False)
    if ranks.count() > 1:
        values.mul_(among_largest(values, k))
    code = torch.zeros_like(pre).scatter_(1, which, values.relu_())
    scale = 2 * weight / error.square().sum().clamp_min(1e-12)
    gradient = (ranks.sum_((code @ written).to(error.dtype)) - error).mul_(scale).to(code)
    dcode = gradient @ written.T
    dpre = torch.where(code > 0, dcode, 0)
    done.along.index_add_(0, chosen, (code * dcode).sum(0, dtype=error.dtype))
    summed = dpre.sum(0, dtype=error.dtype)
    _grad(sae.b_enc).index_add_(0, chosen, summed)
    if sae.config.pre_encoder_bias:
        _grad(sae.b_dec).sub_(ranks.sum_((rows.T @ summed.to(rows)).to(summed)))

    def write(first: int, last: int, encoder: Tensor, decoder: Tensor | None) -> None:
        done.rows(first, last, encoder, decoder)
        begin, end = torch.searchsorted(chosen, chosen.new_tensor([first, last])).tolist()
        some, its = slice(begin, end), chosen[begin:end] - first
        into = encoder if sae.config.tied else decoder
        if into is not None:
            into.index_add_(0, its, (code[:, some].T @ gradient).to(into))
        encoder.index_add_(0, its, (dpre[:, some].T @ read).to(encoder))

    return replace(done, rows=write)


def _overlapping(
    gradients: list[tuple[tuple[int, int], Tensor]], first: int, last: int
) -> Iterator[tuple[tuple[int, int], Tensor]]:
    """The parts of the latents from `first` up to `last` that are in each level, with the level's gradient."""
    for (begin, end), gradient in gradients:
        if max(begin, first) < min(end, last):
            yield (max(begin, first), min(end, last)), gradient


def _levels(
    sae: Sae, x: Float[Tensor, "tokens d_in"], part_of: Callable[[int, int], Tensor]
) -> tuple[list[tuple[tuple[int, int], Tensor]], Tensor, float]:
    """The gradient that reaches each level of latents; the gradient of the last level, and its factor to the error.

    With nested dictionaries the loss is the mean of their losses, and the latents of a level take part in the
    reconstruction of their own dictionary and of every larger one (Bussmann et al. 2025, eq. 3).
    """
    ends = sae.levels
    bounds = list(zip((0, *ends[:-1]), ends, strict=True))
    factor = 2 / (x.numel() * len(bounds))
    # in place if possible: allocating memory at every step costs more than the arithmetic
    x_hat = ranks.sum_(part_of(*bounds[0])).add_(sae.b_dec.detach())
    errors = []
    for number, (first, last) in enumerate(bounds):
        if number > 0:
            x_hat.add_(ranks.sum_(part_of(first, last)))
        is_last = number == len(bounds) - 1
        errors.append((x_hat.sub_(x) if is_last else x_hat - x).mul_(factor))
    for level in range(len(errors) - 2, -1, -1):
        errors[level] += errors[level + 1]
    return list(zip(bounds, errors, strict=True)), errors[-1], factor


def _live(sae: Sae, pre: Tensor, threshold: Tensor | None) -> Tensor:
    """Which entries the activation passes. Batch-top-k has selected already; its threshold is for later use."""
    if sae.config.negative:
        return torch.ones_like(pre, dtype=torch.bool)
    return pre > (threshold if sae.config.activation == "jumprelu" and threshold is not None else 0)


def _near(pre: Tensor, threshold: Tensor | None, penalty: Penalty) -> Tensor:
    """1 / bandwidth for an entry within half a bandwidth of its threshold, else 0."""
    assert threshold is not None
    return ((pre - threshold).abs() < penalty.bandwidth / 2) / penalty.bandwidth


def _threshold_gradient(
    sae: Sae,
    pull: Float[Tensor, " latents"],
    near: Float[Tensor, " latents"],
    fires: Float[Tensor, " latents"],
    penalty: Penalty,
    tokens: int,
) -> None:
    """Straight-through pseudo-gradients of the thresholds (Rajamanoharan et al. 2024, eq. 11-12).

    dz/dtheta is -theta, and dL0/dtheta is -1, each times the rectangle kernel around the threshold.
    """
    assert sae.threshold is not None
    l0 = ranks.sum_(fires.sum()) / tokens
    per_entry = 2 * penalty.l0 * (l0 / penalty.l0_target - 1) / (penalty.l0_target * tokens)
    torch.sub(-sae.threshold * pull, per_entry * near, out=_grad(sae.threshold))


def _bias_gradients(
    sae: Sae, summed: Float[Tensor, " latents"], gradient: Float[Tensor, "tokens d_in"]
) -> None:
    _grad(sae.b_enc).copy_(summed)
    torch.sum(gradient, 0, out=_grad(sae.b_dec))
    if sae.config.pre_encoder_bias:
        _grad(sae.b_dec).sub_(ranks.sum_(sae.W_enc.T @ summed))


def smallest(values: Float[Tensor, " entries"]) -> Float[Tensor, ""]:
    """The smallest value of all ranks; 0 if there is none."""
    least = values.min() if len(values) else values.new_full((), torch.inf)
    return torch.where(ranks.least_(least).isinf(), 0, least)


def _grad(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
