"""Fetched files that stay: recorded with size and SHA-256, checked whenever they are used, fetched by one at a time."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

from glossae.environment import offline
from glossae.errors import GlossaeError
from glossae.files import file_sha256, write_json
from glossae.text.download import DownloadError, download
from glossae.text.lines import named

Progress = Callable[[str], AbstractContextManager[Callable[[float], None]]]
"""Shows what takes long: takes what that is, and gives what is to be called with the share done, 0 to 1."""


def silent(_what: str) -> AbstractContextManager[Callable[[float], None]]:
    """Shows nothing."""
    return nullcontext(lambda _: None)


@dataclass(frozen=True)
class Kept:
    """What is on record about a kept file.

    Attributes:
        url: where it was fetched from; None if somebody put it there.
        bytes: its size.
        sha256: its hash, in hex.
    """

    url: str | None
    bytes: int
    sha256: str


def kept(
    url: str,
    path: Path,
    *,
    check: Callable[[Path, str], None],
    refusal: Callable[[bytes], str | None],
    progress: Progress,
) -> Kept:
    """Make sure that `path` has what is at `url`: as it stands if it is what the record says, else fetched.

    A file that somebody put at `path` is checked, and stands from then on. What is fetched takes the place of
    a changed file only once it has come whole and was checked. The record is `path` with `.json` added.

    Args:
        url: where from.
        path: where it is kept.
        check: raises `GlossaeError` if a file, which messages are to call by the name given, is no good.
        refusal: as in `download`.
        progress: shows the transfer.

    Raises:
        DownloadError: the file is not there and cannot be fetched.
        GlossaeError: the file is not what it should be, was changed while there is no network, or cannot be
            written.
    """
    if (found := _standing(path)) is not None:
        return found
    if not path.is_file() and (variable := offline()):
        raise DownloadError(f"{variable} keeps glossae from fetching {url}", reached=False)
    with _locked(path, progress):
        # whoever had the lock before may have fetched it
        if (found := _standing(path)) is not None:
            return found
        if path.is_file():
            if not _record_path(path).exists():
                check(path, named(path))
                return _recorded(path, path, None)
            _refuse_changed(path)
        part = path.with_name(f"{path.name}.part")
        with progress(url) as report:
            download(url, part, refusal=refusal, report=report)
        try:
            check(part, url)
        except GlossaeError:
            part.unlink(missing_ok=True)
            raise
        found = _recorded(part, path, url)
        try:
            part.replace(path)
            part.with_name(f"{part.name}.json").unlink(missing_ok=True)
        except OSError as error:
            raise GlossaeError(f"{named(path)}: cannot be written ({error.strerror or error})") from error
        return found


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _on_record(path: Path) -> Kept | None:
    try:
        known = json.loads(_record_path(path).read_text(encoding="utf-8"))
        return Kept(known["url"], known["bytes"], known["sha256"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _standing(path: Path) -> Kept | None:
    """The record, if there is one and the file is what it says."""
    record = _on_record(path)
    try:
        same = (
            record is not None and path.stat().st_size == record.bytes and file_sha256(path) == record.sha256
        )
    except OSError:
        same = False
    return record if same else None


def _refuse_changed(path: Path) -> None:
    """Refuse a file that is not what its record says where another must not or cannot take its place.

    Raises:
        GlossaeError: it was put there by somebody, or there is no network.
    """
    record = _on_record(path)
    if record is not None and record.url is None:
        why = "and was put there, not fetched"
    elif variable := offline():
        why = f"and {variable} keeps glossae from fetching it again"
    else:
        return
    raise GlossaeError(
        f"{named(path)}: is not the file of before, its SHA-256 has changed, {why}: "
        f"delete {named(_record_path(path))} if the file is good, or the file to have it fetched"
    )


def _recorded(file: Path, path: Path, url: str | None) -> Kept:
    """Write the record of `path`, whose content is still in `file`."""
    record = Kept(url, file.stat().st_size, file_sha256(file))
    write_json(_record_path(path), asdict(record))
    return record


@contextmanager
def _locked(path: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock of `path`, waiting for another run that fetches it; its folder is made if need be."""
    # only where something is fetched, and `import glossae.text` is to work without it
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            with progress(f"waiting for another run that fetches {named(path)}"):
                lock.acquire()
    except OSError as error:
        raise GlossaeError(
            f"{named(path.parent)}: cannot be written ({error.strerror or error}): "
            f"set GLOSSAE_CACHE to a folder that can"
        ) from error
    try:
        yield
    finally:
        lock.release()
