"""What lies at a place is told by its files; what cannot be read is said in one line, whatever it is."""

import contextlib
import json

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from other_libraries import (
    D_IN,
    LATENTS,
    llama_scope_config,
    llama_scope_weights,
    sae_lens_config,
    sparsify_weights,
    weights,
    write,
)

from glossae.errors import GlossaeError
from glossae.sae import Sae, SaeConfig

SPARSIFY = {"expansion_factor": 3, "normalize_decoder": True, "num_latents": 0, "k": 4, "d_in": D_IN}


def refusal(place):
    with pytest.raises(GlossaeError) as caught:
        Sae.load(place)
    message = str(caught.value)
    assert "\n" not in message
    return message


def own(folder):
    Sae(SaeConfig(d_in=D_IN, latents=LATENTS, k=4, model="toy", site="resid", layer=1)).save(folder)
    return folder


def of_sae_lens(folder):
    return write(folder, "sae_weights.safetensors", weights(), "cfg.json", sae_lens_config())


def of_sparsify(folder):
    return write(folder, "sae.safetensors", sparsify_weights(), "cfg.json", SPARSIFY)


def of_gemma_scope(folder):
    folder.mkdir(parents=True)
    np.savez(folder / "params.npz", **weights(threshold=(LATENTS,)))
    return folder


def of_gemma_scope_2(folder):
    return write(folder, "params.safetensors", weights(threshold=(LATENTS,)))


def of_dictionary_learning(folder):
    folder.mkdir(parents=True)
    state = {"encoder.weight": (LATENTS, D_IN), "encoder.bias": (LATENTS,), "decoder.weight": (D_IN, LATENTS)}
    torch.save(
        {name: torch.ones(shape) for name, shape in (state | {"bias": (D_IN,)}).items()}, folder / "ae.pt"
    )
    return folder


def of_llama_scope(folder):
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "hyperparams.json").write_text(json.dumps(llama_scope_config()))
    write(folder / "checkpoints", "final.safetensors", llama_scope_weights())
    return folder


WRITERS = [
    own,
    of_sae_lens,
    of_sparsify,
    of_gemma_scope,
    of_gemma_scope_2,
    of_dictionary_learning,
    of_llama_scope,
]


@pytest.mark.parametrize("writer", WRITERS)
def test_a_folder_its_files_and_the_folder_around_it(tmp_path, writer):
    folder = writer(tmp_path / "one")
    for place in (folder, str(folder), tmp_path, *(path for path in folder.rglob("*") if path.is_file())):
        assert Sae.load(place).config.latents == LATENTS


def test_other_files_beside_it(tmp_path):
    of_sparsify(tmp_path / "one")
    (tmp_path / "one" / "notes.txt").write_text("more")
    (tmp_path / "other").mkdir()
    assert Sae.load(tmp_path).config.latents == LATENTS


def test_a_run(tmp_path):
    own(tmp_path / "sae")
    (tmp_path / "recipe.yaml").write_text("model: toy\n")
    (tmp_path / "features").mkdir()
    assert Sae.load(tmp_path).config.site == "resid"


def test_several_folders(tmp_path):
    of_sparsify(tmp_path / "layers.3")
    of_sparsify(tmp_path / "layers.4")
    assert refusal(tmp_path) == f"{tmp_path}: holds several autoencoders; name one of layers.3, layers.4"


def test_several_in_one_folder(tmp_path):
    of_sae_lens(tmp_path / "one")
    write(tmp_path / "one", "params.safetensors", weights())
    assert "holds several autoencoders; name one of sae_weights.safetensors, params" in refusal(
        tmp_path / "one"
    )


def test_none(tmp_path):
    assert "there is no such file or folder" in refusal(tmp_path / "none")
    assert "holds no autoencoder (none of sae.safetensors, sae_weights.safetensors," in refusal(tmp_path)
    (tmp_path / "model.bin").write_bytes(b"x")
    assert "is no known autoencoder's file" in refusal(tmp_path / "model.bin")
    (tmp_path / "cfg.json").write_text("{}")
    assert "holds no autoencoder" in refusal(tmp_path / "cfg.json")


def test_a_config_of_nobody(tmp_path):
    of_sparsify(tmp_path / "one")
    (tmp_path / "one" / "cfg.json").write_text('{"d_in": 8, "k": 4}')
    assert "is neither glossae's, which says its 'format', nor sparsify's" in refusal(tmp_path / "one")


# ---- whatever stands in a file, it is read or refused


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["topk", "none"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=4,
)
OWN = {
    "format": 2,
    "d_in": D_IN,
    "latents": LATENTS,
    "k": 4,
    "relu": True,
    "tied": False,
    "pre_encoder_bias": True,
}
OWN |= {"model": "", "site": "", "layer": 0, "activation": "topk", "matryoshka": []}
OLDER = {"hook_point": "blocks.1.hook_mlp_out", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}}
SCOPE = {
    "architecture": "jump_relu",
    "hf_hook_point_in": "model.layers.1.output",
    "model_name": "x",
    "type": "sae",
}
TRAINER = {
    "dict_class": "AutoEncoder",
    "layer": 3,
    "lm_name": "x",
    "submodule_name": "resid_post_layer_3",
    "k": 2,
}
CASES = [
    (of_sae_lens, "cfg.json", sae_lens_config()),
    (of_sae_lens, "cfg.json", sae_lens_config("standard") | OLDER),
    (of_sparsify, "cfg.json", SPARSIFY | {"signed": False, "transcode": False}),
    (own, "cfg.json", OWN),
    (of_gemma_scope_2, "config.json", SCOPE),
    (of_dictionary_learning, "config.json", {"trainer": TRAINER, "buffer": {"io": "out"}}),
    (of_llama_scope, "hyperparams.json", llama_scope_config()),
]


@pytest.mark.parametrize("case", range(len(CASES)))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_of_any_key(tmp_path, case, data):
    writer, name, config = CASES[case]
    folder = tmp_path / "one"
    if not folder.exists():
        writer(folder)
    changed = json.loads(json.dumps(config))
    within = changed
    inner = [key for key, value in config.items() if isinstance(value, dict)]
    if inner and data.draw(st.booleans()):
        within = changed[data.draw(st.sampled_from(inner))]
    key = data.draw(st.sampled_from(sorted(within)) | st.text(max_size=6))
    within[key] = data.draw(VALUES)
    (folder / name).write_text(json.dumps(changed))
    with contextlib.suppress(GlossaeError):
        config = Sae.load(folder).config
        assert (config.d_in, config.latents) == (D_IN, LATENTS)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("writer", WRITERS)
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
