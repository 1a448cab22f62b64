"""From a name or a file, and flags, to a recipe; or to one line that says what is wrong and where."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias, TypeVar

from sprog.errors import SprogError
from sprog.recipe.fitting import NONE_WORDS, Raw, UnfitError, fit, shown
from sprog.recipe.group import BadSettingError, Settings, all_settings, is_group
from sprog.recipe.settings import Recipe

SHIPPED = Path(__file__).parent.parent / "recipes"

# the one is derived from the other, so whoever sets one means the other no longer
_SIZES = (("sae.expansion", "sae.latents"), ("grid.expansion", "grid.latents"))
_ALTERNATIVES = dict([*_SIZES, *((second, first) for first, second in _SIZES)])
# what a recipe says about itself does not hold for those made from it
_OWN = ("name", "description")

_KEYS = tuple(setting.key for setting in all_settings(Recipe))
# the groups of stages that run only where they are asked for
_ASKED_FOR = ("grid", "steering", "tasks")
_GROUPS = tuple(dict.fromkeys(key.partition(".")[0] for key in _KEYS if "." in key))


class _Given(NamedTuple):
    """A value with where it was given, as an error line begins."""

    value: Raw
    where: str


_Layer: TypeAlias = dict[str, _Given]
_Group = TypeVar("_Group", bound=Settings)


def load_recipe(source: str | Path, overrides: Mapping[str, str] = MappingProxyType({})) -> Recipe:
    """Read a recipe.

    Args:
        source: a shipped name, or the path of a YAML file.
        overrides: text by dotted key, as on the command line; lists are separated by commas, and `none` is
            None.

    Raises:
        SprogError: there is no such recipe, it is not YAML, or a setting is unknown, missing, of the wrong
            type or impossible. The line names the file or flag and the key.
    """
    try:
        path = _locate(str(source))
        layers = _with_bases(path)
    except (OSError, ValueError) as error:
        # what asking about a path can raise, and reading it: no permission, a name too long, a null byte
        file, why = getattr(error, "filename", None) or source, getattr(error, "strerror", None) or error
        raise SprogError(f"{file}: cannot be read ({why})") from error
    merged: _Layer = {}
    for layer in (*layers, _from_flags(overrides)):
        for key, given in layer.items():
            if key in _ALTERNATIVES and given.value is not None and _ALTERNATIVES[key] not in layer:
                merged.pop(_ALTERNATIVES[key], None)
        merged |= layer
    for setting in all_settings(Recipe):
        if setting.default is MISSING and setting.key not in merged:
            raise SprogError(f"{_label(path)}: {setting.key}: is missing, and every recipe needs it")
    try:
        return _build(Recipe, merged)
    except BadSettingError as error:
        where = merged[error.key].where if error.key in merged else f"{_label(path)}: {error.key}"
        raise SprogError(f"{where}: {error.reason}") from error


def shipped_recipes() -> dict[str, str]:
    """The names of the recipes that come with sprog, each with one line about it."""
    return {path.stem: load_recipe(path).description for path in sorted(SHIPPED.glob("*.yaml"))}


def nearest(word: str, known: Iterable[str], prefix: str = "") -> str:
    """`; did you mean 'X'?` for the word that was probably meant, or nothing.

    A dotted key is also found by its last part. If several keys end in it, the one closest to a dotted `word` is
    meant, else one of a stage that every run has.
    """
    by_end: dict[str, list[str]] = {}
    for key in sorted(known, key=lambda key: key.partition(".")[0] in _ASKED_FOR):
        by_end.setdefault(_end(key), []).append(key)
    same_end = by_end.get(_end(word), [])
    of_these = same_end or [key for keys in by_end.values() for key in keys]
    close = difflib.get_close_matches(word, of_these, n=1)
    close_ends = difflib.get_close_matches(_end(word), by_end, n=1)
    candidates = (close if "." in word else []) + same_end + close + [by_end[end][0] for end in close_ends]
    return f"; did you mean '{prefix}{candidates[0]}'?" if candidates else ""


def _end(key: str) -> str:
    return key.rpartition(".")[2]


def unknown_flag(flag: str, others: Iterable[str] = ()) -> SprogError:
    """The error for `flag`, which is neither a setting nor one of `others`."""
    key = flag.lstrip("-")
    if key in _GROUPS:
        example = next(known for known in _KEYS if known.startswith(f"{key}."))
        return SprogError(f"{flag}: is a group of settings; set one of them, such as --{example}")
    return SprogError(f"unknown flag '{flag}'{nearest(key, (*_KEYS, *others), prefix='--')}")


def _locate(source: str) -> Path:
    shipped = {path.stem: path for path in SHIPPED.glob("*.yaml")}
    if source in shipped:
        return shipped[source]
    path = Path(source)
    if path.is_dir():
        inside = path / "recipe.yaml"
        meant = f"; did you mean '{inside}'?" if inside.is_file() else ""
        raise SprogError(f"'{source}' is a folder, not a recipe{meant}")
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return path
    raise SprogError(
        f"unknown recipe '{source}'{nearest(source, shipped)} "
        f"(there are {', '.join(sorted(shipped))}; your own is the path of a YAML file)"
    )


def _with_bases(path: Path) -> list[_Layer]:
    """The layers of a recipe's file, the bases' before its own."""
    layers: list[_Layer] = []
    trail: list[Path] = []
    while True:
        base, layer = _from_file(path)
        layers.insert(0, layer)
        trail.append(path.resolve())
        if base is None:
            return layers
        beside = path.parent / base
        child, path = path, beside if beside.is_file() else _locate_base(base, path)
        if path.resolve() in trail:
            circle = " -> ".join(step.name for step in (*trail, path))
            raise SprogError(f"{child}: base: goes round in a circle: {circle}")


def _locate_base(base: str, child: Path) -> Path:
    try:
        path = _locate(base)
    except SprogError as error:
        raise SprogError(f"{child}: base: {error}") from error
    if path.parent != SHIPPED:
        raise SprogError(f"{child}: base: no file '{child.parent / base}'")
    return path


def _from_file(path: Path) -> tuple[str | None, _Layer]:
    """The base a file names, and what the file sets itself."""
    content = _yaml(path)
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise SprogError(f"{path}: expected settings, each a line 'key: value', got {shown(content)}")
    base = content.pop("base", None)
    if not isinstance(base, str | None):
        raise SprogError(f"{path}: base: expected the name or path of a recipe, got {shown(base)}")
    layer: _Layer = {
        "name": _Given(path.stem, f"{path}: name"),
        "description": _Given("", f"{path}: description"),
    }
    for key, value in _flat(path, content):
        where = f"{_label(path)}: {key}"
        if key in layer and key not in _OWN:
            raise SprogError(f"{where}: is given twice")
        layer[key] = _Given(value, where)
    return base, layer


def _label(path: Path) -> str:
    """What error lines call a file: those that came with sprog by their name."""
    return path.name if path.parent == SHIPPED else str(path)


def _yaml(path: Path) -> Raw:
    from sprog.recipe import yaml_text

    try:
        return yaml_text.read(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError as error:
        raise SprogError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise SprogError(f"{path}: line {line}: is not UTF-8 text") from error
    except yaml_text.BrokenYamlError as error:
        raise SprogError(f"{path}: {error}") from error


def _flat(path: Path, content: Mapping[str, Raw]) -> Iterator[tuple[str, Raw]]:
    """The settings of a file with their dotted keys."""
    for name, value in content.items():
        if name in _GROUPS and isinstance(value, dict):
            within: Iterable[tuple[str, Raw]] = ((f"{name}.{key}", inner) for key, inner in value.items())
        elif name in _GROUPS and value is None:
            within = ()
        elif name in _GROUPS:
            raise SprogError(
                f"{path}: {name}: expected settings, each a line 'key: value', got {shown(value)}"
            )
        else:
            within = ((name, value),)
        for key, inner in within:
            if key not in _KEYS:
                raise SprogError(f"{path}: unknown key '{key}'{nearest(key, (*_KEYS, *_GROUPS, 'base'))}")
            yield key, inner


def _from_flags(overrides: Mapping[str, str]) -> _Layer:
    for key in overrides:
        if key not in _KEYS:
            raise unknown_flag(f"--{key}")
    return {
        key: _Given(None if text.lower() in NONE_WORDS else text, f"--{key}")
        for key, text in overrides.items()
    }


def _build(group: type[_Group], merged: _Layer) -> _Group:
    arguments: dict[str, Any] = {}
    for name, hint in group.hints().items():
        if is_group(hint):
            arguments[name] = _build(hint, merged)
        elif (key := group.key(name)) in merged:
            value, where = merged[key]
            try:
                arguments[name] = fit(value, hint)
            except UnfitError as error:
                raise SprogError(f"{where}: {error}") from error
    return group(**arguments)
