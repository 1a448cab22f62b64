"""What a stage has finished, kept on disk part by part, so that a stage that was cut off carries on inside."""

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from zipfile import BadZipFile

import numpy as np

from glossae.effects import Arrays, Keep
from glossae.errors import GlossaeError
from glossae.files import replacing, write_json
from glossae.run.folder import as_rows

Json = TypeVar("Json")
Row = TypeVar("Row")


@dataclass(frozen=True)
class Parts:
    """The finished parts of a stage, by name.

    They lie in a folder that is named after the fingerprint of what they depend on, which leaves out what only
    statistics depend on, such as `effects.bootstrap`: whoever changes that finds every part again.

    Attributes:
        folder: where they lie.
    """

    folder: Path

    @staticmethod
    def of(stage: Path, fingerprint: str) -> "Parts":
        """The parts of a stage in its folder."""
        return Parts(stage / "parts" / fingerprint[:16])

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
        """Instances of a dataclass whose values JSON holds; `work` makes them, unless they are there."""
        return [of(**row) for row in self.json(name, lambda: as_rows(work()))]

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
