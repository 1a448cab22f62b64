"""Histograms with edges that are fixed once and for all, so that any two merge; AUROC and precision from them.

A bin is an interval of the values' magnitude whose ends are powers of two and eighths between them. So a value's bin
is read off its sign, its exponent and the first three bits of its mantissa as a float32: exact, the same on every
device, and one look into a table. Bins are fine where values usually are, 1/16 to 256, and coarse for 8 octaves on
either side of that; what is smaller or larger still belongs to the outermost bin. Zero has a place of its own,
between the bins below and those above zero: what is in no bin.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

# octaves: the finely binned ones, and those on either side of them
FINE, COARSE = range(-4, 8), 8
MANTISSA_BITS, EIGHTHS = 23, 8
# units whose bins are added up at once
UNITS_AT_ONCE = 8192

LayoutName = Literal["positive", "signed", "fine"]


class Estimate(NamedTuple):
    """What a sketch says of each unit, and how far at most that is from the truth.

    Attributes:
        value: the estimate.
        bound: the exact value over tokens is within `value - bound` and `value + bound`.
    """

    value: Float[Tensor, " units"]
    bound: Float[Tensor, " units"]


@dataclass(frozen=True)
class Layout:
    """Where bins end.

    Attributes:
        name: what a file calls it.
        per_octave: bins in each of the fine octaves: 1, 2, 4 or 8.
        coarse: bins in the 8 octaves on either side of them.
        signed: whether there are as many bins again for values below zero.
    """

    name: LayoutName
    per_octave: int
    coarse: int
    signed: bool

    @cached_property
    def magnitudes(self) -> Float[Tensor, " edges"]:
        """The edges of the bins above zero, rising; the first and the last bin have no outer edge."""
        below = [2.0 ** (FINE[0] - COARSE + COARSE * i / self.coarse) for i in range(self.coarse)]
        fine = [2.0**octave * (1 + i / self.per_octave) for octave in FINE for i in range(self.per_octave)]
        above = [2.0 ** (FINE[-1] + 1 + COARSE * i / self.coarse) for i in range(self.coarse)]
        # between powers of two an edge is an eighth
        edges = torch.tensor([*below, *fine, *above], dtype=torch.float64)
        octave = edges.log2().floor().exp2()
        return (edges / octave * EIGHTHS).round() / EIGHTHS * octave

    @property
    def zero(self) -> int:
        """How many bins lie below zero."""
        return len(self.magnitudes) if self.signed else 0

    @property
    def bins(self) -> int:
        """How many bins there are."""
        return self.zero + len(self.magnitudes)

    @cached_property
    def _table(self) -> Int[Tensor, " patterns"]:
        """The bin of every sign, exponent and first three bits of the mantissa."""
        pattern = torch.arange(2 * 256 * EIGHTHS)
        exponent, eighth = (pattern // EIGHTHS) % 256, pattern % EIGHTHS
        magnitude = (exponent - 127.0).double().exp2() * (1 + eighth.double() / EIGHTHS)
        above = (torch.searchsorted(self.magnitudes, magnitude, right=True) - 1).clamp_min(0)
        negative = pattern >= 256 * EIGHTHS
        return torch.where(negative, (self.zero - 1 - above).clamp_min(0), self.zero + above)

    def of(self, values: Float[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """The bin of each value that is not zero (a zero's is meaningless, as is one below zero if not `signed`)."""
        table = self._table.to(values.device)
        shift = MANTISSA_BITS - EIGHTHS.bit_length() + 1
        pattern = (values.float().contiguous().view(torch.int32) >> shift) & (len(table) - 1)
        return table[pattern]


# Latents: above zero only. Units that read below zero too, as many as a model has coordinates. And a handful of
# directions, which can afford more bins.
LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout("positive", per_octave=4, coarse=8, signed=False),
        Layout("signed", per_octave=2, coarse=4, signed=True),
        Layout("fine", per_octave=8, coarse=16, signed=True),
    )
}


def auroc(
    layout: Layout,
    positive: Int[Tensor, "units bins"],
    positives: int,
    negative: Int[Tensor, "units bins"],
    negatives: int,
) -> Estimate:
    """How often a random positive has a larger value than a random negative, ties counted half.

    Values that share a bin are counted as ties. In truth each such pair counts 0, half or 1, so the error is at most
    half the share of pairs that share a bin; zeros are ties in truth and add nothing to it. 0.5 where there are no
    positives or no negatives.

    Args:
        layout: of both histograms.
        positive: tokens in each bin; the rest read zero.
        positives: how many tokens there are.
        negative: likewise.
        negatives: likewise.
    """
    if not positives or not negatives:
        half = torch.full((len(positive),), 0.5, dtype=torch.float64)
        return Estimate(half, torch.zeros_like(half))
    parts = []
    for units in torch.arange(len(positive)).split(UNITS_AT_ONCE):
        p = _with_zero(layout, positive[units], positives) / positives
        q = _with_zero(layout, negative[units], negatives) / negatives
        tied = p * q
        smaller = q.cumsum(1) - q
        binned = tied.sum(1) - tied[:, layout.zero]
        parts.append(((p * smaller).sum(1) + 0.5 * tied.sum(1), 0.5 * binned))
    return Estimate(*(torch.cat(part) for part in zip(*parts, strict=True)))


def average_precision(
    layout: Layout,
    positive: Int[Tensor, "units bins"],
    positives: int,
    negative: Int[Tensor, "units bins"],
    negatives: int,
) -> Estimate:
    """The mean over positives of the precision at each one's own value, as scikit-learn has it.

    Precision depends on how many positives and negatives there are; by chance it is the positives' share. Within a
    bin the average positive is taken to have half of the bin's negatives above it. If A positives and B negatives
    lie above a bin of a positives and b negatives, the precision at its i-th positive is, whatever their order and
    ties, at least (A + i) / (A + i + B + b), and at most (A + a) / (A + a + B). The bound adds that up. Zeros tie in
    truth, so theirs is exact. NaN where there are no positives.

    Args:
        layout: of both histograms.
        positive: tokens in each bin; the rest read zero.
        positives: how many tokens there are.
        negative: likewise.
        negatives: likewise.
    """
    if not positives:
        nothing = torch.full((len(positive),), torch.nan, dtype=torch.float64)
        return Estimate(nothing, nothing)
    rounding = 1e-12 * (positives + negatives)
    parts = []
    for units in torch.arange(len(positive)).split(UNITS_AT_ONCE):
        own = _with_zero(layout, positive[units], positives)
        other = _with_zero(layout, negative[units], negatives)
        # from above: what lies higher than each bin
        higher = own.flip(1).cumsum(1).flip(1) - own
        higher_other = other.flip(1).cumsum(1).flip(1) - other
        rank = higher + (own + 1) / 2
        middle = own * rank / (rank + higher_other + other / 2)
        most = own * (higher + own) / (higher + own + higher_other).clamp_min(1)
        # the sum over i = 1 ... a of (A + i) / (A + i + C), in which the harmonic sum is a difference of digammas
        below = higher_other + other
        reached = higher + below + 1
        least = own - below * (torch.digamma(reached + own) - torch.digamma(reached))
        zero = layout.zero
        tied = own[:, zero] * (higher + own)[:, zero] / (reached + own - 1)[:, zero].clamp_min(1)
        for column in (middle, most, least):
            column[:, zero] = tied
        error = torch.maximum(most.sum(1) - middle.sum(1), middle.sum(1) - least.sum(1))
        # rounding of the digammas: a few parts in 1e16 of as many as there are tokens, in each bin
        parts.append((middle.sum(1) / positives, (error + rounding) / positives))
    return Estimate(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _with_zero(
    layout: Layout, histogram: Int[Tensor, "units bins"], tokens: int
) -> Float[Tensor, "units places"]:
    """The histogram with zero in its place, as float64, in which counts of tokens are exact."""
    counts = histogram.double()
    nothing = tokens - counts.sum(1, keepdim=True)
    return torch.cat([counts[:, : layout.zero], nothing, counts[:, layout.zero :]], dim=1)
