"""Units for tests: an autoencoder's latents, and the coordinates of a site."""

import torch

from sprog.features.units import Fired


class Latents:
    """The latents of an autoencoder."""

    kind = "latent"
    identity = "latent tiny abc"

    def __init__(self, sae):
        self.sae, self.d_in = sae, sae.config.d_in

    def __len__(self):
        return self.sae.config.latents

    def name(self, unit):
        return f"latent {unit}"

    def fired(self, x):
        codes = self.sae.encode(x)
        fires = self.sae.fires(codes)
        return Fired(fires.nonzero()[:, 0], codes.indices[fires], codes.values[fires])

    def read(self, x, units):
        dense = torch.zeros(len(x), len(self), dtype=x.dtype)
        found = self.fired(x)
        dense[found.token, found.unit] = found.value
        return dense[:, list(units)]

    def direction(self, units):
        return self.sae.W_dec[list(units)]


class Coordinates:
    """Every coordinate of the site; all of them fire everywhere."""

    kind = "neuron"
    identity = "neuron tiny abc"

    def __init__(self, d_in):
        self.d_in = d_in

    def __len__(self):
        return self.d_in

    def name(self, unit):
        return f"neuron {unit}"

    def fired(self, x):
        everywhere = torch.ones_like(x, dtype=torch.bool).nonzero()
        return Fired(everywhere[:, 0], everywhere[:, 1], x.reshape(-1))

    def read(self, x, units):
        return x[:, list(units)]

    def direction(self, units):
        return torch.eye(self.d_in)[list(units)]
