"""Mixing loses no token and doubles none."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glossae.sae import Mixer


def numbered(sizes):
    """Chunks of tokens that carry their own number."""
    return torch.arange(sum(sizes), dtype=torch.float32)[:, None].split(sizes) if sizes else ()


def mixed(sizes, size, pool, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [batch[:, 0].tolist() for batch in Mixer(size, pool, generator).batches(iter(numbered(sizes)))]


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), max_size=20), st.integers(1, 40), st.integers(1, 200))
def test_every_token_comes_out_once_in_batches_of_one_size(sizes, size, pool):
    batches = mixed(sizes, size, pool)
    assert sorted(number for batch in batches for number in batch) == list(range(sum(sizes)))
    assert all(len(batch) == size for batch in batches[:-1])
    assert all(1 <= len(batch) <= size for batch in batches[-1:])


def test_batches_are_seeded_and_mixed():
    sizes = [10] * 30
    assert mixed(sizes, 20, 100) == mixed(sizes, 20, 100) != mixed(sizes, 20, 100, seed=1)
    # a batch draws on many of the ten chunks of its pool
    assert all(len({number // 10 for number in batch}) >= 5 for batch in mixed(sizes, 20, 100))


def test_no_more_than_the_pool_and_a_chunk_waits():
    taken = 0

    def chunks():
        nonlocal taken
        for _ in range(100):
            taken += 10
            yield torch.zeros(10, 1)

    given_out = 0
    for batch in Mixer(20, 100, torch.Generator()).batches(chunks()):
        assert taken - given_out <= 110
        given_out += len(batch)
    assert given_out == 1000


def test_nothing_in_nothing_out():
    assert mixed([], 10, 100) == []
