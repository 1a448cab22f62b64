"""Fidelity is measured over all tokens, language by language, around the corpus's mean."""

import numpy as np
import pytest
import torch

from sprog.lm import Site, activations, pad, sentence_losses, tokenize
from sprog.sae import Sae, SaeConfig, measure

SITE = Site("mlp.hidden", 1)
D = 48


def random_sae(*, k=6, latents=64, relu=True):
    sae = Sae(SaeConfig(d_in=D, latents=latents, k=k, relu=relu))
    generator = torch.Generator().manual_seed(0)
    for parameter in sae.parameters():
        parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    return sae.requires_grad_(False)


def identity_sae():
    """Every coordinate and its negative, and room for all of them: what goes in comes out."""
    sae = Sae(SaeConfig(d_in=D, latents=2 * D, k=D))
    sae.W_enc.data = torch.cat([torch.eye(D), -torch.eye(D)])
    sae.W_dec.data = sae.W_enc.data.clone()
    return sae.requires_grad_(False)


@pytest.fixture(scope="module")
def tokens(tiny_tokens):
    """More Danish than English."""
    return tiny_tokens.take([i for i in range(len(tiny_tokens)) if i % 4 != 1])


@pytest.fixture(scope="module")
def by_language(tiny_lm, tokens):
    """{language: its activations}, sentence by sentence."""
    found = {"da": [], "en": []}
    for number, sentence in enumerate(tokens.corpus.sentences):
        (part,) = activations(tiny_lm, [pad(tokens, np.array([number]))], [SITE])
        found[sentence.language].append(part.sites[SITE].double())
    return {language: torch.cat(parts) for language, parts in found.items()}


@pytest.mark.parametrize("budget", [40, 4096])
def test_fvu_equals_the_two_pass_formula(tiny_lm, tokens, by_language, budget):
    sae = random_sae()
    quality = measure(tiny_lm, SITE, sae, tokens, budget=budget)
    mean = torch.cat(list(by_language.values())).mean(0)
    assert set(quality.fvu) == {"da", "en"}
    for language, x in by_language.items():
        error = (x - sae(x.float()).double()).square().sum()
        assert quality.fvu[language] == pytest.approx(float(error / (x - mean).square().sum()), rel=1e-4)
    assert quality.tokens == sum(len(x) for x in by_language.values()) == tokens.lengths.sum()


def test_l0_and_dead_latents_are_counted_over_all_tokens(tiny_lm, tokens, by_language):
    sae = random_sae()
    quality = measure(tiny_lm, SITE, sae, tokens)
    x = torch.cat(list(by_language.values())).float()
    dense = torch.zeros(len(x), 64, dtype=torch.bool)
    codes = sae.encode(x)
    dense.scatter_(1, codes.indices, codes.values > 0)
    assert quality.l0 == pytest.approx(float(dense.sum() / len(x)), rel=1e-3)
    assert quality.dead_fraction == pytest.approx(float((~dense.any(0)).float().mean()), abs=1 / 64)
    assert 0 < quality.dead_fraction < 1


def test_published_latents_fire_when_selected_even_below_zero(tiny_lm, tokens):
    sae = random_sae(relu=False)
    sae.b_enc.data -= 100
    quality = measure(tiny_lm, SITE, sae, tokens)
    assert quality.l0 == 6
    rectified = random_sae()
    rectified.b_enc.data -= 100
    quality = measure(tiny_lm, SITE, rectified, tokens)
    assert (quality.l0, quality.dead_fraction) == (0, 1)


def test_a_perfect_autoencoder_loses_nothing(tiny_lm, tokens):
    quality = measure(tiny_lm, SITE, identity_sae(), tokens)
    for language in ("da", "en"):
        assert quality.fvu[language] == pytest.approx(0, abs=1e-10)
        ce = quality.ce[language]
        assert ce.spliced == pytest.approx(ce.raw, abs=1e-5)
        assert ce.recovered == pytest.approx(1, abs=1e-4)
        assert ce.ablated != pytest.approx(ce.raw, abs=1e-3)


def test_an_autoencoder_that_writes_zeros_recovers_nothing(tiny_lm, tokens):
    quality = measure(tiny_lm, SITE, Sae(SaeConfig(d_in=D, latents=64, k=6)), tokens)
    for ce in quality.ce.values():
        assert ce.spliced == pytest.approx(ce.ablated)
        assert ce.recovered == pytest.approx(0, abs=1e-6)


def test_losses_are_per_token_of_each_language(tiny_lm, tokens):
    quality = measure(tiny_lm, SITE, random_sae(), tokens)
    for language in ("da", "en"):
        own = tokens.take([i for i, s in enumerate(tokens.corpus.sentences) if s.language == language])
        expected = sentence_losses(tiny_lm, own).sum() / own.predicted.sum()
        assert quality.ce[language].raw == pytest.approx(expected, rel=1e-5)
        ce = quality.ce[language]
        assert ce.recovered == pytest.approx((ce.ablated - ce.spliced) / (ce.ablated - ce.raw))


def test_one_language_alone_is_measured_around_its_own_mean(tiny_lm, tokens):
    danish = tokens.take([i for i, s in enumerate(tokens.corpus.sentences) if s.language == "da"])
    assert list(measure(tiny_lm, SITE, random_sae(), danish).fvu) == ["da"]


def test_a_bos_is_not_measured(tiny_lm, tiny_corpus):
    with_bos = tokenize(tiny_lm, tiny_corpus, bos=True)
    assert measure(tiny_lm, SITE, random_sae(), with_bos).tokens == with_bos.lengths.sum()


def test_progress_comes_to_its_end(tiny_lm, tokens):
    done = []
    measure(tiny_lm, SITE, random_sae(), tokens, budget=100, progress=done.append)
    assert done == sorted(done)
    assert done[-1] == pytest.approx(1)
