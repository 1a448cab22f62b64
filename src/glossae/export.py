"""`glossae export`: its flags, and what it does."""

import argparse
import json
from pathlib import Path
from typing import Any

from glossae.errors import GlossaeError
from glossae.files import read_json

_USAGE = "glossae export PLACE --to sae-lens|sparsify|neuronpedia --out FOLDER [--hookpoint MODULE]"
_ABOUT = """\
Write an autoencoder in another library's format, or a run's latents as Neuronpedia's features.

  glossae export runs/demo --to sae-lens --out exported     then in Python: SAE.load_from_disk("exported")
  glossae export runs/demo --to sparsify --out exported     SparseCoder.load_many("exported", local=True)
  glossae export runs/demo --to neuronpedia --out exported  features and activations, gzipped JSON lines

An autoencoder that the format cannot express is refused, with the reason, and nothing is written. A model
card, README.md, is written beside the weights. What makes an autoencoder unsound comes first there and in the
terminal."""


def add_export(commands: Any) -> None:
    """Add `glossae export` to the commands."""
    short = "write an autoencoder in another library's format"
    parser = commands.add_parser("export", help=short, usage=_USAGE, description=_ABOUT)
    parser.set_defaults(do=_export)
    place = (
        "a run's folder, or an autoencoder's folder or file: glossae's, SAELens', sparsify's, Gemma Scope's or "
        "dictionary_learning's"
    )
    parser.need("place", nargs="?", metavar="PLACE", help=place)
    to = (
        "sae-lens (version 6; batch-top-k becomes jumprelu, as SAELens itself saves it), sparsify (top-k only), or "
        "neuronpedia (the latents of a run that has a page each)"
    )
    formats = ("sae-lens", "sparsify", "neuronpedia")
    parser.need("--to", dest="format", choices=formats, metavar="FORMAT", help=to)
    out = "a folder that does not exist, is empty, or holds an export of the same kind"
    parser.need("--out", metavar="FOLDER", help=out)
    module = (
        "sparsify: the module whose output is read, relative to model.base_model, such as layers.3.mlp [by the "
        "site and the model]"
    )
    parser.add_argument("--hookpoint", metavar="MODULE", help=module)


def _export(given: argparse.Namespace) -> dict[str, Any]:
    if given.hookpoint is not None and given.format != "sparsify":
        raise GlossaeError(f"--hookpoint: is for sparsify; {given.format} has its own names")
    place, out, module = Path(given.place), Path(given.out), given.hookpoint
    if given.format == "neuronpedia":
        print(_features(place, out))
        return {"out": str(out), "format": given.format}
    from glossae.lm import Site
    from glossae.sae import hookpoint, read_sae, to_sae_lens, to_sparsify

    sae = read_sae(_weights(place))
    config = sae.config
    card = _card(place, out, given.format)
    if given.format == "sae-lens":
        written = to_sae_lens(sae, out, card)
    else:
        if module is None:
            # an SAE without a known site is written without a hookpoint
            site = Site(config.site, config.layer)
            module = hookpoint(site, _model_type(config.model)) if config.site else ""
        written = to_sparsify(sae, out, module, card)
    print("\n".join([*(f"unsound: {finding}" for finding in sae.unsound), written]))
    own = {
        "activation": config.activation,
        "latents": config.latents,
        "site": config.site,
        "layer": config.layer,
    }
    return {"out": str(out), "format": given.format, **own, "unsound": list(sae.unsound)}


def _weights(place: Path) -> Path:
    """The file of a run's autoencoder, as its stage wrote it; other places as they are."""
    if not (place / "recipe.yaml").is_file():
        return place
    from glossae.run.folder import SAE, open_run

    run = open_run(place)
    if "sae" not in run.record.get("stages", {}):
        raise GlossaeError(f"{place}: this run has no autoencoder yet: it has not reached the stage sae")
    return run.file(SAE)


def _card(place: Path, out: Path, format: str) -> str:
    """The card of a run's autoencoder, with what the run found; of other autoencoders nothing."""
    from glossae.record import RESULTS
    from glossae.run.folder import open_run

    if not (place / RESULTS).is_file():
        return ""
    from glossae.run.sharing import export_card

    folder = json.dumps(out.name, ensure_ascii=False)
    load = {
        "sae-lens": ("from sae_lens import SAE", "", f"sae = SAE.load_from_disk({folder})"),
        "sparsify": ("from sparsify import SparseCoder", "", f"SparseCoder.load_many({folder}, local=True)"),
    }[format]
    ours = ("```python", "import glossae as gl", "", f"sae = gl.Sae.load({folder})", "```", "")
    try:
        return export_card(open_run(place), [*ours, "```python", *load, "```", ""])
    except GlossaeError as error:
        print(f"the card is without what the run found: {error}")
        return ""


def _features(place: Path, out: Path) -> str:
    """Write the latents of a run for Neuronpedia."""
    from glossae.reporting import write_neuronpedia
    from glossae.run.folder import open_run

    run = open_run(place)
    return write_neuronpedia(run.dashboards, run.recipe.model, run.sae().config.latents, out)


def _model_type(model: str) -> str | None:
    """The `model_type` of a model, if it is on this machine. Nothing is fetched."""
    from glossae.plan import model_facts

    try:
        folder = model_facts(model).folder if model else None
        config = read_json(folder / "config.json") if folder else {}
    except (GlossaeError, OSError, ValueError):
        return None
    model_type = config.get("model_type") if isinstance(config, dict) else None
    return model_type if isinstance(model_type, str) else None
