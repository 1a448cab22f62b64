"""Records with named fields as text: which field is the sentence, and what language it is in."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from glossae.errors import GlossaeError
from glossae.text.languages import language_code
from glossae.text.lines import named, shown
from glossae.text.readers import Pair
from glossae.text.tables import Record, records

_TEXT = ("text", "sentence")
_LANGUAGE = ("language", "lang", "label")
_PAIR = "pair"
_DOC = "doc"
_NAMES_SHOWN = 12


class _Fields(NamedTuple):
    """The names, as a file writes them, of the fields that matter."""

    text: str | None
    language: str | None
    pair: str | None
    doc: str | None
    columns: tuple[tuple[str, str], ...]


def read_records(path: Path, languages: Sequence[str]) -> Iterator[Pair]:
    """Read JSON Lines or CSV: `text` and `language` or `label`, or a field per language code.

    Names are told without regard to case, and fields that are not needed are passed over. A label of 0 is the
    first of `languages`, 1 the second, anything else a language code. Records that share a `pair` are
    translations of each other; they come together, after those that have none. `doc` names a record's document.

    Raises:
        GlossaeError: the file cannot be read, a record lacks what is needed, or a value is of the wrong kind.
    """
    waiting: dict[str, list[tuple[str, str, str]]] = {}
    language_of = dict(zip("01", languages, strict=False))
    for record, fields in _with_fields(path, languages):
        if fields.text is not None and fields.language is not None:
            language = _language(path, record, fields.language, language_of)
            texts = [(language, _text(path, record, fields.text))]
        elif fields.columns:
            texts = [(code, _text(path, record, name)) for code, name in fields.columns]
        else:
            raise GlossaeError(
                _lacking(path, record, f"text and language or label, or {' and '.join(languages)}")
            )
        doc = _doc(path, record, fields)
        told = [(code, text, doc) for code, text in texts]
        identity = None if fields.pair is None else _identity(path, record, fields.pair)
        if identity is None:
            yield _together(told)
        else:
            waiting.setdefault(identity, []).extend(told)
    for together in waiting.values():
        yield _together(together)


def _together(told: Sequence[tuple[str, str, str]]) -> Pair:
    docs = tuple(doc for _, _, doc in told)
    return Pair(tuple((code, text) for code, text, _ in told), None, docs if any(docs) else ())


def _doc(path: Path, record: Record, fields: _Fields) -> str:
    name = None if fields.doc is None else _identity(path, record, fields.doc, "sentences of one document")
    return name or ""


def read_texts(path: Path) -> Iterator[tuple[str, str]]:
    """The `text` of every record of a file in one language, with its `doc`; an empty one is none.

    Raises:
        GlossaeError: the file cannot be read, a record has no text, or it is not a string.
    """
    for record, fields in _with_fields(path, ()):
        if fields.text is None:
            if "tokens" in record.fields:
                raise GlossaeError(
                    f"{named(path)}, line {record.line}: has tokens and no text, and where blanks stood between "
                    f"them cannot be told: give the treebank's .conllu file"
                )
            raise GlossaeError(_lacking(path, record, "text"))
        yield _text(path, record, fields.text), _doc(path, record, fields)


def _with_fields(path: Path, languages: Sequence[str]) -> Iterator[tuple[Record, _Fields]]:
    names: tuple[str, ...] = ()
    fields = _fields(names, languages)
    for record in records(path):
        # nearly always those of the record before
        found = tuple(record.fields)
        if found != names:
            names, fields = found, _fields(found, languages)
        yield record, fields


def _fields(names: Iterable[str], languages: Sequence[str]) -> _Fields:
    by_name: dict[str, str] = {}
    columns: dict[str, str] = {}
    for name in names:
        by_name.setdefault(name.strip().lower(), name)
        code = language_code(name)
        if code is not None and code in languages and name.strip().lower() != _DOC:
            columns.setdefault(code, name)
    return _Fields(
        next((by_name[name] for name in _TEXT if name in by_name), None),
        next((by_name[name] for name in _LANGUAGE if name in by_name), None),
        by_name.get(_PAIR),
        by_name.get(_DOC),
        tuple(columns.items()),
    )


def _language(path: Path, record: Record, name: str, language_of: Mapping[str, str]) -> str:
    value = record.fields[name]
    # true is 1 to Python, and no label; 1.0 is how some programs write a column of numbers
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and value in (0, 1)
    written = str(int(value)) if is_number else value.strip() if isinstance(value, str) else ""
    language = language_of.get(written) or language_code(written)
    if language is None:
        raise GlossaeError(
            f"{named(path)}, line {record.line}: {name} is {shown(value)}: write 0 (target), 1 (reference) "
            f"or a language code, or name the file da=PATH where all of it is in one language"
        )
    return language


def _text(path: Path, record: Record, name: str) -> str:
    value = record.fields[name]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise GlossaeError(
            f"{named(path)}, line {record.line}: {shown(name)} is {shown(value)}: write the text as a string"
        )
    return value


def _identity(
    path: Path, record: Record, name: str, sharing: str = "translations of each other"
) -> str | None:
    value: Any = record.fields[name]
    if value is None or value == "":
        return None
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise GlossaeError(
            f"{named(path)}, line {record.line}: {name} is {shown(value)}: write a number or a string, "
            f"the same one for {sharing}"
        )
    return str(value)


def _lacking(path: Path, record: Record, needed: str) -> str:
    names = [shown(name) for name in record.fields]
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    has = f"{', '.join(names[:_NAMES_SHOWN])}{more}" if names else "nothing"
    return f"{named(path)}, line {record.line}: has {has}, and needs {needed}"
