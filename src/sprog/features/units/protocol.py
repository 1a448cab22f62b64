"""What can be read at a site, scored and changed: one interface for latents, neurons and directions."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

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
