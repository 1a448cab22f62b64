"""Sums and dot products over (token, latent) entries, one latent after the other.

A sparse code is a list of entries. Sorted by latent they are the rows of a sparse matrix `(latents, tokens)`, and
everything that a training step needs of the selected latents is a product with that pattern: what each latent's
row of the encoder and of the decoder learns (`sums`), and how well a row fits each of its tokens (`dots`). Each
costs entries x d_in, where a dense product costs tokens x latents x d_in, and reads and writes every row once.
"""

import warnings
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

# rows gathered at once where there is no sparse product, in values: 64 MiB of float32
GATHERED_VALUES = 2**24


class ByLatent:
    """A pattern of entries, sorted by latent.

    Attributes:
        order: the entries' numbers in sorted order; within a latent they keep the order they came in.
        starts: where each latent's entries begin and, at the end, how many there are.
        tokens: the token of each sorted entry.
    """

    order: Int[Tensor, " entries"]
    starts: Int[Tensor, " latents_and_one"]
    tokens: Int[Tensor, " entries"]

    def __init__(
        self, latents: Int[Tensor, " entries"], tokens: Int[Tensor, " entries"], count: int, token_count: int
    ) -> None:
        self.token_count = token_count
        self.order = _stable_order(latents, count)
        self.starts = torch.zeros(count + 1, dtype=torch.int64, device=latents.device)
        torch.cumsum(torch.bincount(latents, minlength=count), 0, out=self.starts[1:])
        self.tokens = tokens[self.order]

    def unsorted(self, values: Float[Tensor, " entries"]) -> Float[Tensor, " entries"]:
        """Sorted entries' values in the order that the entries came in."""
        out = torch.empty_like(values)
        out[self.order] = values
        return out

    def per_latent(self, values: Float[Tensor, " entries"]) -> Float[Tensor, " latents"]:
        """The sum of each latent's sorted values."""
        return torch.segment_reduce(values, "sum", offsets=self.starts, initial=0)

    def part(self, first: int, last: int) -> tuple["ByLatent", slice]:
        """The entries of the latents from `first` up to `last`, and where they are among the sorted ones."""
        begin, end = (int(self.starts[i]) for i in (first, last))
        part = object.__new__(ByLatent)
        part.token_count = self.token_count
        part.order = self.order[begin:end]
        part.starts = self.starts[first : last + 1] - begin
        part.tokens = self.tokens[begin:end]
        return part, slice(begin, end)

    def dots(
        self, weight: Float[Tensor, "latents d_in"], x: Float[Tensor, "tokens d_in"]
    ) -> Float[Tensor, " entries"]:
        """`weight[latent] . x[token]` of each sorted entry."""
        if _has_sparse_products(x.device.type):
            pattern = self._matrix(x.new_zeros(len(self.tokens)))
            products: Tensor = torch.sparse.sampled_addmm(pattern, weight, x.T, beta=0.0).values()
            return products
        latents = torch.repeat_interleave(self.starts.diff())
        out = x.new_empty(len(latents))
        slab = max(1, GATHERED_VALUES // x.shape[1])
        for start in range(0, len(latents), slab):
            some = slice(start, start + slab)
            out[some] = (weight[latents[some]] * x[self.tokens[some]]).sum(1)
        return out

    def sums(
        self,
        values: Float[Tensor, " entries"],
        x: Float[Tensor, "tokens d_in"],
        out: Float[Tensor, "latents d_in"],
        add: bool = False,
    ) -> None:
        """Write (or `add`) the sum of `values x[token]` over each latent's sorted entries into `out`."""
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
    """What sorts the entries by latent, those of one latent staying in order."""
    if latents.device.type != "cpu":
        return latents.argsort(stable=True)
    # numpy sorts numbers of 16 bits by radix, and longer ones without their places faster than torch does with them
    if count <= 2**16:
        return torch.from_numpy(latents.numpy().astype(np.uint16).argsort(kind="stable"))
    entries = max(1, len(latents))
    return torch.from_numpy(np.sort((latents * entries + torch.arange(entries)).numpy()) % entries)


@cache
def _has_sparse_products(device: str) -> bool:
    """Whether products with compressed rows are there: on a CPU they come with MKL."""
    if device == "cpu" and not torch.backends.mkl.is_available():
        return False
    if device not in ("cpu", "cuda"):
        return False
    # torch says once that the layout is in beta; what it is used for here is tested
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        starts, column = torch.tensor([0, 1], device=device), torch.tensor([0], device=device)
        torch.sparse_csr_tensor(starts, column, torch.ones(1, device=device), (1, 1), check_invariants=False)
    return True
