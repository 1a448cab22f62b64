"""Training a TopK autoencoder on a stream of activations, once through."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sprog.errors import SprogError
from sprog.sae.sae import Sae, SaeConfig

# Gao et al. 2024, section 3 and appendix A: learning rate by the number of latents, and the weight of the
# auxiliary loss
LR_AT_2_14 = 2e-4
AUX_WEIGHT = 1 / 32
# the law was fitted to long runs; one epoch over a small corpus wants larger steps
SHORT_RUN_LR = 2.0
# a latent is dead once it has not fired for this share of the whole training, and no sooner than this
DEAD_SHARE = 0.05
DEAD_TOKENS = 10_000
LOG_POINTS = 200


@dataclass(frozen=True)
class TrainSettings:
    """How to train.

    Attributes:
        steps: how many optimiser steps there will be, for the schedule.
        tokens: how many tokens there will be, for what counts as dead.
        lr: learning rate; None: by the size law.
        warmup, decay: shares of the steps in which the rate rises and, at the end, falls to zero.
        aux_k: how many dead latents learn from the error at each token; None: half the width; 0: none.
        published: the paper's training: no scaling, free decoder rows, small random weights, lr 1e-3.
        seed: of the initial weights.
    """

    steps: int
    tokens: int
    lr: float | None = None
    warmup: float = 0.05
    decay: float = 0.2
    aux_k: int | None = None
    published: bool = False
    seed: int = 0


@dataclass(frozen=True)
class TrainPoint:
    """One line of the training log, averaged over the steps since the last.

    Attributes:
        mse: mean squared error per token and dimension, in the site's own units.
        fvu: the same over the variance of the batch.
        l0: latents firing at a token.
        active_per_batch: distinct latents firing in a batch (the paper's "active neurons").
        dead_fraction: share of latents that count as dead.
    """

    step: int
    tokens: int
    lr: float
    mse: float
    fvu: float
    l0: float
    active_per_batch: float
    dead_fraction: float


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
    first = next(batches, None)
    if first is None:
        raise SprogError("corpora.train: there is no text left to train an autoencoder on")
    trainer = _Trainer(config, settings, first)
    trainer.step(first)
    for batch in batches:
        trainer.step(batch)
        progress(min(1.0, trainer.tokens / max(1, settings.tokens)))
    return trainer.finish(), trainer.log


class _Trainer:
    def __init__(self, config: SaeConfig, settings: TrainSettings, first: Float[Tensor, "_ d_in"]) -> None:
        self.settings = settings
        self.config = config
        self.sae = Sae(config).to(first.device)
        mean = first.mean(0)
        # a scale that makes the learning rate mean the same at every site
        length = float((first - mean).norm(dim=1).mean())
        self.scale = 1.0 if settings.published or length == 0 else math.sqrt(config.d_in) / length
        self._initialise(mean * self.scale)
        law = SHORT_RUN_LR * LR_AT_2_14 / math.sqrt(config.latents / 2**14)
        self.lr = settings.lr if settings.lr is not None else (1e-3 if settings.published else law)
        self.aux_k = (
            0 if settings.published else (config.d_in // 2 if settings.aux_k is None else settings.aux_k)
        )
        self.optimizer = torch.optim.Adam(self.sae.parameters(), lr=self.lr, fused=True)
        self.silent = torch.zeros(config.latents, dtype=torch.int64, device=first.device)
        self.dead_after = max(DEAD_TOKENS, int(DEAD_SHARE * settings.tokens))
        self.steps = self.tokens = 0
        self.log: list[TrainPoint] = []
        self._since: list[tuple[float, ...]] = []

    @torch.no_grad()
    def _initialise(self, bias: Float[Tensor, " d_in"]) -> None:
        generator = torch.Generator().manual_seed(self.settings.seed)
        shape = (self.config.latents, self.config.d_in)
        weight = torch.randn(shape, generator=generator)
        if self.settings.published:
            # the code's initial values, where the text is silent
            weight *= 0.01
            self.sae.b_enc.copy_(0.1 * torch.randn(self.config.latents, generator=generator))
            self.sae.b_pre.copy_(0.1 * torch.randn(self.config.d_in, generator=generator))
        else:
            weight /= weight.norm(dim=1, keepdim=True)
            self.sae.b_pre.copy_(bias)
        self.sae.W_dec.copy_(weight)
        self.sae.W_enc.copy_(weight)

    def step(self, batch: Float[Tensor, "_ d_in"]) -> None:
        """One optimiser step."""
        x = batch.float() * self.scale
        codes = self.sae.encode(x)
        x_hat = self.sae.decode(codes)
        mse = (x_hat - x).square().mean()
        if not torch.isfinite(mse):
            self._explain(batch)
        dead = self.silent > self.dead_after
        loss = mse + AUX_WEIGHT * self._auxiliary(x, x - x_hat.detach(), dead)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * self._schedule()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if not self.settings.published:
            self._keep_unit_rows_before()
        self.optimizer.step()
        if not self.settings.published:
            self._keep_unit_rows_after()
        self._record(x, float(mse.detach()), self.sae.fires(codes), codes.indices)

    def _auxiliary(
        self,
        x: Float[Tensor, "tokens d_in"],
        error: Float[Tensor, "tokens d_in"],
        dead: Bool[Tensor, " latents"],
    ) -> Float[Tensor, ""]:
        """AuxK (Gao et al. 2024, A.2): the best dead latents reconstruct what the live ones missed."""
        latents = dead.nonzero()[:, 0]
        k = min(self.aux_k, len(latents))
        if k == 0:
            return x.new_zeros(())
        values, chosen = self.sae.pre_activations(x, latents).topk(k, dim=1, sorted=False)
        code = torch.zeros(len(x), len(latents), device=x.device).scatter(1, chosen, values.relu())
        # relative to the error itself, so that its weight does not fade as the fit improves
        return (code @ self.sae.W_dec[latents] - error).square().sum() / error.square().sum().clamp_min(1e-12)

    def _schedule(self) -> float:
        if self.settings.published:
            return 1.0
        done, total = self.steps, max(1, self.settings.steps)
        rising = (done + 1) / max(1.0, self.settings.warmup * total)
        falling = (total - done) / max(1.0, self.settings.decay * total)
        return max(0.0, min(1.0, rising, falling))

    @torch.no_grad()
    def _keep_unit_rows_before(self) -> None:
        """Drop the part of the gradient along each decoder row: it would only change its length."""
        rows, gradient = self.sae.W_dec, self.sae.W_dec.grad
        assert gradient is not None
        gradient -= (gradient * rows).sum(1, keepdim=True) * rows

    @torch.no_grad()
    def _keep_unit_rows_after(self) -> None:
        self.sae.W_dec.div_(self.sae.W_dec.norm(dim=1, keepdim=True).clamp_min(1e-12))

    @torch.no_grad()
    def _record(
        self,
        x: Float[Tensor, "tokens d_in"],
        mse: float,
        fires: Bool[Tensor, "tokens k"],
        indices: Tensor,
    ) -> None:
        fired = torch.zeros_like(self.silent, dtype=torch.bool)
        fired[indices[fires]] = True
        self.silent += len(x)
        self.silent[fired] = 0
        self.steps += 1
        self.tokens += len(x)
        variance = float((x - x.mean(0)).square().mean())
        self._since.append(
            (
                mse / self.scale**2,
                mse / variance if variance else 0.0,
                float(fires.sum()) / len(x),
                float(fired.sum()),
                float((self.silent > self.dead_after).float().mean()),
            )
        )
        if self.steps % max(1, self.settings.steps // LOG_POINTS) == 0:
            self._write_log()

    def _write_log(self) -> None:
        means = [sum(column) / len(self._since) for column in zip(*self._since, strict=True)]
        rate = float(self.optimizer.param_groups[0]["lr"])
        self.log.append(TrainPoint(self.steps, self.tokens, rate, *means))
        self._since = []

    def _explain(self, batch: Tensor) -> None:
        if not torch.isfinite(batch).all():
            raise SprogError(f"sae: the model's activations are not finite (step {self.steps + 1})")
        raise SprogError(
            f"sae: the loss is no longer finite at step {self.steps + 1}; lower sae.lr (it is {self.lr:.2g})"
        )

    @torch.no_grad()
    def finish(self) -> Sae:
        """The autoencoder for unscaled inputs: top-k commutes with a positive scale, so biases carry it."""
        if self._since:
            self._write_log()
        self.sae.b_enc.div_(self.scale)
        self.sae.b_pre.div_(self.scale)
        return self.sae.requires_grad_(False)
