"""The run folder: whose it is, which stages in it are done, their files, and how it is opened again."""

import dataclasses
import json
import math
import os
import re
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from glossae import ranks
from glossae.declared import check_archive, check_table
from glossae.effects import Arrays, Keep
from glossae.errors import GlossaeError
from glossae.files import (
    TEMPORARY,
    clear_temporaries,
    file_sha256,
    fingerprint,
    guarded,
    nearest_there,
    path_given,
    read_bytes,
    read_json,
    refuse_links,
    replacing,
    write_json,
    write_text,
    writes_here,
)
from glossae.recipe import Recipe, load_recipe
from glossae.record import RECIPE, RECORD, RESULTS, Record, again
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

REPORT, PAGE_FILES = "report.html", "page.json"
LOCK = ".lock"
# what the model gave on text that more than one stage looks at; deleted once the run is finished
PASSES = "passes"
# within a stage's folder: what only a stage that was cut off reads again
PARTS, CHECKPOINTS = "parts", "checkpoints"
# of the stage steering: where its families lie as knobs
KNOBS = "knobs"
# the run's autoencoder
SAE = "sae/sae.safetensors"
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
    nearest = nearest_there(out)
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
    refuse_links(out, (LOCK, RECIPE, RECORD, RESULTS, REPORT, PAGE_FILES, *FOLDERS))


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
            do = "; delete it to run every stage again"
            self.record = {"stages": {}} | read_record(path / RECORD, do)

    @property
    def _checked(self) -> Record:
        return Record(self.path, self.record, by_recipe=False)

    def is_done(self, stage: str, fingerprint: str) -> bool:
        """Whether a stage was finished from these inputs, and its files are what it wrote."""
        done = self.record["stages"].get(stage, {})
        return done.get("fingerprint") == fingerprint and self._unchanged(stage, done.get("files"))

    def stands(self, stage: str) -> bool:
        """Whether a stage is recorded as finished, from what the stages before it are now."""
        try:
            return bool(self._checked.stage(stage))
        except GlossaeError:
            return False

    def has_changed(self, stage: str, fingerprint: str) -> bool:
        """Whether a finished stage was made from other inputs than these."""
        return bool(self.record["stages"][stage].get("fingerprint") != fingerprint)

    def changed_pieces(self, stage: str, pieces: dict[str, str]) -> list[str]:
        """Which of the things that a finished stage was made from, as `Context.pieces` names them, are others now."""
        before = self.record["stages"][stage].get("inputs")
        if not isinstance(before, dict):
            return []
        return [name for name in before | pieces if before.get(name) != pieces.get(name)]

    def _unchanged(self, stage: str, files: object) -> bool:
        if not isinstance(files, dict) or "summary.json" not in files:
            return False
        folder = self.path / stage
        return all(
            (path := folder / name).is_file() and file_sha256(path) == sha for name, sha in files.items()
        )

    def begin(self, stage: str, keep: tuple[str, ...] = ()) -> None:
        """Forget that a stage was done, and delete the files that it wrote, but those that `keep` matches.

        Otherwise a run that dies in the stage, and then goes back to the settings of before, would take
        the new files for the old ones.
        """
        done = self.record["stages"].pop(stage, None)
        if done is None:
            return
        # it has numbers of the stage
        self.record["results"] = None
        self.save()
        folder, files = self.path / stage, done.get("files")
        for path in map(folder.joinpath, files if isinstance(files, dict) else ()):
            own = path.resolve().is_relative_to(folder.resolve())
            if own and not any(fnmatch(path.relative_to(folder).as_posix(), pattern) for pattern in keep):
                path.unlink(missing_ok=True)

    def confirm(self, stages: Iterable[str]) -> None:
        """Record that finished stages are those of the recipe as it is now."""
        new = [name for name in stages if self.record["stages"][name].get("recipe") != self._recipe]
        for name in new:
            self.record["stages"][name]["recipe"] = self._recipe
        if new:
            self.save()

    @property
    def _recipe(self) -> str | None:
        """The SHA-256 of the run's recipe; None in a temporary folder, which has none."""
        sha: str | None = self.record.get("recipe")
        return sha

    def finish(
        self,
        stage: str,
        fingerprint: str,
        summary: StageResults,
        facts: dict[str, Any],
        after: tuple[str, ...] = (),
        written: Iterable[Path] = (),
    ) -> None:
        """Write a stage's summary, then record that it is done, with the hashes of its files and of what it read.

        Args:
            stage: its name.
            fingerprint: of its inputs.
            summary: the keys of `results.json` that it fills.
            facts: what else `run.json` says of it.
            after: the stages, or files of stages, that it was made from.
            written: the files that it wrote or took over from an earlier try, as `noting` has them.

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
        # not whatever lies there: that is not ours to delete one day
        names = {
            path: path.relative_to(folder)
            for path in sorted({*written, folder / "summary.json"})
            if path.is_relative_to(folder) and path.is_file()
        }
        files = {
            name.as_posix(): file_sha256(path)
            for path, name in names.items()
            if not {PARTS, CHECKPOINTS} & set(name.parts)
        }
        made_from = {what: self.outputs(what) for what in after}
        self.record["stages"][stage] = {
            "fingerprint": fingerprint,
            "recipe": self._recipe,
            **facts,
            "made_from": made_from,
            "files": files,
        }
        # until it has this stage's numbers
        self.record["results"] = None
        self.save()

    def write_results(self, results: Results, to_come: Sequence[str]) -> None:
        """Write `results.json`, and into `run.json` its hash and the stages that are still to come."""
        if self.record.get("results") is not None:
            self.record["results"] = None
            self.save()
        write_json(self.path / RESULTS, results.to_json())
        self.record |= {"results": file_sha256(self.path / RESULTS), "to_come": list(to_come)}
        self.save()

    def outputs(self, what: str) -> str:
        """A fingerprint of a finished stage (`sae`), inputs and files, or of one file (`features/ranges.json`)."""
        return self._checked.outputs(what)

    def save(self) -> None:
        """Write `run.json`."""
        write_json(self.path / RECORD, self.record)

    def summary(self, stage: str) -> StageResults:
        """The keys of `results.json` that a finished stage fills.

        Raises:
            GlossaeError: it is not done, or cannot be read.
        """
        return read_results(StageResults, self._checked.file(stage, "summary.json"), again(stage))

    def read(self, stage: str, name: str) -> dict[str, Any]:
        """What a finished stage left in the JSON file `name`.

        Raises:
            GlossaeError: it is not done, or the file was changed or cannot be read.
        """
        return _read(self._checked.file(stage, name), again(stage))


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
        _clear_shards(out)
        folder = RunFolder(out)
        # whoever holds the lock is alone here: these are of a process that had no time to remove them
        clear_temporaries(out, below=False)
        for name in FOLDERS:
            clear_temporaries(out / name, below=True)
        with guarded(out):
            _write_recipe(folder, recipe.to_yaml())
            yield folder
    except OSError as error:
        # of a full disk the system does not say where it is
        error.filename = error.filename or str(out)
        raise
    finally:
        lock.release()


SHARDS = f"{LOCK}-*-of-*"
"""The locks of shards."""


def _clear_shards(out: Path) -> None:
    """Delete the locks of shards that have ended.

    Raises:
        GlossaeError: a shard is at work.
    """
    for path in out.glob(SHARDS):
        try:
            with FileLock(path, timeout=0):
                path.unlink()
        except Timeout as error:
            raise GlossaeError(
                f"--out: a shard is at work in {out} ({path.name}): wait until all have ended"
            ) from error


def _write_recipe(folder: RunFolder, text: str) -> None:
    """Write the resolved recipe, and into `run.json` its hash, before anything is made by it."""
    path, sha = folder.path / RECIPE, sha256(text.encode()).hexdigest()
    if path.is_file() and (folder.record.get("recipe") != sha or file_sha256(path) != sha):
        # first, so that whoever reads the run after a crash does not take its stages for the new recipe's
        folder.record |= {"recipe": sha, "results": None}
        folder.save()
    # without a recipe the folder is no run, so that in a new one it comes first
    write_text(path, text)
    folder.record["recipe"] = sha


# of a part's arrays, beside them
_HASH = "sha256"


def _arrays_hash(arrays: Arrays) -> str:
    """The SHA-256 of arrays with their names, types and shapes; their order does not matter."""
    digest = sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        digest.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode() + array.tobytes())
    return digest.hexdigest()


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
            if path == self.folder or path.is_symlink() or not re.fullmatch("[0-9a-f]{16}", path.name):
                continue
            for file in path.glob("*"):
                if file.suffix in (".npz", ".json") and not file.is_dir():
                    file.unlink(missing_ok=True)
            # another's file in it stays
            with suppress(OSError):
                path.rmdir()

    def arrays(self, name: str, work: Callable[[], Arrays]) -> Arrays:
        """Arrays by name; `work` makes them, unless they are there.

        In joint work (`glossae.ranks`), all ranks get rank 0's; all do the work if it finds none.
        """
        if (
            known := ranks.first_arrays(f"part {name}", None if ranks.rank() else self._arrays(name))
        ) is not None:
            return known
        path = self.folder / f"{name}.npz"
        found = ranks.first_arrays(f"part {name} made", work())
        assert found is not None
        if writes_here(path):
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.savez(file, **found, **{_HASH: np.array(_arrays_hash(found))})  # type: ignore[arg-type]
        return found

    def _arrays(self, name: str) -> Arrays | None:
        """The arrays that are there."""
        path = self.folder / f"{name}.npz"
        # one that cannot be read, as after a power cut, is made again
        broken = (
            GlossaeError,
            OSError,
            EOFError,
            ValueError,
            TypeError,
            RuntimeError,
            BadZipFile,
            zlib.error,
        )
        with suppress(*broken):
            check_archive(path)
            with np.load(path) as stored:
                own = dict(stored)
            # the archive's checksums do not cover the names, nor which arrays there are
            if str(own.pop(_HASH, "")) == _arrays_hash(own):
                return own
        return None

    def json(self, name: str, work: Callable[[], Json]) -> Json:
        """What JSON holds; `work` makes it, unless it is there; of ranks as `arrays`."""
        missing = object()
        if (known := self.json_found(name, missing)) is not missing:
            value: Json = known
            return value
        found = work()
        if ranks.count() > 1:
            # files that the work wrote are rank 0's
            (found, *_) = ranks.exchange(found, f"part {name} made")
        # what is not finite is refused at the end of the stage, in its words
        with suppress(ValueError):
            # as it will be read
            plain = json.loads(json.dumps(found, allow_nan=False))
            write_json(self.folder / f"{name}.json", {"hash": fingerprint(plain), "value": plain})
        return found

    def json_found(self, name: str, otherwise: object = None) -> Any:
        """What `json` has stored under a name, or else `otherwise`; in joint work, at rank 0."""
        known: list[Any] = []
        if ranks.rank() == 0:
            with suppress(GlossaeError, OSError, ValueError, KeyError, TypeError):
                stored = read_json(self.folder / f"{name}.json")
                if stored["hash"] == fingerprint(stored["value"]):
                    known.append(stored["value"])
        (known, *_) = ranks.exchange(known, f"part {name}")
        return known[0] if known else otherwise

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
        with suppress(GlossaeError, OSError, ValueError, TypeError, OverflowError):
            said = float(read_json(path))
            before = said if math.isfinite(said) and said > 0 else before

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
    if not writes_here(path):
        return
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
        """The resolved recipe.

        Raises:
            GlossaeError: it cannot be read, or was changed since the run wrote it.
        """
        return load_recipe(self._checked.recipe())

    @cached_property
    def results(self) -> Results:
        """`results.json`: every headline number.

        Raises:
            GlossaeError: it cannot be read, was changed, or the run was cut off before it was written.
        """
        return read_results(Results, self._checked.results())

    @cached_property
    def record(self) -> dict[str, Any]:
        """`run.json`: versions, hashes, wall times."""
        return self._checked.said

    @cached_property
    def _checked(self) -> Record:
        return Record.of(self.path)

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
        """The path of a finished stage's file, such as `sae/sae.safetensors`, which is as the stage wrote it.

        Raises:
            GlossaeError: the stage is not done, or the file was changed or cannot be read.
        """
        stage, _, file = name.partition("/")
        return self._checked.file(stage, file)

    def has(self, name: str) -> bool:
        """Whether a finished stage wrote a file, such as `sae/log.parquet`.

        Raises:
            GlossaeError: the stage is not done.
        """
        stage, _, file = name.partition("/")
        return self._checked.has(stage, file)

    def read(self, name: str) -> dict[str, Any]:
        """What a finished stage left in a JSON file, such as `features/ranges.json`.

        Raises:
            GlossaeError: as `file`.
        """
        return _read(self.file(name), again(name.partition("/")[0]))

    def summary(self, stage: str) -> StageResults:
        """The keys of `results.json` that a finished stage fills.

        Raises:
            GlossaeError: as `file`.
        """
        return read_results(StageResults, self._checked.file(stage, "summary.json"), again(stage))

    @cached_property
    def dashboards(self) -> list[UnitDashboard]:
        """What each shown unit does over the whole text, the selected latents first.

        Raises:
            GlossaeError: the stage `dashboards` is not done, or a file of it was changed.
        """
        rows = self.summary("dashboards").dashboards or []
        return [
            read_dashboard(self._checked.file("dashboards", f"{row.kind}-{row.unit}.json")) for row in rows
        ]

    def sae(self) -> Sae:
        """The run's autoencoder.

        Raises:
            GlossaeError: none was trained, or its files are broken.
        """
        return Sae.load(self.file(SAE))


def open_run(path: str | Path) -> Run:
    """Open a run folder.

    Raises:
        GlossaeError: it is not one.
    """
    place = path_given(path, "run")
    if not (place / RECIPE).is_file():
        raise GlossaeError(f"{path}: is not a run (it has no {RECIPE})")
    return Run(place)


def _read(path: Path, again: str = "") -> dict[str, Any]:
    """What a JSON file holds; `again` says what to do about one that cannot be read."""
    try:
        content = read_json(path)
        if not isinstance(content, dict):
            raise ValueError("it does not hold what it should")
    except (OSError, ValueError, RecursionError) as error:
        raise GlossaeError(f"{path}: cannot be read ({error}){again}") from error
    return content
