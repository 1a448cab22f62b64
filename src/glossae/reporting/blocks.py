"""What a page is made of. Every text in a block is plain: the template escapes it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from glossae.reporting.canvas import Drawing
from glossae.reporting.wording import interval, number, percent


@dataclass(frozen=True)
class Paragraph:
    """A sentence or several; `tone` is `plain`, `finding`, `note`, `warning` or `absent`."""

    kind: ClassVar[str] = "paragraph"
    text: str
    tone: str = "plain"


@dataclass(frozen=True)
class Picture:
    """A figure with its caption: what it shows, then how to read it."""

    kind: ClassVar[str] = "picture"
    label: str
    drawing: Drawing
    finding: str
    reading: str


@dataclass(frozen=True)
class SideBySide:
    """Pictures side by side, where the window is wide enough."""

    kind: ClassVar[str] = "row"
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Cell:
    """A cell with a second, smaller line, such as an interval under its estimate."""

    text: str
    below: str = ""
    tone: str = ""


Line: TypeAlias = Mapping[Any, str | Cell]
"""A row of a table: what stands under which heading, a text or a cell."""


@dataclass(frozen=True)
class Table:
    """A table whose first column heads its rows; the first `words` columns hold words, the others numbers."""

    kind: ClassVar[str] = "table"
    label: str
    caption: str
    columns: Sequence[str | Cell]
    rows: Sequence[Sequence[str | Cell]]
    words: int = 1


@dataclass(frozen=True)
class Token:
    """A token of a coloured text: `colour` is a CSS colour where the unit fires, else empty."""

    text: str
    title: str
    colour: str


@dataclass(frozen=True)
class ColouredText:
    """A sentence in one language, token by token."""

    language: str
    code: str
    tokens: Sequence[Token]


@dataclass(frozen=True)
class ColouredTexts:
    """Sentences token by token; the texts of one pair stand side by side."""

    kind: ClassVar[str] = "texts"
    pairs: Sequence[Sequence[ColouredText]]


@dataclass(frozen=True)
class Listing:
    """A text kept line by line, such as a recipe."""

    kind: ClassVar[str] = "listing"
    caption: str
    text: str


Block: TypeAlias = Paragraph | Picture | SideBySide | Table | ColouredTexts | Listing
Blocks: TypeAlias = Iterator[Block]


def not_run(what: str) -> Paragraph:
    """The line that stands where something would be, had it been run."""
    return Paragraph(f"{what}: not run.", "absent")


def table(label: str, caption: str, lines: Iterable[Line], words: int = 1) -> Table:
    """A table of lines that all have the same headings; without lines it has none."""
    lines = list(lines)
    columns = tuple(lines[0]) if lines else ()
    return Table(label, caption, columns, [tuple(line.values()) for line in lines], words)


def estimate(
    value: float | None,
    low: float | None,
    high: float | None,
    digits: int = 3,
    write: Callable[..., str] = number,
) -> Cell:
    """An estimate above its interval, all with so many decimals; `write` writes the estimate."""
    write_end = percent if write is percent else number
    return Cell(write(value, digits), interval(low, high, digits, write_end))
