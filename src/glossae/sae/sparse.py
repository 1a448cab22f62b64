"""Kernels over selected latents only: selection, encoding and decoding with exact gradients, sums by latent.

A sparse code is a list of (token, latent) entries. Sorted by latent, they are the rows of a sparse matrix
`(latents, tokens)`, and a training step computes everything about the selected latents as products with that
pattern. Such a product costs entries x d_in operations; a dense one costs tokens x latents x d_in.

On NVIDIA GPUs the Triton kernels of `kernels.py` take over from the torch code here: `kernels_for` decides.
"""

import warnings
from collections.abc import Iterator
from functools import cache, cached_property
from importlib.util import find_spec
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import BFloat16, Bool, Float, Int, Shaped
from torch import Tensor

from glossae import ranks

# pre-activations held at once: 256 MiB of float32
PRE_ACTIVATIONS = 2**26
# for so many tokens, a product takes much longer than reading its weights; for fewer, weights are not read anew
ENOUGH_TOKENS = 256
# tokens that are encoded at once, in blocks of latents, where all latents of `ENOUGH_TOKENS` are too many to be held
WIDE_TOKENS = 2**13
# values gathered at once on devices without a sparse product, or from another device: 64 MiB of float32
GATHERED_VALUES = 2**24
# latents in a stripe of the two-step search for the largest values
STRIPE = 8


class Entries(NamedTuple):
    """The selected latents of a batch, token by token.

    Attributes:
        tokens: the token of each entry, ascending.
        latents: its latent; no latent occurs twice at a token.
        values: its pre-activation.
    """

    tokens: Int[Tensor, " entries"]
    latents: Int[Tensor, " entries"]
    values: Float[Tensor, " entries"]


def top_k(pre: Float[Tensor, "tokens latents"], k: int, *, signed: bool = True) -> Entries:
    """Select the k largest pre-activations of every token (Gao et al. 2024, eq. 2).

    Unless `signed`, the choice among values below zero does not matter. In joint work `pre` has this rank's latents,
    and the k are chosen among those of all ranks.
    """
    own = min(k, pre.shape[1])
    values, latents = _largest(pre, own, signed=signed)
    tokens = torch.arange(len(pre), device=pre.device).repeat_interleave(own)
    return of_all_ranks(Entries(tokens, latents.flatten(), values.flatten()), len(pre), k)


def of_all_ranks(entries: Entries, tokens: int, k: int) -> Entries:
    """Of this rank's largest pre-activations of each token, those that are among the k largest of all ranks."""
    if ranks.count() == 1:
        return entries
    kept = among_largest(entries.values.view(tokens, -1), k).flatten()
    return Entries(*(part[kept] for part in entries))


def among_largest(values: Float[Tensor, "tokens own"], k: int) -> Bool[Tensor, "tokens own"]:
    """Which of this rank's values are among the k largest of their token over all ranks; of equals, lower ranks' are.

    Every rank has at most k values of a token, and they together at least k.
    """
    if ranks.count() == 1:
        return torch.ones_like(values, dtype=torch.bool)
    padded = torch.full((len(values), k), -torch.inf, dtype=values.dtype, device=values.device)
    padded[:, : values.shape[1]] = values
    candidates = torch.cat(ranks.gather(padded), dim=1)
    best = candidates.argsort(dim=1, descending=True, stable=True)[:, :k]
    chosen = torch.zeros_like(candidates, dtype=torch.bool).scatter_(1, best, True)
    return chosen[:, ranks.rank() * k :][:, : values.shape[1]]


def top_k_of_product(
    x: BFloat16[Tensor, "tokens d_in"],
    weight: BFloat16[Tensor, "latents d_in"],
    bias: Float[Tensor, " latents"],
    k: int,
) -> Entries | None:
    """Select the k largest of `x W' + b` of every token without holding the others; None if no kernel does this.

    In joint work these are of this rank's latents: see `of_all_ranks`.
    """
    fast = kernels_for(bias)
    if fast is None or k > fast.MOST_SELECTED:
        return None
    values, latents = fast.top_k(x, weight, bias, k)
    tokens = torch.arange(len(x), device=x.device).repeat_interleave(k)
    return Entries(tokens, latents.flatten(), values.flatten())


def _largest(
    pre: Shaped[Tensor, "tokens latents"], k: int, *, signed: bool
) -> tuple[Shaped[Tensor, "tokens k"], Int[Tensor, "tokens k"]]:
    """The k largest values of every row and their places, found by two searches through few values.

    The k stripes with the largest maxima hold the k largest values: a value outside them is at most each of
    those k maxima.
    """
    rows, latents = pre.shape
    stripes = latents // STRIPE
    if pre.dtype == torch.bfloat16 and not signed:
        # as integers, bfloat16 values above zero keep their order and are faster to compare; values below zero
        # all come before them, though in the wrong order
        values, which = _largest(pre.view(torch.int16), k, signed=True)
        return values.view(torch.bfloat16), which
    if latents % STRIPE or stripes < 2 * k:
        return pre.topk(k, dim=1, sorted=False)
    # a stripe is every `stripes`-th latent, so that its maximum runs down columns, which is fast
    best = pre.view(rows, STRIPE, stripes).amax(1).topk(k, dim=1, sorted=False).indices
    steps = torch.arange(0, latents, stripes, device=pre.device)
    candidates = (best[:, None, :] + steps[:, None]).flatten(1)
    values, which = pre.gather(1, candidates).topk(k, dim=1, sorted=False)
    return values, candidates.gather(1, which)


def batch_top_k(pre: Float[Tensor, "tokens latents"], count: int, guess: float) -> Entries:
    """Select the `count` largest values above zero over all tokens (Bussmann et al. 2024, eq. 5).

    `guess` is about the smallest of them: it affects the time of the search, not its result. In joint work `pre` has
    this rank's latents, and the `count` are chosen among those of all ranks.
    """
    found = above(pre, max(guess, 0.0))
    while (there := ranks.total(len(found.values))) < count and guess > 0:
        guess = 0.5 * guess if guess > 1e-3 else 0.0
        found = above(pre, guess)
    if there > count:
        lists = ranks.gather_lists(found.values)
        first = sum(map(len, lists[: ranks.rank()]))
        # sorted again, so that the entries stay in the order of tokens
        kept = torch.cat(lists).topk(count, sorted=False).indices.sort().values - first
        kept = kept[(kept >= 0) & (kept < len(found.values))]
        found = Entries(*(part[kept] for part in found))
    return found


def above(pre: Float[Tensor, "tokens latents"], edge: float | Float[Tensor, " latents"]) -> Entries:
    """Select all values above an edge, which is common to all latents or given for each."""
    tokens, latents = (pre > edge).nonzero(as_tuple=True)
    return Entries(tokens, latents, pre[tokens, latents])


class ByLatent:
    """A pattern of entries, sorted by latent.

    Attributes:
        order: the entries' numbers in sorted order; entries of one latent keep their order.
        starts: the first entry of each latent and, at the end, the number of entries.
        tokens: the token of each sorted entry.
        latents: its latent.
    """

    order: Int[Tensor, " entries"]
    starts: Int[Tensor, " latents_and_one"]
    tokens: Int[Tensor, " entries"]
    latents: Int[Tensor, " entries"]

    def __init__(
        self, latents: Int[Tensor, " entries"], tokens: Int[Tensor, " entries"], count: int, token_count: int
    ) -> None:
        self.token_count = token_count
        self.order = _stable_order(latents, count)
        self.starts = torch.zeros(count + 1, dtype=torch.int64, device=latents.device)
        torch.cumsum(torch.bincount(latents, minlength=count), 0, out=self.starts[1:])
        self.tokens = tokens[self.order]
        self.latents = latents[self.order]

    @cached_property
    def _starts_here(self) -> Int[Tensor, " latents_and_one"]:
        # on the CPU: asking a GPU for each block's first entry would wait for it each time
        return self.starts.cpu()

    def unsorted(self, values: Float[Tensor, " entries"]) -> Float[Tensor, " entries"]:
        """Values of sorted entries in the original order of the entries."""
        out = torch.empty_like(values)
        out[self.order] = values
        return out

    def per_latent(self, values: Float[Tensor, " entries"]) -> Float[Tensor, " latents"]:
        """The sum of each latent's sorted values."""
        if (fast := kernels_for(values)) is not None:
            totals: Tensor = fast.segment_totals(values, self.starts)
            return totals
        return torch.segment_reduce(values, "sum", offsets=self.starts, initial=0)

    def part(self, first: int, last: int) -> tuple["ByLatent", slice]:
        """The entries of the latents from `first` up to `last`, and their place among the sorted ones."""
        begin, end = (int(self._starts_here[i]) for i in (first, last))
        part = object.__new__(ByLatent)
        part.token_count = self.token_count
        part.order = self.order[begin:end]
        part.starts = self.starts[first : last + 1] - begin
        part.tokens = self.tokens[begin:end]
        part.latents = self.latents[begin:end] - first
        return part, slice(begin, end)

    def dots(
        self, weight: Float[Tensor, "latents d_in"], x: Float[Tensor, "tokens d_in"]
    ) -> Float[Tensor, " entries"]:
        """`weight[latent] . x[token]` of each sorted entry."""
        if (fast := kernels_for(x)) is not None:
            dots: Tensor = fast.dots(weight, x, self.latents, self.tokens)
            return dots
        if _has_sparse_products(x.device.type):
            pattern = self._matrix(x.new_zeros(len(self.tokens)))
            products: Tensor = torch.sparse.sampled_addmm(pattern, weight, x.T, beta=0.0).values()
            return products
        out = x.new_empty(len(self.latents))
        slab = max(1, GATHERED_VALUES // x.shape[1])
        for start in range(0, len(self.latents), slab):
            some = slice(start, start + slab)
            out[some] = (weight[self.latents[some]] * x[self.tokens[some]]).sum(1)
        return out

    def sums(
        self,
        values: Float[Tensor, " entries"],
        x: Float[Tensor, "tokens d_in"],
        out: Float[Tensor, "latents d_in"],
        add: bool = False,
    ) -> None:
        """Write (or `add`) the sum of `values x[token]` over each latent's sorted entries into `out`."""
        if (fast := kernels_for(x)) is not None:
            fast.segment_sums(values, self.tokens, self.starts, self.latents, x, out, add)
            return
        if _has_sparse_products(x.device.type):
            torch.addmm(out, self._matrix(values), x, beta=float(add), out=out)
            return
        summed = torch.nn.functional.embedding_bag(
            self.tokens, x, self.starts, per_sample_weights=values, mode="sum", include_last_offset=True
        )
        out.add_(summed) if add else out.copy_(summed)

    def _matrix(self, values: Float[Tensor, " entries"]) -> Tensor:
        shape = (len(self.starts) - 1, self.token_count)
        return torch.sparse_csr_tensor(self.starts, self.tokens, values, shape, check_invariants=False)


def _stable_order(latents: Int[Tensor, " entries"], count: int) -> Int[Tensor, " entries"]:
    """The permutation that sorts the entries by latent, stable within a latent."""
    if latents.device.type != "cpu":
        return latents.argsort(stable=True)
    # numpy sorts 16-bit integers by radix, and longer ones without their places faster than torch does with
    # them
    if count <= 2**16:
        return torch.from_numpy(latents.numpy().astype(np.uint16).argsort(kind="stable"))
    entries = max(1, len(latents))
    return torch.from_numpy(np.sort((latents * entries + torch.arange(entries)).numpy()) % entries)


@cache
def _has_sparse_products(device: str) -> bool:
    """Whether products with compressed rows exist: on a CPU they come with MKL."""
    if device not in ("cpu", "cuda") or (device == "cpu" and not torch.backends.mkl.is_available()):
        return False
    # torch warns once that the layout is in beta; the tests cover its use here
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        starts, column = torch.tensor([0, 1], device=device), torch.tensor([0], device=device)
        torch.sparse_csr_tensor(starts, column, torch.ones(1, device=device), (1, 1), check_invariants=False)
    return True


def kernels_for(x: Float[Tensor, "*shape"]) -> ModuleType | None:
    """The Triton kernels, if they serve this tensor; None: plain torch does."""
    if x.dtype != torch.float32 or not _has_kernels(x.device.type):
        return None
    # Triton takes a while to import, and is not everywhere
    from glossae.sae import kernels

    return kernels


@cache
def _has_kernels(device: str) -> bool:
    """Whether Triton works with the device: an NVIDIA GPU from compute capability 8.0 on."""
    if device != "cuda" or torch.version.cuda is None or find_spec("triton") is None:
        return False
    if torch.cuda.get_device_capability() < (8, 0):
        return False
    from glossae.sae import kernels

    # Triton compiles a kernel, and C code that starts it, at the first use: what can fail then is the machine's affair
    try:
        kernels.segment_totals(torch.ones(1, device=device), torch.tensor([0, 1], device=device))
    except Exception as error:
        warnings.warn(f"sae: Triton does not work here ({error}); plain torch trains", stacklevel=2)
        return False
    return True


def blocks(
    x: Float[Tensor, "tokens d_in"], weight: Float[Tensor, "latents d_in"], bias: Float[Tensor, " latents"]
) -> Iterator[tuple[slice, Iterator[tuple[slice, Float[Tensor, "some block"]]]]]:
    """Yield slices of tokens with their pre-activations `x W' + b`, block by block of latents.

    At most `PRE_ACTIVATIONS` are held at once. A block has all latents, unless fewer than `ENOUGH_TOKENS` would be held
    then, for each of which all weights would be read, or weights come from another device than that of x.
    """
    tokens, (latents, d_in) = len(x), weight.shape
    size, width = max(1, PRE_ACTIVATIONS // max(1, latents)), latents
    if elsewhere(weight, x):
        size = min(max(1, tokens), WIDE_TOKENS)
        width = max(1, PRE_ACTIVATIONS // max(size, d_in))
    elif size < min(tokens, ENOUGH_TOKENS):
        size = min(tokens, WIDE_TOKENS)
        width = max(1, PRE_ACTIVATIONS // size)

    def of(rows: slice) -> Iterator[tuple[slice, Float[Tensor, "some block"]]]:
        for first in range(0, latents, width):
            some = slice(first, min(first + width, latents))
            own, offset = (rows_on(each, some, x.device) for each in (weight, bias))
            yield some, torch.addmm(offset, x[rows], own.T)

    for start in range(0, tokens, size):
        rows = slice(start, min(start + size, tokens))
        yield rows, of(rows)


def elsewhere(weight: Float[Tensor, "latents d_in"], x: Float[Tensor, "*shape"]) -> bool:
    """Whether weights lie on another device than what is computed with them."""
    return weight.device != x.device


def rows_on(
    weight: Float[Tensor, "*whole"], some: slice | Int[Tensor, " some"], device: torch.device
) -> Float[Tensor, "*rows"]:
    """Some rows of weights, on a device that may not have room for all of them."""
    own: Tensor = weight[some if isinstance(some, slice) else some.to(weight.device)]
    return own.to(device)


def _slabs(
    indices: Int[Tensor, "tokens k"], other: Float[Tensor, "tokens _"], weight: Float[Tensor, "latents d_in"]
) -> Iterator[tuple[Int[Tensor, "some k"], Float[Tensor, "some _"], Float[Tensor, "rows d_in"]]]:
    """Yield tokens' latents, what else they have, and the weights' rows by which these latents are counted.

    They are all tokens and rows, unless weights come from elsewhere: then some tokens, and the rows that occur there.
    """
    if not elsewhere(weight, other):
        yield indices, other, weight
        return
    size = max(1, GATHERED_VALUES // max(1, weight.shape[1] * indices.shape[1]))
    for own, its in zip(indices.split(size), other.split(size), strict=True):
        used, place = own.unique(return_inverse=True)
        yield place, its, rows_on(weight, used, its.device)


def sums_by_token(
    entries: Entries, offsets: Int[Tensor, " tokens_and_one"], weight: Float[Tensor, "latents d_in"]
) -> Float[Tensor, "tokens d_in"]:
    """The sum of `values weight[latent]` over each token's entries; token t's begin at `offsets[t]`."""
    if (fast := kernels_for(weight)) is not None:
        out = weight.new_empty(len(offsets) - 1, weight.shape[1])
        fast.segment_sums(entries.values, entries.latents, offsets, entries.tokens, weight, out)
        return out
    return torch.nn.functional.embedding_bag(
        entries.latents,
        weight,
        offsets,
        mode="sum",
        per_sample_weights=entries.values,
        include_last_offset=True,
    )


class TopKEncode(torch.autograd.Function):
    """The k largest pre-activations `x W' + b` of each token, with exact gradients in tokens x k x d_in work."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Float[Tensor, "tokens d_in"],
        weight: Float[Tensor, "latents d_in"],
        bias: Float[Tensor, " latents"],
        k: int,
    ) -> tuple[Float[Tensor, "tokens k"], Int[Tensor, "tokens k"]]:
        """Select the latents; the indices have no gradient."""
        values = x.new_empty(len(x), k)
        indices = torch.empty(len(x), k, dtype=torch.int64, device=x.device)
        for rows, parts in blocks(x, weight, bias):
            values[rows], indices[rows] = _largest_of(parts, k)
        ctx.save_for_backward(x, weight, indices)
        ctx.mark_non_differentiable(indices)
        return values, indices

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        """The gradients of x, weight and bias."""
        x, weight, indices = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        wants_x, wants_weight, wants_bias, _ = ctx.needs_input_grad
        for_bias = None
        if wants_bias:
            for_bias = torch.zeros_like(weight[:, 0]).index_add_(0, indices.flatten(), gradient.flatten())
        return (
            _combine_rows(indices, gradient, weight) if wants_x else None,
            _sum_by_latent(indices, gradient, x, len(weight)) if wants_weight else None,
            for_bias,
            None,
        )


def _largest_of(
    parts: Iterator[tuple[slice, Float[Tensor, "tokens block"]]], k: int
) -> tuple[Float[Tensor, "tokens k"], Int[Tensor, "tokens k"]]:
    """The k largest values of every row and their latents, of blocks of latents that together have at least k."""
    found: list[Tensor] = []
    for latents, pre in parts:
        values, indices = pre.topk(min(k, pre.shape[1]), dim=1, sorted=False)
        indices = indices + latents.start
        if found:
            values, indices = (torch.cat(pair, dim=1) for pair in zip(found, (values, indices), strict=True))
            values, place = values.topk(min(k, values.shape[1]), dim=1, sorted=False)
            indices = indices.gather(1, place)
        found = [values, indices]
    values, indices = found
    return values, indices


class SparseDecode(torch.autograd.Function):
    """Each token's values times the rows of its latents, summed, with exact gradients in tokens x k x d_in work."""

    @staticmethod
    def forward(
        ctx: Any,
        values: Float[Tensor, "tokens k"],
        indices: Int[Tensor, "tokens k"],
        weight: Float[Tensor, "latents d_in"],
    ) -> Float[Tensor, "tokens d_in"]:
        """Combine."""
        ctx.save_for_backward(values, indices, weight)
        return _combine_rows(indices, values, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        """The gradients of values and weight."""
        values, indices, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        wants_values, _, wants_weight = ctx.needs_input_grad
        for_values = None
        if wants_values and elsewhere(weight, gradient):
            slabs = _slabs(indices, gradient, weight)
            dots = [torch.linalg.vecdot(rows[places], its[:, None]) for places, its, rows in slabs]
            for_values = torch.cat(dots)
        elif wants_values:
            pattern = _pattern(indices, len(weight))
            for_values = pattern.unsorted(pattern.dots(weight, gradient)).reshape(indices.shape)
        return (
            for_values,
            None,
            _sum_by_latent(indices, values, gradient, len(weight)) if wants_weight else None,
        )


def _combine_rows(
    indices: Int[Tensor, "tokens k"], values: Float[Tensor, "tokens k"], weight: Float[Tensor, "latents d_in"]
) -> Float[Tensor, "tokens d_in"]:
    """`out[t] = sum_j values[t, j] weight[indices[t, j]]`."""
    parts = [_combined(*slab) for slab in _slabs(indices, values, weight)]
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def _combined(
    indices: Int[Tensor, "tokens k"], values: Float[Tensor, "tokens k"], weight: Float[Tensor, "rows d_in"]
) -> Float[Tensor, "tokens d_in"]:
    if kernels_for(weight) is not None:
        tokens, k = indices.shape
        offsets = torch.arange(0, tokens * k + 1, k, device=indices.device)
        each = torch.arange(tokens, device=indices.device).repeat_interleave(k)
        return sums_by_token(Entries(each, indices.flatten(), values.flatten()), offsets, weight)
    return torch.nn.functional.embedding_bag(indices, weight, per_sample_weights=values, mode="sum")


def _sum_by_latent(
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
