"""Count the work of language models and SAEs where it is done, for a run's throughput."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields


@dataclass
class Meter:
    """The work inside a `metered` block, of this process.

    Attributes:
        seconds: that the block took.
        token_blocks: tokens x blocks of language models that were run, without pads.
        read_token_blocks: those of them that were run to read the activations of sites, and for no loss.
        stored_token_blocks: tokens x blocks that were not run, because `glossae.lm.Passes` had their result.
        model_flops: FLOPs of language models (`LanguageModel.flops`).
        sae_flops: FLOPs of SAEs: products with the encoder, and sparse ones with entries of a code.
        sae_bytes: the least bytes that optimiser steps of SAEs read and write.
        training_seconds: seconds of the trainings of SAEs, with the model's passes in them.
        training_model_flops, training_sae_flops: the part of the FLOPs that is theirs.
    """

    seconds: float = 0.0
    token_blocks: float = 0.0
    read_token_blocks: float = 0.0
    stored_token_blocks: float = 0.0
    model_flops: float = 0.0
    sae_flops: float = 0.0
    sae_bytes: float = 0.0
    training_seconds: float = 0.0
    training_model_flops: float = 0.0
    training_sae_flops: float = 0.0

    def add(self, other: "Meter") -> None:
        """Add another block's work."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))


_open: ContextVar[Meter | None] = ContextVar("meter", default=None)


@contextmanager
def metered() -> Iterator[Meter]:
    """Count the work inside the block; a block around this one counts it too."""
    outer, own, started = _open.get(), Meter(), time.perf_counter()
    token = _open.set(own)
    try:
        yield own
    finally:
        _open.reset(token)
        if outer is not None:
            outer.add(own)
        own.seconds = time.perf_counter() - started


@contextmanager
def training() -> Iterator[None]:
    """Count the work inside the block as that of a training of SAEs."""
    with metered() as own:
        yield
    count(
        training_seconds=own.seconds,
        training_model_flops=own.model_flops,
        training_sae_flops=own.sae_flops,
    )


def counting() -> bool:
    """Whether this is inside a `metered` block."""
    return _open.get() is not None


def count(**amounts: float) -> None:
    """Add amounts to the innermost `metered` block, by the names of `Meter`; outside of any nothing is counted."""
    if (meter := _open.get()) is not None:
        meter.add(Meter(**amounts))


@dataclass(frozen=True)
class Throughput:
    """How fast stages were, of this process and beside what this machine can do.

    Attributes:
        model_flops_per_second: FLOPs of language models over the seconds of all stages.
        peak_flops_per_second: of a large product in the model's dtype, as measured on this machine.
        dtype: the model's.
        mfu: the model FLOPs utilization, which is the former over the latter (Chowdhery et al. 2022, PaLM,
            appendix B). Model FLOPs are those that `LanguageModel.flops` counts; seconds are all of the stages', also
            those in which no model runs.
        training_roofline: the share of the trainings' seconds that the machine would need at its best: the passes'
            FLOPs at the peak, and then the steps' FLOPs at the peak or their bytes at the bandwidth, whichever takes
            longer (Williams et al. 2009, Roofline). None if nothing was trained.
        stored: of the activations that were read, the share that no pass was run for, because an earlier pass had seen
            them, in tokens x blocks. None if none were read.
    """

    model_flops_per_second: float
    peak_flops_per_second: float
    dtype: str
    mfu: float
    training_roofline: float | None
    stored: float | None

    @property
    def words(self) -> str:
        """`model 61 of 143 GFLOP/s in bfloat16 (MFU 43 %); training 27 % of the roofline`, and so on."""
        unit, name = (1e12, "TFLOP/s") if self.peak_flops_per_second >= 1e12 else (1e9, "GFLOP/s")
        model, peak = self.model_flops_per_second / unit, self.peak_flops_per_second / unit
        said = [f"model {model:.3g} of {peak:.3g} {name} in {self.dtype} (MFU {_percent(self.mfu)})"]
        if self.training_roofline is not None:
            said.append(f"training {_percent(self.training_roofline)} of the roofline")
        if self.stored:
            said.append(f"{_percent(self.stored)} of reading passes spared")
        return "; ".join(said)


def _percent(share: float) -> str:
    return f"{100 * share:.{0 if share >= 0.1 else 1}f} %"
