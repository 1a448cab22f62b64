"""Files of records with named fields, JSON Lines and CSV: each record with the line that it begins on."""

import csv
import itertools
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from glossae.errors import GlossaeError
from glossae.text.lines import named, shown, text_lines

# as long as a line may be; the csv module's own limit is less than the longest sentences
_MAX_FIELD = 2**26


class Record(NamedTuple):
    """One record.

    Attributes:
        line: the 1-based line that it begins on.
        fields: by name as written; in CSV every value is a string.
    """

    line: int
    fields: dict[str, Any]


def records(path: Path) -> Iterator[Record]:
    """The records of a `.csv` file, or of one with a JSON object a line.

    Raises:
        GlossaeError: the file cannot be read, or a line of it is not what it should be.
    """
    return _csv(path) if path.suffix.lower() == ".csv" else _jsonl(path)


def _jsonl(path: Path) -> Iterator[Record]:
    for number, line in enumerate(text_lines(path), 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            where = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
            raise GlossaeError(
                f"{named(path)}, line {number}: is not JSON{where}: write one object a line"
            ) from error
        if not isinstance(fields, dict):
            raise GlossaeError(
                f"{named(path)}, line {number}: is no JSON object but {shown(line)}: write one object a line"
            )
        yield Record(number, fields)


def _csv(path: Path) -> Iterator[Record]:
    # a process has one limit; it is only ever raised
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_FIELD))
    lines = text_lines(path)
    first = next(lines, "")
    # what a spreadsheet writes where the comma is the decimal point
    delimiter = ";" if ";" in first and "," not in first else ","
    # the ends that `text_lines` took off belong to a field in quotes that goes over several lines
    ended = (line + "\n" for line in itertools.chain([first], lines))
    rows = csv.reader(ended, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    begins = 1
    try:
        for row in rows:
            if header is None:
                header = _header(path, begins, row) if row else None
            elif row and len(row) != len(header):
                raise GlossaeError(
                    f"{named(path)}, line {begins}: {len(row)} columns where the header has {len(header)}: "
                    f"put text that holds a '{delimiter}' in double quotes"
                )
            elif row:
                yield Record(begins, dict(zip(header, row, strict=True)))
            begins = rows.line_num + 1
    except csv.Error as error:
        reason = str(error).partition(" - ")[0]
        raise GlossaeError(
            f"{named(path)}, line {begins}: is not CSV ({reason}): put text that holds a '{delimiter}', a "
            f"line break or a quote in double quotes, and double the quotes inside it"
        ) from error


def _header(path: Path, line: int, row: list[str]) -> list[str]:
    header = [cell.strip() for cell in row]
    # a spreadsheet leaves columns without a name at the end, and nothing is in them
    for name, number in Counter(header).items():
        if name and number > 1:
            raise GlossaeError(
                f"{named(path)}, line {line}: the column {shown(name)} is there twice: rename one"
            )
    return header
