"""Training autoencoders on one stream of activations, one or a whole group of them."""

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from glossae.errors import GlossaeError
from glossae.memory import enough_memory
from glossae.sae.checkpoints import Checkpoints
from glossae.sae.config import SaeConfig
from glossae.sae.group import Group, Job, no_memory
from glossae.sae.mixing import Mixer
from glossae.sae.sae import Sae
from glossae.sae.trainer import TrainPoint, TrainSettings

Trained = tuple[Sae, list[TrainPoint]]
"""An autoencoder and the log of its training."""


def train(
    config: SaeConfig,
    batches: Iterator[Float[Tensor, "_ d_in"]],
    settings: TrainSettings,
    progress: Callable[[float], None] = lambda _: None,
) -> Trained:
    """Train on batches of activations, one Adam step each, and fold the input scale into the weights.

    The pre-encoder bias starts at the first batch's mean and decoder rows keep length 1, so that a
    latent's value is the length of what it writes. Inputs are scaled to a mean length of sqrt(d_in)
    inside; the returned autoencoder takes them as they are.

    Raises:
        GlossaeError: there are no activations, some are not finite, or the loss diverges.
    """
    mixer = Mixer(None, 0, torch.Generator())
    return train_group([(config, settings)], lambda _: batches, mixer, progress=progress)[0]


def train_group(
    jobs: Sequence[Job],
    stream: Callable[[int], Iterator[Float[Tensor, "_ d_in"]]],
    mixer: Mixer,
    *,
    checkpoints: Checkpoints | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> list[Trained]:
    """Train autoencoders of one width on the same batches, each as `train` would by itself.

    Whatever the number of autoencoders, the stream is gone through once. The precision of the product and whether
    inputs are scaled are the first job's.

    Args:
        jobs: what to train, and how.
        stream: the chunks of activations from a given number on, the same ones whenever it is called.
        mixer: makes batches of them.
        checkpoints: where to leave off and go on; the result is the same bit for bit.
        progress: called with the finished share.

    Raises:
        GlossaeError: there are no activations, some are not finite, memory is out, or the loss diverges; checkpoints
            made before are kept, and none is made of weights that diverge.
    """
    with enough_memory(no_memory(jobs)):
        group = None if checkpoints is None else checkpoints.restore(jobs, mixer)
    total = max(1, jobs[0][1].tokens)
    for batch in mixer.batches(stream(mixer.taken)):
        group = group or Group.started(jobs, batch)
        group.step(batch)
        progress(min(1.0, group.tokens / total))
        if checkpoints is not None and checkpoints.due():
            group.check(batch)
            checkpoints.save(group, mixer)
    if group is None:
        raise GlossaeError("corpora.train: there is no text left to train an autoencoder on")
    return group.finish()
