"""What a text is here: sentences with a language, a pair and a source."""

import hashlib
from collections.abc import Iterable
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
    """

    text: str
    language: str
    pair: str
    source: str


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
        """A hash of every sentence with its language, pair and source, in order."""
        digest = hashlib.sha256()
        for sentence in self.sentences:
            # unit separators cannot occur in cleaned text, so different corpora cannot collide by
            # moving a character from one field to the next
            digest.update("\x1f".join(sentence).encode() + b"\x1e")
        return digest.hexdigest()

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
