"""Autoencoders on the hub: `hub:OWNER/NAME[@REVISION][/FOLDER]`."""

import glob
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from sprog.errors import SprogError
from sprog.hub import Repository, asking, commit_of, quietly

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
    """Fetch the files of one folder of a repository into the hub's cache, unless they are there.

    Raises:
        SprogError: the name is none, the hub or the network refuses, or the folder holds no autoencoder.
    """
    repository, folder = _parse(text)
    with asking(repository, text):
        commit = commit_of(repository, _CARD)
        place = repository.folder / "snapshots" / commit / folder
        # the weights come last, so where they are, the rest is too
        if not (place.is_dir() and any(path.suffix in _WEIGHTS for path in place.iterdir())):
            _download(text, repository.at(commit), folder)
    return Fetched(place, commit)


def _parse(text: str) -> tuple[Repository, str]:
    parts = text.removeprefix(SCHEME).split("/")
    folder = "/".join(parts[2:]).strip("/")
    try:
        repository = Repository.parse("/".join(parts[:2]))
    except SprogError as error:
        raise SprogError(f"{text}: {error}") from error
    if ".." in PurePosixPath(folder).parts:
        raise SprogError(f"{text}: names a folder outside the repository")
    return repository, folder


def _download(text: str, repository: Repository, folder: str) -> None:
    from huggingface_hub import HfApi, snapshot_download

    files = HfApi().list_repo_files(repository.name, revision=repository.revision)
    inside = [file for file in files if str(PurePosixPath(file).parent) == (folder or ".")]
    if not any(file.endswith(_WEIGHTS) for file in inside):
        others = sorted({str(PurePosixPath(file).parent) for file in files if file.endswith(_WEIGHTS)})
        there = ", ".join(others[:_SHOWN]) + (
            f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        )
        raise SprogError(
            f"{text}: no autoencoder in that folder; {f'there are some in {there}' if others else 'nor in another'}"
        )
    for endings in (_SMALL, _WEIGHTS):
        patterns = [glob.escape(file) for file in inside if file.endswith(endings)]
        if patterns:
            with quietly(bars=endings is _WEIGHTS):
                snapshot_download(repository.name, revision=repository.revision, allow_patterns=patterns)
