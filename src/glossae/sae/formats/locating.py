"""Find an SAE in a folder or file, by the names of its files, or on the hub."""

import fnmatch
import glob
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from glossae.errors import GlossaeError
from glossae.hub import Repository, commit_of, hub_errors, silent_client
from glossae.sae.formats import dictionary_learning, own, sae_lens, scopes, sparsify
from glossae.sae.formats.reading import Keys
from glossae.sae.sae import Sae

SCHEME = "hub:"


def load(place: Path) -> Sae:
    """Read the SAE in a folder or file.

    A folder may also contain a single SAE one level down: a run, or the root of an export.

    Raises:
        GlossaeError: there is no SAE or more than one, or it cannot be read.
    """
    if place.is_file():
        return _reader(place)(place)
    if not place.is_dir():
        raise GlossaeError(f"{place}: there is no such file or folder")
    found = _weights(place)
    if not found:
        inside = [folder for folder in sorted(place.iterdir()) if folder.is_dir() and _weights(folder)]
        if len(inside) > 1:
            names = ", ".join(folder.name for folder in inside)
            raise GlossaeError(f"{place}: holds several autoencoders; name one of {names}")
        if not inside:
            raise GlossaeError(f"{place}: holds no autoencoder (none of {', '.join(BY_NAME)})")
        found = _weights(inside[0])
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise GlossaeError(f"{found[0].parent}: holds several autoencoders; name one of {names}")
    return _reader(found[0])(found[0])


def _read_shared(path: Path) -> Sae:
    """Read a `sae.safetensors`, a name that glossae and sparsify share: the header or the config tells who wrote it."""
    if own.is_own(path) or not (path.parent / own.CONFIG).exists():
        return own.read(path)
    keys = Keys.read(path.parent / own.CONFIG)
    if "expansion_factor" in keys or "num_latents" in keys:
        return sparsify.read(path)
    raise GlossaeError(
        f"{keys.path}: is neither glossae's, which says its 'format', nor sparsify's, with an 'expansion_factor'"
    )


BY_NAME: dict[str, Callable[[Path], Sae]] = {
    own.WEIGHTS: _read_shared,
    sae_lens.WEIGHTS: sae_lens.read,
    scopes.GEMMA_ARRAYS: scopes.read_gemma,
    scopes.GEMMA_WEIGHTS: scopes.read_gemma,
    dictionary_learning.WEIGHTS: dictionary_learning.read,
    # one folder below the config
    scopes.LLAMA_WEIGHTS: scopes.read_llama,
}
# for a named file, the suffix decides too; the longest first
BY_SUFFIX: dict[str, Callable[[Path], Sae]] = {
    ".sae.pt": scopes.read_qwen,
    ".npz": scopes.read_gemma,
    ".pt": dictionary_learning.read,
}


def _weights_among(files: Iterable[str]) -> list[str]:
    """The paths, among a folder's files, whose names are those of an SAE's weights."""
    there = sorted(files)
    return [
        *(name for name in BY_NAME if name in there),
        *(name for name in there if fnmatch.fnmatch(name, scopes.QWEN_FILES)),
    ]


def _weights(folder: Path) -> list[Path]:
    inside = [path.name for path in folder.iterdir() if path.is_file()]
    below = [name for name in BY_NAME if "/" in name and (folder / name).is_file()]
    return [folder / name for name in _weights_among([*inside, *below])]


def _reader(path: Path) -> Callable[[Path], Sae]:
    if path.suffix == ".json":
        return lambda path: load(path.parent)
    for name in (path.name, f"{path.parent.name}/{path.name}"):
        if name in BY_NAME:
            return BY_NAME[name]
    for suffix, reader in BY_SUFFIX.items():
        if path.name.endswith(suffix):
            return reader
    raise GlossaeError(f"{path}: is no known autoencoder's file (none of {', '.join(BY_NAME)})")


class FetchedSae(NamedTuple):
    """The folder or file of a fetched SAE, and its commit."""

    place: Path
    commit: str


def fetch(text: str) -> FetchedSae:
    """Fetch one SAE of a repository, `hub:OWNER/NAME[@REVISION][/FOLDER][/FILE]`, into the hub's cache.

    From a folder, configurations and weights are fetched. A folder without an SAE of its own stands for the
    only one below it, as in what `glossae push` writes. If a folder has the weights of several SAEs (Qwen-Scope
    keeps all layers in one), the file has to be named, and only that file is fetched.

    Raises:
        GlossaeError: the name is impossible, the hub or the network refuses, or the folder has no SAE or
            several.
    """
    owner, *rest = text.removeprefix(SCHEME).split("/", 2)
    place = "/".join(rest[1:]).strip("/")
    try:
        repository = Repository.parse("/".join([owner, *rest[:1]]))
    except GlossaeError as error:
        raise GlossaeError(f"{text}: {error}") from error
    return fetch_place(repository, place, text)


def fetch_place(repository: Repository, place: str, text: str) -> FetchedSae:
    """Fetch the SAE in a folder or file of a repository, which messages call `text`; see `fetch`."""
    place = place.strip("/")
    if ".." in PurePosixPath(place).parts:
        raise GlossaeError(f"{text}: names a folder outside the repository")
    with hub_errors(repository, text):
        # a small file, to learn the commit; a repository need not have it
        commit = commit_of(repository, "README.md")
        snapshot = repository.folder / "snapshots" / commit
        # the weights come last, so if they are there, the rest is too
        if not _is_whole(snapshot / place):
            place = _download(text, repository.at(commit), place)
    return FetchedSae(snapshot / place, commit)


def _is_whole(place: Path) -> bool:
    if not place.is_dir():
        return place.is_file()
    known = _weights_among(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())
    # a single layer's file may have been fetched by its name, which does not make the folder hold one SAE
    return len(known) == 1 and known[0] in BY_NAME


def _download(text: str, repository: Repository, place: str) -> str:
    """Fetch the SAE of a place, and return the place of its files."""
    from huggingface_hub import HfApi, snapshot_download

    try:
        files = HfApi().list_repo_files(repository.name, revision=repository.revision)
    except Exception:
        # without the hub, what was fetched before is all there is
        snapshot = repository.folder / "snapshots" / str(repository.revision)
        fetched = [path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()]
        below = _only_below(fetched, place)
        if below is None or not _is_whole(snapshot / below):
            raise
        return below
    place = _only_below(files, place) or place
    named = place in files
    folder = str(PurePosixPath(place).parent) if named else place
    prefix = "" if folder in ("", ".") else f"{folder}/"
    inside = [file.removeprefix(prefix) for file in files if file.startswith(prefix)]
    weights = [PurePosixPath(place).name] if named else _weights_among(inside)
    if not weights:
        tensors = [file for file in files if file.endswith((".safetensors", ".npz", ".pt"))]
        here = [file for file in inside if f"{prefix}{file}" in tensors and "/" not in file]
        if here:
            raise GlossaeError(
                f"{text}: no autoencoder by its name in that folder; name one of its files, {_few(here)}"
            )
        others = sorted({str(PurePosixPath(file).parent) for file in tensors})
        there = f"there are some in {_few(others)}" if others else "nor in another"
        raise GlossaeError(f"{text}: no autoencoder in that folder; {there}")
    if len(weights) > 1:
        raise GlossaeError(
            f"{text}: holds several autoencoders; add the name of one of them, such as /{weights[0]}: {_few(weights)}"
        )
    small = [file for file in inside if file.endswith(".json") and "/" not in file]
    for chosen, bars in ((small, False), (weights, True)):
        patterns = [glob.escape(f"{prefix}{file}") for file in chosen]
        if patterns:
            with silent_client(bars=bars):
                snapshot_download(repository.name, revision=repository.revision, allow_patterns=patterns)
    return place


def _only_below(files: Iterable[str], place: str) -> str | None:
    """The only folder directly below a place that has an SAE's weights, where the place itself has none."""
    prefix = f"{place}/" if place else ""
    inside = [file.removeprefix(prefix) for file in files if file.startswith(prefix)]
    folders = {file.partition("/")[0] for file in inside if "/" in file}
    found = [
        folder
        for folder in sorted(folders)
        if _weights_among(file.removeprefix(f"{folder}/") for file in inside if file.startswith(f"{folder}/"))
    ]
    return f"{prefix}{found[0]}" if len(found) == 1 and not _weights_among(inside) else None


def _few(names: list[str]) -> str:
    """At most eight of the names."""
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
