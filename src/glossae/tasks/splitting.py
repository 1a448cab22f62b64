"""Which rows are learned from and which are tested on; rows of a pair stay together."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from glossae.errors import GlossaeError
from glossae.text import Example, Task

SPLITS, TEST_SHARE = 10, 0.2


@dataclass(frozen=True)
class Division:
    """The rows of a task that are used, and how they are divided.

    Attributes:
        rows: the rows.
        labels: the label of each, as its place among the task's labels.
        groups: the number of each row's pair.
        splits: (train, test) places among `rows`; one where the test rows were given.
        left_out: rows of train whose text is in test too.
    """

    rows: tuple[Example, ...]
    labels: Int[np.ndarray, " rows"]
    groups: Int[np.ndarray, " rows"]
    splits: tuple[tuple[Int[np.ndarray, " train"], Int[np.ndarray, " test"]], ...]
    left_out: int

    @property
    def names(self) -> list[str]:
        """The groups as words."""
        return [str(group) for group in self.groups]


def divide(task: Task, *, rows: int, seed: int, splits: int = SPLITS) -> Division:
    """Divide a task: by its own test rows, or else at random, several times, a fifth to be tested on.

    Rows of train whose text is in test too are left out. Where there are more than `rows`, as many are drawn, train and
    test in proportion.

    Raises:
        GlossaeError: there are too few rows to learn from or to test on, or a label is in one part only.
    """
    generator = np.random.default_rng(seed)
    train, test = list(task.train), list(task.test or ())
    tested = {row.text for row in test}
    kept = [row for row in train if row.text not in tested]
    left_out = len(train) - len(kept)
    share = min(1.0, rows / max(1, len(kept) + len(test)))
    kept, test = _drawn(kept, share, generator), _drawn(test, share, generator)
    used = (*kept, *test)
    labels = np.array([task.labels.index(row.label) for row in used], dtype=np.int64)
    # a pair of train is none of test, whatever it is called
    named = [f"{place >= len(kept)} {row.pair}" for place, row in enumerate(used)]
    groups = np.unique(named, return_inverse=True)[1].astype(np.int64) if used else labels
    if test:
        parts = [(np.arange(len(kept)), np.arange(len(kept), len(used)))]
    else:
        parts = [_split(groups, generator) for _ in range(splits)]
    for learned, tried in parts:
        for what, place in (("learn from", learned), ("test on", tried)):
            missing = set(range(len(task.labels))) - set(labels[place].tolist())
            if missing:
                raise GlossaeError(
                    f"{task.source}: among the {len(place)} rows to {what} none has the label "
                    f"{task.labels[min(missing)]!r}: give more rows"
                )
    return Division(used, labels, groups, tuple(parts), left_out)


def _drawn(rows: Sequence[Example], share: float, generator: np.random.Generator) -> list[Example]:
    """That share of the pairs, in their order."""
    if share >= 1:
        return list(rows)
    pairs = list(dict.fromkeys(row.pair for row in rows))
    chosen = generator.permutation(len(pairs))[: int(share * len(pairs))]
    taken = {pairs[place] for place in chosen}
    return [row for row in rows if row.pair in taken]


def _split(groups: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    order = generator.permutation(groups.max() + 1)
    held = np.isin(groups, order[: max(1, round(TEST_SHARE * len(order)))])
    return np.flatnonzero(~held), np.flatnonzero(held)
