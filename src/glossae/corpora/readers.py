"""Readers of text files: labelled, in columns, aligned, records, treebanks (CoNLL-U), translation memories (TMX).

Readers yield raw text; cleaning comes after. A fault in a file raises one `GlossaeError` that names the file
and the 1-based line.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from glossae.corpora.corpus import Pair
from glossae.corpora.lines import Record, name_list, open_file, path_text, records, short_repr, text_lines
from glossae.errors import GlossaeError
from glossae.languages import UNDETERMINED, counted_as, language_code

TEXT_NAMES = ("text", "sentence")
LANGUAGE_NAMES = ("language", "lang", "label")
# longer cells are no language codes, whatever they hold
_LONGEST_TAG = 16
PAIR_NAME, DOC_NAME = "pair", "doc"
"""Names of the columns for the text, its language, the id that translations share, and the document."""


def _paired(texts: Iterable[tuple[str, str]], docs: Sequence[str]) -> Pair:
    return Pair(tuple(texts), None, tuple(docs) if any(docs) else ())


def read_tsv(path: Path, languages: Sequence[str]) -> Iterator[Pair]:
    """Read `sentence TAB label`, or aligned columns under a header of language codes.

    The label stands after the last tab: 0 is the first of `languages`, 1 the second, anything else a language
    code. A header such as `sentence TAB label` is skipped, also where it occurs again, as in files that were
    joined, and so are blank lines. Under a header of codes, a further column `doc` names the document of each line.
    """
    lines = text_lines(path)
    head: list[str] = []
    # reads up to the second line that is not blank, which tells a header from a sentence
    seen = 0
    while seen < 2 and (line := next(lines, None)) is not None:
        head.append(line)
        seen += bool(line.strip())
    rest = itertools.chain(head, lines)
    cells = [cell.strip().lower() for cell in head[0].split("\t")] if head else []
    others = [language_code(cell) or cell for cell in cells if cell != DOC_NAME]
    has_names = _is_header(others)
    has_codes = bool(others) and set(others) <= set(languages) and len(set(others)) == len(others)
    if cells.count(DOC_NAME) == 1 and (has_names or has_codes):
        next(rest)
        yield from _with_doc(path, rest, cells, None if has_names else others, languages)
    elif (codes := _header_of_codes(path, head, languages)) is not None:
        next(rest)
        yield from _columns(path, rest, codes, first_number=2)
    else:
        yield from _labelled(path, rest, languages)


def _is_header(cells: Sequence[str]) -> bool:
    """Whether the cells of a line, in lower case, name the columns of sentences and labels."""
    return len(cells) == 2 and cells[0] in TEXT_NAMES and cells[1] in LANGUAGE_NAMES


def _with_doc(
    path: Path,
    lines: Iterator[str],
    header: Sequence[str],
    codes: Sequence[str] | None,
    languages: Sequence[str],
) -> Iterator[Pair]:
    """Read lines under a header with a column `doc`; the others hold text and label if `codes` is None."""
    place, columns = header.index(DOC_NAME), len(header)
    language_of = dict(zip("01", languages, strict=False))
    for number, cells in _cells(lines, 2):
        if len(cells) != columns:
            raise GlossaeError(
                f"{path_text(path)}, line {number}: {len(cells)} columns where the header has {columns}: mend the line"
            )
        if [cell.strip().lower() for cell in cells] == header:
            continue
        doc = cells.pop(place).strip()
        if codes is not None:
            texts = list(zip(codes, cells, strict=True))
        else:
            texts = [(_language_of(path, number, cells[1], language_of), cells[0])]
        yield _paired(texts, [doc] * len(texts))


def _cells(lines: Iterator[str], first_number: int) -> Iterator[tuple[int, list[str]]]:
    return ((n, line.split("\t")) for n, line in enumerate(lines, first_number) if line.strip())


def _language_of(path: Path, number: int, label: str, language_of: dict[str, str]) -> str:
    """The language that a label stands for; adds it to `language_of`."""
    language = language_of.get(label)
    if language is None:
        language = language_of.get(label.strip()) or language_code(label)
        if language is None:
            raise GlossaeError(
                f"{path_text(path)}, line {number}: unknown label {short_repr(label)}: "
                f"write 0 (target), 1 (reference) or a language code"
            )
        language_of[label] = language
    return language


def _header_of_codes(path: Path, head: list[str], languages: Sequence[str]) -> list[str | None] | None:
    """The codes of the columns, if `head` is a header of codes.

    Both `en TAB da` and the labelled sentence `Hej TAB da` look like one. The next line decides: after a
    labelled sentence it ends in a label, after a header it seldom ends in anything like a code.

    Raises:
        GlossaeError: a language is there twice.
    """
    if len(head) < 2:
        return None
    codes = [language_code(cell) for cell in head[0].split("\t")]
    known = [code for code in codes if code is not None]
    if len(codes) < 2 or len(known) < len(codes):
        return None
    ending = head[-1].rpartition("\t")[2].strip()
    label = language_code(ending)
    if ending in {"0", "1"} or label in {*languages, *known}:
        return None
    if label is not None and known[0] not in languages:
        return None
    twice = next((code for code in known if known.count(code) > 1), None)
    if twice is not None:
        raise GlossaeError(
            f"{path_text(path)}, line 1: has two columns of {twice}: name every column with cols:CODE,CODE,-:PATH "
            f"(- passes one over), and delete the header"
        )
    return codes


def _labelled(path: Path, lines: Iterator[str], languages: Sequence[str]) -> Iterator[Pair]:
    language_of = dict(zip("01", languages, strict=False))
    for number, line in enumerate(lines, 1):
        text, tab, label = line.rpartition("\t")
        if label not in language_of and _is_header([text.strip().lower(), label.strip().lower()]):
            continue
        if "\r" in line and "\r" in text.partition("\t")[2]:
            raise GlossaeError(
                f"{path_text(path)}, line {number}: holds a carriage return after a label: "
                f"end lines in \\n or \\r\\n"
            )
        if tab:
            yield Pair(((_language_of(path, number, label, language_of), text),))
        elif line.strip():
            raise GlossaeError(
                f"{path_text(path)}, line {number}: no tab in {short_repr(line)}: "
                f"write sentence TAB label on every line"
            )


def read_columns(path: Path, columns: Sequence[str | None]) -> Iterator[Pair]:
    """Read aligned columns, separated by tabs; columns whose code is None, and headers of the codes, are skipped."""
    yield from _columns(path, text_lines(path), columns, first_number=1)


def _columns(
    path: Path, lines: Iterator[str], columns: Sequence[str | None], first_number: int
) -> Iterator[Pair]:
    for number, cells in _cells(lines, first_number):
        if len(cells) != len(columns):
            raise GlossaeError(
                f"{path_text(path)}, line {number}: {len(cells)} columns where {len(columns)} are named: "
                f"mend the line, or name every column with cols:CODE,CODE,-:PATH (- passes one over)"
            )
        texts = tuple((code, cell) for code, cell in zip(columns, cells, strict=True) if code is not None)
        if len(texts) > 1 and all(len(cell) < _LONGEST_TAG and " " not in cell for _, cell in texts):
            named = [language_code(cell) for _, cell in texts]
            if named == [code for code, _ in texts]:
                continue
            if set(named) == {code for code, _ in texts}:
                raise GlossaeError(
                    f"{path_text(path)}, line {number}: is a header with the languages in another order than before: "
                    f"give files of different columns as sources of their own"
                )
        yield Pair(texts)


class Lines(NamedTuple):
    """One text in one language: its name for messages, and an iterator of (sentence, document or "")."""

    name: str
    texts: Iterator[tuple[str, str]]


def read_sentences(path: Path, language: str) -> Iterator[tuple[str, str]]:
    """The sentences of a file in one language with their documents; the file's suffix decides the reader.

    Raises:
        GlossaeError: the file cannot be read, or a record says that it is in another language.
    """
    match path.suffix.lower():
        case ".jsonl" | ".csv":
            return _texts_of_records(path, language)
        case ".conllu":
            return ((text, doc) for _, _, text, doc in read_conllu(path))
        case _:
            return ((line, "") for line in text_lines(path))


def read_aligned(by_language: Mapping[str, Lines]) -> Iterator[Pair]:
    """Read texts that are aligned by line, or a single text, which is not aligned."""
    readers = [lines.texts for lines in by_language.values()]
    for number, texts in enumerate(itertools.zip_longest(*readers), 1):
        if None in texts:
            # the readers that have not ended still have lines: the message gives the count of every file
            counts = [
                f"{lines.name} has {number - 1 if text is None else number + sum(1 for _ in lines.texts)}"
                for text, lines in zip(texts, by_language.values(), strict=True)
            ]
            raise GlossaeError(f"{', '.join(counts)} lines: files aligned by line need the same number")
        yield _paired(
            [(code, text) for code, (text, _) in zip(by_language, texts, strict=True)],
            [doc for _, doc in texts],
        )


class _Fields(NamedTuple):
    """The field names that matter, as the file writes them; `columns` are (code, name)."""

    text: str | None
    language: str | None
    pair: str | None
    doc: str | None
    columns: tuple[tuple[str, str], ...]


def read_records(path: Path, languages: Sequence[str]) -> Iterator[Pair]:
    """Read JSON Lines or CSV: `text` and `language` or `label`, or one field per language code.

    Case does not matter in names, and other fields are skipped. A label of 0 is the first of `languages`, 1
    the second, anything else a language code. Records that share a `pair` are translations of each other; they
    come as one pair, after the records without one. `doc` names a record's document.
    """
    waiting: dict[str, list[tuple[str, str, str]]] = {}
    language_of = dict(zip("01", languages, strict=False))
    for record, fields in _with_fields(path, languages):
        if fields.text is not None and fields.language is not None:
            texts = [(_language(record, fields.language, language_of), _text(record, fields.text))]
        elif fields.columns:
            texts = [(code, _text(record, name)) for code, name in fields.columns]
        else:
            raise _lacking(record, f"text and language or label, or {' and '.join(languages)}")
        doc = _identity(record, fields.doc, "sentences of one document")
        told = [(code, text, doc) for code, text in texts]
        identity = _identity(record, fields.pair, "translations of each other")
        if identity:
            waiting.setdefault(identity, []).extend(told)
        else:
            yield _paired(texts, [doc] * len(texts))
    for together in waiting.values():
        yield _paired([(code, text) for code, text, _ in together], [doc for _, _, doc in together])


def _texts_of_records(path: Path, language: str) -> Iterator[tuple[str, str]]:
    """The `text` of every record of a file in one language, with its `doc`."""
    same = {part for part, whole in counted_as([language]).items() if whole == language} | {language}
    for record, fields in _with_fields(path, ()):
        if fields.text is None:
            if "tokens" in record.fields:
                raise GlossaeError(
                    f"{record.where}: has tokens and no text, and where blanks stood between "
                    f"them cannot be told: give the treebank's .conllu file"
                )
            raise _lacking(record, "text")
        if fields.language is not None:
            said = language_code(str(record.fields[fields.language]))
            if said not in (None, UNDETERMINED, *same):
                raise GlossaeError(
                    f"{record.where}: is in {said}, and the file was given as {language}: write the file's name "
                    f"without {language}="
                )
        yield _text(record, fields.text), _identity(record, fields.doc, "sentences of one document")


def _with_fields(path: Path, languages: Sequence[str]) -> Iterator[tuple[Record, _Fields]]:
    names: tuple[str, ...] | None = None
    for record in records(path):
        # records nearly always have the same fields as the record before
        if (found := tuple(record.fields)) != names:
            names, fields = found, _fields(found, languages, record.where)
        yield record, fields


def _fields(names: Iterable[str], languages: Sequence[str], where: str) -> _Fields:
    by_name: dict[str, str] = {}
    columns: dict[str, str] = {}
    twice = ""
    for name in names:
        plain = name.strip().lower()
        by_name.setdefault(plain, name)
        code = language_code(name)
        if code is not None and code in languages and plain != DOC_NAME:
            twice = twice or (
                f"{short_repr(columns[code])} and {short_repr(name)}" if code in columns else ""
            )
            columns[code] = name
    text, language = (
        next((by_name[name] for name in known if name in by_name), None)
        for known in (TEXT_NAMES, LANGUAGE_NAMES)
    )
    if twice and (text is None or language is None):
        raise GlossaeError(f"{where}: has two fields of one language, {twice}: rename one")
    return _Fields(text, language, by_name.get(PAIR_NAME), by_name.get(DOC_NAME), tuple(columns.items()))


def _language(record: Record, name: str, language_of: Mapping[str, str]) -> str:
    value = record.fields[name]
    # in Python, true equals 1, but it is not a label; 1.0 is how some programs write a column of integers
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and value in (0, 1)
    written = str(int(value)) if is_number else value.strip() if isinstance(value, str) else ""
    language = language_of.get(written) or language_code(written)
    if language is None:
        raise GlossaeError(
            f"{record.where}: {name} is {short_repr(value)}: write 0 (target), 1 (reference) "
            f"or a language code, or name the file da=PATH where all of it is in one language"
        )
    return language


def _text(record: Record, name: str) -> str:
    value = record.fields[name]
    if value is not None and not isinstance(value, str):
        raise GlossaeError(
            f"{record.where}: {short_repr(name)} is {short_repr(value)}: write the text as a string"
        )
    return value or ""


def _identity(record: Record, name: str | None, sharing: str) -> str:
    """The value of a field that records share, as text; empty if the record has none."""
    value: Any = None if name is None else record.fields[name]
    if value is None:
        return ""
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise GlossaeError(
            f"{record.where}: {name} is {short_repr(value)}: write a number or a string, the same one for {sharing}"
        )
    return str(value)


def _lacking(record: Record, needed: str) -> GlossaeError:
    fields = name_list([short_repr(name) for name in record.fields]) or "nothing"
    return GlossaeError(f"{record.where}: has {fields}, and needs {needed}")


_COLUMNS = 10
_FORM, _UPOS, _MISC = 1, 3, 9
# the id of a word, of a range of words, of an empty node
_PLACE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9})|(\.[0-9]+))?")


def read_conllu(path: Path) -> Iterator[tuple[tuple[str, ...], tuple[str, ...], str, str]]:
    """The sentences of a treebank as (tokens, tags, text, document).

    The tokens are forms, the tags universal parts of speech; a range such as `3-4` is one token, with the tag
    of its first word. The text is the comment `# text = `; without one, it is joined by the rules of
    https://universaldependencies.org/format.html: a blank after each word without `SpaceAfter=No`, a range in
    place of its words, no empty nodes such as `5.1`. A document begins at `# newdoc` and is named by its `id`,
    or else by its number in the file; before the first `# newdoc` it is empty. `sent_id` is not used for
    documents, because each treebank forms it in its own way.

    Raises:
        GlossaeError: a line is no word; words are not numbered from 1 on, or a comment follows a word, as where the
            blank line between two sentences is missing; or a sentence has a text and no words.
    """
    doc, docs = "", 0
    said: str | None = None
    text, tokens, tags = "", list[str](), list[str]()
    # the last word of the current range, and whether its first word is still to come
    covered, is_first = 0, False
    last_word = 0
    for number, line in enumerate(itertools.chain(text_lines(path), [""]), 1):
        if not line.strip():
            if said is not None and not tokens:
                raise GlossaeError(
                    f"{path_text(path)}, line {number}: a sentence ends that has a text and no words: "
                    f"delete its comments, or the blank line after them"
                )
            text = text.strip() if said is None else said
            if text:
                yield tuple(tokens), tuple(tags), text, doc
            said, text, tokens, tags = None, "", [], []
            covered, is_first, last_word = 0, False, 0
            continue
        if line.startswith("#"):
            if tokens:
                raise _run_together(path, number, "a comment follows a word")
            key, equals, value = line.removeprefix("#").partition("=")
            if equals and key.strip() == "text":
                if said is not None:
                    raise _run_together(path, number, "a sentence has a second text")
                said = value.strip()
            elif key.split() == ["newdoc"] or (equals and key.split() == ["newdoc", "id"]):
                docs += 1
                doc = value.strip() or f"newdoc {docs}"
            continue
        cells = line.split("\t")
        place = _PLACE.fullmatch(cells[0])
        if place is None or len(cells) != _COLUMNS:
            raise GlossaeError(
                f"{path_text(path)}, line {number}: {short_repr(line)} is no word of CoNLL-U, a number and nine more "
                f"columns with tabs between them: give a .conllu file, or name plain text .txt"
            )
        first, last, is_empty = place.groups()
        if is_empty:
            continue
        if int(first) != last_word + 1 or (last is not None and int(last) < int(first)):
            raise _run_together(path, number, f"{cells[0]} follows the word {last_word}")
        last_word += last is None
        if last is None and int(first) <= covered:
            if is_first:
                tags[-1] = cells[_UPOS]
            is_first = False
            continue
        if last is not None:
            covered = int(last)
        is_first = last is not None
        text += cells[_FORM] + ("" if "SpaceAfter=No" in cells[_MISC].split("|") else " ")
        tokens.append(cells[_FORM])
        tags.append("_" if is_first else cells[_UPOS])


def _run_together(path: Path, number: int, what: str) -> GlossaeError:
    return GlossaeError(
        f"{path_text(path)}, line {number}: {what}: put a blank line between two sentences, and number words from 1 on"
    )


_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_CHUNK = 1 << 16
# inside a segment these elements hold codes of the original format, not text; `hi` and `sub` hold text
_CODES = frozenset({"bpt", "ept", "it", "ph", "ut"})
# TMX has no element for documents. Two properties for them are in wide use: the act's number in DGT-TM, and
# the page's address in files of Bitextor (ParaCrawl, web crawls of ELRC)
_DOC_PROPERTIES = frozenset({"txt::doc. no.", "source-document"})


class _TmxError(Exception):
    """A fault in the document; only the parser knows its line."""


class _Units:
    """A parser target that collects the translation units of a document and nothing else.

    No tree is built, so memory is bounded by one chunk's units, however large or deeply nested the file.
    """

    def __init__(self) -> None:
        self.units: list[Pair] = []
        self._root: str | None = None
        self._texts: list[tuple[str, str]] = []
        self._docs: list[str] = []
        self._unit_doc = self._doc = ""
        self._language: str | None = None
        self._property: list[str] | None = None
        self._pieces: list[str] | None = None
        # the units and translations that are open, and whether this translation has its segment
        self._open: list[str] = []
        self._has_segment = False
        # for every open element inside a segment, whether its text counts
        self._is_text: list[bool] = []

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        name = _local(tag)
        if (name == "seg" and self._pieces is not None) or name in self._open:
            raise _TmxError(f"a {name} begins inside a {name}: close the one before")
        if name in ("tu", "tuv"):
            self._open.append(name)
        if self._root is None:
            self._root = name
            if name != "tmx":
                raise _TmxError(
                    f"is XML but not TMX (its first element is {short_repr(name)}): give a TMX file"
                )
        if self._pieces is not None:
            self._is_text.append(name == "sub" or (name not in _CODES and self._is_text[-1]))
        elif name == "tu":
            self._texts, self._docs, self._unit_doc = [], [], ""
        elif name == "prop" and attributes.get("type", "").strip().lower() in _DOC_PROPERTIES:
            self._property = []
        elif name == "tuv":
            if "tu" not in self._open:
                raise _TmxError("a tuv stands outside of a tu: open a tu before it")
            self._doc, self._has_segment = "", False
            written = attributes.get(_XML_LANG, attributes.get("lang"))
            # an empty xml:lang is XML's way to tell no language
            self._language = UNDETERMINED if written == "" else language_code(written or "")
            if self._language is None:
                raise _TmxError(
                    f"a tuv's xml:lang is {short_repr(written or '')}: write a language code, as in da or en-GB"
                )
        elif name == "seg" and self._language is not None:
            if self._has_segment:
                raise _TmxError("a tuv has two segments: give each a tuv of its own")
            self._has_segment = True
            self._pieces, self._is_text = [], [True]

    def end(self, tag: str) -> None:
        if self._pieces is not None:
            self._is_text.pop()
            if not self._is_text and self._language is not None:
                self._texts.append((self._language, "".join(self._pieces)))
                self._docs.append(self._doc)
                self._pieces = None
        elif _local(tag) == "prop" and self._property is not None:
            told, self._property = "".join(self._property).strip(), None
            # a sentence that occurs in several documents counts for the first
            if self._language is None:
                self._unit_doc = self._unit_doc or told
            else:
                self._doc = self._doc or told
        elif _local(tag) == "tuv" and self._language is not None:
            if not self._has_segment:
                # it is counted as an empty text
                self._texts.append((self._language, ""))
                self._docs.append(self._doc)
            self._language = None
            self._open.remove("tuv")
        elif _local(tag) == "tu":
            self._open.remove("tu")
            if self._texts:
                self.units.append(_paired(self._texts, [doc or self._unit_doc for doc in self._docs]))

    def data(self, text: str) -> None:
        if self._pieces is not None and self._is_text[-1]:
            self._pieces.append(text)
        elif self._property is not None:
            self._property.append(text)


def _local(tag: str) -> str:
    return tag.rpartition("}")[2].lower()


def read_tmx(path: Path) -> Iterator[Pair]:
    """Read a TMX file of any size and encoding.

    A DOCTYPE is allowed and never followed. Codes of the original format (`bpt`, `ept`, `it`, `ph`, `ut`) are
    left out of the text; highlighted (`hi`) and sub-flow (`sub`) text is kept. A `prop` of type `Txt::Doc.
    No.` (DGT-TM) or `source-document` (Bitextor), of a unit or of one of its translations, names the document;
    `tuid` does not.
    """
    # only this reader parses XML, and `import glossae.corpora` is to stay cheap
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import DefusedXMLParser, ParseError

    units = _Units()
    parser = DefusedXMLParser(target=units)
    try:
        with open_file(path) as file:
            while chunk := file.read(_CHUNK):
                parser.feed(chunk)
                yield from units.units
                units.units.clear()
        parser.close()
        yield from units.units
    except ParseError as error:
        reason = str(error).partition(": line ")[0]
        raise GlossaeError(
            f"{path_text(path)}, line {error.position[0]}: is not well-formed XML ({reason}): "
            f"it may be truncated or of another format; fetch it again"
        ) from error
    except (DefusedXmlException, _TmxError) as error:
        what = "declares an XML entity, which is refused: write the text itself in its place"
        raise GlossaeError(
            f"{path_text(path)}, line {parser.parser.CurrentLineNumber}: "
            f"{error if isinstance(error, _TmxError) else what}"
        ) from error
    except (LookupError, ValueError) as error:
        raise GlossaeError(
            f"{path_text(path)}, line 1: its XML declaration names an encoding that cannot be read "
            f"({short_repr(str(error))}): convert it to UTF-8"
        ) from error
