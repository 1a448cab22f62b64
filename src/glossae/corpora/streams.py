"""Text of any size that is read document by document and never held whole: the sources of `sae.stream`."""

import gzip
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BufferedIOBase, BufferedReader
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, cast

from glossae.corpora.cleaning import clean_text
from glossae.corpora.corpus import Sentence, no_progress
from glossae.corpora.hub_data import HubDataSet, parse_hub, streamed_rows
from glossae.corpora.lines import json_records, lines_of, name_list, open_file, path_text, short_repr
from glossae.corpora.readers import TEXT_NAMES
from glossae.corpora.sources import split_sources
from glossae.corpora.splits import words_key
from glossae.errors import GlossaeError, one_line
from glossae.files import file_sha256, path_named

_HUB = "hub:"
_PACKED = (".gz", ".zst")
# crawls write lines of JSON into files named .json
_READ = (".txt", ".jsonl", ".json", ".parquet")
_FORMS = "a .txt, .jsonl or .parquet file, .txt and .jsonl also with .gz or .zst, a folder of them, or hub:OWNER/NAME"
_COLUMN = re.compile(r"(.*),text=([^,]+)", re.DOTALL)
# data sets are split into files of such names: train-00003-of-00010.parquet
_SHARD = re.compile(r"(.*?)(\d+)-of-(\d+)(\D.*)", re.DOTALL)
# the sizes and times of larger files stand for their contents: to hash terabytes would take hours
_HASHED = 2**24
# rows of a table that are read at a time
_ROWS = 256
# what ends a sentence, with the blank after it
_END = re.compile(r"[.!?…]+[\"'”’»«)\]]* ")
# a document of fewer words is one sentence; in a longer one, shorter sentences are not compared: "Mr.", "Thank you."
_WORDS, _COMPARED = 8, 4


class Taken(NamedTuple):
    """How far a source has been read: its documents, and the characters of those that had any text."""

    documents: int
    characters: int


class Document(NamedTuple):
    """A document of a stream.

    Attributes:
        source: the number of its source.
        file: the number of its file among `TextStream.files`.
        place: how far that source has been read with it.
        text: what it says, cleaned line by line (`clean_text`) and joined by blanks.
        ends: for each of its sentences, the character of `text` after its last.
        keys: for each of its sentences, what is the same of sentences of the same words; 0 for those that are not
            compared.
    """

    source: int
    file: int
    place: Taken
    text: str
    ends: tuple[int, ...]
    keys: tuple[int, ...]


def _sentences(lines: Iterable[str]) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
    """The cleaned text of some lines, with the ends and keys of its sentences."""
    cleaned = [line for line in map(clean_text, lines) if line]
    ends, start = list[int](), 0
    for line in cleaned:
        ends += [start + match.end() - 1 for match in _END.finditer(line)]
        ends.append(start + len(line))
        start += len(line) + 1
    text = " ".join(cleaned)
    if text.count(" ") + 1 < _WORDS:
        ends = ends[-1:]
    whole, starts = len(ends) == 1, [0, *ends]
    sentences = [text[first:last].strip() for first, last in zip(starts, ends, strict=False)]
    keys = [_key(each) if whole or each.count(" ") + 1 >= _COMPARED else 0 for each in sentences]
    return text, tuple(ends), tuple(keys)


def _key(sentence: str) -> int:
    return int.from_bytes(words_key(sentence)[:8], "little", signed=True)


def sentence_keys(sentences: Iterable[Sentence]) -> frozenset[int]:
    """The keys that documents with the words of these sentences have; see `Document`."""
    return frozenset(key for each in sentences for key in _sentences([each.text])[2]) - {0}


class _Files(NamedTuple):
    """A file, or the files of a folder in the order of their names, and the column of their text."""

    path: Path
    column: str | None

    @property
    def name(self) -> str:
        return self.path.name

    def files(self) -> list[Path]:
        """The files, which are there.

        Raises:
            GlossaeError: one is not, or is of no kind that is read.
        """
        if not self.path.is_dir():
            with _opened(self.path):
                return [self.path]
        try:
            found = sorted(each for each in self.path.iterdir() if each.is_file() and _kind(each) is not None)
        except OSError as error:
            raise GlossaeError(
                f"{path_text(self.path)}: cannot be read as a folder ({error.strerror or error})"
            ) from error
        if not found:
            raise GlossaeError(f"{path_text(self.path)}: has no file that can be read: give {_FORMS}")
        for each in found:
            # names are recorded as text
            if each.name != each.name.encode("utf-8", "replace").decode("utf-8"):
                raise GlossaeError(f"{path_text(each)}: the name is not UTF-8: rename the file")
        numbers: dict[tuple[str, str, str], set[int]] = {}
        for each in found:
            if match := _SHARD.fullmatch(each.name):
                numbers.setdefault((match[1], match[3], match[4]), set()).add(int(match[2]))
        for (start, count, end), own in numbers.items():
            if missing := sorted(set(range(int(count))) - own):
                name = f"{start}{missing[0]:0{len(count)}}-of-{count}{end}"
                raise GlossaeError(
                    f"{path_text(self.path)}: lacks {len(missing)} of {int(count)} files, the first of them "
                    f"{short_repr(name, 80)}: fetch them, or rename the others"
                )
        return found

    def parts(self) -> list[str]:
        """The names of the files, of a folder with its name before them."""
        return [f"{self.name}/{path.name}" if self.path.is_dir() else path.name for path in self.files()]

    def identity(self) -> Any:
        """Names, sizes, and the hashes of files up to 16 MiB, of larger ones the times of their last change."""
        return [self.column, *(_fact(path) for path in self.files())]

    def texts(self) -> Iterator[tuple[int, str]]:
        """The raw documents, each with the number of its file."""
        for number, path in enumerate(self.files()):
            for text in _texts_of(path, self.column):
                yield number, text


def _fact(path: Path) -> Any:
    with _opened(path):
        stat = path.stat()
        content = file_sha256(path) if stat.st_size <= _HASHED else stat.st_mtime_ns
    return [path.name, stat.st_size, content]


@dataclass(frozen=True)
class _Hub:
    """A split of a data set on the hub."""

    data: HubDataSet

    @property
    def name(self) -> str:
        return self.data.name

    def identity(self) -> Any:
        """The commit, which holds for every file."""
        about = self.data.fetch((), no_progress)
        own = {key: about[key] for key in ("repository", "commit", "config", "split")}
        return {**own, "column": self.data.columns.text}

    def parts(self) -> list[str]:
        """The data set counts as one file."""
        return [self.name]

    def texts(self) -> Iterator[tuple[int, str]]:
        """The raw documents, each with the number of its file."""
        for number, row in enumerate(streamed_rows(self.data), 1):
            yield 0, _text_in(row, self.data.columns.text, f"{self.name}, row {number}")


@dataclass(frozen=True)
class TextStream:
    """Sources of text that are read together, document by document, from their beginning to their end.

    Attributes:
        said: as the recipe has it.
    """

    said: str
    sources: tuple[_Files | _Hub, ...]

    @property
    def names(self) -> list[str]:
        """Short names of the sources."""
        return [source.name for source in self.sources]

    def sizes(self) -> dict[str, int | None]:
        """The bytes of each source by its words in the recipe; None for one on the hub.

        Raises:
            GlossaeError: a file is missing, or is of no kind that is read.
        """
        words = split_sources(self.said)
        return {
            word: sum(path.stat().st_size for path in source.files()) if isinstance(source, _Files) else None
            for word, source in zip(words, self.sources, strict=True)
        }

    @cached_property
    def files(self) -> list[str]:
        """The names of all files, source by source; of two with the same name, the second says its source.

        Raises:
            GlossaeError: a file is missing, or is of no kind that is read.
        """
        found: dict[str, None] = {}
        for number, source in enumerate(self.sources, 1):
            for name in source.parts():
                found[f"{name} (source {number})" if name in found else name] = None
        return list(found)

    def check(self) -> None:
        """Read the first text of every file, so that one of another form is found early; the hub is not asked.

        Raises:
            GlossaeError: a file is missing, or cannot be read; the line names it.
        """
        for source in self.sources:
            if isinstance(source, _Files):
                for path in source.files():
                    next(_texts_of(path, source.column), None)

    @cached_property
    def identity(self) -> Any:
        """What `look` found when it was first asked for."""
        return self.look()

    def look(self) -> Any:
        """A JSON value that is another one for other text: names, sizes and hashes or times, or a commit of the hub.

        Raises:
            GlossaeError: a file is missing, or the hub cannot be asked.
        """
        return [source.identity() for source in self.sources]

    def documents(self, places: Sequence[Taken] = ()) -> Iterator[Document]:
        """Yield the documents that have text, after those that `places` counts, which are read and passed over.

        The next document is of the source of which the fewest characters have come, so that sources are mixed in
        equal shares; where one ends, the others go on.

        Args:
            places: how far each source has been read; none: from the beginning.

        Raises:
            GlossaeError: a source cannot be read; the line names the file and the line or row.
        """
        at = list(places) or [Taken(0, 0)] * len(self.sources)
        counts = [len(source.parts()) for source in self.sources]
        first = [sum(counts[:number]) for number in range(len(counts))]
        texts = {
            number: islice(source.texts(), place.documents, None)
            for number, (source, place) in enumerate(zip(self.sources, at, strict=True))
        }
        while texts:
            number = min(texts, key=lambda each: at[each].characters)
            found = next(texts[number], None)
            if found is None:
                del texts[number]
                continue
            file, raw = found
            text, ends, keys = _sentences(raw.split("\n"))
            at[number] = Taken(at[number].documents + 1, at[number].characters + len(text))
            if text:
                yield Document(number, first[number] + file, at[number], text, ends, keys)


def parse_stream(said: str) -> TextStream:
    """Parse the sources of a stream, separated by blanks: `PATH[,text=COLUMN]`, or a data set on the hub.

    Raises:
        GlossaeError: the form is unknown. Only reading finds out whether a file exists.
    """
    return TextStream(said, tuple(map(_parse, split_sources(said))))


def _parse(word: str) -> _Files | _Hub:
    if word.startswith(_HUB):
        data = parse_hub(word)
        named = data.columns
        if named.label or named.pair or named.doc or named.languages or named.labels:
            raise GlossaeError(
                f"{short_repr(word, 200)}: a stream has no languages, labels or pairs: name config, split and text only"
            )
        return _Hub(data)
    match = _COLUMN.fullmatch(word)
    path, column = (path_named(match[1]), match[2]) if match else (path_named(word), None)
    if not path.is_dir() and _kind(path) is None:
        known = path.exists() or path.suffix
        what = "is no stream of text that is understood" if known else "there is no such file or folder"
        raise GlossaeError(f"{short_repr(word, 200)}: {what}: give {_FORMS}")
    return _Files(path, column)


def _kind(path: Path) -> str | None:
    """The suffix that says how a file is read; None for others."""
    name = path.name.lower()
    packed = next((end for end in _PACKED if name.endswith(end)), "")
    kind = Path(name.removesuffix(packed)).suffix
    return kind if kind in _READ and not (packed and kind == ".parquet") else None


def _texts_of(path: Path, column: str | None) -> Iterator[str]:
    """The raw documents of a file."""
    match _kind(path):
        case ".parquet":
            yield from _cells(path, column)
        case ".txt":
            if column is not None:
                raise GlossaeError(f"{path_text(path)}: is a .txt, which has no column {short_repr(column)}")
            yield from _lines(path)
        case _:
            for record in json_records(_lines(path), path_text(path)):
                yield _text_in(record.fields, column, record.where)


def _opened(path: Path) -> AbstractContextManager[BufferedReader]:
    return open_file(path, packed=path.suffix.lower() in _PACKED)


@contextmanager
def _unpacked(path: Path) -> Iterator[BufferedIOBase]:
    """Open a file, which is unpacked while it is read if its name says so."""
    with _opened(path) as file:
        match path.suffix.lower():
            case ".gz":
                with gzip.GzipFile(fileobj=file) as plain:
                    yield plain
            case ".zst":
                import pyarrow

                with pyarrow.CompressedInputStream(file, "zstd") as plain:
                    yield cast(BufferedIOBase, BufferedReader(plain))
            case _:
                yield file


def _lines(path: Path) -> Iterator[str]:
    number = 0
    with _unpacked(path) as file:
        try:
            for line in lines_of(file, path_text(path)):
                number += 1
                yield line
        except (EOFError, OSError, zlib.error) as error:
            raise _broken(f"{path_text(path)}, line {number + 1}", error) from error


def _cells(path: Path, column: str | None) -> Iterator[str]:
    """The texts of a column of a Parquet file, a few rows at a time."""
    import pyarrow
    from pyarrow import parquet

    number = 0
    with open_file(path) as file:
        try:
            # without a buffer of a size, whole row groups are read at once
            table = parquet.ParquetFile(file, buffer_size=2**20, pre_buffer=False)
            schema = table.schema_arrow
            where = path_text(path)
            name = _column(dict.fromkeys(schema.names), column, where)
            kind = schema.field(name).type
            kind = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
            if not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)):
                raise GlossaeError(
                    f"{where}: its column {short_repr(name)} holds no text (but {one_line(str(kind))})"
                )
            for batch in table.iter_batches(_ROWS, columns=[name]):
                for cell in batch.column(0):
                    text: str | None = cell.as_py()
                    number += 1
                    yield text or ""
        except (OSError, pyarrow.ArrowException, UnicodeDecodeError) as error:
            raise _broken(f"{path_text(path)}, row {number + 1}", error) from error


def _broken(where: str, error: BaseException) -> GlossaeError:
    # it may quote the file's bytes
    reason = one_line((str(error) or type(error).__name__).splitlines()[0])
    return GlossaeError(f"{where}: is broken or cut short ({reason}): fetch or copy the file again")


def _text_in(fields: Mapping[str, Any], column: str | None, where: str) -> str:
    name = _column(fields, column, where)
    value = fields[name]
    if value is not None and not isinstance(value, str):
        raise GlossaeError(f"{where}: {short_repr(name)} is {short_repr(value)}, and has to be text")
    return value or ""


def _column(fields: Mapping[str, Any], column: str | None, where: str) -> str:
    """The column of the text: the one that is named, or `text` or `sentence`."""
    found = next((name for name in ((column,) if column else TEXT_NAMES) if name in fields), None)
    if found is None:
        wanted = short_repr(column) if column else " or ".join(TEXT_NAMES)
        there = name_list([short_repr(name) for name in fields]) or "nothing"
        raise GlossaeError(
            f"{where}: has no column {wanted}, but {there}: name the column of the text, as in ,text=COLUMN"
        )
    return found
