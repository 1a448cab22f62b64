"""Where a whole SAE lies: on the device that computes; or on the CPU, from where rows are copied as they are needed.

Ranks that hold shares of one make the whole of them: a file for each tensor, which every rank maps.
"""

import math
import os
import shutil
import tempfile
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from glossae import ranks
from glossae.errors import GlossaeError
from glossae.files import TEMPORARY, check_place, make_folder, tensor_bytes
from glossae.sae.sae import Sae, SaeConfig

# of a device's memory, what an SAE may take of it beside the model and what a stage makes
SHARE = 0.5
# what has a row for each latent, of an SAE or of its training: of these each rank holds its own
ROWS = ("W_enc", "W_dec", "b_enc", "threshold", "silent")


def placed(sae: Sae, device: torch.device | str) -> Sae:
    """The SAE on a device, or on the CPU if its matrices would take more than half of the device's memory."""
    return sae.to(place_of(sae.config, device))


def place_of(config: SaeConfig, device: torch.device | str) -> torch.device:
    """Where an SAE of this size lies whose inputs are on a device."""
    size = 4 * config.d_in * config.latents * (1 if config.tied else 2)
    device = torch.device(device)
    return device if size <= SHARE * device_bytes(device) else torch.device("cpu")


def device_bytes(device: torch.device) -> float:
    """Bytes of memory of a GPU; infinite where an SAE lies in the machine's own memory anyway."""
    return float(torch.cuda.get_device_properties(device).total_memory) if device.type == "cuda" else math.inf


def has_rows(name: str, tensor: Tensor) -> bool:
    """Whether a tensor, by its name in an SAE or in `Trainer.tensors`, has a row for each latent."""
    return tensor.ndim > 0 and not set(ROWS).isdisjoint(name.split("."))


@torch.no_grad()
def joined(share: Sae, config: SaeConfig, folder: Path | None) -> Sae:
    """The whole SAE at every rank, none of which holds more than its share: the rest is mapped, and read on use.

    Every rank writes its rows into the files of a temporary folder, which rank 0 deletes when joint work ends.

    Args:
        share: this rank's latents; returned as it is outside of joint work.
        config: of the whole.
        folder: the parent of the temporary folder, which all ranks see; None for the system's.

    Raises:
        GlossaeError: a file cannot be written, or a rank does not see the folder.
    """
    if ranks.count() == 1:
        return share
    own = ranks.rows(config.latents)
    held = {name: tensor.detach() for name, tensor in share.state_dict().items()}
    if config.tied:
        del held["W_dec"]
    shapes = {
        name: (config.latents, *tensor.shape[1:]) if has_rows(name, tensor) else tuple(tensor.shape)
        for name, tensor in held.items()
    }
    place = _made(folder, shapes) if ranks.rank() == 0 else None
    place = Path(
        ranks.exchange(None if place is None else str(place), "the folder of a whole autoencoder")[0]
    )
    try:
        for name, tensor in held.items():
            if has_rows(name, tensor):
                _write(place / name, tensor, own.start)
            elif ranks.rank() == 0:
                # the same at every rank
                _write(place / name, tensor, 0)
    except OSError as error:
        raise GlossaeError(
            f"{place}: rank {ranks.rank()} cannot write its latents there ({error.strerror or error})"
        ) from error
    # a large share takes longer to write than a collective may
    ranks.wait()
    whole = Sae.of(config, {name: _mapped(place / name, shape) for name, shape in shapes.items()})
    return placed(whole, share.b_dec.device)


def _made(folder: Path | None, shapes: dict[str, tuple[int, ...]]) -> Path:
    """A folder with an empty file of each tensor's size, to be deleted at the end."""
    try:
        if folder is not None:
            check_place(folder / TEMPORARY)
            make_folder(folder)
        place = Path(tempfile.mkdtemp(dir=folder, prefix=f"{TEMPORARY}sae-"))
        ranks.at_the_end(partial(shutil.rmtree, place, ignore_errors=True))
        for name, shape in shapes.items():
            with (place / name).open("wb") as file:
                file.truncate(_bytes(shape))
    except OSError as error:
        raise GlossaeError(f"{folder}: cannot be written to ({error.strerror or error})") from error
    return place


def _write(path: Path, rows: Tensor, first: int) -> None:
    with path.open("r+b") as file:
        file.seek(_bytes((first, *rows.shape[1:])))
        for block in tensor_bytes(rows):
            file.write(block)
        file.flush()
        # other machines read it
        os.fsync(file.fileno())


def _mapped(path: Path, shape: tuple[int, ...]) -> Tensor:
    try:
        return torch.from_file(str(path), size=_bytes(shape) // 4, dtype=torch.float32).view(shape)
    except RuntimeError as error:
        raise GlossaeError(
            f"{path}: rank {ranks.rank()} does not see the file, which rank 0 has made: all ranks need a common folder"
        ) from error


def _bytes(shape: tuple[int, ...]) -> int:
    return 4 * int(torch.Size(shape).numel())
