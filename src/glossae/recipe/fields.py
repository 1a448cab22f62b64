"""What a setting is: a value made to fit its type and limits, in a frozen group of settings.

YAML and the command line both give text, Python gives values; all of them come through `fit`, so that the
same mistake gets the same answer whichever way it came in.
"""

import dataclasses
import keyword
import math
import re
import types
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    NoReturn,
    TypeAlias,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from glossae.errors import GlossaeError

Raw: TypeAlias = str | list[Any] | dict[str, Any] | None
"""What YAML and the command line give, before anyone has asked what it means."""

NONE_WORDS = ("none", "null", "~")
_WHOLE = re.compile(r"[+-]?\d+(_\d+)*", re.ASCII)


class UnfitError(ValueError):
    """Why a value cannot be a setting's. Whoever knows the key puts it in front."""


@dataclass(frozen=True)
class Limit:
    """What a value of the right type must hold to besides; stands in an `Annotated`.

    Attributes:
        holds: whether a value does.
        words: what it must be, in words.
    """

    holds: Callable[[Any], bool]
    words: str


def at_least(least: int) -> Limit:
    """At least `least`."""
    return Limit(lambda value: value >= least, f"at least {least}")


def above(bound: int) -> Limit:
    """More than `bound`."""
    return Limit(lambda value: value > bound, f"more than {bound}")


def between(low: float, high: float) -> Limit:
    """From `low` to `high`, both allowed."""
    return Limit(lambda value: low <= value <= high, f"from {low} to {high}")


def matches(pattern: str, form: str) -> Limit:
    """Text of a form: the whole of it matches `pattern`, which `form` puts into words."""
    return Limit(lambda value: re.fullmatch(pattern, value) is not None, form)


NOT_EMPTY = Limit(lambda value: bool(value.strip() if isinstance(value, str) else value), "non-empty")
"""Text with something in it, or a list with an element."""
DISTINCT = Limit(lambda value: len(set(value)) == len(value), "a list in which nothing comes twice")
"""A list in which nothing comes twice."""


class _WrongTypeError(Exception):
    def __init__(self, value: object) -> None:
        self.value = value


def fit(value: object, hint: Any) -> Any:
    """`value` as the type `hint`: itself if it is one, otherwise read from text or a list.

    Args:
        value: a Python value, or what YAML and the command line give: text, None, a list of these.
        hint: int, float, bool, str, None, a `Literal` of words, a tuple of one type, a dataclass, a union of
            these, or any of them `Annotated` with limits.

    Raises:
        UnfitError: it is not one, or is outside the limits.
    """
    try:
        return _fit(value, hint)
    except _WrongTypeError as wrong:
        raise UnfitError(f"expected {phrase(hint)}, got {shown(wrong.value)}") from wrong


def _fit(value: object, hint: Any) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _within_limits(value, args[0], args[1:])
    if origin in (Union, types.UnionType):
        return _one_of(value, args)
    if origin is tuple:
        return tuple(_fit(element, args[0]) for element in _elements(value))
    if origin is Literal:
        fits = isinstance(value, str) and value in args
    elif hint not in _SCALARS:
        fits = isinstance(value, hint)
    else:
        return _SCALARS[hint](value)
    if not fits:
        raise _WrongTypeError(value)
    return value


def _within_limits(value: object, hint: Any, limits: tuple[Limit, ...]) -> Any:
    fitting = _fit(value, hint)
    for limit in limits:
        if not limit.holds(fitting):
            raise UnfitError(f"must be {limit.words}, got {shown(value)}")
    return fitting


def _one_of(value: object, hints: tuple[Any, ...]) -> Any:
    for hint in hints:
        try:
            return _fit(value, hint)
        except _WrongTypeError:
            continue
    raise _WrongTypeError(value)


def _elements(value: object) -> list[Any]:
    if value is None or value == "":
        return []
    if isinstance(value, str):
        return [element.strip() for element in value.split(",")]
    if isinstance(value, list | tuple):
        return list(value)
    raise _WrongTypeError(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _WrongTypeError(value)
    # surrogates are what Python makes of bytes on the command line that are no text: nothing could write them
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
        raise UnfitError(f"must be text without control characters, got {shown(value)}")
    return str(value)


def _truth(value: object) -> bool:
    word = value.lower() if isinstance(value, str) else value
    if word is True or word == "true":
        return True
    if word is False or word == "false":
        return False
    raise _WrongTypeError(value)


def _whole(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and len(value) < 100 and _WHOLE.fullmatch(value.strip()):
        return int(value)
    raise _WrongTypeError(value)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _WrongTypeError(value)
    try:
        number = float(value)
    except ValueError:
        raise _WrongTypeError(value) from None
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise UnfitError(f"must be a finite number, got {shown(value)}")
    return number


_SCALARS: dict[Any, Callable[[object], Any]] = {str: _text, bool: _truth, int: _whole, float: _number}


def phrase(hint: Any) -> str:
    """What `hint` asks for, in words: `a whole number or none`."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return phrase(args[0])
    if origin is Literal:
        return " or ".join(filter(None, (", ".join(args[:-1]), args[-1])))
    if origin in (Union, types.UnionType):
        return " or ".join(phrase(arm) for arm in args)
    if origin is tuple:
        return f"a list, each {phrase(args[0])}"
    words = {
        str: "text",
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        types.NoneType: "none",
    }
    return words.get(hint) or f"a {hint.__name__}"


def shown(value: object) -> str:
    """`value` as an error line quotes it: on one line, and not too long."""
    if value is None:
        return "none"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        # never repr: the aliases of a hostile YAML make a few lines into lists of millions
        flat = all(isinstance(element, str | int | float) for element in value)
        text = f"[{', '.join(map(str, value))}]" if flat else "a list"
    else:
        text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]} ..."


class BadSettingError(GlossaeError):
    """A setting that cannot be: `key` is its dotted key, `reason` what is wrong with it."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A group of settings, held to their types and limits when it is made.

    What is given as an equal value of another type is made into the setting's own (`lr=1` into 1.0), so that
    equal recipes are written alike.

    Raises:
        BadSettingError: a value is of another type, or impossible.
    """

    group: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for name, hint in self.hints().items():
            try:
                object.__setattr__(self, name, fit(getattr(self, name), hint))
            except UnfitError as error:
                self.refuse(name, str(error))
        self.check()

    def check(self) -> None:
        """Refuse values that are possible alone but not together."""

    def refuse(self, name: str, reason: str) -> NoReturn:
        """Raise the error that says why the setting `name` cannot be."""
        raise BadSettingError(self.key(name), reason)

    @classmethod
    def hints(cls) -> dict[str, Any]:
        """The types and limits of the settings, in order."""
        hints = get_type_hints(cls, include_extras=True)
        return {field.name: hints[field.name] for field in dataclasses.fields(cls)}

    @classmethod
    def key(cls, name: str) -> str:
        """The dotted key of the setting `name`; one that is a word of Python's own has a `_` behind it there."""
        written = name.removesuffix("_")
        return f"{cls.group}.{written}" if cls.group else written


class Setting(NamedTuple):
    """One setting of a recipe, seen from outside.

    Attributes:
        group: the class it belongs to.
        key: its dotted key, as in YAML and on the command line.
        hint: its type, with limits.
        default: its value if nothing is said; `dataclasses.MISSING` if something must be.
    """

    group: type[Settings]
    key: str
    hint: Any
    default: Any

    @property
    def name(self) -> str:
        """The attribute: the last part of the key."""
        last = self.key.rpartition(".")[2]
        return f"{last}_" if keyword.iskeyword(last) else last


def all_settings(group: type[Settings]) -> Iterator[Setting]:
    """Every setting of `group` and of the groups within it, in order."""
    hints = group.hints()
    for field in dataclasses.fields(group):
        hint = hints[field.name]
        if is_group(hint):
            yield from all_settings(hint)
        else:
            yield Setting(group, group.key(field.name), hint, field.default)


def is_group(hint: Any) -> bool:
    """Whether a setting's type is a group of settings."""
    return isinstance(hint, type) and issubclass(hint, Settings)
