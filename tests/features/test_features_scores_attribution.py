"""Attribution is the slope of the loss where units are turned down, and the exact change where little changes."""

import numpy as np
import pytest
import torch
from features_sae import SITE, random_sae
from features_units import Coordinates

from glossae.find import attribution_difference, gradient_attribution
from glossae.lm import edit, load, sentence_losses
from glossae.units import Latents


@pytest.fixture(scope="module")
def sae():
    return random_sae()


@pytest.fixture(scope="module")
def tokens(tiny_tokens):
    return tiny_tokens.take([i for i in range(len(tiny_tokens)) if i % 4 != 1])


def by_language(tokens, losses):
    names = np.array([sentence.language for sentence in tokens.corpus.sentences])
    return [losses[names == language].sum() for language in tokens.corpus.languages]


def turned_down(lm, units, unit, tokens, share):
    """The summed loss of each language with that share of a unit taken off wherever it fires."""

    def down(x):
        return x - share * units.read(x, [unit]) * units.direction([unit])

    with edit(lm, SITE, down):
        return np.array(by_language(tokens, sentence_losses(lm, tokens)))


@pytest.mark.parametrize(
    "make", [Latents, lambda sae: Coordinates(sae.config.d_in)], ids=["latents", "neurons"]
)
def test_effects_are_finite_differences(tiny_lm, sae, tokens, make):
    units = make(sae)
    found = gradient_attribution(tiny_lm, SITE, units, tokens, budget=300)
    assert found.languages == ("da", "en")
    assert found.effect.shape == (2, len(units))
    # the units with something to lose: losses are float32, and differences of them are coarse
    strongest = np.argsort(-np.abs(found.effect).min(0))[:6]
    assert np.abs(found.effect[:, strongest]).min() > 0.05
    for unit in strongest.tolist():
        step = 0.05
        up, down = (turned_down(tiny_lm, units, unit, tokens, sign * step) for sign in (1, -1))
        np.testing.assert_allclose(found.effect[:, unit], (up - down) / (2 * step), rtol=0.02, atol=5e-3)


def test_a_unit_that_never_fires_has_no_effect(tiny_lm, sae, tokens):
    found = gradient_attribution(tiny_lm, SITE, Latents(sae), tokens)
    assert not found.effect[:, -3:].any()
    assert found.effect.any(0).sum() > 10


def test_small_effects_are_what_zeroing_does(tiny_lm, sae, tokens):
    # decoder rows so short that the loss is straight over the whole way to zero
    small = random_sae()
    small.W_dec.data *= 0.02
    units = Latents(small)
    found = gradient_attribution(tiny_lm, SITE, units, tokens)
    plain = np.array(by_language(tokens, sentence_losses(tiny_lm, tokens)))
    for unit in np.argsort(-np.abs(found.effect).min(0))[:4].tolist():
        change = turned_down(tiny_lm, units, unit, tokens, 1.0) - plain
        np.testing.assert_allclose(found.effect[:, unit], change, rtol=0.05, atol=2e-3)


def test_the_two_ways_to_multiply_give_the_same(tiny_lm, sae, tokens, monkeypatch):
    whole = gradient_attribution(tiny_lm, SITE, Latents(sae), tokens)
    # rows gathered, a few at a time, rather than one product
    monkeypatch.setattr("glossae.find.scores.attribution.DENSE_GAIN", 0)
    monkeypatch.setattr("glossae.find.scores.attribution.GATHERED", 300)
    parts = gradient_attribution(tiny_lm, SITE, Latents(sae), tokens)
    np.testing.assert_allclose(parts.effect, whole.effect, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("budget", [1, 64])
def test_batches_of_any_size_give_the_same(tiny_lm, sae, tokens, budget):
    one = gradient_attribution(tiny_lm, SITE, Latents(sae), tokens)
    other = gradient_attribution(tiny_lm, SITE, Latents(sae), tokens, budget=budget)
    np.testing.assert_allclose(one.effect, other.effect, rtol=1e-3, atol=1e-4)
    assert one.predicted.tolist() == other.predicted.tolist()


def test_predicted_tokens_are_counted(tiny_lm, sae, tokens):
    found = gradient_attribution(tiny_lm, SITE, Latents(sae), tokens)
    assert found.predicted.tolist() == by_language(tokens, tokens.predicted)


def test_a_model_of_half_precision_works(tiny_model, sae, tokens):
    lm = load(str(tiny_model), dtype=torch.bfloat16)
    few = tokens.take([0, 1, 2, 3])
    found = gradient_attribution(lm, SITE, Latents(sae), few)
    assert np.isfinite(found.effect).all()
    assert found.effect.any()


def test_progress_comes_to_its_end(tiny_lm, sae, tokens):
    done = []
    gradient_attribution(tiny_lm, SITE, Latents(sae), tokens, budget=100, progress=done.append)
    assert len(done) > 3
    assert done == sorted(done)
    assert done[-1] == 1.0


def test_the_difference_is_per_token_and_to_the_closest():
    effect = np.array([[5.0, -1], [8, 0], [1, 1]])
    found = attribution_difference(effect=effect, predicted=np.array([10, 20, 10]), target=0)
    np.testing.assert_allclose(found, [0.5 - 0.4, -0.1 - 0.1])


def test_no_gradient_is_kept(tiny_lm, sae, tokens):
    sae = random_sae().requires_grad_(True)
    gradient_attribution(tiny_lm, SITE, Latents(sae), tokens.take([0]))
    assert all(parameter.grad is None for parameter in sae.parameters())
    assert torch.is_grad_enabled()
