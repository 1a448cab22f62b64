"""Bins for histograms of units' values, with the same edges for all units and runs.

A bin is an interval of magnitudes; its edges are powers of two and eighths between them. So a value's bin
follows from
its sign, its exponent and the first three bits of its mantissa as a float32: exact, the same on every device,
by one table look-up. Bins are fine where values usually are, 1/16 to 256, and coarse for 8 octaves on either
side of that;
smaller and larger values belong to the outermost bins. Zeros are in no bin: they come between the bins below
and those above zero.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

# octaves: with fine bins, and on either side of those
FINE, COARSE = range(-4, 8), 8
MANTISSA_BITS, EIGHTHS = 23, 8

LayoutName = Literal["positive", "signed", "fine"]


@dataclass(frozen=True)
class Layout:
    """The bins of a histogram.

    Attributes:
        name: the name in files.
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
        """The edges of the bins above zero, ascending; the first and the last bin have no outer edge."""
        below = [2.0 ** (FINE[0] - COARSE + COARSE * i / self.coarse) for i in range(self.coarse)]
        fine = [2.0**octave * (1 + i / self.per_octave) for octave in FINE for i in range(self.per_octave)]
        above = [2.0 ** (FINE[-1] + 1 + COARSE * i / self.coarse) for i in range(self.coarse)]
        # between powers of two an edge is an eighth
        edges = torch.tensor([*below, *fine, *above], dtype=torch.float64)
        octave = edges.log2().floor().exp2()
        return (edges / octave * EIGHTHS).round() / EIGHTHS * octave

    @property
    def zero(self) -> int:
        """The number of bins below zero."""
        return len(self.magnitudes) if self.signed else 0

    @property
    def bins(self) -> int:
        """The number of bins."""
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
        """The bin of each nonzero value (meaningless for a zero, and for a value below zero if not `signed`)."""
        table = self._table.to(values.device)
        shift = MANTISSA_BITS - EIGHTHS.bit_length() + 1
        pattern = (values.float().contiguous().view(torch.int32) >> shift) & (len(table) - 1)
        return table[pattern]


# Latents: above zero only. Units with negative values, as many as a model has coordinates. A handful of
# directions, for which more bins are affordable.
LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout("positive", per_octave=4, coarse=8, signed=False),
        Layout("signed", per_octave=2, coarse=4, signed=True),
        Layout("fine", per_octave=8, coarse=16, signed=True),
    )
}
