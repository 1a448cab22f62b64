"""Read released SAEs of three suites, each in its own format: Gemma Scope, Llama Scope and Qwen-Scope."""

import contextlib
import math
import re
import zipfile
from pathlib import Path

import numpy as np
import torch

from glossae.declared import check_archive
from glossae.errors import GlossaeError
from glossae.lm import Site
from glossae.sae.formats.names import UNKNOWN, site_of
from glossae.sae.formats.reading import GATE, LINEAR_PATH, TRANSCODER, Keys, Tensors, build, fold_norms
from glossae.sae.sae import Sae

GEMMA_ARRAYS, GEMMA_WEIGHTS = "params.npz", "params.safetensors"
GEMMA_SITES = {"res": "resid", "mlp": "mlp.out"}
GEMMA_RELEASE = re.compile(r"gemma-scope-(2b|9b|27b)-(pt|it)-(res|mlp|att)\b")
GEMMA_LAYER = re.compile(r"layer_(\d{1,5})")
GEMMA_TRANSCODER = re.compile(r"(?<![a-z])(transcoders?|clt|crosscoders?)(?![a-z])")

LLAMA_WEIGHTS, LLAMA_CONFIG = "checkpoints/final.safetensors", "hyperparams.json"
LLAMA_NAMES = {
    "W_enc": "encoder.weight",
    "W_dec": "decoder.weight",
    "b_enc": "encoder.bias",
    "b_dec": "decoder.bias",
}
# the config does not name the model, but the folder's name does
LLAMA_FOLDER = re.compile(r"Llama3_1-8B-Base-L\d+[A-Z]+-\d+x")
LLAMA_MODEL = "meta-llama/Llama-3.1-8B"
# keys on initialisation, training and devices
LLAMA_HARMLESS = """
device seed dtype bias_init_method decoder_exactly_fixed_norm init_decoder_norm init_encoder_norm
init_encoder_with_decoder_transpose lp l1_coefficient l1_coefficient_warmup_steps initial_k k_warmup_steps
use_batch_norm_mse use_ghost_grads tp_size ddp_size
"""

QWEN_FILES = "layer*.sae.pt"
QWEN_NAME = re.compile(r"layer(\d{1,5})\.sae\.pt")
QWEN_REPOSITORY = re.compile(r"SAE-Res-(Qwen[\w.-]*?)-W\d+K-L0_(\d{1,6})(?![\w.-])")


def read_gemma(path: Path) -> Sae:
    """Read Gemma Scope's `params.npz` (Gemma 2), or Gemma Scope 2's `params.safetensors` (Gemma 3).

    JumpReLU on raw activations, without a pre-encoder bias: `f = pre (pre > threshold)` with `pre = x @ W_enc
    + b_enc`, and `x_hat = f @ W_dec + b_dec` (Lieberum et al. 2024). Gemma Scope has no config: the names of
    its folders give model and site, `gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71`.
    """
    if path.suffix == ".npz":
        tensors, (site, model) = _arrays(path), _gemma_by_folders(path.absolute())
    else:
        tensors, (site, model) = Tensors.read(path), _gemma_by_config(path.parent / "config.json")
    # some files write the names in capitals, others in small letters
    tensors.tensors = {re.sub("^w_", "W_", name): tensor for name, tensor in tensors.tensors.items()}
    if "affine_skip_connection" in tensors:
        raise GlossaeError(f"{path}: holds 'affine_skip_connection'; {LINEAR_PATH}")
    weights = tensors.weights(columns=("W_enc",))
    weights["threshold"] = tensors.take("threshold", len(weights["b_enc"]))
    tensors.drop_ones("scaling_factor")
    tensors.done()
    return build(path, weights, site, model=model, activation="jumprelu", pre_encoder_bias=False)


def _arrays(path: Path) -> Tensors:
    """The arrays of a file, without unpickling."""
    try:
        check_archive(path)
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                _check_array(archive, member)
        with path.open("rb") as file, contextlib.closing(np.load(file, allow_pickle=False)) as arrays:
            read = {name: arrays[name] for name in arrays.files}
    except GlossaeError:
        raise
    except Exception as error:
        # broken bytes raise whatever the zip or header reader meets first
        reason = str(error).partition("\n")[0]
        raise GlossaeError(f"{path}: cannot be read as NumPy arrays by name ({reason})") from error
    for name, array in read.items():
        # NumPy gives what is no array as its bytes
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            kind = array.dtype if isinstance(array, np.ndarray) else "none"
            raise GlossaeError(f"{path}: {name} should hold floating-point numbers and holds {kind}")
    return Tensors({name: torch.from_numpy(array.astype(np.float32)) for name, array in read.items()}, path)


def _check_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Refuse an array whose header declares more or fewer bytes than the archive has of it."""
    with archive.open(member) as file:
        try:
            version = np.lib.format.read_magic(file)
        except ValueError:
            return
        # version 3 is for names of fields, which arrays of numbers have not
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in readers:
            raise ValueError(f"{member.filename[:60]!a} is of the version {version}")
        shape, _, dtype = readers[version](file)
        declared, held = math.prod(shape) * dtype.itemsize, member.file_size - file.tell()
    if declared != held:
        raise ValueError(f"{member.filename[:60]!a} declares {declared:,} bytes and has {held:,}")


def _gemma_by_folders(path: Path) -> tuple[Site, str]:
    """The site and the model, as far as the names of the folders tell them."""
    # the last 7 parts of the path can name them; folders above are the user's own
    name = "/".join(path.parts[-7:])
    if GEMMA_TRANSCODER.search(name):
        raise GlossaeError(f"{path}: is a transcoder's by its path; {TRANSCODER}")
    release = GEMMA_RELEASE.search(name)
    if not release:
        return UNKNOWN, ""
    layer = GEMMA_LAYER.search(name, release.end())
    if "embedding" in path.parts:
        raise GlossaeError(f"{path}: is of the embeddings by its path, and glossae has no such site")
    size, tuned, kind = release.groups()
    # `att` reads the heads before they are concatenated
    site = GEMMA_SITES.get(kind)
    model = f"google/gemma-2-{size}{'-it' if tuned == 'it' else ''}"
    return Site(site, int(layer[1])) if site and layer else UNKNOWN, model


def _gemma_by_config(path: Path) -> tuple[Site, str]:
    """The site and the model of a Gemma Scope 2 SAE, from its config, if it has one."""
    if not path.is_file():
        return _gemma_by_folders(path.absolute())
    keys = Keys.read(path)
    keys.only("architecture", "jump_relu", "jumprelu", why="Gemma Scope's are jump_relu")
    keys.only("type", "sae", why=TRANSCODER)
    keys.only("affine_connection", False, why=LINEAR_PATH)
    keys.only("apply_b_dec_to_input", False, why="Gemma Scope's read x as it is")
    model, hook = keys.text("model_name"), keys.text("hf_hook_point_in")
    keys.only("hf_hook_point_out", hook, "", why=TRANSCODER)
    # its width and its resulting sparsity
    keys.done(("width", "l0"))
    # the config has the authors' own name of the model; this is the hub's
    model = model.replace("gemma-v3", "gemma-3")
    if "270m" in model:
        model = model.removesuffix("-pt")
    if model and "/" not in model:
        model = f"google/{model}"
    module, _, side = hook.rpartition(".")
    return site_of(module, model, side), model


def read_llama(path: Path) -> Sae:
    """Read Llama Scope's `hyperparams.json` and `checkpoints/final.safetensors`, as lm_saes wrote them in 2024.

    The weights are those of training, where activations are scaled to a mean norm of sqrt(d_in). Reading them
    follows lm_saes (He et al. 2024, arXiv:2410.20526, section 3.3.4): with
    `a = sqrt(d_in) / dataset_average_activation_norm`,

        b_enc / a_in,    b_dec / a_out,    W_dec a_in / a_out,

    and then, if `sparsity_include_decoder_norm` is set, decoder rows get length 1 and the encoder takes their
    lengths. The threshold applies to the encoder's output after both. Codes and reconstructions are those of
    raw activations.
    """
    folder = path.parent.parent
    keys = Keys.read(folder / LLAMA_CONFIG)
    hook = keys.text("hook_point_in")
    keys.only("hook_point_out", hook, why=TRANSCODER)
    keys.only("use_glu_encoder", False, why=GATE)
    d_in, expansion = keys.whole("d_model"), keys.maybe_whole("expansion_factor")
    latents = keys.maybe_whole("d_sae") or d_in * (expansion or keys.whole("expansion_factor"))
    biased = keys.flag("use_decoder_bias", True)
    pre_encoder_bias = keys.flag("apply_decoder_bias_to_pre_encoder", True) and biased
    unit_rows = keys.flag("sparsity_include_decoder_norm", True)
    activation, k, threshold = _llama_activation(keys)
    scale_in, scale_out = _llama_scales(keys, d_in)
    keys.done(LLAMA_HARMLESS.split())
    model = LLAMA_MODEL if LLAMA_FOLDER.fullmatch(folder.absolute().name) else ""
    tensors = Tensors.read(path)
    without = () if biased else ("b_dec",)
    weights = tensors.weights(LLAMA_NAMES, columns=("W_dec",), without=without, d_in=d_in, latents=latents)
    tensors.done()
    weights["b_enc"] = weights["b_enc"] / scale_in
    weights["b_dec"] = weights["b_dec"] / scale_out if biased else torch.zeros(d_in)
    weights["W_dec"] = weights["W_dec"] * (scale_in / scale_out)
    if unit_rows:
        fold_norms(weights)
    if activation == "jumprelu":
        weights["threshold"] = torch.full((latents,), threshold)
    return build(
        keys.path,
        weights,
        site_of(hook, model),
        model=model,
        activation=activation,
        k=k,
        pre_encoder_bias=pre_encoder_bias,
    )


def _llama_activation(keys: Keys) -> tuple[str, int | None, float]:
    """The activation, k and the threshold; a top-k with a threshold was made a JumpReLU after training."""
    said = keys.only("act_fn", "relu", "topk", "jumprelu", why="glossae knows relu, topk and jumprelu")
    threshold, k = keys.number("jump_relu_threshold") or 0.0, keys.maybe_whole("top_k")
    if threshold < 0:
        raise keys.refused("jump_relu_threshold", "it should not be below zero")
    if said == "jumprelu" or (said == "topk" and threshold > 0):
        return "jumprelu", k, threshold
    return (said, keys.whole("top_k"), 0.0) if said == "topk" else ("relu", None, 0.0)


def _llama_scales(keys: Keys, d_in: int) -> tuple[float, float]:
    """The factors of activations in training, at the input and at the output."""
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
        raise keys.missing("norm_activation")
    if how == "inference":
        return 1.0, 1.0
    scales = [math.sqrt(d_in) / norm for norm in found if norm is not None and norm > 0]
    if len(scales) != len(found):
        raise keys.refused(
            "dataset_average_activation_norm", 'it should be two numbers above zero: {"in": X, "out": Y}'
        )
    return scales[0], scales[1]


def read_qwen(path: Path) -> Sae:
    """Read Qwen-Scope's `layer{N}.sae.pt`: four pickled tensors for a layer of a Qwen 3 or Qwen 3.5 model.

    Top-k of the residual stream after a block, without a ReLU and without a pre-encoder bias: `f = topk(x @
    W_enc.T + b_enc)`, and `x_hat = f @ W_dec.T + b_dec` with `W_enc` `(latents, d_in)` and `W_dec` `(d_in,
    latents)` (the models' cards; Qwen Team 2026, arXiv:2605.11887). The file's name gives the layer, the
    repository's name the model and k: `Qwen/SAE-Res-Qwen3-8B-Base-W64K-L0_50`.
    """
    layer = QWEN_NAME.fullmatch(path.name)
    # the last 4 parts of the path can be the repository's name; folders above are the user's own
    repository = QWEN_REPOSITORY.search("/".join(path.absolute().parent.parts[-4:]))
    if layer is None or repository is None:
        raise GlossaeError(
            f"{path}: which model and k it belongs to is only in the name of its repository: keep it in a folder of "
            "that name, SAE-Res-MODEL-W..K-L0_K/layerN.sae.pt"
        )
    tensors = Tensors.unpickled(path)
    weights = tensors.weights(columns=("W_dec",))
    tensors.done()
    return build(
        path,
        weights,
        Site("resid", int(layer[1])),
        model=f"Qwen/{repository[1]}",
        k=int(repository[2]),
        relu=False,
        pre_encoder_bias=False,
    )
