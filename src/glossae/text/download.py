"""One address fetched into one file, carrying on where an earlier attempt broke off."""

import itertools
import time
import urllib.error
from collections.abc import Callable, Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from glossae.errors import GlossaeError
from glossae.text.lines import named, shown
from glossae.text.part import Part
from glossae.text.web import open_url

TRIES = 4
PAUSES = (1.0, 3.0, 9.0)
"""Seconds before the second try, the third and the fourth."""
_BLOCK = 2**18
# enough to see what a file is
_HEAD = 512
# answers that another try may well change
_PASSING = frozenset({408, 416, 425, 429, 500, 502, 503, 504})


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


def download(
    url: str,
    path: Path,
    *,
    refusal: Callable[[bytes], str | None],
    report: Callable[[float], None] = lambda _: None,
) -> None:
    """Fetch `url` into `path`.

    What has come stays in `path` when the transfer breaks off, and the next call carries on from there if the
    server still has the same file (`Range` with `If-Range`, RFC 9110); what that is known by stands in
    `path` with `.json` added.

    Args:
        url: where from.
        path: where to; its folder is there.
        refusal: from the first bytes, why this is not the file that was asked for, or None. Nothing that is
            refused is written.
        report: called with the share that has come, 0 to 1, where the server says how long the file is.

    Raises:
        DownloadError: the server refuses, is not reached, breaks off again and again, sends something else,
            or the disk is too small.
    """
    part = Part(path, url)
    reason = ""
    for number in range(TRIES):
        if number:
            time.sleep(PAUSES[number - 1])
        try:
            _transfer(part, refusal, report)
            return
        except _NotReachedError as error:
            if not number:
                raise DownloadError(f"{url}: cannot be reached ({error})", reached=False) from error
            reason = str(error)
        except _BrokenOffError as error:
            reason = str(error)
    advice = (
        f"the same command carries on after the {part.size:,} bytes that came" if part.size else "try later"
    )
    raise DownloadError(f"{url}: the transfer broke off {TRIES} times (last: {reason}); {advice}")


def _transfer(part: Part, refusal: Callable[[bytes], str | None], report: Callable[[float], None]) -> None:
    if part.is_whole:
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
    """The body; at least the first `_HEAD` bytes at once, and b"" where there is none.

    Raises:
        _BrokenOffError: the server is gone.
    """
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


def _asked(part: Part) -> HTTPResponse:
    """The server's answer.

    Raises:
        DownloadError: it refuses.
        _BrokenOffError: it may not the next time.
    """
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
