"""Llama Scope's folders: `hyperparams.json` and `checkpoints/final.safetensors`, as lm_saes wrote them in 2024.

Weights are those of training, where activations are scaled to a mean norm of sqrt(d_in). Reading them does what
lm_saes does (He et al. 2024, arXiv:2410.20526, section 3.3.4): with `a = sqrt(d_in) / dataset_average_activation_norm`,

    b_enc / a_in,    b_dec / a_out,    W_dec a_in / a_out,

and then decoder rows get length 1 and the encoder what they had, where `sparsity_include_decoder_norm` says so. The
threshold counts in what the encoder gives after both. Codes and reconstructions are then those of raw activations.
"""

import math
import re
from pathlib import Path

import torch
from torch import Tensor

from glossae.errors import GlossaeError
from glossae.sae.formats.keys import Keys
from glossae.sae.formats.names import site_of
from glossae.sae.formats.tensors import Tensors, built, configured
from glossae.sae.sae import Sae

CONFIG, WEIGHTS = "hyperparams.json", "checkpoints/final.safetensors"
# the config does not name the model; the folder's name does
FOLDER = re.compile(r"Llama3_1-8B-Base-L\d+[A-Z]+-\d+x")
MODEL = "meta-llama/Llama-3.1-8B"
# how training began and went, and where
_TRAINING = """
device seed dtype bias_init_method decoder_exactly_fixed_norm init_decoder_norm init_encoder_norm
init_encoder_with_decoder_transpose lp l1_coefficient l1_coefficient_warmup_steps initial_k k_warmup_steps
use_batch_norm_mse use_ghost_grads tp_size ddp_size
"""


def read(path: Path) -> Sae:
    """Read one autoencoder, given the path of its tensors.

    Raises:
        GlossaeError: a file is broken, or something about the autoencoder is not known or not glossae's.
    """
    folder = path.parent.parent
    keys = Keys.read(folder / CONFIG)
    hook = keys.text("hook_point_in")
    keys.only("hook_point_out", hook, why="a transcoder does not give back what it reads")
    keys.only("use_glu_encoder", False, why="glossae's autoencoders have no gate beside the encoder")
    d_in, expansion = keys.whole("d_model"), keys.maybe_whole("expansion_factor")
    latents = keys.maybe_whole("d_sae") or d_in * (expansion or keys.whole("expansion_factor"))
    biased = keys.flag("use_decoder_bias", True)
    pre_encoder_bias = keys.flag("apply_decoder_bias_to_pre_encoder", True) and biased
    unit_rows = keys.flag("sparsity_include_decoder_norm", True)
    activation, k, threshold = _activation(keys)
    scales = _scales(keys, d_in)
    keys.done(_TRAINING.split())
    model = MODEL if FOLDER.fullmatch(folder.absolute().name) else ""
    site = site_of(hook, model)
    config = configured(
        keys.path,
        d_in=d_in,
        latents=latents,
        activation=activation,
        k=k,
        pre_encoder_bias=pre_encoder_bias,
        model=model,
        site=site.name,
        layer=site.layer,
    )
    tensors = Tensors.read(path)
    taken = {
        "W_enc": tensors.take("encoder.weight", latents, d_in),
        "W_dec": tensors.take("decoder.weight", d_in, latents).T,
        "b_enc": tensors.take("encoder.bias", latents),
        "b_dec": tensors.take("decoder.bias", d_in) if biased else torch.zeros(d_in),
    }
    tensors.done()
    _fold(taken, *scales, unit_rows=unit_rows)
    if activation == "jumprelu":
        taken["threshold"] = torch.full((latents,), threshold)
    return built(config, **taken)


def _activation(keys: Keys) -> tuple[str, int | None, float]:
    """The activation, k and the threshold; a top-k with a threshold was made a JumpReLU after training."""
    said = keys.only("act_fn", "relu", "topk", "jumprelu", why="glossae knows relu, topk and jumprelu")
    threshold, k = keys.number("jump_relu_threshold") or 0.0, keys.maybe_whole("top_k")
    if threshold < 0:
        raise keys.refused("jump_relu_threshold", "it should not be below zero")
    if said == "jumprelu" or (said == "topk" and threshold > 0):
        return "jumprelu", k, threshold
    return (said, keys.whole("top_k"), 0.0) if said == "topk" else ("relu", None, 0.0)


def _scales(keys: Keys, d_in: int) -> tuple[float, float]:
    """What training multiplied activations by, on the way in and on the way out.

    Raises:
        GlossaeError: it was not one number for all tokens, or the number is missing.
    """
    how = keys.only(
        "norm_activation",
        "dataset-wise",
        "inference",
        why="glossae's autoencoders do not scale activations token by token",
    )
    norms = keys.group("dataset_average_activation_norm")
    found = [norms.number(side) for side in ("in", "out")]
    norms.done()
    if how is None:
        raise GlossaeError(f"{keys.path}: the key 'norm_activation' is missing")
    if how == "inference":
        return 1.0, 1.0
    scales = [math.sqrt(d_in) / norm for norm in found if norm is not None and norm > 0]
    if len(scales) != len(found):
        raise keys.refused(
            "dataset_average_activation_norm", 'it should be two numbers above zero: {"in": X, "out": Y}'
        )
    return scales[0], scales[1]


def _fold(tensors: dict[str, Tensor], scale_in: float, scale_out: float, *, unit_rows: bool) -> None:
    """Make weights for scaled activations weights for raw ones, and decoder rows of length 1."""
    tensors["b_enc"] = tensors["b_enc"] / scale_in
    tensors["b_dec"] = tensors["b_dec"] / scale_out
    tensors["W_dec"] = tensors["W_dec"] * (scale_in / scale_out)
    if unit_rows:
        norms = tensors["W_dec"].norm(dim=1)
        tensors["W_enc"] = tensors["W_enc"] * norms[:, None]
        tensors["b_enc"] = tensors["b_enc"] * norms
        tensors["W_dec"] = tensors["W_dec"] / norms.clamp_min(1e-8)[:, None]
