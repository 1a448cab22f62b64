"""Mixing tokens of many sentences, so that a training batch is not a handful of texts."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from glossae.memory import enough_memory


class Mixer:
    """Cuts a stream of activations into batches of `size` tokens, drawn from a pool of about `pool`.

    Whenever the pool is full, half of it is drawn at random and given out, and new tokens are written into the
    places that became free: nothing is copied twice. Every token comes out exactly once; the last batch may be
    smaller. Without a `size` the stream's own chunks are the batches.

    All that decides what comes next is in `state`, so a stream can be left at any batch and gone on with: the chunks
    from number `taken` on have to follow.

    Attributes:
        taken: how many chunks were taken from the stream.
    """

    def __init__(self, size: int | None, pool: int, generator: torch.Generator) -> None:
        self.size = size
        self.pool = 0 if size is None else max(pool, 2 * size)
        self.generator = generator
        self.taken = 0
        self._held: Float[Tensor, "pool d_in"] | None = None
        # places of the pool in the order in which they are given out, up to `_give`; from there on they stay
        self._order = torch.zeros(0, dtype=torch.int64)
        self._cursor = self._give = 0
        # what of the last chunk did not fit into the pool
        self._rest: Float[Tensor, "_ d_in"] | None = None

    def batches(self, chunks: Iterator[Float[Tensor, "_ d_in"]]) -> Iterator[Float[Tensor, "_ d_in"]]:
        """The batches; `state` between two of them is that of everything before the second."""
        if self.size is None:
            for chunk in chunks:
                self.taken += 1
                yield chunk
            return
        while True:
            while self._cursor < self._give:
                places = self._order[self._cursor : min(self._cursor + self.size, self._give)]
                self._cursor += len(places)
                assert self._held is not None
                yield self._held[places.to(self._held.device)]
            if not self._refill(chunks):
                return

    def _refill(self, chunks: Iterator[Float[Tensor, "_ d_in"]]) -> bool:
        """Fill the free places and draw the next ones to be given out; False once there is nothing left."""
        assert self.size is not None
        staying = self._order[self._give :]
        # the pool has been full ever since there was an order
        with self._room():
            free = self._order[: self._give] if len(self._order) else torch.arange(self.pool)
        filled = 0
        ended = False
        while filled < len(free):
            if self._rest is None:
                self._rest = next(chunks, None)
                if self._rest is None:
                    ended = True
                    break
                self.taken += 1
            if self._held is None:
                with self._room():
                    self._held = self._rest.new_empty(self.pool, self._rest.shape[1])
            some = self._rest[: len(free) - filled]
            self._held[free[filled : filled + len(some)].to(self._held.device)] = some
            filled += len(some)
            self._rest = self._rest[len(some) :] if len(some) < len(self._rest) else None
        places = torch.cat([staying, free[:filled]])
        self._order = places[torch.randperm(len(places), generator=self.generator)]
        self._cursor = 0
        self._give = len(places) if ended else len(places) // 2 // self.size * self.size
        return self._give > 0

    def _room(self) -> AbstractContextManager[None]:
        return enough_memory(
            f"sae: there is not enough memory to mix {self.pool} tokens; lower sae.batch_tokens"
        )

    def state(self) -> dict[str, Any]:
        """Tensors and numbers from which `restore` goes on."""
        return {
            "taken": self.taken,
            "cursor": self._cursor,
            "give": self._give,
            "order": self._order,
            # a pool that was never full has nothing beyond its last place in use
            "held": None if self._held is None else self._held[: int(self._order.max()) + 1],
            "rest": self._rest,
            "generator": self.generator.get_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self.taken, self._cursor, self._give = state["taken"], state["cursor"], state["give"]
        self._order, self._held, self._rest = state["order"], state["held"], state["rest"]
        self.generator.set_state(state["generator"])
