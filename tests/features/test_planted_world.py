"""A planted world is what it says: rates, truth, shared topics, followers, activations, and its seed."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.stats import rankdata

from glossae.errors import GlossaeError
from glossae.find import Kinds, PlantedWorld, draw_sentences

KINDS = Kinds(single=4, groups=3, around=3, sibling=3, together=8)
SMALL = PlantedWorld(d_in=24, features=120, languages=4, kinds=KINDS, topics=6)


@pytest.fixture(scope="module")
def many():
    """A large sample of the small world."""
    return draw_sentences(SMALL, 3000, seed=1)


@pytest.fixture(scope="module")
def table(many):
    return many.table()


def in_language(world, sample, matrix, language):
    return matrix.tocsr()[np.flatnonzero(sample.language == world.codes.index(language))].toarray()


# ---- what is planted


def test_every_kind_is_there_as_often_as_asked():
    own = SMALL.kind[SMALL.leader < 0]
    counts = {kind: int((own == kind).sum()) for kind in ("single", "around", "sibling", "group")}
    # a group of 3 and one of 2; one of 4 has no other language left
    assert counts == {"single": 16, "around": 12, "sibling": 12, "group": 6}
    assert (SMALL.leader >= 0).sum() == 8


def test_the_truth_of_every_kind():
    for language in SMALL.codes:
        home = SMALL.profiles.home == SMALL.codes.index(language)
        true, weakest = SMALL.truth(language), SMALL.weakest(SMALL.against_all(language))
        assert set(np.flatnonzero(true)) == set(np.flatnonzero((SMALL.kind == "single") & home))
        assert weakest[true].min() > 0.85
        near = weakest[(SMALL.kind == "sibling") & home]
        assert near == pytest.approx(0.8, abs=2e-4)
        assert near.max() < 0.8
        around = SMALL.auroc[(SMALL.kind == "around") & home][:, SMALL.codes.index(language)]
        assert around.max() < 0.8
    nothing = SMALL.auroc[SMALL.kind == "none"]
    assert np.all(nothing == 0.5)
    shared = SMALL.auroc[(SMALL.kind == "group") & (SMALL.profiles.home == 0)]
    assert np.all(shared[:, :3, :3] == 0.5)
    assert shared[:, 0, 3].min() > 0.85


def test_a_claim_about_a_group_is_every_comparison_with_the_others():
    group, others = ("da", "nb", "sv"), ("de",)
    true = SMALL.truth([(inside, outside) for inside in group for outside in others])
    planted = (SMALL.kind == "group") & (SMALL.profiles.home == 0)
    # a follower is what its leader is; nothing else is on in three languages
    assert np.array_equal(true, planted)


def test_a_higher_minimum_leaves_fewer():
    sizes = [SMALL.truth("da", minimum).sum() for minimum in (0.5, 0.7, 0.8, 0.9, 0.99)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1]


@given(seed=st.integers(0, 2**31), spread=st.floats(0.1, 1.0), high=st.floats(0.2, 0.5))
@settings(max_examples=5, deadline=None)
def test_near_misses_are_misses_in_every_world(seed, spread, high):
    kinds = dataclasses.replace(KINDS, on_rate=(0.15, high))
    world = PlantedWorld(d_in=4, features=100, languages=4, seed=seed, kinds=kinds, spread=spread)
    for language in world.codes:
        true = world.truth(language)
        assert set(world.kind[true].tolist()) <= {"single"}
    assert np.allclose(world.auroc + world.auroc.swapaxes(1, 2), 1)


# ---- what is drawn


def test_token_rates_come_out_as_stated(many, table):
    for number, language in enumerate(SMALL.codes):
        rows = table.rows(language)
        # sentences depend on nothing but their group, and there is one of each language in a group
        share = table.fired.tocsr()[rows].toarray() - SMALL.token_rates[:, number] * table.tokens[rows, None]
        error = share.std(0) / np.sqrt(len(rows))
        assert np.all(np.abs(share.mean(0)) < 5 * error + 1e-12)


def test_the_truth_is_the_auroc_of_a_large_sample(many, table):
    values = [in_language(SMALL, many, table.values, language) for language in SMALL.codes]
    n = len(values[0])
    worst = 0.0
    for first in range(4):
        for second in range(first):
            ranks = rankdata(np.concatenate([values[first], values[second]]), axis=0)[:n]
            found = (ranks.sum(0) - n * (n + 1) / 2) / n**2
            worst = max(worst, np.abs(found - SMALL.auroc[:, first, second]).max())
    # the standard error is at most sqrt(2 / 12 / 3000) = 0.0075, and there are 720 of them
    assert worst < 4.5 * 0.0075


def test_readings_have_the_stated_magnitude(many):
    total, count = many.codes.sum(0), (many.codes > 0).sum(0)
    often = count > 2000
    assert often.sum() > 20
    assert total[often] / count[often] == pytest.approx(SMALL.magnitude[often], rel=0.06)


def shared_correlation(sample, feature):
    """The correlation of a feature's sentence counts between two languages of a group."""
    fired = sample.table().fired[:, [feature]].toarray()[:, 0].reshape(-1, SMALL.languages)
    return np.corrcoef(fired[:, 0], fired[:, 1])[0, 1]


def test_translations_share_their_topic_and_others_do_not(many):
    feature = int(np.argmax(SMALL.token_rates[:, :2].min(1)))
    alone = draw_sentences(SMALL, 3000, seed=1, paired=False)
    assert shared_correlation(many, feature) > 0.2
    assert abs(shared_correlation(alone, feature)) < 4 / np.sqrt(3000)
    assert len(set(many.table().pairs)) == 3000
    assert len(set(alone.table().pairs)) == 12000


def test_tokens_of_a_sentence_depend_on_each_other(many, table):
    feature = int(np.argmax(SMALL.token_rates[:, 0]))
    rows = table.rows("da")
    fired = table.fired[:, [feature]].toarray()[rows, 0]
    rate = SMALL.token_rates[feature, 0]
    independent = rate * (1 - rate) * table.tokens[rows].mean()
    assert np.mean((fired - rate * table.tokens[rows]) ** 2) > 2 * independent


def test_a_follower_fires_with_its_leader_as_often_as_said(many):
    codes = (many.codes > 0).astype(np.float64)
    ratios = []
    for follower in np.flatnonzero(SMALL.leader >= 0):
        leader = SMALL.leader[follower]
        assert np.array_equal(SMALL.token_rates[follower], SMALL.token_rates[leader])
        both = (codes[:, [leader]] * codes[:, [follower]]).sum()
        alone = codes[:, [leader]].sum()
        # c of its firings are copied, and of the rest it has its own
        assert both / alone > SMALL.copied - 4 * np.sqrt(0.25 / alone)
        ratios.append(both / alone)
    assert max(ratios) < 0.85


def test_an_activation_is_the_sum_that_it_says():
    sample = draw_sentences(dataclasses.replace(SMALL, noise=0.0), 4)
    x = torch.cat(list(sample.activations(7)))
    expected = torch.from_numpy(sample.codes.toarray()) @ SMALL.directions + SMALL.mean
    assert torch.allclose(x, expected, atol=1e-5)
    assert len(x) == sample.tokens.sum()


def test_noise_does_not_depend_on_the_chunks():
    sample = draw_sentences(SMALL, 8)
    whole, parts = (torch.cat(list(sample.activations(size))) for size in (10**6, 64))
    assert whole.shape == parts.shape
    spread = (whole - torch.from_numpy(sample.codes.toarray()) @ SMALL.directions - SMALL.mean).std()
    assert float(spread) == pytest.approx(SMALL.noise, rel=0.05)


def test_the_table_is_the_mean_over_tokens():
    sample = draw_sentences(SMALL, 5)
    table, dense = sample.table(), sample.codes.toarray()
    start = 0
    for row, tokens in enumerate(sample.tokens):
        part = dense[start : start + tokens]
        assert np.allclose(table.values.toarray()[row], part.mean(0), atol=1e-6)
        assert np.array_equal(table.fired.toarray()[row], (part > 0).sum(0))
        start += tokens
    assert table.values.has_sorted_indices
    assert table.present == tuple(sorted(SMALL.codes))


class Read:
    """The planted features read exactly, as units: least squares, where there are fewer of them than dimensions."""

    identity = "direction - exact"

    def __init__(self, world):
        self.world = world

    def __len__(self):
        return self.world.features

    def fired(self, x):
        from glossae.units import Fired

        value = torch.linalg.lstsq(self.world.directions.T, (x - self.world.mean).T).solution.T
        token, unit = (value > 1e-3).nonzero(as_tuple=True)
        return Fired(token, unit, value[token, unit])


def test_units_that_read_the_activations_give_the_same_table():
    kinds = Kinds(single=2, groups=1, around=1, sibling=1, together=2)
    world = PlantedWorld(d_in=64, features=40, languages=3, kinds=kinds, noise=0.0)
    sample = draw_sentences(world, 20)
    exact, read = sample.table(), sample.read(Read(world), size=50)
    assert np.allclose(exact.values.toarray(), read.values.toarray(), atol=1e-3)
    assert read.identity == "direction - exact"


# ---- seeds, and what cannot be


@given(seed=st.integers(0, 2**31), short=st.integers(1, 70), more=st.integers(0, 70))
@settings(max_examples=8, deadline=None)
def test_a_short_sample_is_the_beginning_of_a_long_one(seed, short, more):
    one, other = (draw_sentences(SMALL, pairs, seed) for pairs in (short, short + more))
    assert np.array_equal(one.tokens, other.tokens[: len(one)])
    same = one.codes - other.codes[: one.codes.shape[0]]
    assert abs(csr_array(same)).sum() == 0


def test_seeds_are_different_draws_and_different_worlds():
    one, again, other = (draw_sentences(SMALL, 3, seed) for seed in (0, 0, 1))
    assert np.array_equal(one.codes.toarray(), again.codes.toarray())
    assert one.codes.shape != other.codes.shape or not np.array_equal(one.codes.data, other.codes.data)
    assert not torch.equal(SMALL.directions, dataclasses.replace(SMALL, seed=1).directions)


def test_directions_of_one_topic_are_aligned_when_asked():
    aligned = dataclasses.replace(SMALL, d_in=512, aligned=0.5)
    cosines = (aligned.directions @ aligned.directions.T).numpy()
    same = (aligned.topic[:, None] == aligned.topic) & ~np.eye(120, dtype=bool)
    assert cosines[same].mean() == pytest.approx(0.5, abs=0.03)
    assert abs(cosines[~same & ~np.eye(120, dtype=bool)].mean()) < 0.03


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": 54}, "planted.features: 54 are too few"),
        ({"languages": 1}, "planted.languages: at least 2"),
        ({"copied": 1.0}, "planted.copied"),
        ({"shared": 0.7, "own": 0.6}, "planted.shared"),
        ({"kinds": dataclasses.replace(KINDS, under=(0.9, 0.8))}, "planted.under"),
    ],
)
def test_what_cannot_be_planted_is_refused(changes, message):
    with pytest.raises(GlossaeError, match=message):
        dataclasses.replace(SMALL, **changes)
