"""One address fetched into one file that stays: carried on with where it broke off, recorded, checked at every use."""

import itertools
import json
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from glossae._version import __version__
from glossae.corpora.corpus import Progress
from glossae.corpora.lines import named, shown
from glossae.environment import offline
from glossae.errors import GlossaeError
from glossae.files import file_sha256, write_json

TRIES = 4
PAUSES = (1.0, 3.0, 9.0)
"""Seconds before the second try, the third and the fourth."""
TIMEOUT = 30.0
"""Seconds without a byte after which a server counts as gone."""
_BLOCK = 2**18
# enough to see what a file is
_HEAD = 512
# answers that another try may well change
_PASSING = frozenset({408, 416, 425, 429, 500, 502, 503, 504})

Refusal = Callable[[bytes], str | None]
"""From the first bytes, why a file is not the one that was asked for; None if it may be."""


class DownloadError(GlossaeError):
    """What could not be fetched, and why.

    Attributes:
        status: the answer of the server, where it refused; None where it broke off or was not reached.
        reached: whether a server answered.
    """

    def __init__(self, message: str, *, status: int | None = None, reached: bool = True) -> None:
        super().__init__(message)
        self.status = status
        self.reached = reached


class _BrokenOffError(Exception):
    """What another try may mend; says why in its message."""


class _NotReachedError(_BrokenOffError):
    """No server answered."""


def open_url(url: str, headers: dict[str, str] | None = None, timeout: float | None = None) -> HTTPResponse:
    """Ask for `url` over HTTP or HTTPS and nothing else, whatever it is redirected to; proxies as the environment says.

    Raises:
        urllib.error.HTTPError: the server refuses.
        OSError, HTTPException, ValueError: it is not reached, or answers with something else than HTTP.
    """
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    request = urllib.request.Request(url, headers={"User-Agent": f"glossae/{__version__}", **(headers or {})})
    response: HTTPResponse = opener.open(request, timeout=timeout or TIMEOUT)
    return response


def checked_address(text: str, setting: str) -> str:
    """`text` as the start of addresses, without a slash at its end."""
    try:
        parts = urlsplit(text)
        plain = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        plain = False
    if not plain or any(mark in text for mark in "@?# ") or not text.isprintable():
        seen = "" if "@" in text else f" {shown(text, 100)}"
        raise GlossaeError(
            f"{setting}: is not an address{seen}: write one such as https://mirror.example/opus, without a password"
        )
    return text.rstrip("/")


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
    url: str, path: Path, *, check: Callable[[Path, str], None], refusal: Refusal, progress: Progress
) -> Kept:
    """Make sure that `path` has what is at `url`: as it stands if it is what the record says, else fetched.

    A file that somebody put at `path` is checked, and stands from then on. What is fetched takes the place of
    a changed file only once it has come whole and was checked. The record is `path` with `.json` added.

    Args:
        url: where from.
        path: where it is kept.
        check: raises `GlossaeError` if a file, which messages are to call by the name given, is no good.
        refusal: nothing that is refused is written.
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
            if not _about(path).exists():
                check(path, named(path))
                return _recorded(path, path, None)
            _refuse_changed(path)
        part = path.with_name(f"{path.name}.part")
        with progress(url) as report:
            _download(_Part(part, url), refusal, report)
        try:
            check(part, url)
        except GlossaeError:
            part.unlink(missing_ok=True)
            raise
        found = _recorded(part, path, url)
        try:
            part.replace(path)
            _about(part).unlink(missing_ok=True)
        except OSError as error:
            raise GlossaeError(f"{named(path)}: cannot be written ({error.strerror or error})") from error
        return found


def _about(path: Path) -> Path:
    """Where what is known about a file stands."""
    return path.with_name(f"{path.name}.json")


def _on_record(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(_about(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _record(path: Path) -> Kept | None:
    known = _on_record(path)
    try:
        return Kept(known["url"], known["bytes"], known["sha256"])
    except (KeyError, TypeError):
        return None


def _standing(path: Path) -> Kept | None:
    """The record, if there is one and the file is what it says."""
    record = _record(path)
    try:
        same = record and path.stat().st_size == record.bytes and file_sha256(path) == record.sha256
    except OSError:
        return None
    return record if same else None


def _refuse_changed(path: Path) -> None:
    """Refuse a file that is not what its record says, and was put there by somebody or cannot be fetched."""
    record = _record(path)
    if record is not None and record.url is None:
        why = "and was put there, not fetched"
    elif variable := offline():
        why = f"and {variable} keeps glossae from fetching it again"
    else:
        return
    raise GlossaeError(
        f"{named(path)}: is not the file of before, its SHA-256 has changed, {why}: "
        f"delete {named(_about(path))} if the file is good, or the file to have it fetched"
    )


def _recorded(file: Path, path: Path, url: str | None) -> Kept:
    """Write the record of `path`, whose content is still in `file`."""
    record = Kept(url, file.stat().st_size, file_sha256(file))
    write_json(_about(path), asdict(record))
    return record


@contextmanager
def _locked(path: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock of `path`, waiting for another run that fetches it; its folder is made if need be."""
    # only where something is fetched, and `import glossae.corpora` is to work without it
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


class _Part:
    """What has come of a file, and what is known about the whole, which stands in `path` with `.json` added."""

    def __init__(self, path: Path, url: str) -> None:
        self.path = path
        self.url = url
        known = _on_record(path)
        self._known = known if known.get("url") == url else {}

    @property
    def size(self) -> int:
        """Bytes that have come."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def whole(self) -> int | None:
        """Bytes of the whole file, where the server said so."""
        whole = self._known.get("bytes")
        return whole if isinstance(whole, int) else None

    def request(self) -> dict[str, str]:
        """The headers that ask for the rest; none where only the whole can be asked for."""
        validator = self._known.get("etag") or self._known.get("modified")
        if self.size and isinstance(validator, str):
            return {"Range": f"bytes={self.size}-", "If-Range": validator}
        return {}

    def goes_on_with(self, response: HTTPResponse) -> bool:
        """Whether a 206 continues these bytes of this very file."""
        said = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if said is None or int(said[1]) != self.size:
            return False
        same_size = said[2] == "*" or self.whole in (None, int(said[2]))
        return same_size and _validators(response).items() <= self._known.items()

    def begin(self, response: HTTPResponse, whole: int | None) -> None:
        """Forget what came before: this response has the file from the start, `whole` bytes of it."""
        self.drop()
        free = shutil.disk_usage(self.path.parent).free
        if whole is not None and whole > free:
            raise GlossaeError(
                f"{self.url}: has {whole:,} bytes, and {named(self.path.parent)} has {free:,} free: make room, or set "
                f"GLOSSAE_CACHE to a folder on a larger disk"
            )
        self._known = {"url": self.url, "bytes": whole, **_validators(response)}
        write_json(_about(self.path), self._known)

    def drop(self) -> None:
        """Forget what has come."""
        self._known = {}
        self.path.unlink(missing_ok=True)
        _about(self.path).unlink(missing_ok=True)


def _validators(response: HTTPResponse) -> dict[str, str]:
    """What a file is known again by: a strong ETag, or when it was changed."""
    etag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
    # a weak one may stand for other bytes, and RFC 9110 forbids it in If-Range
    found = {"etag": etag} if etag and not etag.startswith("W/") else {}
    return found | ({"modified": modified} if modified else {})


def _download(part: _Part, refusal: Refusal, report: Callable[[float], None]) -> None:
    """Fetch a file into `part.path`.

    What has come stays there when the transfer breaks off, and the next call carries on from there if the
    server still has the same file (`Range` with `If-Range`, RFC 9110).
    """
    reason = ""
    for number in range(TRIES):
        if number:
            time.sleep(PAUSES[number - 1])
        try:
            _transfer(part, refusal, report)
            return
        except _BrokenOffError as error:
            if isinstance(error, _NotReachedError) and not number:
                raise DownloadError(f"{part.url}: cannot be reached ({error})", reached=False) from error
            reason = str(error)
    advice = (
        f"the same command carries on after the {part.size:,} bytes that came" if part.size else "try later"
    )
    raise DownloadError(f"{part.url}: the transfer broke off {TRIES} times (last: {reason}); {advice}")


def _transfer(part: _Part, refusal: Refusal, report: Callable[[float], None]) -> None:
    if part.whole is not None and part.size == part.whole:
        return
    with _asked(part) as response:
        if response.status not in (200, 206):
            raise _refused(part.url, response.status, response.reason)
        whole, blocks = response.length, _blocks(response)
        if response.status == 200:
            head = next(blocks)
            if (why := refusal(head)) is not None:
                raise DownloadError(f"{part.url}: {why}")
            part.begin(response, whole)
            blocks = itertools.chain([head], blocks)
        elif not part.goes_on_with(response):
            part.drop()
            raise _BrokenOffError("it has another file there than before")
        try:
            with part.path.open("ab") as file:
                for block in blocks:
                    file.write(block)
                    if part.whole:
                        report(min(1.0, file.tell() / part.whole))
        except OSError as error:
            raise DownloadError(
                f"{named(part.path)}: cannot be written ({error.strerror or error}): make room; "
                f"the same command carries on where it stopped"
            ) from error
    if part.whole is not None and part.size != part.whole:
        raise _BrokenOffError(f"it sent {part.size:,} of {part.whole:,} bytes")


def _blocks(response: HTTPResponse) -> Iterator[bytes]:
    """The body; at least the first `_HEAD` bytes at once, and b"" where there is none."""
    left = response.length
    waiting = b""
    while left != 0:
        try:
            block = response.read1(_BLOCK if left is None else min(_BLOCK, left))
        except (OSError, HTTPException, ValueError) as error:
            raise _BrokenOffError(_why(error)) from error
        if not block:
            break
        if left is not None:
            left -= len(block)
        waiting += block
        if len(waiting) >= _HEAD:
            yield waiting
            waiting = b""
    yield waiting


def _asked(part: _Part) -> HTTPResponse:
    """The server's answer; what another try may change is a `_BrokenOffError`."""
    try:
        return open_url(part.url, part.request())
    except urllib.error.HTTPError as error:
        # it is the response too, and has to be closed
        error.close()
        if error.code == 416:
            part.drop()
        if error.code in _PASSING:
            raise _BrokenOffError(f"it answered {error.code} {_folded(error.reason)}") from error
        raise _refused(part.url, error.code, error.reason) from error
    except (OSError, HTTPException, ValueError) as error:
        raise _NotReachedError(_why(error)) from error


def _refused(url: str, status: int, reason: object) -> DownloadError:
    return DownloadError(f"{url}: answered {status} {_folded(reason)}", status=status)


def _why(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return _folded(getattr(reason, "strerror", None) or reason) or type(reason).__name__


def _folded(text: object) -> str:
    """What a server or a library says, on one line."""
    folded = " ".join(str(text).split())
    return folded if folded.isprintable() else shown(folded, 100)
