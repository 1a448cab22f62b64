"""How two autoencoders' latents correlate over the same tokens, in one pass and from sums only."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from glossae.units import Fired, Latents

# pairs of latents that fire at one token, made at once: 64 MiB of products, and as much of where each belongs
PAIRS = 2**23
# less than this share of a latent's mean square is rounding, and no variance
ROUNDING = 1e-12


class CorrelationSums:
    """Sums over tokens behind Pearson's correlation of latents a_i of one autoencoder with latents b_j of another.

        r(i, j) = (sum a_i b_j - n m_i m_j) / sqrt((sum a_i^2 - n m_i^2) (sum b_j^2 - n m_j^2)),   m the means

    A latent is 0 where it does not fire, and those tokens count like all others. One that never varies correlates with
    nothing: 0. Products are summed for two kinds of pairs: every latent of the first with its own candidates of the
    other, and the selected ones with all of the other. The codes of a batch are gone with it. All sums are float64:
    memory is 8 bytes for each of latents x candidates and of selected x others.

    Args:
        one: the latents a.
        other: the latents b, on the same site.
        candidates: of each latent of the first, some of the other's, no one twice.
        selected: latents of the first.
    """

    def __init__(
        self,
        one: Latents,
        other: Latents,
        candidates: Int[Tensor, "latents candidates"],
        selected: Int[Tensor, " selected"],
    ) -> None:
        self.one, self.other, self.candidates, self.selected = one, other, candidates, selected
        device = candidates.device
        # sum, sum of squares, and on how many tokens each fires
        self._moments = _zeros(device, 3, len(one)), _zeros(device, 3, len(other))
        self._with_candidates = _zeros(device, *candidates.shape)
        self._with_all = _zeros(device, len(selected), len(other))
        self._row = torch.full((len(one),), -1, dtype=torch.int64, device=device)
        self._row[selected] = torch.arange(len(selected), device=device)
        self.tokens = 0

    @torch.no_grad()
    def add(self, x: Float[Tensor, "tokens d_in"]) -> None:
        """Count a batch of the site."""
        if not len(x):
            return
        self.tokens += len(x)
        codes = [_precise(units.fired(x)) for units in (self.one, self.other)]
        for moments, code in zip(self._moments, codes, strict=True):
            for total, each in zip(
                moments, (code.value, code.value.square(), torch.ones_like(code.value)), strict=True
            ):
                total.index_add_(0, code.unit, each)
        a, b = codes
        if not len(a.unit) or not len(b.unit):
            return
        self._add_candidates(a, b)
        self._add_selected(a, b, len(x))

    def fires(self) -> tuple[Int[Tensor, " latents"], Int[Tensor, " others"]]:
        """On how many tokens each latent of either autoencoder fires."""
        one, other = (moments[2].long() for moments in self._moments)
        return one, other

    def of_candidates(self) -> Float[Tensor, "latents candidates"]:
        """The correlation of every latent of the first with its candidates."""
        return self._pearson(
            self._with_candidates, self._moments[0][:, :, None], self._moments[1][:, self.candidates]
        )

    def of_selected(self) -> Float[Tensor, "selected others"]:
        """The correlation of the selected latents of the first with all of the other."""
        return self._pearson(
            self._with_all, self._moments[0][:, self.selected, None], self._moments[1][:, None]
        )

    def _add_candidates(self, a: Fired, b: Fired) -> None:
        # where a token and latent of the other stand in its code, by a number for both
        key, order = (b.token * len(self.other) + b.unit).sort()
        value = b.value[order]
        for rows in torch.arange(len(a.unit), device=key.device).split(
            max(1, PAIRS // self.candidates.shape[1])
        ):
            unit = a.unit[rows]
            wanted = a.token[rows, None] * len(self.other) + self.candidates[unit]
            place = torch.searchsorted(key, wanted).clamp_max(len(key) - 1)
            product = torch.where(key[place] == wanted, a.value[rows, None] * value[place], 0.0)
            self._with_candidates.index_add_(0, unit, product)

    def _add_selected(self, a: Fired, b: Fired, tokens: int) -> None:
        chosen = self._row[a.unit] >= 0
        row, token, value = self._row[a.unit[chosen]], a.token[chosen], a.value[chosen]
        # codes go token by token, so what fires at a token is a run
        count = torch.bincount(b.token, minlength=tokens)
        first = count.cumsum(0) - count
        for part in _runs(count[token]):
            here = count[token[part]]
            entry = torch.arange(len(here), device=here.device).repeat_interleave(here)
            place = torch.arange(len(entry), device=here.device) - (here.cumsum(0) - here)[entry]
            place += first[token[part]][entry]
            cell = row[part][entry] * len(self.other) + b.unit[place]
            self._with_all.view(-1).index_add_(0, cell, value[part][entry] * b.value[place])

    def _pearson(
        self, products: Float[Tensor, "rows columns"], a: Float[Tensor, "3 _ _"], b: Float[Tensor, "3 _ _"]
    ) -> Float[Tensor, "rows columns"]:
        n = max(1, self.tokens)
        spread = [
            torch.where(squares - each.square() / n > ROUNDING * squares, squares - each.square() / n, 0.0)
            for each, squares, _ in (a, b)
        ]
        scale = (spread[0] * spread[1]).sqrt()
        covariance = products - a[0] * b[0] / n
        return torch.where(scale > 0, covariance / scale, 0.0).clamp(-1, 1)


def _runs(sizes: Int[Tensor, " entries"]) -> Iterator[slice]:
    """Runs of entries whose sizes add up to about PAIRS at most, at least one entry each."""
    ends = sizes.cumsum(0)
    first = 0
    while first < len(sizes):
        before = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(torch.searchsorted(ends, before + PAIRS, right=True)))
        yield slice(first, last)
        first = last


def _precise(code: Fired) -> Fired:
    return Fired(code.token, code.unit, code.value.double())


def _zeros(device: torch.device, *shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.float64, device=device)
