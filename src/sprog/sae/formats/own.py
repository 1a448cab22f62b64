"""sprog's own files: `sae.safetensors` and `cfg.json`."""

import dataclasses
from pathlib import Path

from torch import Tensor

from sprog.errors import SprogError
from sprog.sae.formats.keys import Keys
from sprog.sae.formats.tensors import Tensors, built, configured
from sprog.sae.formats.writing import write_pair
from sprog.sae.sae import Sae

FORMAT_VERSION = 2
WEIGHTS, CONFIG = "sae.safetensors", "cfg.json"


def save(sae: Sae, folder: Path) -> None:
    """Write an autoencoder into a folder."""
    settings = {"format": FORMAT_VERSION, **dataclasses.asdict(sae.config)}
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
        SprogError: a file is broken, a key is unknown, or tensors do not fit the config.
    """
    keys = Keys.read(path.parent / CONFIG)
    if keys.value("format") != FORMAT_VERSION:
        raise SprogError(f"{keys.path}: is not a sprog autoencoder of format {FORMAT_VERSION}")
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
    return built(config, **taken)
