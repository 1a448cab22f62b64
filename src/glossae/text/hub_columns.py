"""A table of a data set as pairs: which columns hold text, and what says its language."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glossae.errors import GlossaeError
from glossae.text.languages import language_code
from glossae.text.lines import shown
from glossae.text.readers import Pair

_TEXT = ("text", "sentence")
_LABEL = ("language", "lang", "label")
_PAIR = "pair"
_DOC = "doc"
_TRANSLATION = "translation"
_STRINGS = ("string", "large_string", "string_view", "null")
# ISO 639's code for text whose language nobody has said
_UNDETERMINED = "und"
_ROWS = 1000


@dataclass(frozen=True)
class Columns:
    """Which columns hold what, as far as a source says; the rest is found by the columns' names.

    Attributes:
        text: the text, where a label says its language.
        label: 0 for the target, 1 for the reference, a language code, or a value of `labels`.
        pair: an id that translations of each other share.
        doc: an id that the sentences of one document share.
        languages: (code, column) of text in one language; columns of a row translate each other.
        labels: (value, code) of labels that say a language in other words.
    """

    text: str | None = None
    label: str | None = None
    pair: str | None = None
    doc: str | None = None
    languages: tuple[tuple[str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


def pairs(name: str, table: Any, columns: Columns, languages: Sequence[str]) -> Iterator[Pair]:
    """The rows of a table of `datasets`, flattened, as pairs.

    Where `columns` does not say otherwise, it is read as, in this order: a `translation` with a text for each
    language code; `text` or `sentence` with a `language`, `lang` or `label`; columns named by the codes of
    `languages`. A missing text is empty; a text without a label counts as of the language `und`.

    Raises:
        GlossaeError: there are no such columns, they hold no text, or a label is not understood.
    """
    plan = _plan(name, table.features, columns, languages)
    texts = dict(plan.languages)
    named = (plan.text, plan.label, plan.pair, plan.doc, *texts.values())
    wanted = [column for column in named if column is not None]
    language_of = dict(zip("01", languages, strict=False)) | dict(plan.labels)
    names = getattr(table.features.get(plan.label), "names", None)
    number = 0
    for batch in table.select_columns(list(dict.fromkeys(wanted))).iter(batch_size=_ROWS):
        for row in range(len(batch[wanted[0]])):
            number += 1
            if plan.text is None:
                said = tuple((code, batch[column][row] or "") for code, column in texts.items())
            else:
                label = _label(batch[plan.label][row], names)
                said = ((_language(name, number, label, language_of), batch[plan.text][row] or ""),)
            identity = batch[plan.pair][row] if plan.pair else None
            doc = batch[plan.doc][row] if plan.doc else None
            # the same number in two data sets is not the same pair
            yield Pair(
                said,
                None if identity is None else f"{name} {identity}",
                () if doc is None else (str(doc),) * len(said),
            )


def _label(value: Any, names: Sequence[str] | None) -> str | None:
    """What a label says: a class by its name, anything else as it is written; None if nothing."""
    if names is None or value is None:
        return None if value is None else str(value).strip()
    # data sets that hide a label write -1
    return names[value].strip() if value >= 0 else None


def _language(name: str, number: int, label: str | None, language_of: dict[str, str]) -> str:
    if label is None:
        return _UNDETERMINED
    known = language_of.get(label)
    if known is None:
        known = language_code(label)
        if known is None:
            raise GlossaeError(
                f"{name}, row {number}: unknown label {shown(label)}: it is not 0 (target), 1 (reference) or a "
                f"language code; say what it stands for with ,label.{label}=CODE"
            )
        language_of[label] = known
    return known


def _plan(name: str, features: Mapping[str, Any], given: Columns, languages: Sequence[str]) -> Columns:
    """`given` with everything filled in, and held against the columns there are.

    Raises:
        GlossaeError: a column is missing or holds no text, or none says a language.
    """
    pair = given.pair or (_PAIR if _PAIR in features else None)
    doc = given.doc or (_DOC if _DOC in features else None)
    if given.languages:
        plan = Columns(pair=pair, doc=doc, languages=given.languages)
    elif given.text or given.label or given.labels:
        text = given.text or _first(_TEXT, features)
        label = given.label or _first(_LABEL, features)
        if text is None or label is None:
            lacking = "which column holds the text (,text=COLUMN)" if text is None else _how_language(text)
            raise GlossaeError(f"{name}: does not say {lacking}; it has the columns {_listed(features)}")
        plan = Columns(text, label, pair, doc, labels=given.labels)
    else:
        plan = _guessed(name, features, pair, doc, languages)
    for column in (plan.text, plan.label, plan.pair, plan.doc, *(column for _, column in plan.languages)):
        if column is not None and column not in features:
            raise GlossaeError(f"{name}: has no column {shown(column)}; it has {_listed(features)}")
    for column in (plan.text, *(column for _, column in plan.languages)):
        if column is not None and getattr(features[column], "dtype", None) not in _STRINGS:
            raise GlossaeError(
                f"{name}: its column {shown(column)} holds no text (but {shown(str(features[column]))}); "
                f"it has {_listed(features)}"
            )
    return plan


def _guessed(
    name: str, features: Mapping[str, Any], pair: str | None, doc: str | None, languages: Sequence[str]
) -> Columns:
    inner = {
        code: column
        for column in features
        if column.startswith(f"{_TRANSLATION}.") and (code := language_code(column.partition(".")[2]))
    }
    if inner:
        return Columns(pair=pair, doc=doc, languages=tuple(inner.items()))
    text, label = _first(_TEXT, features), _first(_LABEL, features)
    if text and label:
        return Columns(text, label, pair, doc)
    # only the codes wanted: a column `id` is seldom Indonesian
    named = tuple((code, column) for column in features if (code := language_code(column)) in languages)
    if named:
        return Columns(pair=pair, doc=doc, languages=tuple((str(code), column) for code, column in named))
    lacking = "where its text is" if text is None else _how_language(text)
    raise GlossaeError(
        f"{name}: does not say {lacking}; it has the columns {_listed(features)}: name them, as in "
        ",da=COLUMN or ,text=COLUMN,label=COLUMN"
    )


def _how_language(text: str) -> str:
    return f"the language of its text (,label=COLUMN, or ,CODE={text} if it is all in one)"


def _first(names: Sequence[str], features: Mapping[str, Any]) -> str | None:
    return next((name for name in names if name in features), None)


def _listed(features: Mapping[str, Any]) -> str:
    return shown(", ".join(features), 200)
