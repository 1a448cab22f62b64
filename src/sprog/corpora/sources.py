"""The places that text comes from. A new kind is a subclass of `Source`, and a line in the tables of `naming`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sprog.corpora.conllu import read_conllu
from sprog.corpora.keeping import Progress
from sprog.corpora.lines import named, opened, text_lines
from sprog.corpora.readers import Lines, Pair, read_aligned, read_columns, read_tsv
from sprog.corpora.records import read_records, read_texts
from sprog.corpora.sentences import Corpus
from sprog.corpora.tmx import read_tmx

Generator = Callable[[Sequence[str], int], Corpus]
"""Makes a corpus out of nothing: takes the languages and a seed."""


class Source(ABC):
    """A place that text comes from; equal ones are the same place.

    Languages are the target's code, the reference's, the others': what labels and pairs refer to.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """A short name, fit for tables."""

    @abstractmethod
    def read(self, languages: Sequence[str], seed: int) -> Iterator[Pair]:
        """The raw text, pair by pair; the seed is for what is made, not read.

        Raises:
            SprogError: it cannot be read.
        """

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the user named."""
        return ()

    def check(self) -> None:
        """Open every file once, so that a missing one is found before another takes long to read.

        Raises:
            SprogError: a file is missing, a folder, empty or not readable.
        """
        for path in self.files:
            with opened(path):
                pass

    def fetch(self, _languages: Sequence[str], _progress: Progress) -> dict[str, Any]:
        """Fetch what is not on this machine yet.

        Returns:
            What is on record about where it came from and what exactly it is, for JSON; nothing for what was
            not fetched.

        Raises:
            SprogError: it cannot be fetched.
        """
        return {}


@dataclass(frozen=True)
class _File(Source):
    path: Path

    @property
    def name(self) -> str:
        """The file's base name."""
        return self.path.name

    @property
    def files(self) -> tuple[Path, ...]:
        """The one."""
        return (self.path,)


@dataclass(frozen=True)
class Tsv(_File):
    """A file of `sentence TAB label`, or of aligned columns under a header of language codes."""

    def read(self, languages: Sequence[str], _seed: int) -> Iterator[Pair]:
        """See `read_tsv`."""
        return read_tsv(self.path, languages)


@dataclass(frozen=True)
class Records(_File):
    """A file of records with named fields: JSON Lines or CSV."""

    def read(self, languages: Sequence[str], _seed: int) -> Iterator[Pair]:
        """See `read_records`."""
        return read_records(self.path, languages)


@dataclass(frozen=True)
class Tmx(_File):
    """A translation memory."""

    def read(self, _languages: Sequence[str], _seed: int) -> Iterator[Pair]:
        """See `read_tmx`."""
        return read_tmx(self.path)


@dataclass(frozen=True)
class Columns(_File):
    """A file of aligned columns without a header; None passes a column over."""

    columns: tuple[str | None, ...]

    def read(self, _languages: Sequence[str], _seed: int) -> Iterator[Pair]:
        """See `read_columns`."""
        return read_columns(self.path, self.columns)


@dataclass(frozen=True)
class Aligned(Source):
    """One file per language, aligned; or a single file in one language."""

    paths: tuple[tuple[str, Path], ...]

    @property
    def name(self) -> str:
        """The files' base names, joined by `+`."""
        return "+".join(path.name for path in self.files)

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return tuple(path for _, path in self.paths)

    def read(self, _languages: Sequence[str], _seed: int) -> Iterator[Pair]:
        """See `read_aligned`."""
        return read_aligned({code: Lines(named(path), _sentences(path)) for code, path in self.paths})


def _sentences(path: Path) -> Iterator[str]:
    """The sentences of a file in one language, read as the end of its name says."""
    match path.suffix.lower():
        case ".jsonl" | ".csv":
            return read_texts(path)
        case ".conllu":
            return read_conllu(path)
        case _:
            return text_lines(path)


@dataclass(frozen=True)
class Generated(Source):
    """A text that is made, not read."""

    word: str
    generator: Generator

    @property
    def name(self) -> str:
        """The word that it goes by."""
        return self.word

    def read(self, languages: Sequence[str], seed: int) -> Iterator[Pair]:
        """What the generator makes."""
        pairs: dict[str, list[tuple[str, str]]] = {}
        for sentence in self.generator(languages, seed).sentences:
            pairs.setdefault(sentence.pair, []).append((sentence.language, sentence.text))
        for identity, texts in pairs.items():
            yield Pair(tuple(texts), identity)


class Names:
    """Gives every source of a run a name of its own: `x.tsv`, and for another file of that name `x.tsv#2`."""

    def __init__(self) -> None:
        self._owners: dict[str, Source] = {}

    def name(self, source: Source) -> str:
        """The name of `source`; equal sources get the same one."""
        number = 1
        while True:
            name = source.name if number == 1 else f"{source.name}#{number}"
            if self._owners.setdefault(name, source) == source:
                return name
            number += 1
