"""Which columns of a labelled table hold the text and the label."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from glossae.errors import GlossaeError
from glossae.text.lines import shown

TEXT = ("text", "sentence", "tweet")
# words before numbers, where a data set has both
LABEL = ("label_text", "label", "sentiment", "class")
PAIR = ("pair",)
_SHOWN = 12


class LabelColumns(NamedTuple):
    """The names, as a table writes them, of the columns that matter."""

    text: str
    label: str
    pair: str | None


def choose_columns(
    names: Iterable[str], where: str, *, text: str | None = None, label: str | None = None
) -> LabelColumns:
    """The columns of text, label and pair, told by their names without regard to case.

    Args:
        names: the table's columns.
        where: what a message calls the table.
        text: the text's column, where it is known.
        label: the label's.

    Raises:
        GlossaeError: there is no such column.
    """
    listed = list(names)
    by_name: dict[str, str] = {}
    for name in listed:
        by_name.setdefault(name.strip().lower(), name)

    def first(known: Iterable[str]) -> str | None:
        return next((by_name[name] for name in known if name in by_name), None)

    for given in (text, label):
        if given is not None and given not in listed:
            raise GlossaeError(f"{where}: has no column {shown(given)}; it has {_listed(listed)}")
    text, label = text or first(TEXT), label or first(LABEL)
    if text is None or label is None:
        what, known = ("text", TEXT) if text is None else ("label", LABEL)
        raise GlossaeError(
            f"{where}: has no column for the {what} ({', '.join(known)}); it has {_listed(listed)}"
        )
    return LabelColumns(text, label, first(PAIR))


def label_of(value: Any, where: str) -> str | None:
    """A label as text; None where there is none.

    Raises:
        GlossaeError: it is neither text nor a whole number.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return value.strip()
    # 1.0 is how some programs write a column of whole numbers
    if isinstance(value, bool) or (isinstance(value, int | float) and value == int(value)):
        return str(value) if isinstance(value, bool) else str(int(value))
    raise GlossaeError(f"{where}: the label is {shown(value)}: write a word or a whole number")


def text_of(value: Any, where: str) -> str:
    """A text; a missing one is empty.

    Raises:
        GlossaeError: it is something else than text.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise GlossaeError(f"{where}: the text is {shown(value)}: write it as a string")
    return value


def pair_of(value: Any) -> str | None:
    """What rows share that belong together; None for nothing."""
    return None if value is None or value == "" else str(value)


def _listed(names: list[str]) -> str:
    if not names:
        return "nothing"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(shown(name) for name in names[:_SHOWN]) + more
