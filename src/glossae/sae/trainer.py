"""The trainer of one autoencoder: a step, its log, and the finished autoencoder."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from glossae.errors import GlossaeError
from glossae.sae.config import SaeConfig
from glossae.sae.divergence import check_end, check_loss
from glossae.sae.formats.own import own_tensors
from glossae.sae.gradients import Pass, Penalty, add_auxiliary, dense_pass, make_gradients, sparse_pass
from glossae.sae.product import EncoderDtype
from glossae.sae.sae import Sae
from glossae.sae.selection import Entries, above, batch_top_k, top_k
from glossae.sae.start import Centre, scale_for, start, unscaled

# Gao et al. 2024, section 3: learning rate by the number of latents
LR_AT_2_14 = 2e-4
# of the auxiliary loss. Theirs, in appendix A, is 1/32, for long runs: in one of some hundred steps it revives too
# late, as benchmarks/README.md has it measured
AUX_WEIGHT = 1 / 8
# the law was fitted to long runs, and one epoch over a small corpus wants larger steps: by so much at so many
# steps, and by less the more there are, as benchmarks/README.md has it measured
SHORT_RUN_LR, SHORT_RUN_STEPS = 12.0, 500
# a latent is dead once it has not fired for this share of the whole training, and no sooner than this
DEAD_SHARE = 0.05
DEAD_TOKENS = 2_000
LOG_POINTS = 200
# so many steps at the end have a line each: what the paper reports is a mean over the last but the very last one
LAST_STEPS = 11
# above this share of live entries dense products are faster than sparse ones
DENSE_ABOVE = 0.04
# batch-top-k's threshold is a running mean over about this many steps
THRESHOLD_STEPS = 200
# jumprelu: the kernel's width as a share of the first threshold, the weight of the L0 term, and how much faster
# than the weights the thresholds learn: they have far to go and one number each to learn it with
BANDWIDTH = 0.5
L0_WEIGHT = 1.0
THRESHOLD_LR = 10.0


@dataclass(frozen=True)
class TrainSettings:
    """How to train.

    Attributes:
        steps: how many optimiser steps there will be, for the schedule.
        tokens: how many tokens there will be, for what counts as dead.
        lr: learning rate; None: by the size law.
        warmup, decay: shares of the steps in which the rate rises and, at the end, falls to zero.
        aux_k: how many dead latents learn from the error at each token; None: half the width; 0: none.
        l1: relu: weight of a token's summed latents in the loss, in the site's own units.
        unit_rows: keep decoder rows at length 1, so that a latent's value is the length of what it writes.
        centre: where the pre-encoder bias starts.
        encoder_dtype: precision of the encoder's product; weights and everything else are float32.
        published: the paper's training: no scaling, free decoder rows, small random weights, lr 1e-3, float32.
        frozen_decoder: the decoder's rows stay as they were initialised, and only encoder, biases and thresholds
            learn: a control for what learnt directions add (arXiv 2602.14111). Not with tied weights.
        seed: of the initial weights.
    """

    steps: int
    tokens: int
    lr: float | None = None
    warmup: float = 0.05
    decay: float = 0.2
    aux_k: int | None = None
    l1: float = 0.0
    unit_rows: bool = True
    centre: Centre = "mean"
    encoder_dtype: EncoderDtype = "auto"
    published: bool = False
    frozen_decoder: bool = False
    seed: int = 0


@dataclass(frozen=True)
class TrainPoint:
    """One line of the training log, averaged over the steps since the last; the last steps have one each.

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


def learning_rate(latents: int, settings: TrainSettings) -> float:
    """The rate where none is given: Gao et al.'s law for the number of latents, larger in a short run."""
    if settings.published:
        return 1e-3
    short: float = SHORT_RUN_LR * (SHORT_RUN_STEPS / max(1, settings.steps)) ** (1 / 3)
    return min(max(short, 1.0), SHORT_RUN_LR) * LR_AT_2_14 / math.sqrt(latents / 2**14)


class Trainer:
    """One autoencoder in training; the group it is trained in hands it its pre-activations.

    Raises:
        GlossaeError: the decoder is to be frozen and is tied to the encoder.

    Attributes:
        sae: the autoencoder, of scaled inputs until it is finished.
        scale: what inputs are multiplied by.
        mean: of the first batch, scaled.
        steps, tokens: how far it is.
        log: of every stretch of steps so far.
    """

    def __init__(
        self, config: SaeConfig, settings: TrainSettings, scale: float, mean: Float[Tensor, " d_in"]
    ) -> None:
        self.config, self.settings, self.scale, self.mean = config, settings, scale, mean
        self.sae = Sae(config).to(mean.device)
        if settings.frozen_decoder:
            if config.tied:
                raise GlossaeError(
                    "sae: a frozen decoder needs an encoder of its own; leave tied weights or frozen_decoder off"
                )
            self.sae.W_dec.requires_grad_(False)
        # frozen rows are not renormalised either: rounding would move them
        self.unit_rows = settings.unit_rows and not settings.published and not settings.frozen_decoder
        self.lr = settings.lr if settings.lr is not None else learning_rate(config.latents, settings)
        self.aux_k = config.d_in // 2 if settings.aux_k is None else settings.aux_k
        if settings.published:
            self.aux_k = 0
        self.bandwidth = 0.0
        make_gradients(self.sae)
        self.optimizer = self._optimizer()
        self.silent = torch.zeros(config.latents, dtype=torch.int64, device=mean.device)
        self.dead_after = max(DEAD_TOKENS, int(DEAD_SHARE * settings.tokens))
        self.guess = 0.0
        self.steps = self.tokens = 0
        self.log: list[TrainPoint] = []
        self.since: list[list[float]] = []

    @classmethod
    def started(
        cls, config: SaeConfig, settings: TrainSettings, first: Float[Tensor, "tokens d_in"]
    ) -> "Trainer":
        """A trainer at its first step, with scale, centre and thresholds from the first batch."""
        scale = scale_for(first, published=settings.published)
        trainer = cls(config, settings, scale, (first.float() * scale).mean(0))
        start(
            trainer.sae,
            first,
            scale,
            seed=settings.seed,
            centre=settings.centre,
            published=settings.published,
        )
        if config.activation == "jumprelu":
            assert trainer.sae.threshold is not None
            trainer.bandwidth = max(BANDWIDTH * float(trainer.sae.threshold.mean()), 1e-6)
        return trainer

    @property
    def penalty(self) -> Penalty:
        """What is added to the loss."""
        # in scaled inputs errors grow with the scale's square and latents with the scale itself
        penalty = Penalty(l1=self.settings.l1 * self.scale)
        if self.config.activation == "jumprelu":
            assert self.config.k is not None
            penalty = dataclasses.replace(
                penalty, l0=L0_WEIGHT, l0_target=float(self.config.k), bandwidth=self.bandwidth
            )
        return penalty

    def _optimizer(self) -> torch.optim.Optimizer:
        learnt = [parameter for parameter in self.sae.parameters() if parameter.requires_grad]
        if not self.config.pre_encoder_bias:
            # without a pre-encoder bias there is none at all: the paper's first formula
            learnt = [parameter for parameter in learnt if parameter is not self.sae.b_dec]
        groups: list[dict[str, Any]] = [{"params": learnt, "factor": 1.0}]
        if self.config.activation == "jumprelu":
            assert self.sae.threshold is not None
            self.sae.threshold.grad = torch.zeros_like(self.sae.threshold)
            groups.append({"params": [self.sae.threshold], "factor": THRESHOLD_LR})
        return torch.optim.Adam(groups, lr=self.lr, fused=self.mean.device.type in ("cpu", "cuda"))

    def inputs(self, batch: Float[Tensor, "tokens d_in"]) -> Float[Tensor, "tokens d_in"]:
        """A batch as the weights see it."""
        return batch.float() * self.scale

    def step(
        self,
        x: Float[Tensor, "tokens d_in"],
        pre: Float[Tensor, "tokens latents"],
        variance: float,
        read: Float[Tensor, "tokens d_in"] | None = None,
    ) -> None:
        """One optimiser step on scaled inputs.

        Args:
            x: the inputs.
            pre: what the encoder's product came to on them.
            variance: their sum of squares around the batch's mean.
            read: what the encoder reads of them, if it is known.

        Raises:
            GlossaeError: the loss is not finite, or beyond all measure.
        """
        done = self._pass(x, pre, read)
        gradient = done.gradient.flatten()
        squares = float(torch.dot(gradient, gradient)) / done.factor**2
        dead = self.silent > self.dead_after
        if self.aux_k and bool(dead.any()):
            error = done.gradient.div(-done.factor)
            add_auxiliary(self.sae, x, error, dead, self.aux_k, AUX_WEIGHT, done.along)
        mse, fvu = self.check_loss(squares, x.numel(), variance)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * group["factor"] * self._schedule()
        if self.unit_rows:
            self._project(done.along)
        self.optimizer.step()
        if self.unit_rows:
            self._renormalise()
        if self.config.activation == "jumprelu" and self.sae.threshold is not None:
            self.sae.threshold.clamp_min_(0.0)
        self._record(x, done, mse, fvu if variance > 0 else 0.0)

    def check_loss(self, squares: float, values: int, variance: float) -> tuple[float, float]:
        """The mean squared error and the fraction of variance unexplained; refused if they diverge."""
        return check_loss(squares, values, variance, self.steps + 1, self.lr)

    def _pass(
        self,
        x: Float[Tensor, "tokens d_in"],
        pre: Float[Tensor, "tokens latents"],
        read: Float[Tensor, "tokens d_in"] | None,
    ) -> Pass:
        recompute = pre.dtype != torch.float32
        match self.config.activation:
            case "topk":
                assert self.config.k is not None
                entries = top_k(pre, self.config.k, signed=self.config.negative)
            case "batchtopk":
                assert self.config.k is not None
                entries = batch_top_k(pre, self.config.k * len(x), self.guess)
            case _:
                edge: float | Tensor = 0.0
                if self.sae.threshold is not None:
                    edge = (self.sae.threshold - self.bandwidth / 2).to(pre.dtype)
                found = self._few_above(pre, edge)
                if found is None:
                    return dense_pass(self.sae, x, self.penalty, None if recompute else pre)
                entries = found
        return sparse_pass(self.sae, x, entries, self.penalty, recompute=recompute, read=read)

    def _few_above(self, pre: Float[Tensor, "tokens latents"], edge: float | Tensor) -> Entries | None:
        """The entries above an edge, unless they are so many that dense products are faster."""
        live = int((pre > edge).sum())
        return above(pre, edge) if live <= DENSE_ABOVE * pre.numel() else None

    def _schedule(self) -> float:
        if self.settings.published:
            return 1.0
        done, total = self.steps, max(1, self.settings.steps)
        rising = (done + 1) / max(1.0, self.settings.warmup * total)
        falling = (total - done) / max(1.0, self.settings.decay * total)
        return max(0.0, min(1.0, rising, falling))

    @torch.no_grad()
    def _project(self, along: Float[Tensor, " latents"]) -> None:
        """Drop the part of the gradient along each decoder row: it would only change its length."""
        rows, gradient = self.sae.W_dec, self.sae.W_dec.grad
        assert gradient is not None
        if self.config.tied:
            # the encoder's gradient is in there too
            along = torch.bmm(gradient[:, None, :], rows[:, :, None])[:, 0, 0]
        gradient.addcmul_(along[:, None], rows, value=-1)

    @torch.no_grad()
    def _renormalise(self) -> None:
        self.sae.W_dec.div_(torch.linalg.vector_norm(self.sae.W_dec, dim=1, keepdim=True).clamp_min(1e-12))

    @torch.no_grad()
    def _record(self, x: Float[Tensor, "tokens d_in"], done: Pass, mse: float, fvu: float) -> None:
        fired = done.fires > 0
        self.silent += len(x)
        self.silent[fired] = 0
        self.steps += 1
        self.tokens += len(x)
        if self.config.activation == "batchtopk" and self.sae.threshold is not None:
            share = max(1 / THRESHOLD_STEPS, 1 / self.steps)
            self.sae.threshold.lerp_(done.smallest, share)
            self.guess = 0.9 * float(done.smallest)
        self.since.append(
            [
                mse / self.scale**2,
                fvu,
                float(done.fires.sum()) / len(x),
                float(fired.sum()),
                float((self.silent > self.dead_after).float().mean()),
            ]
        )
        last = self.steps >= self.settings.steps - LAST_STEPS
        if last or self.steps % max(1, self.settings.steps // LOG_POINTS) == 0:
            self._write_log()

    def _write_log(self) -> None:
        means = [sum(column) / len(self.since) for column in zip(*self.since, strict=True)]
        rate = float(self.optimizer.param_groups[0]["lr"])
        self.log.append(TrainPoint(self.steps, self.tokens, rate, *means))
        self.since = []

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and numbers from which `restore` goes on, bit for bit."""
        tensors = {f"sae.{name}": tensor for name, tensor in own_tensors(self.sae).items()}
        tensors |= {"mean": self.mean, "silent": self.silent}
        for number, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{number}.{name}": tensor for name, tensor in moments.items()}
        numbers = {
            "scale": self.scale,
            "bandwidth": self.bandwidth,
            "guess": self.guess,
            "steps": self.steps,
            "tokens": self.tokens,
            "log": [dataclasses.asdict(point) for point in self.log],
            "since": self.since,
        }
        return tensors, numbers

    @classmethod
    @torch.no_grad()
    def restored(
        cls,
        config: SaeConfig,
        settings: TrainSettings,
        tensors: dict[str, Tensor],
        numbers: dict[str, Any],
        device: torch.device,
    ) -> "Trainer":
        """A trainer where another one's `state` was taken."""
        trainer = cls(config, settings, numbers["scale"], tensors["mean"].to(device))
        for name, tensor in trainer.sae.state_dict().items():
            tied = config.tied and name == "W_dec"
            tensor.copy_(tensors["sae.W_enc" if tied else f"sae.{name}"])
        trainer.silent.copy_(tensors["silent"])
        adam = trainer.optimizer.state_dict()
        for name, tensor in tensors.items():
            if name.startswith("adam."):
                _, number, moment = name.split(".")
                adam["state"].setdefault(int(number), {})[moment] = tensor
        trainer.optimizer.load_state_dict(adam)
        trainer.bandwidth, trainer.guess = numbers["bandwidth"], numbers["guess"]
        trainer.steps, trainer.tokens = numbers["steps"], numbers["tokens"]
        trainer.log = [TrainPoint(**point) for point in numbers["log"]]
        trainer.since = numbers["since"]
        return trainer

    def finish(self) -> Sae:
        """The autoencoder for unscaled inputs.

        Raises:
            GlossaeError: it went astray (`check_end`).
        """
        if self.since:
            self._write_log()
        if self.log:
            last = [point.fvu for point in self.log[-LAST_STEPS:]]
            check_end(self.log[0].fvu, last, self.steps, self.lr)
        return unscaled(self.sae, self.scale)
