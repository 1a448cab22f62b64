"""Which packages are here, against what glossae's own metadata asks for."""

import re
from importlib import metadata
from typing import NamedTuple

# the extras that are a person's, with what each is for; `dev` is for work on glossae itself
FEATURES = {
    "hub": "text from the Hugging Face Hub (hub:OWNER/NAME)",
    "multi": "models shared out among several GPUs (device: split)",
    "tasks": "downstream tasks with adapters",
    "gguf": "models in GGUF files (--model PATH.gguf)",
    "lid": "a second identifier of what a steered model writes (lingua)",
    "app": "the interactive app",
    "track": "logging to a tracker",
}
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_LEAST = re.compile(r">=\s*([0-9][0-9.]*)")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")


class Package(NamedTuple):
    """A package that something needs.

    Attributes:
        name: as it is installed.
        least: the oldest version that will do; empty if any.
        found: the version that is here; None if none is.
    """

    name: str
    least: str
    found: str | None

    @property
    def good(self) -> bool:
        """Whether it is here and new enough."""
        return self.found is not None and _numbers(self.found) >= _numbers(self.least)


def needed() -> dict[str, list[Package]]:
    """The packages that glossae needs, under the empty name, and those of each of its extras but `dev`.

    Empty where glossae's metadata is not to be had: it runs from a checkout that was never installed.
    """
    groups: dict[str, list[Package]] = {}
    try:
        requirements = metadata.requires("glossae") or []
    except metadata.PackageNotFoundError:
        requirements = []
    for requirement in requirements:
        name, least, extra = (pattern.search(requirement) for pattern in (_NAME, _LEAST, _EXTRA))
        group = extra[1] if extra else ""
        if name and group != "dev":
            groups.setdefault(group, []).append(package(name[0], least[1] if least else ""))
    return groups


def package(name: str, least: str = "") -> Package:
    """What is here of a package."""
    try:
        return Package(name, least, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Package(name, least, None)


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, without zeros at the end: 2.9.0+cpu is (2, 9)."""
    numbers = [int(part) for part in re.match(r"[0-9.]*", version)[0].split(".") if part]  # type: ignore[index]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
