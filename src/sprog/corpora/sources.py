"""Source strings: where a text is to come from, in one word."""

import difflib
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sprog.corpora.hub import check_hub, read_hub
from sprog.corpora.hub_source import SCHEME, HubDataSet, parse_hub
from sprog.corpora.languages import language_code
from sprog.corpora.lines import opened, shown
from sprog.corpora.readers import Pair, read_aligned, read_columns, read_tsv
from sprog.corpora.sentences import Corpus
from sprog.corpora.tmx import read_tmx
from sprog.errors import SprogError

Generator = Callable[[Sequence[str], int], Corpus]
"""Makes a corpus out of nothing: takes the languages and a seed."""

_FORMS = "PATH.tsv, cols:en,da,-:PATH, PATH.tmx, da=PATH, da=PATH,en=PATH"
# formats that need a reader of their own: reading them as a sentence a line would be wrong
_UNREAD = frozenset({".csv", ".jsonl"})
_ASSIGNMENT = re.compile(r"([\w-]+)=(.*)", re.DOTALL)
# a comma inside a file's name is not the start of the next file
_NEXT_ASSIGNMENT = re.compile(r",(?=[\w-]+=)")


@dataclass(frozen=True)
class _File:
    path: Path

    @property
    def name(self) -> str:
        """The short name for tables: the file's base name."""
        return self.path.name


@dataclass(frozen=True)
class Tsv(_File):
    """A file of `sentence TAB label`, or of aligned columns under a header of language codes."""


@dataclass(frozen=True)
class Columns(_File):
    """A file of aligned columns without a header; None passes a column over."""

    columns: tuple[str | None, ...]


@dataclass(frozen=True)
class Tmx(_File):
    """A translation memory."""


@dataclass(frozen=True)
class Aligned:
    """One file per language, aligned by line; or a single file in one language."""

    paths: tuple[tuple[str, Path], ...]

    @property
    def name(self) -> str:
        """The short name for tables: the files' base names, joined by `+`."""
        return "+".join(path.name for _, path in self.paths)


@dataclass(frozen=True)
class Generated:
    """A text that is made, not read."""

    name: str
    generator: Generator


Source = Tsv | Columns | Tmx | Aligned | HubDataSet | Generated
"""A place that text comes from; `name` is short and fit for tables."""


def read_raw(source: Source, languages: Sequence[str], seed: int) -> Iterator[Pair]:
    """The raw text of `source`, pair by pair.

    Args:
        source: where from.
        languages: the target's code, the reference's, the others': what labels and generators refer to.
        seed: for a generator.

    Raises:
        SprogError: a file cannot be read.
    """
    match source:
        case Tsv(path):
            return read_tsv(path, languages)
        case Columns(path, columns):
            return read_columns(path, columns)
        case Tmx(path):
            return read_tmx(path)
        case Aligned(paths):
            return read_aligned(dict(paths))
        case HubDataSet():
            return read_hub(source, languages)
        case Generated(_, generator):
            return _by_pair(generator(languages, seed))


def check_files(source: Source) -> None:
    """Open every file of `source` once, so that a missing one is found before another takes long to read.

    The hub is asked for a data set.

    Raises:
        SprogError: a file is missing, a folder, empty or not readable, or the hub refuses.
    """
    match source:
        case Aligned(paths):
            files = [path for _, path in paths]
        case HubDataSet():
            check_hub(source)
            files = []
        case Generated():
            files = []
        case _:
            files = [source.path]
    for path in files:
        with opened(path):
            pass


def _by_pair(corpus: Corpus) -> Iterator[Pair]:
    pairs: dict[str, list[tuple[str, str]]] = {}
    for sentence in corpus.sentences:
        pairs.setdefault(sentence.pair, []).append((sentence.language, sentence.text))
    for identity, texts in pairs.items():
        yield Pair(tuple(texts), identity)


def parse_source(text: str, generators: Mapping[str, Generator] | None = None) -> Source:
    """What `text` names: a file, several, or one of `generators` by its bare name.

    Raises:
        SprogError: it is not a form that is understood. Whether a file exists is found out by reading it.
    """
    generators = generators or {}
    if text in generators:
        return Generated(text, generators[text])
    if text.startswith(SCHEME):
        return parse_hub(text)
    if text.startswith("cols:"):
        return _columns(text)
    if assignment := _ASSIGNMENT.fullmatch(text):
        return _aligned(text, assignment[1])
    path = _path(text)
    match path.suffix.lower():
        case ".tsv":
            return Tsv(path)
        case ".tmx":
            return Tmx(path)
    raise SprogError(f"{shown(text, 200)}: {_refusal(text, path, generators)}")


def _refusal(text: str, path: Path, generators: Mapping[str, Generator]) -> str:
    suffix = path.suffix.lower()
    if path.is_dir():
        return "is a folder: name a file in it"
    if suffix == ".txt" or (path.is_file() and suffix not in _UNREAD):
        return f"does not say its language: write da={text} for a sentence a line, or cols:en,da:{text}"
    near = difflib.get_close_matches(text, list(generators), n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    forms = ", ".join([_FORMS, *generators])
    return f"is not a source that is understood; {hint}today these are: {forms} (quote a path with blanks)"


def _path(text: str) -> Path:
    path = Path(text)
    try:
        return path.expanduser()
    except RuntimeError:
        # `~name` without such a user: a file may really be called that
        return path


def _columns(text: str) -> Columns:
    codes, _, path = text.removeprefix("cols:").partition(":")
    if not codes or not path:
        raise SprogError(f"{shown(text, 200)}: write cols:CODE,CODE,-:PATH, a code or - for every column")
    columns = tuple(None if code.strip() == "-" else _code(code, text) for code in codes.split(","))
    _refuse_repeated([code for code in columns if code is not None], text)
    return Columns(_path(path), columns)


def _aligned(text: str, first: str) -> Aligned:
    if language_code(first) is None:
        _code(first, text)
    paths = []
    for part in _NEXT_ASSIGNMENT.split(text):
        written, _, path = part.partition("=")
        if not path:
            raise SprogError(f"{shown(text, 200)}: no file after {written}=: write {written}=PATH")
        paths.append((_code(written, text), _path(path)))
    _refuse_repeated([code for code, _ in paths], text)
    return Aligned(tuple(paths))


def _code(written: str, text: str) -> str:
    code = language_code(written)
    if code is None:
        raise SprogError(
            f"{shown(text, 200)}: {shown(written)} is not a language code: "
            f"write two or three letters, as in da"
        )
    return code


def _refuse_repeated(codes: list[str], text: str) -> None:
    if not codes:
        raise SprogError(f"{shown(text, 200)}: every column is passed over: name at least one language")
    if len(set(codes)) < len(codes):
        raise SprogError(f"{shown(text, 200)}: a language is named twice: name each once")


def split_sources(text: str) -> list[str]:
    """The source strings in a role's string: separated by blanks, a path with blanks in quotes.

    Raises:
        SprogError: there is none, one is there twice, or a quote is not closed.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise SprogError(
            f"{shown(text, 200)}: a quote is not closed: quote a path with blanks on both sides"
        ) from error
    if not words:
        raise SprogError("names no source: give one, such as a PATH.tsv")
    for word in words:
        if words.count(word) > 1:
            raise SprogError(f"{shown(word, 200)}: is named twice: name each source once")
    return words


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
