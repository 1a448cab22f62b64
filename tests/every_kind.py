"""One family of units of every kind on the tiny model, and a model that computes in float64."""

import copy
import dataclasses

import torch

from features_sae import SITE, random_sae
from glossae.units import Directions, Latents, Neurons

WIDTH = 48


def families():
    """{name: units} at `SITE`: latents of every activation, neurons, directions."""
    generator = torch.Generator().manual_seed(8)
    vectors = torch.randn(5, WIDTH, generator=generator)
    return {
        "latents": Latents(random_sae()),
        "latents without relu": Latents(random_sae(relu=False)),
        "neurons": Neurons(SITE, WIDTH),
        "neurons, both ways": Neurons(SITE, WIDTH, signed=True),
        "directions": Directions(
            [f"d{i}" for i in range(5)], vectors, torch.tensor([0.0, 0.1, -0.2, 5.0, -50.0]), site=SITE
        ),
    }


def precise(lm):
    """The same model in float64, so that only mistakes depend on the company a token is in."""
    return dataclasses.replace(lm, model=copy.deepcopy(lm.model).double())


def orthonormal(count):
    """Directions at right angles to each other."""
    generator = torch.Generator().manual_seed(2)
    basis, _ = torch.linalg.qr(torch.randn(WIDTH, count, generator=generator, dtype=torch.float64))
    return Directions([f"q{i}" for i in range(count)], basis.T, torch.linspace(-1, 1, count))
