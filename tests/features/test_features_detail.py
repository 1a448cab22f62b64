"""A closer look agrees with scikit-learn, with numpy and with the dense code."""

import numpy as np
import pytest
import torch
from features_sae import SITE, codes_by_hand, dense_by_language, random_sae
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from glossae.units import auroc, fired_values, latent_statistics, unit_details

NEVER = 39


@pytest.fixture(scope="module", params=[True, False], ids=["relu", "no relu"])
def sae(request):
    return random_sae(relu=request.param)


@pytest.fixture(scope="module")
def tokens(tiny_tokens):
    """More Danish than English."""
    return tiny_tokens.take([i for i in range(len(tiny_tokens)) if i % 4 != 1])


@pytest.fixture(scope="module")
def units(tiny_lm, sae, tokens):
    """Two that fire often, not in order of their numbers, one that rarely does, and one that never does."""
    fired = latent_statistics(tiny_lm, SITE, sae, tokens).fired[0]
    order = fired.argsort(descending=True).tolist()
    rare = next(unit for unit in reversed(order) if fired[unit])
    return [max(order[:2]), min(order[:2]), rare, NEVER]


@pytest.fixture(scope="module")
def details(tiny_lm, sae, tokens, units):
    return unit_details(tiny_lm, SITE, sae, tokens, units, "da", "en", budget=150)


@pytest.fixture(scope="module")
def dense(tiny_lm, sae, tokens):
    return dense_by_language(tiny_lm, sae, tokens)


def test_details_come_in_the_order_asked_for(details, units):
    assert [detail.unit for detail in details] == units


def test_auroc_is_scikit_learn_s(details, dense):
    da, en = dense["da"][0], dense["en"][0]
    for detail in details:
        expected = roc_auc_score([1] * len(da) + [0] * len(en), [*da[:, detail.unit], *en[:, detail.unit]])
        assert detail.auroc == pytest.approx(expected, abs=1e-4)


def test_auroc_changes_sides_with_the_languages(tiny_lm, sae, tokens, units, details):
    swapped = unit_details(tiny_lm, SITE, sae, tokens, units, "en", "da")
    for one, other in zip(details, swapped, strict=True):
        assert one.auroc + other.auroc == pytest.approx(1, abs=1e-6)
        assert one.auroc != pytest.approx(0.5, abs=1e-3)


def test_quantiles_are_numpys_where_the_unit_fires_on_the_target(details, dense):
    _, values, fires = dense["da"]
    for detail in details[:-1]:
        own = values[fires[:, detail.unit], detail.unit]
        assert detail.quantiles == pytest.approx(np.quantile(own, [0.5, 0.99]), rel=1e-4, abs=1e-5)
    assert not fires[:, NEVER].any()
    assert details[-1].quantiles is None


def test_histograms_hold_every_token_once(details, dense):
    for detail in details:
        assert set(detail.counts) == {"da", "en"}
        assert len(detail.edges) == 61
        for language, counts in detail.counts.items():
            own = dense[language][0][:, detail.unit]
            assert counts.sum() == len(own)
            # rounding may carry the odd token over an edge
            expected = np.histogram(own.clip(*detail.edges[[0, -1]]), bins=detail.edges)[0]
            np.testing.assert_allclose(np.cumsum(counts), np.cumsum(expected), atol=2)
        everything = np.concatenate([dense[language][0][:, detail.unit] for language in ("da", "en")])
        assert detail.edges[[0, -1]] == pytest.approx([everything.min(), everything.max()], abs=1e-4)
        assert (np.diff(detail.edges) > 0).all()


def test_a_constant_unit_breaks_nothing(tiny_lm, tokens):
    sae = random_sae()
    sae.W_enc.data[7] = 0
    sae.b_enc.data[7] = 50
    (detail,) = unit_details(tiny_lm, SITE, sae, tokens, [7], "da", "en")
    assert detail.auroc == 0.5
    assert detail.quantiles == (50, 50)
    lengths = {"da": 0, "en": 0}
    for length, sentence in zip(tokens.lengths, tokens.corpus.sentences, strict=True):
        lengths[sentence.language] += int(length)
    assert {language: int(counts.sum()) for language, counts in detail.counts.items()} == lengths


def test_batches_of_any_size_give_the_same(tiny_lm, sae, tokens, units, details):
    for one, other in zip(
        details, unit_details(tiny_lm, SITE, sae, tokens, units, "da", "en", budget=1), strict=True
    ):
        assert one.auroc == pytest.approx(other.auroc, abs=1e-4)
        np.testing.assert_allclose(one.edges, other.edges, atol=1e-4)


def test_no_units_need_no_pass(tiny_lm, sae, tokens):
    assert unit_details(tiny_lm, SITE, sae, tokens, [], "da", "en") == []


def test_values_stand_where_a_unit_fires_and_nan_elsewhere(sae):
    x = torch.randn(50, 48, generator=torch.Generator().manual_seed(1))
    units = torch.tensor([30, 2, 11, NEVER])
    found = fired_values(sae, x, units).numpy()
    _, values, fires = codes_by_hand(sae, x)
    np.testing.assert_array_equal(np.isnan(found), ~fires[:, units])
    np.testing.assert_allclose(found[~np.isnan(found)], values[:, units][fires[:, units]], rtol=1e-4)
    assert fires[:, units[:3]].any(0).all()
    assert not fires.all()


def test_progress_comes_to_its_end(tiny_lm, sae, tokens):
    done = []
    unit_details(tiny_lm, SITE, sae, tokens, [0], "da", "en", budget=100, progress=done.append)
    assert done == sorted(done)
    assert done[-1] == 1.0


# ---- AUROC on its own

SCORES = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=30)


@given(SCORES, SCORES)
def test_auroc_counts_ties_half(positive, negative):
    wins = [1.0 if p > n else 0.5 if p == n else 0.0 for p in positive for n in negative]
    assert auroc(np.array(positive), np.array(negative)) == pytest.approx(sum(wins) / len(wins))


def test_auroc_of_nothing_is_a_guess():
    assert auroc(np.array([]), np.array([1.0])) == auroc(np.array([1.0]), np.array([])) == 0.5
