"""Streamed sums equal those of the whole dense code, token by token."""

import dataclasses

import numpy as np
import pytest
from features_sae import LATENTS, SITE, dense_by_language, random_sae

from glossae.lm import tokenize
from glossae.text import Corpus
from glossae.units import latent_statistics


@pytest.fixture(scope="module")
def tokens(tiny_lm, tiny_corpus):
    """Three languages, of different numbers of sentences, in mixed order."""
    names = {1: "nb", 5: "nb", 8: "nb"}
    return tokenize(
        tiny_lm,
        Corpus.of(
            s._replace(language=names.get(i, s.language))
            for i, s in enumerate(tiny_corpus.sentences)
            if i % 7 != 3
        ),
    )


@pytest.fixture(scope="module", params=[True, False], ids=["relu", "no relu"])
def sae(request):
    return random_sae(relu=request.param)


@pytest.fixture(scope="module")
def dense(tiny_lm, sae, tokens):
    return dense_by_language(tiny_lm, sae, tokens)


@pytest.fixture(scope="module")
def statistics(tiny_lm, sae, tokens):
    return latent_statistics(tiny_lm, SITE, sae, tokens, budget=150)


def test_there_is_a_row_for_each_language(statistics, dense):
    assert statistics.languages == ("da", "en", "nb")
    assert [statistics.row(language) for language in statistics.languages] == [0, 1, 2]
    assert statistics.tokens.tolist() == [len(dense[language][0]) for language in statistics.languages]
    assert statistics.fired.shape == statistics.mean_pre.shape == (3, LATENTS)


def test_firing_is_counted_token_by_token(statistics, dense, sae):
    for language, (_, _, fires) in dense.items():
        count = fires.sum(0)
        # the test would say little if every latent did the same
        assert len(set(count.tolist())) > 5
        assert (count == 0).any()
        row = statistics.row(language)
        assert statistics.fired[row].tolist() == count.tolist()
        np.testing.assert_allclose(statistics.rate(language), count / len(fires), rtol=1e-12)
    total = int(statistics.tokens.sum()) * sae.config.k
    assert (int(statistics.fired.sum()) == total) != sae.config.relu


def test_values_are_summed_and_bounded_where_a_latent_fires(statistics, dense):
    for language, (_, values, fires) in dense.items():
        row = statistics.row(language)
        np.testing.assert_allclose(statistics.active_sum[row], values.sum(0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(statistics.mean_value(language), values.mean(0), rtol=1e-4, atol=1e-6)
        for latent in range(LATENTS):
            own = values[fires[:, latent], latent]
            expected = (own.min(), own.max(), own.mean()) if len(own) else (0, 0, 0)
            found = (
                statistics.active_min[row, latent],
                statistics.active_max[row, latent],
                statistics.mean_active(language)[latent],
            )
            assert [float(value) for value in found] == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_the_mean_pre_activation_is_over_all_tokens(statistics, dense):
    for language, (pre, _, _) in dense.items():
        np.testing.assert_allclose(
            statistics.mean_pre[statistics.row(language)], pre.mean(0), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("budget", [1, 40, 10_000])
def test_batches_of_any_size_give_the_same(tiny_lm, sae, tokens, statistics, budget):
    other = latent_statistics(tiny_lm, SITE, sae, tokens, budget=budget)
    assert other.tokens.tolist() == statistics.tokens.tolist() != [0, 0, 0]
    assert other.fired.tolist() == statistics.fired.tolist()
    for field in ("active_sum", "active_min", "active_max", "mean_pre"):
        np.testing.assert_allclose(getattr(other, field), getattr(statistics, field), rtol=1e-4, atol=1e-5)


def test_pads_and_the_bos_are_not_counted(tiny_lm, tiny_corpus):
    tokens = tokenize(tiny_lm, tiny_corpus, prefix=[tiny_lm.tokenizer.bos_token_id])
    sae = random_sae()
    statistics = latent_statistics(tiny_lm, SITE, sae, tokens, budget=4096)
    plain = tokenize(tiny_lm, tiny_corpus)
    assert statistics.tokens.sum() == sum(len(ids) for ids in plain.ids)
    for language, (pre, _, fires) in dense_by_language(tiny_lm, sae, tokens).items():
        row = statistics.row(language)
        assert statistics.fired[row].tolist() == fires.sum(0).tolist()
        np.testing.assert_allclose(statistics.mean_pre[row], pre.mean(0), rtol=1e-4, atol=1e-5)


def test_a_sentence_of_twice_the_weight_is_a_sentence_twice(tiny_lm, tiny_tokens):
    sae = random_sae()
    once = latent_statistics(tiny_lm, SITE, sae, tiny_tokens.take([0]))
    twice = latent_statistics(tiny_lm, SITE, sae, tiny_tokens.take([0, 0]))
    assert twice.tokens.tolist() == (2 * once.tokens).tolist()
    assert twice.fired.tolist() == (2 * once.fired).tolist()
    np.testing.assert_allclose(twice.rate("da"), once.rate("da"))
    np.testing.assert_allclose(twice.mean_active("da"), once.mean_active("da"), rtol=1e-6)


def test_the_result_can_be_written_down(statistics):
    for field in dataclasses.fields(statistics):
        value = getattr(statistics, field.name)
        plain = isinstance(value, str | bool | tuple)
        assert plain or (value.device.type == "cpu" and not value.requires_grad)


def test_progress_comes_to_its_end(tiny_lm, tokens):
    done = []
    latent_statistics(tiny_lm, SITE, random_sae(), tokens, budget=100, progress=done.append)
    assert len(done) > 3
    assert done == sorted(done)
    assert done[-1] == 1.0
