"""What a run shares: its autoencoder, knob, results and recipe, without paths of this machine, and a card."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from glossae.corpora import parse_source
from glossae.effects import KNOB_FILE, Knob, knob_snippet
from glossae.errors import GlossaeError
from glossae.files import shared_name, write_json, write_text
from glossae.hub import Repository, license_of, push
from glossae.recipe import Recipe, shared_recipe, shared_results
from glossae.record import RECIPE, RESULTS
from glossae.results import Results
from glossae.run.card import Shared, run_card
from glossae.run.engine import assemble
from glossae.run.folder import SAE, Run
from glossae.run.knobs import knob_of_run
from glossae.sae import CARD, MARK, SHARED_FILES, Sae, read_sae, snippets, to_shared
from glossae.stages import STAGES

# glossae ships the toy's text under its own licence
_TOY_LICENCE = "apache-2.0"


@dataclass(frozen=True)
class Parcel:
    """What is pushed of a run.

    Attributes:
        files: by path in the repository.
        notes: lines to say: what is unsound, and why something is missing.
    """

    files: dict[str, Path]
    notes: list[str]


def pack(
    run: Run,
    folder: Path,
    repository: Repository,
    *,
    dose: float | None = None,
    licence: Callable[[Repository], str | None] = license_of,
) -> Parcel:
    """Write what a run shares into `folder`, after checking that what its stages wrote is unchanged.

    Args:
        run: the run, which has to have an autoencoder.
        folder: an empty folder.
        repository: where it will be pushed, which the card names.
        dose: of the knob; None takes the one of the stage steering, and without that there is no knob.
        licence: asks for a data set's licence on the hub.

    Raises:
        GlossaeError: a stage is not done, a file was changed, or the knob of a given dose cannot be made.
    """
    recipe, results, sae = _shared(run)
    name = to_shared(sae, folder)
    knob, notes = _knob(run, dose)
    load = [*snippets(sae, repository.name, name), *(knob_snippet(knob, repository.name) if knob else ())]
    load += [f"`{RESULTS}` has every number of the run, `{RECIPE}` every setting.", ""]
    if knob is not None:
        knob.save(folder / KNOB_FILE)
    write_json(folder / RESULTS, results.to_json())
    write_text(folder / RECIPE, recipe.to_yaml())
    licences = _licences(run.recipe, licence)
    write_text(folder / CARD, run_card(Shared(load, recipe, results, run.record, sae, knob, licences)))
    files = {
        path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()
    }
    return Parcel(files, [*(f"unsound: {finding}" for finding in sae.unsound), *notes])


def export_card(run: Run, load: Sequence[str]) -> str:
    """The card of a run whose autoencoder is exported alone; `load` says how that is loaded.

    Raises:
        GlossaeError: as `pack`.
    """
    recipe, results, sae = _shared(run)
    licences = _licences(run.recipe, lambda _: None)
    return run_card(Shared(load, recipe, results, run.record, sae, None, licences))


def push_parcel(parcel: Parcel, repository: Repository, *, private: bool) -> str:
    """Push a parcel in one commit, and return the commit's address; see `glossae.hub.push`."""
    return push(
        repository,
        parcel.files,
        message="Push a run by glossae",
        mark=MARK,
        replaces=(*SHARED_FILES, KNOB_FILE, RESULTS, RECIPE),
        private=private,
    )


def _results(run: Run) -> Results:
    """The results without paths, put together again from what the stages wrote.

    Raises:
        GlossaeError: a stage's summary, or `results.json`, was changed since.
    """
    done = [name for name in STAGES if name in run.record["stages"]]
    results = shared_results(assemble(run.recipe, run, done), run.recipe)
    # earlier versions wrote paths into it
    if results.to_json() != shared_results(run.results, run.recipe).to_json():
        raise GlossaeError(
            f"{run.path / RESULTS}: is not what the run's stages found, so it was changed or the run was cut off: run "
            "the same command again, which writes it anew"
        )
    return results


def _shared(run: Run) -> tuple[Recipe, Results, Sae]:
    """The recipe, the results and the autoencoder, checked and without paths."""
    if "sae" not in run.record.get("stages", {}):
        raise GlossaeError(f"{run.path}: this run has no autoencoder yet: it has not reached the stage sae")
    return shared_recipe(run.recipe), _results(run), _autoencoder(run)


def _autoencoder(run: Run) -> Sae:
    # not `Sae.load`, which warns: what is unsound stands in the notes and on the card
    sae = read_sae(run.file(SAE))
    model, commit = shared_name(run.recipe.model).partition("@")[0], run.record.get("model_commit")
    sae.config = replace(sae.config, model=f"{model}@{commit}" if commit else model)
    return sae


def _knob(run: Run, dose: float | None) -> tuple[Knob | None, list[str]]:
    """The selected latents as a knob; without a given dose a reason, if there can be none."""
    try:
        return knob_of_run(run.path, "latent", "add", dose=dose, whole=False), []
    except GlossaeError as error:
        if dose is not None:
            raise
        return None, [f"no knob is pushed: {error}"]


def _licences(recipe: Recipe, licence: Callable[[Repository], str | None]) -> dict[str, str | None]:
    """The licence of each source by its name; None where it is not known."""
    found: dict[str, str | None] = {}
    for text in filter(None, recipe.corpora.sources.values()):
        for word in shlex.split(text):
            if word == "toy":
                found[word] = _TOY_LICENCE
                continue
            source = parse_source(word)
            if word.startswith("opus:"):
                found[source.name] = "of its own: see https://opus.nlpl.eu"
                continue
            repository = getattr(source, "repository", None)
            found[source.name] = None if repository is None else licence(repository)
    return found
