"""Parse source strings and read their text. A new kind is a `Source` class and a line in `parse_source`."""

import difflib
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from glossae.corpora.cleaning import Tally, clean
from glossae.corpora.corpus import Corpus, Pair, Sentence, Source
from glossae.corpora.hub_data import SCHEME, parse_hub
from glossae.corpora.lines import path_text, short_repr, text_lines
from glossae.corpora.opus import PREFIX, parse_opus
from glossae.corpora.readers import (
    Lines,
    read_aligned,
    read_columns,
    read_records,
    read_sentences,
    read_tmx,
    read_tsv,
)
from glossae.errors import GlossaeError
from glossae.files import path_named
from glossae.languages import language_code, suggested_code

Generator = Callable[[Sequence[str], int], Corpus]
"""Generates a corpus from the languages and a seed."""

_FORMS = (
    "PATH.tsv, PATH.jsonl, PATH.csv, PATH.tmx, cols:en,da,-:PATH, da=PATH, da=PATH,en=PATH, "
    "opus:NAME, hub:OWNER/NAME"
)
_SUFFIXES = (".tsv", ".jsonl", ".csv", ".tmx")
_PACKED = (".gz", ".zip", ".bz2", ".xz", ".zst")
_COMPRESSED = "is compressed: unpack it and name what comes out"
# files that are no text with a sentence a line, though a reader of lines would take them for it
_IN_ONE_PIECE = "is JSON in one piece: write an object a line into a .jsonl file (jq -c '.[]' does)"
_NOT_LINES = {
    ".tsv": "a .tsv has columns, and says itself which language a line is in: write {0}, or cols:da,-:{0}",
    ".tmx": "a .tmx says itself which language a sentence is in: write {0}",
    ".json": _IN_ONE_PIECE,
    **dict.fromkeys((".xml", ".html", ".htm"), "is markup: write its sentences into a .txt file, one a line"),
    **dict.fromkeys(_PACKED, _COMPRESSED),
}
_ASSIGNMENT = re.compile(r"([\w-]+)=(.*)", re.DOTALL)
# a comma inside a file's name does not start the next file
_NEXT_ASSIGNMENT = re.compile(r",(?=[\w-]+=)")


@dataclass(frozen=True)
class File(Source):
    """A file of several languages; its suffix decides the reader.

    Attributes:
        path: the file.
        columns: the codes of aligned columns without a header, if they were named; a column of None is skipped.
    """

    path: Path
    columns: tuple[str | None, ...] | None = None

    @property
    def name(self) -> str:
        """The file's base name."""
        return self.path.name

    @property
    def files(self) -> tuple[Path, ...]:
        """The file."""
        return (self.path,)

    def read(self, languages: Sequence[str], _seed: int) -> Iterator[Pair]:
        """Yield pairs; see `read_columns`, `read_tsv`, `read_tmx` and `read_records`."""
        if self.columns is not None:
            return read_columns(self.path, self.columns)
        match self.path.suffix.lower():
            case ".tsv":
                return read_tsv(self.path, languages)
            case ".tmx":
                return read_tmx(self.path)
            case _:
                return read_records(self.path, languages)


@dataclass(frozen=True)
class Aligned(Source):
    """One file per language, aligned; or a single file in one language.

    A folder of `.txt` files may stand in place of a file. Each file is a document, and aligned folders have
    files of the same names, which are aligned by line.
    """

    paths: tuple[tuple[str, Path], ...]

    @property
    def name(self) -> str:
        """The base names, joined by `+`."""
        return "+".join(path.name for _, path in self.paths)

    @property
    def files(self) -> tuple[Path, ...]:
        """All files, those of a folder by name."""
        return tuple(
            file for _, path in self.paths for file in (_texts_in(path) if path.is_dir() else [path])
        )

    def read(self, _languages: Sequence[str], _seed: int) -> Iterator[Pair]:
        """Yield pairs; see `read_aligned`."""
        if not any(path.is_dir() for _, path in self.paths):
            yield from read_aligned(
                {code: Lines(path_text(path), read_sentences(path, code)) for code, path in self.paths}
            )
            return
        by_name = {code: {file.name: file for file in _texts_in(path)} for code, path in self.paths}
        first_code, first = next(iter(by_name.items()))
        for code, files in by_name.items():
            for name in sorted(first.keys() ^ files.keys()):
                lacking = dict(self.paths)[code if name in first else first_code]
                raise GlossaeError(
                    f"{path_text(lacking)}: has no {short_repr(name)}: folders that are aligned hold the same names"
                )
        for name in first:
            yield from read_aligned(
                {
                    code: Lines(path_text(files[name]), _document(files[name]))
                    for code, files in by_name.items()
                }
            )


def _texts_in(folder: Path) -> list[Path]:
    """The `.txt` files of a folder, by name."""
    try:
        found = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".txt" and path.is_file())
    except OSError as error:
        raise GlossaeError(
            f"{path_text(folder)}: cannot be read as a folder ({error.strerror or error})"
        ) from error
    if not found:
        raise GlossaeError(f"{path_text(folder)}: is a folder: name a file in it, or a folder of .txt files")
    return found


def _document(path: Path) -> Iterator[tuple[str, str]]:
    return ((line, path.stem) for line in text_lines(path))


@dataclass(frozen=True)
class Generated(Source):
    """Text that is generated, not read."""

    word: str
    generator: Generator

    @property
    def name(self) -> str:
        """The source's name."""
        return self.word

    def read(self, languages: Sequence[str], seed: int) -> Iterator[Pair]:
        """Yield what the generator makes."""
        pairs: dict[str, list[Sentence]] = {}
        for sentence in self.generator(languages, seed).sentences:
            pairs.setdefault(sentence.pair, []).append(sentence)
        for identity, own in pairs.items():
            docs = tuple(sentence.doc for sentence in own)
            yield Pair(tuple((s.language, s.text) for s in own), identity, docs if any(docs) else ())


def parse_source(text: str, generators: Mapping[str, Generator] | None = None) -> Source:
    """Parse a source string: files, a corpus to fetch, or the bare name of one of `generators`.

    Raises:
        GlossaeError: the form is unknown. Only reading finds out whether a file exists.
    """
    generators = generators or {}
    if text in generators:
        return Generated(text, generators[text])
    for prefix, parse in (("cols:", _parse_columns), (PREFIX, parse_opus), (SCHEME, parse_hub)):
        if text.startswith(prefix):
            return parse(text)
    if assignment := _ASSIGNMENT.fullmatch(text):
        return _parse_aligned(text, assignment[1])
    path = path_named(text)
    if path.suffix.lower() not in _SUFFIXES:
        raise GlossaeError(f"{short_repr(text, 200)}: {_refusal(text, path, generators)}")
    return File(path)


def _refusal(text: str, path: Path, generators: Mapping[str, Generator]) -> str:
    suffix = path.suffix.lower()
    if path.is_dir():
        return (
            f"is a folder: name a file in it, or write da={text} for a folder of .txt files, each a document"
        )
    if suffix in _PACKED:
        return _COMPRESSED
    if suffix == ".json":
        return _IN_ONE_PIECE
    if suffix == ".conllu":
        return f"does not say its language: write da={text}"
    if suffix == ".txt" or path.is_file():
        return f"does not say its language: write da={text} for a sentence a line, or cols:en,da:{text}"
    near = difflib.get_close_matches(text, list(generators), n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    forms = ", ".join([_FORMS, *generators])
    return f"is not a source that is understood; {hint}sources are: {forms} (quote a path with blanks)"


def _parse_columns(text: str) -> Source:
    codes, _, path = text.removeprefix("cols:").partition(":")
    if not codes or not path:
        raise GlossaeError(
            f"{short_repr(text, 200)}: write cols:CODE,CODE,-:PATH, a code or - for every column"
        )
    columns = tuple(None if code.strip() == "-" else _code(code, text) for code in codes.split(","))
    if not any(columns):
        raise GlossaeError(
            f"{short_repr(text, 200)}: every column is passed over: name at least one language"
        )
    _refuse_repeated([code for code in columns if code is not None], text)
    return File(path_named(path), columns)


def _parse_aligned(text: str, first: str) -> Source:
    _code(first, text)
    paths = []
    for part in [text] if _is_here(text.partition("=")[2]) else _NEXT_ASSIGNMENT.split(text):
        written, _, path = part.partition("=")
        if not path:
            raise GlossaeError(f"{short_repr(text, 200)}: no file after {written}=: write {written}=PATH")
        where = path_named(path)
        if why := _NOT_LINES.get(where.suffix.lower()):
            raise GlossaeError(f"{short_repr(text, 200)}: {why.format(path)}")
        paths.append((_code(written, text), where))
    _refuse_repeated([code for code, _ in paths], text)
    return Aligned(tuple(paths))


def _is_here(name: str) -> bool:
    """Whether there is a file of this whole name, which may have a comma and a code in it."""
    # several paths in a row may be too long for one
    with suppress(OSError, GlossaeError):
        return path_named(name).exists()
    return False


def _code(written: str, text: str) -> str:
    code = language_code(written)
    if code is None:
        raise GlossaeError(
            f"{short_repr(text, 200)}: {short_repr(written)} is not a language code: "
            f"write one such as {suggested_code(written)} (BCP 47)"
        )
    return code


def _refuse_repeated(codes: list[str], text: str) -> None:
    if len(set(codes)) < len(codes):
        raise GlossaeError(f"{short_repr(text, 200)}: a language is named twice: name each once")


def split_sources(text: str) -> list[str]:
    """Split a role's string into source strings at blanks; a path with blanks is quoted.

    Raises:
        GlossaeError: there is no source, one occurs twice, or a quote is not closed.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise GlossaeError(
            f"{short_repr(text, 200)}: a quote is not closed: quote a path with blanks on both sides"
        ) from error
    if not words:
        raise GlossaeError("names no source: give one, such as a PATH.tsv")
    for word in words:
        if words.count(word) > 1:
            raise GlossaeError(f"{short_repr(word, 200)}: is named twice: name each source once")
    return words


class CleanedSource(NamedTuple):
    """One source after reading and cleaning.

    Attributes:
        corpus: the sentences, in the order of the source.
        tallies: for each language that occurs, the numbers read, dropped and changed.
    """

    corpus: Corpus
    tallies: dict[str, Tally]


def read_source(
    source: str,
    *,
    languages: Sequence[str],
    seed: int = 0,
    generators: Mapping[str, Generator] | None = None,
) -> CleanedSource:
    """Fetch (if need be), read and clean one source.

    Args:
        source: a source string, such as `talks.tsv`, `da=a.txt,en=b.txt` or `opus:ELRC_2923`.
        languages: the wanted codes; in labelled text, 0 is the first and 1 the second.
        seed: for a generator.
        generators: generators of text, by source name.

    Raises:
        GlossaeError: the source is unknown, cannot be read, or has no sentence in `languages`.
    """
    wanted = tuple(code for code in map(language_code, languages) if code is not None)
    if not wanted or len(wanted) < len(languages):
        raise GlossaeError(f"languages: {list(languages)!r}: give language codes such as da (BCP 47)")
    parsed = parse_source(source, generators)
    sentences, tallies = read_clean(parsed, parsed.name, wanted, seed, {})
    return CleanedSource(Corpus.of(sentences), tallies)


def read_clean(
    source: Source, name: str, languages: Sequence[str], seed: int, earlier: Mapping[str, set[str]]
) -> tuple[list[Sentence], dict[str, Tally]]:
    """Read `source` and `clean` its text."""
    sentences, tallies = clean(source.read(languages, seed), name, languages, earlier)
    if not tallies.keys() & set(languages):
        by_number = sorted(tallies.items(), key=lambda item: (-item[1].read, item[0]))
        found = ", ".join(f"{tally.read} in {code}" for code, tally in by_number[:5]) or "none at all"
        raise GlossaeError(
            f"{name}: no sentence in {' or '.join(languages)} (found: {found}): "
            f"give another file, or other languages"
        )
    return sentences, tallies
