"""Write an SAE as `glossae push` shares it, and fetch one from the hub or a folder."""

import dataclasses
from pathlib import Path

from glossae.files import shared_name
from glossae.hub import Repository, local_place
from glossae.sae.card import CARD
from glossae.sae.formats import own, sae_lens
from glossae.sae.formats.locating import fetch_place
from glossae.sae.formats.names import hook_name
from glossae.sae.formats.writing import FACTS
from glossae.sae.sae import Sae

FILES = (own.WEIGHTS, own.CONFIG, sae_lens.WEIGHTS, FACTS)
"""Names of the files that `write` may write."""


def write(sae: Sae, root: Path) -> str:
    """Write an SAE into a folder below `root`, and return the folder's name, which is SAELens' `sae_id`.

    The folder is SAELens' (`blocks.3.hook_resid_post/cfg.json`). An SAE that SAELens cannot express, top-k without
    a ReLU, is written as glossae's own files.
    """
    config = sae.config
    name = hook_name(config.site, config.layer) or "sae"
    if config.negative:
        shared = Sae(dataclasses.replace(config, model=shared_name(config.model)))
        shared.load_state_dict(sae.state_dict())
        shared.quality, shared.trained_on = sae.quality, sae.trained_on
        shared.save(root / name)
    else:
        sae_lens.write(sae, root / name)
        # the card is the repository's
        (root / name / CARD).unlink()
    return name


def snippets(sae: Sae, repository: str, folder: str) -> list[str]:
    """Lines of a card: how to load the SAE with glossae and with SAELens."""
    lines = [
        "```python",
        "import glossae as gl",
        "",
        f'sae = gl.Sae.from_pretrained("{repository}")',
        "```",
        "",
    ]
    if sae.config.negative:
        return [
            *lines,
            "SAELens cannot read it: its top-k ends in a ReLU, and latents here go below zero.",
            "",
        ]
    lens = f'sae = SAE.from_pretrained("{repository}", "{folder}")'
    return [*lines, "```python", "from sae_lens import SAE", "", lens, "```", ""]


def locate(name: Path | str, revision: str | None, subfolder: str) -> Path:
    """The local folder or file of what `Sae.from_pretrained` names; what is on the hub is fetched.

    Raises:
        GlossaeError: the hub or the network refuses, or there is no SAE or several.
    """
    if place := local_place(name, revision):
        return place / subfolder
    return fetch_place(Repository.named(name, revision), subfolder, str(name)).place
