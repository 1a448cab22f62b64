"""Any directions at a site as units."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from glossae.errors import GlossaeError
from glossae.lm import Site
from glossae.units.protocol import Fired, Kind, identified


class Directions:
    """Unit vectors with an offset each: they read `x @ v - offset`, and fire where that is above zero.

    Args:
        names: what each is called.
        vectors: the directions. Those that are not of length 1 are brought to it, and their offsets with them, so
            that each fires where it did.
        offsets: what is taken off the product.
        site: where they are, if it is known.

    Raises:
        GlossaeError: there are not as many names and offsets as vectors, a vector is zero or not finite, or an offset
            is not finite.
    """

    kind: Kind = "direction"
    signed = True

    def __init__(
        self,
        names: Sequence[str],
        vectors: Float[Tensor, "units d_in"],
        offsets: Float[Tensor, " units"],
        *,
        site: Site | None = None,
    ) -> None:
        if not len(names) == len(vectors) == len(offsets):
            raise GlossaeError(
                f"directions: {len(names)} names, {len(vectors)} vectors and {len(offsets)} offsets"
            )
        norms = vectors.double().norm(dim=1)
        for name, norm, offset in zip(names, norms.tolist(), offsets.tolist(), strict=True):
            if not (norm > 0 and norm < float("inf") and abs(offset) < float("inf")):
                raise GlossaeError(f"directions: '{name}' has the length {norm} and the offset {offset}")
        self.names, self.site = tuple(names), site
        # float64 here, rounded to the precision of what is read in each product
        self.vectors: Tensor = vectors.double() / norms[:, None]
        self.offsets: Tensor = offsets.double() / norms

    def __len__(self) -> int:
        return len(self.names)

    @property
    def d_in(self) -> int:
        """Width of the site."""
        return int(self.vectors.shape[1])

    @cached_property
    def identity(self) -> str:
        """`direction SITE HASH`, the hash over the names, the vectors and the offsets."""
        digest = hashlib.sha256(json.dumps(self.names).encode())
        for tensor in (self.vectors, self.offsets):
            digest.update(tensor.cpu().contiguous().numpy().data)
        return identified(
            self.kind, f"{self.site.name}/{self.site.layer}" if self.site else "-", digest.hexdigest()
        )

    def name(self, unit: int) -> str:
        """What a table calls it."""
        return self.names[unit]

    def fired(self, x: Float[Tensor, "tokens d_in"]) -> Fired:
        """Every token and direction that reads above zero there, token by token."""
        values = self.pre_activations(x if x.dtype == torch.float64 else x.float())
        token, unit = (values > 0).nonzero(as_tuple=True)
        return Fired(token, unit, values[token, unit])

    def read(self, x: Float[Tensor, "tokens d_in"], units: Sequence[int]) -> Float[Tensor, "tokens chosen"]:
        """What a few read, also where they do not fire; half precision becomes float32."""
        ids = torch.tensor(list(units), dtype=torch.int64, device=self.vectors.device)
        precise = x if x.dtype == torch.float64 else x.float()
        return precise @ self.vectors[ids].to(precise).T - self.offsets[ids].to(precise)

    def pre_activations(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens units"]:
        """What all of them read."""
        return x @ self.vectors.to(x).T - self.offsets.to(x)

    def direction(self, units: Sequence[int]) -> Float[Tensor, "chosen d_in"]:
        """The unit vectors, float64."""
        return self.vectors[torch.tensor(list(units), dtype=torch.int64, device=self.vectors.device)]

    @staticmethod
    def join(families: Sequence["Directions"]) -> "Directions":
        """Several families as one, in their order.

        Raises:
            GlossaeError: they are of different sites or widths.
        """
        first = families[0]
        for other in families[1:]:
            if (other.site, other.d_in) != (first.site, first.d_in):
                raise GlossaeError(
                    f"directions: some are of {first.site} with {first.d_in} values, "
                    f"others of {other.site} with {other.d_in}"
                )
        return Directions(
            [name for family in families for name in family.names],
            torch.cat([family.vectors for family in families]),
            torch.cat([family.offsets for family in families]),
            site=first.site,
        )
