"""What a run has left in its folder. A stage that was not run has left nothing, and that is no error."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from glossae.errors import GlossaeError
from glossae.recipe import Recipe, load_recipe

Row: TypeAlias = dict[str, Any]

# of results.json: another number means other keys, or other meanings
SCHEMA_VERSION = 2


@dataclass(frozen=True)
class RunFiles:
    """The files of a run, read.

    Attributes:
        recipe: the resolved recipe.
        run: what depends on the machine and the clock (`run.json`).
        results: every headline number (`results.json`).
        log: the autoencoder's training, a row per step.
        statistics: a row per unit and language.
        histograms: a row per unit, language and bin.
        texts: sentences with their tokens and what the selected units do at each.
        task_sets: by task, where its rows come from and how many there are.
    """

    recipe: Recipe
    run: Row = field(default_factory=dict)
    results: Row = field(default_factory=dict)
    log: pd.DataFrame | None = None
    statistics: pd.DataFrame | None = None
    histograms: pd.DataFrame | None = None
    texts: list[Row] = field(default_factory=list)
    task_sets: Row = field(default_factory=dict)

    @property
    def target(self) -> str:
        """The language whose units are looked for."""
        return self.recipe.languages.target

    @property
    def reference(self) -> str:
        """The language that they must leave alone."""
        return self.recipe.languages.reference

    @property
    def to_come(self) -> tuple[str, ...]:
        """The stages that the run had not come to when the page was drawn; none once it is complete."""
        return tuple(self.run.get("to_come") or ())

    @property
    def languages(self) -> tuple[str, ...]:
        """The target, the reference, then the others."""
        return (self.target, self.reference, *self.recipe.languages.others)

    def section(self, name: str) -> Row | None:
        """A part of results.json; None if it was not run."""
        value = self.results.get(name)
        return value if isinstance(value, dict) and value else None

    def rows(self, name: str, part: str | None = None) -> list[Row]:
        """The rows of a part of results.json, or of a list within it; none if it was not run."""
        value = self.results.get(name) if part is None else (self.results.get(name) or {}).get(part)
        return list(value or [])

    @cached_property
    def features(self) -> Row | None:
        """What the selection says; None if it was not run."""
        return self.section("features")

    @cached_property
    def units(self) -> list[Row]:
        """The selected units of the target language, the best first."""
        return self.rows("features", self.target)

    @cached_property
    def shown_units(self) -> list[Row]:
        """The selected units, or where there are none, those nearest to the rule."""
        return self.units or self.rows("features", "nearest")

    @property
    def is_fallback(self) -> bool:
        """Whether the units failed the rule and were taken by the fallback."""
        return bool(self.units) and (self.features or {}).get("rule") == "fallback"


def read_run(folder: Path) -> RunFiles:
    """Read what there is in a run folder.

    A stage's own files are read only if results.json has the stage: else they are of an earlier run of the folder.

    Raises:
        GlossaeError: there is no recipe, a file is damaged, or results.json has the keys of another version.
    """
    if not (folder / "recipe.yaml").is_file():
        raise GlossaeError(f"{folder}: is not a run: it has no recipe.yaml")
    results = _json(folder / "results.json", dict) or {}
    written = results.get("schema_version", SCHEMA_VERSION)
    if written != SCHEMA_VERSION:
        raise GlossaeError(
            f"{folder / 'results.json'}: schema_version {written} has other keys than the page shows, which are those "
            f"of {SCHEMA_VERSION}: run the same command again, which writes both anew"
        )
    sae, features, tasks = (
        folder / stage if results.get(stage) else None for stage in ("sae", "features", "tasks")
    )
    return RunFiles(
        recipe=load_recipe(folder / "recipe.yaml"),
        run=_json(folder / "run.json", dict) or {},
        results=results,
        log=_table(sae / "log.parquet") if sae else None,
        statistics=_table(features / "statistics.parquet") if features else None,
        histograms=_table(features / "histograms.parquet") if features else None,
        texts=(_json(features / "texts.json", list) if features else None) or [],
        task_sets=(_json(tasks / "sets.json", dict) if tasks else None) or {},
    )


def _json(path: Path, kind: type) -> Any:
    if not path.exists():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GlossaeError(f"{path}: cannot be read ({error}): run the stage that writes it again") from error
    if not isinstance(value, kind):
        raise GlossaeError(f"{path}: does not hold what it should: run the stage that writes it again")
    return value


def _table(path: Path) -> pd.DataFrame | None:
    if not path.exists():
        return None
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise GlossaeError(f"{path}: cannot be read ({error}): run the stage that writes it again") from error
    return None if table.empty else table
