"""Read dictionary_learning's `ae.pt`, with the `config.json` of its training beside it.

The names of the tensors tell the library's class, except for `AutoEncoderTopK` and `BatchTopKSAE`, which have
the same
names: those need the config. Linear layers there are `(out, in)`, so a column of `decoder.weight` is a
latent's. Latents are in the units of the file; the library's own `from_pretrained` divides those of
`AutoEncoder` by the norms of the decoder's columns, unless it is told not to.
"""

import itertools
from pathlib import Path

from torch import Tensor

from glossae.errors import GlossaeError
from glossae.lm import Site
from glossae.sae.formats.names import site_of
from glossae.sae.formats.reading import GATE, TRANSCODER, Keys, Tensors, build
from glossae.sae.sae import Sae

WEIGHTS, CONFIG, CHECKPOINTS = "ae.pt", "config.json", "checkpoints"
TOPK, BATCHTOPK, MATRYOSHKA = "AutoEncoderTopK", "BatchTopKSAE", "MatryoshkaBatchTopKSAE"
RELU, RELU_NEW, JUMPRELU = "AutoEncoder", "AutoEncoderNew", "JumpReluAutoEncoder"
ACTIVATIONS = {
    RELU: "relu",
    RELU_NEW: "relu",
    JUMPRELU: "jumprelu",
    TOPK: "topk",
    BATCHTOPK: "batchtopk",
    MATRYOSHKA: "batchtopk",
}
# nested dictionaries; an SAE has a handful
MOST_WHOLES = 1000
# tensors of the gated classes
GATED = ("r_mag", "gate_bias", "mag_bias")
# `submodule_name` in the library's own scripts, and the site that it stands for
SUBMODULES = {"resid_post": "resid", "mlp_out": "mlp.out", "attn_out": "attn.out"}
# keys of a trainer that describe its training, and of the buffer of its batches
TRAINING = """
trainer_class lr steps seed device wandb_name warmup_steps decay_start auxk_alpha top_k_aux threshold_beta
threshold_start_step l1_penalty sparsity_warmup_steps resample_steps bandwidth sparsity_penalty target_l0
group_fractions group_weights group_sizes sparsity_function initial_sparsity_penalty sparsity_queue_length
anneal_start anneal_end p_start p_end n_sparsity_updates
"""
BUFFER = "d_submodule n_ctxs ctx_len refresh_batch_size out_batch_size device layer"


def read(path: Path) -> Sae:
    """Read a file of tensors; from a pickle, only tensors are loaded."""
    tensors = Tensors.unpickled(path)
    # the checkpoint of a training is one folder further down
    folder = path.parent.parent if path.parent.name == CHECKPOINTS else path.parent
    there = (folder / CONFIG).is_file()
    keys = Keys.read(folder / CONFIG) if there else Keys({}, folder / CONFIG)
    trainer = keys.group("trainer")
    kind = _class_of(tensors, trainer)
    site, model = _belongs(keys, trainer)
    k = trainer.maybe_whole("k")
    if "k" in tensors:
        of_file, *others = _wholes(tensors, "k")
        if others:
            raise GlossaeError(f"{path}: k should be one number and holds {1 + len(others)}")
        if k not in (None, of_file):
            raise trainer.refused("k", f"{path} says {of_file}")
        k = of_file
    groups = _wholes(tensors, "group_sizes") if "group_sizes" in tensors else []
    weights = _weights(tensors, kind)
    tensors.done()
    latents, d_in = weights["W_enc"].shape
    for key, size in (("activation_dim", d_in), ("dict_size", latents)):
        trainer.only(key, size, why=f"{path} has {size}")
    trainer.done(TRAINING.split())
    return build(
        path,
        weights,
        site,
        model=model,
        activation=ACTIVATIONS[kind],
        k=k,
        pre_encoder_bias=kind not in (RELU_NEW, JUMPRELU),
        matryoshka=tuple(itertools.accumulate(groups)),
    )


def _class_of(tensors: Tensors, trainer: Keys) -> str:
    """The library's class; the config's class name has to agree with the tensors."""
    for name in GATED:
        if name in tensors:
            raise GlossaeError(f"{tensors.path}: holds '{name}'; {GATE}")
    if "W_enc" in tensors:
        possible = [MATRYOSHKA if "group_sizes" in tensors else JUMPRELU]
    elif "b_dec" in tensors:
        possible = [TOPK, BATCHTOPK]
    else:
        possible = [RELU_NEW if "decoder.bias" in tensors else RELU]
    said = trainer.text("dict_class")
    if said and said not in possible:
        raise trainer.refused(
            "dict_class", f"the tensors of {tensors.path} are those of {' or '.join(possible)}"
        )
    if not said and len(possible) > 1:
        raise GlossaeError(
            f"{tensors.path}: is {' or '.join(possible)}; which, only dict_class in {trainer.path} can tell"
        )
    return said or possible[0]


def _wholes(tensors: Tensors, name: str) -> list[int]:
    """Take the positive integers of a tensor of any shape."""
    tensor = tensors.tensors.pop(name)
    some = 0 < tensor.numel() <= MOST_WHOLES
    if tensor.is_floating_point() or tensor.is_complex() or not some or tensor.min() < 1:
        raise GlossaeError(
            f"{tensors.path}: {name} should hold whole numbers above zero, {MOST_WHOLES} at most"
        )
    return [int(number) for number in tensor.flatten().tolist()]


def _weights(tensors: Tensors, kind: str) -> dict[str, Tensor]:
    """The file's tensors under the names and in the shapes of `Sae`."""
    if kind in (JUMPRELU, MATRYOSHKA):
        weights = tensors.weights(columns=("W_enc",))
    else:
        b_dec = {RELU: "bias", RELU_NEW: "decoder.bias"}.get(kind, "b_dec")
        names = {
            "W_enc": "encoder.weight",
            "W_dec": "decoder.weight",
            "b_enc": "encoder.bias",
            "b_dec": b_dec,
        }
        weights = tensors.weights(names, columns=("W_dec",))
    if kind == JUMPRELU:
        weights["threshold"] = tensors.take("threshold", len(weights["b_enc"]))
    elif kind in (BATCHTOPK, MATRYOSHKA):
        weights["threshold"] = tensors.take("threshold")
        if weights["threshold"] < 0:
            raise GlossaeError(
                f"{tensors.path}: threshold is {float(weights['threshold']):g}, so it was never set, and without one "
                "a batch-top-k autoencoder's latents depend on the batch; train it for longer"
            )
    elif kind == TOPK and "threshold" in tensors:
        # kept in the file as information; the class itself selects k
        tensors.take("threshold")
    return weights


def _belongs(keys: Keys, trainer: Keys) -> tuple[Site, str]:
    """The site and the model; a site that the names do not tell is left open."""
    buffer = keys.group("buffer")
    side = buffer.only("io", "in", "out", why=TRANSCODER)
    buffer.done(BUFFER.split())
    keys.done()
    model, name = trainer.text("lm_name"), trainer.text("submodule_name")
    layer = trainer.maybe_whole("layer", least=0)
    short, _, of_layer = name.partition("_layer_")
    if side != "in" and short in SUBMODULES and layer is not None and of_layer in ("", str(layer)):
        return Site(SUBMODULES[short], layer), model
    site = site_of(name, model, "input" if side == "in" else "output")
    # without a site, the layer alone is kept
    return site if site.name else Site("", layer or 0), model
