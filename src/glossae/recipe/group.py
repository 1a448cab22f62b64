"""What a group of settings is: frozen, made to fit its types, and open to being listed."""

import dataclasses
import keyword
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, NoReturn, get_type_hints

from glossae.errors import GlossaeError
from glossae.recipe.fitting import UnfitError, fit


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
