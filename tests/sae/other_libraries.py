"""What other libraries compute from their own files, in NumPy and float64, by the libraries' descriptions."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from glossae.errors import GlossaeError
from glossae.sae import Sae

D_IN, LATENTS, K = 8, 24, 4


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


W = weights()
THRESHOLD = weights(threshold=(LATENTS,))["threshold"]
SPARSIFY = {
    "encoder.weight": W["W_enc"].T,
    "encoder.bias": W["b_enc"],
    "W_dec": W["W_dec"],
    "b_dec": W["b_dec"],
}
LLAMA = {
    "encoder.weight": W["W_enc"].T,
    "encoder.bias": W["b_enc"],
    "decoder.weight": W["W_dec"].T,
    "decoder.bias": W["b_dec"],
}


def inputs(*shape):
    return np.random.default_rng(9).normal(size=(*shape, D_IN)).astype(np.float32) * 2


def write(folder, **files):
    """Write files, `name__ending`: JSON, or dicts of arrays or tensors, from which None is left out."""
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".json":
            path.write_text(content if isinstance(content, str) else json.dumps(content))
            continue
        kept = {key: value for key, value in content.items() if value is not None}
        if path.suffix == ".npz":
            np.savez(path, **kept)
            continue
        tensors = {
            key: value if isinstance(value, torch.Tensor) else torch.from_numpy(np.array(value))
            for key, value in kept.items()
        }
        if path.suffix == ".pt":
            torch.save(tensors, path)
        else:
            save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
    return folder


def refusal(place):
    """The one line with which loading fails."""
    with pytest.raises(GlossaeError) as caught:
        Sae.load(place)
    message = str(caught.value)
    assert "\n" not in message
    return message


def dense(sae, x):
    """Codes with all latents, and the reconstruction."""
    found = sae.encode(torch.from_numpy(x))
    assert found.values.shape[:-1] == x.shape[:-1]
    codes = torch.zeros(*x.shape[:-1], sae.config.latents).scatter_add_(-1, found.indices, found.values)
    return codes.numpy(), sae.decode(found).numpy()


def same(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    codes = wanted[0]
    assert (codes > 0).any()
    assert (codes == 0).any()


def relu(a):
    return np.maximum(a, 0)


def top_k(a, k=K):
    """Zero but for the k largest of each row."""
    kept = np.zeros_like(a)
    largest = np.argsort(-a, axis=-1)[..., :k]
    np.put_along_axis(kept, largest, np.take_along_axis(a, largest, -1), -1)
    return kept


def relu_top_k(a):
    return relu(top_k(a))


def above(threshold):
    return lambda a: relu(a) * (a > threshold)


def computed(act, x, w=W, *, subtract=True, rescaled=False, scale=1.0):
    """Codes and reconstruction of an SAE.

    Args:
        act: makes codes of pre-activations.
        x: activations.
        w: weights as SAELens shapes them.
        subtract: whether the decoder's bias is taken off before encoding.
        rescaled: SAELens' `rescale_acts_by_decoder_norm`.
        scale: what a training of SAELens with `expected_average_only_in` multiplies activations by: the codes are
            then those of the folded weights, which SAELens gives out at the end.
    """
    w = {name: np.asarray(a, np.float64) for name, a in w.items()}
    norms = np.linalg.norm(w["W_dec"], axis=-1) if rescaled else 1.0
    f = act(((x * scale - w["b_dec"] * subtract) @ w["W_enc"] + w["b_enc"]) * norms)
    return (f / scale if rescaled else f), (f / norms @ w["W_dec"] + w["b_dec"]) / scale


def sae_lens_config(architecture="topk", **changes):
    """The config of SAELens 6."""
    config = json.loads("""{
    "d_in": 8, "d_sae": 24, "dtype": "float32", "device": "cuda", "apply_b_dec_to_input": true,
    "normalize_activations": "none", "reshape_activations": "none",
    "metadata": {"sae_lens_version": "6.18.0", "sae_lens_training_version": "6.18.0", "context_size": 128, "l0": 3.5,
        "model_name": "pythia-70m-deduped", "hook_name": "blocks.3.hook_resid_post", "hook_head_index": null}}""")
    selecting = {"k": K, "rescale_acts_by_decoder_norm": False} if architecture == "topk" else {}
    return config | {"architecture": architecture} | selecting | changes


def llama_config(**changes):
    """What `hyperparams.json` of Llama Scope holds, with every key of a released one."""
    config = json.loads("""{
    "device": "cuda:0", "seed": 42, "dtype": "torch.bfloat16", "hook_point_in": "blocks.2.hook_resid_post",
    "hook_point_out": "blocks.2.hook_resid_post", "use_decoder_bias": true, "apply_decoder_bias_to_pre_encoder": false,
    "expansion_factor": 3, "d_model": 8, "d_sae": 24, "bias_init_method": "all_zero", "act_fn": "jumprelu",
    "jump_relu_threshold": 0.75390625, "norm_activation": "dataset-wise",
    "dataset_average_activation_norm": {"in": 7.125, "out": 7.125}, "decoder_exactly_fixed_norm": false,
    "sparsity_include_decoder_norm": true, "use_glu_encoder": false, "init_decoder_norm": 0.5,
    "init_encoder_norm": null, "init_encoder_with_decoder_transpose": true, "lp": 1, "l1_coefficient": 8e-05,
    "l1_coefficient_warmup_steps": 78125, "top_k": 4, "k_warmup_steps": 78125, "use_batch_norm_mse": true,
    "use_ghost_grads": false, "tp_size": 1, "ddp_size": 1}""")
    return {key: value for key, value in (config | changes).items() if value is not ...}


def llama(config, x):
    """Codes and reconstruction of raw activations, computed among the scaled ones that training saw.

    A latent stands there at `a` times its value, and its decoder column's length is another factor of it: the codes
    and the threshold are those of raw activations and columns of length 1.
    """
    norms = config["dataset_average_activation_norm"]
    scaled = config["norm_activation"] == "dataset-wise"
    a_in, a_out = (np.sqrt(D_IN) / norms[side] if scaled else 1.0 for side in ("in", "out"))
    w = {name: np.asarray(a, np.float64) for name, a in W.items()}
    bias = w["b_dec"] * config["use_decoder_bias"]
    before = bias * (a_in / a_out) if config["apply_decoder_bias_to_pre_encoder"] else 0
    pre = (x * a_in - before) @ w["W_enc"] + w["b_enc"]
    lengths = np.linalg.norm(w["W_dec"], axis=1)
    # what a latent adds to the raw activation, in length, is what it is then called
    unit = (lengths / a_out if config["sparsity_include_decoder_norm"] else 1 / a_in) * np.ones(LATENTS)
    codes, theta = pre * unit, config["jump_relu_threshold"]
    if config["act_fn"] == "jumprelu" or (config["act_fn"] == "topk" and theta > 0):
        codes = np.where(codes > theta, codes, 0)
    else:
        codes = relu_top_k(codes) if config["act_fn"] == "topk" else relu(codes)
    return codes, (codes / unit @ w["W_dec"] + bias) / a_out
