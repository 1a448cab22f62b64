"""What a text is here: sentences with a language, a pair and a source."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple


class Sentence(NamedTuple):
    """One sentence.

    Attributes:
        text: the sentence, cleaned (see `cleaning`).
        language: lower-case code without a region, such as `da`.
        pair: sentences that are translations of each other share it; unique within a run.
        source: the short name of where it came from, such as `ELRC_2923.tmx`.
        doc: the document (talk, debate, article) that it is of, unique within a run; empty where the source tells none.
    """

    text: str
    language: str
    pair: str
    source: str
    doc: str = ""


def cluster(pairs: Sequence[str], docs: Sequence[str]) -> list[int]:
    """The cluster of each sentence: those that share a pair or a document, also by way of others.

    Sentences of different clusters count as drawn independently of each other.

    Args:
        pairs: the pair of each sentence.
        docs: the document of each; an empty one is none.

    Returns:
        Numbers from 0, in order of first appearance.
    """
    parents: list[int] = []

    def root(node: int) -> int:
        while parents[node] != node:
            parents[node] = parents[parents[node]]
            node = parents[node]
        return node

    # a pair and a document of the same name are two things
    nodes: dict[tuple[bool, str], int] = {}
    of = []
    for pair, doc in zip(pairs, docs, strict=True):
        found = []
        for name in [(False, pair), (True, doc)] if doc else [(False, pair)]:
            found.append(nodes.setdefault(name, len(parents)))
            if found[-1] == len(parents):
                parents.append(found[-1])
        if doc:
            parents[root(found[1])] = root(found[0])
        of.append(found[0])
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(node), len(numbers)) for node in of]


def cluster_names(pairs: Sequence[str], docs: Sequence[str]) -> list[str]:
    """The cluster of each sentence by name, that of the first of its pairs: without documents, the pair."""
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
        """A hash of every sentence with its language, pair, source and, where it has one, document, in order."""
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

    @staticmethod
    def of(sentences: Iterable[Sentence]) -> "Corpus":
        """Collect `sentences`."""
        return Corpus(tuple(sentences))
