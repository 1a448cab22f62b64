"""Read and write SAELens' folders: `cfg.json` and `sae_weights.safetensors`, of version 6 and of those before it.

glossae writes `glossae.json` beside them, which has what SAELens' config cannot say: fidelity, the training text, tied
weights, a batch-top-k threshold. It counts only for the two files whose hashes it has.

Its codes are `act((x - b_dec apply_b_dec_to_input) @ W_enc + b_enc)`, and `x_hat = f @ W_dec + b_dec`. Before
version 6 the config is flat; since then the model and site are in `metadata`. Checkpoints of a training differ
from the files
saved at its end: see `_scale` and `_fold_scale`.
"""

from pathlib import Path
from typing import Any

from torch import Tensor

from glossae._version import __version__
from glossae.errors import GlossaeError
from glossae.files import file_sha256, shared_name
from glossae.lm import Site
from glossae.sae.card import sae_card
from glossae.sae.formats import own
from glossae.sae.formats.names import hook_name, site_of
from glossae.sae.formats.reading import ABSOLUTE, GATE, TRANSCODER, Keys, Tensors, build, fold_norms
from glossae.sae.formats.writing import FACTS, check_free, check_ours, write_pair
from glossae.sae.sae import Sae

WEIGHTS, CONFIG, SCALER = "sae_weights.safetensors", "cfg.json", "activation_scaler.json"
# the first version with nested metadata; without this key, SAELens takes the file for an older one and drops
# them
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
    "gated": GATE,
    "abstopk": ABSOLUTE,
    "matching_pursuit": "glossae's autoencoders encode in one step",
    "temporal": "glossae's autoencoders see one token at a time",
    **dict.fromkeys(
        ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder"), TRANSCODER
    ),
}
AS_THEY_ARE = "glossae's autoencoders read activations as they are"
SPLIT = "glossae's sites are not split by head"
# keys of training, of the text, of the model and of logging, over all versions: they do not change what the
# SAE computes. Scaling of latents shows in the tensors, whatever `finetuning_scaling_factor` says
HARMLESS = """
dtype device verbose seed sae_lens_version sae_lens_training_version
model_class_name model_kwargs model_from_pretrained_kwargs hook_layer hook_point_layer hook_eval hook_point_eval
prepend_bos context_size seqpos_slice exclude_special_tokens neuronpedia_id hf_hook_name
sequence_separator_token disable_concat_sequences
dataset_path dataset_trust_remote_code is_dataset_tokenized streaming use_cached_activations
cached_activations_path n_batches_in_buffer tokens_per_buffer training_tokens total_training_tokens
finetuning_tokens store_batch_size store_batch_size_prompts train_batch_size train_batch_size_tokens
act_store_device activations_mixing_fraction
expansion_factor from_pretrained_path decoder_init_norm b_dec_init_method decoder_orthogonal_init
decoder_heuristic_init decoder_heuristic_init_norm init_encoder_as_decoder_transpose normalize_sae_decoder
l1_coefficient lp_norm l1_warm_up_steps mse_loss_normalization scale_sparsity_penalty_by_decoder_norm
use_ghost_grads noise_scale aux_loss_coefficient use_sparse_activations topk_threshold_lr
use_matryoshka_aux_loss jumprelu_init_threshold jumprelu_bandwidth jumprelu_sparsity_loss_mode
jumprelu_tanh_scale jumprelu_ste_to_input l0_coefficient l0_warm_up_steps pre_act_loss_coefficient target_l0
lr lr_scheduler_name lr_warm_up_steps lr_end lr_decay_steps n_restart_cycles adam_beta1 adam_beta2
autocast autocast_lm compile_llm llm_compilation_mode compile_sae sae_compilation_mode
finetuning_method finetuning_scaling_factor
feature_sampling_window feature_sampling_method dead_feature_window dead_feature_threshold
dead_feature_estimation_method resample_batches feature_reinit_scale
n_eval_batches eval_batch_size_prompts log_to_wandb log_activations_store_to_wandb
log_optimizer_state_to_wandb wandb_project wandb_id wandb_entity wandb_log_frequency
eval_every_n_wandb_logs run_name resume n_checkpoints checkpoint_path logger
"""


def read(path: Path) -> Sae:
    """Read a SAELens folder, given the path of its tensors."""
    keys = Keys.read(path.parent / CONFIG)
    architecture = _architecture(keys)
    site, model = _belongs(keys)
    rescaled = keys.flag("rescale_acts_by_decoder_norm", False)
    if rescaled and architecture in ("standard", "jumprelu"):
        raise keys.refused("rescale_acts_by_decoder_norm", f"SAELens knows no such thing of '{architecture}'")
    d_in, latents = keys.whole("d_in"), keys.whole("d_sae")
    widths = keys.wholes("matryoshka_widths") if architecture == "matryoshka_batchtopk" else ()
    if widths and widths[-1] != latents:
        # SAELens also adds the largest size
        widths = (*widths, latents)
    k, biased, scale = _k(keys, architecture), keys.flag("apply_b_dec_to_input", True), _scale(keys)
    keys.done(HARMLESS.split())
    weights = _weights(Tensors.read(path), d_in, latents, architecture)
    if (path.parent / FACTS).is_file():
        return _as_described(own.Described.read(path.parent / FACTS), path, weights)
    if scale is not None:
        _fold_scale(weights, scale, rescaled)
    if rescaled:
        # pre-activations are multiplied by the decoder rows' norms before selection, and divided again before
        # decoding. A batch-top-k threshold already refers to the product
        fold_norms(weights)
    return build(
        keys.path,
        weights,
        site,
        model=model,
        activation=ACTIVATIONS[architecture],
        k=k,
        pre_encoder_bias=biased,
        matryoshka=widths,
    )


def _as_described(known: own.Described, path: Path, weights: dict[str, Tensor]) -> Sae:
    """The SAE that `write` was given.

    Raises:
        GlossaeError: a file was changed since.
    """
    for name in (WEIGHTS, CONFIG):
        if file_sha256(path.parent / name) != known.beside.get(name):
            raise GlossaeError(
                f"{known.path}: describes another {name} than the one beside it (its SHA-256 differs): delete "
                f"{FACTS} to read the autoencoder without it"
            )
    if known.settings["activation"] == "batchtopk":
        weights["threshold"] = weights["threshold"][0]
    if known.settings["tied"]:
        del weights["W_dec"]
    return known.build(weights)


def _architecture(keys: Keys) -> str:
    """One of `ACTIVATIONS`; older files name it by their activation function."""
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
    older.only("signed", False, why=ABSOLUTE)
    older.done()
    if architecture in BATCHTOPK:
        # an average, so it need not be an integer
        average = keys.number("k")
        return int(average) if average is not None and average >= 1 and average == int(average) else None
    if architecture != "topk":
        return None
    return older_k if older_k is not None and "k" not in keys else keys.whole("k")


def _belongs(keys: Keys) -> tuple[Site, str]:
    """The site and the model, from the metadata or, before version 6, the config itself."""
    where = [keys.group("metadata"), keys]
    texts = {
        key: next(filter(None, (part.text(key) for part in where)), "")
        for key in ("hook_name", "hook_point", "model_name", "model_revision", "hook_name_out")
    }
    hook = texts["hook_name"] or texts["hook_point"]
    for part in where:
        for key in ("hook_head_index", "hook_point_head_index"):
            part.only(key, why=SPLIT)
        part.only("hook_name_out", hook, "", why=TRANSCODER)
    reshaped = keys.only("reshape_activations", "none", why=SPLIT)
    if reshaped is None and "hook_z" in hook:
        raise GlossaeError(f'{keys.path}: hook_name is "{hook}"; {SPLIT}')
    keys.only("d_out", keys.value("d_in"), why=TRANSCODER)
    model = "@".join(filter(None, (texts["model_name"], texts["model_revision"])))
    return site_of(hook, model), model


def _scale(keys: Keys) -> float | None:
    """The factor of the inputs; None for no factor.

    While SAELens trains with `expected_average_only_in`, the factor is stored beside the weights; at the end
    it is folded into them and the config says "none".
    """
    how = keys.only("normalize_activations", "none", False, True, AVERAGE, why=AS_THEY_ARE)
    scaled = how in (True, AVERAGE)
    path = keys.path.parent / SCALER
    scaler = Keys.read(path) if path.is_file() else Keys({}, path)
    factor = scaler.number("scaling_factor")
    scaler.only("has_whitening", False, why=AS_THEY_ARE)
    scaler.done()
    if scaled and factor is None:
        raise keys.refused(
            "normalize_activations", f'its factor should stand in {path}: {{"scaling_factor": X}}'
        )
    if factor is not None and (not scaled or factor <= 0):
        raise scaler.refused("scaling_factor", f"{CONFIG} says {how!r} of normalize_activations")
    return factor


def _weights(tensors: Tensors, d_in: int, latents: int, architecture: str) -> dict[str, Tensor]:
    weights = tensors.weights(columns=("W_enc",), d_in=d_in, latents=latents)
    if architecture in BATCHTOPK:
        weights["threshold"] = tensors.take("topk_threshold")
    elif architecture == "jumprelu":
        # older checkpoints of a training store its logarithm
        log = "log_threshold" in tensors
        threshold = tensors.take("log_threshold" if log else "threshold", latents)
        weights["threshold"] = threshold.exp() if log else threshold
    for name in ("scaling_factor", "finetuning_scaling_factor"):
        tensors.drop_ones(name)
    tensors.done()
    return weights


def _fold_scale(weights: dict[str, Tensor], scale: float, rescaled: bool) -> None:
    """Turn weights for `scale x` into weights for x, as SAELens does at the end of a training.

    `b_enc` and thresholds stay the same, except a threshold that is compared after multiplication with the
    norms of the decoder's rows: those norms shrink.
    """
    weights["W_enc"] = weights["W_enc"] * scale
    weights["W_dec"] = weights["W_dec"] / scale
    weights["b_dec"] = weights["b_dec"] / scale
    if rescaled and "threshold" in weights:
        weights["threshold"] = weights["threshold"] / scale


def write(sae: Sae, folder: Path, card: str = "") -> str:
    """Write a folder that SAELens 6 reads, and return a line about it.

    Batch-top-k becomes jumprelu with one threshold for all, as SAELens itself saves it; a tied encoder is
    written out.

    Args:
        sae: the SAE.
        folder: the folder.
        card: the content of README.md, if it is to say more than what the SAE knows.

    Raises:
        GlossaeError: SAELens has no such SAE, or the folder holds other files.
    """
    config = sae.config
    if config.negative:
        raise GlossaeError(
            "--to: SAELens' top-k ends in a ReLU, and this autoencoder's latents go below zero"
        )
    check_free(folder, (WEIGHTS, CONFIG, FACTS), "a SAELens export")
    check_ours(folder, (WEIGHTS, CONFIG))
    architecture = {"relu": "standard", "topk": "topk"}.get(config.activation, "jumprelu")
    tensors = {"W_enc": sae.W_enc.T, "W_dec": sae.W_dec, "b_enc": sae.b_enc, "b_dec": sae.b_dec}
    if sae.threshold is not None:
        tensors["threshold"] = sae.threshold.clamp_min(0).expand(config.latents)
    name = shared_name(config.model)
    model, _, revision = name.partition("@")
    hook = hook_name(config.site, config.layer)
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
    facts = {**own.described(sae), "model": name}
    write_pair(folder / WEIGHTS, tensors, folder / CONFIG, settings, card or sae_card(sae), facts)
    return f"{folder}: SAELens, {architecture}, {config.latents} latents, {hook or 'no hook name'}"
