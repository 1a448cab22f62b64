"""SAELens' folders: `cfg.json` and `sae_weights.safetensors`, of version 6 and of those before it.

Its codes are `act((x - b_dec apply_b_dec_to_input) @ W_enc + b_enc)`, and `x_hat = f @ W_dec + b_dec`. Before
version 6 the config is flat, afterwards what it belongs to stands in `metadata`. Checkpoints of a training
differ from what is saved at its end: see `_scale` and `_fold_norms`.
"""

from pathlib import Path
from typing import Any

from torch import Tensor

from glossae._version import __version__
from glossae.errors import GlossaeError
from glossae.lm import Site
from glossae.sae.formats.keys import Keys
from glossae.sae.formats.names import hook_name, site_of
from glossae.sae.formats.sae_lens_keys import HARMLESS
from glossae.sae.formats.tensors import Tensors, built, configured
from glossae.sae.formats.writing import check_free, write_card, write_pair
from glossae.sae.sae import Sae

WEIGHTS, CONFIG, SCALER = "sae_weights.safetensors", "cfg.json", "activation_scaler.json"
# the first version with nested metadata; without one SAELens reads the file as older and drops them
WRITTEN_AS = "6.0.0"
AVERAGE = "expected_average_only_in"
BATCHTOPK = ("batchtopk", "matryoshka_batchtopk")
ACTIVATIONS = {
    "standard": "relu",
    "topk": "topk",
    "jumprelu": "jumprelu",
    **dict.fromkeys(BATCHTOPK, "batchtopk"),
}
NOT_OURS = {
    "gated": "glossae's autoencoders have no gate beside the encoder",
    "abstopk": "glossae's top-k does not select by absolute value",
    "matching_pursuit": "glossae's autoencoders encode in one step",
    "temporal": "glossae's autoencoders see one token at a time",
    **dict.fromkeys(
        ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder"),
        "a transcoder does not give back what it reads",
    ),
}


def read(path: Path) -> Sae:
    """Read a SAELens folder, given the path of its tensors.

    Raises:
        GlossaeError: a file is broken, or something about the autoencoder is not known or not glossae's.
    """
    keys = Keys.read(path.parent / CONFIG)
    architecture = _architecture(keys)
    site, model = _belongs(keys)
    rescaled = keys.flag("rescale_acts_by_decoder_norm", False)
    if rescaled and architecture in ("standard", "jumprelu"):
        raise keys.refused("rescale_acts_by_decoder_norm", f"SAELens knows no such thing of '{architecture}'")
    latents = keys.whole("d_sae")
    config = configured(
        keys.path,
        d_in=keys.whole("d_in"),
        latents=latents,
        activation=ACTIVATIONS[architecture],
        k=_k(keys, architecture),
        pre_encoder_bias=keys.flag("apply_b_dec_to_input", True),
        matryoshka=_widths(keys, latents) if architecture == "matryoshka_batchtopk" else (),
        model=model,
        site=site.name,
        layer=site.layer,
    )
    scale = _scale(keys)
    keys.done(HARMLESS)
    tensors = _tensors(Tensors.read(path), config.d_in, config.latents, architecture)
    if scale is not None:
        _fold_scale(tensors, scale, rescaled)
    if rescaled:
        _fold_norms(tensors)
    return built(config, **tensors)


def _architecture(keys: Keys) -> str:
    """One of `ACTIVATIONS`: what the file says, where older ones say it by their activation function."""
    said = keys.value("architecture")
    said = "standard" if said is None else said
    if not isinstance(said, str) or said not in ACTIVATIONS:
        why = NOT_OURS.get(said) if isinstance(said, str) else None
        raise keys.refused("architecture", why or f"there are {', '.join(ACTIVATIONS)}")
    for key in ("activation_fn", "activation_fn_str"):
        function = keys.only(key, "relu", "topk", why="glossae knows relu and topk")
        if function == "topk" and said == "standard":
            said = "topk"
        elif function == "topk" and said != "topk":
            raise keys.refused(key, f"that does not go with the architecture '{said}'")
    return said


def _k(keys: Keys, architecture: str) -> int | None:
    older = keys.group("activation_fn_kwargs")
    older_k = older.maybe_whole("k")
    older.only("signed", False, why="glossae's top-k does not select by absolute value")
    older.done()
    if architecture in BATCHTOPK:
        # an average, so it need not be whole
        average = keys.number("k")
        return int(average) if average is not None and average >= 1 and average == int(average) else None
    if architecture != "topk":
        return None
    return older_k if older_k is not None and "k" not in keys else keys.whole("k")


def _widths(keys: Keys, latents: int) -> tuple[int, ...]:
    """The nested dictionaries; SAELens, too, adds the widest where it is left out."""
    widths = keys.wholes("matryoshka_widths")
    return widths if not widths or widths[-1] == latents else (*widths, latents)


def _belongs(keys: Keys) -> tuple[Site, str]:
    """The site and the model, from the metadata or, before version 6, the config itself.

    Raises:
        GlossaeError: it reads one head, heads that are to be put together, or gives another tensor than it reads.
    """
    where = [keys.group("metadata"), keys]
    texts = {}
    for key in ("hook_name", "hook_point", "model_name", "model_revision", "hook_name_out"):
        texts[key] = next(filter(None, (keys.text(key) for keys in where)), "")
    hook = texts["hook_name"] or texts["hook_point"]
    for part in where:
        for key in ("hook_head_index", "hook_point_head_index"):
            part.only(key, why="glossae's sites are not split by head")
        part.only("hook_name_out", hook, "", why="a transcoder does not give back what it reads")
    reshaped = keys.only("reshape_activations", "none", why="glossae's sites are not split by head")
    if reshaped is None and "hook_z" in hook:
        raise GlossaeError(f'{keys.path}: hook_name is "{hook}"; glossae\'s sites are not split by head')
    keys.only("d_out", keys.value("d_in"), why="a transcoder does not give back what it reads")
    model = "@".join(filter(None, (texts["model_name"], texts["model_revision"])))
    return site_of(hook, model), model


def _scale(keys: Keys) -> float | None:
    """What inputs are multiplied by before they are read; None: nothing.

    While SAELens trains with `expected_average_only_in`, the factor stands beside the weights; at the end it is
    folded into them and the config says "none".

    Raises:
        GlossaeError: the factor is missing or contradicts the config, or inputs are normalised in another way.
    """
    how = keys.only(
        "normalize_activations",
        "none",
        False,
        True,
        AVERAGE,
        why="glossae's autoencoders read activations as they are",
    )
    scaled = how in (True, AVERAGE)
    path = keys.path.parent / SCALER
    scaler = Keys.read(path) if path.is_file() else Keys({}, path)
    factor = scaler.number("scaling_factor")
    scaler.only("has_whitening", False, why="glossae's autoencoders read activations as they are")
    scaler.done()
    if scaled and factor is None:
        raise keys.refused(
            "normalize_activations", f'its factor should stand in {path}: {{"scaling_factor": X}}'
        )
    if factor is not None and (not scaled or factor <= 0):
        raise scaler.refused("scaling_factor", f"{CONFIG} says {how!r} of normalize_activations")
    return factor


def _tensors(tensors: Tensors, d_in: int, latents: int, architecture: str) -> dict[str, Tensor]:
    """The file's tensors as `Sae` names and shapes them."""
    taken = {
        "W_enc": tensors.take("W_enc", d_in, latents).T,
        "W_dec": tensors.take("W_dec", latents, d_in),
        "b_enc": tensors.take("b_enc", latents),
        "b_dec": tensors.take("b_dec", d_in),
    }
    if architecture in BATCHTOPK:
        taken["threshold"] = tensors.take("topk_threshold")
    elif architecture == "jumprelu":
        # older checkpoints of a training have its logarithm
        log = "log_threshold" in tensors
        taken["threshold"] = (
            tensors.take("log_threshold", latents).exp() if log else tensors.take("threshold", latents)
        )
    for name in ("scaling_factor", "finetuning_scaling_factor"):
        tensors.drop_ones(name, "glossae's autoencoders do not scale latents after selecting them")
    tensors.done()
    return taken


def _fold_scale(tensors: dict[str, Tensor], scale: float, rescaled: bool) -> None:
    """Make weights for `scale x` weights for x, as SAELens does at the end of a training.

    `b_enc` and thresholds stand as they are, but for a threshold that is compared after multiplication with the
    norms of the decoder's rows: those shrink.
    """
    tensors["W_enc"] = tensors["W_enc"] * scale
    tensors["W_dec"] = tensors["W_dec"] / scale
    tensors["b_dec"] = tensors["b_dec"] / scale
    if rescaled and "threshold" in tensors:
        tensors["threshold"] = tensors["threshold"] / scale


def _fold_norms(tensors: dict[str, Tensor]) -> None:
    """Give decoder rows length 1, and latents what they then stand for.

    With `rescale_acts_by_decoder_norm`, pre-activations are multiplied by the rows' norms before they are
    selected, and divided again before they are decoded. A batch-top-k threshold already counts in the product.
    """
    norms = tensors["W_dec"].norm(dim=1)
    tensors["W_enc"] = tensors["W_enc"] * norms[:, None]
    tensors["b_enc"] = tensors["b_enc"] * norms
    tensors["W_dec"] = tensors["W_dec"] / norms.clamp_min(1e-8)[:, None]


def write(sae: Sae, folder: Path) -> str:
    """Write a folder that SAELens 6 reads, and say what it is.

    Batch-top-k becomes jumprelu with one threshold for all, as SAELens itself saves it; a tied encoder is
    written out.

    Raises:
        GlossaeError: SAELens has no such autoencoder, or the folder holds other things.
    """
    config = sae.config
    if config.negative:
        raise GlossaeError(
            "--to: SAELens' top-k ends in a ReLU, and this autoencoder's latents go below zero"
        )
    check_free(folder, (WEIGHTS, CONFIG), "a SAELens export")
    architecture = {"relu": "standard", "topk": "topk"}.get(config.activation, "jumprelu")
    tensors = {"W_enc": sae.W_enc.T, "W_dec": sae.W_dec, "b_enc": sae.b_enc, "b_dec": sae.b_dec}
    if sae.threshold is not None:
        tensors["threshold"] = sae.threshold.clamp_min(0).expand(config.latents)
    model, _, revision = config.model.partition("@")
    hook = hook_name(Site(config.site, config.layer))
    metadata = {
        "sae_lens_version": WRITTEN_AS,
        "sae_lens_training_version": None,
        "glossae_version": __version__,
        "hook_name": hook,
        "model_name": model or None,
        "model_revision": revision or None,
    }
    settings: dict[str, Any] = {
        "architecture": architecture,
        "d_in": config.d_in,
        "d_sae": config.latents,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": config.pre_encoder_bias,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {key: value for key, value in metadata.items() if value is not None or "version" in key},
    }
    if architecture == "topk":
        settings |= {"k": config.k, "rescale_acts_by_decoder_norm": False}
    write_pair(folder / WEIGHTS, tensors, folder / CONFIG, settings)
    write_card(sae, folder)
    return f"{folder}: SAELens, {architecture}, {config.latents} latents, {hook or 'no hook name'}"
