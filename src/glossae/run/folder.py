"""The run folder: whose it is, which stages in it are done, their files, and how it is opened again."""

import dataclasses
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from glossae.declared import check_table
from glossae.effects import Arrays, Keep
from glossae.errors import GlossaeError
from glossae.files import (
    TEMPORARY,
    clear_temporaries,
    file_sha256,
    fingerprint,
    read_bytes,
    read_json,
    refuse_links,
    replacing,
    write_json,
    write_text,
)
from glossae.recipe import Recipe, load_recipe
from glossae.results import (
    Result,
    Results,
    StageResults,
    UnitDashboard,
    read_dashboard,
    read_record,
    read_results,
)
from glossae.sae import Sae
from glossae.stages import STAGES

Json = TypeVar("Json")
Row = TypeVar("Row")
AResult = TypeVar("AResult", bound=Result)

RECIPE, RECORD, RESULTS, REPORT = "recipe.yaml", "run.json", "results.json", "report.html"
LOCK = ".lock"
# what the model gave on text that more than one stage looks at; deleted once the run is finished
PASSES = "passes"
# within a stage's folder: what only a stage that was cut off reads again
PARTS, CHECKPOINTS = "parts", "checkpoints"
# of the stage steering: where its families lie as knobs
KNOBS = "knobs"
# the folders in which every file is the run's own
FOLDERS = (*STAGES, "figures", "tables", "units", "labels", PASSES)


def check_folder(out: Path, recipe: Recipe) -> None:
    """Check that this recipe's run can live in `out`. Nothing is written.

    Raises:
        GlossaeError: it is a file, cannot be written, belongs to another recipe, holds other things, or something that
            a run writes is a symbolic link.
    """
    if out.exists() and not out.is_dir():
        raise GlossaeError(f"--out: {out} is a file; give a folder")
    nearest = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise GlossaeError(f"--out: {nearest} is a file, so {out} cannot be a folder in it")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise GlossaeError(f"--out: {nearest} cannot be written to")
    if not out.is_dir():
        return
    if (out / RECIPE).is_file():
        before = load_recipe(out / RECIPE)
        if before.name != recipe.name:
            raise GlossaeError(
                f"--out: {out} belongs to the recipe '{before.name}', not to '{recipe.name}'; give another folder"
            )
    elif any(path.name != LOCK and not path.name.startswith(TEMPORARY) for path in out.iterdir()):
        raise GlossaeError(
            f"--out: {out} is not empty and is not a run (it has no {RECIPE}); give another folder"
        )
    if (out / RECORD).is_file() and '"sprog"' in read_bytes(out / RECORD).decode("utf-8", "replace"):
        raise GlossaeError(
            f"--out: {out} holds a run of sprog, as glossae was called; it can be read and not gone on with: "
            "give another folder"
        )
    refuse_links(out, (LOCK, RECIPE, RECORD, RESULTS, REPORT, *FOLDERS))


class RunFolder:
    """A run folder and what `run.json` records of it.

    Attributes:
        path: where it is.
        record: what `run.json` holds. `stages` has, of each finished stage, the fingerprint of its inputs and the
            SHA-256 of its files by name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record: dict[str, Any] = {"stages": {}}
        if (path / RECORD).is_file():
            again = "; delete it to run every stage again"
            self.record = {"stages": {}} | read_record(path / RECORD, again)

    def is_done(self, stage: str, fingerprint: str) -> bool:
        """Whether a stage was finished from these inputs, and its files are what it wrote."""
        done = self.record["stages"].get(stage, {})
        return done.get("fingerprint") == fingerprint and self._unchanged(stage, done.get("files"))

    def stands(self, stage: str) -> bool:
        """Whether a stage is recorded as finished, from what the stages before it are now."""
        try:
            return bool(_done(self.path, self.record, stage))
        except GlossaeError:
            return False

    def has_changed(self, stage: str, fingerprint: str) -> bool:
        """Whether a finished stage was made from other inputs than these."""
        return bool(self.record["stages"][stage].get("fingerprint") != fingerprint)

    def _unchanged(self, stage: str, files: object) -> bool:
        if not isinstance(files, dict) or "summary.json" not in files:
            return False
        folder = self.path / stage
        return all(
            (path := folder / name).is_file() and file_sha256(path) == sha for name, sha in files.items()
        )

    def begin(self, stage: str, keep: tuple[str, ...] = ()) -> None:
        """Forget that a stage was done, and delete its files but those that `keep` matches.

        Otherwise a run that dies in the stage, and then goes back to the settings of before, would take
        the new files for the old ones.
        """
        done = self.record["stages"].pop(stage, None)
        if done is None:
            return
        self.save()
        folder, files = self.path / stage, done.get("files")
        for path in map(folder.joinpath, files if isinstance(files, dict) else ()):
            own = path.resolve().is_relative_to(folder.resolve())
            if own and not any(fnmatch(path.relative_to(folder).as_posix(), pattern) for pattern in keep):
                path.unlink(missing_ok=True)

    def finish(
        self,
        stage: str,
        fingerprint: str,
        summary: StageResults,
        facts: dict[str, Any],
        after: tuple[str, ...] = (),
    ) -> None:
        """Write a stage's summary, then record that it is done, with the hashes of its files and of what it read.

        Args:
            stage: its name.
            fingerprint: of its inputs.
            summary: the keys of `results.json` that it fills.
            facts: what else `run.json` says of it.
            after: the stages, or files of stages, that it was made from.

        Raises:
            GlossaeError: a number in it is not finite.
        """
        folder = self.path / stage
        try:
            write_json(folder / "summary.json", summary.summary())
        except ValueError as error:
            raise GlossaeError(
                f"{stage}: came to numbers that are NaN or infinite, so nothing of it counts; "
                f"give the settings {stage}.* (or dtype) less extreme values"
            ) from error
        names = {path: path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()}
        files = {
            name.as_posix(): file_sha256(path)
            for path, name in names.items()
            if not {PARTS, CHECKPOINTS} & set(name.parts)
        }
        made_from = {what: self.outputs(what) for what in after}
        self.record["stages"][stage] = {
            "fingerprint": fingerprint,
            **facts,
            "made_from": made_from,
            "files": files,
        }
        self.save()

    def outputs(self, what: str) -> str:
        """A fingerprint of a finished stage (`sae`), inputs and files, or of one file (`features/ranges.json`)."""
        return _outputs(self.path, self.record, what)

    def save(self) -> None:
        """Write `run.json`."""
        write_json(self.path / RECORD, self.record)

    def summary(self, stage: str) -> StageResults:
        """The keys of `results.json` that a finished stage fills.

        Raises:
            GlossaeError: it is not done, or cannot be read.
        """
        path = _written(self.path, self.record, stage, "summary.json")
        return read_results(StageResults, path, _again(stage))

    def read(self, stage: str, name: str) -> dict[str, Any]:
        """What a finished stage left in the JSON file `name`.

        Raises:
            GlossaeError: it is not done, or the file was changed or cannot be read.
        """
        return _read(_written(self.path, self.record, stage, name), _again(stage))


@contextmanager
def claimed(out: Path, recipe: Recipe) -> Iterator[RunFolder]:
    """Make the folder, hold its lock for the block, clear up after a killed run, and write the resolved recipe.

    Raises:
        GlossaeError: as `check_folder`, or another run holds the lock.
    """
    check_folder(out, recipe)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / LOCK, timeout=0)
        lock.acquire()
    except Timeout as error:
        raise GlossaeError(f"--out: another run is at work in {out}") from error
    except OSError as error:
        raise GlossaeError(f"--out: {out} cannot be written to ({error.strerror})") from error
    try:
        folder = RunFolder(out)
        # whoever holds the lock is alone here: these are of a process that had no time to remove them
        clear_temporaries(out, below=False)
        for name in FOLDERS:
            clear_temporaries(out / name, below=True)
        write_text(out / RECIPE, recipe.to_yaml())
        yield folder
    except OSError as error:
        # of a full disk the system does not say where it is
        error.filename = error.filename or str(out)
        raise
    finally:
        lock.release()


@dataclass(frozen=True)
class Parts:
    """The finished parts of a stage, by name, so that a stage that was cut off carries on inside.

    They lie in a folder that is named after the fingerprint of what they depend on, which leaves out what only
    statistics depend on, such as `effects.bootstrap`: whoever changes that finds every part again.

    Attributes:
        folder: where they lie.
    """

    folder: Path

    @staticmethod
    def of(stage: Path, fingerprint: str) -> "Parts":
        """The parts of a stage in its folder."""
        return Parts(stage / PARTS / fingerprint[:16])

    def drop_others(self) -> None:
        """Delete the parts that other settings or another text gave."""
        for path in self.folder.parent.glob("*"):
            if path != self.folder and path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)

    def arrays(self, name: str, work: Callable[[], Arrays]) -> Arrays:
        """Arrays by name; `work` makes them, unless they are there."""
        path = self.folder / f"{name}.npz"
        # one that cannot be read, as after a power cut, is made again
        with suppress(OSError, EOFError, ValueError, TypeError, BadZipFile), np.load(path) as stored:
            return dict(stored)
        found = work()
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **found)  # type: ignore[arg-type]
        return found

    def json(self, name: str, work: Callable[[], Json]) -> Json:
        """What JSON holds; `work` makes it, unless it is there."""
        path = self.folder / f"{name}.json"
        with suppress(OSError, ValueError):
            stored: Json = json.loads(path.read_text(encoding="utf-8"))
            return stored
        found = work()
        # what is not finite is refused at the end of the stage, in its words
        with suppress(ValueError):
            write_json(path, found)
        return found

    def rows(self, of: type[Row], name: str, work: Callable[[], list[Row]]) -> list[Row]:
        """Instances of a class whose values JSON holds; `work` makes them, unless they are there."""
        return [of(**row) for row in self.json(name, lambda: as_rows(work()))]

    def result(self, of: type[AResult], name: str, work: Callable[[], AResult | None]) -> AResult | None:
        """A `Result` or None; `work` makes it, unless it is there."""
        found = self.json(name, lambda: None if (made := work()) is None else made.to_json())
        return None if found is None else of.model_validate(found)

    @contextmanager
    def timed(self) -> Iterator[Callable[[], float]]:
        """Count the seconds of the block with those that earlier tries at the same parts took, however each ended."""
        path, started = self.folder / "seconds.json", time.perf_counter()
        before = 0.0
        with suppress(OSError, ValueError, TypeError):
            said = float(json.loads(path.read_text(encoding="utf-8")))
            before = said if math.isfinite(said) else before

        def seconds() -> float:
            return before + time.perf_counter() - started

        try:
            yield seconds
        finally:
            # an error that is on its way says more than one of this
            with suppress(GlossaeError, MemoryError):
                write_json(path, seconds())

    def under(self, name: str) -> Keep:
        """`arrays`, for parts whose names begin with `name`."""
        return lambda own, work: self.arrays(f"{name}-{own}", work)


def as_rows(items: Sequence[Any]) -> list[dict[str, Any]]:
    """Results and dataclass instances as dictionaries, for JSON and for tables."""
    return [item.to_json() if isinstance(item, Result) else dataclasses.asdict(item) for item in items]


def write_table(path: Path, rows: list[dict[str, Any]] | dict[str, np.ndarray] | pd.DataFrame) -> None:
    """Write rows (dictionaries with the same keys), columns by name, or a table as a Parquet file."""
    with replacing(path) as temporary:
        pd.DataFrame(rows).to_parquet(temporary, index=False)


def read_column(path: Path, column: str, **where: str) -> list[Any]:
    """One column of a Parquet file, of the rows that have these values in other columns; nothing else is read."""
    filters = [(name, "==", value) for name, value in where.items()]
    check_table(path)
    values: list[Any] = pd.read_parquet(path, columns=[column], filters=filters)[column].tolist()
    return values


@dataclass(frozen=True)
class Run:
    """A run folder for a notebook, read when asked.

    Attributes:
        path: the folder.
    """

    path: Path

    @cached_property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return load_recipe(self.path / RECIPE)

    @cached_property
    def results(self) -> Results:
        """`results.json`: every headline number."""
        return read_results(Results, self.path / RESULTS)

    @cached_property
    def record(self) -> dict[str, Any]:
        """`run.json`: versions, hashes, wall times."""
        return read_record(self.path / RECORD)

    def table(self, name: str) -> pd.DataFrame:
        """One of the run's Parquet tables, such as `effects/next_token`.

        Raises:
            GlossaeError: there is none of that name (the message lists those there are), or its stage is not done.
        """
        path = self.path / f"{name}.parquet"
        if not path.is_file():
            there = sorted(
                str(p.relative_to(self.path).with_suffix("")) for p in self.path.glob("*/*.parquet")
            )
            raise GlossaeError(f"{self.path}: there is no table '{name}'; there are {', '.join(there)}")
        table = self.file(f"{name}.parquet")
        check_table(table)
        return pd.read_parquet(table)

    def file(self, name: str) -> Path:
        """The path of a finished stage's file, such as `sae/cfg.json`, which is as the stage wrote it.

        Raises:
            GlossaeError: the stage is not done, or the file was changed or cannot be read.
        """
        stage, _, file = name.partition("/")
        return _written(self.path, self.record, stage, file)

    @cached_property
    def dashboards(self) -> list[UnitDashboard]:
        """What each shown unit does over the whole text, the selected latents first.

        Raises:
            GlossaeError: the stage `dashboards` is not done, or a file of it was changed.
        """
        summary = _written(self.path, self.record, "dashboards", "summary.json")
        rows = read_results(StageResults, summary, _again("dashboards")).dashboards or []
        names = [f"{row.kind}-{row.unit}.json" for row in rows]
        return [read_dashboard(_written(self.path, self.record, "dashboards", name)) for name in names]

    def sae(self) -> Sae:
        """The run's autoencoder.

        Raises:
            GlossaeError: none was trained, or its files are broken.
        """
        _done(self.path, self.record, "sae")
        return Sae.load(self.path / "sae")


def open_run(path: str | Path) -> Run:
    """Open a run folder.

    Raises:
        GlossaeError: it is not one.
    """
    if not (Path(path) / RECIPE).is_file():
        raise GlossaeError(f"{path}: is not a run (it has no {RECIPE})")
    return Run(Path(path))


def _done(path: Path, record: dict[str, Any], stage: str) -> dict[str, Any]:
    """What `run.json` has of a finished stage.

    The files of a stage that is not recorded may be an earlier run's, or half of this one's. Those of a stage that was
    made from files which another run has replaced since do not belong to them.
    """
    stages = record.get("stages", {})
    found: dict[str, Any] | None = stages.get(stage) if isinstance(stages, dict) else None
    if found is None:
        raise GlossaeError(f"{path}: the stage '{stage}' is not done in this run")
    for what, outputs in found.get("made_from", {}).items():
        if _outputs(path, record, what) != outputs:
            raise GlossaeError(
                f"{path}: the stage '{stage}' was made from another '{what.partition('/')[0]}' than the one that is "
                "here now: run the recipe again, as far as that stage"
            )
    return found


def _outputs(path: Path, record: dict[str, Any], what: str) -> str:
    stage, _, name = what.partition("/")
    done = _done(path, record, stage)
    return str(done["files"][name]) if name else fingerprint([done["fingerprint"], done["files"]])


def _written(path: Path, record: dict[str, Any], stage: str, name: str) -> Path:
    """The path of a finished stage's file, which is as the stage wrote it."""
    file, files = path / stage / name, _done(path, record, stage).get("files", {})
    try:
        if file_sha256(file) == files.get(name):
            return file
    except OSError as error:
        raise GlossaeError(f"{file}: cannot be read ({error.strerror}){_again(stage)}") from error
    raise GlossaeError(f"{file}: was changed since the stage '{stage}' wrote it{_again(stage)}")


def _again(stage: str) -> str:
    return f"; delete it to run the stage '{stage}' again"


def _read(path: Path, again: str = "") -> dict[str, Any]:
    """What a JSON file holds; `again` says what to do about one that cannot be read."""
    try:
        content = read_json(path)
        if not isinstance(content, dict):
            raise ValueError("it does not hold what it should")
    except (OSError, ValueError, RecursionError) as error:
        raise GlossaeError(f"{path}: cannot be read ({error}){again}") from error
    return content
