"""Autoencoders in training on the same batches."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from sprog.errors import SprogError
from sprog.sae.config import SaeConfig
from sprog.sae.product import EncoderProduct, encoder_dtype
from sprog.sae.sae import Sae
from sprog.sae.trainer import Trainer, TrainPoint, TrainSettings

Job = tuple[SaeConfig, TrainSettings]
"""An autoencoder to be trained."""


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
            SprogError: the first batch is not finite.
        """
        require_finite(first, 1)
        return cls([Trainer.started(config, settings, first) for config, settings in jobs])

    @property
    def tokens(self) -> int:
        """Tokens trained on so far."""
        return self.trainers[0].tokens

    @torch.no_grad()
    def step(self, batch: Float[Tensor, "tokens d_in"]) -> None:
        """One optimiser step of every autoencoder.

        Raises:
            SprogError: activations are not finite, a loss diverges, or memory is out.
        """
        first = self.trainers[0]
        require_finite(batch, first.steps + 1)
        try:
            x = first.inputs(batch)
            offset = self.product.offset(first.mean)
            centred = x - offset
            variance = _variance(centred)
            for trainer, pre in zip(self.trainers, self.product(centred, offset), strict=True):
                trainer.step(x, pre, variance, centred if offset is not first.mean else None)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise _no_memory(len(batch)) from error
        except RuntimeError as error:
            # on a CPU torch has no class of its own for it
            if "can't allocate memory" not in str(error) and "not enough memory" not in str(error):
                raise
            raise _no_memory(len(batch)) from error

    def finish(self) -> list[tuple[Sae, list[TrainPoint]]]:
        """The autoencoders for unscaled inputs, each with its log."""
        return [(trainer.finish(), trainer.log) for trainer in self.trainers]


def require_finite(batch: Float[Tensor, "tokens d_in"], step: int) -> None:
    """Refuse a batch with infinities or NaN in it.

    Raises:
        SprogError: it has some.
    """
    # a sum is finite only if everything in it is, and overflows so seldom that asking twice is cheap
    if not bool(torch.isfinite(batch.sum())) and not bool(torch.isfinite(batch).all()):
        raise SprogError(f"sae: the model's activations are not finite (step {step})")


def _variance(x: Float[Tensor, "tokens d_in"]) -> float:
    """The sum of squares around the mean, of what lies about zero already."""
    flat, mean = x.flatten(), x.mean(0)
    squares = float(torch.dot(flat, flat))
    variance = squares - len(x) * float(torch.dot(mean, mean))
    # less than this is rounding
    return variance if variance > 1e-6 * squares else 0.0


def _no_memory(tokens: int) -> SprogError:
    return SprogError(
        f"sae: there is not enough memory for a step of {tokens} tokens; lower sae.batch_tokens "
        "(or sae.batch_sentences), or sae.expansion"
    )
