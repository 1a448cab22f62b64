"""Qwen-Scope's files: one layer each, without a config; the layer, the model and k stand in the names."""

import numpy as np
import pytest
import torch
from other_libraries import D_IN, LATENTS, K, agrees, inputs, top_k, weights

from glossae.errors import GlossaeError
from glossae.sae import Sae

RELEASE = f"SAE-Res-Qwen3.5-2B-Base-W32K-L0_{K}"


def state(**changes):
    w = weights()
    made = {"W_enc": w["W_enc"].T, "W_dec": w["W_dec"].T, "b_enc": w["b_enc"], "b_dec": w["b_dec"]} | changes
    return {name: torch.from_numpy(np.array(a)) for name, a in made.items() if a is not None}


def save(folder, name="layer3.sae.pt", **changes):
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state(**changes), folder / name)
    return folder / name


def refusal(place):
    with pytest.raises(GlossaeError) as caught:
        Sae.load(place)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_codes_and_reconstructions_are_those_of_the_models_cards(tmp_path):
    w, x = weights(), inputs(6, 5)
    codes = top_k(x @ w["W_enc"] + w["b_enc"], K)
    found = Sae.load(save(tmp_path / RELEASE))
    agrees(found, x, codes, codes @ w["W_dec"] + w["b_dec"])
    # there is no ReLU: a selected value below zero stays
    low = np.full((1, D_IN), 0, np.float32)
    found = Sae.load(save(tmp_path / RELEASE, b_enc=-np.arange(1, LATENTS + 1, dtype=np.float32)))
    assert sorted(found.encode(torch.from_numpy(low)).values[0].tolist()) == [-4, -3, -2, -1]


@pytest.mark.parametrize(
    ("repository", "model", "k"),
    [
        ("SAE-Res-Qwen3-8B-Base-W64K-L0_50", "Qwen/Qwen3-8B-Base", 50),
        ("SAE-Res-Qwen3.5-27B-W80K-L0_100", "Qwen/Qwen3.5-27B", 100),
        ("SAE-Res-Qwen3.5-35B-A3B-Base-W128K-L0_100", "Qwen/Qwen3.5-35B-A3B-Base", 100),
    ],
)
def test_what_it_belongs_to(tmp_path, repository, model, k):
    wide = {
        "W_enc": np.ones((128, 2)),
        "W_dec": np.ones((2, 128)),
        "b_enc": np.ones(128),
        "b_dec": np.ones(2),
    }
    for folder in (
        tmp_path / repository,
        tmp_path / f"models--Qwen--{repository}" / "snapshots" / ("0" * 40),
    ):
        config = Sae.load(save(folder, "layer17.sae.pt", **wide)).config
        assert (config.model, config.site, config.layer, config.k) == (model, "resid", 17, k)
        assert (config.activation, config.pre_encoder_bias, config.latents) == ("topk", False, 128)


def test_a_folder_with_one_layer_and_with_several(tmp_path):
    save(tmp_path / RELEASE)
    assert Sae.load(tmp_path / RELEASE).config.layer == 3
    save(tmp_path / RELEASE, "layer4.sae.pt")
    assert refusal(tmp_path / RELEASE).endswith(
        "holds several autoencoders; name one of layer3.sae.pt, layer4.sae.pt"
    )


def test_names_that_say_nothing(tmp_path):
    for folder, name in (
        ("mine", "layer3.sae.pt"),
        (RELEASE, "third.sae.pt"),
        (f"{RELEASE}_not", "layer3.sae.pt"),
    ):
        assert "is only in the name of its repository" in refusal(save(tmp_path / folder, name))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"W_dec": np.ones((LATENTS, D_IN))},
            f"W_dec should be ({D_IN}, {LATENTS}) and is ({LATENTS}, {D_IN})",
        ),
        ({"b_dec": None}, f"b_dec should be ({D_IN},) and is missing"),
        ({"threshold": np.ones(LATENTS)}, "holds a tensor 'threshold'"),
        ({"b_enc": np.full(LATENTS, np.nan)}, "b_enc holds values that are not finite"),
    ],
)
def test_tensors_that_do_not_fit(tmp_path, changes, said):
    assert said in refusal(save(tmp_path / RELEASE, **changes))


def test_a_pickle_with_more_in_it_than_tensors(tmp_path, capsys):
    class Surprise:
        def __reduce__(self):
            return print, ("unpickled",)

    place = save(tmp_path / RELEASE)
    torch.save({**state(), "extra": Surprise()}, place)
    assert "cannot be read as tensors alone" in refusal(place)
    assert capsys.readouterr().out == ""
