"""Selection finds what a sort would find."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from glossae.sae.selection import above, batch_top_k, top_k

# few distinct values, so that many are equal
MATRICES = arrays.arrays(
    "float32",
    st.tuples(st.integers(1, 8), st.integers(1, 12)),
    elements=st.sampled_from([-2.0, -0.5, 0.0, 0.25, 0.5, 1.0, 3.0]),
).map(torch.from_numpy)


def entries_of(found):
    return list(zip(found.tokens.tolist(), found.latents.tolist(), found.values.tolist(), strict=True))


def check(found, pre):
    """Token by token, none twice, each with its own pre-activation."""
    assert found.tokens.tolist() == sorted(found.tokens.tolist())
    places = [(token, latent) for token, latent, _ in entries_of(found)]
    assert len(set(places)) == len(places)
    assert all(pre[token, latent] == value for token, latent, value in entries_of(found))


@settings(deadline=None)
@given(MATRICES, st.data())
def test_top_k_takes_the_largest_of_every_token(pre, data):
    k = data.draw(st.integers(1, pre.shape[1]))
    found = top_k(pre, k)
    check(found, pre)
    for token, row in enumerate(pre):
        values = sorted(value for t, _, value in entries_of(found) if t == token)
        assert values == sorted(row.tolist())[-k:]


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([8, 40, 64]), st.integers(1, 5), st.sampled_from([2, 1000]))
def test_the_search_in_two_steps_finds_the_same(seed, latents, k, distinct):
    generator = torch.Generator().manual_seed(seed)
    pre = torch.randint(-distinct, distinct, (6, latents), generator=generator).float()
    found = top_k(pre, k)
    check(found, pre)
    torch.testing.assert_close(
        found.values.reshape(6, k).sort(1).values, pre.topk(k, dim=1).values.flip(1), rtol=0, atol=0
    )


@settings(deadline=None)
@given(MATRICES, st.data(), st.sampled_from([0.0, 0.1, 0.5, 2.0, 100.0]))
def test_batch_top_k_takes_the_largest_of_all_whatever_the_guess(pre, data, guess):
    count = data.draw(st.integers(1, pre.numel()))
    found = batch_top_k(pre, count, guess)
    check(found, pre)
    positive = sorted(value for value in pre.flatten().tolist() if value > 0)
    assert sorted(found.values.tolist()) == positive[-count:]


@settings(deadline=None)
@given(MATRICES)
def test_above_takes_what_lies_above_each_latents_edge(pre):
    edge = torch.linspace(-1, 1, pre.shape[1])
    found = above(pre, edge)
    check(found, pre)
    assert len(found.values) == int((pre > edge).sum())
