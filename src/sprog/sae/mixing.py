"""Mixing tokens of many sentences, so that a training batch is not a handful of texts."""

from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor


def mixed_batches(
    chunks: Iterable[Float[Tensor, "_ d_in"]], size: int, *, pool: int, generator: torch.Generator
) -> Iterator[Float[Tensor, "_ d_in"]]:
    """Cut a stream of activations into batches of `size` tokens, drawn from a pool of about `pool`.

    Whenever the pool is full, half of it is drawn at random and given out. Every token comes out exactly
    once; the last batch may be smaller.
    """
    waiting: list[Tensor] = []
    count = 0
    for chunk in chunks:
        waiting.append(chunk)
        count += len(chunk)
        if count >= max(pool, 2 * size):
            tokens = _shuffled(waiting, generator)
            give = (count // 2) // size * size
            yield from tokens[:give].split(size)
            # a copy, so that the part already given out can be freed
            waiting, count = [tokens[give:].clone()], count - give
    if count:
        yield from _shuffled(waiting, generator).split(size)


def _shuffled(chunks: list[Tensor], generator: torch.Generator) -> Tensor:
    tokens = torch.cat(chunks)
    return tokens[torch.randperm(len(tokens), generator=generator).to(tokens.device)]
