"""Directions made from activations are those that scikit-learn and a formula give."""

import numpy as np
import pytest
import torch
from sklearn.covariance import OAS
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from features_sae import SITE, site_by_hand
from glossae.errors import GlossaeError
from glossae.lm import tokenize
from glossae.units import (
    Moments,
    activation_moments,
    activation_samples,
    difference_of_means,
    discriminants,
    probe_normal,
    random_directions,
)

D = 6
MEANS = {"da": [2, 0, 0, 0, 1, 30], "en": [0, 0, 0, 0, 1, 30], "nb": [0, 3, 0, 0, 1, 30]}


@pytest.fixture(scope="module")
def samples():
    """Three languages that differ in two coordinates, under noise that makes others look the part."""
    generator = np.random.default_rng(5)
    mixing = np.eye(D) + 0.8 * np.eye(D, k=1) + np.diag([0, 0, 0, 0, 2, 5])
    x = [
        np.array(MEANS[language]) + generator.normal(size=(count, D)) @ mixing
        for language, count in (("da", 700), ("en", 400), ("nb", 900))
    ]
    languages = np.repeat(["da", "en", "nb"], [700, 400, 900])
    order = generator.permutation(len(languages))
    return torch.from_numpy(np.concatenate(x)[order]).float(), languages[order]


@pytest.fixture(scope="module")
def moments(samples):
    return Moments.of(*samples)


def cosine(one, other):
    one, other = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    return one @ other / np.linalg.norm(one) / np.linalg.norm(other)


def mean_of(samples, language):
    return samples[0][torch.from_numpy(samples[1] == language)].double().mean(0)


# ---- moments


def test_moments_are_sums_over_the_tokens_of_each_language(samples, moments):
    x, languages = samples
    assert moments.languages == ("da", "en", "nb")
    assert moments.tokens.tolist() == [700, 400, 900]
    torch.testing.assert_close(moments.mean("nb"), mean_of(samples, "nb"))
    centred = torch.cat([x[languages == code].double() - mean_of(samples, code) for code in MEANS])
    torch.testing.assert_close(moments.pooled_covariance(), centred.T @ centred / len(x))


def test_moments_of_a_model_are_those_of_its_tokens(tiny_lm, tiny_corpus, random_tokens):
    tokens = tokenize(tiny_lm, tiny_corpus)
    x = [site_by_hand(tiny_lm, ids) for ids in tokens.ids]
    languages = np.repeat([s.language for s in tiny_corpus.sentences], [len(part) for part in x])
    expected = Moments.of(torch.cat(x), languages)
    found = activation_moments(tiny_lm, SITE, tokens, budget=100)
    assert (found.site, found.tokens.tolist()) == (SITE, expected.tokens.tolist())
    torch.testing.assert_close(found.sum, expected.sum, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.products, expected.products, rtol=1e-5, atol=1e-4)
    kept = activation_samples(tiny_lm, SITE, tokens, budget=100)
    torch.testing.assert_close(Moments.of(*kept).sum, expected.sum, rtol=1e-5, atol=1e-5)
    for of in (activation_moments, activation_samples):
        with pytest.raises(GlossaeError, match="there is no text$"):
            of(tiny_lm, SITE, random_tokens([]))


# ---- differences of means


def test_each_other_language_has_its_difference_and_all_together_theirs(samples, moments):
    units = difference_of_means(moments, "da")
    assert units.names == tuple(
        f"difference of means: da against {other}" for other in ("en", "nb", "all others")
    )
    da, en, nb = (mean_of(samples, code) for code in MEANS)
    for unit, other in enumerate((en, nb, (en + nb) / 2)):
        assert cosine(units.direction([unit])[0], da - other) == pytest.approx(1)
        # midway between the means it reads nothing, and at both means the same with opposite signs
        read = units.read(torch.stack([(da + other) / 2, da, other]), [unit])[:, 0].tolist()
        half = float((da - other).norm()) / 2
        assert read == pytest.approx([0, half, -half], abs=1e-9)
    assert difference_of_means(moments, "en", ["da"]).names == ("difference of means: en against da",)


# ---- discriminants


@pytest.mark.parametrize("shrinkage", [0.0, 0.3])
def test_a_discriminant_is_scikit_learn_s(samples, shrinkage):
    x, languages = samples
    two = languages != "nb"
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage, priors=[0.5, 0.5])
    model.fit(x[two].numpy().astype(float), languages[two] == "da")
    units = discriminants(Moments.of(x[two], languages[two]), "da", shrinkage=shrinkage)
    assert len(units) == 1
    # scikit-learn weighs the covariances of the languages alike under equal priors, so they are not quite pooled
    assert cosine(units.direction([0])[0], model.coef_[0]) > 0.9999
    reads = units.read(x[two].double(), [0])[:, 0].numpy() > 0
    assert (reads == model.predict(x[two].numpy().astype(float))).mean() > 0.995


def test_a_discriminant_sees_through_noise_that_a_difference_does_not(samples, moments):
    x, languages = samples
    two = torch.from_numpy(languages != "nb")
    right = torch.from_numpy(languages == "da")[two]
    accuracy = [
        float(((units.read(x[two], [0])[:, 0] > 0) == right).double().mean())
        for units in (discriminants(moments, "da"), difference_of_means(moments, "da"))
    ]
    assert accuracy[0] > accuracy[1] + 0.02


def test_the_oracle_s_shrinkage_is_scikit_learn_s(samples):
    x, languages = samples[0][:40].double(), samples[1][:40]
    centred = torch.cat([x[languages == code] - x[languages == code].mean(0) for code in MEANS])
    shrinkage = OAS(assume_centered=True).fit(centred.numpy()).shrinkage_
    assert 0 < shrinkage < 1
    moments = Moments.of(x, languages)
    found, expected = (discriminants(moments, "da", shrinkage=each) for each in (None, shrinkage))
    torch.testing.assert_close(found.vectors, expected.vectors, rtol=1e-7, atol=1e-9)


def test_a_covariance_that_cannot_be_inverted_is_refused(samples):
    x, languages = samples
    # nor one whose smallest pivot is rounding, whichever side of zero it falls
    mixing = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)).double()
    twice = torch.cat([x.double(), x.double() @ mixing], dim=1)
    still = x * torch.tensor([1, 1, 1, 1, 1, 0])
    for singular in (x[:, [0, 0, 1]], still, *(twice[:rows] for rows in (500, 1000, 1500, 2000))):
        with pytest.raises(GlossaeError, match="^directions: the covariance cannot be inverted"):
            discriminants(Moments.of(singular, languages[: len(singular)]), "da", shrinkage=0.0)


# ---- probes


def test_a_probe_s_normal_is_the_probe(samples):
    x, languages = samples
    units = probe_normal(x, languages, "da", ["en"], share=1e-3)
    assert units.names == ("probe: da against en",)
    two = languages != "nb"
    # with hardly any penalty it is the maximum-likelihood one, which for Gaussians points as the discriminant does
    discriminant = discriminants(Moments.of(x[two], languages[two]), "da", shrinkage=0.0)
    assert cosine(units.direction([0])[0], discriminant.direction([0])[0]) > 0.98
    right = (units.read(x, [0])[:, 0] > 0).numpy()[two] == (languages[two] == "da")
    assert right.mean() > 0.8


def test_a_probe_does_not_mind_the_scale_or_the_place_of_a_coordinate(samples):
    x, languages = samples
    scale, shift = torch.tensor([1, 10, 0.1, 1, 3, 1]), torch.tensor([0, 5, 0, -2, 0, 1.0])
    one = probe_normal(x, languages, "da")
    other = probe_normal(x * scale + shift, languages, "da")
    assert cosine(one.direction([0])[0], other.direction([0])[0] * scale) == pytest.approx(1, abs=1e-5)
    agreeing = (one.read(x, [0]) > 0) == (other.read(x * scale + shift, [0]) > 0)
    assert agreeing.double().mean() > 0.999


def test_a_constant_coordinate_has_no_part_in_a_probe(samples):
    x, languages = samples
    units = probe_normal(torch.cat([x, torch.full((len(x), 1), 7.0)], 1), languages, "da")
    assert units.direction([0])[0, -1] == 0


def test_a_probe_needs_two_sides_and_a_penalty_that_leaves_something(samples):
    x, languages = samples
    with pytest.raises(GlossaeError, match="^directions: a probe of 'sv' has no text of 'sv'$"):
        probe_normal(x, languages, "sv")
    with pytest.raises(GlossaeError, match="^directions: a probe of 'da' has no text of 'de and fr'$"):
        probe_normal(x, languages, "da", ["de", "fr"])
    with pytest.raises(GlossaeError, match="^directions: a penalty of 1.5 times the critical one"):
        probe_normal(x, languages, "da", share=1.5)


# ---- random ones, and bad input


def test_random_directions_are_those_of_their_seed():
    one, again, other = (random_directions(300, 50, seed=seed) for seed in (4, 4, 5))
    assert one.identity == again.identity != other.identity
    assert torch.allclose(one.direction(range(300)).norm(dim=1), torch.ones(300, dtype=torch.float64))
    # evenly on the sphere: no preferred side, and squares of 1 / 50
    vectors = one.direction(range(300))
    assert float(vectors.mean(0).norm()) < 0.12
    assert float(vectors.square().mean(0).sub(1 / 50).abs().max()) < 0.01
    centre = torch.linspace(0, 9, 50)
    read = random_directions(3, 50, seed=0, centre=centre).read(centre[None], range(3))
    assert read[0].tolist() == pytest.approx([0, 0, 0], abs=1e-5)


@pytest.mark.parametrize("make", [difference_of_means, discriminants])
def test_languages_that_are_not_there_are_named(moments, make):
    with pytest.raises(GlossaeError, match="^moments: no text is in 'sv'; there are da, en, nb$"):
        make(moments, "sv")
    with pytest.raises(GlossaeError, match="^moments: no text is in 'sv'"):
        make(moments, "da", ["sv"])
    with pytest.raises(GlossaeError, match="^directions: 'da' has no other language"):
        make(moments, "da", ["da"])
