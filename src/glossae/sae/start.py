"""Where training starts: scale and centre of the data, the first weights; and the untrained control."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from glossae.errors import GlossaeError
from glossae.sae.config import SaeConfig
from glossae.sae.sae import Sae
from glossae.sae.selection import batch_top_k

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
def untrained(
    config: SaeConfig,
    x: Float[Tensor, "tokens d_in"],
    *,
    seed: int,
    centre: Centre = "mean",
    published: bool = False,
) -> Sae:
    """The autoencoder that `train` starts from, before its first step: the control for what training adds.

    Decoder rows are random and have length 1, the encoder equals the decoder, the pre-encoder bias is the centre of
    `x`, and `k` or the thresholds are those that training starts with. The input scale is folded into biases and
    thresholds, as in a trained autoencoder. With the first batch, seed, centre and `published` of a training, the
    weights are exactly those that this training started from; any other seed is one more draw of the control.

    Args:
        config: what kind of autoencoder.
        x: activations; the first batch of the training that it is held against.
        seed: of the random rows.
        centre: where the pre-encoder bias starts.
        published: the first weights of the paper's code, see `TrainSettings.published`.

    Raises:
        GlossaeError: there are no activations, or some are not finite.
    """
    if not len(x):
        raise GlossaeError(
            "sae: an untrained autoencoder needs at least one activation for its scale and centre"
        )
    if not bool(torch.isfinite(x).all()):
        raise GlossaeError(
            "sae: the model's activations are not finite; an untrained autoencoder needs finite ones"
        )
    sae, scale = Sae(config).to(x.device), scale_for(x, published=published)
    start(sae, x, scale, seed=seed, centre=centre, published=published)
    return unscaled(sae, scale)


def scale_for(x: Float[Tensor, "tokens d_in"], *, published: bool) -> float:
    """What a training that starts with this batch multiplies its inputs by; the paper's does not scale."""
    return 1.0 if published else input_scale(x.float())


@torch.no_grad()
def start(
    sae: Sae,
    x: Float[Tensor, "tokens d_in"],
    scale: float,
    *,
    seed: int,
    centre: Centre,
    published: bool,
) -> None:
    """Write the first weights, for inputs times `scale`; `x` is the first batch, unscaled.

    Thresholds start where the batch has k latents above them at a token on average.
    """
    scaled = x.float() * scale
    if published:
        initialise_as_published(sae, seed)
    else:
        initialise(sae, scaled, centre, seed)
    if sae.threshold is not None:
        assert sae.config.k is not None
        count = min(len(x) * sae.config.k, len(x) * sae.config.latents)
        found = batch_top_k(sae.pre_activations(scaled), count, 1.0)
        sae.threshold.fill_(float(found.values.min()) if len(found.values) else 0.0)


@torch.no_grad()
def unscaled(sae: Sae, scale: float) -> Sae:
    """The autoencoder for unscaled inputs, changed in place: every activation commutes with a positive scale."""
    sae.b_enc.div_(scale)
    sae.b_dec.div_(scale)
    if sae.threshold is not None:
        sae.threshold.div_(scale)
        sae.threshold.grad = None
    for parameter in sae.parameters():
        parameter.grad = None
    return sae.requires_grad_(False)


@torch.no_grad()
def initialise(sae: Sae, x: Float[Tensor, "tokens d_in"], centre: Centre, seed: int) -> None:
    """Random directions of length 1, the encoder the decoder's transpose (Gao et al. 2024, section 3)."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(sae.config.latents, sae.config.d_in, generator=generator)
    weight /= weight.norm(dim=1, keepdim=True)
    sae.W_dec.copy_(weight)
    sae.W_enc.copy_(weight)
    if sae.config.pre_encoder_bias:
        sae.b_dec.copy_(centre_of(x, centre))


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
