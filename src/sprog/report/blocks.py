"""What a section of the page is made of."""

from dataclasses import dataclass, field
from typing import Any

from sprog.report.drawing import Drawing


@dataclass(frozen=True)
class Table:
    """A table; the first cell of a row is its heading."""

    caption: str
    head: list[str]
    rows: list[list[str]]


@dataclass
class Section:
    """A heading and, in order, paragraphs (strings), tables, drawings, texts and preformatted text."""

    title: str
    blocks: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Token:
    """A token of a text: how strongly it is coloured (0: not), and what is said on pointing at it."""

    text: str
    strength: float
    title: str


@dataclass(frozen=True)
class Texts:
    """Pairs of sentences side by side, a column a language."""

    head: list[str]
    rows: list[list[list[Token]]]


@dataclass(frozen=True)
class Verbatim:
    """Text as it is in a file."""

    text: str


__all__ = ["Drawing", "Section", "Table", "Texts", "Token", "Verbatim"]
