"""The words of a realised sentence: text with a part of speech, and text again."""

from collections.abc import Sequence
from typing import NamedTuple


class Word(NamedTuple):
    """A word in its place in a sentence, or a mark of punctuation.

    Attributes:
        text: as written inside a sentence; only `text_of` gives the first word its capital.
        tag: the universal part of speech (UPOS), such as `NOUN` or `PUNCT`.
        optional: whether the sentence may stand without it, or read as another one.
        movable: whether it may change places with a neighbour and leave a sentence behind.
    """

    text: str
    tag: str
    optional: bool = False
    movable: bool = False


COMMA = Word(",", "PUNCT")


def optional(words: Sequence[Word]) -> list[Word]:
    """The same words, marked as optional."""
    return [word._replace(optional=True) for word in words]


def movable(words: Sequence[Word]) -> list[Word]:
    """The same words, marked as movable."""
    return [word._replace(movable=True) for word in words]


def closed(words: Sequence[Word], mark: str) -> list[Word]:
    """`words` with their final `mark`; of neighbouring commas, and of one before the mark, none too many."""
    kept: list[Word] = []
    for word in (*words, Word(mark, "PUNCT")):
        if word.tag == "PUNCT" and kept and kept[-1] == COMMA:
            kept.pop()
        kept.append(word)
    return kept


def text_of(words: Sequence[Word]) -> str:
    """A sentence as text: a capital first, punctuation close to the word before it."""
    text = "".join(word.text if word.tag == "PUNCT" else f" {word.text}" for word in words).lstrip()
    return text[0].upper() + text[1:]
