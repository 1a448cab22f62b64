"""A configuration file whose every key is accounted for: asked for, known to be harmless, or refused by name."""

import json
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

from glossae.errors import GlossaeError

# of a value in an error message
SHOWN = 60


class Keys:
    """The keys of a JSON object.

    A reader asks for those that change what the autoencoder is; `done` then refuses whatever is neither asked
    for nor known not to matter. A key that is null counts as not there.
    """

    def __init__(self, values: dict[str, Any], path: Path, within: str = "") -> None:
        self.values, self.path, self.within = values, path, within
        self.asked: set[str] = set()

    @classmethod
    def read(cls, path: Path) -> "Keys":
        """Read a file.

        Raises:
            GlossaeError: it cannot be read, or is no JSON object.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise GlossaeError(f"{path}: cannot be read as JSON ({error})") from error
        if not isinstance(values, dict):
            raise GlossaeError(f"{path}: should hold a JSON object")
        return cls(values, path)

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def value(self, key: str) -> Any:
        """What a key says, as it is; None if it is not there."""
        self.asked.add(key)
        return self.values.get(key)

    def refused(self, key: str, why: str) -> GlossaeError:
        """The error that names a key, what it says, and why that cannot be."""
        shown = json.dumps(self.values.get(key), ensure_ascii=False)
        shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}..."
        return GlossaeError(f"{self.path}: {self.within}{key} is {shown}; {why}")

    def missing(self, key: str) -> GlossaeError:
        """The error that names a key that has to be there."""
        return GlossaeError(f"{self.path}: the key '{self.within}{key}' is missing")

    def only(self, key: str, *allowed: Any, why: str) -> Any:
        """What a key says, where anything but `allowed` (and its absence) is refused."""
        value = self.value(key)
        if value is not None and value not in allowed:
            raise self.refused(key, why)
        return value

    def whole(self, key: str, least: int = 1) -> int:
        """A whole number that has to be there."""
        value = self.maybe_whole(key, least)
        if value is None:
            raise self.missing(key)
        return value

    def maybe_whole(self, key: str, least: int = 1) -> int | None:
        """A whole number (32.0 is one), or None."""
        number = self.number(key)
        if number is None:
            return None
        if number != int(number) or number < least:
            raise self.refused(key, f"it should be a whole number of at least {least}")
        return int(number)

    def number(self, key: str) -> float | None:
        """A finite number, or None."""
        value = self.value(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 2**62:
            raise self.refused(key, "it should be a number")
        if not math.isfinite(value):
            raise self.refused(key, "it should be a finite number")
        return value

    def needed(self, key: str) -> float:
        """A finite number that has to be there."""
        number = self.number(key)
        if number is None:
            raise self.missing(key)
        return number

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.value(key)
        if value is not None and not isinstance(value, bool):
            raise self.refused(key, "it should be true or false")
        return default if value is None else value

    def text(self, key: str) -> str:
        """A text; empty if it is not there."""
        value = self.value(key)
        if value is not None and not isinstance(value, str):
            raise self.refused(key, "it should be a text")
        return value or ""

    def wholes(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers; empty if it is not there."""
        value = self.value(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(type(item) is int and 0 < item < 2**62 for item in value):
            raise self.refused(key, "it should be a list of whole numbers")
        return tuple(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; empty if it is not there."""
        value = self.value(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.refused(key, "it should be a list of texts")
        return tuple(value)

    def group(self, key: str) -> "Keys":
        """The keys of an object inside; none if it is not there."""
        value = self.value(key)
        if value is not None and not isinstance(value, dict):
            raise self.refused(key, "it should be an object")
        return Keys(value or {}, self.path, f"{self.within}{key}.")

    def done(self, harmless: Collection[str] = ()) -> None:
        """Account for what was not asked for.

        Raises:
            GlossaeError: a key is not known to be harmless.
        """
        for key in sorted(self.values):
            if key in self and key not in self.asked and key not in harmless:
                raise GlossaeError(
                    f"{self.path}: the key '{self.within}{key}' is not known, so what it changes is not either"
                )
