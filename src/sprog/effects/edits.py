"""Edits as data, and what they do to a site's tensor."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from sprog.errors import SprogError
from sprog.features import Latents, Units, changed, check_ids
from sprog.lm import TokenEdit
from sprog.sae import Sae


@dataclass(frozen=True)
class Edit:
    """A change to some latents of an autoencoder, or to some units of another kind.

    Attributes:
        operation: `none` leaves the code as it is; `set` and `mean` fix the units at `targets` at every
            token, also where they did not fire.
        units: the units' numbers.
        targets: the value of each, in units of the saved latent; of a neuron or a direction, what it reads.
        splice: the reconstruction replaces the activation, as in the paper, which latents only have. Otherwise
            the edit is error-preserving: what the autoencoder does not explain stays as it was.
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

    def compile(self, units: Sae | Units) -> TokenEdit:
        """The function `(tokens, d) -> (tokens, d)` for `lm.edit`.

        Error-preserving: x + decode(z') - decode(z), which only the edited rows of the decoder enter; in general
        `changed`.

        Args:
            units: an autoencoder, whose latents are meant, or units of any kind.

        Raises:
            SprogError: there is no such unit, or a splice is asked of what is no autoencoder's.
        """
        of = Latents(units) if isinstance(units, Sae) else units
        check_ids(of, self.units)
        if self.splice and not isinstance(of, Latents):
            raise SprogError(f"edit: a {of.kind} has no reconstruction to splice; leave splice off")

        def apply(x: Float[Tensor, "tokens d"]) -> Float[Tensor, "tokens d"]:
            if not self.splice or not isinstance(of, Latents):
                return changed(of, x, self.units, self.targets) if self.units else x
            codes = of.sae.encode(x.to(of.sae.W_dec.dtype))
            now = of.values(codes, self.units)
            return of.sae.decode(codes) + (now.new_tensor(self.targets) - now) @ of.direction(self.units)

        return apply
