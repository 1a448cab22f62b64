"""What a run has left in its folder. A stage that was not run has left nothing, and that is no error."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from glossae.declared import check_table
from glossae.errors import GlossaeError
from glossae.files import read_json, write_json
from glossae.recipe import Recipe, load_recipe, shared_json, shared_recipe, shared_results
from glossae.record import RECIPE, RECORD, RESULTS, Record
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
    read_results,
)

Row: TypeAlias = dict[str, Any]
_UNITS = "units"
_AGAIN = ": run the stage that writes it again"
FILES = "page.json"
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
    if not (folder / RECIPE).is_file():
        raise GlossaeError(f"{folder}: is not a run: it has no recipe.yaml")
    # a run that has found nothing yet has no record either
    begun = (folder / RECORD).exists() or (folder / RESULTS).exists()
    record = Record.of(folder) if begun else Record(folder, {})
    recipe = load_recipe(record.recipe())
    results = read_results(Results, record.results()) if (folder / RESULTS).exists() else StageResults()

    def written(stage: str, name: str) -> Path | None:
        # a copy of a run may have its numbers alone
        there = getattr(results, stage) and (folder / stage / name).exists() and record.has(stage, name)
        return record.file(stage, name) if there else None

    tokens = written("features", "texts.json")
    sets: dict[str, Any] = _json(path, dict[str, _TaskSet]) if (path := written("tasks", "sets.json")) else {}
    return RunFiles(
        recipe=shared_recipe(recipe),
        run=shared_json(record.said, recipe),
        results=shared_results(results, recipe),
        log=_table(written("sae", "log.parquet")),
        statistics=_table(written("features", "statistics.parquet")),
        histograms=_table(written("features", "histograms.parquet")),
        texts=_texts(tokens) if tokens else [],
        task_sets=shared_json(sets, recipe),
        pages=frozenset(f"{_UNITS}/{path.name}" for path in (folder / _UNITS).glob("*.html")),
    )


@contextmanager
def own_files(folder: Path, homes: Iterable[str], names: Iterable[str]) -> Iterator[None]:
    """Record the files that the block writes, and delete those of an earlier page that are not among them.

    `page.json` has the names of the files that were written, so that others in the same folders are left alone.

    Args:
        folder: the run's.
        homes: the folders that the block writes to.
        names: the files in them, relative to the run's folder.
    """
    path, new = folder / FILES, set(names)
    before = set(_json(path, list[str])) if path.is_file() else set()
    gone = {name for name in before if name.partition("/")[0] in homes} - new
    # first all of them, so that none is forgotten if this is cut off
    if new - before:
        write_json(path, sorted(before | new))
    yield
    for name in gone:
        (folder / name).unlink(missing_ok=True)
    if gone:
        write_json(path, sorted(before - gone | new))


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
    texts: list[Row] = _json(path, list[_TokenText])
    for text in texts:
        if any(len(own[what]) != len(text["tokens"]) for own in text["units"].values() for what in own):
            raise GlossaeError(f"{path}: has not one value for each token{_AGAIN}")
    return texts


def _json(path: Path, kind: Any) -> Any:
    """What a JSON file holds, whose values are of a kind."""
    try:
        value = read_json(path)
        TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise GlossaeError(f"{path}: does not hold what it should ({first_fault(error)}){_AGAIN}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise GlossaeError(f"{path}: cannot be read ({error}){_AGAIN}") from error
    return value


def _table(path: Path | None) -> pd.DataFrame | None:
    if path is None:
        return None
    try:
        check_table(path)
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise GlossaeError(f"{path}: cannot be read ({error}){_AGAIN}") from error
    return None if table.empty else table
