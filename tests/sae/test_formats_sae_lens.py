"""SAELens' files, of every version and stage, mean here what they mean there; what is not ours is refused."""

import json

import numpy as np
import pytest
import torch
from other_libraries import D_IN, LATENTS, K, agrees, inputs, sae_lens, sae_lens_config, weights, write

from glossae.errors import GlossaeError
from glossae.sae import Sae

THRESHOLDS = {"threshold": (LATENTS,)}


def save(folder, w, config):
    return write(folder, "sae_weights.safetensors", w, "cfg.json", config)


def refusal(folder):
    with pytest.raises(GlossaeError) as caught:
        Sae.load(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    return str(caught.value)


# ---- what is read


@pytest.mark.parametrize("shape", [(40,), (3, 5), (1, 2, 3), ()])
@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("architecture", ["standard", "topk", "jumprelu"])
def test_version_6(tmp_path, architecture, applied, shape):
    w = weights(**(THRESHOLDS if architecture == "jumprelu" else {}))
    config = sae_lens_config(architecture, apply_b_dec_to_input=applied)
    sae = Sae.load(save(tmp_path, w, config))
    assert sae.config.activation == {"standard": "relu"}.get(architecture, architecture)
    x = inputs(*shape)
    agrees(sae, x, *sae_lens(config, w, x))


def test_it_says_what_it_belongs_to(tmp_path):
    config = Sae.load(save(tmp_path, weights(), sae_lens_config())).config
    assert (config.model, config.site, config.layer) == ("pythia-70m-deduped", "resid", 3)
    assert (config.d_in, config.latents, config.k) == (D_IN, LATENTS, K)


@pytest.mark.parametrize(
    ("hook", "site", "layer"),
    [
        ("blocks.12.mlp.hook_post", "mlp.hidden", 12),
        ("blocks.0.hook_mlp_out", "mlp.out", 0),
        ("blocks.7.hook_attn_out", "attn.out", 7),
        ("blocks.7.hook_resid_pre", "resid", 6),
        ("blocks.0.hook_resid_pre", "", 0),
        ("blocks.4.hook_resid_mid", "", 0),
        ("hook_embed", "", 0),
        ("gpt_neox.layers.5", "resid", 5),
        ("model.layers.5.mlp", "mlp.out", 5),
        ("transformer.h.2.attn", "attn.out", 2),
        ("model.layers.5.mlp.experts.3", "", 0),
    ],
)
def test_hooks_are_sites(tmp_path, hook, site, layer):
    config = sae_lens_config(metadata={"sae_lens_version": "6.0.0", "hook_name": hook})
    found = Sae.load(save(tmp_path, weights(), config)).config
    assert (found.site, found.layer) == (site, layer)


def test_norms_that_pre_activations_are_multiplied_by_are_folded(tmp_path):
    w = weights()
    config = sae_lens_config(rescale_acts_by_decoder_norm=True)
    sae = Sae.load(save(tmp_path, w, config))
    x = inputs(4, 10)
    agrees(sae, x, *sae_lens(config, w, x))
    # the flag changes which latents are selected, so this is no detail
    plain = sae_lens(sae_lens_config(), w, x)[0] > 0
    assert (plain != (sae_lens(config, w, x)[0] > 0)).any()
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(LATENTS))


def test_a_decoder_row_of_zeros_is_a_latent_that_never_fires(tmp_path):
    w = weights()
    w["W_dec"][3] = 0
    w["b_enc"][3] = 100
    config = sae_lens_config(rescale_acts_by_decoder_norm=True)
    codes = Sae.load(save(tmp_path, w, config)).encode(torch.from_numpy(inputs(20)))
    assert not ((codes.indices == 3) & (codes.values > 0)).any()


TRAINING = {
    "topk_threshold_lr": 0.01,
    "aux_loss_coefficient": 1.0,
    "decoder_init_norm": 0.1,
    "use_sparse_activations": False,
}


@pytest.mark.parametrize("architecture", ["batchtopk", "matryoshka_batchtopk"])
@pytest.mark.parametrize("rescaled", [True, False])
def test_checkpoints_of_batch_top_k(tmp_path, architecture, rescaled):
    w = weights() | {"topk_threshold": np.float64(2.5)}
    config = sae_lens_config(architecture, k=4.0, rescale_acts_by_decoder_norm=rescaled, **TRAINING)
    if architecture == "matryoshka_batchtopk":
        config |= {"matryoshka_widths": [6, 12], "use_matryoshka_aux_loss": True}
    sae = Sae.load(save(tmp_path, w, config))
    assert (sae.config.activation, sae.config.k) == ("batchtopk", 4)
    assert sae.config.matryoshka == ((6, 12, LATENTS) if "matryoshka_widths" in config else ())
    x = inputs(3, 7)
    agrees(sae, x, *sae_lens(config, w, x))


def test_an_average_that_is_not_whole(tmp_path):
    config = sae_lens_config("batchtopk", k=2.5, rescale_acts_by_decoder_norm=False)
    assert Sae.load(save(tmp_path, weights() | {"topk_threshold": np.float64(1)}, config)).config.k is None


def test_checkpoints_with_the_logarithm_of_thresholds(tmp_path):
    w = weights(**THRESHOLDS)
    thresholds = w.pop("threshold")
    config = sae_lens_config("jumprelu", jumprelu_bandwidth=0.05, l0_coefficient=1.0)
    sae = Sae.load(save(tmp_path, w | {"log_threshold": thresholds}, config))
    x = inputs(30)
    agrees(sae, x, *sae_lens(config, w | {"threshold": np.exp(thresholds)}, x))


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize(
    ("architecture", "rescaled"),
    [(a, False) for a in ("topk", "batchtopk", "jumprelu", "standard")]
    + [("topk", True), ("batchtopk", True)],
)
def test_the_scale_of_a_training_is_folded(tmp_path, architecture, applied, rescaled):
    w = weights(**(THRESHOLDS if architecture == "jumprelu" else {}))
    w |= {"topk_threshold": np.float64(2.5)} if architecture == "batchtopk" else {}
    config = sae_lens_config(
        architecture,
        normalize_activations="expected_average_only_in",
        apply_b_dec_to_input=applied,
        rescale_acts_by_decoder_norm=rescaled,
    )
    save(tmp_path, w, config)
    (tmp_path / "activation_scaler.json").write_text('{"scaling_factor": 0.37, "has_whitening": false}')
    x = inputs(2, 9)
    agrees(Sae.load(tmp_path), x, *sae_lens(config, w, x, scale=0.37))


def test_a_scaler_that_has_done_its_work(tmp_path):
    save(tmp_path, weights(), sae_lens_config())
    (tmp_path / "activation_scaler.json").write_text('{"scaling_factor": null, "has_whitening": false}')
    x = inputs(5)
    agrees(Sae.load(tmp_path), x, *sae_lens(sae_lens_config(), weights(), x))


# what Joseph Bloom's autoencoders of GPT-2 say of themselves, in the first of all formats
OLDEST = {
    "model_name": "gpt2-small",
    "hook_point": "blocks.5.hook_resid_pre",
    "hook_point_layer": 5,
    "hook_point_head_index": None,
    "dataset_path": "Skylion007/openwebtext",
    "dataset_trust_remote_code": True,
    "is_dataset_tokenized": False,
    "context_size": 128,
    "use_cached_activations": False,
    "cached_activations_path": "activations/Skylion007_openwebtext/gpt2-small",
    "d_in": D_IN,
    "n_batches_in_buffer": 128,
    "total_training_tokens": 300000000,
    "store_batch_size": 32,
    "device": "mps",
    "seed": 42,
    "dtype": "torch.float32",
    "b_dec_init_method": "geometric_median",
    "expansion_factor": 3,
    "from_pretrained_path": None,
    "l1_coefficient": 8e-05,
    "lr": 0.0004,
    "lr_scheduler_name": None,
    "lr_warm_up_steps": 5000,
    "model_from_pretrained_kwargs": {"center_writing_weights": True},
    "train_batch_size": 4096,
    "use_ghost_grads": False,
    "feature_sampling_window": 1000,
    "finetuning_scaling_factor": False,
    "feature_sampling_method": None,
    "resample_batches": 1028,
    "feature_reinit_scale": 0.2,
    "dead_feature_window": 5000,
    "dead_feature_estimation_method": "no_fire",
    "dead_feature_threshold": 1e-08,
    "log_to_wandb": True,
    "wandb_project": "mats_sae_training_gpt2_small_resid_pre_5",
    "wandb_entity": None,
    "wandb_log_frequency": 100,
    "n_checkpoints": 10,
    "checkpoint_path": "checkpoints/y1t51byy",
    "d_sae": LATENTS,
    "tokens_per_buffer": 67108864,
    "run_name": "24576-L1-8e-05-LR-0.0004-Tokens-3.000e+08",
    "neuronpedia_id": "gpt2-small/0-res-jb",
    "prepend_bos": True,
    "sae_lens_training_version": None,
}


@pytest.mark.parametrize("normalised", [False, None, "none", ...])
def test_the_oldest_files(tmp_path, normalised):
    config = OLDEST | {} if normalised is ... else OLDEST | {"normalize_activations": normalised}
    w = weights()
    sae = Sae.load(save(tmp_path, w | {"scaling_factor": np.ones(LATENTS, np.float32)}, config))
    assert (sae.config.model, sae.config.site, sae.config.layer) == ("gpt2-small", "resid", 4)
    x = inputs(2, 3)
    agrees(sae, x, *sae_lens({"architecture": "standard", "apply_b_dec_to_input": True}, w, x))


OLDER = {
    "d_in": D_IN,
    "d_sae": LATENTS,
    "dtype": "float32",
    "device": "cpu",
    "model_name": "EleutherAI/pythia-70m",
    "hook_name": "blocks.2.hook_mlp_out",
    "hook_layer": 2,
    "hook_head_index": None,
    "apply_b_dec_to_input": False,
    "finetuning_scaling_factor": False,
    "sae_lens_training_version": "5.3.0",
    "prepend_bos": True,
    "dataset_path": "",
    "context_size": 128,
    "normalize_activations": "none",
}


@pytest.mark.parametrize("key", ["activation_fn_str", "activation_fn"])
@pytest.mark.parametrize("architecture", ["standard", "topk"])
def test_older_top_k(tmp_path, key, architecture):
    w = weights()
    config = OLDER | {"architecture": architecture, key: "topk", "activation_fn_kwargs": {"k": 5}}
    sae = Sae.load(save(tmp_path, w, config))
    assert (sae.config.site, sae.config.layer, sae.config.k) == ("mlp.out", 2, 5)
    x = inputs(30)
    agrees(sae, x, *sae_lens({"architecture": "topk", "k": 5, "apply_b_dec_to_input": False}, w, x))


def test_older_jumprelu(tmp_path):
    w = weights(**THRESHOLDS)
    config = OLDER | {"architecture": "jumprelu", "activation_fn_str": "relu", "activation_fn_kwargs": {}}
    x = inputs(30)
    agrees(
        Sae.load(save(tmp_path, w, config)),
        x,
        *sae_lens({"architecture": "jumprelu", "apply_b_dec_to_input": False}, w, x),
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions(tmp_path, dtype):
    w = {name: torch.from_numpy(a).to(dtype) for name, a in weights().items()}
    sae = Sae.load(save(tmp_path, w, sae_lens_config()))
    assert sae.W_enc.dtype == torch.float32
    x = inputs(30)
    agrees(sae, x, *sae_lens(sae_lens_config(), {name: a.float().numpy() for name, a in w.items()}, x))


# ---- what is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "gated"}, 'architecture is "gated"; glossae\'s autoencoders have no gate'),
        ({"architecture": "abstopk"}, 'architecture is "abstopk"'),
        ({"architecture": "matching_pursuit"}, 'architecture is "matching_pursuit"'),
        ({"architecture": "temporal"}, 'architecture is "temporal"'),
        ({"architecture": "transcoder"}, 'architecture is "transcoder"; a transcoder does not give back'),
        ({"architecture": "jumprelu_skip_transcoder"}, 'architecture is "jumprelu_skip_transcoder"'),
        ({"architecture": "toppk"}, 'architecture is "toppk"; there are standard, topk, jumprelu'),
        ({"architecture": ["topk"]}, 'architecture is ["topk"]'),
        ({"normalize_activations": "layer_norm"}, 'normalize_activations is "layer_norm"'),
        (
            {"normalize_activations": "covariance_whitening"},
            'normalize_activations is "covariance_whitening"',
        ),
        (
            {"normalize_activations": "constant_norm_rescale"},
            'normalize_activations is "constant_norm_rescale"',
        ),
        ({"normalize_activations": "expected_average_only_in"}, "its factor should stand in"),
        ({"normalize_activations": True}, "its factor should stand in"),
        ({"normalize_activations": 1}, "its factor should stand in"),
        ({"reshape_activations": "hook_z"}, 'reshape_activations is "hook_z"'),
        ({"rescale_acts_by_decoder_norm": "yes"}, "it should be true or false"),
        ({"apply_b_dec_to_input": 0}, "it should be true or false"),
        ({"activation_fn_str": "tanh-relu"}, 'activation_fn_str is "tanh-relu"'),
        ({"activation_fn_kwargs": {"k": 4, "signed": True}}, "activation_fn_kwargs.signed is true"),
        ({"activation_fn_kwargs": {"sharpness": 2}}, "'activation_fn_kwargs.sharpness' is not known"),
        ({"k": 0}, "k is 0"),
        ({"k": LATENTS + 1}, "sae.k: has to be between 1"),
        ({"k": None}, "the key 'k' is missing"),
        ({"d_in": None}, "the key 'd_in' is missing"),
        ({"d_sae": 12}, f"W_enc should be ({D_IN}, 12) and is ({D_IN}, {LATENTS})"),
        ({"d_out": 5}, "d_out is 5"),
        ({"metadata": {"hook_head_index": 3}}, "metadata.hook_head_index is 3"),
        ({"hook_head_index": 3}, "hook_head_index is 3"),
        (
            {"metadata": {"hook_name": "blocks.1.hook_mlp_in", "hook_name_out": "blocks.1.hook_mlp_out"}},
            "metadata.hook_name_out is",
        ),
        ({"metadata": []}, "metadata is []; it should be an object"),
        ({"sharpening": 2.0}, "the key 'sharpening' is not known, so what it changes is not either"),
    ],
)
def test_what_is_not_ours(tmp_path, changes, message):
    assert message in refusal(save(tmp_path, weights(), sae_lens_config() | changes))


def test_an_unknown_key_that_says_nothing(tmp_path):
    Sae.load(save(tmp_path, weights(), sae_lens_config() | {"sharpening": None}))


def test_heads_put_together_without_saying_so(tmp_path):
    config = OLDER | {"hook_name": "blocks.2.attn.hook_z"}
    assert 'hook_name is "blocks.2.attn.hook_z"' in refusal(save(tmp_path, weights(), config))


@pytest.mark.parametrize("architecture", ["standard", "jumprelu"])
def test_norms_where_sae_lens_knows_none(tmp_path, architecture):
    config = sae_lens_config(architecture, rescale_acts_by_decoder_norm=True)
    assert "rescale_acts_by_decoder_norm is true" in refusal(save(tmp_path, weights(**THRESHOLDS), config))


@pytest.mark.parametrize(
    ("how", "scaler", "message"),
    [
        ("expected_average_only_in", {"scaling_factor": None}, "its factor should stand in"),
        ("expected_average_only_in", {"scaling_factor": -1.0}, "scaling_factor is -1.0"),
        ("expected_average_only_in", {"scaling_factor": "1"}, "it should be a number"),
        ("expected_average_only_in", {"scaling_factor": float("nan")}, "it should be a finite number"),
        ("expected_average_only_in", {"scaling_factor": 2.0, "mean": [0]}, "the key 'mean' is not known"),
        ("none", {"scaling_factor": 2.0}, "cfg.json says 'none' of normalize_activations"),
        ("none", {"scaling_factor": None, "has_whitening": True}, "has_whitening is true"),
    ],
)
def test_scalers_that_do_not_fit(tmp_path, how, scaler, message):
    save(tmp_path, weights(), sae_lens_config(normalize_activations=how))
    (tmp_path / "activation_scaler.json").write_text(json.dumps(scaler))
    assert message in refusal(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scaling_factor": np.full(LATENTS, 2, np.float32)}, "scaling_factor is not all ones"),
        (
            {"finetuning_scaling_factor": np.full(LATENTS, 2, np.float32)},
            "finetuning_scaling_factor is not all ones",
        ),
        ({"threshold": np.ones(LATENTS, np.float32)}, "holds a tensor 'threshold'"),
        ({"b_dec": None}, f"b_dec should be ({D_IN},) and is missing"),
        ({"b_enc": np.ones(3, np.float32)}, f"b_enc should be ({LATENTS},) and is (3,)"),
        ({"b_enc": np.ones(LATENTS, np.int64)}, "b_enc should hold floating-point numbers and holds int64"),
        ({"b_enc": np.full(LATENTS, np.inf, np.float32)}, "b_enc holds values that are not finite"),
        ({"b_enc": np.full(LATENTS, 1e300)}, "b_enc holds values that are not finite in float32"),
    ],
)
def test_tensors_that_do_not_fit(tmp_path, changes, message):
    w = {name: a for name, a in (weights() | changes).items() if a is not None}
    assert message in refusal(save(tmp_path, w, sae_lens_config()))


def test_batch_top_k_without_its_threshold(tmp_path):
    config = sae_lens_config("batchtopk", k=4)
    assert "topk_threshold should be () and is missing" in refusal(save(tmp_path, weights(), config))
