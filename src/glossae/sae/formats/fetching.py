"""Autoencoders on the hub: `hub:OWNER/NAME[@REVISION][/FOLDER][/FILE]`."""

import glob
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from glossae.errors import GlossaeError
from glossae.hub import Repository, asking, commit_of, quietly
from glossae.sae.formats.detect import BY_NAME, weights_among

SCHEME = "hub:"
_SMALL = (".json",)
_WEIGHTS = (".safetensors", ".npz", ".pt")
# what is fetched first, to know the commit; a repository need not have it
_CARD = "README.md"
_SHOWN = 8


class Fetched(NamedTuple):
    """Where an autoencoder's files are now, and the commit that they are of."""

    place: Path
    commit: str


def fetch(text: str) -> Fetched:
    """Fetch one autoencoder of a repository into the hub's cache, unless it is there.

    What is fetched of a folder is its configurations and its weights. A folder with the weights of several
    autoencoders (Qwen-Scope has all layers in one) needs the file named, and only that file is fetched.

    Raises:
        GlossaeError: the name is none, the hub or the network refuses, or the folder holds no autoencoder or several.
    """
    repository, place = _parse(text)
    with asking(repository, text):
        commit = commit_of(repository, _CARD)
        there = repository.folder / "snapshots" / commit / place
        # the weights come last, so where they are, the rest is too
        if not _is_whole(there):
            _download(text, repository.at(commit), place)
    return Fetched(there, commit)


def _is_whole(place: Path) -> bool:
    if not place.is_dir():
        return place.is_file()
    known = weights_among(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())
    # one layer's file may have come by its own name, which does not make the folder hold one autoencoder
    return len(known) == 1 and known[0] in BY_NAME


def _parse(text: str) -> tuple[Repository, str]:
    parts = text.removeprefix(SCHEME).split("/")
    place = "/".join(parts[2:]).strip("/")
    try:
        repository = Repository.parse("/".join(parts[:2]))
    except GlossaeError as error:
        raise GlossaeError(f"{text}: {error}") from error
    if ".." in PurePosixPath(place).parts:
        raise GlossaeError(f"{text}: names a folder outside the repository")
    return repository, place


def _download(text: str, repository: Repository, place: str) -> None:
    from huggingface_hub import HfApi, snapshot_download

    files = HfApi().list_repo_files(repository.name, revision=repository.revision)
    named = place in files
    folder = str(PurePosixPath(place).parent) if named else place
    prefix = "" if folder in ("", ".") else f"{folder}/"
    inside = [file.removeprefix(prefix) for file in files if file.startswith(prefix)]
    weights = [PurePosixPath(place).name] if named else weights_among(inside)
    if not weights:
        here = [file for file in inside if file.endswith(_WEIGHTS) and "/" not in file]
        if here:
            raise GlossaeError(
                f"{text}: no autoencoder by its name in that folder; name one of its files, {_few(here)}"
            )
        others = sorted({str(PurePosixPath(file).parent) for file in files if file.endswith(_WEIGHTS)})
        there = f"there are some in {_few(others)}" if others else "nor in another"
        raise GlossaeError(f"{text}: no autoencoder in that folder; {there}")
    if len(weights) > 1:
        raise GlossaeError(
            f"{text}: holds several autoencoders; add the name of one of them, such as /{weights[0]}: {_few(weights)}"
        )
    small = [file for file in inside if file.endswith(_SMALL) and "/" not in file]
    for chosen, bars in ((small, False), (weights, True)):
        patterns = [glob.escape(f"{prefix}{file}") for file in chosen]
        if patterns:
            with quietly(bars=bars):
                snapshot_download(repository.name, revision=repository.revision, allow_patterns=patterns)


def _few(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
