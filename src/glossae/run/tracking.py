"""Send a run's training log, wall times and headline numbers to an experiment tracker: trackio or wandb.

Both have `init`, `log` and `finish`. Nothing that is sent names a folder of this machine.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from glossae.errors import GlossaeError
from glossae.recipe import Recipe, shared_recipe
from glossae.results import EvidenceResult, StageResults

PROJECT = "glossae"
_INSTALL = {"trackio": "pip install 'glossae[track]'", "wandb": "pip install wandb"}


def check_tracker(name: str) -> None:
    """Look for a tracker, so that a missing one is found before any work.

    Raises:
        GlossaeError: it is not installed.
    """
    if name != "none" and find_spec(name) is None:
        raise GlossaeError(f"--track: {name} is not installed: {_INSTALL[name]}")


class Tracking:
    """A tracker for one run, to be used in a `with`; without a tracker, nothing is done.

    A tracker that fails once it has begun is told of in one line and left out: it never stops a run.
    """

    def __init__(self, name: str, recipe: Recipe, out: Path, note: Callable[[str], None]) -> None:
        """Begin to track, unless `name` is `none`.

        Raises:
            GlossaeError: the tracker is not installed, or does not begin.
        """
        self._name, self._note, self._target = name, note, recipe.languages.target
        self._module: Any = None
        if name == "none":
            return
        # wandb would ask who is there, and wait for an answer
        os.environ.setdefault("WANDB_SILENT", "true")
        try:
            with redirect_stdout(sys.stderr):
                module = import_module(name)
                module.init(project=PROJECT, name=out.name, config=shared_recipe(recipe).to_dict())
        except (Exception, SystemExit) as error:
            raise GlossaeError(
                f"--track: {name} does not begin ({_reason(error)}): run without it"
            ) from error
        self._module = module

    def stage(self, name: str, seconds: float, results: StageResults, folder: Path) -> None:
        """Send what a stage has found, how long it took, and the log of a training in its folder."""
        if self._module is None:
            return
        with self._never_fatal():
            log = folder / "log.parquet"
            for row in pd.read_parquet(log).to_dict("records") if log.is_file() else []:
                self._module.log({f"{name}/training/{key}": value for key, value in row.items()})
            numbers = {f"{name}/{key}": value for key, value in _headlines(results, self._target)}
            self._module.log({f"{name}/seconds": seconds, **numbers})

    def __enter__(self) -> "Tracking":
        return self

    def __exit__(self, *_: object) -> None:
        if self._module is None:
            return
        with self._never_fatal():
            self._module.finish()

    @contextmanager
    def _never_fatal(self) -> Iterator[None]:
        """If the block fails, say so in one line and go on without the tracker."""
        try:
            # standard output is the run's own
            with redirect_stdout(sys.stderr):
                yield
        except (Exception, SystemExit) as error:
            self._module = None
            self._note(f"--track: {self._name} failed ({_reason(error)}); the run goes on without it")


def _reason(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _headlines(results: StageResults, target: str) -> Iterator[tuple[str, float]]:
    """The numbers that end a run in the terminal, by name."""
    if results.probe is not None:
        yield "best_layer", results.probe.best_layer
    if (sae := results.sae) is not None:
        yield from (("l0", sae.l0), ("dead_fraction", sae.dead_fraction))
        yield from ((f"fvu/{code}", value) for code, value in sae.fvu.items())
    if isinstance(results.evidence, EvidenceResult):
        yield from ((f"pass/{row.kind}/{row.claim}", row.units) for row in results.evidence.claims)
    if results.features is not None:
        yield "selected", len(results.features.units)
    for added in results.baselines.differences if results.baselines else []:
        yield f"training_adds/{added.what}/{added.size}", added.difference
    for row in results.next_token.selectivity if results.next_token else []:
        if row.units == target and row.text == "test" and not row.splice and row.margin_per_byte is not None:
            yield f"margin_per_byte/{row.edit}/{row.at:g}/{row.versus}", row.margin_per_byte
    for arm in results.steering.arms if results.steering else []:
        if arm.at is not None:
            yield f"success/{arm.family}/{arm.at:g}", arm.success
