"""The reader of CoNLL-U, the format of the Universal Dependencies treebanks."""

import re
from collections.abc import Iterator
from pathlib import Path

from glossae.errors import GlossaeError
from glossae.text.lines import named, shown, text_lines

_COLUMNS = 10
_FORM, _UPOS, _MISC = 1, 3, 9
_TEXT = "text"
# a word, a range of words, an empty node
_PLACE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9})|(\.[0-9]+))?")


def read_conllu(path: Path) -> Iterator[tuple[str, str]]:
    """The sentences of a treebank with their documents: the comment `# text = `, or else the words put together.

    A document begins at `# newdoc`, and goes by its `id`, or without one by its number in the file; before the
    first there is none. The `sent_id` tells no document: what it is made of is up to the treebank.

    Words are put together as https://universaldependencies.org/format.html says: a blank after each that does
    not have `SpaceAfter=No`; a range such as `3-4` stands for its words, and empty nodes such as `5.1` for
    nothing.

    Raises:
        GlossaeError: the file cannot be read, or a line is neither comment nor word.
    """
    for _, _, text, doc in _sentences(path):
        yield text, doc


def read_tagged(path: Path) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], str]]:
    """The sentences as `(tokens, tags, text)`: forms, universal parts of speech, and what `read_conllu` gives.

    A range such as `3-4` is one token, with the part of speech of its first word.

    Raises:
        GlossaeError: as `read_conllu`.
    """
    for tokens, tags, text, _ in _sentences(path):
        yield tokens, tags, text


def _sentences(path: Path) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], str, str]]:
    sentence = _Sentence()
    for number, line in enumerate(text_lines(path), 1):
        if not line.strip():
            yield from sentence.take()
        elif line.startswith("#"):
            sentence.comment(line)
        else:
            cells = line.split("\t")
            place = _PLACE.fullmatch(cells[0])
            if place is None or len(cells) != _COLUMNS:
                raise GlossaeError(
                    f"{named(path)}, line {number}: {shown(line)} is no word of CoNLL-U, a number and nine more "
                    f"columns with tabs between them: give a .conllu file, or name plain text .txt"
                )
            sentence.word(place, cells)
    yield from sentence.take()


class _Sentence:
    """A sentence while its lines are being read."""

    def __init__(self) -> None:
        self._doc = ""
        self._docs = 0
        self._begin()

    def _begin(self) -> None:
        self._said: str | None = None
        self._words: list[str] = []
        self._tokens: list[str] = []
        self._tags: list[str] = []
        self._covered_until = 0

    def comment(self, line: str) -> None:
        """Take a comment if it has the sentence's text, or begins a document."""
        key, equals, value = line.removeprefix("#").partition("=")
        if equals and key.strip() == _TEXT:
            self._said = value.strip()
        elif key.split() == ["newdoc"] or (equals and key.split() == ["newdoc", "id"]):
            self._docs += 1
            self._doc = value.strip() or f"newdoc {self._docs}"

    def word(self, place: re.Match[str], cells: list[str]) -> None:
        """Take a line of ten columns."""
        first, last, is_empty = place.groups()
        if is_empty:
            return
        if last is None and int(first) <= self._covered_until:
            if len(self._tags) < len(self._tokens):
                self._tags.append(cells[_UPOS])
            return
        if last is not None:
            self._covered_until = int(last)
        blank = "" if "SpaceAfter=No" in cells[_MISC].split("|") else " "
        self._words.append(cells[_FORM] + blank)
        if len(self._tags) < len(self._tokens):
            # a range that none of its words followed
            self._tags.append("_")
        self._tokens.append(cells[_FORM])
        if last is None:
            self._tags.append(cells[_UPOS])

    def take(self) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], str, str]]:
        """The sentence if there is one; then begin another."""
        text = "".join(self._words).strip() if self._said is None else self._said
        if text:
            if len(self._tags) < len(self._tokens):
                self._tags.append("_")
            yield tuple(self._tokens), tuple(self._tags), text, self._doc
        self._begin()
