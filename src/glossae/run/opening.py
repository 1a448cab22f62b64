"""A finished run, for a notebook."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from glossae.errors import GlossaeError
from glossae.recipe import Recipe, load_recipe
from glossae.run.folder import RECIPE, RECORD, RESULTS
from glossae.sae import Sae


@dataclass(frozen=True)
class Run:
    """A run folder, read when asked.

    Attributes:
        path: the folder.
    """

    path: Path

    @cached_property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return load_recipe(self.path / RECIPE)

    @cached_property
    def results(self) -> dict[str, Any]:
        """`results.json`: every headline number."""
        return _read(self.path / RESULTS)

    @cached_property
    def record(self) -> dict[str, Any]:
        """`run.json`: versions, hashes, wall times."""
        return _read(self.path / RECORD)

    def table(self, name: str) -> pd.DataFrame:
        """One of the run's Parquet tables, such as `effects/next_token`.

        Raises:
            GlossaeError: there is none of that name; the message lists those there are.
        """
        path = self.path / f"{name}.parquet"
        if not path.is_file():
            there = sorted(
                str(p.relative_to(self.path).with_suffix("")) for p in self.path.glob("*/*.parquet")
            )
            raise GlossaeError(f"{self.path}: there is no table '{name}'; there are {', '.join(there)}")
        return pd.read_parquet(path)

    def sae(self) -> Sae:
        """The run's autoencoder.

        Raises:
            GlossaeError: none was trained, or its files are broken.
        """
        return Sae.load(self.path / "sae")


def open_run(path: str | Path) -> Run:
    """Open a run folder.

    Raises:
        GlossaeError: it is not one.
    """
    if not (Path(path) / RECIPE).is_file():
        raise GlossaeError(f"{path}: is not a run (it has no {RECIPE})")
    return Run(Path(path))


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GlossaeError(f"{path}: cannot be read ({error})") from error
    return content
