"""Asking the hub: quietly, with every refusal as one line, and with what arrives checked against its hash."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from glossae.errors import GlossaeError
from glossae.files import file_sha256
from glossae.hub.refusals import refusal
from glossae.hub.repository import Repository

# above every level that the client logs at
_SILENT = 100
_SHA256_DIGITS = 64


@contextmanager
def quietly(bars: bool = True) -> Iterator[None]:
    """Keep the hub's client from logging and warning for the block, and from bars if need be.

    Args:
        bars: let it show how far a download is, if standard error is a terminal.
    """
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
        logging,
    )

    level, bare = logging.get_verbosity(), are_progress_bars_disabled()
    logging.set_verbosity(_SILENT)
    with warnings.catch_warnings():
        # among them those that an environment variable overrules what is switched here
        warnings.simplefilter("ignore")
        if not (bars and sys.stderr is not None and sys.stderr.isatty()):
            disable_progress_bars()
        try:
            yield
        finally:
            logging.set_verbosity(level)
            (disable_progress_bars if bare else enable_progress_bars)()


@contextmanager
def asking(repository: Repository, called: str) -> Iterator[None]:
    """Turn what the client raises inside the block into one line that begins with `called`.

    Files that the block fetched are checked; one whose bytes are not those that the hub announced is
    thrown away.

    Raises:
        GlossaeError: the hub or the network refuses, the disk is full, or a file arrived broken.
    """
    before = _hashed_files(repository)
    try:
        with quietly():
            yield
    except GlossaeError:
        raise
    except Exception as error:
        said = refusal(error, repository) or f"cannot be fetched: {_root(error)}"
        raise GlossaeError(f"{called} {said}") from error
    finally:
        # also after a failure: what is left unchecked now would be trusted the next time
        broken = _throw_away_broken(repository, before)
    if broken:
        raise GlossaeError(
            f"{called}: {broken[0]} arrived with other bytes than the hub announced (its SHA-256 differs) and was "
            "thrown away: run the same command again"
        )


def _root(error: BaseException) -> str:
    """The first line of what the first cause of an error says."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def download(repository: Repository, file: str) -> Path:
    """One small file of a repository, from the hub or, if it cannot be reached, from the cache.

    Raises:
        Exception: what the client raises; `asking` understands it.
    """
    from huggingface_hub import hf_hub_download

    # what is asked for alone is small, and not worth a bar
    with quietly(bars=False):
        return Path(
            hf_hub_download(repository.name, file, repo_type=repository.kind, revision=repository.revision)
        )


def commit_of(repository: Repository, file: str) -> str:
    """The commit that a revision is now; without a network, what it was when it was last asked for.

    Args:
        repository: which; the cache remembers the answer.
        file: what is fetched to find out; it need not exist.

    Raises:
        Exception: what the client raises; `asking` understands it.
    """
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return download(repository, file).parent.name
    except EntryNotFoundError:
        # either there is no such file, and the client noted the commit of which that is true; or there is
        # no network, and it may have noted it earlier
        commit = repository.known_commit
        if commit is None:
            raise
        return commit


def _hashed_files(repository: Repository) -> set[Path]:
    """The cached files whose name is the SHA-256 of what they hold: the large ones."""
    try:
        return {path for path in (repository.folder / "blobs").iterdir() if len(path.name) == _SHA256_DIGITS}
    except OSError:
        return set()


def _throw_away_broken(repository: Repository, before: set[Path]) -> list[str]:
    """The names of the files that came since `before` and are not what their hash says; they are removed."""
    broken = []
    for blob in sorted(_hashed_files(repository) - before):
        if file_sha256(blob) == blob.name:
            continue
        files = (repository.folder / "snapshots").rglob("*")
        pointers = [path for path in files if path.is_symlink() and path.resolve() == blob.resolve()]
        broken.append(pointers[0].name if pointers else blob.name)
        for path in (*pointers, blob):
            path.unlink(missing_ok=True)
    return broken
