"""What a run folder holds, as the page needs it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sprog.errors import SprogError
from sprog.recipe import Recipe, load_recipe

ALL_SOURCES = "all"


@dataclass(frozen=True)
class Run:
    """The contents of a run folder. What was not run is None.

    Attributes:
        results: `results.json`. record: `run.json`. recipe: the resolved recipe.
        training: the autoencoder's log. statistics: every latent in every language.
        histograms: pre-activations of the latents looked at. texts: sentences with their tokens.
    """

    results: dict[str, Any]
    record: dict[str, Any]
    recipe: Recipe
    training: pd.DataFrame | None
    statistics: pd.DataFrame | None
    histograms: pd.DataFrame | None
    texts: list[dict[str, Any]] | None

    @property
    def target(self) -> str:
        """The language looked for."""
        return self.recipe.languages.target

    @property
    def reference(self) -> str:
        """The language it is told apart from."""
        return self.recipe.languages.reference

    def ordered(self, languages: Any) -> list[str]:
        """Languages with the target first, then the reference, then the others as the recipe has them."""
        order = [self.target, self.reference, *self.recipe.languages.others]
        return [language for language in order if language in languages]

    @property
    def selected(self) -> list[dict[str, Any]]:
        """The selected units' rows, best first."""
        features = self.results["features"]
        return list(features[self.target]) if features else []

    @property
    def shown(self) -> list[dict[str, Any]]:
        """The selected units, or the nearest when none was selected."""
        features = self.results["features"]
        return self.selected or (list(features["nearest"]) if features else [])

    def cells(self, edit: str, splice: bool | None, language: str) -> list[dict[str, Any]]:
        """The pooled sweep's cells of one kind of edit and one language, from the lowest dose up."""
        rows = self.results["next_token"]["cells"] if self.results["next_token"] else []
        found = [
            row
            for row in rows
            if (row["edit"], row["splice"], row["language"], row["source"])
            == (edit, splice, language, ALL_SOURCES)
        ]
        return sorted(found, key=lambda row: row["value"] or 0.0)

    @property
    def swept(self) -> list[str]:
        """The languages of the sweep."""
        table = self.results["next_token"]
        return self.ordered({row["language"] for row in table["cells"]}) if table else []


def read_run(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        SprogError: a file that every run has is missing, or a file is broken.
    """
    results = _json(folder / "results.json")
    features = results["features"] is not None
    texts = folder / "features" / "texts.json"
    return Run(
        results=results,
        record=_json(folder / "run.json"),
        recipe=load_recipe(folder / "recipe.yaml"),
        # a file may be left from a run with other settings: results.json says what counts
        training=_table(folder / "sae" / "log.parquet") if results["sae"] else None,
        statistics=_table(folder / "features" / "statistics.parquet") if features else None,
        histograms=_table(folder / "features" / "histograms.parquet") if features else None,
        texts=_json(texts) if features and texts.is_file() else None,
    )


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SprogError(f"{path}: cannot be read ({error})") from error


def _table(path: Path) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise SprogError(f"{path}: cannot be read ({error})") from error
    return None if table.empty else table
