"""What each operation of an edit does to a site's tensor."""

import weakref
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from glossae.errors import GlossaeError
from glossae.lm import TokenEdit
from glossae.sae import Codes
from glossae.units import Latents, Units, check_ids

Operation = Literal["none", "set", "zero", "mean", "scale", "add", "project_out"]


class Reading:
    """What units read, with the code of the last tensor kept: edits that share it encode a tensor once.

    Nothing is kept while gradients are recorded, nor where a tensor was written into since.
    """

    def __init__(self, units: Units) -> None:
        self.units = units
        self._of: weakref.ref[Tensor] | None = None
        self._version = -1
        self._codes: Codes | None = None
        self._reconstruction: Tensor | None = None

    def precise(self, x: Float[Tensor, "tokens d"]) -> Float[Tensor, "tokens d"]:
        """The precision that edits are computed in: the autoencoder's, or else at least float32."""
        if isinstance(self.units, Latents):
            return x.to(self.units.sae.W_dec.dtype)
        return x if x.dtype == torch.float64 else x.float()

    def read(self, x: Float[Tensor, "tokens d"], ids: Sequence[int]) -> Float[Tensor, "tokens chosen"]:
        """What a few units read."""
        if isinstance(self.units, Latents):
            return self.units.values(self._code(self.units, x), ids)
        return self.units.read(x, ids)

    def reconstruction(self, x: Float[Tensor, "tokens d"]) -> Float[Tensor, "tokens d"]:
        """What the autoencoder makes of x; only latents have one."""
        assert isinstance(self.units, Latents)
        codes = self._code(self.units, x)
        if self._codes is not codes:
            return self.units.sae.decode(codes)
        if self._reconstruction is None:
            self._reconstruction = self.units.sae.decode(codes)
        return self._reconstruction

    def _code(self, latents: Latents, x: Float[Tensor, "tokens d"]) -> Codes:
        if torch.is_grad_enabled() or x.is_inference():
            return latents.sae.encode(self.precise(x))
        if self._codes is None or self._of is None or self._of() is not x or self._version != x._version:
            self._codes, self._reconstruction = latents.sae.encode(self.precise(x)), None
            self._of, self._version = weakref.ref(x), x._version
        return self._codes


def compiled(
    operation: Operation,
    ids: Sequence[int],
    values: Sequence[float],
    reading: Reading,
    *,
    splice: bool = False,
) -> TokenEdit:
    """The function `(tokens, d) -> (tokens, d)` that an edit is.

    With b the site x, or the reconstruction of it where it is spliced, r what the units read and D their directions:

        none: b          set, zero, mean: b + (values - r) D      scale: b + (values - 1) r D
        add: b + values D                                         project_out: b + V+ (values - V b)

    V has the directions at length 1 and V+ is its pseudo-inverse, so that afterwards V b is `values`, by the smallest
    change that does it. At values of 0 the component along the span of the directions is gone, which for one unit is
    the directional ablation of Deng et al. (2025, arXiv 2505.05111), x - (x.d) d.

    Args:
        operation: what is done.
        ids: which units.
        values: one for each.
        reading: the units.
        splice: whether the reconstruction stands in the site's place.

    Raises:
        GlossaeError: there is no such unit, a direction is zero where it is to be projected out, or a splice is asked
            of what is no autoencoder's; or (when called) the site is of another width.
    """
    units = reading.units
    check_ids(units, ids)
    if splice and not isinstance(units, Latents):
        raise GlossaeError(f"edit: a {units.kind} has no reconstruction to splice; leave splice off")
    along = unit_rows(units, ids) if operation == "project_out" else None
    pull = None if along is None else torch.linalg.pinv(along)

    def apply(x: Float[Tensor, "tokens d"]) -> Float[Tensor, "tokens d"]:
        if x.shape[1] != units.d_in:
            raise GlossaeError(
                f"edit: the {units.kind}s are of a site of d_in {units.d_in}, and this one is {x.shape[1]} wide"
            )
        base = reading.reconstruction(x) if splice else reading.precise(x)
        if operation == "none" or not ids:
            return base if splice else x
        wanted = torch.tensor(values, dtype=base.dtype, device=base.device)
        if operation == "add":
            return base + wanted @ units.direction(ids).to(base)
        if along is not None and pull is not None:
            return torch.addmm(base, wanted - base @ along.T.to(base), pull.T.to(base))
        now = reading.read(x, ids)
        change = now * (wanted - 1) if operation == "scale" else wanted - now
        return torch.addmm(base, change, units.direction(ids).to(base))

    return apply


def unit_rows(units: Units, ids: Sequence[int]) -> Float[Tensor, "chosen d"]:
    """The directions of a few units at length 1, float64.

    Raises:
        GlossaeError: there is no such unit, or a direction is zero.
    """
    check_ids(units, ids)
    rows = units.direction(ids).detach().double()
    norms = rows.norm(dim=1)
    for unit, norm in zip(ids, norms.tolist(), strict=True):
        if norm == 0:
            raise GlossaeError(
                f"edit: {units.name(unit)} has no direction to be projected on: it writes nothing"
            )
    scaled: Tensor = rows / norms[:, None]
    return scaled
