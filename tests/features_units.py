"""Units for tests: the coordinates of a site."""

import torch

from glossae.units import Fired


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
