"""Fidelity is measured over all tokens, language by language; an SAE from elsewhere is used only where it belongs."""

import numpy as np
import pytest
import torch

from glossae.corpora import Corpus
from glossae.errors import GlossaeError
from glossae.lm import Site, activations, batches, edit, half_width, pad, sentence_losses, tokenize
from glossae.results import SpliceLoss
from glossae.sae import Quality, Sae, SaeConfig, check_fits, measure, measure_reconstruction

SITE, D = Site("mlp.hidden", 1), 48


def random_sae(seed=0, **settings):
    sae = Sae(SaeConfig(**({"d_in": D, "latents": 64, "k": 6} | settings)))
    generator = torch.Generator().manual_seed(seed)
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


def of(tokens, language):
    return tokens.take([i for i, s in enumerate(tokens.corpus.sentences) if s.language == language])


def top_direction(x):
    along = torch.linalg.svdvals(x - x.mean(0)).square()
    return float(along[0] / along.sum())


# ---- reconstruction


@pytest.mark.parametrize("budget", [40, 4096])
def test_reconstruction_equals_the_two_pass_formulas(tiny_lm, tokens, by_language, budget):
    sae, done = random_sae(), []
    quality = measure(tiny_lm, SITE, sae, tokens, budget=budget, progress=done.append)
    assert done == sorted(done)
    assert done[-1] == pytest.approx(1)
    everything = torch.cat(list(by_language.values()))
    mean = everything.mean(0)
    assert set(quality.fvu) == {"da", "en"}
    for language, x in by_language.items():
        missed = (x - sae(x.float()).double()).square().sum(1)
        fvu = missed.sum() / (x - mean).square().sum()
        within = missed.sum() / (x - x.mean(0)).square().sum()
        each = (missed / (x - mean).square().sum(1)).mean()
        assert quality.fvu[language] == pytest.approx(float(fvu), rel=1e-4)
        assert quality.fvu_within[language] == pytest.approx(float(within), rel=1e-4)
        assert quality.fvu_normalised[language] == pytest.approx(float(each), rel=1e-4)
    size = (everything - mean).square().sum(1).sort(descending=True).values
    assert quality.top_direction == pytest.approx(top_direction(everything), rel=1e-4)
    largest = float(size[: -(-len(size) // 100)].sum() / size.sum())
    assert quality.top_tokens == pytest.approx(largest, rel=1e-4)
    assert quality.tokens == len(everything) == tokens.lengths.sum()
    codes = sae.encode(everything.float())
    fires = torch.zeros(len(everything), 64, dtype=torch.bool).scatter_(1, codes.indices, codes.values > 0)
    assert quality.l0 == pytest.approx(float(fires.sum() / len(fires)), rel=1e-3)
    assert quality.dead_fraction == pytest.approx(float((~fires.any(0)).float().mean()), abs=1 / 64)
    assert 0 < quality.dead_fraction < 1


@pytest.mark.parametrize(("relu", "expected"), [(False, 6), (True, 0)])
def test_published_latents_fire_when_selected_even_below_zero(tiny_lm, tokens, relu, expected):
    sae = random_sae(relu=relu)
    sae.b_enc.data -= 100
    (quality,) = measure_reconstruction(tiny_lm, SITE, [sae], tokens)
    assert quality.l0 == expected
    assert (quality.dead_fraction == 1) == relu


def test_many_are_measured_as_each_would_be_alone_in_one_pass_of_the_model(tiny_lm, tiny_tokens):
    saes = [
        random_sae(0, k=4),
        random_sae(1, latents=32, k=2, relu=False, tied=True),
        random_sae(2, latents=40, k=None, activation="relu", pre_encoder_bias=False),
    ]
    passes, counts = [], []
    handle = tiny_lm.blocks[0].register_forward_hook(lambda *_: passes.append(1))
    together = measure_reconstruction(tiny_lm, SITE, saes, tiny_tokens, budget=200)
    for sae, quality in zip(saes, together, strict=True):
        counts.append(len(passes))
        (alone,) = measure_reconstruction(tiny_lm, SITE, [sae], tiny_tokens, budget=200)
        assert quality == alone
        assert quality.ce == {}
    handle.remove()
    assert counts == [counts[0], 2 * counts[0], 3 * counts[0]]


def test_a_site_too_wide_for_a_covariance(tiny_lm, tokens, monkeypatch):
    monkeypatch.setattr("glossae.sae.quality.MAX_WIDTH", D - 1)
    few = tokens.take(range(7))
    # tokens are kept in the order of the batches, of one sentence each here
    drawn = list(batches(few, 1))
    order = np.random.default_rng(0).permutation(len(drawn))
    parts = activations(tiny_lm, [drawn[place] for place in order], [SITE])
    x = torch.cat([part.sites[SITE] for part in parts]).double()
    every = -(-len(x) // (D - 1))
    assert every > 1
    (quality,) = measure_reconstruction(tiny_lm, SITE, [random_sae()], few, budget=1)
    assert quality.top_direction == pytest.approx(top_direction(x[::every]), rel=1e-4)


def test_a_bos_is_not_measured_and_one_language_has_its_own_mean(tiny_lm, tiny_corpus):
    with_bos = of(tokenize(tiny_lm, tiny_corpus, prefix=[tiny_lm.tokenizer.bos_token_id]), "da")
    (quality,) = measure_reconstruction(tiny_lm, SITE, [random_sae()], with_bos)
    assert quality.tokens == with_bos.lengths.sum()
    assert quality.fvu == pytest.approx(quality.fvu_within)
    assert list(quality.fvu) == ["da"]


# ---- losses


def test_a_perfect_sae_loses_nothing_and_one_of_zeros_recovers_nothing(tiny_lm, tokens):
    perfect = measure(tiny_lm, SITE, identity_sae(), tokens)
    zeros = measure(tiny_lm, SITE, Sae(SaeConfig(d_in=D, latents=64, k=6)), tokens).ce
    for language, ce in perfect.ce.items():
        assert perfect.fvu[language] == pytest.approx(0, abs=1e-10)
        assert ce.spliced == pytest.approx(ce.raw, abs=1e-5)
        assert ce.recovered == pytest.approx(1, abs=1e-4)
        assert ce.ablated != pytest.approx(ce.raw, abs=1e-3)
        assert zeros[language].spliced == pytest.approx(ce.ablated)
        assert zeros[language].recovered == pytest.approx(0, abs=1e-6)


def test_losses_are_per_token_and_their_interval_is_over_sentences(tiny_lm, tokens):
    sae = random_sae()
    for language, ce in measure(tiny_lm, SITE, sae, tokens).ce.items():
        own = of(tokens, language)
        raw = sentence_losses(tiny_lm, own)
        with edit(tiny_lm, SITE, sae):
            spliced = sentence_losses(tiny_lm, own)
        assert (ce.sentences, ce.tokens) == (len(own), own.predicted.sum())
        assert ce.raw == pytest.approx(raw.sum() / own.predicted.sum(), rel=1e-5)
        assert ce.half_width == pytest.approx(half_width(spliced - raw, own.predicted), rel=1e-3)
        assert ce.recovered == pytest.approx((ce.ablated - ce.spliced) / (ce.ablated - ce.raw))
    one = measure(tiny_lm, SITE, sae, tokens.take([0]), precision=0.1)
    assert one.ce["da"].half_width is None


@pytest.fixture(scope="module")
def much(tiny_lm, tiny_corpus):
    """1,080 sentences, of 27 different ones a language."""
    return tokenize(tiny_lm, Corpus.of([s for _ in range(20) for s in tiny_corpus.sentences]))


def test_a_precision_decides_how_much_is_measured(tiny_lm, much, monkeypatch):
    sae = random_sae()
    whole = measure(tiny_lm, SITE, sae, much)
    wide = max(ce.half_width for ce in whole.ce.values())
    for precision, at_most in ((10 * wide, 32), (2 * wide, 270)):
        for language, ce in measure(tiny_lm, SITE, sae, much, precision=precision).ce.items():
            assert ce.half_width <= precision
            assert 32 <= ce.sentences <= at_most
            change = whole.ce[language].spliced - whole.ce[language].raw
            assert ce.spliced - ce.raw == pytest.approx(change, abs=3 * precision)
    # where that is more than there is, all of it: of judged languages, every token
    found = measure(tiny_lm, SITE, sae, much, precision=wide / 100, judged=["da"])
    assert found.judged == ("da",)
    assert {language: ce.sentences for language, ce in found.ce.items()} == {"da": 540, "en": 32}
    assert found.ce["da"].spliced == pytest.approx(whole.ce["da"].spliced, rel=1e-6)
    assert found.ce["en"].raw != pytest.approx(whole.ce["en"].raw, rel=1e-6)
    # the sample is the seed's, and reconstruction is measured on a part of each language
    monkeypatch.setattr("glossae.sae.quality.RECONSTRUCTED", 600)
    one, same, other = (measure(tiny_lm, SITE, sae, much, precision=10, seed=seed) for seed in (0, 0, 1))
    assert one == same
    assert one.ce["da"].raw != other.ce["da"].raw
    assert 600 <= one.tokens < 660
    assert whole.tokens == much.lengths.sum()
    assert one.fvu["da"] == pytest.approx(whole.fvu["da"], rel=0.1)


# ---- when one is unsound


def loss(raw, spliced, ablated, recovered):
    own = {"raw": raw, "spliced": spliced, "ablated": ablated, "recovered": recovered}
    return SpliceLoss(**own, sentences=64, tokens=1000, half_width=0.02)


SOUND = Quality(
    fvu={"da": 0.2},
    fvu_within={"da": 0.25},
    fvu_normalised={"da": 0.3},
    l0=8.0,
    dead_fraction=0.15,
    top_direction=0.5,
    top_tokens=0.2,
    tokens=50_000,
    ce={"fr": loss(4.0, 9.0, 12.0, 0.375)},
    judged=("da", "en"),
)


@pytest.mark.parametrize(
    ("tokens", "dead", "l0", "found"),
    [
        # a latent is not known to be dead before the 40 others have fired 300 times each, at 8 a token
        (1499, 0.6, 8.0, False),
        (1500, 0.6, 8.0, True),
        # the fewer latents fire, the more often each does
        (750, 0.8, 8.0, True),
        (100_000, 0.15, 8.0, False),
        # none fires at all
        (10, 1.0, 0.0, True),
    ],
)
def test_latents_are_dead_only_if_enough_tokens_were_read(tokens, dead, l0, found):
    sae = Sae(SaeConfig(d_in=4, latents=100, k=8))
    sae.quality = SOUND.model_copy(update={"tokens": tokens, "dead_fraction": dead, "l0": l0})
    assert ["dead" in finding for finding in sae.unsound] == [True] * found


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"ce": {"da": loss(4.0, 4.25, 12.0, 0.9)}}, []),
        ({"fvu": {"da": 1.0}}, ["The reconstruction is no nearer to the activations in da than their mean"]),
        (
            {"dead_fraction": 0.953},
            ["95.3 % of the latents are dead: they fire on none of 50,000 tokens; the"],
        ),
        ({"top_direction": 0.9991}, ["One direction carries 99.91 % of the variance at the site"]),
        ({"top_tokens": 0.21}, ["1 % of the tokens carry 21 % of the variance at the site"]),
        (
            {"ce": {"da": loss(4.0, 4.5, 20.0, 0.97)}},
            ["The loss in da is 0.500 nats a token higher with the reconstruction in the site's place; the"],
        ),
        (
            {"ce": {"da": loss(4.0, 4.3, 6.0, 0.85)}},
            ["The reconstruction recovers 85 % of the loss in da; the bound is at least 90 %."],
        ),
        # languages that it was not trained on are not held against it
        (
            {"judged": ("fr",)},
            ["The loss in fr is 5.000", "The reconstruction recovers 37.5 % of the loss in fr"],
        ),
    ],
)
def test_each_bound_has_its_sentence(changes, said):
    sae = random_sae()
    sae.quality = SOUND.model_copy(update=changes)
    assert [finding[: len(words)] for finding, words in zip(sae.unsound, said, strict=True)] == said


# ---- where one belongs

RUN = {"d_in": 6, "model": "EleutherAI/pythia-70m", "site": "resid", "layer": 4}


def check(run=RUN, **config):
    check_fits(Sae(SaeConfig(**({"d_in": 6, "latents": 10, "k": 3} | config))), **run)


def test_what_an_sae_does_not_say_is_not_held_against_it():
    for model in (
        "EleutherAI/pythia-70m",
        "pythia-70m",
        "/models/Pythia-70M/",
        "EleutherAI/pythia-70m@step1000",
        "/cache/models--EleutherAI--pythia-70m/snapshots/0123abc",
    ):
        check(model=model)
    for config in ({}, {"layer": 4}, {"site": "resid", "layer": 4}):
        check(**config)
    # TransformerLens' name
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
def test_an_sae_of_another_place_is_refused(config, message):
    with pytest.raises(GlossaeError) as caught:
        check(**config)
    assert str(caught.value) == message
