"""Adam in blocks, and with moments in half the memory."""

import dataclasses

import pytest
import torch

from glossae.sae import SaeConfig, TrainSettings, train, trainer
from glossae.sae.adam import Adam

D, M, K, STEPS, TOKENS = 24, 96, 4, 60, 128


def stream(seed=0):
    """Sparse sums of 48 directions."""
    drawn = torch.Generator().manual_seed(seed)
    directions = torch.randn(48, D, generator=drawn)
    for _ in range(STEPS):
        fires = torch.rand(TOKENS, 48, generator=drawn) < 0.06
        yield (fires * torch.rand(TOKENS, 48, generator=drawn)) @ directions + 0.01


SETTINGS = TrainSettings(steps=STEPS, tokens=STEPS * TOKENS, encoder_dtype="float32", lr=0.003)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_blocks_of_rows_are_updated_as_adam_updates_the_whole(dtype):
    start = torch.randn(10, 6, generator=torch.Generator().manual_seed(0))
    expected, found = start.clone().requires_grad_(), start.clone()
    theirs = torch.optim.Adam([expected], lr=0.01)
    ours = Adam({"weight": found}, dtype, seed=0)
    for step in range(30):
        gradient = torch.randn(10, 6, generator=torch.Generator().manual_seed(step + 1))
        expected.grad = gradient
        theirs.step()
        ours.start(step, found.device)
        for rows in (slice(0, 3), slice(3, 10)):
            ours.update("weight", found[rows], gradient[rows].clone(), 0.01, rows)
    assert {moment.dtype for moment in ours.moments["weight"]} == {dtype}
    close = 1e-6 if dtype == torch.float32 else 0.02
    torch.testing.assert_close(found, expected.detach(), rtol=0, atol=close)


def test_rounded_moments_are_right_on_average_and_fall():
    """To the nearest, the second moment would stay at its largest value for ever."""
    weight = torch.zeros(400, 50)
    ours = Adam({"weight": weight}, torch.bfloat16, seed=0)
    theirs = torch.zeros(2)
    for step in range(200):
        gradient = torch.full_like(weight, 1.37 if step == 0 else 0.0)
        ours.start(step, weight.device)
        ours.update("weight", weight, gradient, 0.0)
        theirs = torch.tensor([0.9, 0.999]) * theirs
        theirs += torch.tensor([0.1, 0.001]) * torch.tensor([1.37, 1.37**2]) * (step == 0)
    for moment, exact in zip(ours.moments["weight"], theirs.tolist(), strict=True):
        assert float(moment.double().mean()) == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize("config", [{"k": K}, {"k": K, "tied": True}, {"k": K, "matryoshka": (16, M)}])
def test_a_training_does_not_depend_on_the_size_of_the_blocks(monkeypatch, config):
    found = []
    for values in (trainer.GRADIENT_VALUES, 7 * D, 1):
        monkeypatch.setattr(trainer, "GRADIENT_VALUES", values)
        sae, _ = train(SaeConfig(d_in=D, latents=M, **config), stream(), SETTINGS)
        found.append(sae.tensors())
    for other in found[1:]:
        for name, tensor in found[0].items():
            torch.testing.assert_close(other[name], tensor, rtol=1e-4, atol=1e-5)


def test_moments_in_bfloat16_train_as_well_and_repeat():
    config = SaeConfig(d_in=D, latents=M, k=K)
    half = dataclasses.replace(SETTINGS, moments="bfloat16")
    (whole, log), (one, own), (two, _) = (train(config, stream(), each) for each in (SETTINGS, half, half))
    assert all(torch.equal(tensor, two.tensors()[name]) for name, tensor in one.tensors().items())
    assert not torch.equal(one.W_dec, whole.W_dec)
    assert own[-1].fvu == pytest.approx(log[-1].fvu, rel=0.03)
