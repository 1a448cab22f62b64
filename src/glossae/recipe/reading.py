"""Read a recipe: a shipped name or a file with its bases, then `--quick`, then flags.

Every error is one line that names the file or flag, and the key.
"""

import difflib
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from glossae.errors import GlossaeError
from glossae.files import path_named
from glossae.languages import language_code
from glossae.recipe import yaml_text
from glossae.recipe.fields import NONE_WORDS, BadSettingError, Raw, all_settings, fit, shown
from glossae.recipe.settings import CUT_ROLES, Recipe

SHIPPED = Path(__file__).parent.parent / "recipes"
QUICK = Path(__file__).parent / "quick.yaml"

# A setting removes others that an earlier layer has set.
_REPLACES = {
    "sae.expansion": ("sae.latents",),
    "sae.latents": ("sae.expansion",),
    "grid.expansion": ("grid.latents",),
    "grid.latents": ("grid.expansion",),
    "corpora.text": tuple(f"corpora.{role}" for role in CUT_ROLES),
    "corpora.train": ("corpora.text",),
    # many passes are for the little text of a recipe
    "sae.stream": ("sae.epochs", "sae.batch_sentences"),
    # a given autoencoder cannot be trained again
    "sae.from": ("baselines.trained", "baselines.frozen", "evidence.seeds"),
}
# the groups of stages that run only where they are asked for
_ASKED_FOR = ("grid", "steering", "tasks")
_EXAMPLES = {
    "model": "--model MODEL",
    "languages.target": "--target sv",
    "languages.reference": "--reference de",
    "corpora.text": '--text "sv=A.txt en=B.txt da=C.txt"',
}
_NO_SETTINGS = "expected settings, each a line 'key: value'"

_FIELDS = all_settings(Recipe)
_GROUPS = tuple(dict.fromkeys(key.partition(".")[0] for key in _FIELDS if "." in key))
PRECISIONS = tuple(key for key in _FIELDS if key.endswith(".precision"))
"""The settings that say how precisely a stage measures; `--precision` sets them all."""


class _Given(NamedTuple):
    """A value, and the beginning of an error line about it: where it was given."""

    value: Raw
    where: str


_Layer: TypeAlias = dict[str, _Given]
_NO_FLAGS: Mapping[str, str] = MappingProxyType({})


def load_recipe(
    source: str | Path, overrides: Mapping[str, str] = _NO_FLAGS, quick: bool = False, *, dashes: str = "--"
) -> Recipe:
    """Read a recipe.

    Args:
        source: a shipped name, or the path of a YAML file.
        overrides: text by dotted key, as on the command line; commas separate a list, and `none` is None.
        quick: whether `--quick` reduces the recipe. `overrides` win over it.
        dashes: what error lines put before the key of an override: nothing where it is no flag.

    Raises:
        GlossaeError: there is no such recipe, it is not YAML, or a setting is unknown, missing, of the wrong type or
            impossible.
    """
    path, merged = _merged(source, overrides, quick, dashes)
    if missing := _missing(merged):
        keys = ", ".join(f"{dashes}{key}" if path.parent == SHIPPED else key for key in missing)
        are = f"{keys}: {'is' if len(missing) == 1 else 'are'} missing"
        where = "" if path.parent == SHIPPED else f"{path}: "
        raise GlossaeError(f"{where}{are}: give {' '.join(map(_EXAMPLES.__getitem__, missing))}")
    _add_languages(merged)
    values: dict[str, Any] = {group: {} for group in _GROUPS}
    for key, given in merged.items():
        group, _, name = key.rpartition(".")
        (values[group] if group else values)[name] = given.value
    try:
        return Recipe.model_validate(values)
    except BadSettingError as error:
        where = merged[error.key].where if error.key in merged else _where(path, error.key, dashes)
        raise GlossaeError(f"{where}: {error.reason}") from error


def recipe_values(
    source: str | Path | None, overrides: Mapping[str, str] = _NO_FLAGS, quick: bool = False
) -> dict[str, Any]:
    """The value that `load_recipe` would give each setting, by dotted key, without the settings that it still needs.

    Each value is held to its own type and limits only. Without a source, these are the defaults.

    Raises:
        GlossaeError: as `load_recipe`, but not for missing settings.
    """
    merged = {} if source is None else _merged(source, overrides, quick)[1]
    missing = ["name", "model"] if source is None else _missing(merged)
    return {key: _value(key, merged) for key in _FIELDS if key not in missing}


def settings_by_key(recipe: Recipe) -> dict[str, Any]:
    """The value of each setting by its dotted key, as JSON has it."""
    values = recipe.to_dict()
    found = {}
    for key in _FIELDS:
        group, _, name = key.rpartition(".")
        found[key] = (values[group] if group else values)[name]
    return found


def quick_settings() -> dict[str, Raw]:
    """The settings of `--quick`, by dotted key."""
    return dict(_flat(QUICK, yaml_text.read(QUICK)))


def shipped_recipes() -> dict[str, str]:
    """The names of the recipes that come with glossae, each with its description."""
    return {path.stem: str(_merged(path)[1]["description"].value) for path in sorted(SHIPPED.glob("*.yaml"))}


def _merged(
    source: str | Path, overrides: Mapping[str, str] = _NO_FLAGS, quick: bool = False, dashes: str = "--"
) -> tuple[Path, _Layer]:
    """A recipe's file, and what it, its bases and the flags set."""
    try:
        path = _locate(str(source))
        layers = _layers(path, dashes)
    except (OSError, ValueError) as error:
        # no permission, a name too long, a null byte
        file, why = getattr(error, "filename", None) or source, getattr(error, "strerror", None) or error
        raise GlossaeError(f"{file}: cannot be read ({why})") from error
    merged: _Layer = {}
    for layer in layers:
        _lay(layer, merged)
    flags: _Layer = {}
    for key, text in overrides.items():
        if key not in _FIELDS:
            raise unknown_flag(f"{dashes}{key}")
        flags[key] = _Given(None if text.lower() in NONE_WORDS else text, f"{dashes}{key}")
    if quick:
        _lay(_reduced(merged, flags), merged)
    _lay(flags, merged)
    _first_is_target(merged)
    return path, merged


def _first_is_target(merged: _Layer) -> None:
    """Without a target, it is the first language that `corpora.text` names besides the reference."""
    text = merged.get("corpora.text")
    if "languages.target" in merged or text is None or not isinstance(text.value, str):
        return
    default = _Given(_FIELDS["languages.reference"].default, "")
    reference = _code(merged.get("languages.reference", default))
    for code in _named_languages(text.value)[0]:
        if code != reference:
            merged["languages.target"] = _Given(code, f"{text.where}: its first language")
            return


def _lay(layer: _Layer, merged: _Layer) -> None:
    """Set in `merged` what `layer` sets, and remove what `layer` replaces."""
    for key, given in layer.items():
        for other in _REPLACES.get(key, ()) if given.value is not None else ():
            if other not in layer:
                merged.pop(other, None)
    if "corpora.text" in layer and "languages.others" not in layer:
        # they were another text's
        merged.pop("languages.others", None)
    merged |= layer


def _reduced(merged: _Layer, flags: _Layer) -> _Layer:
    """The settings of `--quick` that are smaller than the recipe's, without those that a flag replaces."""
    replaced = {other for key in flags for other in _REPLACES.get(key, ())}
    layer = {key: _Given(value, f"--quick: {key}") for key, value in quick_settings().items()}
    for key in list(layer):
        own, small = _value(key, merged), _value(key, layer)
        number = isinstance(own, int | float) and not isinstance(own, bool)
        if key in replaced or (number and (own >= small if key in PRECISIONS else own <= small)):
            del layer[key]
    return layer


def _value(key: str, merged: _Layer) -> Any:
    """The value of a setting, as its type."""
    if key not in merged:
        return _FIELDS[key].default
    try:
        return fit(merged[key].value, _FIELDS[key].rebuild_annotation())
    except ValueError as error:
        raise GlossaeError(f"{merged[key].where}: {error}") from error


def _missing(merged: _Layer) -> list[str]:
    """The keys that a recipe still needs."""
    needed = ["model"]
    if "corpora.train" not in merged or merged["corpora.train"].value is None:
        needed += ["languages.target", "corpora.text"]
        # the reference is English by default
        if "languages.target" in merged and merged["languages.target"].value == "en":
            needed.append("languages.reference")
    return [key for key in needed if key not in merged]


def _add_languages(merged: _Layer) -> None:
    """Measure the other languages that `corpora.text` names, where `languages.others` does not say which.

    Raises:
        GlossaeError: it names neither the target nor the reference, where it names all that it has.
    """
    text = merged.get("corpora.text")
    if text is None or not isinstance(text.value, str):
        return
    named, is_all = _named_languages(text.value)
    default = _Given(_FIELDS["languages.reference"].default, "")
    pair = [_code(merged.get(f"languages.{name}", default)) for name in ("target", "reference")]
    for name, code in zip(("target", "reference"), pair, strict=True):
        if is_all and code not in named:
            has = f"names no text in {shown(code)}, the {name}; it has {', '.join(named)}"
            raise GlossaeError(f"{text.where}: {has}: add a source, or give --{name} another")
    others = [code for code in named if code not in pair]
    merged.setdefault("languages.others", _Given(others, text.where))


def _code(given: _Given) -> Any:
    """A setting's value as a language code; what is no code is refused with the other settings."""
    return (language_code(given.value) if isinstance(given.value, str) else None) or given.value


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
        # whoever reads the text refuses what is no code
        found |= dict.fromkeys(language_code(code) or code for code in codes)
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


def unknown_flag(flag: str, known: Iterable[str] = _FIELDS) -> GlossaeError:
    """The error for `flag`, which is none of `known`; without dashes it is a setting, as Python names it."""
    key, known = flag.lstrip("-"), list(known)
    prefix, kind = ("--", "flag") if flag.startswith("-") else ("", "setting")
    within = [name for name in known if name.startswith(f"{key}.")]
    if within:
        return GlossaeError(f"{flag}: is a group of settings; set one of them, such as {prefix}{within[0]}")
    return GlossaeError(f"unknown {kind} '{flag}'{nearest(key, known, prefix)}")


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


def _layers(path: Path, dashes: str, trail: tuple[Path, ...] = ()) -> list[_Layer]:
    """The settings of a file, and before them those of its bases. `trail` has the files that it is a base of."""
    trail = (*trail, path.resolve())
    content = yaml_text.read(path)
    base = content.pop("base", None) if isinstance(content, dict) else None
    if not isinstance(base, str | None):
        raise GlossaeError(f"{path}: base: expected the name or path of a recipe, got {shown(base)}")
    # a recipe does not inherit its name
    own: _Layer = {
        "name": _Given(path.stem, _where(path, "name", dashes)),
        "description": _Given("", _where(path, "description", dashes)),
    }
    layer: _Layer = {}
    for key, value in _flat(path, content):
        if key in layer:
            raise GlossaeError(f"{path}: {key}: is given twice")
        layer[key] = _Given(value, _where(path, key, dashes))
    if base is None:
        return [own | layer]
    parent = _base(base, path)
    if parent.resolve() in trail:
        circle = " -> ".join(step.name for step in (*trail, parent))
        raise GlossaeError(f"{path}: base: goes round in a circle: {circle}")
    return [*_layers(parent, dashes, trail), own | layer]


def _base(base: str, child: Path) -> Path:
    if (child.parent / base).is_file():
        return child.parent / base
    try:
        path = _locate(base)
    except GlossaeError as error:
        raise GlossaeError(f"{child}: base: {error}") from error
    if path.parent != SHIPPED:
        raise GlossaeError(f"{child}: base: no file '{child.parent / base}'")
    return path


def _where(path: Path, key: str, dashes: str) -> str:
    """The beginning of an error line about a setting of a file; of one that nobody here wrote, its flag alone."""
    return f"{dashes}{key}" if path.parent == SHIPPED else f"{path}: {key}"


def _flat(path: Path, content: Raw, group: str = "") -> Iterator[tuple[str, Raw]]:
    """The settings of a file, or of a group in it, with their dotted keys."""
    if content is None:
        return
    if not isinstance(content, dict):
        raise GlossaeError(f"{path}: {f'{group}: ' if group else ''}{_NO_SETTINGS}, got {shown(content)}")
    for name, value in content.items():
        key = f"{group}.{name}" if group else name
        if key in _GROUPS:
            yield from _flat(path, value, key)
        elif key in _FIELDS:
            yield key, value
        else:
            raise GlossaeError(f"{path}: unknown key '{key}'{nearest(key, (*_FIELDS, *_GROUPS, 'base'))}")
