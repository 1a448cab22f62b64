"""What a run has left in its folder. A stage that was not run has left nothing, and that is no error."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from glossae.declared import check_table
from glossae.errors import GlossaeError
from glossae.files import read_json
from glossae.recipe import Recipe, load_recipe, shared_json, shared_recipe, shared_results
from glossae.reporting.exhibits import Cell
from glossae.reporting.wording import language_name
from glossae.results import (
    EvidenceResult,
    NextToken,
    Result,
    Results,
    StageResults,
    UnitRow,
    first_fault,
    read_record,
    read_results,
)

Row: TypeAlias = dict[str, Any]
_UNITS = "units"
_AGAIN = ": run the stage that writes it again"
INDEX = f"{_UNITS}/index.html"
"""The index of the units' pages, relative to a run's folder."""


def frame(rows: Iterable[Result]) -> pd.DataFrame:
    """Rows of results.json as a table."""
    return pd.DataFrame([row.to_json() for row in rows])


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
        pages: the pages of units and their index, relative to the folder.
    """

    recipe: Recipe
    run: Row = field(default_factory=dict)
    results: StageResults = field(default_factory=StageResults)
    log: pd.DataFrame | None = None
    statistics: pd.DataFrame | None = None
    histograms: pd.DataFrame | None = None
    texts: list[Row] = field(default_factory=list)
    task_sets: Row = field(default_factory=dict)
    pages: frozenset[str] = frozenset()

    @property
    def next_token(self) -> NextToken:
        """What sets of units do to the next token's loss; empty where it was not measured."""
        return self.results.next_token or NextToken()

    @property
    def target(self) -> str:
        """The language whose units are looked for."""
        return self.recipe.languages.target

    @property
    def reference(self) -> str:
        """The language that they must leave alone."""
        return self.recipe.languages.reference

    @property
    def names(self) -> tuple[str, str]:
        """The names of the target and the reference."""
        return language_name(self.target), language_name(self.reference)

    @property
    def languages(self) -> tuple[str, ...]:
        """The target, the reference, then the others."""
        return (self.target, self.reference, *self.recipe.languages.others)

    @property
    def to_come(self) -> tuple[str, ...]:
        """The stages that the run had not come to when the page was drawn; none once it is complete."""
        return tuple(self.run.get("to_come") or ())

    @property
    def tested(self) -> EvidenceResult | None:
        """The tests of units, where they were made."""
        evidence = self.results.evidence
        return evidence if isinstance(evidence, EvidenceResult) else None

    @property
    def units(self) -> list[UnitRow]:
        """The selected units, the best first."""
        return self.results.features.units if self.results.features else []

    @property
    def shown_units(self) -> list[UnitRow]:
        """The selected units, or where there are none, those nearest to the rate rule."""
        return self.units or (self.results.features.nearest if self.results.features else [])

    def unit(self, kind: str, number: int, text: str) -> Cell:
        """A unit's number, which leads to its page where it has one."""
        page = f"{_UNITS}/{kind}-{number}.html"
        return Cell(text, link=page if page in self.pages else "")


def read_run(folder: Path) -> RunFiles:
    """Read what there is in a run folder, without paths of this machine, since pages are shared.

    A stage's own files are read only if results.json has the stage: else they are of an earlier run of the folder.

    Raises:
        GlossaeError: there is no recipe, a file is damaged, or results.json has the keys of another version.
    """
    if not (folder / "recipe.yaml").is_file():
        raise GlossaeError(f"{folder}: is not a run: it has no recipe.yaml")
    recipe = load_recipe(folder / "recipe.yaml")
    written, record = folder / "results.json", folder / "run.json"
    results = read_results(Results, written) if written.exists() else StageResults()
    sae, features, tasks = (
        folder / stage if getattr(results, stage) else None for stage in ("sae", "features", "tasks")
    )
    return RunFiles(
        recipe=shared_recipe(recipe),
        run=shared_json(read_record(record) if record.exists() else {}, recipe),
        results=shared_results(results, recipe),
        log=_table(sae / "log.parquet") if sae else None,
        statistics=_table(features / "statistics.parquet") if features else None,
        histograms=_table(features / "histograms.parquet") if features else None,
        texts=_texts(features / "texts.json") if features else [],
        task_sets=shared_json(_json(tasks / "sets.json", dict[str, _TaskSet]) or {} if tasks else {}, recipe),
        pages=frozenset(f"{_UNITS}/{path.name}" for path in (folder / _UNITS).glob("*.html")),
    )


class _Part(BaseModel):
    model_config = ConfigDict(strict=True)


class _OneUnit(_Part):
    pre: list[float]
    fires: list[bool]


class _TokenText(_Part):
    """What `features/texts.json` has of a sentence."""

    pair: str
    source: str
    language: str
    tokens: list[str]
    units: dict[str, _OneUnit]


class _TaskSet(_Part):
    """What `tasks/sets.json` has of a task, as far as the page shows it."""

    language: str
    labels: list[Any]
    rows: dict[str, int]
    dropped: dict[str, dict[str, int]]


def _texts(path: Path) -> list[Row]:
    texts: list[Row] = _json(path, list[_TokenText]) or []
    for text in texts:
        if any(len(own[what]) != len(text["tokens"]) for own in text["units"].values() for what in own):
            raise GlossaeError(f"{path}: has not one value for each token{_AGAIN}")
    return texts


def _json(path: Path, kind: Any) -> Any:
    """What a JSON file holds, whose values are of a kind; None if there is no such file."""
    if not path.exists():
        return None
    try:
        value = read_json(path)
        TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise GlossaeError(f"{path}: does not hold what it should ({first_fault(error)}){_AGAIN}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise GlossaeError(f"{path}: cannot be read ({error}){_AGAIN}") from error
    return value


def _table(path: Path) -> pd.DataFrame | None:
    if not path.exists():
        return None
    try:
        check_table(path)
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise GlossaeError(f"{path}: cannot be read ({error}){_AGAIN}") from error
    return None if table.empty else table
