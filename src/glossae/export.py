"""`glossae export`: its flags, its help, and what it does."""

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

What the format cannot say is refused, with the reason, and nothing is written. A model card, README.md, is written
beside the weights; what makes an autoencoder unsound comes first there and in the terminal."""


class Given(NamedTuple):
    """What a `glossae export` line asks for.

    Attributes:
        place: where the autoencoder is.
        to: one of `FORMATS`.
        out: the folder to write.
        hookpoint: the module for sparsify, if one was named.
    """

    place: Path
    to: str
    out: Path
    hookpoint: str | None


def parse(arguments: Sequence[str]) -> Given | None:
    """Read what follows `glossae export`; None: only the help is wanted.

    Raises:
        GlossaeError: something is unknown, missing, or comes twice.
    """
    parser = Parser("glossae export", "", "")
    parser.add_argument("place", nargs="?")
    for flag in ("--to", "--out", "--hookpoint"):
        parser.add_argument(flag, action=Once)
    parser.add_argument("-h", "--help", action="store_true")
    namespace, rest = parser.parse_known_intermixed_args(list(arguments))
    for word in sorted(rest, key=lambda word: not word.startswith("-")):
        if word.startswith("-"):
            flag = word.partition("=")[0]
            raise GlossaeError(f"unknown flag '{flag}'{nearest(flag, FLAGS)}")
        raise GlossaeError(f"unexpected '{word}' after '{namespace.place}'")
    if namespace.help:
        return None
    if not namespace.place:
        raise GlossaeError("export: which autoencoder? Give a run's folder, or an autoencoder's")
    if namespace.to is None:
        raise GlossaeError(f"--to: is missing (there are {' and '.join(FORMATS)})")
    if namespace.to not in FORMATS:
        near = nearest(namespace.to, FORMATS)
        raise GlossaeError(f"--to: unknown format '{namespace.to}'{near} (there are {' and '.join(FORMATS)})")
    if not namespace.out:
        raise GlossaeError("--out: is missing; give a folder")
    if namespace.hookpoint is not None and namespace.to != "sparsify":
        raise GlossaeError(f"--hookpoint: is for sparsify; {namespace.to} has its own names")
    return Given(Path(namespace.place), namespace.to, Path(namespace.out), namespace.hookpoint)


def export(given: Given) -> str:
    """Write the export; return a line for each thing that makes the autoencoder unsound, and one for what was written.

    Raises:
        GlossaeError: the autoencoder cannot be read, the format has none like it, or the folder is not free.
    """
    from glossae.lm import Site
    from glossae.sae import hookpoint, read_sae, to_sae_lens, to_sparsify

    if _unfinished(given.place):
        raise GlossaeError(
            f"{given.place}: this run has no autoencoder yet: it has not reached the stage sae"
        )
    sae = read_sae(given.place)
    found = [f"unsound: {finding}" for finding in sae.unsound]
    if given.to == "sae-lens":
        return "\n".join([*found, to_sae_lens(sae, given.out)])
    module = given.hookpoint
    if module is None:
        config = sae.config
        # one that does not say where it belongs is written without a hookpoint
        module = hookpoint(Site(config.site, config.layer), _family(config.model)) if config.site else ""
    return "\n".join([*found, to_sparsify(sae, given.out, module)])


def _unfinished(place: Path) -> bool:
    """Whether it is a run's folder, and the run has not come to its autoencoder."""
    return (place / "recipe.yaml").is_file() and not (place / "sae" / "sae.safetensors").is_file()


def _family(model: str) -> str | None:
    """The `model_type` of a model, if it is on this machine. Nothing is fetched."""
    from glossae.plan import model_facts

    try:
        folder = model_facts(model).folder if model else None
        config = json.loads((folder / "config.json").read_text(encoding="utf-8")) if folder else {}
    except (GlossaeError, OSError, ValueError):
        return None
    family = config.get("model_type") if isinstance(config, dict) else None
    return family if isinstance(family, str) else None
