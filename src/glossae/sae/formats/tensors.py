"""A file of tensors that is used up tensor by tensor, and the autoencoder made of them."""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glossae.errors import GlossaeError
from glossae.sae.config import SaeConfig
from glossae.sae.sae import Sae

FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


class Tensors:
    """The tensors of a file: each is taken by its name there, and `done` refuses what is left."""

    def __init__(self, tensors: dict[str, Tensor], path: Path) -> None:
        self.tensors, self.path = dict(tensors), path

    @classmethod
    def read(cls, path: Path) -> "Tensors":
        """Read a safetensors file.

        Raises:
            GlossaeError: it cannot be read.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return cls(load_file(path), path)
        except (OSError, SafetensorError) as error:
            raise GlossaeError(f"{path}: cannot be read as safetensors ({error})") from error

    @classmethod
    def unpickled(cls, path: Path) -> "Tensors":
        """Read a pickled dict of tensors by their names (`torch.save`); nothing else in it is unpickled.

        Raises:
            GlossaeError: it cannot be read, or holds something else.
        """
        try:
            # protocols it was not made for, it warns of before it fails
            with warnings.catch_warnings(action="ignore"):
                state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            # broken bytes end in whatever the unpickler stumbles over first
            reason = str(error).partition("\n")[0]
            raise GlossaeError(f"{path}: cannot be read as tensors alone ({reason})") from error
        if not isinstance(state, dict) or not all(
            isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in state.items()
        ):
            raise GlossaeError(f"{path}: should hold tensors by their names")
        return cls(state, path)

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def take(self, name: str, *shape: int | None) -> Tensor:
        """A tensor as float32, whatever its precision in the file.

        Args:
            name: what it is called in the file.
            shape: what it has to be; None: any extent.

        Raises:
            GlossaeError: it is missing, of another shape or kind, or some of its values are not finite.
        """
        wanted = str(tuple("any" if extent is None else extent for extent in shape)).replace("'", "")
        if name not in self.tensors:
            raise GlossaeError(f"{self.path}: {name} should be {wanted} and is missing")
        tensor = self.tensors.pop(name)
        fits = len(shape) == tensor.ndim and all(
            extent in (None, found) for extent, found in zip(shape, tensor.shape, strict=True)
        )
        if not fits:
            raise GlossaeError(f"{self.path}: {name} should be {wanted} and is {tuple(tensor.shape)}")
        if tensor.dtype not in FLOATS:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise GlossaeError(f"{self.path}: {name} should hold floating-point numbers and holds {kind}")
        values = tensor.float()
        if not values.isfinite().all():
            raise GlossaeError(f"{self.path}: {name} holds values that are not finite in float32")
        return values

    def take_wholes(self, name: str) -> list[int]:
        """The whole numbers, above zero, of a tensor of any shape.

        Raises:
            GlossaeError: it holds something else.
        """
        tensor = self.tensors.pop(name)
        if tensor.is_floating_point() or tensor.is_complex() or not tensor.numel() or tensor.min() < 1:
            raise GlossaeError(f"{self.path}: {name} should hold whole numbers above zero")
        return [int(number) for number in tensor.flatten().tolist()]

    def drop_ones(self, name: str, why: str) -> None:
        """Drop a tensor of ones, if it is there.

        Raises:
            GlossaeError: it is there and holds something else; `why` says what that would be.
        """
        if name in self and not bool((self.take(name, *self.tensors[name].shape) == 1).all()):
            raise GlossaeError(f"{self.path}: {name} is not all ones; {why}")

    def done(self) -> None:
        """Account for what was not taken.

        Raises:
            GlossaeError: there is something.
        """
        if self.tensors:
            name = min(self.tensors)
            raise GlossaeError(f"{self.path}: holds a tensor '{name}' that this autoencoder does not have")


def configured(path: Path, **settings: Any) -> SaeConfig:
    """A config, where what is impossible about it is said of a file.

    Raises:
        GlossaeError: it is impossible.
    """
    try:
        return SaeConfig(**settings)
    except GlossaeError as error:
        raise GlossaeError(f"{path}: {error}") from error


def built(config: SaeConfig, **tensors: Tensor) -> Sae:
    """An autoencoder of these tensors, named and shaped as `Sae` has them; tied, without `W_dec`."""
    sae = Sae(config)
    sae.load_state_dict({"W_dec": tensors["W_enc"], **tensors} if config.tied else tensors)
    return sae.requires_grad_(False)
