"""A model's files from the hub: looked at before they are fetched, all of one commit, only what is loaded."""

import glob
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from glossae.errors import GlossaeError
from glossae.hub import Repository, asking, download, quietly
from glossae.lm.files import INDEX, WEIGHTS, check_config, only_pickles, pickles_among

_WEIGHTS = ".safetensors"
# configuration, tokenizer and chat template, in all the forms that transformers reads
_SMALL = (".json", ".txt", ".model", ".jinja", ".tiktoken")
_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json")


class Snapshot(NamedTuple):
    """A model of the hub on this machine.

    Attributes:
        folder: its files.
        commit: what its revision was when it was last asked for.
    """

    folder: Path
    commit: str


class _Found(NamedTuple):
    """A model on the hub: its configuration is here; `missing` may have to be fetched, the weights last."""

    snapshot: Snapshot
    missing: tuple[str, ...] = ()


def look_up(name: str) -> None:
    """Ask the hub for a model and look at its configuration; its weights are not fetched.

    Raises:
        GlossaeError: as `fetch`.
    """
    repository = _repository(name)
    with asking(repository, f"model: {name}"):
        _find(name, repository)


def fetch(name: str) -> Snapshot:
    """Fetch a model's configuration, tokenizer and weights into the hub's cache, as far as they are not there.

    Args:
        name: a hub id with an optional `@REVISION`: a branch, a tag or a commit.

    Raises:
        GlossaeError: there is no such model or revision, it is gated, has no safetensors or needs code of its
            own, it is not in the cache and cannot be fetched, or what arrives is broken.
    """
    repository = _repository(name)
    with asking(repository, f"model: {name}"):
        snapshot, missing = _find(name, repository)
        if missing:
            pinned = repository.at(snapshot.commit)
            _fetch_files(pinned, missing)
            # in which files the weights are is known only now, where their index came with the rest
            _fetch_files(pinned, _absent(name, snapshot.folder))
            if lost := _absent(name, snapshot.folder):
                raise GlossaeError(f"model: {name}: its {INDEX} names {lost[0]}, which is not on the hub")
    return snapshot


def known_commit(name: str) -> str | None:
    """The commit of a model in the hub's cache; None if it is not there, or `name` is none. No network."""
    try:
        return Repository.parse(name).known_commit
    except GlossaeError:
        return None


def _repository(name: str) -> Repository:
    try:
        return Repository.parse(name)
    except GlossaeError as error:
        raise GlossaeError(f"model: {name}: {error}") from error


def _find(name: str, repository: Repository) -> _Found:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        config = download(repository, "config.json")
    except LocalEntryNotFoundError:
        raise
    except EntryNotFoundError as error:
        raise GlossaeError(f"model: {name} has no config.json, so it is not a Transformers model") from error
    snapshot = Snapshot(config.parent, config.parent.name)
    check_config(name, snapshot.folder)
    if _is_complete(name, snapshot.folder):
        return _Found(snapshot)
    files = HfApi().list_repo_files(repository.name, revision=snapshot.commit)
    if WEIGHTS not in files and INDEX not in files:
        if pickles_among(files):
            raise GlossaeError(
                f"model: {name} {only_pickles(files)}: name a revision with safetensors, such as a conversion "
                f"in its pull requests (@refs/pr/NUMBER, see {repository.page}/discussions), or save it again "
                "with safe_serialization=True and give the folder"
            )
        raise GlossaeError(f"model: {name} has neither {WEIGHTS} nor {INDEX}")
    small = [file for file in files if file.endswith(_SMALL) and "/" not in file]
    return _Found(snapshot, (*small, *([WEIGHTS] if WEIGHTS in files else [])))


def _fetch_files(repository: Repository, files: Sequence[str]) -> None:
    """Fetch files, several at a time."""
    from huggingface_hub import snapshot_download

    # the weights last, so that where they are, the rest is too, even after an interruption
    for weights in (False, True):
        patterns = [glob.escape(file) for file in files if file.endswith(_WEIGHTS) is weights]
        if patterns:
            with quietly(bars=weights):
                snapshot_download(repository.name, revision=repository.revision, allow_patterns=patterns)


def _is_complete(name: str, folder: Path) -> bool:
    return any((folder / file).exists() for file in _TOKENIZERS) and not _absent(name, folder)


def _absent(name: str, folder: Path) -> list[str]:
    """The files of weights that are not in the folder; they are one, or what the index names."""
    if (folder / WEIGHTS).exists():
        return []
    index = folder / INDEX
    if not index.exists():
        return [WEIGHTS]
    try:
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        return [shard for shard in shards if not (folder / shard).exists()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise GlossaeError(f"model: {name}: its {INDEX} cannot be read ({error})") from error
