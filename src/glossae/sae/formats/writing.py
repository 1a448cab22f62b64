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
    card: str,
    facts: dict[str, Any] | None = None,
) -> None:
    """Write tensors, their config and a card, and optionally a file of facts with the hashes of the first two.

    All are complete before any is renamed. An earlier config goes first and the new one comes last, so that a
    folder with a config has the weights that belong to it, also after a crash.
    """
    with replacing(config) as new_config, replacing(weights) as new_weights:
        save_tensors(new_weights, tensors)
        new_config.write_text(_as_text(settings), encoding="utf-8")
        # both say that the files are ours, and so come before them
        write_text(weights.parent / CARD, card)
        if facts is not None:
            hashes = {weights.name: file_sha256(new_weights), config.name: file_sha256(new_config)}
            write_text(weights.parent / FACTS, _as_text({**facts, "files": hashes}))
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
        # what an interrupted write left is named `TEMPORARY`; other dotfiles are in nobody's way
        if path.name.startswith(".") or (path.name == CARD and _is_card(path)):
            continue
        if path.name not in (files if is_file else folders):
            raise GlossaeError(
                f"--out: {folder} holds '{path.name}', which is no part of {kind}; give another folder"
            )


def check_ours(folder: Path, files: Collection[str]) -> None:
    """Check that none of an export's files is there, or that glossae wrote them.

    Raises:
        GlossaeError: glossae did not write them.
    """
    before = [name for name in files if (folder / name).exists()]
    if before and not (_is_card(folder / CARD) or (folder / FACTS).is_file()):
        raise GlossaeError(
            f"--out: {folder} holds '{before[0]}', which glossae did not write; give another folder"
        )
