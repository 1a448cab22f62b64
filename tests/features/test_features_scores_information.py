"""Mutual information, log-odds and the F statistic: by hand, and scikit-learn's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from score_tables import table_of, tables, token_counts
from sklearn.feature_selection import f_classif
from sklearn.metrics import mutual_info_score

from glossae.errors import GlossaeError
from glossae.find import f_statistic, log_odds, mutual_information, sentence_moments


@settings(max_examples=40, deadline=None)
@given(token_counts())
def test_information_without_a_prior_is_scikit_learn_s(counts):
    tokens, histogram, _ = counts
    fired = histogram.sum(2)
    found = mutual_information(fired=fired, tokens=tokens, prior=0)
    for unit in range(fired.shape[1]):
        contingency = np.stack([fired[:, unit], tokens - fired[:, unit]])
        expected = mutual_info_score(None, None, contingency=contingency)
        assert found[unit] == pytest.approx(expected, abs=1e-10)


def test_information_by_hand():
    # fires exactly on the target: one bit of nothing else; a prior of a half takes some of it
    fired, tokens = np.array([[8, 4], [0, 4]]), np.array([8, 8])
    np.testing.assert_allclose(mutual_information(fired=fired, tokens=tokens, prior=0), [np.log(2), 0])
    joint = np.array([[8.5, 0.5], [0.5, 8.5]]) / 18
    expected = (joint * np.log(joint / 0.25)).sum()
    np.testing.assert_allclose(mutual_information(fired=fired, tokens=tokens), [expected, 0], atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(token_counts(), st.permutations(range(3)))
def test_information_knows_no_order_and_not_what_firing_is(counts, order):
    tokens, histogram, _ = counts
    fired = histogram.sum(2)
    found = mutual_information(fired=fired, tokens=tokens)
    assert (found >= 0).all()
    np.testing.assert_allclose(
        mutual_information(fired=fired[order], tokens=tokens[order]), found, atol=1e-12
    )
    np.testing.assert_allclose(
        mutual_information(fired=tokens[:, None] - fired, tokens=tokens), found, atol=1e-12
    )


def test_log_odds_by_hand():
    found = log_odds(
        fired=np.array([[3, 0], [1, 0], [0, 0]]), tokens=np.array([4, 4]).repeat([1, 2]), target=0
    )
    np.testing.assert_allclose(
        found.value, [np.log(3.5 / 1.5) - np.log(1.5 / 7.5), np.log(0.5 / 4.5 / (0.5 / 8.5))]
    )
    np.testing.assert_allclose(found.error[0], np.sqrt(1 / 3.5 + 1 / 1.5 + 1 / 1.5 + 1 / 7.5))


@settings(max_examples=40, deadline=None)
@given(token_counts())
def test_log_odds_turn_with_the_languages_and_with_firing(counts):
    tokens, histogram, _ = counts
    fired, tokens = histogram.sum(2)[:2], tokens[:2]
    one, other = (log_odds(fired=fired, tokens=tokens, target=i) for i in (0, 1))
    silent = log_odds(fired=tokens[:, None] - fired, tokens=tokens, target=0)
    for turned in (other, silent):
        np.testing.assert_allclose(one.value, -turned.value, atol=1e-12)
        np.testing.assert_allclose(one.error, turned.error)


def test_the_error_is_what_chance_does():
    generator = np.random.default_rng(0)
    tokens, p = np.array([400, 700]), np.array([0.3, 0.1])
    fired = generator.binomial(tokens[:, None], p[:, None], (2, 20_000))
    found = log_odds(fired=fired, tokens=tokens, target=0)
    true = np.log(0.3 / 0.7) - np.log(0.1 / 0.9)
    assert found.value.mean() == pytest.approx(true, abs=0.01)
    assert found.value.std() == pytest.approx(found.error.mean(), rel=0.03)
    assert (np.abs(found.value - true) < 1.96 * found.error).mean() == pytest.approx(0.95, abs=0.01)


@settings(max_examples=40, deadline=None)
@given(tables())
def test_f_is_scikit_learn_s(table):
    found = f_statistic(**dict(zip(("sizes", "sums", "squares"), sentence_moments(table, "da"), strict=True)))
    values = table.values.toarray().astype(np.float64)
    varying = [
        unit
        for unit in range(table.units)
        if max(values[rows, unit].std() for rows in (table.rows("da"), table.languages != "da")) > 1e-3
    ]
    if varying:
        expected = f_classif(values[:, varying], table.languages == "da")[0]
        np.testing.assert_allclose(found[varying], expected, rtol=1e-6, atol=1e-9)


def test_f_by_hand():
    table = table_of([[1, 5, 2, 0], [3, 5, 2, 0], [5, 5, 1, 0], [7, 5, 1, 0]], ["da", "da", "en", "en"])
    found = f_statistic(**dict(zip(("sizes", "sums", "squares"), sentence_moments(table, "da"), strict=True)))
    # means 2 and 6 around 4: 16 between, (1 + 1 + 1 + 1) / 2 within
    np.testing.assert_allclose(found, [16 / 2, 0, np.inf, 0])


@settings(max_examples=40, deadline=None)
@given(tables(), st.integers(-3, 3), st.sampled_from([0.5, 2.0, -4.0]))
def test_f_knows_neither_place_nor_scale(table, shift, scale):
    names = ("sizes", "sums", "squares")
    values = np.round(table.values.toarray() * 4) / 4
    moments = sentence_moments(table_of(values, table.languages), "da")
    moved = sentence_moments(table_of(values * scale + shift, table.languages), "da")
    one, other = (f_statistic(**dict(zip(names, of, strict=True))) for of in (moments, moved))
    np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)


def test_f_needs_two_groups():
    ones = np.ones((2, 1))
    for sizes in ([2, 0], [1, 1]):
        with pytest.raises(GlossaeError, match=r"^scores: an F statistic needs two groups with members"):
            f_statistic(sizes=np.array(sizes), sums=ones, squares=ones)
