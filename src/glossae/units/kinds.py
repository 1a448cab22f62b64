"""Units of a site, with one interface to read, count and change them: latents, neurons and directions."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from glossae.errors import GlossaeError
from glossae.lm import Site
from glossae.sae import Codes, Sae

# values of the encoder's matrix that are turned into another precision at once: 128 MiB of float64
WEIGHTS = 2**24

Kind = Literal["latent", "neuron", "direction"]


class Fired(NamedTuple):
    """Where units fire on a batch of tokens, one entry per token and unit.

    Attributes:
        token: the row of the batch.
        unit: the unit that fires there.
        value: what it reads there.
    """

    token: Int[Tensor, " entries"]
    unit: Int[Tensor, " entries"]
    value: Float[Tensor, " entries"]


@runtime_checkable
class Units(Protocol):
    """Anything that is read at a site and pushed."""

    @property
    def kind(self) -> Kind:
        """`latent` (of an SAE), `neuron` (a coordinate of the site) or `direction`."""
        ...

    @property
    def d_in(self) -> int:
        """Width of the site."""
        ...

    @property
    def identity(self) -> str:
        """`KIND SITE HASH`, which tells these units from others."""
        ...

    def __len__(self) -> int:
        """How many units there are."""
        ...

    def name(self, unit: int) -> str:
        """What a table calls one unit, such as `latent 12` or `difference of means`."""
        ...

    def fired(self, x: Float[Tensor, "tokens d_in"]) -> Fired:
        """Every token and unit that fires; its value is what `read` gives there."""
        ...

    def read(self, x: Float[Tensor, "tokens d_in"], units: Sequence[int]) -> Float[Tensor, "tokens chosen"]:
        """The values of a few units at every token; a latent that does not fire reads 0."""
        ...

    def direction(self, units: Sequence[int]) -> Float[Tensor, "chosen d_in"]:
        """What one more of each unit adds to the site."""
        ...


@runtime_checkable
class CountedUnits(Units, Protocol):
    """Units that statistics are counted of."""

    @property
    def signed(self) -> bool:
        """Whether `read` can give values below zero."""
        ...

    def pre_activations(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens units"]:
        """Every unit before it is decided whether it fires: affine in x, so its mean is that of the mean token."""
        ...


class Latents:
    """The latents of an SAE: one fires where it is selected and, if the SAE says so, above zero (`Sae.fires`).

    A latent reads its value in the code, 0 where it is not selected, and writes its row of `W_dec`. Everything is
    computed in the SAE's own precision.
    """

    kind: Kind = "latent"

    def __init__(self, sae: Sae) -> None:
        self.sae = sae

    def __len__(self) -> int:
        return self.sae.config.latents

    @property
    def d_in(self) -> int:
        """Width of the site."""
        return self.sae.config.d_in

    @property
    def signed(self) -> bool:
        """Whether a latent can fire below zero."""
        return self.sae.config.negative

    @cached_property
    def identity(self) -> str:
        """`latent SITE HASH`, the hash over every weight and what the config says of them."""
        config = self.sae.config
        digest = hashlib.sha256(json.dumps(dataclasses.asdict(config), sort_keys=True).encode())
        for name, tensor in sorted(self.sae.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        place = f"{config.site}/{config.layer}" if config.site else "-"
        return _identity(self.kind, place, digest.hexdigest())

    def name(self, unit: int) -> str:
        """What a table calls it."""
        return f"latent {unit}"

    @torch.no_grad()
    def fired(self, x: Float[Tensor, "tokens d_in"]) -> Fired:
        """Every token and latent that fires there, token by token."""
        codes = self.sae.encode(x.to(self.sae.W_enc.dtype))
        fires = self.sae.fires(codes)
        return Fired(fires.nonzero()[:, 0], codes.indices[fires], codes.values[fires])

    def read(self, x: Float[Tensor, "tokens d_in"], units: Sequence[int]) -> Float[Tensor, "tokens chosen"]:
        """The values of a few latents in the code."""
        return self.values(self.sae.encode(x.to(self.sae.W_enc.dtype)), units)

    def values(self, codes: Codes, units: Sequence[int]) -> Float[Tensor, "tokens chosen"]:
        """The values of a few latents in a code, 0 where they are not selected."""
        wanted = torch.tensor(list(units), dtype=torch.int64, device=codes.values.device)
        own, place = wanted.unique(return_inverse=True)
        # a column for each latent asked for, and one more for all the others
        column = torch.full((len(self),), len(own), device=wanted.device)
        column[own] = torch.arange(len(own), device=wanted.device)
        found = codes.values.new_zeros(len(codes.values), len(own) + 1)
        return found.scatter_add(1, column[codes.indices], codes.values)[:, place]

    @torch.no_grad()
    def pre_activations(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens units"]:
        """Every latent before selection, in the precision of x."""
        read = self.sae.centred(x).to(x.dtype)
        step = max(1, WEIGHTS // self.d_in)
        parts = [
            torch.nn.functional.linear(
                read,
                self.sae.W_enc[first : first + step].to(x.dtype),
                self.sae.b_enc[first : first + step].to(x.dtype),
            )
            for first in range(0, len(self), step)
        ]
        return torch.cat(parts, dim=1)

    def direction(self, units: Sequence[int]) -> Float[Tensor, "chosen d_in"]:
        """Their rows of the decoder."""
        return self.sae.W_dec[torch.tensor(list(units), dtype=torch.int64, device=self.sae.W_dec.device)]


class Neurons:
    """Every coordinate of a site: it reads itself, and fires where it is above zero.

    That is the convention of language activation probability entropy (LAPE; Tang et al. 2024, eq. 1), which counts
    values of an MLP's activation function above zero. It fits `mlp.hidden`. Coordinates of the residual stream
    have a meaning with either sign, so `signed` adds the negation of each.

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
        return _identity(self.kind, f"{self.site.name}/{self.site.layer}", digest.hexdigest())

    def name(self, unit: int) -> str:
        """What a table calls it."""
        return f"neuron {unit}" if unit < self.width else f"neuron {unit - self.width}, negated"

    def fired(self, x: Float[Tensor, "tokens d_in"]) -> Fired:
        """Every token and coordinate above zero there, token by token."""
        return _above_zero(self.pre_activations(_precise(x)))

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


class Directions:
    """Unit vectors with an offset each: they read `x @ v - offset`, and fire where that is above zero.

    Args:
        names: what each is called.
        vectors: the directions. They are scaled to length 1, and their offsets with them, so that each fires where
            it did.
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
        place = f"{self.site.name}/{self.site.layer}" if self.site else "-"
        return _identity(self.kind, place, digest.hexdigest())

    def name(self, unit: int) -> str:
        """What a table calls it."""
        return self.names[unit]

    def fired(self, x: Float[Tensor, "tokens d_in"]) -> Fired:
        """Every token and direction that reads above zero there, token by token."""
        return _above_zero(self.pre_activations(_precise(x)))

    def read(self, x: Float[Tensor, "tokens d_in"], units: Sequence[int]) -> Float[Tensor, "tokens chosen"]:
        """What a few read, also where they do not fire; half precision becomes float32."""
        ids = torch.tensor(list(units), dtype=torch.int64, device=self.vectors.device)
        precise = _precise(x)
        return precise @ self.vectors[ids].to(precise).T - self.offsets[ids].to(precise)

    def pre_activations(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens units"]:
        """What all of them read."""
        return x @ self.vectors.to(x).T - self.offsets.to(x)

    def direction(self, units: Sequence[int]) -> Float[Tensor, "chosen d_in"]:
        """The unit vectors, float64."""
        return self.vectors[torch.tensor(list(units), dtype=torch.int64, device=self.vectors.device)]


def changed(
    units: Units,
    x: Float[Tensor, "tokens d_in"],
    ids: Sequence[int],
    targets: Sequence[float] | Float[Tensor, "*tokens chosen"],
) -> Float[Tensor, "tokens d_in"]:
    """The site with some units set to `targets`, and all else as it was: x + (targets - read(x)) @ direction.

    For latents that is the error-preserving edit x + decode(z') - decode(z): what the SAE does not explain stays.
    A neuron then reads its target, and so do orthogonal directions; others move each other too.

    Args:
        units: what is changed.
        x: the site.
        ids: which of the units.
        targets: what each is to read, the same at every token or token by token.

    Raises:
        GlossaeError: there is no such unit.
    """
    check_ids(units, ids)
    now = units.read(x, ids)
    wanted = torch.as_tensor(targets, dtype=now.dtype, device=now.device)
    return x.to(now.dtype) + (wanted - now) @ units.direction(ids).to(now)


def check_ids(units: Units, ids: Sequence[int]) -> None:
    """Refuse units that are not there.

    Raises:
        GlossaeError: there is no such unit.
    """
    for unit in ids:
        if not 0 <= unit < len(units):
            raise GlossaeError(f"edit: there is no {units.kind} {unit}; there are 0 to {len(units) - 1}")


def _identity(kind: Kind, place: str, digest: str) -> str:
    """`KIND SITE HASH`; SITE such as `mlp.hidden/3`, or `-` where it is not known."""
    return f"{kind} {place} {digest[:16]}"


def _above_zero(values: Float[Tensor, "tokens units"]) -> Fired:
    token, unit = (values > 0).nonzero(as_tuple=True)
    return Fired(token, unit, values[token, unit])


def _precise(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return x if x.dtype == torch.float64 else x.float()
