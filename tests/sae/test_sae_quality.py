"""Fidelity is measured over all tokens, language by language, around the corpus's mean."""

import dataclasses

import numpy as np
import pytest
import torch

from glossae.lm import Site, activations, batches, edit, half_width, pad, sentence_losses, tokenize
from glossae.sae import Quality, Sae, SaeConfig, SpliceLoss, measure, measure_reconstruction, unsound
from glossae.text import Corpus

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
    with_bos = tokenize(tiny_lm, tiny_corpus, prefix=[tiny_lm.tokenizer.bos_token_id])
    assert measure(tiny_lm, SITE, random_sae(), with_bos).tokens == with_bos.lengths.sum()


def test_progress_comes_to_its_end(tiny_lm, tokens):
    done = []
    measure(tiny_lm, SITE, random_sae(), tokens, budget=100, progress=done.append)
    assert done == sorted(done)
    assert done[-1] == pytest.approx(1)


@pytest.mark.parametrize("budget", [40, 4096])
def test_fvu_within_a_language_and_over_tokens_equal_the_two_pass_formulas(
    tiny_lm, tokens, by_language, budget
):
    sae = random_sae()
    quality = measure(tiny_lm, SITE, sae, tokens, budget=budget)
    mean = torch.cat(list(by_language.values())).mean(0)
    for language, x in by_language.items():
        missed = (x - sae(x.float()).double()).square().sum(1)
        within = missed.sum() / (x - x.mean(0)).square().sum()
        assert quality.fvu_within[language] == pytest.approx(float(within), rel=1e-4)
        assert quality.fvu_within[language] > quality.fvu[language]
        each = (missed / (x - mean).square().sum(1)).mean()
        assert quality.fvu_normalised[language] == pytest.approx(float(each), rel=1e-4)


def top_shares(by_language):
    """The share of the variance along the first principal direction, and in the largest 1 % of tokens."""
    x = torch.cat(list(by_language.values()))
    x = x - x.mean(0)
    along = torch.linalg.svdvals(x).square()
    size = x.square().sum(1).sort(descending=True).values
    return float(along[0] / along.sum()), float(size[: -(-len(x) // 100)].sum() / size.sum())


@pytest.mark.parametrize("budget", [40, 4096])
def test_where_the_variance_is(tiny_lm, tokens, by_language, budget):
    quality = measure(tiny_lm, SITE, random_sae(), tokens, budget=budget)
    assert (quality.top_direction, quality.top_tokens) == pytest.approx(top_shares(by_language), rel=1e-4)


def test_where_the_variance_is_at_a_site_too_wide_for_a_covariance(tiny_lm, tokens, monkeypatch):
    monkeypatch.setattr("glossae.sae.quality.MAX_WIDTH", D - 1)
    few = tokens.take(range(7))
    # tokens are kept in the order of the batches, of one sentence each here
    drawn = list(batches(few, 1))
    order = np.random.default_rng(0).permutation(len(drawn))
    parts = activations(tiny_lm, [drawn[place] for place in order], [SITE])
    x = torch.cat([part.sites[SITE] for part in parts]).double()
    every = -(-len(x) // (D - 1))
    assert every > 1
    along = torch.linalg.svdvals(x[::every] - x[::every].mean(0)).square()
    (quality,) = measure_reconstruction(tiny_lm, SITE, [random_sae()], few, budget=1)
    assert quality.top_direction == pytest.approx(float(along[0] / along.sum()), rel=1e-4)


@pytest.fixture(scope="module")
def much(tiny_lm, tiny_corpus):
    """1,080 sentences, of 27 different ones a language."""
    return tokenize(tiny_lm, Corpus.of([s for _ in range(20) for s in tiny_corpus.sentences]))


def test_losses_are_measured_on_as_many_sentences_as_the_precision_takes(tiny_lm, much):
    sae = random_sae()
    all_of_it = measure(tiny_lm, SITE, sae, much).ce
    wide = max(ce.half_width for ce in all_of_it.values())
    for precision, at_most in ((10 * wide, 32), (2 * wide, 270)):
        found = measure(tiny_lm, SITE, sae, much, precision=precision).ce
        for language, ce in found.items():
            assert ce.half_width <= precision
            assert 32 <= ce.sentences <= at_most
            assert ce.spliced - ce.raw == pytest.approx(
                all_of_it[language].spliced - all_of_it[language].raw, abs=3 * precision
            )
    # where that is more than there is, all of it: of judged languages, every token
    found = measure(tiny_lm, SITE, sae, much, precision=wide / 100, judged=["da"]).ce
    assert {language: ce.sentences for language, ce in found.items()} == {"da": 540, "en": 32}
    assert found["da"].spliced == pytest.approx(all_of_it["da"].spliced, rel=1e-6)
    assert found["da"].raw == pytest.approx(all_of_it["da"].raw, rel=1e-6)
    assert found["en"].raw != pytest.approx(all_of_it["en"].raw, rel=1e-6)


def test_a_sample_is_the_seeds(tiny_lm, much):
    one, same, other = (
        measure(tiny_lm, SITE, random_sae(), much, precision=10, seed=seed).ce["da"].raw for seed in (0, 0, 1)
    )
    assert one == same != other


def test_the_interval_is_that_of_the_difference_over_sentences(tiny_lm, tokens):
    sae = random_sae()
    ce = measure(tiny_lm, SITE, sae, tokens).ce["da"]
    own = tokens.take([i for i, s in enumerate(tokens.corpus.sentences) if s.language == "da"])
    raw = sentence_losses(tiny_lm, own)
    with edit(tiny_lm, SITE, sae):
        spliced = sentence_losses(tiny_lm, own)
    assert ce.half_width == pytest.approx(half_width(spliced - raw, own.predicted), rel=1e-3)
    assert (ce.sentences, ce.tokens) == (len(own), own.predicted.sum())


def test_a_single_sentence_has_no_interval(tiny_lm, tokens):
    assert measure(tiny_lm, SITE, random_sae(), tokens.take([0]), precision=0.1).ce["da"].half_width is None


def test_reconstruction_is_measured_on_a_part_of_each_language(tiny_lm, much, monkeypatch):
    monkeypatch.setattr("glossae.sae.quality.RECONSTRUCTED", 600)
    quality = measure(tiny_lm, SITE, random_sae(), much, precision=10)
    assert 600 <= quality.tokens < 660
    assert set(quality.fvu) == {"da", "en"}
    whole = measure(tiny_lm, SITE, random_sae(), much)
    assert whole.tokens == much.lengths.sum()
    assert quality.fvu["da"] == pytest.approx(whole.fvu["da"], rel=0.1)


SOUND = Quality(
    fvu={"da": 0.2},
    fvu_within={"da": 0.25},
    fvu_normalised={"da": 0.3},
    l0=8.0,
    dead_fraction=0.15,
    top_direction=0.5,
    top_tokens=0.2,
    tokens=50_000,
    ce={
        "da": SpliceLoss(4.0, 4.35, 12.0, 0.9, 64, 1000, 0.02),
        "fr": SpliceLoss(4.0, 9.0, 12.0, 0.375, 64, 1000, 0.02),
    },
    judged=("da", "en"),
)


def test_what_is_within_the_bounds_is_sound():
    assert (
        unsound(dataclasses.replace(SOUND, ce={"da": SpliceLoss(4.0, 4.25, 12.0, 0.9, 64, 1000, 0.02)})) == ()
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"dead_fraction": 0.953},
            "95.3 % of the latents are dead: they fire on none of 50,000 tokens; the bound is",
        ),
        ({"top_direction": 0.9991}, "One direction carries 99.91 % of the variance at the site"),
        ({"top_tokens": 0.21}, "1 % of the tokens carry 21 % of the variance at the site"),
        (
            {"ce": {"da": SpliceLoss(4.0, 4.5, 20.0, 0.97, 64, 1000, 0.02)}},
            "The loss in da is 0.500 nats a token higher with the reconstruction in the site's place; the bound is",
        ),
        (
            {"ce": {"da": SpliceLoss(4.0, 4.3, 6.0, 0.85, 64, 1000, 0.02)}},
            "The reconstruction recovers 85 % of the loss in da; the bound is at least 90 %.",
        ),
    ],
)
def test_each_bound_has_its_sentence(changes, said):
    base = dataclasses.replace(SOUND, ce={})
    (finding,) = unsound(dataclasses.replace(base, **changes))
    assert finding.startswith(said)


def test_languages_that_it_was_not_trained_on_are_not_held_against_it():
    assert not any("fr" in finding.split() for finding in unsound(SOUND))
    assert len(unsound(dataclasses.replace(SOUND, judged=("fr",)))) == 2
