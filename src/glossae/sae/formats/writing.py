"""Write an SAE's two files, and check what an export may overwrite."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from torch import Tensor

from glossae.errors import GlossaeError
from glossae.files import file_sha256, replacing, write_text
from glossae.sae.card import CARD, MARK


def write_pair(
    weights: Path,
    tensors: dict[str, Tensor],
    config: Path,
    settings: dict[str, Any],
    facts: tuple[Path, dict[str, Any]] | None = None,
) -> None:
    """Write tensors and their config, and optionally a file of facts with the hashes of both.

    All are complete before any is renamed, and the config is renamed last: a folder with a config is
    complete.
    """
    from safetensors.torch import save_file

    # copies: safetensors refuses shared and transposed tensors
    plain = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    with replacing(config) as new_config, replacing(weights) as new_weights:
        save_file(plain, new_weights)
        new_config.write_text(_as_text(settings), encoding="utf-8")
        if facts is not None:
            hashes = {weights.name: file_sha256(new_weights), config.name: file_sha256(new_config)}
            write_text(facts[0], _as_text({**facts[1], "files": hashes}))


def _as_text(settings: dict[str, Any]) -> str:
    return json.dumps(settings, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def check_free(folder: Path, files: Collection[str], kind: str, folders: Collection[str] = ()) -> None:
    """Check that an export may be written into a folder: it does not exist, or holds only an earlier export.

    Args:
        folder: the folder of the export.
        files: the export's files besides the card.
        kind: the kind of export, in words.
        folders: other folders that may be there.
    """
    # `missing/..` is there once `missing` is made
    there = folder.resolve()
    if there.exists() and not there.is_dir():
        raise GlossaeError(f"--out: {folder} is a file; give a folder")
    for path in sorted(there.iterdir()) if there.is_dir() else ():
        is_file = path.is_file()
        # a name that begins with a dot is left over from an interrupted write
        if path.name.startswith(".") or (
            is_file and path.name == CARD and MARK.encode() in path.read_bytes()
        ):
            continue
        if path.name not in (files if is_file else folders):
            raise GlossaeError(
                f"--out: {folder} holds '{path.name}', which is no part of {kind}; give another folder"
            )
