"""The latents of an autoencoder as units."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from glossae.sae import Codes, Sae
from glossae.units.protocol import Fired, Kind, identified

# values of the encoder's matrix that are turned into another precision at once: 128 MiB of float64
WEIGHTS = 2**24


class Latents:
    """The latents of an autoencoder: one fires where it is selected and, if the autoencoder says so, above zero.

    `Sae.fires` decides. It reads its value in the code, 0 where it is not selected, and writes its row of `W_dec`.
    Everything is computed in the autoencoder's own precision.
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
        return identified(
            self.kind, f"{config.site}/{config.layer}" if config.site else "-", digest.hexdigest()
        )

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
