"""What text is here: a source yields raw pairs, cleaning makes them sentences, and a corpus holds those."""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

_CODE = re.compile(r"([A-Za-z]{2,3})(?:[-_][A-Za-z0-9]+)*")

Progress = Callable[[str], AbstractContextManager[Callable[[float], None]]]
"""Shows what takes long: takes what that is, and gives what is to be called with the share done, 0 to 1."""


def silent(_what: str) -> AbstractContextManager[Callable[[float], None]]:
    """Show nothing."""
    return nullcontext(lambda _: None)


def language_code(written: str) -> str | None:
    """The code that `written` stands for: lower-case, without a region; None where it is no code.

    `en-GB` and `da_DK` are `en` and `da`. Any two or three letters will do: no list of languages is kept.
    """
    match = _CODE.fullmatch(written.strip())
    return match[1].lower() if match else None


class Pair(NamedTuple):
    """Raw sentences that are translations of each other; text that is not aligned comes one by one.

    Attributes:
        texts: (language, raw text), as many as there are.
        id: the pair id, where the source has one; else it is made from the cleaned text.
        docs: the document of each text, by the name that the source has for it, empty where it has none; `()` for a
            pair without any.
    """

    texts: tuple[tuple[str, str], ...]
    id: str | None = None
    docs: tuple[str, ...] = ()


class Source(ABC):
    """A place that text comes from; equal ones are the same place.

    Languages are the target's code, the reference's, the others': what labels and pairs refer to.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """A short name, fit for tables."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the user named."""
        return ()

    @abstractmethod
    def read(self, languages: Sequence[str], seed: int) -> Iterator[Pair]:
        """The raw text, pair by pair; the seed is for what is made, not read.

        Raises:
            GlossaeError: it cannot be read.
        """

    def fetch(self, _languages: Sequence[str], _progress: Progress) -> dict[str, Any]:
        """Fetch what is not on this machine yet.

        Returns:
            What is on record about where it came from and what exactly it is, for JSON; nothing for what was
            not fetched.

        Raises:
            GlossaeError: it cannot be fetched.
        """
        return {}


class Sentence(NamedTuple):
    """One sentence.

    Attributes:
        text: the sentence, cleaned (see `clean_text`).
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
    # a forest of pairs and documents; a pair and a document of the same name are two things
    parents: dict[tuple[bool, str], tuple[bool, str]] = {}

    def root(node: tuple[bool, str]) -> tuple[bool, str]:
        while (parent := parents.setdefault(node, node)) != node:
            parents[node] = node = parents[parent]
        return node

    for pair, doc in zip(pairs, docs, strict=True):
        own = root((False, pair))
        if doc:
            parents[root((True, doc))] = own
    numbers: dict[tuple[bool, str], int] = {}
    return [numbers.setdefault(root((False, pair)), len(numbers)) for pair in pairs]


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

    @staticmethod
    def of(sentences: Iterable[Sentence]) -> "Corpus":
        """Collect `sentences`."""
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
