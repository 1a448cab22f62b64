"""Accuracy, F1 and confusion are the textbook's, and their intervals draw pairs whole."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from glossae.errors import GlossaeError
from glossae.find import UNANSWERED, evaluate

CODES = ("da", "en", "sv")


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(CODES), st.sampled_from((*CODES, UNANSWERED))), min_size=1, max_size=40
    )
)
def test_it_agrees_with_scikit_learn(rows):
    truth, guess = [list(column) for column in zip(*rows, strict=True)]
    found = evaluate(truth, guess, [str(i) for i in range(len(rows))], draws=20)
    known = sorted(set(truth))
    f1 = f1_score(truth, guess, labels=known, average=None, zero_division=0)
    assert list(found.f1) == known
    assert np.allclose(list(found.f1.values()), f1)
    assert found.macro_f1 == pytest.approx(f1.mean())
    assert found.accuracy == pytest.approx(np.mean(np.array(truth) == np.array(guess)))
    for i, a in enumerate(found.languages):
        for j, b in enumerate(found.languages):
            assert found.confusion[i, j] == sum(row == (a, b) for row in zip(truth, guess, strict=True))
    assert len(found) == len(rows)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(CODES), st.sampled_from(CODES), st.integers(0, 5)), min_size=2, max_size=30
    ),
    st.randoms(),
)
def test_the_order_of_rows_plays_no_part(rows, random):
    def run(some):
        truth, guess, cluster = zip(*some, strict=True)
        return evaluate(truth, guess, [str(c) for c in cluster], draws=50, seed=3).as_json()

    mixed = list(rows)
    random.shuffle(mixed)
    assert run(mixed) == run(rows)


def test_the_interval_of_independent_rows_is_the_binomial_one():
    generator = np.random.default_rng(0)
    truth = np.repeat(["da", "en"], 500)
    wrong = generator.random(1000) < 0.2
    guess = np.where(wrong, np.where(truth == "da", "en", "da"), truth)
    found = evaluate(truth, guess, np.arange(1000).astype(str), draws=4000)
    half = 1.96 * np.sqrt(found.accuracy * (1 - found.accuracy) / 1000)
    assert found.accuracy_interval == pytest.approx((found.accuracy - half, found.accuracy + half), abs=0.003)


def test_rows_of_a_pair_are_drawn_together():
    truth = np.tile(["da", "en"], 100)
    right = np.repeat(np.arange(100) % 2 == 0, 2)
    guess = np.where(right, truth, "sv")
    alone = evaluate(truth, guess, np.arange(200).astype(str), draws=4000)
    paired = evaluate(truth, guess, np.repeat(np.arange(100), 2).astype(str), draws=4000)
    width = [np.subtract(*found.accuracy_interval[::-1]) for found in (alone, paired)]
    assert width[1] == pytest.approx(width[0] * np.sqrt(2), rel=0.1)


def test_macro_f1_covers_what_it_says():
    """95 % intervals of 200 samples of a known confusion hold its F1 about that often."""
    generator = np.random.default_rng(1)
    truth = np.tile(["da", "en"], 150)
    inside = 0
    for seed in range(200):
        wrong = generator.random(300) < 0.1
        guess = np.where(wrong, np.where(truth == "da", "en", "da"), truth)
        low, high = evaluate(truth, guess, np.arange(300).astype(str), draws=300, seed=seed).macro_f1_interval
        inside += low <= 0.9 <= high
    # the binomial 99.9 % range of 200 at 0.95, a little wider below for the bootstrap
    assert 178 <= inside <= 199


def test_it_is_fit_for_json():
    found = evaluate(["da", "en"], ["da", ""], ["1", "2"], draws=10)
    read = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert read["languages"] == ["da", "en", ""]
    assert read["confusion"] == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert read["accuracy"] == 0.5
    assert read["f1"] == {"da": 1.0, "en": 0.0}


def test_nothing_to_compare_is_refused():
    with pytest.raises(GlossaeError, match="no text"):
        evaluate([], [], [])
    with pytest.raises(GlossaeError, match="draws"):
        evaluate(["da"], ["da"], ["1"], draws=0)
