"""Autoencoders in training on the same batches."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from glossae.errors import GlossaeError
from glossae.memory import enough_memory
from glossae.sae.config import SaeConfig
from glossae.sae.product import EncoderProduct, encoder_dtype
from glossae.sae.sae import Sae
from glossae.sae.trainer import Trainer, TrainPoint, TrainSettings

Job = tuple[SaeConfig, TrainSettings]
"""An autoencoder to be trained."""
# tokens by which weights are checked before they are kept
CHECKED = 64


class Group:
    """Autoencoders in training on the same batches."""

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        self.trainers = list(trainers)
        settings, device = self.trainers[0].settings, self.trainers[0].mean.device
        dtype = torch.float32 if settings.published else encoder_dtype(settings.encoder_dtype, device)
        self.product = EncoderProduct([trainer.sae for trainer in self.trainers], dtype)

    @classmethod
    def started(cls, jobs: Sequence[Job], first: Float[Tensor, "tokens d_in"]) -> "Group":
        """A group before its first step.

        Raises:
            GlossaeError: the first batch is not finite, or memory is out.
        """
        require_finite(first, 1)
        with enough_memory(no_memory(jobs)):
            return cls([Trainer.started(config, settings, first) for config, settings in jobs])

    @property
    def tokens(self) -> int:
        """Tokens trained on so far."""
        return self.trainers[0].tokens

    @torch.no_grad()
    def step(self, batch: Float[Tensor, "tokens d_in"]) -> None:
        """One optimiser step of every autoencoder.

        Raises:
            GlossaeError: activations are not finite, a loss diverges, or memory is out.
        """
        first = self.trainers[0]
        require_finite(batch, first.steps + 1)
        with enough_memory(
            f"sae: there is not enough memory for a step of {len(batch)} tokens; lower sae.batch_tokens (or "
            f"sae.batch_sentences), or {fewer(self.trainers)}"
        ):
            x = first.inputs(batch)
            offset = self.product.offset(first.mean)
            centred = x - offset
            variance = _variance(centred)
            for trainer, pre in zip(self.trainers, self.product(centred, offset), strict=True):
                trainer.step(x, pre, variance, centred if offset is not first.mean else None)

    @torch.no_grad()
    def check(self, batch: Float[Tensor, "tokens d_in"]) -> None:
        """Refuse weights that a step has ruined, by a few tokens of its batch: its own loss was taken before it.

        Raises:
            GlossaeError: some autoencoder's loss diverges.
        """
        first = self.trainers[0]
        x = first.inputs(batch[:CHECKED])
        variance = _variance(x - self.product.offset(first.mean))
        for trainer in self.trainers:
            trainer.check_loss(float((trainer.sae(x) - x).square().sum()), x.numel(), variance)

    def finish(self) -> list[tuple[Sae, list[TrainPoint]]]:
        """The autoencoders for unscaled inputs, each with its log."""
        return [(trainer.finish(), trainer.log) for trainer in self.trainers]


def require_finite(batch: Float[Tensor, "tokens d_in"], step: int) -> None:
    """Refuse a batch with infinities or NaN in it.

    Raises:
        GlossaeError: it has some.
    """
    # a sum is finite only if everything in it is, and overflows so seldom that asking twice is cheap
    if not bool(torch.isfinite(batch.sum())) and not bool(torch.isfinite(batch).all()):
        raise GlossaeError(f"sae: the model's activations are not finite (step {step})")


def _variance(x: Float[Tensor, "tokens d_in"]) -> float:
    """The sum of squares around the mean, of what lies about zero already."""
    flat, mean = x.flatten(), x.mean(0)
    squares = float(torch.dot(flat, flat))
    variance = squares - len(x) * float(torch.dot(mean, mean))
    # less than this is rounding
    return variance if variance > 1e-6 * squares else 0.0


def no_memory(jobs: Sequence[Job]) -> str:
    """What to say where there is no room for the weights, gradients and moments of these."""
    config = jobs[0][0]
    what = "an autoencoder" if len(jobs) == 1 else f"{len(jobs)} autoencoders"
    return (
        f"sae: there is not enough memory to train {what} of {config.latents} latents on a site of width "
        f"{config.d_in}; lower {fewer(jobs)}"
    )


def fewer(trained: Sequence[object]) -> str:
    """The settings that make smaller what is trained; several at once are a grid."""
    if len(trained) == 1:
        return "sae.latents (or sae.expansion)"
    return "grid.latents (or grid.expansion), or give fewer grid.k or grid.l1"
