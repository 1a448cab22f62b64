"""The places that text comes from. A new kind is a subclass of `Source`, and a line in the tables of `naming`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glossae.errors import GlossaeError
from glossae.text.conllu import read_conllu
from glossae.text.keeping import Progress
from glossae.text.lines import named, opened, shown, text_lines
from glossae.text.readers import Lines, Pair, read_aligned, read_columns, read_tsv
from glossae.text.records import read_records, read_texts
from glossae.text.sentences import Corpus, Sentence
from glossae.text.tmx import read_tmx

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
            GlossaeError: it cannot be read.
        """

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the user named."""
        return ()

    def check(self) -> None:
        """Open every file once, so that a missing one is found before another takes long to read.

        Raises:
            GlossaeError: a file is missing, a folder, empty or not readable.
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
            GlossaeError: it cannot be fetched.
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
    """One file per language, aligned; or a single file in one language.

    In the place of a file may stand a folder of `.txt` files. Each of them is a document, and in folders that are
    aligned the files of one name are aligned by line.
    """

    paths: tuple[tuple[str, Path], ...]

    @property
    def name(self) -> str:
        """The base names, joined by `+`."""
        return "+".join(path.name for _, path in self.paths)

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them, those of a folder by name."""
        return tuple(
            file for _, path in self.paths for file in (_texts_in(path) if path.is_dir() else [path])
        )

    def read(self, _languages: Sequence[str], _seed: int) -> Iterator[Pair]:
        """See `read_aligned`."""
        if not any(path.is_dir() for _, path in self.paths):
            yield from read_aligned({code: Lines(named(path), _sentences(path)) for code, path in self.paths})
            return
        by_name = {code: {file.name: file for file in _texts_in(path)} for code, path in self.paths}
        (_, first), *others = by_name.items()
        for code, files in others:
            for name in sorted(first.keys() ^ files.keys()):
                lacking = dict(self.paths)[code if name in first else self.paths[0][0]]
                raise GlossaeError(
                    f"{named(lacking)}: has no {shown(name)}: folders that are aligned hold the same names"
                )
        for name in first:
            texts = {
                code: Lines(named(files[name]), _document(files[name])) for code, files in by_name.items()
            }
            yield from read_aligned(texts)


def _texts_in(folder: Path) -> list[Path]:
    """The `.txt` files of a folder, by name.

    Raises:
        GlossaeError: there is none, or it is no folder.
    """
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".txt" and path.is_file())
    except OSError as error:
        raise GlossaeError(
            f"{named(folder)}: cannot be read as a folder ({error.strerror or error})"
        ) from error
    if not found:
        raise GlossaeError(f"{named(folder)}: is a folder: name a file in it, or a folder of .txt files")
    return found


def _document(path: Path) -> Iterator[tuple[str, str]]:
    return ((line, path.stem) for line in text_lines(path))


def _sentences(path: Path) -> Iterator[tuple[str, str]]:
    """The sentences of a file in one language with their documents, read as the end of its name says."""
    match path.suffix.lower():
        case ".jsonl" | ".csv":
            return read_texts(path)
        case ".conllu":
            return read_conllu(path)
        case _:
            return ((line, "") for line in text_lines(path))


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
        pairs: dict[str, list[Sentence]] = {}
        for sentence in self.generator(languages, seed).sentences:
            pairs.setdefault(sentence.pair, []).append(sentence)
        for identity, own in pairs.items():
            docs = tuple(sentence.doc for sentence in own)
            yield Pair(tuple((s.language, s.text) for s in own), identity, docs if any(docs) else ())


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
