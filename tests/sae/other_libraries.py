"""What other libraries compute from their own files, in NumPy and float64, by the libraries' descriptions."""

import json

import numpy as np
import torch
from safetensors.torch import save_file

D_IN, LATENTS, K = 8, 24, 4


def relu(a):
    return np.maximum(a, 0)


def top_k(a, k):
    """Zero but for the k largest of each row."""
    kept = np.zeros_like(a)
    largest = np.argsort(-a, axis=-1)[..., :k]
    np.put_along_axis(kept, largest, np.take_along_axis(a, largest, -1), -1)
    return kept


def weights(seed=0, **more):
    """Random weights as SAELens shapes them, decoder rows of all lengths; `more` are further shapes."""
    rng = np.random.default_rng(seed)
    shapes = {
        "W_enc": (D_IN, LATENTS),
        "W_dec": (LATENTS, D_IN),
        "b_enc": (LATENTS,),
        "b_dec": (D_IN,),
        **more,
    }
    drawn = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    drawn["W_dec"] *= rng.uniform(0.3, 3, size=(LATENTS, 1)).astype(np.float32)
    return drawn


def inputs(*shape, seed=9):
    return np.random.default_rng(seed).normal(size=(*shape, D_IN)).astype(np.float32) * 2


def write(folder, weights_name, tensors, config_name=None, config=None):
    """A folder of tensors and JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    as_tensors = {
        name: tensor if isinstance(tensor, torch.Tensor) else torch.from_numpy(np.array(tensor))
        for name, tensor in tensors.items()
    }
    save_file({name: tensor.contiguous() for name, tensor in as_tensors.items()}, folder / weights_name)
    if config_name is not None:
        (folder / config_name).write_text(json.dumps(config))
    return folder


def agrees(sae, x, codes, out):
    """Whether codes and reconstructions are those, for inputs of the shape they have."""
    found = sae.encode(torch.from_numpy(x))
    assert found.values.shape[:-1] == x.shape[:-1]
    dense = torch.zeros(*x.shape[:-1], sae.config.latents).scatter_add_(-1, found.indices, found.values)
    np.testing.assert_allclose(dense.numpy(), codes, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(sae.decode(found).numpy(), out, rtol=1e-4, atol=1e-4)
    assert (codes > 0).any()
    assert (codes == 0).any()


# ---- SAELens


def sae_lens(config, w, x, scale=1.0):
    """Codes and reconstruction of SAELens' classes.

    `scale` is what a training with `expected_average_only_in` multiplies activations by: the codes are then
    those of the folded weights, which SAELens gives out at the end.
    """
    w = {name: np.asarray(a, np.float64) for name, a in w.items()}
    norms = np.linalg.norm(w["W_dec"], axis=-1)
    pre = (x * scale - w["b_dec"] * config["apply_b_dec_to_input"]) @ w["W_enc"] + w["b_enc"]
    rescaled = config.get("rescale_acts_by_decoder_norm", False)
    if rescaled:
        pre = pre * norms
    if config["architecture"] == "topk":
        f = relu(top_k(pre, config["k"]))
    elif config["architecture"] == "standard":
        f = relu(pre)
    else:
        f = relu(pre) * (pre > w.get("threshold", w.get("topk_threshold")))
    out = ((f / norms if rescaled else f) @ w["W_dec"] + w["b_dec"]) / scale
    return (f / scale if rescaled else f), out


def sae_lens_config(architecture="topk", **changes):
    """The config of SAELens 6."""
    config = {
        "architecture": architecture,
        "d_in": D_IN,
        "d_sae": LATENTS,
        "dtype": "float32",
        "device": "cuda",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": "6.18.0",
            "sae_lens_training_version": "6.18.0",
            "model_name": "pythia-70m-deduped",
            "hook_name": "blocks.3.hook_resid_post",
            "hook_head_index": None,
            "context_size": 128,
            "l0": 3.5,
        },
    }
    if architecture == "topk":
        config |= {"k": K, "rescale_acts_by_decoder_norm": False}
    return config | changes


# ---- sparsify


def sparsify(w, x, k):
    """Codes and reconstruction of sparsify's `SparseCoder`."""
    pre = (x - w["b_dec"]) @ w["encoder.weight"].T + w["encoder.bias"]
    f = top_k(relu(np.asarray(pre, np.float64)), k)
    return f, f @ w["W_dec"] + w["b_dec"]


def sparsify_weights(seed=0):
    w = weights(seed)
    return {
        "encoder.weight": w["W_enc"].T,
        "encoder.bias": w["b_enc"],
        "W_dec": w["W_dec"],
        "b_dec": w["b_dec"],
    }


# ---- Gemma Scope


def gemma_scope(w, x):
    """Codes and reconstruction of Gemma Scope's JumpReLU."""
    pre = np.asarray(x @ w["W_enc"] + w["b_enc"], np.float64)
    f = relu(pre) * (pre > w["threshold"])
    return f, f @ w["W_dec"] + w["b_dec"]


# ---- dictionary_learning


def dictionary_learning(kind, w, x, k=K):
    """Codes and reconstruction of one of dictionary_learning's classes."""
    w = {name: np.asarray(a, np.float64) for name, a in w.items()}
    if kind in ("JumpReluAutoEncoder", "MatryoshkaBatchTopKSAE"):
        subtracted = w["b_dec"] if kind == "MatryoshkaBatchTopKSAE" else 0
        pre = (x - subtracted) @ w["W_enc"] + w["b_enc"]
        f = relu(pre * (pre > w["threshold"]))
        return f, f @ w["W_dec"] + w["b_dec"]
    bias = w[{"AutoEncoder": "bias", "AutoEncoderNew": "decoder.bias"}.get(kind, "b_dec")]
    f = relu((x - (0 if kind == "AutoEncoderNew" else bias)) @ w["encoder.weight"].T + w["encoder.bias"])
    if kind == "AutoEncoderTopK":
        f = top_k(f, k)
    elif kind == "BatchTopKSAE":
        f = f * (f > w["threshold"])
    return f, f @ w["decoder.weight"].T + bias


# ---- Llama Scope


def llama_scope_config(**changes):
    """What `hyperparams.json` holds, with every key of a released one."""
    config = {
        "device": "cuda:0",
        "seed": 42,
        "dtype": "torch.bfloat16",
        "hook_point_in": "blocks.2.hook_resid_post",
        "hook_point_out": "blocks.2.hook_resid_post",
        "use_decoder_bias": True,
        "apply_decoder_bias_to_pre_encoder": False,
        "expansion_factor": LATENTS // D_IN,
        "d_model": D_IN,
        "d_sae": LATENTS,
        "bias_init_method": "all_zero",
        "act_fn": "jumprelu",
        "jump_relu_threshold": 0.75390625,
        "norm_activation": "dataset-wise",
        "dataset_average_activation_norm": {"in": 7.125, "out": 7.125},
        "decoder_exactly_fixed_norm": False,
        "sparsity_include_decoder_norm": True,
        "use_glu_encoder": False,
        "init_decoder_norm": 0.5,
        "init_encoder_norm": None,
        "init_encoder_with_decoder_transpose": True,
        "lp": 1,
        "l1_coefficient": 8e-05,
        "l1_coefficient_warmup_steps": 78125,
        "top_k": K,
        "k_warmup_steps": 78125,
        "use_batch_norm_mse": True,
        "use_ghost_grads": False,
        "tp_size": 1,
        "ddp_size": 1,
    }
    return {key: value for key, value in (config | changes).items() if value is not ...}


def llama_scope_weights(seed=0):
    """Linear layers, `(out, in)`."""
    w = weights(seed)
    return {
        "encoder.weight": w["W_enc"].T.copy(),
        "encoder.bias": w["b_enc"],
        "decoder.weight": w["W_dec"].T.copy(),
        "decoder.bias": w["b_dec"],
    }


def llama_scope(config, w, x):
    """Codes and reconstruction of raw activations, computed among the scaled ones that training saw.

    A latent stands there at `a` times its value, and its decoder column's length is another factor of it: the codes
    and the threshold are those of raw activations and columns of length 1.
    """
    w = {name: np.asarray(a, np.float64) for name, a in w.items()}
    norms = config["dataset_average_activation_norm"]
    scaled = config["norm_activation"] == "dataset-wise"
    a_in, a_out = (np.sqrt(D_IN) / norms[side] if scaled else 1.0 for side in ("in", "out"))
    bias = w["decoder.bias"] if config["use_decoder_bias"] else np.zeros(D_IN)
    before = bias * (a_in / a_out) if config["apply_decoder_bias_to_pre_encoder"] else 0
    pre = (x * a_in - before) @ w["encoder.weight"].T + w["encoder.bias"]
    lengths = np.linalg.norm(w["decoder.weight"], axis=0)
    # what a latent adds to the raw activation, in length, is what it is then called
    unit = (lengths / a_out if config["sparsity_include_decoder_norm"] else 1 / a_in) * np.ones(LATENTS)
    codes = pre * unit
    theta = config["jump_relu_threshold"]
    if config["act_fn"] == "jumprelu" or (config["act_fn"] == "topk" and theta > 0):
        codes = np.where(codes > theta, codes, 0)
    else:
        codes = relu(codes)
        if config["act_fn"] == "topk":
            codes = top_k(codes, config["top_k"])
    return codes, (codes / unit @ w["decoder.weight"].T + bias) / a_out
