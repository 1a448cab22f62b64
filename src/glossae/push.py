"""`glossae push`: its flags, and what it does."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from glossae.errors import GlossaeError
from glossae.flags import typed

_USAGE = "glossae push RUN OWNER/NAME [--private] [--revision BRANCH] [--dose X] [--dry-run]"
_ABOUT = """\
Push a run to the Hugging Face hub in one commit: the autoencoder in SAELens' layout, the selected latents as a
knob, results.json, the recipe without paths of this machine, and a model card made of the results.

  glossae push runs/demo me/danish-latents --dry-run    what would be pushed; no network
  glossae push runs/demo me/danish-latents --private

In Python:  glossae.Sae.from_pretrained("me/danish-latents"), glossae.Knob.from_pretrained("me/danish-latents")

The token is the one of 'hf auth login' or HF_TOKEN. A repository is made if there is none. One that holds what
glossae did not push is refused. Results hold prompts and continuations: push only what you may share."""


def add_push(commands: Any) -> None:
    """Add `glossae push` to the commands."""
    short = "push a run's autoencoder, knob, results and card to the Hugging Face hub"
    parser = commands.add_parser("push", help=short, usage=_USAGE, description=_ABOUT)
    parser.set_defaults(do=_push)
    parser.need("run", nargs="?", metavar="RUN", help="the folder of a run that has finished the stage sae")
    parser.need("repository", nargs="?", metavar="OWNER/NAME", help="the repository, a model's")
    private = "make a new repository private; a public one is refused"
    parser.add_argument("--private", action="store_true", help=private)
    branch = "a branch of the repository, which has to exist [the main one]"
    parser.add_argument("--revision", metavar="BRANCH", help=branch)
    dose = (
        "the dose of the knob, such as 4: 1 moves each unit from its mean on the reference's text to its mean on the "
        "target's [the one that the stage steering chose; without either no knob is pushed]"
    )
    parser.add_argument("--dose", type=typed(float), metavar="X", help=dose)
    parser.add_argument("--dry-run", action="store_true", help="push nothing; show what would be pushed")


def _push(given: argparse.Namespace) -> dict[str, Any]:
    from glossae.hub import Repository, require_owner
    from glossae.run import open_run
    from glossae.run.sharing import pack, push_parcel

    if "@" in given.repository:
        raise GlossaeError(f"{given.repository}: give the branch as --revision")
    repository = Repository.named(given.repository, given.revision)
    require_owner(repository)
    run = open_run(Path(given.run))
    with tempfile.TemporaryDirectory() as folder:
        asks = {"licence": lambda _: None} if given.dry_run else {}
        parcel = pack(run, Path(folder), repository, dose=given.dose, **asks)
        print("\n".join(parcel.notes), end="\n" if parcel.notes else "")
        if given.dry_run:
            for name, path in parcel.files.items():
                print(f"{_size(path.stat().st_size):>9}  {name}")
            print(f"nothing is pushed; without --dry-run this goes to {repository.page}")
        else:
            print(push_parcel(parcel, repository, private=given.private))
        sizes = {name: path.stat().st_size for name, path in parcel.files.items()}
    return {"page": repository.page, "pushed": not given.dry_run, "bytes": sizes, "notes": list(parcel.notes)}


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
