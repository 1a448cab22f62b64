"""The run folder: whose it is, one run at a time, and which stages in it are done."""

import dataclasses
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from glossae.errors import GlossaeError
from glossae.files import TEMPORARY, clear_temporaries, refuse_links, write_json, write_text
from glossae.recipe import STAGES, Recipe, load_recipe

RECIPE, RECORD, RESULTS, REPORT = "recipe.yaml", "run.json", "results.json", "report.html"
LOCK = ".lock"
# what the model gave on text that more than one stage looks at; deleted once the run is finished
PASSES = "passes"
# the folders in which every file is the run's own
FOLDERS = (*STAGES, "figures", PASSES)


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
    if (out / RECORD).is_file() and '"sprog"' in (out / RECORD).read_text(encoding="utf-8", errors="replace"):
        raise GlossaeError(
            f"--out: {out} holds a run of sprog, as glossae was called; it can be read and not gone on with: "
            "give another folder"
        )
    refuse_links(out, (LOCK, RECIPE, RECORD, RESULTS, REPORT, *FOLDERS))


class RunFolder:
    """A claimed run folder.

    Attributes:
        path: where it is.
        record: what `run.json` holds.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record: dict[str, Any] = {"stages": {}}
        if (path / RECORD).is_file():
            try:
                self.record = json.loads((path / RECORD).read_text(encoding="utf-8"))
                for rows in (self.record["stages"], self.record.get("habits", {})):
                    for row in rows.values():
                        row.items()
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise GlossaeError(
                    f"{path / RECORD}: is broken; delete it to run every stage again"
                ) from error

    def is_done(self, stage: str, fingerprint: str) -> bool:
        """Whether a stage was finished from the same inputs, and its summary is still there."""
        done = self.record["stages"].get(stage, {}).get("fingerprint") == fingerprint
        return done and self.summary_path(stage).is_file()

    def begin(self, stage: str) -> None:
        """Forget that a stage was done, before its files are written over.

        Otherwise a run that dies in the stage, and then goes back to the settings of before, would take
        the new files for the old ones.
        """
        if self.record["stages"].pop(stage, None) is not None:
            self.save()

    def finish(self, stage: str, fingerprint: str, summary: dict[str, Any], facts: dict[str, Any]) -> None:
        """Write a stage's summary, then record that it is done.

        Raises:
            GlossaeError: a number in it is not finite.
        """
        try:
            write_json(self.summary_path(stage), summary)
        except ValueError as error:
            raise GlossaeError(
                f"{stage}: came to numbers that are NaN or infinite, so nothing of it counts; "
                f"give the settings {stage}.* (or dtype) less extreme values"
            ) from error
        self.record["stages"][stage] = {"fingerprint": fingerprint, **facts}
        self.save()

    def save(self) -> None:
        """Write `run.json`."""
        write_json(self.path / RECORD, self.record)

    def summary_path(self, stage: str) -> Path:
        """Where a stage's part of `results.json` waits."""
        return self.path / stage / "summary.json"

    def summary(self, stage: str) -> dict[str, Any]:
        """A finished stage's part of `results.json`.

        Raises:
            GlossaeError: it cannot be read.
        """
        return self.read(stage, self.summary_path(stage).name)

    def read(self, stage: str, name: str) -> dict[str, Any]:
        """What a finished stage left in the JSON file `name`.

        Raises:
            GlossaeError: it cannot be read.
        """
        path = self.path / stage / name
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError("it does not hold what it should")
        except (OSError, ValueError) as error:
            again = f"delete {self.summary_path(stage)} to run the stage '{stage}' again"
            raise GlossaeError(f"{path}: cannot be read ({error}); {again}") from error
        return content


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


def as_rows(items: list[Any]) -> list[dict[str, Any]]:
    """Dataclass instances as dictionaries, for JSON and for tables."""
    return [dataclasses.asdict(item) for item in items]
