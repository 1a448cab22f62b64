"""What `run.json` has of a run's finished stages, and the run's files checked against it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glossae.errors import GlossaeError
from glossae.files import file_sha256, fingerprint
from glossae.results import read_record

RECIPE, RECORD, RESULTS = "recipe.yaml", "run.json", "results.json"


@dataclass(frozen=True)
class Record:
    """A run's `run.json`, and its files as far as they are what it says.

    Attributes:
        path: the run's folder.
        said: what `run.json` holds. `stages` has, of each finished stage, the fingerprint of its inputs, the SHA-256
            of its files by name, fingerprints of what it was made from, and the SHA-256 of the recipe of which it
            last was known to be.
        by_recipe: whether `recipe.yaml` has to be the recipe that the run, and each stage that is read, are of. A run
            that goes on knows its recipe itself.
    """

    path: Path
    said: dict[str, Any]
    by_recipe: bool = True

    @staticmethod
    def of(path: Path) -> "Record":
        """The record in a run's folder.

        Raises:
            GlossaeError: there is none, or it is broken.
        """
        if not (path / RECORD).is_file():
            raise GlossaeError(
                f"{path / RECORD}: is missing, and it says which files of the run are whole: run the recipe again"
            )
        return Record(path, read_record(path / RECORD))

    def recipe(self) -> Path:
        """The path of `recipe.yaml`, which is as the run wrote it.

        Raises:
            GlossaeError: it was changed, or cannot be read.
        """
        if self.said.get("recipe") not in (None, self._recipe_sha()):
            raise GlossaeError(
                f"{self.path / RECIPE}: is not the recipe of this run: it was changed, or the run was cut off; run the "
                "recipe again, which writes it anew"
            )
        return self.path / RECIPE

    def results(self) -> Path:
        """The path of `results.json`, which has the numbers of the finished stages.

        Raises:
            GlossaeError: it was changed, or the run was cut off before it was written.
        """
        file = self.path / RESULTS
        if self.by_recipe:
            self.recipe()
        # runs of before did not record it
        if "results" in self.said and self.said["results"] != _sha(file, ""):
            raise GlossaeError(
                f"{file}: is not what the run's stages found: it was changed, or the run was cut off; run the same "
                "command again, which writes it anew"
            )
        return file

    def stage(self, name: str) -> dict[str, Any]:
        """What `run.json` has of a finished stage.

        The files of a stage that is not recorded may be an earlier run's, or half of this one's. Those of a stage that
        was made from files which another run has replaced since do not belong to them, nor do those of a stage that
        the run has not come to since its recipe changed.

        Raises:
            GlossaeError: the stage is not done, or does not belong to the rest of the run.
        """
        stages = self.said.get("stages", {})
        found: dict[str, Any] | None = stages.get(name) if isinstance(stages, dict) else None
        if found is None:
            raise GlossaeError(f"{self.path}: the stage '{name}' is not done in this run")
        try:
            others = [
                what for what, outputs in found.get("made_from", {}).items() if self.outputs(what) != outputs
            ]
        # an edited record: a stage that was made from itself, or from files that no stage has
        except (LookupError, TypeError, AttributeError, RecursionError) as error:
            raise GlossaeError(
                f"{self.path / RECORD}: is broken where it says what the stage '{name}' was made from: delete it to "
                "run the recipe again"
            ) from error
        if others:
            raise GlossaeError(
                f"{self.path}: the stage '{name}' was made from another '{others[0].partition('/')[0]}' than the one "
                "that is here now: run the recipe again, as far as that stage"
            )
        if self.by_recipe and found.get("recipe") not in (None, self._recipe_sha()):
            self.recipe()
            raise GlossaeError(
                f"{self.path}: the stage '{name}' was made by another recipe than {RECIPE} is now: run the recipe "
                "again, as far as that stage"
            )
        return found

    def outputs(self, what: str) -> str:
        """A fingerprint of a finished stage (`sae`), inputs and files, or of one file (`features/ranges.json`).

        Raises:
            GlossaeError: as `stage`.
        """
        stage, _, name = what.partition("/")
        done = self.stage(stage)
        return str(done["files"][name]) if name else fingerprint([done["fingerprint"], done["files"]])

    def file(self, stage: str, name: str) -> Path:
        """The path of a finished stage's file, which is as the stage wrote it.

        Raises:
            GlossaeError: as `stage`; or the file was changed, is none of the stage's, or cannot be read.
        """
        file, files = self.path / stage / name, self.stage(stage).get("files", {})
        # the run's folder itself may be one
        if link := next(
            (place for place in (file, *file.parents[: len(Path(name).parts)]) if place.is_symlink()), None
        ):
            raise GlossaeError(
                f"{link}: is a symbolic link, and a run's files are in its folder: put a copy there"
            )
        if _sha(file, again(stage)) == files.get(name):
            return file
        raise GlossaeError(f"{file}: was changed since the stage '{stage}' wrote it{again(stage)}")

    def has(self, stage: str, name: str) -> bool:
        """Whether a finished stage wrote a file of this name.

        Raises:
            GlossaeError: as `stage`.
        """
        return name in self.stage(stage).get("files", {})

    def _recipe_sha(self) -> str:
        return _sha(self.path / RECIPE, "")


def again(stage: str) -> str:
    """The end of an error about a stage's file: what to do about it."""
    return f"; delete it to run the stage '{stage}' again"


def _sha(file: Path, do: str) -> str:
    try:
        return file_sha256(file)
    except OSError as error:
        raise GlossaeError(f"{file}: cannot be read ({error.strerror}){do}") from error
