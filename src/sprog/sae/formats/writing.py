"""Writing an autoencoder's two files, and what may be written over."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from torch import Tensor

from sprog.errors import SprogError
from sprog.files import replacing


def write_pair(weights: Path, tensors: dict[str, Tensor], config: Path, settings: dict[str, Any]) -> None:
    """Write tensors and the config that says what they are.

    Both are whole before either takes its place, and the config does so last: a folder that has one is whole.
    """
    from safetensors.torch import save_file

    # copies: two names for one tensor, or a transposed one, are not for a file
    plain = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    text = json.dumps(settings, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    with replacing(config) as new_config, replacing(weights) as new_weights:
        save_file(plain, new_weights)
        new_config.write_text(text, encoding="utf-8")


def check_free(folder: Path, files: Collection[str], kind: str, folders: Collection[str] = ()) -> None:
    """May files of these names be written into a folder? It may be missing, or hold nothing but them.

    Args:
        folder: where to.
        files: what may be there.
        kind: what they are, in words.
        folders: other folders that may be there.

    Raises:
        SprogError: it is a file, or holds anything else.
    """
    if folder.exists() and not folder.is_dir():
        raise SprogError(f"--out: {folder} is a file; give a folder")
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        # what begins with a dot was left by a write that was cut short
        if not (path.name.startswith(".") or path.name in (files if path.is_file() else folders)):
            raise SprogError(
                f"--out: {folder} holds '{path.name}', which is no part of {kind}; give another folder"
            )
