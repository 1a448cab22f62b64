"""Areas are scikit-learn's, with ties and zeros that are not stored."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csc_array
from score_tables import table_of, tables, token_counts
from sklearn.metrics import average_precision_score, roc_auc_score

from glossae.errors import GlossaeError
from glossae.find import sentence_areas, token_areas
from glossae.units import SentenceTable


@settings(max_examples=40, deadline=None)
@given(tables())
def test_sentences_are_detected_as_scikit_learn_says(table):
    areas = sentence_areas(table, "da")
    of_target, values = table.languages == "da", table.values.toarray()
    for unit in range(table.units):
        assert areas.auroc[unit] == pytest.approx(roc_auc_score(of_target, values[:, unit]), abs=1e-12)
        expected = average_precision_score(of_target, values[:, unit])
        assert areas.average_precision[unit] == pytest.approx(expected, abs=1e-12)


def test_sentences_by_hand():
    # da: 3, 0; en: 1, 0
    areas = sentence_areas(table_of([[3], [1], [0], [0]], ["da", "en", "da", "en"]), "da")
    assert areas.auroc.tolist() == [(1 + 1 + 0 + 0.5) / 4]
    assert areas.average_precision.tolist() == [0.5 * 1 + 0.5 * 2 / 4]


@settings(max_examples=40, deadline=None)
@given(tables(), st.randoms(use_true_random=False))
def test_the_order_of_sentences_does_not_matter(table, random):
    order = list(range(len(table)))
    random.shuffle(order)
    one, other = sentence_areas(table, "sv"), sentence_areas(table.take(order), "sv")
    np.testing.assert_array_equal(one.auroc, other.auroc)
    np.testing.assert_array_equal(one.average_precision, other.average_precision)


@settings(max_examples=40, deadline=None)
@given(tables())
def test_only_the_order_of_values_matters(table):
    values = table.values.toarray()
    present = np.unique(np.append(values, 0))
    # the place of each value among all, with zero where it was
    places = np.searchsorted(present, values) - np.searchsorted(present, 0)
    stretched = dataclasses.replace(table, values=csc_array((places * 7).astype(np.float32)))
    one, other = sentence_areas(table, "da"), sentence_areas(stretched, "da")
    np.testing.assert_array_equal(one.auroc, other.auroc)
    turned = dataclasses.replace(table, values=-table.values)
    np.testing.assert_allclose(sentence_areas(turned, "da").auroc, 1 - one.auroc, atol=1e-12)


def test_stored_zeros_are_zeros():
    table = table_of([[3, 0], [1, 0], [0, 0], [0, 1]], ["da", "en", "da", "en"])
    dense = csc_array(
        (
            np.array([3, 1, -0.0, 0, 0, 1], dtype=np.float32),
            np.array([0, 1, 2, 3, 0, 3]),
            np.array([0, 4, 6]),
        ),
        shape=(4, 2),
    )
    one, other = sentence_areas(table, "da"), sentence_areas(dataclasses.replace(table, values=dense), "da")
    np.testing.assert_array_equal(one.auroc, other.auroc)
    np.testing.assert_array_equal(one.average_precision, other.average_precision)


def test_units_in_chunks_are_the_same(monkeypatch):
    generator = np.random.default_rng(1)
    values = generator.integers(-2, 3, (60, 30)) * (generator.random((60, 30)) < 0.3)
    table = table_of(values, generator.choice(["da", "en"], 60))
    whole = sentence_areas(table, "da")
    assert [last - first for first, last in table.chunks()] == [30]
    chunks = SentenceTable.chunks
    monkeypatch.setattr(SentenceTable, "chunks", lambda self: chunks(self, 40))
    assert len(list(table.chunks())) > 5
    parts = sentence_areas(table, "da")
    np.testing.assert_array_equal(parts.auroc, whole.auroc)
    np.testing.assert_array_equal(parts.average_precision, whole.average_precision)


def test_a_table_of_nothing_is_a_guess():
    areas = sentence_areas(table_of(np.zeros((4, 2)), ["da", "en", "en", "en"]), "da")
    assert areas.auroc.tolist() == [0.5, 0.5]
    assert areas.average_precision.tolist() == [0.25, 0.25]


@pytest.mark.parametrize(("languages", "numbers"), [(["da", "da"], "2 and 0"), (["en", "sv"], "0 and 2")])
def test_both_sides_are_needed(languages, numbers):
    with pytest.raises(GlossaeError, match=f"^scores: sentences of da and .*, and there are {numbers}$"):
        sentence_areas(table_of([[1], [2]], languages), "da")


@settings(max_examples=40, deadline=None)
@given(token_counts())
def test_tokens_are_detected_as_scikit_learn_says(counts):
    tokens, histogram, negative_bins = counts
    areas = token_areas(histogram=histogram, tokens=tokens, target=1, negative_bins=negative_bins)
    for unit in range(histogram.shape[1]):
        scores, labels = [], []
        for language, total in enumerate(tokens):
            bins = histogram[language, unit]
            # bins below zero, silence, bins above
            values = np.repeat(np.where(np.arange(5) < negative_bins, np.arange(5), np.arange(5) + 1), bins)
            scores += [
                *values.tolist(),
                *[negative_bins - 0.5 + 0.5 * (negative_bins < 5)] * (total - bins.sum()),
            ]
            labels += [language == 1] * int(total)
        assert areas.auroc[unit] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
        expected = average_precision_score(labels, scores)
        assert areas.average_precision[unit] == pytest.approx(expected, abs=1e-12)


def test_tokens_by_hand_with_and_without_negative_values():
    # da: 2 of 4 tokens in the low bin; en: none of 4
    histogram = np.array([[[2, 0]], [[0, 0]]])
    tokens = np.array([4, 4])
    assert token_areas(histogram=histogram, tokens=tokens, target=0).auroc.tolist() == [0.75]
    below = token_areas(histogram=histogram, tokens=tokens, target=0, negative_bins=1)
    assert below.auroc.tolist() == [0.25]


def test_tokens_in_parts_are_the_same(monkeypatch):
    generator = np.random.default_rng(0)
    histogram, tokens = generator.integers(0, 5, (3, 40, 8)), np.array([40, 60, 35])
    whole = token_areas(histogram=histogram, tokens=tokens, target=0)
    monkeypatch.setattr("glossae.find.scores.counts.ENTRIES", 100)
    parts = token_areas(histogram=histogram, tokens=tokens, target=0)
    np.testing.assert_array_equal(parts.auroc, whole.auroc)
    np.testing.assert_array_equal(parts.average_precision, whole.average_precision)
