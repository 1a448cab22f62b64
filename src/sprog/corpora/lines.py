"""Files as bytes and as lines of UTF-8, and everything that can be wrong with one before it is understood."""

import codecs
import difflib
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from sprog.errors import SprogError

_NAMES_COMPARED = 10_000


def shown(text: str, width: int = 40) -> str:
    """`text` quoted, escaped and shortened, fit for a one-line message."""
    return repr(text if len(text) <= width else text[:width] + "…")


def named(path: Path) -> str:
    """`path` for a one-line message; quoted only where it holds what a line cannot show."""
    return str(path) if str(path).isprintable() else repr(str(path))


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open `path` for reading bytes.

    Raises:
        SprogError: there is no such file, it is a folder, it is empty, or the system cannot read it.
    """
    if path.is_dir():
        raise SprogError(f"{named(path)}: is a folder: name a file in it")
    if not path.exists():
        raise SprogError(f"{named(path)}: no such file{_nearest(path)}")
    if not path.is_file():
        raise SprogError(f"{named(path)}: is not a regular file: save the text to one and name that")
    try:
        if path.stat().st_size == 0:
            raise SprogError(f"{named(path)}: is empty: give a file with text in it")
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise SprogError(f"{named(path)}: cannot be read ({error.strerror or error})") from error


def _nearest(path: Path) -> str:
    """What to do about a missing file: the name in its folder that it may have been meant for."""
    try:
        if not path.parent.is_dir():
            return f", nor a folder {named(path.parent)}: check the path"
        names = [entry.name for entry in itertools.islice(path.parent.iterdir(), _NAMES_COMPARED)]
    except OSError:
        return ": check the path"
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {named(path.parent / near[0])}?" if near else ": check the path"


def text_lines(path: Path) -> Iterator[str]:
    r"""The lines of a UTF-8 file, without their ends; a byte order mark and CRLF are taken off.

    Only `\n` ends a line: U+2028, U+0085 and their like occur inside sentences, and cutting there would
    put aligned files out of step.

    Raises:
        SprogError: the file cannot be opened, or a line is not UTF-8 or holds a NUL byte.
    """
    with opened(path) as file:
        for number, raw in enumerate(file, 1):
            if number == 1:
                if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise SprogError(f"{named(path)}, line 1: is UTF-16: {_convert('UTF-16')}")
                raw = raw.removeprefix(codecs.BOM_UTF8)
            if b"\0" in raw:
                raise SprogError(
                    f"{named(path)}, line {number}: holds a NUL byte, so it is no UTF-8 text; "
                    f"if it is UTF-16, {_convert('UTF-16')}"
                )
            try:
                line = raw.decode()
            except UnicodeDecodeError as error:
                raise SprogError(
                    f"{named(path)}, line {number}: byte {error.start + 1} (0x{raw[error.start]:02X}) is not "
                    f"UTF-8; if the file is Latin-1, {_convert('LATIN1')}"
                ) from error
            yield line.removesuffix("\n").removesuffix("\r")


def _convert(encoding: str) -> str:
    return f"convert it: iconv -f {encoding} -t UTF-8"
