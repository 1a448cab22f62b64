"""Training autoencoders on one stream of activations, one or a whole group of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence

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
    """Autoencoders in training on the same batches: their encoders' products are one."""

    def __init__(self, jobs: Sequence[Job], first: Float[Tensor, "tokens d_in"]) -> None:
        require_finite(first, 1)
        self.trainers = [Trainer(config, settings, first) for config, settings in jobs]
        wanted, published = jobs[0][1].encoder_dtype, jobs[0][1].published
        dtype = torch.float32 if published else encoder_dtype(wanted, first.device)
        self.product = EncoderProduct([trainer.sae for trainer in self.trainers], dtype)

    @property
    def tokens(self) -> int:
        """Tokens trained on so far."""
        return self.trainers[0].tokens

    @torch.no_grad()
    def step(self, batch: Float[Tensor, "tokens d_in"]) -> None:
        """One optimiser step of every autoencoder.

        Raises:
            SprogError: activations are not finite, or a loss diverges.
        """
        require_finite(batch, self.trainers[0].steps + 1)
        x = self.trainers[0].inputs(batch)
        products = self.product(x, self.trainers[0].mean)
        for trainer, pre in zip(self.trainers, products, strict=True):
            trainer.step(x, pre)

    def finish(self) -> list[tuple[Sae, list[TrainPoint]]]:
        """The autoencoders for unscaled inputs, each with its log."""
        return [(trainer.finish(), trainer.log) for trainer in self.trainers]


def train(
    config: SaeConfig,
    batches: Iterator[Float[Tensor, "_ d_in"]],
    settings: TrainSettings,
    progress: Callable[[float], None] = lambda _: None,
) -> tuple[Sae, list[TrainPoint]]:
    """Train on batches of activations, one Adam step each, and fold the input scale into the weights.

    The pre-encoder bias starts at the first batch's mean and decoder rows keep length 1, so that a
    latent's value is the length of what it writes. Inputs are scaled to a mean length of sqrt(d_in)
    inside; the returned autoencoder takes them as they are.

    Raises:
        SprogError: there are no activations, some are not finite, or the loss diverges.
    """
    return train_group([(config, settings)], batches, progress)[0]


def train_group(
    jobs: Sequence[Job],
    batches: Iterable[Float[Tensor, "_ d_in"]],
    progress: Callable[[float], None] = lambda _: None,
) -> list[tuple[Sae, list[TrainPoint]]]:
    """Train several autoencoders of one width on the same batches, as `train` would each by itself.

    The precision of the product and whether inputs are scaled are the first job's.

    Raises:
        SprogError: as `train`.
    """
    group: Group | None = None
    total = max(1, jobs[0][1].tokens)
    for batch in batches:
        group = group or Group(jobs, batch)
        group.step(batch)
        progress(min(1.0, group.tokens / total))
    if group is None:
        raise SprogError("corpora.train: there is no text left to train an autoencoder on")
    return group.finish()


def require_finite(batch: Float[Tensor, "tokens d_in"], step: int) -> None:
    """Refuse a batch with infinities or NaN in it.

    Raises:
        SprogError: it has some.
    """
    if not bool(torch.isfinite(batch.sum())) and not bool(torch.isfinite(batch).all()):
        raise SprogError(f"sae: the model's activations are not finite (step {step})")
