"""`glossae export`: its flags, its help, and its work."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from glossae.errors import GlossaeError
from glossae.flags import Once, Parser
from glossae.recipe import nearest

FORMATS = ("sae-lens", "sparsify")
FLAGS = ("--to", "--out", "--hookpoint", "--help")

HELP = """\
usage: glossae export PLACE --to sae-lens|sparsify --out FOLDER [--hookpoint MODULE]

Write an autoencoder in another library's format.

  glossae export runs/demo --to sae-lens --out exported     then in Python: SAE.load_from_disk("exported")
  glossae export runs/demo --to sparsify --out exported     SparseCoder.load_many("exported", local=True)

  PLACE                a run's folder, or an autoencoder's folder or file: glossae's, SAELens', sparsify's,
                       Gemma Scope's or dictionary_learning's
  --to FORMAT          sae-lens: of version 6; batch-top-k becomes jumprelu, as SAELens itself saves it.
                       sparsify: top-k only
  --out FOLDER         a folder that is not there, is empty, or holds an export of the same kind
  --hookpoint MODULE   sparsify: the module whose output is read, relative to model.base_model, such as
                       layers.3.mlp [by the site and the model]

If the format cannot represent the autoencoder, nothing is written and the reason is given. A model card,
README.md, is written beside the weights; reasons that an autoencoder is unsound come first there and on screen."""


class Arguments(NamedTuple):
    """The arguments of a `glossae export` command."""

    place: Path
    to: str
    out: Path
    hookpoint: str | None


def parse(arguments: Sequence[str]) -> Arguments | None:
    """Parse the arguments after `glossae export`; None means that only the help is wanted.

    Raises:
        GlossaeError: an argument is unknown, missing, or given twice.
    """
    parser = Parser("glossae export", "", "")
    parser.add_argument("place", nargs="?")
    for flag in ("--to", "--out", "--hookpoint"):
        parser.add_argument(flag, action=Once)
    parser.add_argument("-h", "--help", action="store_true")
    given, rest = parser.parse_known_intermixed_args(list(arguments))
    for word in sorted(rest, key=lambda word: not word.startswith("-")):
        if word.startswith("-"):
            flag = word.partition("=")[0]
            raise GlossaeError(f"unknown flag '{flag}'{nearest(flag, FLAGS)}")
        raise GlossaeError(f"unexpected '{word}' after '{given.place}'")
    if given.help:
        return None
    formats = f"(there are {' and '.join(FORMATS)})"
    if not given.place:
        raise GlossaeError("export: which autoencoder? Give a run's folder, or an autoencoder's")
    if given.to is None:
        raise GlossaeError(f"--to: is missing {formats}")
    if given.to not in FORMATS:
        raise GlossaeError(f"--to: unknown format '{given.to}'{nearest(given.to, FORMATS)} {formats}")
    if not given.out:
        raise GlossaeError("--out: is missing; give a folder")
    if given.hookpoint is not None and given.to != "sparsify":
        raise GlossaeError(f"--hookpoint: is for sparsify; {given.to} has its own names")
    return Arguments(Path(given.place), given.to, Path(given.out), given.hookpoint)


def export(given: Arguments) -> str:
    """Write the export; return a line for each reason that the SAE is unsound, and one for the files written.

    Raises:
        GlossaeError: the SAE cannot be read, the format cannot hold it, or the folder is not free.
    """
    from glossae.lm import Site
    from glossae.sae import hookpoint, read_sae, to_sae_lens, to_sparsify

    place, module = given.place, given.hookpoint
    if (place / "recipe.yaml").is_file() and not (place / "sae" / "sae.safetensors").is_file():
        raise GlossaeError(f"{place}: this run has no autoencoder yet: it has not reached the stage sae")
    sae = read_sae(place)
    config = sae.config
    if given.to == "sae-lens":
        written = to_sae_lens(sae, given.out)
    else:
        if module is None:
            # an SAE without a known site is written without a hookpoint
            site = Site(config.site, config.layer)
            module = hookpoint(site, _model_type(config.model)) if config.site else ""
        written = to_sparsify(sae, given.out, module)
    return "\n".join([*(f"unsound: {finding}" for finding in sae.unsound), written])


def _model_type(model: str) -> str | None:
    """The `model_type` of a model, if it is on this machine. Nothing is fetched."""
    from glossae.plan import model_facts

    try:
        folder = model_facts(model).folder if model else None
        config = json.loads((folder / "config.json").read_text(encoding="utf-8")) if folder else {}
    except (GlossaeError, OSError, ValueError):
        return None
    model_type = config.get("model_type") if isinstance(config, dict) else None
    return model_type if isinstance(model_type, str) else None
