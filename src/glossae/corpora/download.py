"""Fetch a file from a URL once: resumed after a break, recorded with its SHA-256, checked at every use."""

import glob
import itertools
import re
import shutil
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from glossae._version import __version__
from glossae.corpora.corpus import Progress
from glossae.corpora.lines import path_text, short_repr
from glossae.environment import loopback, offline
from glossae.errors import GlossaeError
from glossae.files import TEMPORARY, file_sha256, read_json, rename, write_json
from glossae.hub import GRACE, SLOWEST

TRIES = 4
PAUSES = (1.0, 3.0, 9.0)
"""Seconds to wait before the second, third and fourth attempt."""
TIMEOUT = 30.0
"""Seconds without a byte after which the connection counts as lost."""
_BLOCK = 2**18
# enough bytes to recognise the file type
_HEAD = 512
# HTTP answers after which another attempt may succeed
_PASSING = frozenset({408, 416, 425, 429, 500, 502, 503, 504})

Refusal = Callable[[bytes], str | None]
"""Takes the first bytes of a file and says why it is the wrong file; None if it may be the right one."""


class DownloadError(GlossaeError):
    """A file that cannot be fetched, and why.

    Attributes:
        status: the server's status code, if it refused; None if the transfer broke off or the server was not
            reached.
        reached: whether a server answered.
    """

    def __init__(self, message: str, *, status: int | None = None, reached: bool = True) -> None:
        super().__init__(message)
        self.status = status
        self.reached = reached


class _BrokenOffError(Exception):
    """A failure that another attempt may overcome; its message says why."""


class _NotReachedError(_BrokenOffError):
    """No server answered."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but none from https to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """The request that follows `req`."""
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            raise ValueError("it redirects from https to an address without")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Hurry:
    """Ends connections when time is up: a socket's own timeout begins again at each byte."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._timer.start()

    @property
    def over(self) -> bool:
        """Whether time is up."""
        return time.monotonic() >= self._ends

    def connection(self, kind: type[HTTPConnection]) -> type[HTTPConnection]:
        """The class of connections that end then."""
        sockets = self._sockets

        class Connection(kind):  # type: ignore[valid-type,misc]
            def connect(self) -> None:
                super().connect()
                sockets.append(self.sock)

        return Connection

    def stop(self) -> None:
        """Let connections be."""
        self._timer.cancel()

    def _end(self) -> None:
        for each in self._sockets:
            with suppress(OSError):
                # not the method of a TLS socket, which is not made for another thread
                socket.socket.shutdown(each, socket.SHUT_RDWR)


@contextmanager
def open_url(url: str, headers: dict[str, str] | None = None, *, seconds: float) -> Iterator[HTTPResponse]:
    """Request `url` over HTTP or HTTPS only; redirects never lead from HTTPS to HTTP.

    The proxies that the environment sets are used, except to this machine. Everything in the block, and connecting,
    takes at most `seconds`: the connection then ends.

    Raises:
        urllib.error.HTTPError: the server refuses.
        OSError, HTTPException, ValueError: the server is not reached, does not answer with HTTP or in time.
    """
    hurry = _Hurry(seconds)

    class Plain(urllib.request.HTTPHandler):
        def http_open(self, req: urllib.request.Request) -> HTTPResponse:
            return self.do_open(hurry.connection(HTTPConnection), req)

    class Secure(urllib.request.HTTPSHandler):
        def https_open(self, req: urllib.request.Request) -> HTTPResponse:
            return self.do_open(hurry.connection(HTTPSConnection), req)

    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler({} if loopback(urlsplit(url).hostname) else None),
        Plain(),
        Secure(),
        _Redirects(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    request = urllib.request.Request(url, headers={"User-Agent": f"glossae/{__version__}", **(headers or {})})
    try:
        response: HTTPResponse = opener.open(request, timeout=min(seconds, TIMEOUT))
        with response:
            yield response
    except (OSError, HTTPException, ValueError) as error:
        if hurry.over and not isinstance(error, urllib.error.HTTPError):
            raise TimeoutError(f"no whole answer within {seconds:,.0f} seconds") from error
        raise
    finally:
        hurry.stop()


def checked_address(text: str, setting: str) -> str:
    """Check that `text` is the start of a URL, and return it without a slash at its end."""
    try:
        parts = urlsplit(text)
        plain = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        plain = False
    if not plain or any(mark in text for mark in "@?# ") or not text.isprintable():
        seen = "" if "@" in text else f" {short_repr(text, 100)}"
        raise GlossaeError(
            f"{setting}: is not an address{seen}: write one such as https://mirror.example/opus, without a password"
        )
    return text.rstrip("/")


@dataclass(frozen=True)
class FetchedFile:
    """The record of a fetched file.

    Attributes:
        url: the URL that it was fetched from; None if a user put the file there.
        bytes: its size.
        sha256: its hash, in hex.
    """

    url: str | None
    bytes: int
    sha256: str


def fetch_file(
    url: str,
    path: Path,
    *,
    most: int,
    check: Callable[[Path, str], None],
    refusal: Refusal,
    progress: Progress,
) -> FetchedFile:
    """Make sure that `path` holds the file of `url`: keep it if it agrees with its record, otherwise fetch it.

    A file that a user put at `path` is checked and then recorded. A fetched file replaces a changed one only
    when it is complete and checked. The record is `path` with `.json` added.

    Args:
        url: the address to fetch from.
        path: the file.
        most: the most bytes that are fetched.
        check: raises `GlossaeError` for a bad file; takes the file and the name for messages.
        refusal: says from the first bytes whether the file is refused; a refused file is not written.
        progress: shows the transfer.

    Raises:
        DownloadError: the file is not there and cannot be fetched.
        GlossaeError: the file fails the check, was changed while there is no network, or cannot be written.
    """
    if (found := _valid_record(path)) is not None:
        return found
    if not path.is_file() and (variable := offline()):
        raise DownloadError(f"{variable} keeps glossae from fetching {url}", reached=False)
    with _locked(path, progress):
        # another process may have fetched it while this one waited for the lock
        if (found := _valid_record(path)) is not None:
            return found
        if path.is_file():
            if not _record_path(path).exists():
                check(path, path_text(path))
                return _write_record(path, path, None)
            _refuse_changed(path)
        part = path.with_name(f"{path.name}.part")
        with progress(url) as advance:
            _download(_Part(part, url, most), refusal, advance)
        try:
            check(part, url)
        except GlossaeError:
            part.unlink(missing_ok=True)
            raise
        found = _write_record(part, path, url)
        try:
            # first: beside a whole file nobody would look for it again
            _record_path(part).unlink(missing_ok=True)
            rename(part, path)
        except OSError as error:
            raise GlossaeError(f"{path_text(path)}: cannot be written ({error.strerror or error})") from error
        return found


def _record_path(path: Path) -> Path:
    """The path of a file's record."""
    return path.with_name(f"{path.name}.json")


def _read_record(path: Path) -> dict[str, Any]:
    try:
        known = read_json(_record_path(path))
    except (GlossaeError, OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _record(path: Path) -> FetchedFile | None:
    known = _read_record(path)
    try:
        return FetchedFile(known["url"], known["bytes"], known["sha256"])
    except (KeyError, TypeError):
        return None


def _valid_record(path: Path) -> FetchedFile | None:
    """The record, if there is one and the file agrees with it."""
    record = _record(path)
    try:
        same = record and path.stat().st_size == record.bytes and file_sha256(path) == record.sha256
    except OSError:
        return None
    return record if same else None


def _refuse_changed(path: Path) -> None:
    """Refuse a file that differs from its record, if a user put it there or it cannot be fetched again."""
    record = _record(path)
    if record is not None and record.url is None:
        why = "and was put there, not fetched"
    elif variable := offline():
        why = f"and {variable} keeps glossae from fetching it again"
    else:
        return
    raise GlossaeError(
        f"{path_text(path)}: is not the file of before, its SHA-256 has changed, {why}: "
        f"delete {path_text(_record_path(path))} if the file is good, or the file to have it fetched"
    )


def _write_record(file: Path, path: Path, url: str | None) -> FetchedFile:
    """Write the record of `path`, whose content is still in `file`."""
    record = FetchedFile(url, file.stat().st_size, file_sha256(file))
    write_json(_record_path(path), asdict(record))
    return record


@contextmanager
def _locked(path: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock of `path` and make its folder; wait for another run that fetches the same file."""
    # imported here, because `import glossae.corpora` has to work without it
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            with progress(f"waiting for another run that fetches {path_text(path)}"):
                lock.acquire()
    except OSError as error:
        raise GlossaeError(
            f"{path_text(path.parent)}: cannot be written ({error.strerror or error}): "
            f"set GLOSSAE_CACHE to a folder that can"
        ) from error
    try:
        # whoever holds the lock is alone with this file: these are of a process that was killed
        for stray in path.parent.glob(f"{TEMPORARY}{glob.escape(path.name)}.*"):
            stray.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


class _Part:
    """The part of a file that has arrived; `path` with `.json` added records the whole file's size and validators."""

    def __init__(self, path: Path, url: str, most: int) -> None:
        self.path = path
        self.url = url
        self.most = most
        known = _read_record(path)
        self._known = known if known.get("url") == url else {}

    @property
    def size(self) -> int:
        """Bytes that have arrived."""
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def whole(self) -> int | None:
        """The size of the whole file in bytes, if the server told it."""
        whole = self._known.get("bytes")
        return whole if isinstance(whole, int) else None

    def request(self) -> dict[str, str]:
        """The headers that ask for the rest; none if only the whole file can be asked for."""
        validator = self._known.get("etag") or self._known.get("modified")
        if self.size and isinstance(validator, str):
            return {"Range": f"bytes={self.size}-", "If-Range": validator}
        return {}

    def continues(self, response: HTTPResponse) -> bool:
        """Whether a 206 response continues these bytes of the same file."""
        said = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if said is None or int(said[1]) != self.size:
            return False
        same_size = said[2] == "*" or self.whole in (None, int(said[2]))
        return same_size and _validators(response).items() <= self._known.items()

    def begin(self, response: HTTPResponse, whole: int | None) -> None:
        """Start over with a response that has the file from its start, `whole` bytes long."""
        self.drop()
        self.limit(whole or 0)
        free = shutil.disk_usage(self.path.parent).free
        if whole is not None and whole > free:
            raise GlossaeError(
                f"{self.url}: has {whole:,} bytes, and {path_text(self.path.parent)} has {free:,} free: "
                f"delete some files, or set GLOSSAE_CACHE to a folder on a larger disk"
            )
        self._known = {"url": self.url, "bytes": whole, **_validators(response)}
        write_json(_record_path(self.path), self._known)

    def limit(self, size: int) -> None:
        """Refuse a file of more than `most` bytes."""
        if size > self.most:
            self.drop()
            raise DownloadError(
                f"{self.url}: has more than {self.most:,} bytes, which are the most that are fetched"
            )

    def drop(self) -> None:
        """Delete the part that has arrived."""
        self._known = {}
        self.path.unlink(missing_ok=True)
        _record_path(self.path).unlink(missing_ok=True)


def _validators(response: HTTPResponse) -> dict[str, str]:
    """The headers that identify a file's version: a strong ETag, or the time of its last change."""
    etag, modified = response.headers.get("ETag"), response.headers.get("Last-Modified")
    # a weak ETag may stand for other bytes, and RFC 9110 forbids it in If-Range
    found = {"etag": etag} if etag and not etag.startswith("W/") else {}
    return found | ({"modified": modified} if modified else {})


def _download(part: _Part, refusal: Refusal, advance: Callable[[float], None]) -> None:
    """Fetch a file into `part.path`.

    If the transfer breaks off, the part that has arrived stays there, and the next call resumes it if the
    server still has the same file (`Range` with `If-Range`, RFC 9110).
    """
    reason = ""
    ends = time.monotonic() + GRACE + part.most / SLOWEST
    for number in range(TRIES):
        if number:
            time.sleep(PAUSES[number - 1])
        try:
            _transfer(part, refusal, advance, max(0.0, ends - time.monotonic()))
            return
        except _BrokenOffError as error:
            if isinstance(error, _NotReachedError) and not number:
                raise DownloadError(f"{part.url}: cannot be reached ({error})", reached=False) from error
            reason = str(error)
    advice = (
        f"the same command carries on after the {part.size:,} bytes that came" if part.size else "try later"
    )
    raise DownloadError(f"{part.url}: the transfer broke off {TRIES} times (last: {reason}); {advice}")


def _transfer(part: _Part, refusal: Refusal, advance: Callable[[float], None], seconds: float) -> None:
    if part.whole is not None and part.size == part.whole:
        return
    began, before = time.monotonic(), part.size
    with ExitStack() as stack:
        response = _response(part, seconds, stack)
        if response.status not in (200, 206):
            raise _refused(part.url, response.status, response.reason)
        whole, blocks = response.length, _blocks(response, began + seconds)
        if response.status == 200:
            head = next(blocks)
            if (why := refusal(head)) is not None:
                raise DownloadError(f"{part.url}: {why}")
            part.begin(response, whole)
            blocks = itertools.chain([head], blocks)
        elif not part.continues(response):
            part.drop()
            raise _BrokenOffError("it has another file there than before")
        try:
            with part.path.open("ab") as file:
                for block in blocks:
                    file.write(block)
                    part.limit(file.tell())
                    if time.monotonic() - began > GRACE + (file.tell() - before) / SLOWEST:
                        raise _BrokenOffError(f"fewer than {SLOWEST:,.0f} bytes a second came")
                    if part.whole:
                        advance(min(1.0, file.tell() / part.whole))
        except OSError as error:
            raise DownloadError(
                f"{path_text(part.path)}: cannot be written ({error.strerror or error}): free some disk space; "
                f"the same command carries on where it stopped"
            ) from error
    if part.whole is not None and part.size != part.whole:
        raise _BrokenOffError(f"it sent {part.size:,} of {part.whole:,} bytes")


def _blocks(response: HTTPResponse, ends: float) -> Iterator[bytes]:
    """The body in blocks; the first has at least `_HEAD` bytes, or is b"" if the body is empty.

    Args:
        response: to be read.
        ends: the time at which its connection is ended, which looks like the end of a body.
    """
    whole = left = response.length
    waiting = b""
    while left != 0:
        try:
            block = response.read1(_BLOCK if left is None else min(_BLOCK, left))
        except (OSError, HTTPException, ValueError) as error:
            raise _BrokenOffError(_why(error)) from error
        if not block:
            if left is None and time.monotonic() >= ends:
                raise _BrokenOffError("no whole answer in time")
            # too little to say what file it is
            if left and whole and whole - left < _HEAD:
                raise _BrokenOffError(f"it sent {whole - left:,} of {whole:,} bytes")
            break
        if left is not None:
            left -= len(block)
        waiting += block
        if len(waiting) >= _HEAD:
            yield waiting
            waiting = b""
    yield waiting


def _response(part: _Part, seconds: float, stack: ExitStack) -> HTTPResponse:
    """The server's response; a failure that another attempt may overcome raises `_BrokenOffError`."""
    try:
        return stack.enter_context(open_url(part.url, part.request(), seconds=seconds))
    except urllib.error.HTTPError as error:
        # the error is the response too, and has to be closed
        error.close()
        if error.code == 416:
            part.drop()
        if error.code in _PASSING:
            raise _BrokenOffError(f"it answered {error.code} {_single_line(error.reason)}") from error
        raise _refused(part.url, error.code, error.reason) from error
    except (OSError, HTTPException, ValueError) as error:
        raise _NotReachedError(_why(error)) from error


def _refused(url: str, status: int, reason: object) -> DownloadError:
    return DownloadError(f"{url}: answered {status} {_single_line(reason)}", status=status)


def _why(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    return _single_line(getattr(reason, "strerror", None) or reason) or type(reason).__name__


def _single_line(text: object) -> str:
    """A message of a server or a library, on one line."""
    folded = " ".join(str(text).split())
    return folded if folded.isprintable() else short_repr(folded, 100)
