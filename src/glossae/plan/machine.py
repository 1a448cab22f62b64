"""The speed of a machine: of this one by a short measurement, of others from data sheets in the table."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

# the share of a data sheet's speed that is assumed
SHARE = 0.5
# the least seconds of an operation, however small
LAUNCH = 1e-5
# seconds of one measurement
MEASURING = 0.15


@cache
def sizes() -> dict[str, Any]:
    """`recipes/tables/sizes.yaml`: known models, corpora, tokenizers and GPUs."""
    text = (resources.files("glossae") / "recipes" / "tables" / "sizes.yaml").read_text(encoding="utf-8")
    table: dict[str, Any] = yaml.safe_load(text)
    return table


@dataclass(frozen=True)
class Machine:
    """The speeds and memory of a machine.

    Attributes:
        name: for the head of a table.
        model_rate: FLOP/s of the language model's products, in its precision.
        float_rate: FLOP/s of float32 products.
        half_rate: FLOP/s of bfloat16 products if it is built for them, else of float32.
        bandwidth: bytes/s of its memory.
        memory: bytes of device memory.
        model_bytes: bytes of one weight of the language model.
        gpu: whether it is a GPU.
    """

    name: str
    model_rate: float
    float_rate: float
    half_rate: float
    bandwidth: float
    memory: float
    model_bytes: int
    gpu: bool


def listed_gpus(dtype: str) -> list[Machine]:
    """The GPUs of the table, for a recipe's `dtype`."""
    exact = dtype == "float32"
    return [
        Machine(
            name=name,
            model_rate=SHARE * 1e12 * row["float32" if exact else "bfloat16"],
            float_rate=SHARE * 1e12 * row["float32"],
            half_rate=SHARE * 1e12 * row["bfloat16"],
            bandwidth=SHARE * 1e9 * row["bandwidth"],
            memory=1e9 * row["memory"],
            model_bytes=4 if exact else 2,
            gpu=True,
        )
        for name, row in sizes()["gpus"].items()
    ]


def this_machine(device: str, dtype: str) -> Machine:
    """This machine, measured for less than a second.

    Args:
        device: the recipe's; the CPU stands in for a missing device.
        dtype: the recipe's.
    """
    import torch

    from glossae.errors import GlossaeError
    from glossae.lm import fast_bfloat16, resolve_device, resolve_dtype

    try:
        place = resolve_device(device)
    except GlossaeError:
        place = torch.device("cpu")
    model_dtype = resolve_dtype(dtype, place)
    gpu = place.type == "cuda"
    float_rate = _matmul_rate(place, torch.float32, gpu)
    half_rate = _matmul_rate(place, torch.bfloat16, gpu) if fast_bfloat16(place) else float_rate
    rates = {torch.float32: float_rate, torch.bfloat16: half_rate}
    return Machine(
        name=_gpu_name(place) if gpu else "this machine",
        model_rate=rates.get(model_dtype) or _matmul_rate(place, model_dtype, gpu),
        float_rate=float_rate,
        half_rate=half_rate,
        bandwidth=_copy_rate(place, gpu),
        memory=float(torch.cuda.get_device_properties(place).total_memory) if gpu else memory_bytes(),
        model_bytes=model_dtype.itemsize,
        gpu=gpu,
    )


def memory_bytes() -> float:
    """Bytes of this machine's memory; infinite if the system does not tell."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError, AttributeError):
        return float("inf")


def _gpu_name(place: Any) -> str:
    import torch

    return torch.cuda.get_device_name(place).removeprefix("NVIDIA ")[:14]


def _matmul_rate(place: Any, dtype: Any, gpu: bool) -> float:
    import torch

    n = 8192 if gpu else 768
    a, b = (torch.randn(n, n, dtype=torch.float32).to(place, dtype) for _ in range(2))
    return 2 * n**3 * _calls_per_second(lambda: a @ b, gpu)


def _copy_rate(place: Any, gpu: bool) -> float:
    import torch

    values = 2**28 if gpu else 2**24
    source, target = (torch.zeros(values, device=place) for _ in range(2))
    return 8 * values * _calls_per_second(lambda: target.copy_(source), gpu)


def _calls_per_second(call: Callable[[], Any], gpu: bool) -> float:
    import torch

    wait: Callable[[], Any] = torch.cuda.synchronize if gpu else (lambda: None)
    call()
    wait()
    started = time.perf_counter()
    calls = 0
    while (spent := time.perf_counter() - started) < MEASURING or calls == 0:
        call()
        wait()
        calls += 1
    return calls / spent
