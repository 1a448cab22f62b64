"""Whether an autoencoder from elsewhere belongs where a run wants it."""

import re

from glossae.errors import GlossaeError
from glossae.lm import Site
from glossae.sae.sae import Sae

# TransformerLens' name for it
SAME = {"gpt2-small": "gpt2"}
IN_CACHE = re.compile(r"models--[^/]+?--([^/]+)/snapshots/")


def check_fits(sae: Sae, *, d_in: int, model: str, site: str, layer: int) -> None:
    """Refuse an autoencoder that was trained on something else. What it does not say is not held against it.

    Args:
        sae: the autoencoder.
        d_in: the width of the run's site.
        model: the run's model; of names, the last part counts, so that a folder may stand for a hub id.
        site: the run's site.
        layer: its layer.

    Raises:
        GlossaeError: its model, its site, its layer or its width is another.
    """
    config = sae.config
    here, there = Site(site, layer), Site(config.site, config.layer)
    if config.model and _bare(config.model) != _bare(model):
        raise GlossaeError(
            f"sae.from: was trained on the model '{config.model}', and this run's is '{model}'; give --model "
            f"{config.model}, or, if they are the same, take the name out of the autoencoder's config"
        )
    if (config.site or site) != site:
        raise GlossaeError(
            f"sae.from: was trained at {there}, and this run is at {here}; "
            f"give --site {config.site} --layer {config.layer}"
        )
    # without a site, layer 0 may mean that neither is known
    if (config.site or config.layer) and config.layer != layer:
        raise GlossaeError(
            f"sae.from: was trained at layer {config.layer}, and this run is at layer {layer}; "
            f"give --layer {config.layer}"
        )
    if config.d_in != d_in:
        raise GlossaeError(f"sae.from: reads {config.d_in} values at a token, and {here} has {d_in}")


def _bare(model: str) -> str:
    """A model's name without who made it, where it lies, and which revision it is."""
    cached = IN_CACHE.search(model)
    name = cached[1] if cached else model.rstrip("/").rpartition("/")[2].partition("@")[0]
    return SAME.get(name.lower(), name.lower())
