"""Groups of settings: frozen pydantic models whose errors are one line that begins with the setting's dotted key.

YAML and the command line give text, Python gives values. pydantic reads both by the type of the setting, so the same
mistake has the same error line wherever it was made.
"""

import re
import reprlib
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, TypeAlias, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from glossae.errors import GlossaeError
from glossae.languages import language_code, suggested_code

Raw: TypeAlias = str | list[Any] | dict[str, Any] | None
"""A value as YAML and the command line give it."""
Problems: TypeAlias = Iterator[tuple[str, str]]
Element = TypeVar("Element")

NONE_WORDS = ("none", "null", "~")
# with few levels: the aliases of a hostile YAML make a few lines into lists of millions
_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxlist, _REPR.maxdict, _REPR.maxstring = 2, 4, 2, 60

# the forms of text, as pydantic's patterns, and what error lines call them
LINE = r"^\P{Cc}*$"
TEXT = r"^\P{Cc}*[^\s\p{Cc}]\P{Cc}*$"
NAME = r"^[^./\\\p{Cc}][^/\\\p{Cc}]*$"
DEVICE = r"^(auto|cpu|cuda(:\d{1,3})?|split)$"
_FORMS = {
    LINE: "text without control characters",
    TEXT: "non-empty text without control characters",
    NAME: "a name without slashes that starts with no dot",
    DEVICE: "auto, cpu, cuda, cuda:N or split",
}

# our sentence for each type of error that pydantic has
_SENTENCES = {
    "missing": "is missing",
    "extra_forbidden": "is no setting",
    "value_error": "{error}, got {got}",
    "greater_than": "must be more than {gt:.12g}, got {got}",
    "greater_than_equal": "must be at least {ge:.12g}, got {got}",
    "less_than_equal": "must be at most {le:.12g}, got {got}",
    "finite_number": "must be a finite number, got {got}",
    "too_short": "must be non-empty, got {got}",
    "string_unicode": "must be {form}, got {got}",
    "string_pattern_mismatch": "must be {form}, got {got}",
}
# what a setting of a type expects, by the first word of pydantic's `int_parsing`, `int_type`, and so on
_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "tuple": "a list",
    "model": "a group of settings",
}


def _elements(value: object) -> object:
    """A list from text with commas; none and empty text are the empty list."""
    if isinstance(value, str) and value:
        return [element.strip() for element in value.split(",")]
    return () if value is None or value == "" else value


def _distinct(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(value)) < len(value):
        raise ValueError("must be a list in which nothing comes twice")
    return value


def _code(value: str) -> str:
    code = language_code(value)
    if code is None:
        raise ValueError(f"must be a language code, such as {suggested_code(value)}")
    return code


Language: TypeAlias = Annotated[str, AfterValidator(_code)]
"""A language, given as a BCP 47 tag and held as the code that `language_code` makes of it."""
Values: TypeAlias = Annotated[tuple[Element, ...], BeforeValidator(_elements), AfterValidator(_distinct)]
"""A list in which nothing comes twice."""
Some: TypeAlias = Annotated[Values[Element], Field(min_length=1)]
"""A list with at least one element, in which nothing comes twice."""


class BadSettingError(GlossaeError):
    """A setting has a value that it cannot have: `key` is its dotted key, `reason` says what is wrong."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key
        self.reason = reason


class Settings(BaseModel):
    """A group of settings. Its `title` is the first part of their dotted keys.

    Raises:
        BadSettingError: a value has another type, or is impossible.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @model_validator(mode="wrap")
    @classmethod
    def _checked(cls, data: Any, handler: Any) -> Any:
        try:
            group = handler(data)
        except ValidationError as error:
            place = error.errors()[0]["loc"][:1]
            if not place:
                raise
            errors = [each for each in error.errors() if each["loc"][:1] == place]
            key = _dotted(cls, str(place[0]))
            field = all_settings(cls).get(key)
            raise BadSettingError(key, _reason(errors, field and field.annotation)) from error
        for name, reason in group.problems():
            raise BadSettingError(_dotted(cls, name), reason)
        return group

    def problems(self) -> Problems:
        """Settings whose values are possible alone but not together, each with what is wrong."""
        return iter(())


def _dotted(group: type[Settings], name: str) -> str:
    title = group.model_config.get("title")
    return f"{title}.{name}" if title else name


def all_settings(group: type[Settings]) -> dict[str, FieldInfo]:
    """Every setting of `group` and of the groups within it, by dotted key, in order."""
    found: dict[str, FieldInfo] = {}
    for name, field in group.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            found |= all_settings(field.annotation)
        else:
            found[_dotted(group, field.alias or name)] = field
    return found


def fit(value: object, hint: Any) -> Any:
    """`value` as the type `hint`, read as a setting of that type is.

    Raises:
        ValueError: it is not one, or is outside the limits. The message says which.
    """
    try:
        return TypeAdapter(hint, config=ConfigDict(allow_inf_nan=False)).validate_python(value)
    except ValidationError as error:
        raise ValueError(_reason(error.errors(), hint)) from error


def _reason(errors: Sequence[ErrorDetails], hint: Any) -> str:
    """What is wrong with one setting of type `hint`, from the errors of each type that it may have."""
    in_list = any(isinstance(part, int) for part in errors[0]["loc"])
    blank = isinstance(value := errors[0]["input"], str) and re.search(r"\S\s+\S", value)
    commas = "; commas separate the elements of a list" if in_list and blank else ""
    expected: dict[str, None] = {}
    for error in errors:
        context = error.get("ctx", {})
        if error["type"] in _SENTENCES:
            form = _FORMS[context.get("pattern", LINE)]
            return _SENTENCES[error["type"]].format(**context, form=form, got=shown(error["input"])) + commas
        kind = error["type"].partition("_")[0]
        expected[_EXPECTED.get(kind) or context.get("expected", error["msg"]).replace("'", "")] = None
    each = "a list, each " if in_list else ""
    words = [*expected, *(["none"] if type(None) in get_args(hint) else [])]
    return f"expected {each}{' or '.join(words)}, got {shown(value)}{commas}"


def shown(value: object) -> str:
    """`value` as an error line quotes it: on one line, and not too long."""
    return "none" if value is None else _REPR.repr(value)


def value_text(value: Any) -> str:
    """A value as one would write it on the command line, its numbers shortened."""
    if value is None or value in ((), []):
        return "none"
    if isinstance(value, tuple | list):
        return ",".join(map(value_text, value))
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)
