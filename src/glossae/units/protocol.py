"""What can be read at a site, scored and changed: one interface for latents, neurons and directions."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from glossae.errors import GlossaeError

Kind = Literal["latent", "neuron", "direction"]


class Fired(NamedTuple):
    """Where units fire on a batch of tokens, an entry a token and unit.

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
    """Anything that is read at a site and pushed.

    Attributes:
        kind: `latent` (of an autoencoder), `neuron` (a coordinate of the site itself) or `direction`.
        d_in: width of the site.
        identity: `KIND SITE HASH`, which tells these units from others.
    """

    @property
    def kind(self) -> Kind:
        """What sort of units these are."""
        ...

    @property
    def d_in(self) -> int:
        """Width of the site."""
        ...

    @property
    def identity(self) -> str:
        """Whose units these are."""
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
    """Units that statistics are counted of.

    Attributes:
        signed: whether `read` can give values below zero.
    """

    @property
    def signed(self) -> bool:
        """Whether `read` can give values below zero."""
        ...

    def pre_activations(self, x: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens units"]:
        """Every unit before it is decided whether it fires: affine in x, so its mean is that of the mean token."""
        ...


def changed(
    units: Units,
    x: Float[Tensor, "tokens d_in"],
    ids: Sequence[int],
    targets: Sequence[float] | Float[Tensor, "*tokens chosen"],
) -> Float[Tensor, "tokens d_in"]:
    """The site with some units set to `targets`, and all else as it was: x + (targets - read(x)) @ direction.

    For latents that is the error-preserving edit x + decode(z') - decode(z): what the autoencoder does not explain
    stays. A neuron then reads its target, and so do directions that are orthogonal to each other; directions that
    are not move each other too.

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


def identified(kind: Kind, site: str, digest: str) -> str:
    """An identity, `KIND SITE HASH`.

    Args:
        kind: what sort of units they are.
        site: the site's name, with a layer where it is known, such as `mlp.hidden/3`; `-` where nothing is known.
        digest: a hash of all that makes these units what they are, of which 16 characters are kept.
    """
    return f"{kind} {site} {digest[:16]}"
