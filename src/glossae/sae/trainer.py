"""Train one SAE: initial weights, steps, log, and the finished SAE; also the untrained control."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from glossae import meter, ranks
from glossae.errors import GlossaeError
from glossae.sae.adam import Adam
from glossae.sae.gradients import (
    Pass,
    Penalty,
    add_auxiliary,
    dense_pass,
    make_gradients,
    smallest,
    sparse_pass,
)
from glossae.sae.sae import Sae, SaeConfig
from glossae.sae.sparse import Entries, above, batch_top_k, of_all_ranks, top_k
from glossae.sae.whole import joined, place_of

Centre = Literal["mean", "geometric_median", "zero"]
EncoderDtype = Literal["auto", "float32", "bfloat16"]
Moments = Literal["float32", "bfloat16"]

# Gao et al. 2024, section 3: learning rate by the number of latents
LR_AT_2_14 = 2e-4
# that law was fitted to long runs. Factor for one epoch over a small corpus: 12 up to 500 steps, falling as
# steps^(-1/3) to 1 (measured in benchmarks/README.md)
SHORT_RUN_LR, SHORT_RUN_STEPS = 12.0, 500
# weight of the auxiliary loss. Gao et al.'s 1/32 (appendix A) suits long runs: in a run of some hundred steps
# it revives latents too late (measured in benchmarks/README.md)
AUX_WEIGHT = 1 / 8
# a latent is dead after it has not fired for this share of the whole training, and for at least DEAD_TOKENS
DEAD_SHARE, DEAD_TOKENS = 0.05, 2_000
LOG_POINTS = 200
# steps at the end with one log line each: the paper reports a mean over them except the very last
LAST_STEPS = 11
# above this share of live entries, dense products are faster than sparse ones
DENSE_ABOVE = 0.04
# batch-top-k's threshold is a running mean over about this many steps
THRESHOLD_STEPS = 200
# jumprelu: the kernel's width as a share of the first threshold, the weight of the L0 term, and the
# thresholds' learning rate as a multiple of the weights': they move far, and each learns from a single number
BANDWIDTH, L0_WEIGHT, THRESHOLD_LR = 0.5, 1.0, 10.0
# Weiszfeld's iteration gains about a digit per step on such data; more digits are below a batch's noise
MEDIAN_STEPS = 20
# values of each weight matrix's gradient that are held at once, 128 MiB: a sparse product has a price of its own, which
# smaller blocks would pay more often
GRADIENT_VALUES = 2**25
# an FVU above this counts as divergence
DIVERGED = 1e4
WEIGHTS = ("W_enc", "W_dec")
# rows of the initial weights that are drawn at once: a multiple of 16, by which torch draws the same numbers in blocks
DRAWN_ROWS = 4096
# an SAE that ends above this FVU has learnt nothing: the batch's mean alone gives 1, and an SAE that fires too
# seldom stays a little above
USELESS = 2.0


@dataclass(frozen=True)
class TrainSettings:
    """The settings of one training.

    Attributes:
        steps: number of optimiser steps, for the schedule.
        tokens: number of tokens, for the definition of dead latents.
        lr: learning rate; None: by the size law.
        warmup, decay: shares of the steps in which the rate rises and, at the end, falls to zero.
        aux_k: dead latents that learn from the error of each token; None: half the width; 0: none.
        l1: relu: weight of a token's summed latents in the loss, in the site's own units.
        unit_rows: keep decoder rows at length 1, so that a latent's value is the length of its contribution.
        centre: initial value of the pre-encoder bias; the geometric median is Bricken et al.'s (2023) choice.
        encoder_dtype: precision of the encoder's product, and of AuxK's products; weights, sums and everything else
            are float32. `auto` is bfloat16 on devices that are built for it.
        moments: precision in which Adam's two moments of the weights are stored.
        published: the paper's training: no scaling, free decoder rows, small random weights, lr 1e-3, float32.
        frozen_decoder: keep the decoder's rows at their initial values, and train only encoder, biases and
            thresholds: a control for what learnt directions add (arXiv 2602.14111). Not with tied weights.
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
    moments: Moments = "float32"
    published: bool = False
    frozen_decoder: bool = False
    seed: int = 0


@dataclass(frozen=True)
class TrainPoint:
    """One line of the training log, averaged over the steps since the last line.

    Attributes:
        mse: mean squared error per token and dimension, in the site's own units.
        fvu: the same over the variance of the batch.
        l0: latents firing per token.
        active_per_batch: distinct latents firing in a batch (the paper's "active neurons").
        dead_fraction: share of dead latents.
    """

    step: int
    tokens: int
    lr: float
    mse: float
    fvu: float
    l0: float
    active_per_batch: float
    dead_fraction: float


def untrained(
    config: SaeConfig,
    x: Float[Tensor, "tokens d_in"],
    *,
    seed: int,
    centre: Centre = "mean",
    published: bool = False,
    folder: Path | None = None,
) -> Sae:
    """The SAE that `train` starts from, before its first step: the control for what training adds.

    Decoder rows are random and have length 1, the encoder equals the decoder, the pre-encoder bias is the
    centre of `x`, and `k` or the thresholds are the training's initial ones. The input scale is folded into
    biases and thresholds, as in a trained SAE. With the first batch, seed, centre and `published` of a
    training, the weights are exactly those that this training started from; another seed is another draw of
    the control.

    Args:
        config: the architecture.
        x: activations; the first batch of the training that it is compared with.
        seed: of the random rows.
        centre: the pre-encoder bias.
        published: initialise as the paper's code does, see `TrainSettings.published`.
        folder: for joint work, where the ranks' files lie: see `joined`.

    Raises:
        GlossaeError: there are no activations, or some are not finite; or as `joined`.
    """
    if not len(x):
        raise GlossaeError(
            "sae: an untrained autoencoder needs at least one activation for its scale and centre"
        )
    if not bool(torch.isfinite(x).all()):
        raise GlossaeError(
            "sae: the model's activations are not finite; an untrained autoencoder needs finite ones"
        )
    # a rank's share has room where its training had
    where = x.device if ranks.count() > 1 else place_of(config, x.device)
    share = _share(config, where)
    scale = _start(share, config, x.to(where), seed, centre, published)
    return joined(_unscaled(share, scale), config, folder)


@torch.no_grad()
def _start(
    sae: Sae, config: SaeConfig, x: Float[Tensor, "tokens d_in"], seed: int, centre: Centre, published: bool
) -> float:
    """Write the initial weights, and return the scale of the inputs that they are for.

    The scale gives inputs, less their mean, a mean length of sqrt(d_in), so that a learning rate means the
    same at every site. Rows are random directions of length 1, the encoder the decoder's transpose (Gao et al.
    2024, section 3).
    Published: no scale, and the initial values of the paper's code, on which its text is silent.
    """
    generator = torch.Generator().manual_seed(seed)
    x, scale = x.float(), 1.0
    own = ranks.rows(config.latents)
    for first, weight in _drawn(config, generator):
        weight = 0.01 * weight if published else weight / weight.norm(dim=1, keepdim=True)
        inside = slice(max(own.start, first), min(own.stop, first + len(weight)))
        if inside.start < inside.stop:
            written = slice(inside.start - own.start, inside.stop - own.start)
            sae.W_dec[written] = sae.W_enc[written] = weight[inside.start - first : inside.stop - first].to(
                x.device
            )
    if published:
        sae.b_enc.copy_(0.1 * torch.randn(config.latents, generator=generator)[own])
        if config.pre_encoder_bias:
            sae.b_dec.copy_(0.1 * torch.randn(config.d_in, generator=generator))
    else:
        length = float((x - x.mean(0)).norm(dim=1).mean())
        scale = math.sqrt(config.d_in) / length if length > 0 else 1.0
    x = x * scale
    if not published and config.pre_encoder_bias:
        sae.b_dec.copy_(_centre_of(x, centre))
    if sae.threshold is not None:
        # initial thresholds let k latents per token pass on average
        assert config.k is not None
        count = min(len(x) * config.k, len(x) * config.latents)
        found = batch_top_k(sae.pre_activations(x), count, 1.0)
        sae.threshold.fill_(float(smallest(found.values)))
    return scale


def _drawn(config: SaeConfig, generator: torch.Generator) -> Iterator[tuple[int, Float[Tensor, "rows d_in"]]]:
    """The normal draws of the decoder's rows in blocks, each with its first row: together those of one draw."""
    first = 0
    while first < config.latents:
        # no short block at the end: torch draws fewer than 16 numbers in another way
        last = first + DRAWN_ROWS if config.latents - first >= 2 * DRAWN_ROWS else config.latents
        yield first, torch.randn(last - first, config.d_in, generator=generator)
        first = last


def _share(config: SaeConfig, device: torch.device) -> Sae:
    """An SAE of the latents that this rank holds, which is a whole one outside of joint work."""
    own = ranks.rows(config.latents)
    with device:
        if ranks.count() == 1:
            return Sae(config)
        size = own.stop - own.start
        k = None if config.k is None else min(config.k, size)
        share = Sae(dataclasses.replace(config, latents=size, k=k, matryoshka=()))
    share.levels = tuple(min(max(end - own.start, 0), size) for end in config.matryoshka or (config.latents,))
    return share


def _centre_of(x: Float[Tensor, "tokens d_in"], which: Centre) -> Float[Tensor, " d_in"]:
    centre = x.mean(0)
    if which == "zero":
        return torch.zeros_like(centre)
    for _ in range(MEDIAN_STEPS if which == "geometric_median" else 0):
        weight = 1 / (x - centre).norm(dim=1).clamp_min(1e-6 * float(x.abs().max()) + 1e-12)
        centre = (weight[:, None] * x).sum(0) / weight.sum()
    return centre


@torch.no_grad()
def _unscaled(sae: Sae, scale: float) -> Sae:
    """Convert the SAE to unscaled inputs in place: every activation commutes with a positive scale."""
    sae.b_enc.div_(scale)
    sae.b_dec.div_(scale)
    if sae.threshold is not None:
        sae.threshold.div_(scale)
        sae.threshold.grad = None
    for parameter in sae.parameters():
        parameter.grad = None
    return sae.requires_grad_(False)


class Trainer:
    """One SAE in training; its group computes its pre-activations.

    In joint work, each rank has a share of the latents, and every rank takes the same steps on the same batches.

    Attributes:
        sae: the SAE, or this rank's share of it, for scaled inputs until it is finished.
        scale: the factor of the inputs.
        mean: of the first batch, scaled.
        steps, tokens: done so far.
        log: one point for every stretch of steps so far.
    """

    def __init__(self, config: SaeConfig, settings: TrainSettings, device: torch.device) -> None:
        self.config, self.settings = config, settings
        self.sae = _share(config, device)
        self.scale, self.mean = 1.0, torch.zeros(config.d_in, device=device)
        if settings.frozen_decoder:
            if config.tied:
                raise GlossaeError(
                    "sae: a frozen decoder needs an encoder of its own; leave tied weights or frozen_decoder off"
                )
            self.sae.W_dec.requires_grad_(False)
        # frozen rows are not renormalised either: rounding would move them
        self.unit_rows = settings.unit_rows and not settings.published and not settings.frozen_decoder
        self.lr = self._learning_rate() if settings.lr is None else settings.lr
        self.aux_k = config.d_in // 2 if settings.aux_k is None else settings.aux_k
        if settings.published:
            self.aux_k = 0
        self.bandwidth = 0.0
        make_gradients(self.sae)
        self.learnt = self._learnt()
        # what is rounded at random is drawn by each rank for its own rows
        self.adam = Adam(self.learnt, getattr(torch, settings.moments), settings.seed ^ (ranks.rank() << 16))
        latents = len(self.sae.W_enc)
        shape = (max(1, min(latents, GRADIENT_VALUES // config.d_in)), config.d_in)
        self.gradients = {name: torch.empty(shape, device=device) for name in WEIGHTS if name in self.learnt}
        self.silent = torch.zeros(latents, dtype=torch.int64, device=device)
        self.dead_after = max(DEAD_TOKENS, int(DEAD_SHARE * settings.tokens))
        self.guess = self.rate = 0.0
        self.steps = self.tokens = 0
        self.log: list[TrainPoint] = []
        self.since: list[list[float]] = []

    @classmethod
    def started(
        cls, config: SaeConfig, settings: TrainSettings, first: Float[Tensor, "tokens d_in"]
    ) -> "Trainer":
        """A trainer at its first step, with scale, centre and thresholds from the first batch."""
        trainer = cls(config, settings, first.device)
        trainer.scale = _start(trainer.sae, config, first, settings.seed, settings.centre, settings.published)
        trainer.mean = (first.float() * trainer.scale).mean(0)
        if config.activation == "jumprelu":
            assert trainer.sae.threshold is not None
            trainer.bandwidth = max(BANDWIDTH * float(trainer.sae.threshold.mean()), 1e-6)
        return trainer

    def _learning_rate(self) -> float:
        """Gao et al.'s law for the number of latents, with a factor for short runs."""
        if self.settings.published:
            return 1e-3
        short: float = SHORT_RUN_LR * (SHORT_RUN_STEPS / max(1, self.settings.steps)) ** (1 / 3)
        return min(max(short, 1.0), SHORT_RUN_LR) * LR_AT_2_14 / math.sqrt(self.config.latents / 2**14)

    @property
    def penalty(self) -> Penalty:
        """The terms added to the loss."""
        # in scaled inputs, errors grow with the scale's square and latents with the scale
        l1 = self.settings.l1 * self.scale
        if self.config.activation != "jumprelu":
            return Penalty(l1)
        assert self.config.k is not None
        return Penalty(l1, l0=L0_WEIGHT, l0_target=float(self.config.k), bandwidth=self.bandwidth)

    def _learnt(self) -> dict[str, Tensor]:
        """The tensors that are trained, by their names."""
        named = dict(self.sae.named_parameters())
        learnt: dict[str, Tensor] = {name: each for name, each in named.items() if each.requires_grad}
        if not self.config.pre_encoder_bias:
            # without a pre-encoder bias there is no decoder bias at all: the paper's first formula
            del learnt["b_dec"]
        if self.config.activation == "jumprelu":
            assert self.sae.threshold is not None
            learnt["threshold"] = self.sae.threshold
        return learnt

    def step(
        self,
        x: Float[Tensor, "tokens d_in"],
        pre: Float[Tensor, "tokens latents"] | Entries,
        variance: float,
        read: Float[Tensor, "tokens d_in"] | None = None,
    ) -> None:
        """Take one optimiser step on scaled inputs with their pre-activations, or those that top-k has selected.

        `variance` is their sum of squares around the batch's mean, `read` the encoder's input, if known.
        """
        done = self._pass(x, pre, read)
        gradient = done.gradient.flatten()
        squares = float(torch.dot(gradient, gradient)) / done.factor**2
        dead = self.silent > self.dead_after
        if self.aux_k and ranks.total(int(dead.sum())):
            error = done.gradient.div(-done.factor)
            # what a kernel selected comes from a product in bfloat16 too
            dtype = torch.bfloat16 if isinstance(pre, Entries) else pre.dtype
            done = add_auxiliary(self.sae, x, error, dead, self.aux_k, AUX_WEIGHT, done, dtype)
        mse, fvu = self.check_loss(squares, x.numel(), variance)
        self._update(done)
        if self.config.activation == "jumprelu" and self.sae.threshold is not None:
            self.sae.threshold.clamp_min_(0.0)
        self._record(x, done, mse, fvu if variance > 0 else 0.0)

    def check(self, x: Float[Tensor, "tokens d_in"], variance: float) -> None:
        """Refuse weights that the last step has ruined, by the loss on a few scaled inputs; overwrites gradients."""
        done = self._pass(x, self.sae.pre_activations(x), None)
        gradient = done.gradient.flatten()
        self.check_loss(float(torch.dot(gradient, gradient)) / done.factor**2, x.numel(), variance)

    def check_loss(self, squares: float, values: int, variance: float) -> tuple[float, float]:
        """The mean squared error and the FVU of `values` scaled inputs; raises if the loss diverges."""
        mse, fvu = squares / values, squares / max(variance, 1e-30)
        step, lower = self.steps + 1, f"lower sae.lr (it is {self.lr:.2g})"
        if not math.isfinite(mse):
            raise GlossaeError(f"sae: the loss is no longer finite at step {step}; {lower}")
        # a site whose values hardly differ has no variance to compare with
        if fvu > DIVERGED and mse > 1.0:
            raise GlossaeError(
                f"sae: the loss diverges at step {step} (its error is {fvu:.0e} times the variance); {lower}"
            )
        return mse, fvu

    def _pass(
        self,
        x: Float[Tensor, "tokens d_in"],
        pre: Float[Tensor, "tokens latents"] | Entries,
        read: Float[Tensor, "tokens d_in"] | None,
    ) -> Pass:
        # both kinds of top-k have a k
        k = self.config.k or 0
        if isinstance(pre, Entries):
            entries = of_all_ranks(pre, len(x), k)
            return sparse_pass(self.sae, x, entries, self.penalty, recompute=True, read=read)
        recompute = pre.dtype != torch.float32
        if self.config.activation == "topk":
            entries = top_k(pre, k, signed=self.config.negative)
        elif self.config.activation == "batchtopk":
            entries = batch_top_k(pre, k * len(x), self.guess)
        else:
            edge: float | Tensor = 0.0
            if self.sae.threshold is not None:
                edge = (self.sae.threshold - self.bandwidth / 2).to(pre.dtype)
            if int((pre > edge).sum()) > DENSE_ABOVE * pre.numel():
                return dense_pass(self.sae, x, self.penalty, None if recompute else pre)
            entries = above(pre, edge)
        return sparse_pass(self.sae, x, entries, self.penalty, recompute=recompute, read=read)

    def _schedule(self) -> float:
        if self.settings.published:
            return 1.0
        done, total = self.steps, max(1, self.settings.steps)
        rising = (done + 1) / max(1.0, self.settings.warmup * total)
        falling = (total - done) / max(1.0, self.settings.decay * total)
        return max(0.0, min(1.0, rising, falling))

    @torch.no_grad()
    def _update(self, done: Pass) -> None:
        """Take Adam's step, block by block of the latents."""
        lr = self.rate = self.lr * self._schedule()
        self.adam.start(self.steps, self.mean.device)
        size = len(self.gradients["W_enc"])
        latents = len(self.sae.W_enc)
        for first in range(0, latents, size):
            last = min(first + size, latents)
            found = {name: each[: last - first] for name, each in self.gradients.items()}
            done.rows(first, last, found["W_enc"], found.get("W_dec"))
            for name, gradient in found.items():
                weight, along = getattr(self.sae, name).detach()[first:last], None
                if self.unit_rows and name == ("W_enc" if self.config.tied else "W_dec"):
                    along = done.along[first:last]
                    if self.config.tied:
                        # this includes the encoder's gradient
                        along = torch.bmm(gradient[:, None, :], weight[:, :, None])[:, 0, 0]
                self.adam.update(name, weight, gradient, lr, slice(first, last), along)
        for name, each in self.learnt.items():
            if name not in WEIGHTS:
                assert each.grad is not None
                rate = lr * THRESHOLD_LR if name == "threshold" else lr
                self.adam.update(name, each.detach(), each.grad, rate)

    @torch.no_grad()
    def _record(self, x: Float[Tensor, "tokens d_in"], done: Pass, mse: float, fvu: float) -> None:
        fired = done.fires > 0
        self.silent += len(x)
        self.silent[fired] = 0
        self.steps += 1
        self.tokens += len(x)
        if self.config.activation == "batchtopk" and self.sae.threshold is not None:
            self.sae.threshold.lerp_(done.smallest, max(1 / THRESHOLD_STEPS, 1 / self.steps))
            self.guess = 0.9 * float(done.smallest)
        dead = self.silent > self.dead_after
        counts = torch.stack([done.fires.sum(), fired.sum(), dead.sum()]).double()
        fires, active, silent = ranks.sum_(counts).tolist()
        self._count(len(x), fires / ranks.count())
        self.since.append([mse / self.scale**2, fvu, fires / len(x), active, silent / self.config.latents])
        last = self.steps >= self.settings.steps - LAST_STEPS
        if last or self.steps % max(1, self.settings.steps // LOG_POINTS) == 0:
            self._write_log()

    def _count(self, tokens: int, entries: float) -> None:
        """Count a step (`glossae.meter`): the encoder's product, and for each entry that fires four sparse ones.

        Those are the decoder's, its two gradients and the encoder's. The least bytes are those of the weights and of
        Adam's moments, each read and written once.
        """
        moments = 2 * getattr(torch, self.settings.moments).itemsize
        weights = sum(each.numel() for each in self.learnt.values())
        meter.count(
            sae_flops=2.0 * self.config.d_in * (tokens * len(self.sae.W_enc) + 4 * entries),
            sae_bytes=2.0 * weights * (4 + moments),
        )

    def _write_log(self) -> None:
        means = [sum(column) / len(self.since) for column in zip(*self.since, strict=True)]
        self.log.append(TrainPoint(self.steps, self.tokens, self.rate, *means))
        self.since = []

    def tensors(self) -> dict[str, Tensor]:
        """What `state` has of tensors, by name; they are those of the trainer, and may be written to."""
        tensors = {f"sae.{name}": tensor.detach() for name, tensor in self.sae.state_dict().items()}
        if self.config.tied:
            del tensors["sae.W_dec"]
        tensors |= {"mean": self.mean, "silent": self.silent}
        for name, moments in self.adam.moments.items():
            tensors |= {f"adam.{name}.{number}": moment for number, moment in enumerate(moments)}
        return tensors

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and numbers from which `restored` continues, bit for bit."""
        numbers = {
            name: getattr(self, name) for name in ("scale", "bandwidth", "guess", "rate", "steps", "tokens")
        }
        log = [dataclasses.asdict(point) for point in self.log]
        return self.tensors(), numbers | {"log": log, "since": self.since}

    @classmethod
    @torch.no_grad()
    def restored(
        cls,
        config: SaeConfig,
        settings: TrainSettings,
        read: Callable[[dict[str, Tensor]], None],
        numbers: dict[str, Any],
        device: torch.device,
    ) -> "Trainer":
        """A trainer at the point at which another one's `state` was taken; `read` fills its tensors, by name."""
        trainer = cls(config, settings, device)
        read(trainer.tensors())
        log = [TrainPoint(**point) for point in numbers["log"]]
        for name, value in (numbers | {"log": log}).items():
            setattr(trainer, name, value)
        return trainer

    def finish(self) -> Sae:
        """The SAE for unscaled inputs, or in joint work this rank's share of it."""
        if self.since:
            self._write_log()
        if self.log:
            first, last = self.log[0].fvu, [point.fvu for point in self.log[-LAST_STEPS:]]
            if min(last) > max(USELESS, first):
                raise GlossaeError(
                    f"sae: the loss diverged: after {self.steps} steps the error is {last[-1]:.3g} times the "
                    f"variance, and was {first:.3g} times it at first; lower sae.lr (it is {self.lr:.2g})"
                )
        self.adam.moments.clear()
        return _unscaled(self.sae, self.scale)
