"""Read and write sparsify's folders: `HOOKPOINT/cfg.json` and `HOOKPOINT/sae.safetensors`, of both its generations.

Its codes are the k largest of `relu((x - b_dec) @ encoder.weight' + encoder.bias)`, and `x_hat = f @ W_dec +
b_dec`. glossae's top-k selects before the ReLU: the codes are the same except for latents selected at zero.
"""

import re
from pathlib import Path

from glossae.errors import GlossaeError
from glossae.files import shared_name, write_json
from glossae.lm import Site
from glossae.sae.card import sae_card
from glossae.sae.formats import own
from glossae.sae.formats.names import site_of
from glossae.sae.formats.reading import ABSOLUTE, LINEAR_PATH, TRANSCODER, Keys, Tensors, build
from glossae.sae.formats.writing import check_free, check_ours, write_pair
from glossae.sae.sae import Sae

WEIGHTS, CONFIG, ROOT_CONFIG = "sae.safetensors", "cfg.json", "config.json"
NAMES = {"W_enc": "encoder.weight", "b_enc": "encoder.bias"}
NOT_OURS = {"signed": ABSOLUTE, "transcode": TRANSCODER, "skip_connection": LINEAR_PATH}
# initialisation of the decoder, and other terms of the loss
HARMLESS = frozenset({"normalize_decoder", "multi_topk", "expansion_factor"})
SEED = re.compile(r"seed\d+")
MODULE = re.compile(r"\w+(\.\w+)*")
# how far rounding may move the length of a decoder row from 1
UNIT = 1e-3
KIND = "a sparsify export"


def read(path: Path) -> Sae:
    """Read a hookpoint's folder, given the path of its tensors."""
    keys = Keys.read(path.parent / CONFIG)
    keys.only("activation", "topk", why="of sparsify's activations glossae has topk")
    for key, why in NOT_OURS.items():
        keys.only(key, False, why=why)
    d_in, k = keys.whole("d_in"), keys.whole("k")
    # 0 means: use the factor
    latents = keys.maybe_whole("num_latents", least=0) or d_in * keys.whole("expansion_factor")
    keys.done(HARMLESS)
    site, model = _belongs(path.parent.absolute())
    tensors = Tensors.read(path)
    weights = tensors.weights(NAMES, d_in=d_in, latents=latents)
    tensors.done()
    return build(keys.path, weights, site, model=model, k=k)


def _belongs(folder: Path) -> tuple[Site, str]:
    """The site from the folder's name, the model from the training's config beside it, if there is one."""
    folder = folder.parent if SEED.fullmatch(folder.name) else folder
    try:
        training = Keys.read(folder.parent / ROOT_CONFIG).values
    except GlossaeError:
        # no config, or an unrelated file
        training = {}
    names = (training.get("model"), training.get("revision"))
    model = "@".join(name for name in names if isinstance(name, str) and name)
    return site_of(folder.name, model), model


def write(sae: Sae, root: Path, hookpoint: str, card: str = "") -> str:
    """Write a folder in sparsify's format, and return a line about it.

    For an SAE without a pre-encoder bias, the encoder's bias cancels sparsify's subtraction: that is exact.

    Args:
        sae: the SAE.
        root: the folder for all hookpoints of a model.
        hookpoint: the module whose output it reads; empty: unknown, and the files go into `root` itself.
        card: the content of README.md, if it is to say more than what the SAE knows.

    Raises:
        GlossaeError: sparsify has no such SAE, or the folder holds other files.
    """
    config = sae.config
    if config.activation != "topk":
        raise GlossaeError(
            f"--to: sparsify has top-k autoencoders only, and this one's activation is {config.activation}"
        )
    if config.negative:
        raise GlossaeError(
            "--to: sparsify's top-k follows a ReLU, and this autoencoder's latents go below zero"
        )
    if hookpoint and not MODULE.fullmatch(hookpoint):
        raise GlossaeError(f"--hookpoint: '{hookpoint}' is no module's name, such as layers.3.mlp")
    folder = root / hookpoint
    name = shared_name(config.model)
    model, _, revision = name.partition("@")
    training = {key: value for key, value in (("model", model), ("revision", revision)) if value}
    _check_free(root, folder, name, training)
    settings = {
        "activation": "topk",
        "expansion_factor": max(1, config.latents // config.d_in),
        "normalize_decoder": bool(((sae.W_dec.norm(dim=1) - 1).abs() < UNIT).all()),
        "num_latents": config.latents,
        "k": config.k,
        "multi_topk": False,
        "skip_connection": False,
        "transcode": False,
        "d_in": config.d_in,
    }
    if hookpoint and name:
        write_json(root / ROOT_CONFIG, training)
    bias = sae.b_enc if config.pre_encoder_bias else sae.b_enc + sae.W_enc @ sae.b_dec
    tensors = {"encoder.weight": sae.W_enc, "encoder.bias": bias, "W_dec": sae.W_dec, "b_dec": sae.b_dec}
    write_pair(folder / WEIGHTS, tensors, folder / CONFIG, settings, card or sae_card(sae))
    return f"{folder}: sparsify, topk, {config.latents} latents, {hookpoint or 'no hookpoint'}"


def _check_free(root: Path, folder: Path, model: str, training: dict[str, str]) -> None:
    """Check that a hookpoint's folder may be written below a root, beside other hookpoints of the same model."""
    check_free(folder, (WEIGHTS, CONFIG), KIND)
    if own.is_own(folder / WEIGHTS):
        raise GlossaeError(f"--out: {folder} holds glossae's own autoencoder; give another folder")
    check_ours(folder, (WEIGHTS, CONFIG))
    if folder == root:
        return
    siblings = [path.name for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    check_free(root, (ROOT_CONFIG,), KIND, folders=siblings)
    for name in siblings:
        check_free(root / name, (WEIGHTS, CONFIG), KIND)
    there = Keys.read(root / ROOT_CONFIG).values if (root / ROOT_CONFIG).is_file() else {}
    if (siblings or there) and there != training:
        raise GlossaeError(
            f"--out: {root} holds an export from another model than '{model}'; give another folder"
        )
