"""A model shared out among several GPUs by `accelerate`, for `device: split`."""

from importlib.util import find_spec
from typing import Any

import torch

from glossae.environment import install
from glossae.errors import GlossaeError

SPLIT = "split"


def first_of_split() -> torch.device:
    """The GPU that token ids of a split model go to, and its activations come back to.

    Raises:
        GlossaeError: accelerate is not installed, or there is no GPU.
    """
    if find_spec("accelerate") is None:
        raise GlossaeError(
            f"device: 'split' needs accelerate, and it is not installed: {install('multi')}, or pip install accelerate"
        )
    if not torch.cuda.is_available():
        raise GlossaeError(
            "device: 'split' shares a model out among GPUs, and there is none here; give auto or cpu"
        )
    return torch.device("cuda", 0)


def check_split(name: str, model: Any) -> None:
    """Refuse what did not fit: its weights would be fetched anew for every batch of text.

    Raises:
        GlossaeError: part of the model lies on the CPU or on disk.
    """
    left = [part for part, place in getattr(model, "hf_device_map", {}).items() if place in ("cpu", "disk")]
    if left:
        raise GlossaeError(
            f"device: {name} does not fit on the {torch.cuda.device_count()} GPUs here: {left[0] or 'it'}"
            f"{f' and {len(left) - 1} more' if len(left) > 1 else ''} would stay outside; "
            "a smaller dtype or more GPUs may help, or device: cpu"
        )
