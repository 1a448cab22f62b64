"""Where training starts: the scale of the data, the centre of the data, the first weights."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from sprog.sae.sae import Sae
from sprog.sae.selection import batch_top_k

Centre = Literal["mean", "geometric_median", "zero"]
# Weiszfeld's iteration gains about a digit a step on data like these; more is below a batch's own noise
MEDIAN_STEPS = 20


@torch.no_grad()
def input_scale(x: Float[Tensor, "tokens d_in"]) -> float:
    """The factor that gives inputs, less their mean, a mean length of sqrt(d_in).

    A learning rate then means the same at every site.
    """
    length = float((x - x.mean(0)).norm(dim=1).mean())
    return math.sqrt(x.shape[1]) / length if length > 0 else 1.0


@torch.no_grad()
def centre_of(x: Float[Tensor, "tokens d_in"], which: Centre) -> Float[Tensor, " d_in"]:
    """Where the decoder's bias starts; the geometric median is Bricken et al.'s (2023) choice."""
    mean = x.mean(0)
    if which == "zero":
        return torch.zeros_like(mean)
    if which == "mean":
        return mean
    centre = mean
    for _ in range(MEDIAN_STEPS):
        weight = 1 / (x - centre).norm(dim=1).clamp_min(1e-6 * float(x.abs().max()) + 1e-12)
        centre = (weight[:, None] * x).sum(0) / weight.sum()
    return centre


@torch.no_grad()
def initialise(sae: Sae, x: Float[Tensor, "tokens d_in"], centre: Centre, seed: int) -> None:
    """Random directions of length 1, the encoder the decoder's transpose (Gao et al. 2024, section 3).

    Thresholds start where the first batch has k latents above them at a token on average.
    """
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(sae.config.latents, sae.config.d_in, generator=generator)
    weight /= weight.norm(dim=1, keepdim=True)
    sae.W_dec.copy_(weight)
    sae.W_enc.copy_(weight)
    if sae.config.pre_encoder_bias:
        sae.b_dec.copy_(centre_of(x, centre))
    if sae.threshold is not None:
        assert sae.config.k is not None
        count = min(len(x) * sae.config.k, len(x) * sae.config.latents)
        found = batch_top_k(sae.pre_activations(x), count, 1.0)
        sae.threshold.fill_(float(found.values.min()) if len(found.values) else 0.0)


@torch.no_grad()
def initialise_as_published(sae: Sae, seed: int) -> None:
    """The initial values of the paper's code, where its text is silent."""
    generator = torch.Generator().manual_seed(seed)
    weight = 0.01 * torch.randn(sae.config.latents, sae.config.d_in, generator=generator)
    sae.b_enc.copy_(0.1 * torch.randn(sae.config.latents, generator=generator))
    if sae.config.pre_encoder_bias:
        sae.b_dec.copy_(0.1 * torch.randn(sae.config.d_in, generator=generator))
    sae.W_dec.copy_(weight)
    sae.W_enc.copy_(weight)
