"""Read files as bytes, as UTF-8 lines, and as records of CSV or JSON Lines, with an error line for each fault."""

import codecs
import csv
import difflib
import itertools
import json
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import BufferedIOBase, BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

from glossae.errors import GlossaeError

_NAMES_COMPARED = 10_000
# no real line has 64 MB; without the limit a file without line ends would be read into memory whole
_MAX_LINE = 2**26
# a record of so many lines is looked at: a quote that was not closed takes in the rows up to the next one
_OPEN, _SEEN = 5, 1000
_PACKED = {
    b"\x1f\x8b": ("is gzip-compressed", "gunzip -k"),
    b"PK\x03\x04": ("is a zip archive", "unzip"),
    b"BZh91AY&SY": ("is bzip2-compressed", "bunzip2 -k"),
    b"\xfd7zXZ\0": ("is xz-compressed", "unxz -k"),
    b"\x28\xb5\x2f\xfd": ("is zstd-compressed", "unzstd"),
}


def short_repr(value: object, width: int = 40) -> str:
    """The `repr` of `value`, shortened to `width`, for a one-line message."""
    if not isinstance(value, str):
        return reprlib.repr(value)
    return repr(value if len(value) <= width else value[:width] + "…")


def name_list(names: Sequence[str], most: int = 12) -> str:
    """The first `most` of `names` for a message, and the number of the others."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def path_text(path: Path) -> str:
    """`path` for a one-line message; quoted only if it holds characters that a line cannot show."""
    return str(path) if str(path).isprintable() else repr(str(path))


@contextmanager
def open_file(path: Path, *, packed: bool = False) -> Iterator[BufferedReader]:
    """Open `path` for reading bytes; compressed files are refused unless they may be `packed`."""
    if path.is_dir():
        raise GlossaeError(f"{path_text(path)}: is a folder: name a file in it")
    if not path.exists():
        raise GlossaeError(f"{path_text(path)}: no such file{_nearest(path)}")
    if not path.is_file():
        raise GlossaeError(f"{path_text(path)}: is not a regular file: save the text to one and name that")
    try:
        if path.stat().st_size == 0:
            raise GlossaeError(f"{path_text(path)}: is empty: give a file with text in it")
        with path.open("rb") as file:
            start = b"" if packed else file.peek(16)
            for magic, (what, unpack) in _PACKED.items():
                if start.startswith(magic):
                    raise GlossaeError(
                        f"{path_text(path)}: {what}: unpack it ({unpack} {path_text(path)}) and name what comes out"
                    )
            yield file
    except OSError as error:
        raise GlossaeError(f"{path_text(path)}: cannot be read ({error.strerror or error})") from error


def _nearest(path: Path) -> str:
    """Advice for a missing file: the most similar name in its folder."""
    try:
        if not path.parent.is_dir():
            return f", nor a folder {path_text(path.parent)}: check the path"
        names = [entry.name for entry in itertools.islice(path.parent.iterdir(), _NAMES_COMPARED)]
    except OSError:
        return ": check the path"
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"; did you mean {path_text(path.parent / near[0])}?" if near else ": check the path"


def text_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file; see `lines_of`."""
    with open_file(path) as file:
        yield from lines_of(file, path_text(path))


def lines_of(stream: BufferedIOBase, name: str) -> Iterator[str]:
    r"""The lines of a UTF-8 stream, without line ends, byte order mark and carriage returns.

    Only `\n` ends a line: U+2028, U+0085 and similar characters occur inside sentences, and cutting there
    would misalign aligned files. A file whose lines all end in `\r` alone is refused.

    Args:
        stream: the stream, at its start; read errors pass through.
        name: the name for messages.
    """
    for number, raw in enumerate(iter(partial(stream.readline, _MAX_LINE + 1), b""), 1):
        if number == 1:
            # before UTF-16, because UTF-32's mark begins with UTF-16's
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
        if number == 1 and not raw.endswith(b"\n") and b"\r" in raw.rstrip(b"\r\n"):
            raise GlossaeError(
                f"{name}, line 1: its lines end in carriage returns alone (as of old Macs): "
                f"convert it: tr '\\r' '\\n' < OLD > NEW"
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


class Record(NamedTuple):
    """The fields of a record by name, and where it begins: the file and the line."""

    where: str
    fields: dict[str, Any]


def records(path: Path) -> Iterator[Record]:
    """The records of a `.csv` file, or of a file with one JSON object per line.

    A CSV file's header may occur again, as in files that were joined; it is no record.
    """
    return _csv(path) if path.suffix.lower() == ".csv" else _jsonl(path)


class _TwiceError(Exception):
    """A field that an object has twice; the message is its name."""


def _fields_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(short_repr(next(name for name in names if names.count(name) > 1)))
    return fields


def _jsonl(path: Path) -> Iterator[Record]:
    return json_records(text_lines(path), path_text(path))


def json_records(lines: Iterable[str], name: str) -> Iterator[Record]:
    """The records of lines with one JSON object each; `name` is the file's, for messages."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            fields = json.loads(line, object_pairs_hook=_fields_once)
        except _TwiceError as error:
            raise GlossaeError(f"{where}: has the field {error} twice: leave one") from error
        except (ValueError, RecursionError) as error:
            column = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            raise GlossaeError(f"{where}: is not JSON{column}: write one object a line") from error
        if not isinstance(fields, dict):
            raise GlossaeError(f"{where}: is no JSON object but {short_repr(line)}: write one object a line")
        yield Record(where, fields)


def _is_row(line: str, delimiter: str, header: Sequence[str]) -> bool:
    """Whether a line has the header's columns; after the comma of a sentence there is a blank."""
    cells = line.split(delimiter)
    return len(cells) == len(header) > 1 and not any(cell[:1].isspace() for cell in cells[1:])


def _csv(path: Path) -> Iterator[Record]:
    # the limit is global to the process, and shorter than the longest sentences; it is only ever raised
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_LINE))
    name, lines = path_text(path), text_lines(path)
    first = next(lines, "")
    # spreadsheets use semicolons where the comma is the decimal point
    delimiter = ";" if ";" in first and "," not in first else ","
    own: list[str] = []

    def ended() -> Iterator[str]:
        for line in itertools.chain([first], lines):
            if len(own) < _SEEN:
                own.append(line)
            # `text_lines` took off the line ends, and they belong to a quoted field of several lines
            yield line + "\n"

    rows = csv.reader(ended(), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    where = f"{name}, line 1"
    try:
        for row in rows:
            spanned = own.copy()
            own.clear()
            if row and header is None:
                header = [cell.strip() for cell in row]
                # a spreadsheet may leave empty columns without a name at the end
                for cell, number in Counter(header).items():
                    if cell and number > 1:
                        raise GlossaeError(
                            f"{where}: the column {short_repr(cell)} is there twice: rename one"
                        )
            elif row and header is not None:
                if row[0].strip() in header and sorted(cell.strip() for cell in row) == sorted(header):
                    if [cell.strip() for cell in row] != header:
                        raise GlossaeError(
                            f"{where}: is a header with the columns in another order than before: "
                            f"give files of different columns as sources of their own"
                        )
                    where = f"{name}, line {rows.line_num + 1}"
                    continue
                if len(row) != len(header):
                    raise GlossaeError(
                        f"{where}: {len(row)} columns where the header has {len(header)}: "
                        f"put text that holds a '{delimiter}' in double quotes"
                    )
                if len(spanned) >= _OPEN and all(_is_row(line, delimiter, header) for line in spanned[1:-1]):
                    raise GlossaeError(
                        f"{where}: a quoted text runs on over {len(spanned)} lines that look like rows of their own: "
                        "close its quote, or double the quotes inside it"
                    )
                yield Record(where, dict(zip(header, row, strict=True)))
            where = f"{name}, line {rows.line_num + 1}"
    except csv.Error as error:
        reason = str(error).partition(" - ")[0]
        raise GlossaeError(
            f"{where}: is not CSV ({reason}): put text that holds a '{delimiter}', a "
            f"line break or a quote in double quotes, and double the quotes inside it"
        ) from error
