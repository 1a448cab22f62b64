"""Attribution is the slope of the loss where units are turned down; random tokens are any tokens."""

import numpy as np
import pytest
import torch

from features_sae import SITE, random_sae
from features_units import Coordinates
from glossae.evidence.scores import gradient_attribution, random_token_sequences
from glossae.lm import edit, load, sentence_losses, tokenize
from glossae.units import Latents


@pytest.fixture(scope="module")
def units():
    return Latents(random_sae())


@pytest.fixture(scope="module")
def tokens(tiny_tokens):
    return tiny_tokens.take([i for i in range(len(tiny_tokens)) if i % 4 != 1])


@pytest.fixture(scope="module")
def whole(tiny_lm, units, tokens):
    return gradient_attribution(tiny_lm, SITE, units, tokens)


def by_language(tokens, values):
    names = np.array([sentence.language for sentence in tokens.corpus.sentences])
    return [values[names == language].sum() for language in tokens.corpus.languages]


def turned_down(lm, units, unit, tokens, share):
    """The summed loss of each language with that share of a unit taken off wherever it fires."""

    def down(x):
        return x - share * units.read(x, [unit]) * units.direction([unit])

    with edit(lm, SITE, down):
        return np.array(by_language(tokens, sentence_losses(lm, tokens)))


@pytest.mark.parametrize(
    "make", [Latents, lambda sae: Coordinates(sae.config.d_in)], ids=["latents", "neurons"]
)
def test_effects_are_finite_differences(tiny_lm, tokens, make):
    units = make(random_sae())
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


def test_small_effects_are_what_zeroing_does(tiny_lm, tokens):
    # decoder rows so short that the loss is straight over the whole way to zero
    small = random_sae()
    small.W_dec.data *= 0.02
    units = Latents(small)
    found = gradient_attribution(tiny_lm, SITE, units, tokens)
    plain = np.array(by_language(tokens, sentence_losses(tiny_lm, tokens)))
    for unit in np.argsort(-np.abs(found.effect).min(0))[:4].tolist():
        change = turned_down(tiny_lm, units, unit, tokens, 1.0) - plain
        np.testing.assert_allclose(found.effect[:, unit], change, rtol=0.05, atol=2e-3)


def test_silent_units_have_no_effect_and_predicted_tokens_are_counted(whole, tokens):
    assert not whole.effect[:, -3:].any()
    assert whole.effect.any(0).sum() > 10
    assert whole.predicted.tolist() == by_language(tokens, tokens.predicted)


def test_the_two_ways_to_multiply_give_the_same(tiny_lm, units, tokens, whole, monkeypatch):
    # rows gathered, a few at a time, rather than one product
    monkeypatch.setattr("glossae.evidence.attribution.DENSE_GAIN", 0)
    monkeypatch.setattr("glossae.evidence.attribution.GATHERED", 300)
    parts = gradient_attribution(tiny_lm, SITE, units, tokens)
    np.testing.assert_allclose(parts.effect, whole.effect, rtol=1e-4, atol=1e-5)


def test_batches_of_any_size_give_the_same_and_progress_comes_to_its_end(tiny_lm, units, tokens, whole):
    done = []
    other = gradient_attribution(tiny_lm, SITE, units, tokens, budget=1, progress=done.append)
    np.testing.assert_allclose(other.effect, whole.effect, rtol=1e-3, atol=1e-4)
    assert other.predicted.tolist() == whole.predicted.tolist()
    assert len(done) == len(tokens)
    assert done == sorted(done)
    assert done[-1] == 1.0


def test_a_model_of_half_precision_works_and_no_gradient_is_kept(tiny_model, tokens):
    lm = load(str(tiny_model), dtype=torch.bfloat16)
    sae = random_sae().requires_grad_(True)
    found = gradient_attribution(lm, SITE, Latents(sae), tokens.take([0, 1, 2, 3]))
    assert np.isfinite(found.effect).all()
    assert found.effect.any()
    assert all(parameter.grad is None for parameter in sae.parameters())
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("bos", [False, True])
def test_random_sequences_are_as_long_and_of_any_token(tiny_lm, tiny_corpus, bos):
    tokens = tokenize(tiny_lm, tiny_corpus, prefix=[tiny_lm.tokenizer.bos_token_id] * bos)
    many = tokens.take(list(range(len(tokens))) * 30)
    drawn = random_token_sequences(tiny_lm, many, seed=1)
    assert drawn.lengths.tolist() == many.lengths.tolist()
    assert drawn.prefix == bos
    assert drawn.corpus.languages == ("random",)
    assert all(own[0] == tiny_lm.tokenizer.bos_token_id for own in drawn.ids if bos)
    # uniform: every token but special ones is drawn, none much more often than others
    special = tiny_lm.tokenizer.all_special_ids
    count = np.bincount(
        np.concatenate([own[int(bos) :] for own in drawn.ids]), minlength=len(tiny_lm.tokenizer)
    )
    assert len(count) == len(tiny_lm.tokenizer)
    assert not count[special].any()
    ordinary = np.delete(count, special)
    assert 0.5 * ordinary.mean() < ordinary.min() < ordinary.max() < 1.6 * ordinary.mean()


def test_random_sequences_are_seeded(tiny_lm, tiny_tokens):
    one, same, other = (random_token_sequences(tiny_lm, tiny_tokens, seed=seed) for seed in (0, 0, 1))
    assert all((a == b).all() for a, b in zip(one.ids, same.ids, strict=True))
    assert any((a != b).any() for a, b in zip(one.ids, other.ids, strict=True))
    assert one.corpus.sentences[0].text == tiny_lm.tokenizer.decode(one.ids[0])
    assert one.predicted_bytes[0] == len(tiny_lm.tokenizer.decode(one.ids[0][1:]).encode())
