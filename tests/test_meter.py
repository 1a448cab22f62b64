"""What is counted of models and SAEs equals what torch counts of the products that are carried out."""

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from glossae.lm import (
    Passes,
    Site,
    activations,
    batches,
    continue_tokens,
    gradients,
    load,
    replayed_losses,
    sentence_losses,
)
from glossae.meter import Throughput, count, metered, training
from glossae.sae import Sae, SaeConfig, TrainSettings, train

SITE = Site("resid", 1)
NEW = 8


@pytest.fixture
def tokens(random_tokens):
    """Sentences of one length, because torch counts pads."""
    return random_tokens([16] * 12)


WORKS = {
    "activations": lambda lm, tokens: list(activations(lm, batches(tokens, 64), [SITE])),
    "losses": sentence_losses,
    "edits": lambda lm, tokens: replayed_losses(lm, SITE, tokens, [torch.neg, torch.zeros_like]),
    "edits and none": lambda lm, tokens: replayed_losses(lm, SITE, tokens, [None, torch.neg]),
    "gradients": lambda lm, tokens: list(gradients(lm, tokens, SITE)),
    "continuations": lambda lm, tokens: continue_tokens(lm, list(tokens.ids), new_tokens=NEW, ending=False),
}


@pytest.mark.parametrize("name", WORKS)
def test_the_flops_of_a_model_are_those_that_torch_counts(tiny_model, tokens, name):
    lm = load(str(tiny_model))
    # torch does not count a fused attention on a CPU
    lm.model.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter, metered() as work:
        WORKS[name](lm, tokens)
    # norms and activation functions are in neither; with a cache, early tokens do not attend to later ones
    assert work.model_flops == pytest.approx(counter.get_total_flops(), rel=0.05)


def test_tokens_times_blocks_are_those_that_run_without_pads(tiny_lm, random_tokens):
    tokens, layers = random_tokens([4, 30, 11]), tiny_lm.layers
    expected = {
        "activations": SITE.layer + 1,
        "losses": layers,
        "edits": 2 * layers - SITE.layer - 1,
        "edits and none": 2 * layers - SITE.layer - 1,
        "gradients": layers,
    }
    for name, blocks in expected.items():
        with metered() as work:
            WORKS[name](tiny_lm, tokens)
        assert work.token_blocks == 45 * blocks, name
        assert work.read_token_blocks == (45 * blocks if name == "activations" else 0), name


def test_stored_passes_are_counted_apart(tiny_lm, tokens, tmp_path):
    lm = replace(tiny_lm, passes=Passes(tmp_path, tiny_lm.model, "0" * 16))
    for run, stored in ((2, 0), (0, 2)):
        with metered() as work:
            WORKS["activations"](lm, tokens)
        assert work.token_blocks == work.read_token_blocks == 192 * run
        assert work.stored_token_blocks == 192 * stored


def test_the_flops_of_an_encoding_are_those_that_torch_counts():
    sae, x = Sae(SaeConfig(d_in=32, latents=256, k=4)), torch.randn(50, 32)
    with FlopCounterMode(display=False) as counter, metered() as work:
        sae.encode(x)
    assert work.sae_flops == counter.get_total_flops()


def test_a_training_counts_its_products_and_bytes_and_its_passes_apart():
    d, m, k, tokens, steps = 32, 256, 4, 64, 10
    x, settings = torch.randn(tokens, d), TrainSettings(steps=steps, tokens=steps * tokens, aux_k=0)
    with metered() as work:
        count(model_flops=1.0)
        with training():
            count(model_flops=2.0)
            train(SaeConfig(d_in=d, latents=m, k=k), iter([x] * steps), settings)
    assert (work.model_flops, work.training_model_flops) == (3.0, 2.0)
    assert 0 < work.training_seconds <= work.seconds
    # a latent that is selected and not above zero has no sparse products
    dense = 2 * d * m * tokens * steps
    assert dense < work.training_sae_flops <= dense + 4 * 2 * d * k * tokens * steps
    # weights, and two moments of each, read and written in every step
    assert work.sae_bytes == steps * (2 * d * m + m + d) * 3 * 4 * 2


def test_throughput_is_named_in_the_unit_of_the_peak():
    of_cpu = Throughput(61e9, 143e9, "bfloat16", 61 / 143, 0.27, 0.55)
    assert of_cpu.words == (
        "model 61 of 143 GFLOP/s in bfloat16 (MFU 43 %); training 27 % of the roofline; 55 % of reading passes spared"
    )
    assert Throughput(3e14, 7.5e14, "bfloat16", 0.4, None, 0.0).words == (
        "model 300 of 750 TFLOP/s in bfloat16 (MFU 40 %)"
    )
    assert "(MFU 101 %); training 0.8 % of" in Throughput(1.01e9, 1e9, "float32", 1.01, 0.008, None).words
