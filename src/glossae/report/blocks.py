"""What a page is made of. Every text in a block is plain: the template escapes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from glossae.report.figures.canvas import Drawing


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
class Row:
    """Pictures side by side, where the window has room."""

    kind: ClassVar[str] = "row"
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Cell:
    """A cell with a second, smaller line, such as an interval under its estimate."""

    text: str
    below: str = ""
    tone: str = ""


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


Block: TypeAlias = Paragraph | Picture | Row | Table | ColouredTexts | Listing


@dataclass(frozen=True)
class Section:
    """A part of the page; `paper` says where the paper has it."""

    anchor: str
    title: str
    paper: str
    blocks: Sequence[Block]


def not_run(what: str) -> Paragraph:
    """The line that stands where something would be, had it been run."""
    return Paragraph(f"{what}: not run.", "absent")
