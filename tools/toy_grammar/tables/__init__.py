"""The grammar's data, read and checked: what words there are and how each language inflects them.

`lexicon.tsv` says what holds in every language (what a verb's objects may be, who is a person); one table
per language holds the inflected forms. A table is a run of sections set apart by blank lines. The first
line of a section names it and its columns, every other line is a lexeme's row; `-` stands for a form that
does not exist (milk has no plural here).
"""

from collections.abc import Mapping
from functools import cache
from importlib import resources

LANGUAGES = ("da", "de", "en", "nb", "sv")

Row = Mapping[str, str]
Section = Mapping[str, Row]
Table = Mapping[str, Section]


def table_bytes(name: str) -> bytes:
    """The bytes of a table as they are in the package; `name` is a language code or `lexicon`."""
    return resources.files(__name__).joinpath(f"{name}.tsv").read_bytes()


def parse_table(name: str, text: str) -> Table:
    """Read the sections of a table.

    Args:
        name: what to call the table in a complaint.
        text: its lines, cells separated by tabs.

    Raises:
        ValueError: a row is ragged, has an empty cell or repeats an earlier one; names table and line.
    """
    table: dict[str, dict[str, Row]] = {}
    rows: dict[str, Row] = {}
    columns: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            columns = []
            continue
        head, *cells = line.split("\t")
        if not columns:
            columns = cells
            rows = table[head] = {}
            continue
        if len(cells) != len(columns) or not all(cell.strip() for cell in (head, *cells)):
            raise ValueError(f"{name}.tsv, line {number}: expected {len(columns)} forms, none of them empty")
        if head in rows:
            raise ValueError(f"{name}.tsv, line {number}: {head} occurs twice")
        rows[head] = dict(zip(columns, cells, strict=True))
    return table


@cache
def load_table(name: str) -> Table:
    """The table of a language code, or `lexicon`."""
    return parse_table(name, table_bytes(name).decode("utf-8"))


def lexemes() -> dict[str, tuple[str, ...]]:
    """The lexemes by part of speech; names of people are not counted as such."""
    return {part: tuple(rows) for part, rows in load_table("lexicon").items() if part != "name"}
