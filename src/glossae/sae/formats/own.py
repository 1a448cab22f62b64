"""glossae's own files: `sae.safetensors` and `cfg.json`."""

import dataclasses
from pathlib import Path
from typing import Any

from glossae.errors import GlossaeError
from glossae.lm import Site
from glossae.results import SpliceLoss
from glossae.sae.formats.reading import Keys, Tensors, build
from glossae.sae.formats.writing import write_pair
from glossae.sae.sae import Quality, Sae

FORMAT_VERSION = 2
WEIGHTS, CONFIG = "sae.safetensors", "cfg.json"


def save(sae: Sae, folder: Path) -> None:
    """Write an SAE into a folder."""
    settings: dict[str, Any] = {"format": FORMAT_VERSION, **dataclasses.asdict(sae.config)}
    if sae.trained_on:
        settings["trained_on"] = sae.trained_on
    if sae.quality is not None:
        settings["quality"] = {"unsound": sae.unsound, **sae.quality.to_json()}
    write_pair(folder / WEIGHTS, sae.tensors(), folder / CONFIG, settings)


def read(path: Path) -> Sae:
    """Read the files of `save`, given the path of the tensors."""
    keys = Keys.read(path.parent / CONFIG)
    if keys.value("format") != FORMAT_VERSION:
        raise GlossaeError(f"{keys.path}: is not a glossae autoencoder of format {FORMAT_VERSION}")
    d_in, latents = keys.whole("d_in"), keys.whole("latents")
    site = Site(keys.text("site"), keys.maybe_whole("layer", least=0) or 0)
    settings: dict[str, Any] = {
        # `SaeConfig` itself refuses an impossible k
        "k": keys.maybe_whole("k", least=-(2**62)),
        "relu": keys.flag("relu", True),
        "model": keys.text("model"),
        "activation": keys.text("activation") or "topk",
        "tied": keys.flag("tied", False),
        "pre_encoder_bias": keys.flag("pre_encoder_bias", True),
        "matryoshka": keys.wholes("matryoshka"),
    }
    trained_on = keys.text("trained_on")
    quality = _quality(keys.group("quality")) if "quality" in keys else None
    keys.done()
    tensors = Tensors.read(path)
    weights = tensors.weights(without=("W_dec",) if settings["tied"] else (), d_in=d_in, latents=latents)
    shape = {"jumprelu": (latents,), "batchtopk": ()}.get(settings["activation"])
    if shape is not None:
        weights["threshold"] = tensors.take("threshold", *shape)
    tensors.done()
    sae = build(keys.path, weights, site, **settings)
    sae.quality, sae.trained_on = quality, trained_on
    return sae


def _quality(keys: Keys) -> Quality:
    # `unsound` follows from the numbers; it is for those who read the file without glossae
    keys.value("unsound")
    fvus = {name: keys.group(name) for name in ("fvu", "fvu_within", "fvu_normalised")}
    losses = keys.group("ce")
    quality = Quality(
        **{name: {code: fvu.needed(code) for code in fvu.values} for name, fvu in fvus.items()},
        l0=keys.needed("l0"),
        dead_fraction=keys.needed("dead_fraction"),
        top_direction=keys.needed("top_direction"),
        top_tokens=keys.needed("top_tokens"),
        tokens=keys.whole("tokens", least=0),
        ce={code: _splice_loss(losses.group(code)) for code in losses.values},
        judged=keys.texts("judged"),
    )
    keys.done()
    return quality


def _splice_loss(keys: Keys) -> SpliceLoss:
    loss = SpliceLoss(
        raw=keys.needed("raw"),
        spliced=keys.needed("spliced"),
        ablated=keys.needed("ablated"),
        recovered=keys.number("recovered"),
        sentences=keys.whole("sentences", least=0),
        tokens=keys.whole("tokens", least=0),
        half_width=keys.number("half_width"),
    )
    keys.done()
    return loss
