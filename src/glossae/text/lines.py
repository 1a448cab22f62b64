"""Files as bytes and as lines of UTF-8, and everything that can be wrong with one before it is understood."""

import codecs
import difflib
import itertools
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from io import BufferedIOBase, BufferedReader
from pathlib import Path

from glossae.errors import GlossaeError

_NAMES_COMPARED = 10_000
# nobody writes a line of 64 MB, and a file without line ends would otherwise be read into memory whole
_MAX_LINE = 2**26
_PACKED = {
    b"\x1f\x8b": ("is gzip-compressed", "gunzip -k"),
    b"PK\x03\x04": ("is a zip archive", "unzip"),
    b"BZh91AY&SY": ("is bzip2-compressed", "bunzip2 -k"),
    b"\xfd7zXZ\0": ("is xz-compressed", "unxz -k"),
    b"\x28\xb5\x2f\xfd": ("is zstd-compressed", "unzstd"),
}


def shown(value: object, width: int = 40) -> str:
    """`value` as Python writes it, escaped and shortened, fit for a one-line message."""
    if not isinstance(value, str):
        return reprlib.repr(value)
    return repr(value if len(value) <= width else value[:width] + "…")


def named(path: Path) -> str:
    """`path` for a one-line message; quoted only where it holds what a line cannot show."""
    return str(path) if str(path).isprintable() else repr(str(path))


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """Open `path` for reading bytes.

    Raises:
        GlossaeError: there is no such file, it is a folder, it is empty or compressed, or the system cannot
            read it.
    """
    if path.is_dir():
        raise GlossaeError(f"{named(path)}: is a folder: name a file in it")
    if not path.exists():
        raise GlossaeError(f"{named(path)}: no such file{_nearest(path)}")
    if not path.is_file():
        raise GlossaeError(f"{named(path)}: is not a regular file: save the text to one and name that")
    try:
        if path.stat().st_size == 0:
            raise GlossaeError(f"{named(path)}: is empty: give a file with text in it")
        with path.open("rb") as file:
            _refuse_packed(path, file)
            yield file
    except OSError as error:
        raise GlossaeError(f"{named(path)}: cannot be read ({error.strerror or error})") from error


def _refuse_packed(path: Path, file: BufferedReader) -> None:
    start = file.peek(16)
    for magic, (what, unpack) in _PACKED.items():
        if start.startswith(magic):
            raise GlossaeError(
                f"{named(path)}: {what}: unpack it ({unpack} {named(path)}) and name what comes out"
            )


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
    """The lines of a UTF-8 file; see `lines_of`.

    Raises:
        GlossaeError: the file cannot be opened, or as `lines_of`.
    """
    with opened(path) as file:
        yield from lines_of(file, named(path))


def lines_of(stream: BufferedIOBase, name: str) -> Iterator[str]:
    r"""The lines of a stream of UTF-8, without their ends; a byte order mark and CRLF are taken off.

    Only `\n` ends a line: U+2028, U+0085 and their like occur inside sentences, and cutting there would
    put aligned files out of step.

    Args:
        stream: at its start; an error in reading it passes through.
        name: what messages call it.

    Raises:
        GlossaeError: a line is not UTF-8, holds a NUL byte, or is longer than any text.
    """
    for number, raw in enumerate(iter(partial(stream.readline, _MAX_LINE + 1), b""), 1):
        if number == 1:
            # before UTF-16, whose mark the one of UTF-32 begins with
            if raw.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
                raise GlossaeError(f"{name}, line 1: is UTF-32: {_convert('UTF-32')}")
            if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise GlossaeError(f"{name}, line 1: is UTF-16: {_convert('UTF-16')}")
            raw = raw.removeprefix(codecs.BOM_UTF8)
        if b"\0" in raw:
            raise GlossaeError(
                f"{name}, line {number}: holds a NUL byte, so it is no UTF-8 text; "
                f"if it is UTF-16, {_convert('UTF-16')}"
            )
        if len(raw) > _MAX_LINE:
            raise GlossaeError(
                f"{name}, line {number}: is longer than {_MAX_LINE:,} bytes: write a sentence a line"
            )
        try:
            line = raw.decode()
        except UnicodeDecodeError as error:
            raise GlossaeError(
                f"{name}, line {number}: byte {error.start + 1} (0x{raw[error.start]:02X}) is not "
                f"UTF-8; if the file is Latin-1, {_convert('LATIN1')}"
            ) from error
        yield line.removesuffix("\n").removesuffix("\r")


def _convert(encoding: str) -> str:
    return f"convert it: iconv -f {encoding} -t UTF-8"
