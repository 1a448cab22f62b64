"""Gemma Scope's `params.npz` (Gemma 2) and Gemma Scope 2's `params.safetensors` with `config.json` (Gemma 3).

JumpReLU on raw activations, without a pre-encoder bias: `f = pre (pre > threshold)` with `pre = x @ W_enc + b_enc`,
and `x_hat = f @ W_dec + b_dec` (Lieberum et al. 2024). The first have no config: what they belong to is in the
names of their folders, `gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71`.
"""

import contextlib
import re
from pathlib import Path

import numpy as np
import torch

from glossae.errors import GlossaeError
from glossae.lm import Site
from glossae.sae.formats.keys import Keys
from glossae.sae.formats.names import UNKNOWN, site_of
from glossae.sae.formats.tensors import Tensors, built, configured
from glossae.sae.sae import Sae

ARRAYS, WEIGHTS, CONFIG = "params.npz", "params.safetensors", "config.json"
SITES = {"res": "resid", "mlp": "mlp.out"}
RELEASE = re.compile(r"gemma-scope-(2b|9b|27b)-(pt|it)-(res|mlp|att)\b")
LAYER = re.compile(r"layer_(\d{1,5})")
TRANSCODER = re.compile(r"(?<![a-z])(transcoders?|clt|crosscoders?)(?![a-z])")
# so many names of folders say what it is; those around them are the user's own
FOLDERS = 7
NOT_SAME = "a transcoder does not give back what it reads"
# how wide it is and how sparse it came out
HARMLESS = frozenset({"width", "l0"})


def read(path: Path) -> Sae:
    """Read one autoencoder, given the path of its arrays or tensors.

    Raises:
        GlossaeError: a file is broken, or the autoencoder is none of glossae's.
    """
    if path.suffix == ".npz":
        tensors, (site, model) = _arrays(path), _named(path.absolute())
    else:
        tensors, (site, model) = Tensors.read(path), _configured(path.parent / CONFIG)
    # names in capitals and in small letters are both about
    tensors.tensors = {re.sub("^w_", "W_", name): tensor for name, tensor in tensors.tensors.items()}
    if "affine_skip_connection" in tensors:
        raise GlossaeError(
            f"{path}: holds 'affine_skip_connection'; glossae's autoencoders have no linear path beside the latents"
        )
    W_enc = tensors.take("W_enc", None, None)
    d_in, latents = W_enc.shape
    taken = {
        "W_enc": W_enc.T,
        "W_dec": tensors.take("W_dec", latents, d_in),
        "b_enc": tensors.take("b_enc", latents),
        "b_dec": tensors.take("b_dec", d_in),
        "threshold": tensors.take("threshold", latents),
    }
    tensors.drop_ones("scaling_factor", "glossae's autoencoders do not scale latents after selecting them")
    tensors.done()
    config = configured(
        path,
        d_in=d_in,
        latents=latents,
        activation="jumprelu",
        pre_encoder_bias=False,
        model=model,
        site=site.name,
        layer=site.layer,
    )
    return built(config, **taken)


def _arrays(path: Path) -> Tensors:
    """The arrays of a file; nothing in it is unpickled.

    Raises:
        GlossaeError: it cannot be read, or holds something else than floating-point numbers.
    """
    try:
        with path.open("rb") as file, contextlib.closing(np.load(file, allow_pickle=False)) as arrays:
            read = {name: arrays[name] for name in arrays.files}
    except Exception as error:
        # broken bytes end in whatever the zip file's reader or the header's stumbles over first
        raise GlossaeError(f"{path}: cannot be read as NumPy arrays by name ({error})") from error
    for name, array in read.items():
        if array.dtype.kind != "f":
            raise GlossaeError(f"{path}: {name} should hold floating-point numbers and holds {array.dtype}")
    return Tensors({name: torch.from_numpy(array.astype(np.float32)) for name, array in read.items()}, path)


def _named(path: Path) -> tuple[Site, str]:
    """The site and the model, as far as the names of the folders say them.

    Raises:
        GlossaeError: they say that it is no autoencoder of a layer.
    """
    name = "/".join(path.parts[-FOLDERS:])
    if TRANSCODER.search(name):
        raise GlossaeError(f"{path}: is a transcoder's by its path; {NOT_SAME}")
    release = RELEASE.search(name)
    if not release:
        return UNKNOWN, ""
    layer = LAYER.search(name, release.end())
    if "embedding" in path.parts:
        raise GlossaeError(f"{path}: is of the embeddings by its path, and glossae has no such site")
    size, tuned, kind = release.groups()
    # `att` reads the heads before they are put together
    site = SITES.get(kind)
    model = f"google/gemma-2-{size}{'-it' if tuned == 'it' else ''}"
    return Site(site, int(layer[1])) if site and layer else UNKNOWN, model


def _configured(path: Path) -> tuple[Site, str]:
    """The site and the model of a Gemma Scope 2 autoencoder, by its config, if it has one.

    Raises:
        GlossaeError: it says that this is none of glossae's autoencoders.
    """
    if not path.is_file():
        return _named(path.absolute())
    keys = Keys.read(path)
    keys.only("architecture", "jump_relu", "jumprelu", why="Gemma Scope's are jump_relu")
    keys.only("type", "sae", why=NOT_SAME)
    keys.only("affine_connection", False, why="glossae's autoencoders have no linear path beside the latents")
    keys.only("apply_b_dec_to_input", False, why="Gemma Scope's read x as it is")
    model, hook = _on_the_hub(keys.text("model_name")), keys.text("hf_hook_point_in")
    keys.only("hf_hook_point_out", hook, "", why=NOT_SAME)
    keys.done(HARMLESS)
    module, _, side = hook.rpartition(".")
    return site_of(module, model, side), model


def _on_the_hub(model: str) -> str:
    """The hub's name of a model, where a config has the authors' own."""
    model = model.replace("gemma-v3", "gemma-3")
    if "270m" in model:
        model = model.removesuffix("-pt")
    return model if "/" in model or not model else f"google/{model}"
