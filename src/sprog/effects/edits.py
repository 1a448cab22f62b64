"""Edits as data, and what they do to a site's tensor."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from sprog.errors import SprogError
from sprog.lm import TokenEdit
from sprog.sae import Sae


@dataclass(frozen=True)
class Edit:
    """A change to some latents of an autoencoder.

    Attributes:
        operation: `none` leaves the code as it is; `set` and `mean` fix the latents at `targets` at every
            token, also where they did not fire.
        units: the latents.
        targets: the value of each, in units of the saved latent.
        splice: the reconstruction replaces the activation, as in the paper. Otherwise the edit is
            error-preserving: what the autoencoder does not explain stays as it was.
        value: the dose that the targets stand for, as it is reported; None where there is none.
    """

    operation: Literal["none", "set", "mean"]
    units: tuple[int, ...] = ()
    targets: tuple[float, ...] = ()
    splice: bool = False
    value: float | None = None

    def __post_init__(self) -> None:
        if len(self.units) != len(self.targets):
            raise SprogError(f"edit: {len(self.units)} units but {len(self.targets)} values")
        for place, unit in enumerate(self.units):
            if unit in self.units[:place]:
                raise SprogError(f"edit: the latent {unit} is named twice")

    def compile(self, sae: Sae) -> TokenEdit:
        """The function `(tokens, d) -> (tokens, d)` for `lm.edit`.

        Error-preserving: x + decode(z') - decode(z), which only the edited rows of the decoder enter.

        Raises:
            SprogError: the autoencoder has no such latent.
        """
        for unit in self.units:
            if not 0 <= unit < sae.config.latents:
                raise SprogError(f"edit: there is no latent {unit}; there are 0 to {sae.config.latents - 1}")
        ids = torch.tensor(self.units, dtype=torch.int64, device=sae.W_dec.device)
        targets = torch.tensor(self.targets, dtype=sae.W_dec.dtype, device=sae.W_dec.device)

        def apply(x: Float[Tensor, "tokens d"]) -> Float[Tensor, "tokens d"]:
            if not self.splice and not self.units:
                return x
            codes = sae.encode(x.to(sae.W_dec.dtype))
            base = sae.decode(codes) if self.splice else x.to(sae.W_dec.dtype)
            # a latent that was not selected has the value 0
            now = (codes.values[:, :, None] * (codes.indices[:, :, None] == ids)).sum(1)
            return base + (targets - now) @ sae.W_dec[ids]

        return apply
