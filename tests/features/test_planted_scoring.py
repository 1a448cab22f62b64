"""False discovery proportion, power and matching, on selections small enough to count by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glossae.find import Score, match, score, score_latents

TRUTH = np.array([True, True, True, False, False, False])


def test_a_selection_is_counted():
    assert score([0, 2, 5, 5], TRUTH) == Score(discoveries=3, false=1, truths=3, found=2)
    assert score([0, 2, 5], TRUTH).fdp == pytest.approx(1 / 3)
    assert score([0, 2, 5], TRUTH).power == pytest.approx(2 / 3)


def test_nothing_selected_is_no_error_and_no_power():
    assert (score([], TRUTH).fdp, score([], TRUTH).power) == (0.0, 0.0)
    assert math.isnan(score([], np.zeros(6, dtype=bool)).power)


@given(st.lists(st.integers(0, 5)), st.lists(st.booleans(), min_size=6, max_size=6))
def test_counts_add_up(selected, truth):
    found = score(selected, np.array(truth))
    assert found.false + found.found == found.discoveries == len(set(selected))
    assert 0 <= found.fdp <= 1
    assert score(np.flatnonzero(truth), np.array(truth)).fdp == 0


def directions(count=6, d_in=64):
    rows = torch.randn(count, d_in, generator=torch.Generator().manual_seed(0))
    return rows / rows.norm(dim=1, keepdim=True)


@given(st.permutations(range(6)), st.lists(st.sampled_from([-3.0, -1.0, 0.1, 1.0]), min_size=6, max_size=6))
def test_a_matching_undoes_a_shuffle_whatever_the_lengths_and_signs(order, factors):
    found = match(directions()[list(order)] * torch.tensor(factors)[:, None], directions())
    for way in ("best", "one-to-one"):
        assert found.of(way).tolist() == list(order)
    assert found.latent.tolist() == np.argsort(order).tolist()
    assert found.cosine == pytest.approx(1.0, abs=1e-5)
    assert found.partner_cosine == pytest.approx(1.0, abs=1e-5)


def test_two_latents_of_one_feature_are_both_its_best_and_one_its_partner():
    d = directions()
    rows = torch.stack([d[2], d[2] + 0.05 * d[4], torch.zeros(64)])
    found = match(rows, d)
    assert found.of("best").tolist() == [2, 2, -1]
    assert found.of("one-to-one").tolist() == [2, -1, -1]
    assert found.recovered[2] == pytest.approx(1.0, abs=1e-5)


def test_more_latents_than_features_leave_some_without_a_partner():
    found = match(torch.cat([directions(), directions()]), directions())
    assert (found.partner < 0).sum() == 6
    assert (found.of("one-to-one") >= 0).sum() == 6


STANDS = np.array([0, 0, 1, 3, -1, -1])


def test_latents_are_counted_by_the_feature_they_stand_for():
    # two latents of feature 0, one of 3, which is not true, one of none
    found = score_latents([0, 1, 3, 4], STANDS, TRUTH)
    assert found == Score(discoveries=4, false=2, truths=3, found=1)


def test_latents_without_a_feature_may_be_left_out():
    found = score_latents([0, 1, 3, 4, 5], STANDS, TRUTH, unmatched="left out")
    assert found == Score(discoveries=3, false=1, truths=3, found=1)
    assert score_latents([4, 5], STANDS, TRUTH, unmatched="left out") == Score(0, 0, 3, 0)
