"""Read and write the tensors of a training on several ranks: a folder of safetensors files, one of each rank.

torch.distributed.checkpoint writes them, and reads them on any number of ranks; no file is a pickle. A one-process
checkpoint is one file, of which each rank reads its rows.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from glossae import ranks
from glossae.errors import GlossaeError
from glossae.sae.whole import has_rows

_DISABLED = "torch.distributed is disabled, unavailable or uninitialized"


class StoredTensors(Mapping[str, Tensor]):
    """The tensors of an open safetensors file, each read when it is asked for."""

    def __init__(self, file: Any) -> None:
        self._file, self._names = file, list(file.keys())

    def __getitem__(self, name: str) -> Tensor:
        tensor: Tensor = self._file.get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def write(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write every rank's rows, and what all have in common once, into a folder that is there.

    Raises:
        GlossaeError: a file cannot be written.
    """
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    _done(folder, "written", lambda: save(_placed(tensors), storage_writer=writer))


def read(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Fill tensors from a folder that `write` filled on any number of ranks, or from a one-process file.

    Raises:
        GlossaeError: a file cannot be read, or has no such tensors.
    """
    if path.is_dir():
        from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
        from torch.distributed.checkpoint.state_dict_loader import load

        reader, alone = HuggingFaceStorageReader(str(path)), ranks.count() == 1
        into = _placed(tensors)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=_DISABLED)
            _done(path, "read", lambda: load(into, storage_reader=reader, no_dist=alone))
        return
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        for name, tensor in tensors.items():
            rows = slice(None)
            if has_rows(name, tensor):
                rows = ranks.rows(file.get_slice(name).get_shape()[0])
            tensor.copy_(file.get_slice(name)[rows] if tensor.ndim else file.get_tensor(name))


def empty(path: Path, prefix: str) -> dict[str, Shaped[Tensor, "*shape"]]:
    """Empty tensors of the shapes and types that those beginning with `prefix` have in a checkpoint, by name."""
    from safetensors import safe_open

    found: dict[str, Tensor] = {}
    for file in sorted(path.glob("*.safetensors")) if path.is_dir() else [path]:
        with safe_open(file, framework="pt") as stored:
            # none of them is divided among files
            for name in filter(lambda each: each.startswith(prefix), stored.keys()):
                found[name] = torch.empty_like(stored.get_tensor(name))
    return found


def _placed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors for torch.distributed.checkpoint: those with a row for each latent as this rank's shards of the whole."""
    # what has no dimension would be read back with one
    placed = {name: tensor.reshape(1) if tensor.ndim == 0 else tensor for name, tensor in tensors.items()}
    by_rows = {name: tensor for name, tensor in tensors.items() if has_rows(name, tensor)}
    if ranks.count() == 1 or not by_rows:
        return placed
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import DTensor, Shard

    lengths = ranks.exchange([len(tensor) for tensor in by_rows.values()])
    mesh = init_device_mesh(next(iter(by_rows.values())).device.type, (ranks.count(),))
    for (name, tensor), length in zip(by_rows.items(), map(sum, zip(*lengths, strict=True)), strict=True):
        shape = torch.Size((length, *tensor.shape[1:]))
        stride = torch.empty(shape, device="meta").stride()
        placed[name] = DTensor.from_local(
            tensor, mesh, [Shard(0)], run_check=False, shape=shape, stride=stride
        )
    return placed


def _done(path: Path, what: str, work: Callable[[], object]) -> None:
    from torch.distributed.checkpoint.api import CheckpointException

    try:
        with ranks.reaching():
            work()
    # it is no Exception
    except CheckpointException as error:
        number, (cause, _) = min(error.failures.items())
        raise GlossaeError(f"{path}: cannot be {what} (rank {number}: {cause})") from error
