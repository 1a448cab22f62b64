"""Tagged sentences of a treebank."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from glossae.errors import GlossaeError
from glossae.text.conllu import read_tagged
from glossae.text.lines import named, shown
from glossae.text.tables import records


class Tagged(NamedTuple):
    """A sentence with its parts of speech.

    Attributes:
        tokens: the words and marks.
        tags: the universal part of speech of each.
        text: the sentence as it was written; None where the treebank does not keep it.
    """

    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    text: str | None = None


def read_treebank(path: Path) -> Iterator[Tagged]:
    """The sentences of a `.conllu` file, or of JSON Lines with `tokens` and `pos_tags`.

    In CoNLL-U a range such as `3-4` is one token, with the part of speech of its first word.

    Raises:
        GlossaeError: the file is of another kind, cannot be read, or a sentence is not what it should be. The line
            names the file and line.
    """
    kind = path.suffix.lower()
    if kind == ".conllu":
        for tokens, tags, text in read_tagged(path):
            yield Tagged(tokens, tags, text)
    elif kind == ".jsonl":
        yield from _jsonl(path)
    else:
        raise GlossaeError(
            f"{named(path)}: is no treebank: give a .conllu file, or .jsonl with tokens and pos_tags"
        )


def _jsonl(path: Path) -> Iterator[Tagged]:
    for record in records(path):
        where = f"{named(path)}, line {record.line}"
        tokens, tags = (_words(record.fields.get(key), key, where) for key in ("tokens", "pos_tags"))
        if len(tokens) != len(tags):
            raise GlossaeError(f"{where}: has {len(tokens)} tokens and {len(tags)} pos_tags")
        if tokens:
            text = record.fields.get("text")
            yield Tagged(tokens, tags, text if isinstance(text, str) else None)


def _words(value: Any, key: str, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise GlossaeError(f"{where}: {key} is {shown(value)}: write a list of strings")
    return tuple(value)
