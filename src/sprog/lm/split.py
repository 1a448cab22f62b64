"""A model shared out among several GPUs by `accelerate`, for `device: split`."""

from importlib.util import find_spec
from typing import Any

import torch

from sprog.environment import install
from sprog.errors import SprogError

SPLIT = "split"


def first_of_split() -> torch.device:
    """The GPU that token ids of a split model go to, and its activations come back to.

    Raises:
        SprogError: accelerate is not installed, or there is no GPU.
    """
    if find_spec("accelerate") is None:
        raise SprogError(
            f"device: 'split' needs accelerate, and it is not installed: {install('multi')}, or pip install accelerate"
        )
    if not torch.cuda.is_available():
        raise SprogError(
            "device: 'split' shares a model out among GPUs, and there is none here; give auto or cpu"
        )
    return torch.device("cuda", 0)


def check_split(name: str, model: Any) -> None:
    """Refuse what did not fit: its weights would be fetched anew for every batch of text.

    Raises:
        SprogError: part of the model lies on the CPU or on disk.
    """
    left = [part for part, place in getattr(model, "hf_device_map", {}).items() if place in ("cpu", "disk")]
    if left:
        raise SprogError(
            f"device: {name} does not fit on the {torch.cuda.device_count()} GPUs here: {left[0] or 'it'}"
            f"{f' and {len(left) - 1} more' if len(left) > 1 else ''} would stay outside; "
            "a smaller dtype or more GPUs may help, or device: cpu"
        )
