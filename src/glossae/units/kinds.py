"""Latents, neurons and directions of a site, with one interface to read, count and change them."""

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
from glossae.files import tensor_bytes
from glossae.lm import Site
from glossae.sae import Codes, Sae

# values of the encoder's matrix converted to another precision at once: 128 MiB of float64
WEIGHTS = 2**24

Kind = Literal["latent", "neuron", "direction"]


class Fired(NamedTuple):
    """The tokens of a batch where units fire, one entry per token and unit.

    Attributes:
        token: the row of the batch.
        unit: the unit that fires there.
        value: its value there.
    """

    token: Int[Tensor, " entries"]
    unit: Int[Tensor, " entries"]
    value: Float[Tensor, " entries"]


@runtime_checkable
class Units(Protocol):
    """Units that can be read and changed at a site."""

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
        """`KIND SITE HASH`, which identifies these units."""
        ...

    def __len__(self) -> int:
        """The number of units."""
        ...

    def name(self, unit: int) -> str:
        """The name of one unit in tables, such as `latent 12` or `difference of means`."""
        ...

    def fired(self, x: Float[Tensor, "tokens d_in"]) -> Fired:
        """Every token and unit that fires; its value is that of `read`."""
        ...

    def read(self, x: Float[Tensor, "tokens d_in"], units: Sequence[int]) -> Float[Tensor, "tokens chosen"]:
        """The values of a few units at every token; 0 for a latent that does not fire."""
        ...

    def direction(self, units: Sequence[int]) -> Float[Tensor, "chosen d_in"]:
        """The change of the site per unit of each unit's value."""
        ...


@runtime_checkable
class CountedUnits(Units, Protocol):
    """Units that statistics can be collected of."""

    @property
    def signed(self) -> bool:
        """Whether `read` can give values below zero."""
        ...

    def pre_activations(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens units"]:
        """Every unit before the decision whether it fires: affine in x, so its mean is that of the mean token."""
        ...


class Latents:
    """The latents of an SAE: one fires where it is selected and, if the SAE says so, above zero (`Sae.fires`).

    A latent's value is that in the code, 0 where it is not selected, and its direction is its row of `W_dec`.
    Everything is computed in the SAE's own precision.
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
        """`latent SITE HASH`, where the hash covers every weight and the config's architecture."""
        config = self.sae.config
        digest = hashlib.sha256(json.dumps(dataclasses.asdict(config), sort_keys=True).encode())
        for name, tensor in sorted(self.sae.state_dict().items()):
            digest.update(name.encode())
            for block in tensor_bytes(tensor):
                digest.update(block)
        place = f"{config.site}/{config.layer}" if config.site else "-"
        return _identity(self.kind, place, digest.hexdigest())

    def name(self, unit: int) -> str:
        """The latent's name in tables."""
        return f"latent {unit}"

    @torch.no_grad()
    def fired(self, x: Float[Tensor, "tokens d_in"]) -> Fired:
        """Every token and latent that fires there, in the order of tokens."""
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
        # a column for each requested latent, and one more for all the others
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
                self.sae.W_enc[first : first + step].to(x),
                self.sae.b_enc[first : first + step].to(x),
            )
            for first in range(0, len(self), step)
        ]
        return torch.cat(parts, dim=1)

    def rows(self) -> tuple[Float[Tensor, "_ d_in"], ...]:
        """The decoder in blocks of rows, of which a copy in another precision has a bounded size."""
        blocks: tuple[Tensor, ...] = self.sae.W_dec.detach().split(max(1, WEIGHTS // self.d_in))
        return blocks

    def norms(self) -> Float[Tensor, " units"]:
        """The length of every latent's direction, float64."""
        return torch.cat([part.double().norm(dim=1) for part in self.rows()])

    def direction(self, units: Sequence[int]) -> Float[Tensor, "chosen d_in"]:
        """Their rows of the decoder."""
        return self.sae.W_dec[torch.tensor(list(units), dtype=torch.int64, device=self.sae.W_dec.device)]


class Neurons:
    """Every coordinate of a site: its value is the coordinate, and it fires above zero.

    This is the convention of language activation probability entropy (LAPE; Tang et al. 2024, eq. 1), which
    counts values of an MLP's activation function above zero. It fits `mlp.hidden`. Coordinates of the residual
    stream have a meaning with either sign, so `signed` adds the negation of each.

    Args:
        site: their site.
        width: the number of coordinates.
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
        """`neuron SITE HASH`, where the hash covers the model's name, the site and the width."""
        digest = hashlib.sha256(json.dumps([self.model, *self.site, self.width, self.both]).encode())
        return _identity(self.kind, f"{self.site.name}/{self.site.layer}", digest.hexdigest())

    def name(self, unit: int) -> str:
        """The neuron's name in tables."""
        return f"neuron {unit}" if unit < self.width else f"neuron {unit - self.width}, negated"

    def fired(self, x: Float[Tensor, "tokens d_in"]) -> Fired:
        """Every token and coordinate above zero there, in the order of tokens."""
        return _above_zero(self.pre_activations(_precise(x)))

    def read(self, x: Float[Tensor, "tokens d_in"], units: Sequence[int]) -> Float[Tensor, "tokens chosen"]:
        """A few coordinates, or their negations, also where they do not fire; half precision becomes float32."""
        ids = torch.tensor(list(units), dtype=torch.int64, device=x.device)
        sign = torch.where(ids < self.width, 1, -1)
        return _precise(x)[:, ids % self.width] * sign

    def pre_activations(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens units"]:
        """All coordinates."""
        return torch.cat([x, -x], dim=1) if self.both else x

    def direction(self, units: Sequence[int]) -> Float[Tensor, "chosen d_in"]:
        """The axis of each, or its negation, on the CPU."""
        ids = torch.tensor(list(units), dtype=torch.int64)
        axes = torch.zeros(len(ids), self.width)
        axes[torch.arange(len(ids)), ids % self.width] = torch.where(ids < self.width, 1.0, -1.0)
        return axes


class Directions:
    """Unit vectors with an offset each: their value is `x @ v - offset`, and they fire above zero.

    Args:
        names: the name of each.
        vectors: the directions. They are scaled to length 1 and their offsets likewise, so that each fires at
            the same tokens.
        offsets: the number subtracted from each product.
        site: their site, if known.

    Raises:
        GlossaeError: the numbers of names, vectors and offsets differ, a vector is zero or not finite, or an
            offset is not finite.
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
        # float64 here, rounded to the precision of the input in each product
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
        """`direction SITE HASH`, where the hash covers the names, the vectors and the offsets."""
        digest = hashlib.sha256(json.dumps(self.names).encode())
        for tensor in (self.vectors, self.offsets):
            digest.update(tensor.cpu().contiguous().numpy().data)
        place = f"{self.site.name}/{self.site.layer}" if self.site else "-"
        return _identity(self.kind, place, digest.hexdigest())

    def name(self, unit: int) -> str:
        """The direction's name in tables."""
        return self.names[unit]

    def fired(self, x: Float[Tensor, "tokens d_in"]) -> Fired:
        """Every token and direction above zero there, in the order of tokens."""
        return _above_zero(self.pre_activations(_precise(x)))

    def read(self, x: Float[Tensor, "tokens d_in"], units: Sequence[int]) -> Float[Tensor, "tokens chosen"]:
        """The values of a few, also where they do not fire; half precision becomes float32."""
        ids = torch.tensor(list(units), dtype=torch.int64, device=self.vectors.device)
        precise = _precise(x)
        return precise @ self.vectors[ids].to(precise).T - self.offsets[ids].to(precise)

    def pre_activations(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens units"]:
        """The values of all."""
        return x @ self.vectors.to(x).T - self.offsets.to(x)

    def direction(self, units: Sequence[int]) -> Float[Tensor, "chosen d_in"]:
        """The unit vectors, float64."""
        return self.vectors[torch.tensor(list(units), dtype=torch.int64, device=self.vectors.device)]


def set_units(
    units: Units,
    x: Float[Tensor, "tokens d_in"],
    ids: Sequence[int],
    targets: Sequence[float] | Float[Tensor, "*tokens chosen"],
) -> Float[Tensor, "tokens d_in"]:
    """The site with some units set to `targets`, and all else unchanged: x + (targets - read(x)) @ direction.

    For latents this is the error-preserving edit x + decode(z') - decode(z): what the SAE does not explain
    stays. Afterwards a neuron has its target value, and so do orthogonal directions; other directions move
    each other.

    Args:
        units: the units.
        x: the site.
        ids: the units to change.
        targets: the new value of each, the same at every token or token by token.

    Raises:
        GlossaeError: a unit does not exist.
    """
    check_ids(units, ids)
    now = units.read(x, ids)
    wanted = torch.as_tensor(targets, dtype=now.dtype, device=now.device)
    return x.to(now.dtype) + (wanted - now) @ units.direction(ids).to(now)


def check_ids(units: Units, ids: Sequence[int]) -> None:
    """Refuse units that do not exist.

    Raises:
        GlossaeError: a unit does not exist.
    """
    for unit in ids:
        if not 0 <= unit < len(units):
            raise GlossaeError(f"edit: there is no {units.kind} {unit}; there are 0 to {len(units) - 1}")


def _identity(kind: Kind, place: str, digest: str) -> str:
    """`KIND SITE HASH`; SITE such as `mlp.hidden/3`, or `-` if it is unknown."""
    return f"{kind} {place} {digest[:16]}"


def _above_zero(values: Float[Tensor, "tokens units"]) -> Fired:
    token, unit = (values > 0).nonzero(as_tuple=True)
    return Fired(token, unit, values[token, unit])


def _precise(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return x if x.dtype == torch.float64 else x.float()
