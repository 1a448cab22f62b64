"""A labelled task: what it is, and what makes rows of text and label one."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from glossae.errors import GlossaeError
from glossae.text.lines import shown

TRAIN, TEST = "train", "test"


class Row(NamedTuple):
    """A row as it was read.

    Attributes:
        text: the text; one of nothing but blanks is dropped, and counted.
        label: what it is called; None or empty where the source hides it.
        where: the file and line, or the data set and row, for a message.
        pair: rows with the same one belong together; None for a row that stands alone.
    """

    text: str
    label: str | None
    where: str
    pair: str | None = None


class Example(NamedTuple):
    """A text with its label; `pair` is shared by rows that have to stay in one split."""

    text: str
    label: str
    pair: str


@dataclass(frozen=True)
class Task:
    """A labelled task.

    Attributes:
        name: what tables call it.
        language: the code of its texts' language.
        source: where it is from, as it was asked for.
        splits: its rows by split; `train` is always there, `test` where one was given.
        dropped: by split, how many rows were left out, by reason.
        provenance: what is known of where it comes from, such as a commit.
    """

    name: str
    language: str
    source: str
    splits: Mapping[str, tuple[Example, ...]]
    dropped: Mapping[str, Mapping[str, int]]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of `train`, sorted."""
        return tuple(sorted({row.label for row in self.splits[TRAIN]}))

    @property
    def train(self) -> tuple[Example, ...]:
        """The rows to learn from."""
        return self.splits[TRAIN]

    @property
    def test(self) -> tuple[Example, ...] | None:
        """The rows to test on; None where nobody has set any apart."""
        return self.splits.get(TEST)

    @property
    def sha256(self) -> str:
        """A hash of every row of every split, in order."""
        digest = hashlib.sha256()
        for split, rows in self.splits.items():
            digest.update(f"{split}\0{len(rows)}\0".encode())
            for row in rows:
                # lengths first, so that no two tables are the same string of bytes
                for part in row:
                    data = part.encode()
                    digest.update(f"{len(data)}\0".encode() + data)
        return digest.hexdigest()


def assemble_task(
    name: str,
    language: str,
    source: str,
    splits: Mapping[str, Iterable[Row]],
    provenance: Mapping[str, Any] | None = None,
) -> Task:
    """Rows as a task. Rows without text are dropped, and counted as `empty`.

    Raises:
        GlossaeError: there is no `train`, a split has no rows, a row has no label, another split has a label that
            `train` lacks, or `train` has one label only. The line names the row, or the task.
    """
    if TRAIN not in splits:
        raise GlossaeError(f"{source}: has no split train; there are {', '.join(splits) or 'none'}")
    kept: dict[str, tuple[Example, ...]] = {}
    dropped: dict[str, dict[str, int]] = {}
    known: set[str] = set()
    # train first: its labels are the task's
    for split in sorted(splits, key=lambda key: key != TRAIN):
        count: Counter[str] = Counter()
        rows = []
        for number, row in enumerate(splits[split]):
            if not row.label:
                raise GlossaeError(f"{row.where}: has no label: give every row one")
            if not row.text.strip():
                count["empty"] += 1
                continue
            if split != TRAIN and row.label not in known:
                raise GlossaeError(
                    f"{row.where}: the label {shown(row.label)} is not one of train's, {_listed(known)}"
                )
            # half of a surrogate pair, which JSON can hold and UTF-8 cannot
            text = row.text.encode("utf-8", "replace").decode()
            rows.append(Example(text, row.label, row.pair or f"{split} {number}"))
        if not rows:
            raise GlossaeError(f"{source}: has no text in its split {split}")
        kept[split], dropped[split] = tuple(rows), dict(count)
        if split == TRAIN:
            known = {row.label for row in rows}
            if len(known) < 2:
                raise GlossaeError(
                    f"{source}: every row of train has the label {shown(rows[0].label)}: a task needs two"
                )
    return Task(name, language, source, kept, dropped, provenance or {})


def _listed(labels: set[str]) -> str:
    some = [shown(label) for label in sorted(labels)[:8]]
    return ", ".join(some) + (f" and {len(labels) - 8} more" if len(labels) > 8 else "")
