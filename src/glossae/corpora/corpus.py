"""Sources yield raw pairs, cleaning makes sentences of them, and a corpus holds the sentences."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

Progress = Callable[[str], AbstractContextManager[Callable[[float], None]]]
"""A progress display: takes a description and gives a callback for the share done, 0 to 1."""


def no_progress(_what: str) -> AbstractContextManager[Callable[[float], None]]:
    """Show nothing."""
    return nullcontext(lambda _: None)


class Pair(NamedTuple):
    """Raw sentences that are translations of each other; unaligned text comes as pairs of one sentence.

    Attributes:
        texts: (language, raw text) of each sentence.
        id: the pair id, if the source has one; otherwise cleaning makes one from the text.
        docs: the document name of each text in the source, empty if it has none; `()` if the pair has none at
            all.
    """

    texts: tuple[tuple[str, str], ...]
    id: str | None = None
    docs: tuple[str, ...] = ()


class Source(ABC):
    """A place that text comes from; equal sources are the same place.

    `languages` are always the target's code, the reference's and the others', in the order that labels refer
    to.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """A short name for tables."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the user named."""
        return ()

    @abstractmethod
    def read(self, languages: Sequence[str], seed: int) -> Iterator[Pair]:
        """Yield the raw text, pair by pair; the seed matters only for generated text.

        Raises:
            GlossaeError: it cannot be read.
        """

    def fetch(self, _languages: Sequence[str], _progress: Progress) -> dict[str, Any]:
        """Fetch the text unless it is on this machine.

        Returns:
            The provenance as JSON values; empty if nothing was fetched.

        Raises:
            GlossaeError: it cannot be fetched.
        """
        return {}


class Sentence(NamedTuple):
    """One sentence.

    Attributes:
        text: the sentence, cleaned (see `clean_text`).
        language: lower-case code without a region, such as `da`.
        pair: the pair id, which translations of each other share; unique within a run.
        source: the short name of the source, such as `ELRC_2923.tmx`.
        doc: the document (talk, debate, article), unique within a run; empty if the source names none.
    """

    text: str
    language: str
    pair: str
    source: str
    doc: str = ""


def cluster(pairs: Sequence[str], docs: Sequence[str]) -> list[int]:
    """The cluster of each sentence: sentences that share a pair or a document, directly or through others.

    Sentences of different clusters count as independent draws.

    Args:
        pairs: the pair id of each sentence.
        docs: the document of each sentence, empty for none.

    Returns:
        Numbers from 0, in order of first appearance.
    """
    # a union-find forest of pairs, by number; a document joins its pairs to its first one
    numbers: dict[str, int] = {}
    nodes = [numbers.setdefault(pair, len(numbers)) for pair in pairs]
    parents = list(range(len(numbers)))

    def root(node: int) -> int:
        while (parent := parents[node]) != node:
            parents[node] = node = parents[parent]
        return node

    owners: dict[str, int] = {}
    for node, doc in zip(nodes, docs, strict=True):
        if doc:
            parents[root(owners.setdefault(doc, node))] = root(node)
    seen: dict[int, int] = {}
    return [seen.setdefault(root(node), len(seen)) for node in nodes]


def cluster_names(pairs: Sequence[str], docs: Sequence[str]) -> list[str]:
    """The cluster name of each sentence: the id of the cluster's first pair; without documents, its own pair id."""
    numbers = cluster(pairs, docs)
    first: dict[int, str] = {}
    for number, pair in zip(numbers, pairs, strict=True):
        first[number] = min(pair, first.get(number, pair))
    return [first[number] for number in numbers]


@dataclass(frozen=True)
class Corpus:
    """An ordered, immutable collection of sentences."""

    sentences: tuple[Sentence, ...]

    def __len__(self) -> int:
        return len(self.sentences)

    @staticmethod
    def of(sentences: Iterable[Sentence]) -> "Corpus":
        """Make a corpus of `sentences`."""
        return Corpus(tuple(sentences))

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """The language codes that occur, sorted."""
        return tuple(sorted({sentence.language for sentence in self.sentences}))

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The source names that occur, in order of first appearance."""
        return tuple(dict.fromkeys(sentence.source for sentence in self.sentences))

    @cached_property
    def sha256(self) -> str:
        """A hash of every sentence in order, with its language, pair, source and, if it has one, document."""
        digest = hashlib.sha256()
        for sentence in self.sentences:
            # unit separators cannot occur in cleaned text, so different corpora cannot collide by
            # moving a character from one field to the next
            fields = sentence if sentence.doc else sentence[:-1]
            digest.update("\x1f".join(fields).encode() + b"\x1e")
        return digest.hexdigest()

    @cached_property
    def clusters(self) -> tuple[int, ...]:
        """The cluster of each sentence, see `cluster`."""
        return tuple(cluster([s.pair for s in self.sentences], [s.doc for s in self.sentences]))

    def only(self, *languages: str) -> "Corpus":
        """The sentences in any of `languages`, in order."""
        return Corpus(tuple(s for s in self.sentences if s.language in languages))

    def of_source(self, source: str) -> "Corpus":
        """The sentences that came from `source`, in order."""
        return Corpus(tuple(s for s in self.sentences if s.source == source))
