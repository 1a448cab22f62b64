"""Readers of line-based text: labelled, in aligned columns, in aligned files, in one language.

Each yields `Pair`s of raw text; cleaning comes after. What is wrong with a file is one `GlossaeError` that
names the file and the 1-based line.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from glossae.errors import GlossaeError
from glossae.text.languages import language_code
from glossae.text.lines import named, shown, text_lines

_TEXT_HEADINGS = frozenset({"sentence", "text"})
_LABEL_HEADINGS = frozenset({"label", "language", "lang"})
_DOC = "doc"


class Pair(NamedTuple):
    """Sentences that are translations of each other; text that is not aligned comes one by one.

    Attributes:
        texts: (language, raw text), as many as there are.
        id: the pair id, where the source has one; else it is made from the cleaned text.
        docs: the document of each text, by the name that the source has for it, empty where it has none; `()` for a
            pair without any.
    """

    texts: tuple[tuple[str, str], ...]
    id: str | None = None
    docs: tuple[str, ...] = ()


def read_tsv(path: Path, languages: Sequence[str]) -> Iterator[Pair]:
    """Read `sentence TAB label`, or aligned columns under a header of language codes.

    The label stands after the last tab: 0 is the first of `languages`, 1 the second, anything else a
    language code. A header such as `sentence TAB label` is passed over, and so are blank lines, which
    hold neither sentence nor label. Under a header, one more column `doc` names the document of each line.

    Raises:
        GlossaeError: the file cannot be read, a line has no tab or an unknown label, or, under a header of
            codes, another number of columns.
    """
    lines = text_lines(path)
    head = _through_second_sentence(lines)
    rest = itertools.chain(head, lines)
    columns = _header_of_codes(head, languages)
    names = _header_with_doc(head, languages)
    if names is not None:
        next(rest)
        yield from _with_doc(path, rest, names, languages)
    elif columns is not None:
        next(rest)
        yield from _columns(path, rest, columns, first_number=2)
    elif head and _is_header_of_names(head[0]):
        next(rest)
        yield from _labelled(path, rest, languages, first_number=2)
    else:
        yield from _labelled(path, rest, languages, first_number=1)


def _header_with_doc(head: list[str], languages: Sequence[str]) -> list[str] | None:
    """The names of the columns if the first line names them and one is `doc`; a code of `languages` as that code."""
    cells = [cell.strip().lower() for cell in head[0].split("\t")] if head else []
    others = [language_code(cell) or cell for cell in cells if cell != _DOC]
    labelled = len(others) == 2 and others[0] in _TEXT_HEADINGS and others[1] in _LABEL_HEADINGS
    of_codes = bool(others) and set(others) <= set(languages) and len(set(others)) == len(others)
    if len(others) != len(cells) - 1 or not (labelled or of_codes):
        return None
    places = iter(others)
    return [_DOC if cell == _DOC else next(places) for cell in cells]


def _with_doc(path: Path, lines: Iterator[str], names: list[str], languages: Sequence[str]) -> Iterator[Pair]:
    language_of = dict(zip("01", languages, strict=False))
    for number, line in enumerate(lines, 2):
        if not line.strip():
            continue
        cells = line.split("\t")
        if len(cells) != len(names):
            raise GlossaeError(
                f"{named(path)}, line {number}: {len(cells)} columns where the header has {len(names)}: mend the line"
            )
        fields = dict(zip(names, cells, strict=True))
        doc = fields.pop(_DOC)
        if set(fields) <= set(languages):
            texts = list(fields.items())
        else:
            text, label = fields.values()
            texts = [(_language_of(path, number, label, language_of), text)]
        yield _paired(texts, [doc.strip()] * len(texts))


def _language_of(path: Path, number: int, label: str, language_of: dict[str, str]) -> str:
    """The language that a label stands for, which is then in `language_of`.

    Raises:
        GlossaeError: it stands for none.
    """
    language = language_of.get(label)
    if language is None:
        language = language_of.get(label.strip()) or language_code(label)
        if language is None:
            raise GlossaeError(
                f"{named(path)}, line {number}: unknown label {shown(label)}: "
                f"write 0 (target), 1 (reference) or a language code"
            )
        language_of[label] = language
    return language


def _through_second_sentence(lines: Iterator[str]) -> list[str]:
    """The lines up to the second that is not blank: what it takes to tell a header from a sentence."""
    head: list[str] = []
    seen = 0
    for line in lines:
        head.append(line)
        seen += bool(line.strip())
        if seen == 2:
            break
    return head


def _is_header_of_names(line: str) -> bool:
    cells = [cell.strip().lower() for cell in line.split("\t")]
    return len(cells) == 2 and cells[0] in _TEXT_HEADINGS and cells[1] in _LABEL_HEADINGS


def _header_of_codes(head: list[str], languages: Sequence[str]) -> list[str | None] | None:
    """The columns' codes if `head` begins with a header of codes.

    Both `en TAB da` and the labelled sentence `Hej TAB da` look like one. What follows decides: after a
    labelled sentence comes another that ends in a label, after a header seldom anything like a code.
    """
    if len(head) < 2:
        return None
    codes = [language_code(cell) for cell in head[0].split("\t")]
    known = [code for code in codes if code is not None]
    if len(codes) < 2 or len(known) < len(codes) or len(set(known)) < len(known):
        return None
    ending = head[-1].rpartition("\t")[2].strip()
    label = language_code(ending)
    if ending in {"0", "1"} or label in {*languages, *known}:
        return None
    return codes if label is None or known[0] in languages else None


def _labelled(
    path: Path, lines: Iterator[str], languages: Sequence[str], first_number: int
) -> Iterator[Pair]:
    language_of = dict(zip("01", languages, strict=False))
    for number, line in enumerate(lines, first_number):
        text, tab, label = line.rpartition("\t")
        if not tab:
            if not line.strip():
                continue
            raise GlossaeError(
                f"{named(path)}, line {number}: no tab in {shown(line)}: "
                f"write sentence TAB label on every line"
            )
        yield Pair(((_language_of(path, number, label, language_of), text),))


def read_columns(path: Path, columns: Sequence[str | None]) -> Iterator[Pair]:
    """Read aligned columns, tab between them; a column whose code is None is passed over.

    Raises:
        GlossaeError: the file cannot be read, or a line has another number of columns.
    """
    yield from _columns(path, text_lines(path), columns, first_number=1)


def _columns(
    path: Path, lines: Iterator[str], columns: Sequence[str | None], first_number: int
) -> Iterator[Pair]:
    for number, line in enumerate(lines, first_number):
        if not line.strip():
            continue
        cells = line.split("\t")
        if len(cells) != len(columns):
            raise GlossaeError(
                f"{named(path)}, line {number}: {len(cells)} columns where {len(columns)} are named: "
                f"mend the line, or name every column with cols:CODE,CODE,-:PATH (- passes one over)"
            )
        yield Pair(tuple((code, cell) for code, cell in zip(columns, cells, strict=True) if code is not None))


class Lines(NamedTuple):
    """A text in one language, to be read once.

    Attributes:
        name: what messages call it.
        texts: the sentences, in order, each with its document; an empty one is none.
    """

    name: str
    texts: Iterator[tuple[str, str]]


def read_aligned(by_language: Mapping[str, Lines]) -> Iterator[Pair]:
    """Read texts that are aligned by line; a single one is text that is not aligned.

    Raises:
        GlossaeError: a text cannot be read, or they have different numbers of lines.
    """
    readers = [lines.texts for lines in by_language.values()]
    for number, texts in enumerate(itertools.zip_longest(*readers), 1):
        if None in texts:
            # the readers that have not ended still have lines; every file's count belongs in the message
            counts = [
                number - 1 if text is None else number + sum(1 for _ in reader)
                for text, reader in zip(texts, readers, strict=True)
            ]
            listed = ", ".join(
                f"{lines.name} has {count}" for lines, count in zip(by_language.values(), counts, strict=True)
            )
            raise GlossaeError(f"{listed} lines: files aligned by line need the same number")
        yield _paired(
            [(code, text) for code, (text, _) in zip(by_language, texts, strict=True)],
            [doc for _, doc in texts],
        )


def _paired(texts: Sequence[tuple[str, str]], docs: Sequence[str]) -> Pair:
    return Pair(tuple(texts), None, tuple(docs) if any(docs) else ())
