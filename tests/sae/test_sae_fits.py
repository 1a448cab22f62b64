"""An autoencoder from elsewhere is used where it belongs, and nowhere else without a word."""

import pytest

from glossae.errors import GlossaeError
from glossae.sae import Sae, SaeConfig, check_fits

RUN = {"d_in": 6, "model": "EleutherAI/pythia-70m", "site": "resid", "layer": 4}


def check(run=RUN, **config):
    check_fits(Sae(SaeConfig(**({"d_in": 6, "latents": 10, "k": 3} | config))), **run)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"model": "EleutherAI/pythia-70m", "site": "resid", "layer": 4},
        {"model": "pythia-70m"},
        {"model": "/models/Pythia-70M/"},
        {"model": "EleutherAI/pythia-70m@step1000"},
        {"model": "/cache/models--EleutherAI--pythia-70m/snapshots/0123abc"},
        {"layer": 4},
    ],
)
def test_what_fits(config):
    check(**config)


def test_transformer_lens_names():
    check(RUN | {"model": "openai-community/gpt2"}, model="gpt2-small")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"model": "EleutherAI/pythia-70m-deduped"},
            "sae.from: was trained on the model 'EleutherAI/pythia-70m-deduped', and this run's is "
            "'EleutherAI/pythia-70m'; give --model EleutherAI/pythia-70m-deduped, or, if they are the same, take the "
            "name out of the autoencoder's config",
        ),
        (
            {"site": "mlp.hidden", "layer": 4, "d_in": 7},
            "sae.from: was trained at mlp.hidden of layer 4, and this run is at resid of layer 4; "
            "give --site mlp.hidden --layer 4",
        ),
        (
            {"site": "resid", "layer": 0},
            "sae.from: was trained at layer 0, and this run is at layer 4; give --layer 0",
        ),
        ({"layer": 2}, "sae.from: was trained at layer 2, and this run is at layer 4; give --layer 2"),
        ({"d_in": 7}, "sae.from: reads 7 values at a token, and resid of layer 4 has 6"),
    ],
)
def test_what_does_not(config, message):
    with pytest.raises(GlossaeError) as caught:
        check(**config)
    assert str(caught.value) == message
