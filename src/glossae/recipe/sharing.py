"""What others may read of a run: its recipe and results without paths of this machine."""

import json
import re
import shlex
from pathlib import PurePath
from typing import Any, TypeVar

from glossae.files import path_named, shared_name
from glossae.recipe.settings import Recipe
from glossae.results import StageResults

# a source's files: `da=PATH,en=PATH`, `cols:en,da:PATH`, or of a task `NAME:LANGUAGE=PATH`
_FILES = re.compile(r",(?=[\w-]+=)")
_PREFIX = re.compile(r"(cols:[^:]*:|[\w.-]+(?::[\w-]+)?=)?(.*)", re.DOTALL)
_FETCHED = ("hub:", "opus:")

AResult = TypeVar("AResult", bound=StageResults)


def shared_recipe(recipe: Recipe) -> Recipe:
    """The recipe with base names in place of paths."""
    corpora = {role: _without_folders(text) for role, text in recipe.corpora.sources.items()}
    models = _models(recipe)
    changes: dict[str, Any] = {
        "model": models[recipe.model],
        "corpora": recipe.corpora.model_copy(update=corpora),
        "probe": recipe.probe.model_copy(
            update={"models": tuple(map(models.__getitem__, recipe.probe.models))}
        ),
        "tasks": recipe.tasks.model_copy(update={"names": _without_folders(recipe.tasks.names)}),
    }
    if recipe.grid.model is not None:
        changes["grid"] = recipe.grid.model_copy(update={"model": models[recipe.grid.model]})
    given = recipe.sae.from_ and models[recipe.sae.from_]
    kept = recipe.sae.activations and PurePath(recipe.sae.activations).name
    own = {"from_": given, "stream": _without_folders(recipe.sae.stream), "activations": kept}
    changes["sae"] = recipe.sae.model_copy(update=own)
    return recipe.model_copy(update=changes)


def shared_results(results: AResult, recipe: Recipe) -> AResult:
    """The results with base names in place of the paths that their recipe names."""
    return type(results).model_validate(shared_json(results.to_json(), recipe))


def shared_json(value: Any, recipe: Recipe) -> Any:
    """A JSON value with base names in place of the paths that a recipe names, in its keys too."""
    paths, text = _paths(recipe), json.dumps(value, ensure_ascii=False)
    for path in sorted(paths, key=len, reverse=True):
        # as JSON has it, without the quotation marks
        old, new = (json.dumps(name, ensure_ascii=False)[1:-1] for name in (path, paths[path]))
        text = text.replace(old, new)
    return json.loads(text)


def _paths(recipe: Recipe) -> dict[str, str]:
    """The paths that a recipe names, as they are written and as absolute ones, with what others may read instead."""
    found: dict[str, str] = {}
    for name, shared in _models(recipe).items():
        if shared != name:
            found |= dict.fromkeys((name, *_absolute(name)), shared)
    texts = (*recipe.corpora.sources.values(), recipe.sae.stream, recipe.tasks.names)
    for text in filter(None, texts):
        for word in shlex.split(text):
            for part in [] if _fetched(word) else _FILES.split(word):
                path = _prefix_and_path(part)[1]
                found |= dict.fromkeys((path, *_absolute(path)), PurePath(path).name)
    return {path: name for path, name in found.items() if "/" in path}


def _models(recipe: Recipe) -> dict[str, str]:
    """What others may read instead of the names of models and the autoencoder: two folders have two names."""
    found: dict[str, str] = {}
    for name in filter(None, (recipe.model, *recipe.probe.models, recipe.grid.model, recipe.sae.from_)):
        shared = numbered = shared_name(name)
        number = 1
        while name not in found and numbered in found.values():
            number += 1
            numbered = f"{shared}-{number}"
        found.setdefault(name, numbered)
    return found


def _absolute(path: str) -> tuple[str, str]:
    place = path_named(path)
    return str(place.absolute()), str(place.resolve())


def _fetched(word: str) -> bool:
    return _prefix_and_path(word)[1].startswith(_FETCHED) or word.startswith(_FETCHED)


def _prefix_and_path(part: str) -> tuple[str, str]:
    match = _PREFIX.fullmatch(part)
    assert match is not None
    return match[1] or "", match[2]


def _without_folders(text: str | None) -> str | None:
    """Sources of text, or tasks, with base names in place of paths."""
    if text is None:
        return None
    words = []
    for word in shlex.split(text):
        if not _fetched(word):
            parts = [_prefix_and_path(part) for part in _FILES.split(word)]
            word = ",".join(prefix + (PurePath(path).name or path) for prefix, path in parts)
        words.append(shlex.quote(word) if re.search(r"\s|['\"]", word) else word)
    return " ".join(words)
