"""Write an SAE's two files, and check what an export may overwrite."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from torch import Tensor

from glossae.errors import GlossaeError
from glossae.files import file_sha256, replacing, save_tensors, write_text
from glossae.sae.card import CARD, MARK

FACTS = "glossae.json"
"""The file of an export that holds what the library's own files have no place for."""


def write_pair(
    weights: Path,
    tensors: dict[str, Tensor],
    config: Path,
    settings: dict[str, Any],
    facts: tuple[Path, dict[str, Any]] | None = None,
) -> None:
    """Write tensors and their config, and optionally a file of facts with the hashes of both.

    All are complete before any is renamed. An earlier config goes first and the new one comes last, so that a
    folder with a config has the weights that belong to it, also after a crash.
    """
    with replacing(config) as new_config, replacing(weights) as new_weights:
        save_tensors(new_weights, tensors)
        new_config.write_text(_as_text(settings), encoding="utf-8")
        if facts is not None:
            hashes = {weights.name: file_sha256(new_weights), config.name: file_sha256(new_config)}
            write_text(facts[0], _as_text({**facts[1], "files": hashes}))
        config.unlink(missing_ok=True)


def _as_text(settings: dict[str, Any]) -> str:
    return json.dumps(settings, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def check_card(path: Path) -> None:
    """Check that a card may be written: there is none, or glossae wrote it.

    Raises:
        GlossaeError: there is another file.
    """
    if path.exists() and not _is_card(path):
        raise GlossaeError(f"{path}: exists and is no card of glossae: give another folder")


def _is_card(path: Path) -> bool:
    return path.is_file() and MARK.encode() in path.read_bytes()


def check_free(folder: Path, files: Collection[str], kind: str, folders: Collection[str] = ()) -> None:
    """Check that an export may be written into a folder: it does not exist, or holds only an earlier export of ours.

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
        # what an interrupted write left is named `TEMPORARY`; other dotfiles are in nobody's way
        if path.name.startswith(".") or (path.name == CARD and _is_card(path)):
            continue
        if path.name not in (files if is_file else folders):
            raise GlossaeError(
                f"--out: {folder} holds '{path.name}', which is no part of {kind}; give another folder"
            )
    there_before = [name for name in files if (there / name).exists()]
    if there_before and not (_is_card(there / CARD) or (there / FACTS).is_file()):
        raise GlossaeError(
            f"--out: {folder} holds '{there_before[0]}', which glossae did not write; give another folder"
        )
