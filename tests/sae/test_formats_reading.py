"""Files of other libraries, of every version, mean here what they mean there; what is not ours is refused in a line."""

import contextlib
import io
import json
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from other_libraries import (
    D_IN,
    LATENTS,
    LLAMA,
    SPARSIFY,
    THRESHOLD,
    K,
    W,
    above,
    computed,
    dense,
    inputs,
    llama,
    llama_config,
    refusal,
    relu,
    relu_top_k,
    sae_lens_config,
    same,
    top_k,
    write,
)

from glossae.errors import GlossaeError
from glossae.sae import Sae, SaeConfig

ONES = np.ones(LATENTS, np.float32)
AVERAGE = "expected_average_only_in"

# ---- SAELens


def lens(folder, changes=None, tensors=None, config=None, scaler=None):
    if scaler is not None:
        write(folder, activation_scaler__json=scaler)
    config = (config or sae_lens_config()) | (changes or {})
    return write(folder, cfg__json=config, sae_weights__safetensors=W | (tensors or {}))


# what Joseph Bloom's SAEs of GPT-2 say of themselves, in the first of all formats
OLDEST = json.loads("""{
"model_name": "gpt2-small", "hook_point": "blocks.5.hook_resid_pre", "hook_point_layer": 5,
"hook_point_head_index": null, "dataset_path": "Skylion007/openwebtext", "dataset_trust_remote_code": true,
"is_dataset_tokenized": false, "context_size": 128, "use_cached_activations": false,
"cached_activations_path": "activations/x/gpt2-small", "d_in": 8, "n_batches_in_buffer": 128,
"total_training_tokens": 300000000, "store_batch_size": 32, "device": "mps", "seed": 42, "dtype": "torch.float32",
"b_dec_init_method": "geometric_median", "expansion_factor": 3, "from_pretrained_path": null, "l1_coefficient": 8e-05,
"lr": 0.0004, "lr_scheduler_name": null, "lr_warm_up_steps": 5000,
"model_from_pretrained_kwargs": {"center_writing_weights": true}, "train_batch_size": 4096, "use_ghost_grads": false,
"feature_sampling_window": 1000, "finetuning_scaling_factor": false, "feature_sampling_method": null,
"resample_batches": 1028, "feature_reinit_scale": 0.2, "dead_feature_window": 5000,
"dead_feature_estimation_method": "no_fire", "dead_feature_threshold": 1e-08, "log_to_wandb": true,
"wandb_project": "mats", "wandb_entity": null, "wandb_log_frequency": 100, "n_checkpoints": 10,
"checkpoint_path": "checkpoints/y1t51byy", "d_sae": 24, "tokens_per_buffer": 67108864, "run_name": "24576-L1-8e-05",
"neuronpedia_id": "gpt2-small/0-res-jb", "prepend_bos": true, "sae_lens_training_version": null}""")
OLDER = json.loads("""{
"d_in": 8, "d_sae": 24, "dtype": "float32", "device": "cpu", "model_name": "EleutherAI/pythia-70m",
"hook_name": "blocks.2.hook_mlp_out", "hook_layer": 2, "hook_head_index": null, "apply_b_dec_to_input": false,
"finetuning_scaling_factor": false, "sae_lens_training_version": "5.3.0", "prepend_bos": true, "dataset_path": "",
"context_size": 128, "normalize_activations": "none"}""")
TRAINING = {"topk_threshold_lr": 0.01, "aux_loss_coefficient": 1.0, "decoder_init_norm": 0.1}
ACTS = {"standard": relu, "topk": relu_top_k, "jumprelu": above(THRESHOLD), "batchtopk": above(2.5)}
BATCH = {"topk_threshold": np.float64(2.5)}


def lens_case(architecture="topk", tensors=None, scaler=None, act=None, how=None, **changes):
    """The folder's writer and what SAELens computes."""
    config = sae_lens_config(architecture, **changes)
    own = {"threshold": THRESHOLD} if architecture == "jumprelu" else BATCH if "batch" in architecture else {}
    how = {"subtract": config["apply_b_dec_to_input"]} | (how or {})
    how["rescaled"] = config.get("rescale_acts_by_decoder_norm")
    act = act or ACTS[architecture.removeprefix("matryoshka_")]
    tensors = own | (tensors or {})
    return partial(lens, tensors=tensors, config=config, scaler=scaler), partial(computed, act, **how)


def older_case(config, act, tensors=None, **how):
    return partial(lens, tensors=tensors, config=config), partial(computed, act, **how)


RESCALED, DONE = {"rescale_acts_by_decoder_norm": True}, {"scaling_factor": None, "has_whitening": False}
SCALED = {"how": {"scale": 0.37}, "scaler": {"scaling_factor": 0.37, "has_whitening": False}}
SCALED["normalize_activations"] = AVERAGE
LOGARITHM = {"log_threshold": THRESHOLD, "threshold": None}
OLDER_JUMP = OLDER | {"architecture": "jumprelu", "activation_fn_str": "relu", "activation_fn_kwargs": {}}
OLDER_TOPK = OLDER | {"architecture": "topk", "activation_fn_kwargs": {"k": K}}
CASES = {
    **{
        f"SAELens {architecture} {applied}": lens_case(architecture, apply_b_dec_to_input=applied)
        for architecture in ("standard", "topk", "jumprelu")
        for applied in (True, False)
    },
    "SAELens rescaled": lens_case(**RESCALED),
    "SAELens batchtopk": lens_case("batchtopk", k=4.0, **TRAINING),
    "SAELens batchtopk rescaled": lens_case("batchtopk", k=4.0, **RESCALED),
    "SAELens nested": lens_case("matryoshka_batchtopk", k=4.0, matryoshka_widths=[6, 12], **RESCALED),
    "SAELens log threshold": lens_case(
        "jumprelu", LOGARITHM, act=above(np.exp(THRESHOLD)), l0_coefficient=1.0
    ),
    **{f"SAELens {a} scaled": lens_case(a, apply_b_dec_to_input=a != "topk", **SCALED) for a in ACTS},
    **{f"SAELens {a} scaled, rescaled": lens_case(a, **SCALED, **RESCALED) for a in ("topk", "batchtopk")},
    "SAELens scaler done": lens_case(scaler=DONE),
    "SAELens oldest": older_case(OLDEST, relu, {"scaling_factor": ONES}),
    "SAELens oldest, null": older_case(OLDEST | {"normalize_activations": None}, relu),
    "SAELens oldest, false": older_case(OLDEST | {"normalize_activations": False}, relu),
    "SAELens older jumprelu": older_case(
        OLDER_JUMP, ACTS["jumprelu"], {"threshold": THRESHOLD}, subtract=False
    ),
    "SAELens older topk": older_case(OLDER_TOPK | {"activation_fn": "topk"}, relu_top_k, subtract=False),
    "SAELens older standard": older_case(
        OLDER_TOPK | {"architecture": "standard", "activation_fn_str": "topk"}, relu_top_k, subtract=False
    ),
}

# ---- sparsify

NEW = json.loads("""{
"activation": "topk", "expansion_factor": 32, "normalize_decoder": true, "num_latents": 24, "k": 4,
"multi_topk": false, "skip_connection": false, "transcode": false, "d_in": 8}""")
OLD = json.loads('{"expansion_factor": 3, "num_latents": 0, "k": 4, "signed": false, "d_in": 8}')


def sparse(folder, config=None, tensors=None):
    return write(folder, cfg__json=NEW | (config or {}), sae__safetensors=SPARSIFY | (tensors or {}))


def many(x):
    """So many are selected that sparsify's ReLU leaves zeros among them."""
    codes, out = computed(lambda a: top_k(relu(a), LATENTS - 2), x)
    assert ((codes > 0).sum(-1) < LATENTS - 2).any()
    return codes, out


CASES |= {
    "sparsify": (sparse, partial(computed, relu_top_k)),
    "sparsify multi": (partial(sparse, config={"multi_topk": True}), partial(computed, relu_top_k)),
    "sparsify old": (
        partial(write, cfg__json=OLD, sae__safetensors=SPARSIFY),
        partial(computed, relu_top_k),
    ),
    "sparsify zeros": (partial(sparse, config={"k": LATENTS - 2}), many),
}

# ---- dictionary_learning

CLASSES = ("AutoEncoder", "AutoEncoderNew", "AutoEncoderTopK", "BatchTopKSAE")
CLASSES += ("JumpReluAutoEncoder", "MatryoshkaBatchTopKSAE")
ALONE = [kind for kind in CLASSES if kind not in ("AutoEncoderTopK", "BatchTopKSAE")]


def dl_state(kind):
    """The arrays of a class of dictionary_learning."""
    learnt = {"k": np.array(K, np.int32), "threshold": np.array(1.5, np.float32)}
    if kind == "JumpReluAutoEncoder":
        return W | {"threshold": THRESHOLD}
    if kind == "MatryoshkaBatchTopKSAE":
        return W | learnt | {"group_sizes": np.array([6, 6, LATENTS - 12])}
    state = {"encoder.weight": W["W_enc"].T, "encoder.bias": W["b_enc"], "decoder.weight": W["W_dec"].T}
    bias = {"AutoEncoder": "bias", "AutoEncoderNew": "decoder.bias"}.get(kind, "b_dec")
    return state | {bias: W["b_dec"]} | (learnt if bias == "b_dec" else {})


def dl_config(kind, buffer=None, **changes):
    config = json.loads("""{
    "trainer": {"trainer_class": "SomeTrainer", "lr": 0.001, "steps": 1000, "seed": 0, "warmup_steps": 100,
        "decay_start": null, "activation_dim": 8, "dict_size": 24, "device": "cuda:0", "layer": 8,
        "lm_name": "EleutherAI/pythia-160m-deduped", "wandb_name": "x", "submodule_name": "resid_post_layer_8"},
    "buffer": {"d_submodule": 8, "io": "out", "n_ctxs": 244, "ctx_len": 1024, "device": "cuda:0",
        "refresh_batch_size": 32, "out_batch_size": 2048}}""")
    return {
        "trainer": config["trainer"] | {"dict_class": kind} | changes,
        "buffer": config["buffer"] | (buffer or {}),
    }


def dl(folder, config=None, tensors=None, kind="AutoEncoder", buffer=None):
    config = dl_config(kind, buffer, **(config or {}))
    return write(folder, config__json=config, ae__pt=dl_state(kind) | (tensors or {}))


def dl_computed(kind):
    act = {"AutoEncoderTopK": relu_top_k, "JumpReluAutoEncoder": above(THRESHOLD)}.get(kind, relu)
    act = above(1.5) if "Batch" in kind else act
    return partial(computed, act, subtract=kind not in ("AutoEncoderNew", "JumpReluAutoEncoder"))


CASES |= {kind: (partial(dl, kind=kind), dl_computed(kind)) for kind in CLASSES}
CASES |= {f"{kind} alone": (partial(write, ae__pt=dl_state(kind)), dl_computed(kind)) for kind in ALONE}
CASES |= {
    f"top-k with threshold {threshold}": (
        partial(dl, config={"k": K}, tensors={"threshold": threshold}, kind="AutoEncoderTopK"),
        dl_computed("AutoEncoderTopK"),
    )
    for threshold in (np.float32(-1.0), None)
}

# ---- Gemma Scope, Llama Scope, Qwen-Scope

GEMMA_FOLDER = "models--google--gemma-scope-2b-pt-res/snapshots/abc/layer_20/width_16k/average_l0_71"
GEMMA_3 = json.loads("""{
"hf_hook_point_in": "model.layers.17.output", "hf_hook_point_out": "model.layers.17.output", "width": 24,
"model_name": "google/gemma-3-1b-pt", "architecture": "jump_relu", "l0": 20, "affine_connection": false,
"type": "sae"}""")
QWEN = f"SAE-Res-Qwen3.5-2B-Base-W32K-L0_{K}"


def gemma_2(folder, config=None, tensors=None):
    return write(folder, params__npz=W | {"threshold": THRESHOLD} | (tensors or {}))


def gemma_3(folder, config=None, tensors=None):
    own = {name.replace("W_", "w_"): a for name, a in W.items()} | {"threshold": THRESHOLD} | (tensors or {})
    return write(folder, config__json=GEMMA_3 | (config or {}), params__safetensors=own)


gemma_3_alone = partial(write, params__safetensors=W | {"threshold": THRESHOLD})


def llama_folder(folder, config=None, tensors=None):
    files = {
        "hyperparams__json": llama_config(**(config or {})),
        "checkpoints/final__safetensors": LLAMA | (tensors or {}),
    }
    return write(folder, **files)


def qwen(folder, config=None, tensors=None, name="layer3.sae.pt", release=QWEN):
    state = W | {"W_enc": W["W_enc"].T, "W_dec": W["W_dec"].T} | (tensors or {})
    return write(folder / release, **{name: state}) / name


scope_computed = partial(computed, above(THRESHOLD), subtract=False)
SMALL = {"W_enc": None, "w_enc": W["W_enc"], "W_dec": None, "w_dec": W["W_dec"]}
LLAMA_CHANGES = [
    {},
    {"sparsity_include_decoder_norm": False},
    {"norm_activation": "inference"},
    {"act_fn": "topk", "jump_relu_threshold": 0.0},
    {"act_fn": "topk", "jump_relu_threshold": 0.0, "sparsity_include_decoder_norm": False},
    # was made a JumpReLU after its training
    {"act_fn": "topk", "jump_relu_threshold": 0.4},
    {"act_fn": "relu", "jump_relu_threshold": 0.0},
    {"apply_decoder_bias_to_pre_encoder": True},
    {"dataset_average_activation_norm": {"in": 7.125, "out": 3.5}},
]
NO_BIAS = {"use_decoder_bias": False}
CASES |= {
    "Gemma Scope": (gemma_2, scope_computed),
    "Gemma Scope, small letters": (partial(gemma_2, tensors=SMALL), scope_computed),
    "Gemma Scope, another name": (
        lambda folder: write(folder, layer20__npz=W | {"threshold": THRESHOLD}) / "layer20.npz",
        scope_computed,
    ),
    "Gemma Scope 2": (gemma_3, scope_computed),
    "Gemma Scope 2 alone": (gemma_3_alone, scope_computed),
    **{
        f"Llama Scope {changes}": (
            partial(llama_folder, config=changes),
            partial(llama, llama_config(**changes)),
        )
        for changes in LLAMA_CHANGES
    },
    "Llama Scope without a bias": (
        partial(llama_folder, config=NO_BIAS, tensors={"decoder.bias": None}),
        partial(llama, llama_config(**NO_BIAS)),
    ),
    "Qwen-Scope": (qwen, partial(computed, top_k, subtract=False)),
}


@pytest.mark.parametrize("case", CASES)
def test_codes_and_reconstructions_are_the_other_librarys(tmp_path, case):
    writer, expected = CASES[case]
    x = inputs(12, 5)
    same(dense(Sae.load(writer(tmp_path)), x), expected(x))


@pytest.mark.parametrize("shape", [(40,), (2, 3, 4), ()])
@pytest.mark.parametrize("case", ["SAELens standard True", "sparsify", "Gemma Scope"])
def test_inputs_have_any_leading_shape(tmp_path, case, shape):
    writer, expected = CASES[case]
    x = inputs(*shape)
    same(dense(Sae.load(writer(tmp_path)), x), expected(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions_are_read_as_float32(tmp_path, dtype):
    w = {name: torch.from_numpy(a).to(dtype) for name, a in W.items()}
    sae, x = Sae.load(lens(tmp_path, None, w)), inputs(30)
    assert sae.W_enc.dtype == torch.float32
    same(dense(sae, x), computed(relu_top_k, x, {name: a.float().numpy() for name, a in w.items()}))


def test_norms_of_decoder_rows_are_folded_and_a_row_of_zeros_never_fires(tmp_path):
    w = {name: a.copy() for name, a in W.items()}
    w["W_dec"][3], w["b_enc"][3] = 0, 100
    sae = Sae.load(lens(tmp_path, RESCALED, w))
    torch.testing.assert_close(sae.W_dec.norm(dim=1), (torch.arange(LATENTS) != 3).float())
    codes = sae.encode(torch.from_numpy(inputs(20)))
    assert not ((codes.indices == 3) & (codes.values > 0)).any()


def test_nested_dictionaries_and_averages(tmp_path):
    nested = Sae.load(CASES["SAELens nested"][0](tmp_path / "a")).config
    assert (nested.activation, nested.k, nested.matryoshka) == ("batchtopk", 4, (6, 12, LATENTS))
    # an average of selected latents that is not whole
    assert Sae.load(lens_case("batchtopk", k=2.5)[0](tmp_path / "b")).config.k is None
    config = Sae.load(write(tmp_path / "c", ae__pt=dl_state("MatryoshkaBatchTopKSAE"))).config
    assert (config.activation, config.k, config.matryoshka) == ("batchtopk", K, (6, 12, LATENTS))


def test_a_checkpoint_of_a_dictionary_learning_training(tmp_path):
    write(tmp_path / "checkpoints", ae_500__pt=dl_state("BatchTopKSAE"))
    write(tmp_path, config__json=dl_config("BatchTopKSAE"))
    assert Sae.load(tmp_path / "checkpoints" / "ae_500.pt").config.activation == "batchtopk"


def test_qwen_scope_has_no_relu(tmp_path):
    sae = Sae.load(qwen(tmp_path, None, {"b_enc": -np.arange(1, LATENTS + 1, dtype=np.float32)}))
    assert sorted(sae.encode(torch.zeros(1, D_IN)).values[0].tolist()) == [-4, -3, -2, -1]


# ---- what it belongs to


def hooked(hook):
    return lambda folder: lens(folder, {"metadata": {"sae_lens_version": "6.0.0", "hook_name": hook}})


def at_folder(name, config=None):
    def writer(folder):
        if config is not None:
            write(folder, config__json=config)
        return sparse(folder / name)

    return writer


def submodule(name, io="out", layer=8):
    return lambda folder: dl(
        folder, {"submodule_name": name, "layer": layer, "lm_name": "m"}, buffer={"io": io}
    )


def gemma_hook(hook):
    return lambda folder: gemma_3(
        folder, {"hf_hook_point_in": hook, "hf_hook_point_out": None, "model_name": "m"}
    )


def gemma_named(name):
    return partial(gemma_3, config={"model_name": name})


def qwen_named(release):
    """Of a repository's name, wide enough for its k."""
    wide = {
        "W_enc": np.ones((128, 2)),
        "W_dec": np.ones((2, 128)),
        "b_enc": np.ones(128),
        "b_dec": np.ones(2),
    }
    return lambda folder: qwen(folder, None, wide, "layer17.sae.pt", release)


PYTHIA = {"model": "EleutherAI/pythia-160m", "revision": "step1"}
STEP_1 = "EleutherAI/pythia-160m@step1"
MLP = "layers.3.mlp"
LLAMA_MLP = {"hook_point_in": "blocks.1.hook_mlp_out", "hook_point_out": ...}
LLAMA_NAMED = "Llama3_1-8B-Base-L2R-8x"
BELONGS = [
    (lens, "pythia-70m-deduped", "resid", 3),
    (CASES["SAELens oldest"][0], "gpt2-small", "resid", 4),
    (CASES["SAELens older jumprelu"][0], "EleutherAI/pythia-70m", "mlp.out", 2),
    (hooked("blocks.12.mlp.hook_post"), "", "mlp.hidden", 12),
    (hooked("blocks.0.hook_mlp_out"), "", "mlp.out", 0),
    (hooked("blocks.7.hook_attn_out"), "", "attn.out", 7),
    (hooked("blocks.7.hook_resid_pre"), "", "resid", 6),
    (hooked("blocks.0.hook_resid_pre"), "", "", 0),
    (hooked("blocks.4.hook_resid_mid"), "", "", 0),
    (hooked("hook_embed"), "", "", 0),
    (hooked("gpt_neox.layers.5"), "", "resid", 5),
    (hooked("model.layers.5.mlp"), "", "mlp.out", 5),
    (hooked("transformer.h.2.attn"), "", "attn.out", 2),
    (hooked("model.layers.5.mlp.experts.3"), "", "", 0),
    (at_folder("layers.10", PYTHIA), STEP_1, "resid", 10),
    (at_folder("layers.10.mlp.act", PYTHIA), STEP_1, "mlp.hidden", 10),
    (at_folder("layers.3.mlp/seed7", {}), "", "mlp.out", 3),
    (at_folder("layers.3.attention"), "", "attn.out", 3),
    (at_folder("decoder.layers.3.fc2"), "", "mlp.out", 3),
    (at_folder("embed_tokens"), "", "", 0),
    (at_folder("layers.3.mlp.gate_proj"), "", "", 0),
    (at_folder("layers.999999"), "", "", 0),
    # a neighbour that is something else
    *(
        (at_folder("h.3", content), "", "resid", 3)
        for content in ("{", [], {"model": 3}, {"model_type": "x"})
    ),
    # a norm follows these modules
    (at_folder(MLP, {"model": "google/gemma-2-2b"}), "google/gemma-2-2b", "", 0),
    (at_folder("layers.3.post_attention_layernorm", {"model": "gemma-2"}), "gemma-2", "attn.out", 3),
    (at_folder("layers.3", {"model": "gemma-2"}), "gemma-2", "resid", 3),
    (dl, "EleutherAI/pythia-160m-deduped", "resid", 8),
    (submodule("resid_post"), "m", "resid", 8),
    (submodule("mlp_out_layer_8"), "m", "mlp.out", 8),
    (submodule("resid_post_layer_9"), "m", "", 8),
    (submodule("gpt_neox.layers.8.mlp"), "m", "mlp.out", 8),
    (submodule("gpt_neox.layers.8.mlp.dense_4h_to_h", "in"), "m", "mlp.hidden", 8),
    (submodule("gpt_neox.layers.8.mlp", "in"), "m", "", 8),
    (submodule("resid_post_layer_8", "in"), "m", "", 8),
    (submodule(None), "m", "", 8),
    (submodule("", layer=None), "m", "", 0),
    (lambda f: gemma_2(f / GEMMA_FOLDER), "google/gemma-2-2b", "resid", 20),
    (lambda f: gemma_2(f / "layer_3" / "faclty" / GEMMA_FOLDER), "google/gemma-2-2b", "resid", 20),
    (lambda f: gemma_2(f / "gemma-scope-9b-it-res/layer_9/w/l"), "google/gemma-2-9b-it", "resid", 9),
    (lambda f: gemma_2(f / "gemma-scope-2b-pt-mlp/layer_0/w/l"), "google/gemma-2-2b", "mlp.out", 0),
    (lambda f: gemma_2(f / "gemma-scope-2b-pt-att/layer_5/w/l"), "google/gemma-2-2b", "", 0),
    (lambda f: gemma_2(f / "layer_5/width_16k/average_l0_1"), "", "", 0),
    (lambda f: gemma_3(f / "transcoder"), "google/gemma-3-1b-pt", "resid", 17),
    (lambda f: gemma_3_alone(f / "resid_post" / "layer_17"), "", "", 0),
    (gemma_hook("model.layers.17.mlp.output"), "google/m", "mlp.out", 17),
    (gemma_hook("model.layers.17.mlp.down_proj.input"), "google/m", "mlp.hidden", 17),
    (gemma_hook("model.layers.17.self_attn.o_proj.input"), "google/m", "", 0),
    (gemma_named("gemma-v3-4b-it"), "google/gemma-3-4b-it", "resid", 17),
    (gemma_named("google/gemma-3-270m-pt"), "google/gemma-3-270m", "resid", 17),
    (lambda f: llama_folder(f / LLAMA_NAMED), "meta-llama/Llama-3.1-8B", "resid", 2),
    (partial(llama_folder, config=LLAMA_MLP), "", "mlp.out", 1),
    (qwen_named("SAE-Res-Qwen3-8B-Base-W64K-L0_50"), "Qwen/Qwen3-8B-Base", "resid", 17),
    (qwen_named("models--Qwen--SAE-Res-Qwen3.5-2B-W8K-L0_100/snapshots/0"), "Qwen/Qwen3.5-2B", "resid", 17),
    (qwen_named("SAE-Res-Qwen3.5-35B-A3B-Base-W128K-L0_99"), "Qwen/Qwen3.5-35B-A3B-Base", "resid", 17),
]


@pytest.mark.parametrize("case", range(len(BELONGS)))
def test_names_say_what_it_belongs_to(tmp_path, case):
    writer, model, site, layer = BELONGS[case]
    config = Sae.load(writer(tmp_path)).config
    assert (config.model, config.site, config.layer) == (model, site, layer)


def test_modules_that_are_sites_in_gemma_3_only_behind_their_norm(tmp_path):
    for number, (module, site) in enumerate({"post_feedforward_layernorm": "mlp.out", "mlp": ""}.items()):
        hook = f"model.layers.17.{module}.output"
        folder = gemma_3(tmp_path / str(number), {"hf_hook_point_in": hook, "hf_hook_point_out": hook})
        assert Sae.load(folder).config.site == site


def test_the_width_may_be_left_to_llama_scopes_factor(tmp_path):
    assert Sae.load(llama_folder(tmp_path, {"d_sae": ...})).config.latents == LATENTS


# ---- what is refused


gated = partial(
    write, ae__pt={"decoder_bias": W["b_dec"], "r_mag": ONES, "gate_bias": ONES, "mag_bias": ONES}
)
batch = partial(dl, kind="BatchTopKSAE")
topk = partial(dl, kind="AutoEncoderTopK")
nested = partial(dl, kind="MatryoshkaBatchTopKSAE")
IN_OUT = {"hook_name": "blocks.1.hook_mlp_in", "hook_name_out": "blocks.1.hook_mlp_out"}
NO_NORM = {"dataset_average_activation_norm": {"in": 7.0}}
CONFIGS = [
    (lens, {"architecture": "gated"}, 'architecture is "gated"; glossae\'s autoencoders have no gate'),
    (lens, {"architecture": "abstopk"}, 'architecture is "abstopk"'),
    (lens, {"architecture": "matching_pursuit"}, 'architecture is "matching_pursuit"'),
    (lens, {"architecture": "temporal"}, 'architecture is "temporal"'),
    (lens, {"architecture": "transcoder"}, 'is "transcoder"; a transcoder does not give back'),
    (lens, {"architecture": "jumprelu_skip_transcoder"}, 'architecture is "jumprelu_skip_transcoder"'),
    (lens, {"architecture": "toppk"}, 'architecture is "toppk"; there are standard, topk, jumprelu'),
    (lens, {"architecture": ["topk"]}, 'architecture is ["topk"]'),
    (lens, {"architecture": "batchtopk"}, "topk_threshold should be () and is missing"),
    (lens, RESCALED | {"architecture": "standard"}, "rescale_acts_by_decoder_norm is true"),
    (lens, RESCALED | {"architecture": "jumprelu"}, "rescale_acts_by_decoder_norm is true"),
    (lens, {"normalize_activations": "layer_norm"}, 'normalize_activations is "layer_norm"'),
    (lens, {"normalize_activations": AVERAGE}, "its factor should stand in"),
    (lens, {"normalize_activations": True}, "its factor should stand in"),
    (lens, {"normalize_activations": 1}, "its factor should stand in"),
    (lens, {"reshape_activations": "hook_z"}, 'reshape_activations is "hook_z"'),
    (lens, {"rescale_acts_by_decoder_norm": "yes"}, "it should be true or false"),
    (lens, {"apply_b_dec_to_input": 0}, "it should be true or false"),
    (lens, {"activation_fn_str": "tanh-relu"}, 'activation_fn_str is "tanh-relu"'),
    (lens, {"activation_fn_kwargs": {"k": 4, "signed": True}}, "activation_fn_kwargs.signed is true"),
    (lens, {"activation_fn_kwargs": {"x": 2}}, "'activation_fn_kwargs.x' is not known"),
    (lens, {"k": 0}, "k is 0"),
    (lens, {"k": LATENTS + 1}, "sae.k: has to be between 1"),
    (lens, {"k": None}, "the key 'k' is missing"),
    (lens, {"d_in": None}, "the key 'd_in' is missing"),
    (lens, {"d_sae": 12}, f"W_enc should be ({D_IN}, 12) and is ({D_IN}, {LATENTS})"),
    (lens, {"d_out": 5}, "d_out is 5"),
    (lens, {"metadata": {"hook_head_index": 3}}, "metadata.hook_head_index is 3"),
    (lens, {"hook_head_index": 3}, "hook_head_index is 3"),
    (lens, {"metadata": IN_OUT}, "metadata.hook_name_out is"),
    (lens, {"metadata": []}, "metadata is []; it should be an object"),
    (
        lens,
        {"metadata": {"hook_name": "blocks.2.attn.hook_z"}, "reshape_activations": None},
        'hook_name is "blocks.2.attn.hook_z"',
    ),
    (lens, {"sharpening": 2.0}, "the key 'sharpening' is not known, so its effect is unknown"),
    (sparse, {"activation": "groupmax"}, 'activation is "groupmax"'),
    (sparse, {"signed": True}, "signed is true; glossae's top-k does not select by absolute value"),
    (sparse, {"transcode": True}, "transcode is true; a transcoder does not give back what it reads"),
    (sparse, {"skip_connection": True}, "skip_connection is true"),
    (sparse, {"num_latents": -1}, "num_latents is -1"),
    (sparse, {"num_latents": 0, "expansion_factor": 0}, "expansion_factor is 0"),
    (sparse, {"num_latents": 0}, f"encoder.weight should be ({32 * D_IN}, {D_IN}) and is"),
    (sparse, {"jump": True}, "the key 'jump' is not known"),
    (dl, {"dict_class": "AutoEncoderNew"}, 'trainer.dict_class is "AutoEncoderNew"; the tensors of'),
    (batch, {"dict_class": "IdentityDict"}, 'trainer.dict_class is "IdentityDict"'),
    (batch, {"dict_class": None}, "is AutoEncoderTopK or BatchTopKSAE; which, only"),
    (batch, {"k": K + 1}, "trainer.k is 5"),
    (batch, {"activation_dim": 5}, "trainer.activation_dim is 5"),
    (batch, {"dict_size": 5}, "trainer.dict_size is 5"),
    (batch, {"norm_factor": 3.0}, "the key 'trainer.norm_factor' is not known"),
    (batch, {"layer": "all"}, 'trainer.layer is "all"'),
    (lambda folder, _: gated(folder), {}, "holds 'r_mag'; glossae's autoencoders have no gate"),
    (lambda folder, changes: dl(folder, buffer=changes), {"io": "in_and_out"}, 'buffer.io is "in_and_out"'),
    (gemma_3, {"architecture": "topk"}, 'architecture is "topk"'),
    (gemma_3, {"affine_connection": True}, "affine_connection is true"),
    (gemma_3, {"apply_b_dec_to_input": True}, "apply_b_dec_to_input is true"),
    (gemma_3, {"type": "transcoder"}, 'type is "transcoder"'),
    (gemma_3, {"hf_hook_point_out": "model.layers.17.mlp.output"}, "hf_hook_point_out is"),
    (gemma_3, {"gain": 2}, "the key 'gain' is not known"),
    (llama_folder, {"hook_point_out": "x"}, 'hook_point_out is "x"; a transcoder'),
    (llama_folder, {"use_glu_encoder": True}, "use_glu_encoder is true; glossae's autoencoders have no gate"),
    (llama_folder, {"act_fn": "tanh"}, 'act_fn is "tanh"; glossae knows relu, topk and jumprelu'),
    (
        llama_folder,
        {"norm_activation": "token-wise"},
        'is "token-wise"; glossae\'s autoencoders do not scale',
    ),
    (llama_folder, {"norm_activation": ...}, "the key 'norm_activation' is missing"),
    (llama_folder, NO_NORM, "it should be two numbers above zero"),
    (llama_folder, {"dataset_average_activation_norm": {"in": 7.0, "out": 0}}, "two numbers above zero"),
    (
        llama_folder,
        {"dataset_average_activation_norm": {"in": 7, "out": 7, "mid": 7}},
        "_norm.mid' is not known",
    ),
    (llama_folder, {"jump_relu_threshold": -1.0}, "is -1.0; it should not be below zero"),
    (llama_folder, {"whitening": True}, "the key 'whitening' is not known"),
    (llama_folder, {"d_sae": ..., "expansion_factor": ...}, "the key 'expansion_factor' is missing"),
    (llama_folder, {"d_model": D_IN + 1}, "encoder.weight should be"),
]


@pytest.mark.parametrize("case", range(len(CONFIGS)))
def test_a_config_that_is_not_ours_is_refused(tmp_path, case):
    writer, changes, message = CONFIGS[case]
    found = refusal(writer(tmp_path, changes))
    assert message in found
    assert str(tmp_path) in found


@pytest.mark.parametrize(
    ("how", "scaler", "message"),
    [
        (AVERAGE, {"scaling_factor": None}, "its factor should stand in"),
        (AVERAGE, {"scaling_factor": -1.0}, "scaling_factor is -1.0"),
        (AVERAGE, {"scaling_factor": "1"}, "it should be a number"),
        (AVERAGE, {"scaling_factor": float("nan")}, "it should be a finite number"),
        (AVERAGE, {"scaling_factor": 2.0, "mean": [0]}, "the key 'mean' is not known"),
        ("none", {"scaling_factor": 2.0}, "cfg.json says 'none' of normalize_activations"),
        ("none", {"scaling_factor": None, "has_whitening": True}, "has_whitening is true"),
    ],
)
def test_scalers_that_do_not_fit(tmp_path, how, scaler, message):
    assert message in refusal(lens(tmp_path, {"normalize_activations": how}, scaler=scaler))


TWOS, NAN = 2 * ONES, np.full(LATENTS, np.nan, np.float32)
TENSORS = [
    (lens, {"scaling_factor": TWOS}, "scaling_factor is not all ones"),
    (lens, {"finetuning_scaling_factor": TWOS}, "finetuning_scaling_factor is not all ones"),
    (lens, {"threshold": ONES}, "holds a tensor 'threshold'"),
    (lens, {"b_dec": None}, f"b_dec should be ({D_IN},) and is missing"),
    (lens, {"b_enc": np.ones(3, np.float32)}, f"b_enc should be ({LATENTS},) and is (3,)"),
    (lens, {"b_enc": np.ones(LATENTS, np.int64)}, "b_enc should hold floating-point numbers and holds int64"),
    (lens, {"b_enc": NAN}, "b_enc holds values that are not finite"),
    (lens, {"b_enc": np.full(LATENTS, 1e300)}, "b_enc holds values that are not finite in float32"),
    (sparse, {"W_dec": None}, "W_dec should be"),
    (sparse, {"W_skip": np.ones((D_IN, D_IN), np.float32)}, "holds a tensor 'W_skip'"),
    (dl, {"bias": None}, f"bias should be ({D_IN},) and is missing"),
    (dl, {"scale": ONES}, "holds a tensor 'scale'"),
    (dl, {"encoder.weight": None}, "encoder.weight should be (any, any) and is missing"),
    (topk, {"k": np.array(0)}, "k should hold whole numbers above zero"),
    (topk, {"k": np.array(2.5)}, "k should hold whole numbers above zero"),
    (topk, {"k": np.array([3, 4])}, "k should be one number"),
    (topk, {"k": None}, "sae.k: topk needs one"),
    (batch, {"threshold": np.array(-1, np.float32)}, "threshold is -1, so it was never set"),
    (nested, {"threshold": np.array(-1, np.float32)}, "threshold is -1, so it was never set"),
    (nested, {"group_sizes": np.array([4, 4])}, "sae.matryoshka: sizes have to rise"),
    (nested, {"group_sizes": np.array([-4, 28])}, "group_sizes should hold whole numbers"),
    (gemma_2, {"threshold": None}, f"threshold should be ({LATENTS},) and is missing"),
    (gemma_2, {"W_enc": ONES}, f"W_enc should be (any, any) and is ({LATENTS},)"),
    (gemma_2, {"b_enc": np.arange(LATENTS)}, "b_enc should hold floating-point numbers"),
    (gemma_2, {"b_enc": np.array(["x"] * LATENTS)}, "b_enc should hold floating-point numbers"),
    (gemma_2, {"b_enc": np.array([{}] * LATENTS)}, "cannot be read as NumPy arrays by name"),
    (gemma_2, {"scaling_factor": TWOS}, "scaling_factor is not all ones"),
    (gemma_3, {"affine_skip_connection": np.ones((D_IN, D_IN), np.float32)}, "affine_skip_connection"),
    (llama_folder, {"encoder_glu.weight": LLAMA["encoder.weight"]}, "holds a tensor 'encoder_glu.weight'"),
    (qwen, {"W_dec": W["W_dec"]}, f"W_dec should be ({D_IN}, {LATENTS}) and is ({LATENTS}, {D_IN})"),
    (qwen, {"threshold": ONES}, "holds a tensor 'threshold'"),
]


@pytest.mark.parametrize("case", range(len(TENSORS)))
def test_tensors_that_do_not_fit_are_refused(tmp_path, case):
    writer, changes, message = TENSORS[case]
    assert message in refusal(writer(tmp_path, None, changes))


@pytest.mark.parametrize(
    "folder", ["gemma-scope-2b-pt-transcoders/layer_3", "transcoder_all/layer_3", "clt/x"]
)
def test_transcoders_of_gemma_scope_are_refused_by_their_folder(tmp_path, folder):
    assert "a transcoder" in refusal(gemma_2(tmp_path / folder))
    assert "a transcoder" in refusal(gemma_3_alone(tmp_path / "2" / folder))


def test_other_names_and_files_that_are_refused(tmp_path):
    place = gemma_2(tmp_path / "gemma-scope-2b-pt-res" / "embedding" / "width_4k")
    assert "is of the embeddings" in refusal(place)
    for name, release in (
        ("layer3.sae.pt", "mine"),
        ("third.sae.pt", QWEN),
        ("layer3.sae.pt", f"{QWEN}_not"),
    ):
        assert "is only in the name of its repository" in refusal(qwen(tmp_path, name=name, release=release))
    write(gemma_3(tmp_path / "list"), config__json=[GEMMA_3])
    assert "should hold a JSON object" in refusal(tmp_path / "list")
    # a null says nothing
    Sae.load(lens(tmp_path / "null", {"sharpening": None}))


class Surprise:
    def __reduce__(self):
        return print, ("unpickled",)


@pytest.mark.parametrize("name", ["ae.pt", f"{QWEN}/layer3.sae.pt"])
def test_nothing_of_a_pickle_but_tensors_is_read(tmp_path, capsys, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    torch.save({"bias": torch.ones(3), "extra": Surprise()}, path)
    assert "cannot be read as tensors alone" in refusal(path)
    path.write_bytes(pickle.dumps(Surprise()))
    assert "cannot be read as tensors alone" in refusal(path)
    assert capsys.readouterr().out == ""
    for content in ([1, 2], {"a": 1}, {1: torch.ones(2)}, torch.ones(3), {"a": {"b": torch.ones(1)}}):
        torch.save(content, path)
        assert "should hold tensors by their names" in refusal(path)


def test_broken_files_are_refused(tmp_path):
    single = io.BytesIO()
    np.save(single, W["W_enc"])
    for writer, name, said, more in (
        (dl, "ae.pt", "cannot be read as tensors alone", b"\x80\x02."),
        (gemma_2, "params.npz", "cannot be read as NumPy arrays by name", single.getvalue()),
    ):
        path = writer(tmp_path / name) / name
        whole = path.read_bytes()
        for content in (b"", b"garbage" * 50, whole[:-100], whole[:300], more):
            path.write_bytes(content)
            assert said in refusal(path)


# ---- where it is


def own(folder):
    Sae(SaeConfig(d_in=D_IN, latents=LATENTS, k=4, model="toy", site="resid", layer=1)).save(folder)
    return folder


WRITERS = [own, lens, sparse, gemma_2, gemma_3_alone, dl, llama_folder]


@pytest.mark.parametrize("writer", WRITERS)
def test_a_folder_its_files_and_the_folder_around_it_are_places(tmp_path, writer):
    folder = writer(tmp_path / "one")
    (folder / "notes.txt").write_text("more")
    (tmp_path / "recipe.yaml").write_text("model: toy\n")
    (tmp_path / "other").mkdir()
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".txt"]
    for place in (folder, str(folder), tmp_path, *files):
        assert Sae.load(place).config.latents == LATENTS


def test_several_or_none_at_a_place_are_refused(tmp_path):
    for name in ("layers.3", "layers.4"):
        sparse(tmp_path / "two" / name)
    two = tmp_path / "two"
    assert refusal(two) == f"{two}: holds several autoencoders; name one of layers.3, layers.4"
    write(lens(tmp_path / "one"), params__safetensors=W)
    assert refusal(tmp_path / "one").endswith("name one of sae_weights.safetensors, params.safetensors")
    layers = qwen(tmp_path).parent
    assert Sae.load(layers).config.layer == 3
    qwen(tmp_path, name="layer4.sae.pt")
    assert refusal(layers).endswith("holds several autoencoders; name one of layer3.sae.pt, layer4.sae.pt")
    assert "there is no such file or folder" in refusal(tmp_path / "none")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no autoencoder (none of sae.safetensors, sae_weights.safetensors," in refusal(empty)
    (empty / "model.bin").write_bytes(b"x")
    assert "is no known autoencoder's file" in refusal(empty / "model.bin")
    write(empty, cfg__json={})
    assert "holds no autoencoder" in refusal(empty / "cfg.json")
    write(empty, cfg__json={"d_in": 8, "k": 4}, sae__safetensors=SPARSIFY)
    assert "is neither glossae's, which says its 'format', nor sparsify's" in refusal(empty)


# ---- whatever stands in a file, it is read or refused

PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.just("topk")
    | st.just("none")
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=4,
)
OWN = json.loads("""{
"format": 2, "d_in": 8, "latents": 24, "k": 4, "relu": true, "tied": false, "pre_encoder_bias": true, "model": "",
"site": "", "layer": 0, "activation": "topk", "matryoshka": []}""")
OLDER_KEYS = {
    "hook_point": "blocks.1.hook_mlp_out",
    "activation_fn_str": "topk",
    "activation_fn_kwargs": {"k": 3},
}
CHANGED = [
    (lens, "cfg.json", sae_lens_config()),
    (lens, "cfg.json", sae_lens_config("standard") | OLDER_KEYS),
    (sparse, "cfg.json", NEW | {"signed": False}),
    (own, "cfg.json", OWN),
    (gemma_3, "config.json", GEMMA_3),
    (dl, "config.json", dl_config("AutoEncoder", k=2)),
    (llama_folder, "hyperparams.json", llama_config()),
]


@pytest.mark.parametrize("case", range(len(CHANGED)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_of_any_key(tmp_path, case, data):
    writer, name, config = CHANGED[case]
    folder = tmp_path / "one"
    if not folder.exists():
        writer(folder)
    changed = json.loads(json.dumps(config))
    within = changed
    inner = [key for key, value in config.items() if isinstance(value, dict)]
    if inner and data.draw(st.booleans()):
        within = changed[data.draw(st.sampled_from(inner))]
    within[data.draw(st.sampled_from(sorted(within)) | st.text(max_size=6))] = data.draw(VALUES)
    (folder / name).write_text(json.dumps(changed))
    with contextlib.suppress(GlossaeError):
        config = Sae.load(folder).config
        assert (config.d_in, config.latents) == (D_IN, LATENTS)


@pytest.mark.parametrize("writer", WRITERS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_broken_bytes(tmp_path, writer, data):
    folder = tmp_path / "one"
    if not folder.exists():
        writer(folder)
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            path.rename(path.with_name(f"{path.name}.whole"))
    wholes = sorted(folder.rglob("*.whole"))
    chosen = data.draw(st.sampled_from(wholes))
    for whole in wholes:
        content = bytearray(whole.read_bytes())
        if whole == chosen:
            at = data.draw(st.integers(0, len(content) - 1))
            content[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
        whole.with_suffix("").write_bytes(content)
    with contextlib.suppress(GlossaeError):
        Sae.load(folder)
