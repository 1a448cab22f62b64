"""From a name or a file, and flags, to a recipe; or to one line that says what is wrong and where."""

import difflib
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from glossae.errors import GlossaeError
from glossae.files import path_named
from glossae.recipe import yaml_text
from glossae.recipe.fields import NONE_WORDS, BadSettingError, Raw, all_settings, fit, shown
from glossae.recipe.settings import CUT_ROLES, Recipe

SHIPPED = Path(__file__).parent.parent / "recipes"

# Keys of which one takes the place of others: whoever sets it in a later layer means the earlier ones no longer.
_REPLACES = {
    "sae.expansion": ("sae.latents",),
    "sae.latents": ("sae.expansion",),
    "grid.expansion": ("grid.latents",),
    "grid.latents": ("grid.expansion",),
    "corpora.text": tuple(f"corpora.{role}" for role in CUT_ROLES),
    "corpora.train": ("corpora.text",),
    # what is given cannot be trained again
    "sae.from": ("baselines.trained", "baselines.frozen", "evidence.seeds"),
}
# what a recipe says about itself does not hold for those made from it
_OWN = ("name", "description")

_SETTINGS = {setting.key: setting.field for setting in all_settings(Recipe)}
_KEYS = tuple(_SETTINGS)
# the groups of stages that run only where they are asked for
_ASKED_FOR = ("grid", "steering", "tasks")
_NO_SETTINGS = "expected settings, each a line 'key: value'"
_GROUPS = tuple(dict.fromkeys(key.partition(".")[0] for key in _KEYS if "." in key))

SHORT = {"target": "languages.target", "reference": "languages.reference", "text": "corpora.text"}
"""Short names of settings on the command line."""

PRECISIONS = tuple(key for key in _KEYS if key.rpartition(".")[2] == "precision")
"""The settings that say how precisely a stage measures; `--precision` sets them all."""

QUICK: dict[str, Any] = {
    "max_tokens": 32,
    "corpora.limit": 150,
    "corpora.panel_limit": 120,
    "corpora.test_limit": 20,
    "probe.models": (),
    "probe.seeds": 1,
    "probe.tokens": 4000,
    "grid.k": (),
    "grid.l1": (),
    "sae.latents": 1024,
    "sae.k": 32,
    "sae.matryoshka": (),
    "sae.batch_tokens": 128,
    "evidence.permutations": 0,
    "evidence.scores": False,
    "evidence.seeds": 0,
    "evidence.identify": False,
    "baselines.untrained": 1,
    "baselines.trained": 0,
    "baselines.frozen": 0,
    "baselines.sizes": (1, 4),
    "baselines.damage": (),
    "baselines.lape": False,
    "effects.bootstrap": 200,
    "effects.families": ("direction",),
    "effects.sentences": 20,
    "effects.tune": False,
    "effects.controls": 0,
    "effects.prompts": False,
    "steering.prompts": 0,
    "tasks.names": None,
    "report.texts": 2,
}
"""What `--quick` sets; of a number that the recipe has smaller already, the recipe's stays."""
QUICK_PRECISION = 0.05
"""What `--quick` sets every precision to that the recipe has finer."""


class _Given(NamedTuple):
    """A value with where it was given, as an error line begins."""

    value: Raw
    where: str


_Layer: TypeAlias = dict[str, _Given]


def load_recipe(
    source: str | Path, overrides: Mapping[str, str] = MappingProxyType({}), quick: bool = False
) -> Recipe:
    """Read a recipe.

    Args:
        source: a shipped name, or the path of a YAML file.
        overrides: text by dotted key, as on the command line; lists are separated by commas, and `none` is
            None.
        quick: whether the settings of `QUICK` replace the recipe's. `overrides` win over them.

    Raises:
        GlossaeError: there is no such recipe, it is not YAML, or a setting is unknown, missing, of the wrong
            type or impossible. The line names the file or flag and the key.
    """
    path, merged = _merged(source, overrides, quick)
    _require(path, merged)
    _languages_of_text(path, merged)
    values: dict[str, Any] = {group: {} for group in _GROUPS}
    for key, given in merged.items():
        group, _, name = key.rpartition(".")
        (values[group] if group else values)[name] = given.value
    try:
        return Recipe.model_validate(values)
    except BadSettingError as error:
        where = merged[error.key].where if error.key in merged else f"{_label(path)}: {error.key}"
        raise GlossaeError(f"{where}: {error.reason}") from error


def recipe_values(
    source: str | Path | None, overrides: Mapping[str, str] = MappingProxyType({}), quick: bool = False
) -> dict[str, Any]:
    """The value that `load_recipe` would give each setting, by dotted key, without the settings that it still needs.

    Each value is held to its own type and limits, and not against the others. Without a source, these are the defaults.

    Raises:
        GlossaeError: as `load_recipe`, but not for what is missing.
    """
    merged = {} if source is None else _merged(source, overrides, quick)[1]
    missing = [] if source is None else _missing(merged)
    return {
        key: _value(key, merged)
        for key, field in _SETTINGS.items()
        if key in merged or not (field.is_required() or key in missing)
    }


def shipped_recipes() -> dict[str, str]:
    """The names of the recipes that come with glossae, each with one line about it."""
    return {path.stem: str(_merged(path)[1]["description"].value) for path in sorted(SHIPPED.glob("*.yaml"))}


def _merged(
    source: str | Path, overrides: Mapping[str, str] = MappingProxyType({}), quick: bool = False
) -> tuple[Path, _Layer]:
    """A recipe's file, and what it, its bases and the flags set."""
    try:
        path = _locate(str(source))
        layers = _with_bases(path)
    except (OSError, ValueError) as error:
        # what asking about a path can raise, and reading it: no permission, a name too long, a null byte
        file, why = getattr(error, "filename", None) or source, getattr(error, "strerror", None) or error
        raise GlossaeError(f"{file}: cannot be read ({why})") from error
    merged: _Layer = {}
    for layer in layers:
        _lay(layer, merged)
    flags = _from_flags(overrides)
    if quick:
        _lay(_quick(merged, flags), merged)
    _lay(flags, merged)
    return path, merged


def _lay(layer: _Layer, merged: _Layer) -> None:
    """Set what `layer` sets in `merged`, and unset there what that takes the place of."""
    for key, given in layer.items():
        for other in _REPLACES.get(key, ()) if given.value is not None else ():
            if other not in layer:
                merged.pop(other, None)
    if "corpora.text" in layer and "languages.others" not in layer:
        # those of another text; this one says itself which languages it has
        merged.pop("languages.others", None)
    merged |= layer


def _quick(merged: _Layer, flags: _Layer) -> _Layer:
    """The layer of `--quick`: what is smaller than the recipe's own, and not replaced by a flag anyway."""
    layer: _Layer = {}
    replaced = {other for key in flags for other in _REPLACES.get(key, ())}
    for key, small in (QUICK | dict.fromkeys(PRECISIONS, QUICK_PRECISION)).items():
        own = _value(key, merged)
        number = isinstance(own, int | float) and not isinstance(own, bool)
        is_small = number and (own >= small if key in PRECISIONS else own <= small)
        if not is_small and key not in replaced:
            layer[key] = _Given(small, f"--quick: {key}")
    return layer


def _value(key: str, merged: _Layer) -> Any:
    """What is given for a setting, as its type, or else its default."""
    if key not in merged:
        return _SETTINGS[key].default
    try:
        return fit(merged[key].value, _SETTINGS[key].rebuild_annotation())
    except ValueError as error:
        raise GlossaeError(f"{merged[key].where}: {error}") from error


def _missing(merged: _Layer) -> list[str]:
    """The keys that a recipe still needs."""
    needed = [key for key, field in _SETTINGS.items() if field.is_required()]
    train = merged.get("corpora.train")
    if train is None or train.value is None:
        needed += [SHORT["target"], SHORT["text"]]
        target = merged.get(SHORT["target"])
        # what the target is told from is English by default, unless it is English
        needed += [SHORT["reference"]] if target is not None and target.value == "en" else []
    return [key for key in needed if key not in merged]


def _require(path: Path, merged: _Layer) -> None:
    """Refuse a recipe that misses settings, and name all of them."""
    missing = _missing(merged)
    if missing:
        examples = {
            "model": "--model MODEL",
            "languages.target": "--target sv",
            "languages.reference": "--reference de",
            "corpora.text": '--text "sv=A.txt en=B.txt da=C.txt"',
        }
        flags = " ".join(examples[key] for key in missing)
        are = "is" if len(missing) == 1 else "are"
        raise GlossaeError(f"{_label(path)}: {', '.join(missing)}: {are} missing: give {flags}")


def _languages_of_text(path: Path, merged: _Layer) -> None:
    """Measure the other languages that `corpora.text` names, where `languages.others` does not say which.

    Raises:
        GlossaeError: it names neither the target nor the reference, where it names all that it has.
    """
    given = merged.get("corpora.text")
    if given is None or not isinstance(given.value, str):
        return
    named, is_all = _named_languages(given.value)
    pair = {name: merged[SHORT[name]].value for name in ("target", "reference") if SHORT[name] in merged}
    pair.setdefault("reference", _SETTINGS["languages.reference"].default)
    for name, code in pair.items():
        if is_all and code not in named:
            has = f"names no text in {shown(code)}, the {name}; it has {', '.join(named)}"
            raise GlossaeError(f"{given.where}: {has}: add a source, or give --{name} another")
    others = [code for code in named if code not in pair.values()]
    merged.setdefault("languages.others", _Given(others, f"{_label(path)}: languages.others"))


def _named_languages(text: str) -> tuple[list[str], bool]:
    """The languages that source strings name, in order, and whether they name all that the sources have.

    `da=PATH`, `da=PATH,en=PATH` and `cols:en,da:PATH` name them; other sources have to be read.
    """
    found: dict[str, None] = {}
    is_all = True
    try:
        words = shlex.split(text)
    except ValueError:
        # whoever reads the text refuses a quote that is not closed
        return [], False
    for word in words:
        codes = re.findall(r"(?:^|,)([\w-]+)=", word) if re.match(r"[\w-]+=", word) else []
        if word.startswith("cols:"):
            codes = [code for code in word.split(":")[1].split(",") if code.strip() != "-"]
        found |= dict.fromkeys(re.split("[-_]", code.strip().lower())[0] for code in codes)
        is_all = is_all and bool(codes)
    return list(found), is_all


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


def unknown_flag(flag: str, known: Iterable[str] = _KEYS) -> GlossaeError:
    """The error for `flag`, which is none of `known`."""
    key, known = flag.lstrip("-"), list(known)
    within = [name for name in known if name.startswith(f"{key}.")]
    if within:
        return GlossaeError(f"{flag}: is a group of settings; set one of them, such as --{within[0]}")
    return GlossaeError(f"unknown flag '{flag}'{nearest(key, known, prefix='--')}")


def _locate(source: str) -> Path:
    shipped = {path.stem: path for path in SHIPPED.glob("*.yaml")}
    if source in shipped:
        return shipped[source]
    path = path_named(source)
    if path.is_dir():
        inside = path / "recipe.yaml"
        meant = f"; did you mean '{inside}'?" if inside.is_file() else ""
        raise GlossaeError(f"'{source}' is a folder, not a recipe{meant}")
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return path
    raise GlossaeError(
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
            raise GlossaeError(f"{child}: base: goes round in a circle: {circle}")


def _locate_base(base: str, child: Path) -> Path:
    try:
        path = _locate(base)
    except GlossaeError as error:
        raise GlossaeError(f"{child}: base: {error}") from error
    if path.parent != SHIPPED:
        raise GlossaeError(f"{child}: base: no file '{child.parent / base}'")
    return path


def _from_file(path: Path) -> tuple[str | None, _Layer]:
    """The base a file names, and what the file sets itself."""
    content = yaml_text.read(path) or {}
    if not isinstance(content, dict):
        raise GlossaeError(f"{path}: {_NO_SETTINGS}, got {shown(content)}")
    base = content.pop("base", None)
    if not isinstance(base, str | None):
        raise GlossaeError(f"{path}: base: expected the name or path of a recipe, got {shown(base)}")
    layer: _Layer = {
        "name": _Given(path.stem, f"{path}: name"),
        "description": _Given("", f"{path}: description"),
    }
    for key, value in _flat(path, content):
        where = f"{_label(path)}: {key}"
        if key in layer and key not in _OWN:
            raise GlossaeError(f"{where}: is given twice")
        layer[key] = _Given(value, where)
    return base, layer


def _label(path: Path) -> str:
    """What error lines call a file: those that came with glossae by their name."""
    return path.name if path.parent == SHIPPED else str(path)


def _flat(path: Path, content: dict[str, Raw], group: str = "") -> Iterator[tuple[str, Raw]]:
    """The settings of a file with their dotted keys."""
    for name, value in content.items():
        key = f"{group}{name}"
        if key in _GROUPS and isinstance(value, dict | None):
            yield from _flat(path, value or {}, f"{key}.")
        elif key in _GROUPS:
            raise GlossaeError(f"{path}: {key}: {_NO_SETTINGS}, got {shown(value)}")
        elif key in _KEYS:
            yield key, value
        else:
            raise GlossaeError(f"{path}: unknown key '{key}'{nearest(key, (*_KEYS, *_GROUPS, 'base'))}")


def _from_flags(overrides: Mapping[str, str]) -> _Layer:
    for key in overrides:
        if key not in _KEYS:
            raise unknown_flag(f"--{key}")
    return {
        key: _Given(None if text.lower() in NONE_WORDS else text, f"--{key}")
        for key, text in overrides.items()
    }
