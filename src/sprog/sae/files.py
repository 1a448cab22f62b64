"""The autoencoder's own files: `sae.safetensors` and `cfg.json`."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from torch import Tensor

from sprog.errors import SprogError
from sprog.files import replacing, write_json
from sprog.sae.config import SaeConfig
from sprog.sae.sae import Sae

FORMAT_VERSION = 2
WEIGHTS, CONFIG = "sae.safetensors", "cfg.json"


def save(sae: Sae, folder: Path) -> None:
    """Write an autoencoder into a folder; the config last, so that a folder that has one is whole."""
    from safetensors.torch import save_file

    with replacing(folder / WEIGHTS) as temporary:
        save_file(own_tensors(sae), temporary)
    write_json(folder / CONFIG, {"format": FORMAT_VERSION, **dataclasses.asdict(sae.config)})


def own_tensors(sae: Sae) -> dict[str, Tensor]:
    """What is written of an autoencoder; the one matrix of a tied one is `W_enc`."""
    tensors = {name: t.detach().contiguous().cpu() for name, t in sae.state_dict().items()}
    if sae.config.tied:
        del tensors["W_dec"]
    return tensors


def load(folder: Path) -> Sae:
    """Read what `save` wrote.

    Raises:
        SprogError: a file is missing or broken, a key is unknown, or tensors do not fit the config.
    """
    config = _read_config(folder / CONFIG)
    path = folder / WEIGHTS
    return filled(config, read_safetensors(path), str(path))


def filled(config: SaeConfig, tensors: dict[str, Tensor], where: str) -> Sae:
    """An autoencoder with these tensors, named as `Sae` names them.

    Raises:
        SprogError: one is missing, of another shape or not finite, or there is one too many.
    """
    sae = Sae(config)
    wanted = own_tensors(sae)
    for name, own in wanted.items():
        if name not in tensors or tensors[name].shape != own.shape:
            found = tuple(tensors[name].shape) if name in tensors else "missing"
            raise SprogError(f"{where}: {name} should be {tuple(own.shape)} and is {found}")
        if not tensors[name].isfinite().all():
            raise SprogError(f"{where}: {name} holds values that are not finite")
    unknown = sorted(set(tensors) - set(wanted))
    if unknown:
        raise SprogError(f"{where}: holds a tensor '{unknown[0]}' that this autoencoder does not have")
    state = {name: tensor.float() for name, tensor in tensors.items()}
    if config.tied:
        state["W_dec"] = state["W_enc"]
    sae.load_state_dict(state)
    return sae.requires_grad_(False)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file.

    Raises:
        SprogError: it cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise SprogError(f"{path}: cannot be read as safetensors ({error})") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        SprogError: it cannot be read, or is no object.
    """
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise SprogError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(settings, dict):
        raise SprogError(f"{path}: should hold a JSON object")
    return settings


def _read_config(path: Path) -> SaeConfig:
    settings = read_json(path)
    if settings.pop("format", None) != FORMAT_VERSION:
        raise SprogError(f"{path}: is not a sprog autoencoder of format {FORMAT_VERSION}")
    known = {field.name for field in dataclasses.fields(SaeConfig)}
    unknown = sorted(set(settings) - known)
    if unknown:
        raise SprogError(f"{path}: the key '{unknown[0]}' is not known, so what it changes is not either")
    try:
        return SaeConfig(**settings | {"matryoshka": tuple(settings.get("matryoshka", ()))})
    except TypeError as error:
        raise SprogError(f"{path}: {error}") from error
