"""glossae's own files: `sae.safetensors` and `cfg.json`."""

import dataclasses
from pathlib import Path
from typing import Any

from torch import Tensor

from glossae.errors import GlossaeError
from glossae.sae.formats.keys import Keys
from glossae.sae.formats.tensors import Tensors, built, configured
from glossae.sae.formats.writing import write_pair
from glossae.sae.quality import Quality, SpliceLoss
from glossae.sae.sae import Sae

FORMAT_VERSION = 2
WEIGHTS, CONFIG = "sae.safetensors", "cfg.json"


def save(sae: Sae, folder: Path) -> None:
    """Write an autoencoder into a folder."""
    settings: dict[str, Any] = {"format": FORMAT_VERSION, **dataclasses.asdict(sae.config)}
    if sae.trained_on:
        settings["trained_on"] = sae.trained_on
    if sae.quality is not None:
        settings["quality"] = {"unsound": sae.unsound, **dataclasses.asdict(sae.quality)}
    write_pair(folder / WEIGHTS, own_tensors(sae), folder / CONFIG, settings)


def own_tensors(sae: Sae) -> dict[str, Tensor]:
    """What is written of an autoencoder; the one matrix of a tied one is `W_enc`."""
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in sae.state_dict().items()}
    if sae.config.tied:
        del tensors["W_dec"]
    return tensors


def read(path: Path) -> Sae:
    """Read what `save` wrote, given the path of its tensors.

    Raises:
        GlossaeError: a file is broken, a key is unknown, or tensors do not fit the config.
    """
    keys = Keys.read(path.parent / CONFIG)
    if keys.value("format") != FORMAT_VERSION:
        raise GlossaeError(f"{keys.path}: is not a glossae autoencoder of format {FORMAT_VERSION}")
    config = configured(
        keys.path,
        d_in=keys.whole("d_in"),
        latents=keys.whole("latents"),
        # what is no k at all is told by the config itself
        k=keys.maybe_whole("k", least=-(2**62)),
        relu=keys.flag("relu", True),
        model=keys.text("model"),
        site=keys.text("site"),
        layer=keys.maybe_whole("layer", least=0) or 0,
        activation=keys.text("activation") or "topk",
        tied=keys.flag("tied", False),
        pre_encoder_bias=keys.flag("pre_encoder_bias", True),
        matryoshka=keys.wholes("matryoshka"),
    )
    trained_on = keys.text("trained_on")
    quality = _quality(keys) if "quality" in keys else None
    keys.done()
    tensors = Tensors.read(path)
    shapes: dict[str, tuple[int, ...]] = {
        "W_enc": (config.latents, config.d_in),
        "W_dec": (config.latents, config.d_in),
        "b_enc": (config.latents,),
        "b_dec": (config.d_in,),
    }
    if config.tied:
        del shapes["W_dec"]
    if config.activation in ("jumprelu", "batchtopk"):
        shapes["threshold"] = (config.latents,) if config.activation == "jumprelu" else ()
    taken = {name: tensors.take(name, *shape) for name, shape in shapes.items()}
    tensors.done()
    sae = built(config, **taken)
    sae.quality, sae.trained_on = quality, trained_on
    return sae


def _quality(keys: Keys) -> Quality:
    """The measured fidelity."""
    group = keys.group("quality")
    # follows from the numbers, for those who read the file without glossae
    group.value("unsound")
    losses = group.group("ce")
    quality = Quality(
        fvu=_by_language(group.group("fvu")),
        fvu_within=_by_language(group.group("fvu_within")),
        fvu_normalised=_by_language(group.group("fvu_normalised")),
        l0=group.needed("l0"),
        dead_fraction=group.needed("dead_fraction"),
        top_direction=group.needed("top_direction"),
        top_tokens=group.needed("top_tokens"),
        tokens=group.whole("tokens", least=0),
        ce={code: _splice_loss(losses.group(code)) for code in losses.values},
        judged=group.texts("judged"),
    )
    group.done()
    return quality


def _by_language(keys: Keys) -> dict[str, float]:
    return {code: keys.needed(code) for code in keys.values}


def _splice_loss(keys: Keys) -> SpliceLoss:
    ce = SpliceLoss(
        raw=keys.needed("raw"),
        spliced=keys.needed("spliced"),
        ablated=keys.needed("ablated"),
        recovered=keys.number("recovered"),
        sentences=keys.whole("sentences", least=0),
        tokens=keys.whole("tokens", least=0),
        half_width=keys.number("half_width"),
    )
    keys.done()
    return ce
