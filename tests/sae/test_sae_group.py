"""A group is trained as each of its autoencoders would be alone, on one product; the product is what it says."""

import dataclasses

import pytest
import torch

from glossae.sae import Mixer, Sae, SaeConfig, TrainSettings, train, train_group
from glossae.sae.product import EncoderProduct, encoder_dtype

D, LATENTS, STEPS, BATCH = 16, 48, 30, 64
SETTINGS = TrainSettings(steps=STEPS, tokens=STEPS * BATCH, encoder_dtype="float32", lr=0.003)
JOBS = [
    (SaeConfig(d_in=D, latents=LATENTS, k=3), SETTINGS),
    (SaeConfig(d_in=D, latents=32, k=5, tied=True), dataclasses.replace(SETTINGS, seed=1)),
    (SaeConfig(d_in=D, latents=LATENTS, k=2, pre_encoder_bias=False), SETTINGS),
    (SaeConfig(d_in=D, latents=LATENTS, activation="relu"), dataclasses.replace(SETTINGS, l1=0.02)),
    (SaeConfig(d_in=D, latents=LATENTS, k=3, activation="batchtopk", matryoshka=(16, LATENTS)), SETTINGS),
    (SaeConfig(d_in=D, latents=LATENTS, k=3, activation="jumprelu"), SETTINGS),
]


def batches():
    # another seed than the trainings', whose first weights are random directions as well
    generator = torch.Generator().manual_seed(100)
    directions = torch.randn(40, D, generator=generator)
    for _ in range(STEPS):
        chosen = torch.rand(BATCH, 40, generator=generator).topk(3, dim=1).indices
        yield torch.zeros(BATCH, 40).scatter_(1, chosen, 1.0) @ directions + 2.0


def passing_through():
    return Mixer(None, 0, torch.Generator())


def test_a_group_is_trained_as_each_would_be_alone():
    together = train_group(JOBS, lambda _: batches(), passing_through())
    for (config, settings), (sae, log) in zip(JOBS, together, strict=True):
        alone, its_log = train(config, batches(), settings)
        # the product's sums run in another order, and Adam's first steps make much of little
        for name, tensor in alone.state_dict().items():
            torch.testing.assert_close(sae.state_dict()[name], tensor, atol=2e-3, rtol=2e-3)
        assert log[-1].mse == pytest.approx(its_log[-1].mse, rel=1e-3)


def test_every_kind_learns():
    for sae, log in train_group(JOBS, lambda _: batches(), passing_through()):
        assert log[-1].fvu < 0.9 * log[0].fvu, sae.config


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("numbers", [(0,), (2,), (0, 1, 2)])
def test_the_product_gives_pre_activations(dtype, numbers):
    saes = []
    for number in numbers:
        sae = Sae(JOBS[number][0])
        for place, parameter in enumerate(sae.parameters()):
            generator = torch.Generator().manual_seed(10 * number + place)
            parameter.data = torch.randn(parameter.shape, generator=generator)
        saes.append(sae)
    x = next(batches())
    expected = [sae.pre_activations(x) for sae in saes]
    product = EncoderProduct(saes, dtype)
    offset = product.offset(x.mean(0))
    tolerance = {"atol": 1e-4, "rtol": 1e-4} if dtype == torch.float32 else {"atol": 0.6, "rtol": 0.02}
    for pre, wanted in zip(product(x - offset, offset), expected, strict=True):
        torch.testing.assert_close(pre.float(), wanted.detach(), **tolerance)
    # training an autoencoder's own weights is seen by the next product
    saes[-1].W_enc.data.mul_(2)
    *_, last = product(x - offset, offset)
    torch.testing.assert_close(last.float(), saes[-1].pre_activations(x).detach(), **tolerance)


def test_a_low_precision_decides_which_latents_but_not_their_values():
    settings = dataclasses.replace(SETTINGS, encoder_dtype="bfloat16")
    config = JOBS[0][0]
    test = torch.cat(list(batches()))
    fvu = []
    for how in (SETTINGS, settings):
        sae, _ = train(config, batches(), how)
        fvu.append(float((sae(test) - test).square().sum() / (test - test.mean(0)).square().sum()))
    assert fvu[1] == pytest.approx(fvu[0], rel=0.02)


def test_the_precision_can_be_asked_for():
    device = torch.device("cpu")
    assert encoder_dtype("float32", device) == torch.float32
    assert encoder_dtype("bfloat16", device) == torch.bfloat16
    assert encoder_dtype("auto", device) in (torch.float32, torch.bfloat16)
