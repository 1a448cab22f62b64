"""What a page shows besides figures: tables, coloured texts, notes; and how every value is written."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

import pandas as pd
from pandas.api.types import is_numeric_dtype

from glossae.errors import visible
from glossae.reporting.canvas import Figure
from glossae.reporting.wording import (
    interval,
    language_list,
    language_name,
    listed,
    number,
    percent,
    short,
    signed,
    whole,
)

# a table of more rows is folded
_OPEN_ROWS = 14


# what a spreadsheet takes for the beginning of a formula, also in its full-width form and, in the many countries whose
# spreadsheets split at semicolons, after one
_FORMULA = re.compile(r"(^|;)(?=[=+\-@\t\r\n＝＋－＠])")


def csv_text(numbers: pd.DataFrame) -> str:
    """A table as the text of a CSV file in which no text of others is a formula to a spreadsheet.

    An apostrophe stands before text that would begin one, as OWASP advises; text is `visible`. Numbers do not change.
    """
    columns = {
        place: column
        if is_numeric_dtype(column)
        else pd.Series([_csv_cell(value) for value in column], index=column.index, dtype=object)
        for place, (_, column) in enumerate(numbers.items())
    }
    titles = [_csv_cell(title) for title in numbers]
    return str(pd.DataFrame(columns).to_csv(index=False, lineterminator="\n", header=titles))


def _csv_cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        float(value)
    except ValueError:
        return _FORMULA.sub(r"\1'", visible(value))
    return value


@dataclass(frozen=True)
class Cell:
    """A value as a table shows it, and what its CSV holds of it.

    Attributes:
        text: the value as it is written.
        below: a second, smaller line, such as an interval.
        numbers: by what is added to the column's title, what the CSV has; without any it has the texts.
        link: the page that the text leads to.
    """

    text: str
    below: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    link: str = ""


Value: TypeAlias = str | int | float | Cell | None
"""A number of three decimals, a whole one, words, or a cell; None is a dash."""


def num(value: float | None, digits: int = 3, below: str = "") -> Cell:
    """A number with so many decimals."""
    return Cell(number(value, digits), below, {"": value})


def pct(value: float | None, digits: int = 0, below: str = "") -> Cell:
    """A share as a percentage."""
    return Cell(percent(value, digits), below, {"": value})


def est(
    value: float | None,
    low: float | None,
    high: float | None,
    digits: int = 3,
    write: Callable[..., str] = number,
    **more: tuple[float | None, str],
) -> Cell:
    """An estimate above its interval; `write` writes the estimate, and more numbers with their words follow."""
    ends = interval(low, high, digits, percent if write is percent else number)
    numbers = {"": value, " low": low, " high": high} | {
        f" {name.replace('_', ' ')}": n for name, (n, _) in more.items()
    }
    return Cell(
        write(value, digits), "; ".join(filter(None, (ends, *(words for _, words in more.values())))), numbers
    )


_FORMATS: dict[str, Callable[[Any], str]] = {
    "lang": language_name,
    "langs": lambda codes: language_list(codes) if codes else "–",
    "list": lambda values: listed([str(value) for value in values]) if values else "–",
    "s": lambda kind: f"{kind}s",
    "short": short,
}
_WRITERS: dict[str, Callable[..., str]] = {"": number, "+": signed, "%": percent}


def shown(value: Any, form: str = "", low: Any = None, high: Any = None) -> Cell:
    """A value as a cell: the one place that says how each type is written.

    Args:
        value: words, a number, a cell, or None, which is a dash.
        form: `2` for so many decimals, `+2` with a sign, `%1` as a percentage; `lang`, `langs`, `list`, `s`, `short`.
        low: the lower end of its interval.
        high: the upper end.
    """
    if isinstance(value, Cell):
        return value
    if value is None:
        return Cell("–", "", {"": None})
    if form in _FORMATS:
        return Cell(_FORMATS[form](value), "", {"": value} if form == "short" else {})
    if isinstance(value, str):
        return Cell(value)
    if isinstance(value, bool):
        return Cell("yes" if value else "no", "", {"": value})
    if not form:
        form = "0" if isinstance(value, int) else "3"
    sign = form[0] if form[0] in "+%" else ""
    if form == "0":
        return Cell(whole(value), "", {"": value})
    return (
        est(value, low, high, int(form.removeprefix(sign)), _WRITERS[sign])
        if low is not None
        else Cell(_WRITERS[sign](value, int(form.removeprefix(sign))), "", {"": value})
    )


@dataclass(frozen=True)
class Table:
    """A table whose first column heads its rows.

    Attributes:
        label: what it is called.
        rows: their cells by column; all have the same columns. What follows `|` in a title is written small.
        facts: the numbers and names that its caption has.
        key: of its caption, if it is not its name.
        caption: filled in from the captions.
    """

    kind: ClassVar[str] = "table"
    label: str
    rows: Sequence[Mapping[str, Cell]]
    facts: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""
    caption: str = ""

    @property
    def name(self) -> str:
        """Its file's name without an ending, and its place on the page."""
        return re.sub("[^a-z0-9]+", "-", self.label.lower()).strip("-")

    @property
    def folded(self) -> bool:
        """Whether it is shown folded."""
        return len(self.rows) > _OPEN_ROWS

    @property
    def columns(self) -> list[tuple[Cell, bool]]:
        """The titles, and whether a column holds words: it is then set to the left."""
        words = [
            not any(isinstance(row[title].numbers.get(""), int | float) for row in self.rows)
            for title in self.rows[0]
        ]
        parts = [title.partition("|") for title in self.rows[0]]
        return [(Cell(title, below), left) for (title, _, below), left in zip(parts, words, strict=True)]

    @property
    def numbers(self) -> pd.DataFrame:
        """The values as numbers, as far as they are numbers: what the CSV holds."""
        rows = []
        for row in self.rows:
            line: dict[str, Any] = {}
            for title, cell in row.items():
                key, parts = title.replace("|", ", "), cell.numbers or {"": cell.text}
                line |= {f"{key}{more}": part for more, part in parts.items()}
                if cell.below and " low" not in parts:
                    line[f"{key}, below"] = cell.below
            rows.append(line)
        return pd.DataFrame(rows)


def table(
    label: str,
    rows: Iterable[Any],
    columns: str = "",
    *,
    over: Sequence[str] = (),
    key: str = "",
    **facts: Any,
) -> Table:
    """A table of results, or of rows that are ready.

    Args:
        label: what it is called.
        rows: results or dictionaries; without `columns` they are the table's rows, values by title.
        columns: `Title=path form; ...`: the path of a value in a row (`set.all`, `rate.da`), and how `shown` writes it.
            An interval is found by its name, such as `share_low`, or is given: `delta[ci_low,ci_high]`. A `*` in the
            title stands for each language in `over`, and one in the path for its code.
        over: languages.
        key: of the caption, if it is not the table's name.
        facts: what the caption has.
    """
    if not columns:
        return Table(
            label, [{title: shown(value) for title, value in row.items()} for row in rows], facts, key
        )
    parts = [part.strip().split("=", 1) for part in columns.split(";")]
    spread = {
        title.replace("*", language_name(code)): path.replace("*", code)
        for title, path in parts
        for code in (over if "*" in title else ("",))
    }
    lines = [{title: _cell(row, path) for title, path in spread.items()} for row in rows]
    # a language that no row has needs no column
    fixed = {title for title, _ in parts}
    empty = {t for t in spread if t not in fixed and all(line[t].numbers == {"": None} for line in lines)}
    return Table(
        label, [{t: cell for t, cell in line.items() if t not in empty} for line in lines], facts, key
    )


def _cell(row: Any, column: str) -> Cell:
    path, _, form = column.partition(" ")
    path, _, ends = path.partition("[")
    low, high = ends.rstrip("]").split(",") if ends else (f"{path}_low", f"{path}_high")
    return shown(_value(row, path), form, _value(row, low), _value(row, high))


def _value(row: Any, path: str) -> Any:
    for part in path.split("."):
        if isinstance(row, Mapping):
            row = row.get(part)
        elif isinstance(row, Sequence) and part.isdigit():
            row = row[int(part)]
        else:
            row = getattr(row, part, None)
    return row


@dataclass(frozen=True)
class Note:
    """A warning beside the exhibits."""

    kind: ClassVar[str] = "note"
    text: str


@dataclass(frozen=True)
class Token:
    """A token of a coloured text: `share` of the unit's highest value where it fires, else None."""

    text: str
    title: str
    share: float | None


@dataclass(frozen=True)
class Texts:
    """Sentences token by token as (language, code, tokens); the texts of one pair stand side by side."""

    kind: ClassVar[str] = "texts"
    pairs: Sequence[Sequence[tuple[str, str, Sequence[Token]]]]


@dataclass(frozen=True)
class Listing:
    """A text kept line by line, folded."""

    kind: ClassVar[str] = "listing"
    label: str
    text: str


@dataclass(frozen=True)
class Missing:
    """What was not run, and the flags that ask for it or the reason."""

    what: str
    how: str = ""
    stage: str = ""


Exhibit: TypeAlias = Figure | Table | Note | Texts | Listing | Missing
