"""The coordinates of a site as units."""

import hashlib
import json
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from glossae.errors import GlossaeError
from glossae.lm import Site
from glossae.units.protocol import Fired, Kind, identified


class Neurons:
    """Every coordinate of a site: it reads itself, and fires where it is above zero.

    That is the convention of language activation probability entropy (LAPE; Tang et al. 2024, eq. 1), which counts
    values of an MLP's activation function above zero. It fits `mlp.hidden`; coordinates of the residual stream
    speak both ways, so `signed` adds the negation of each.

    Args:
        site: where they are.
        width: how many coordinates it has.
        signed: the units `width` to `2 width - 1` are the negations of the first `width`.
        model: the model's name: coordinates of different models are different units.
    """

    kind: Kind = "neuron"
    signed = True

    def __init__(self, site: Site, width: int, signed: bool = False, *, model: str = "") -> None:
        if width < 1:
            raise GlossaeError(f"neurons: a site has at least one coordinate, got {width}")
        self.site, self.width, self.both, self.model = site, width, signed, model

    def __len__(self) -> int:
        return 2 * self.width if self.both else self.width

    @property
    def d_in(self) -> int:
        """Width of the site."""
        return self.width

    @property
    def identity(self) -> str:
        """`neuron SITE HASH`, the hash over the model's name, the site and the width."""
        digest = hashlib.sha256(json.dumps([self.model, *self.site, self.width, self.both]).encode())
        return identified(self.kind, f"{self.site.name}/{self.site.layer}", digest.hexdigest())

    def name(self, unit: int) -> str:
        """What a table calls it."""
        return f"neuron {unit}" if unit < self.width else f"neuron {unit - self.width}, negated"

    def fired(self, x: Float[Tensor, "tokens d_in"]) -> Fired:
        """Every token and coordinate above zero there, token by token."""
        values = self.pre_activations(_precise(x))
        token, unit = (values > 0).nonzero(as_tuple=True)
        return Fired(token, unit, values[token, unit])

    def read(self, x: Float[Tensor, "tokens d_in"], units: Sequence[int]) -> Float[Tensor, "tokens chosen"]:
        """A few coordinates, or their negations, also where they do not fire; half precision becomes float32."""
        ids = torch.tensor(list(units), dtype=torch.int64, device=x.device)
        sign = torch.where(ids < self.width, 1, -1)
        return _precise(x)[:, ids % self.width] * sign

    def pre_activations(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens units"]:
        """All of them."""
        return torch.cat([x, -x], dim=1) if self.both else x

    def direction(self, units: Sequence[int]) -> Float[Tensor, "chosen d_in"]:
        """The axis of each, or its negation, on the CPU."""
        ids = torch.tensor(list(units), dtype=torch.int64)
        axes = torch.zeros(len(ids), self.width)
        axes[torch.arange(len(ids)), ids % self.width] = torch.where(ids < self.width, 1.0, -1.0)
        return axes


def _precise(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return x if x.dtype == torch.float64 else x.float()
