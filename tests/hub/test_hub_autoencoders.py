"""Autoencoders of the hub: one folder or one file of a repository, once, and what is not one autoencoder refused."""

import io
import json

import torch
from safetensors.torch import save

D_IN, LATENTS = 4, 8


def qwen_scope(seed):
    torch.manual_seed(seed)
    shapes = {"W_enc": (LATENTS, D_IN), "W_dec": (D_IN, LATENTS), "b_enc": (LATENTS,), "b_dec": (D_IN,)}
    file = io.BytesIO()
    torch.save({key: torch.randn(shape) for key, shape in shapes.items()}, file)
    return file.getvalue()


def llama_scope():
    tensors = {
        "encoder.weight": torch.ones(LATENTS, D_IN),
        "encoder.bias": torch.ones(LATENTS),
        "decoder.weight": torch.ones(D_IN, LATENTS),
        "decoder.bias": torch.ones(D_IN),
    }
    config = {
        "hook_point_in": "blocks.24.hook_resid_post",
        "d_model": D_IN,
        "d_sae": LATENTS,
        "act_fn": "jumprelu",
        "jump_relu_threshold": 0.5,
        "norm_activation": "dataset-wise",
        "dataset_average_activation_norm": {"in": 2.0, "out": 2.0},
    }
    return {"hyperparams.json": json.dumps(config), "checkpoints/final.safetensors": save(tensors)}


def fetched(hub):
    """What was asked for by name since the last look, without the card that tells the commit."""
    files = [line.rpartition("/")[2] for line in hub.asked if line.startswith("GET") and "/resolve/" in line]
    hub.asked.clear()
    return [file for file in files if file != "README.md"]


def test_one_layer_of_qwen_scope_is_fetched_and_no_other(hub, client, offline, refusal):
    name = "Qwen/SAE-Res-Qwen3-8B-Base-W64K-L0_3"
    commit = hub.add(name, {f"layer{n}.sae.pt": qwen_scope(n) for n in range(12)} | {"README.md": "# A card"})
    hub.asked.clear()
    whole = refusal("autoencoder", f"hub:{name}")
    assert "holds several autoencoders; add the name of one of them, such as /layer0.sae.pt:" in whole
    assert fetched(hub) == []
    answer = client("autoencoder", f"hub:{name}/layer7.sae.pt")
    assert [line for line in hub.asked if "sae.pt" in line and "layer7" not in line] == []
    known = {
        "model": "Qwen/Qwen3-8B-Base",
        "site": "resid",
        "layer": 7,
        "k": 3,
        "latents": LATENTS,
        "commit": commit,
    }
    assert {key: answer[key] for key in known} == known
    hub.asked.clear()
    assert offline("autoencoder", f"hub:{name}/layer7.sae.pt") == answer
    assert hub.asked == []
    # what lies in the cache does not decide what a name means
    assert refusal("autoencoder", f"hub:{name}") == whole
    assert "there are some" in refusal("autoencoder", f"hub:{name}/nowhere")


def test_a_folder_of_llama_scope(hub, client, offline, refusal):
    name = "fnlp/Llama3_1-8B-Base-LXR-8x"
    layers = [f"Llama3_1-8B-Base-L{n}R-8x" for n in (23, 24)]
    files = {f"{layer}/{file}": data for layer in layers for file, data in llama_scope().items()}
    commit = hub.add(name, files)
    hub.asked.clear()
    answer = client("autoencoder", f"hub:{name}/{layers[1]}")
    assert [line for line in hub.asked if layers[0] in line] == []
    known = {"model": "meta-llama/Llama-3.1-8B", "layer": 24, "activation": "jumprelu", "commit": commit}
    assert {key: answer[key] for key in known} == known
    hub.asked.clear()
    assert offline("autoencoder", f"hub:{name}/{layers[1]}") == answer
    assert hub.asked == []
    assert f"there are some in {layers[0]}/checkpoints" in refusal("autoencoder", f"hub:{name}")


def test_files_without_a_known_name_have_to_be_named(hub, refusal, name):
    hub.add(name, {"a.pt": qwen_scope(0), "b.pt": qwen_scope(1)})
    said = refusal("autoencoder", f"hub:{name}")
    assert said.endswith("no autoencoder by its name in that folder; name one of its files, a.pt, b.pt")
