"""Samples grow by language, each within the next, and the interval they are stopped by covers as often as it says."""

import itertools
import math

import numpy as np
import pytest

from glossae.lm import growing, half_width, random_order

LANGUAGES = ["da"] * 50 + ["en"] * 200


def test_samples_are_nested_and_come_to_the_whole_text():
    samples = list(growing(LANGUAGES, seed=3, first=20, factor=2))
    assert [len(sample["en"]) for sample in samples] == [20, 40, 80, 160, 200]
    assert [len(sample["da"]) for sample in samples] == [20, 40, 50, 50, 50]
    for smaller, larger in itertools.pairwise(samples):
        for language, own in smaller.items():
            np.testing.assert_array_equal(larger[language][: len(own)], own)
    assert sorted(samples[-1]["da"]) == list(range(50))
    assert sorted(samples[-1]["en"]) == list(range(50, 250))


def test_a_sample_is_random_and_seeded():
    one, same, other = (next(growing(LANGUAGES, seed=seed))["en"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert set(one) != set(other)
    # not the beginning of the text
    assert one.max() > 100


def test_a_language_is_drawn_alike_whatever_others_there_are():
    alone = random_order(["sv"] * 40, seed=5)["sv"]
    beside = random_order(["sv"] * 40 + ["da"] * 9, seed=5)
    np.testing.assert_array_equal(beside["sv"], alone)


def test_no_text_gives_no_sample():
    assert list(growing([], seed=0)) == []


def test_sentences_of_one_length_give_the_interval_of_a_plain_mean():
    values = np.random.default_rng(0).normal(size=100)
    expected = 1.959964 * values.std(ddof=1) / math.sqrt(100)
    assert half_width(7 * values, np.full(100, 7)) == pytest.approx(expected)


def test_a_constant_loss_a_token_has_no_width():
    counts = np.array([3, 9, 4, 20])
    assert half_width(0.5 * counts, counts) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("counts", [[], [5], [0, 0]])
def test_nothing_to_estimate_from(counts):
    assert half_width(np.zeros(len(counts)), np.array(counts, dtype=np.int64)) == math.inf


def test_the_interval_covers_the_true_ratio_95_times_in_100():
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):
        counts = generator.poisson(20, size=60) + 1
        # sentences differ from each other, and tokens within a sentence are alike
        sums = counts * (0.3 + generator.normal(scale=0.4, size=60))
        covered += abs(sums.sum() / counts.sum() - 0.3) <= half_width(sums, counts)
    assert 920 <= covered <= 970
