"""Corpora of OPUS (https://opus.nlpl.eu) by name: fetch their Moses archives once, and read them without unpacking."""

import difflib
import json
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from http.client import HTTPException
from io import BufferedReader, RawIOBase
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, cast
from urllib.error import HTTPError
from urllib.parse import urlencode
from zipfile import ZipExtFile, ZipFile, ZipInfo

from glossae.corpora.corpus import Pair, Progress, Source, no_progress
from glossae.corpora.download import DownloadError, FetchedFile, checked_address, fetch_file, open_url
from glossae.corpora.lines import lines_of, name_list, path_text, short_repr
from glossae.corpora.readers import Lines, read_aligned
from glossae.declared import is_bomb
from glossae.environment import cache_folder
from glossae.errors import GlossaeError

PREFIX = "opus:"
_BASE = "GLOSSAE_OPUS_BASE", "https://object.pouta.csc.fi"
_API = "GLOSSAE_OPUS_API", "https://opus.nlpl.eu/opusapi/"
_VERSION = "v1"
_NAMES = re.compile(r"([A-Za-z0-9][\w.+-]*)(?:@([A-Za-z0-9][\w.+-]*))?", re.ASCII)
_MISSING = (403, 404, 410)
# the list of corpora: seconds for a whole answer, and its most bytes
_SECONDS, _MAX_ANSWER = 15.0, 2**24
# OPUS's larger and better known corpora, for suggestions when OPUS's own list cannot be reached
_KNOWN = (
    "Books bible-uedin CCAligned CCMatrix DGT ECB ELRC_2923 EMEA EUbookshop Europarl GlobalVoices GNOME JRC-Acquis "
    "KDE4 MultiCCAligned NeuLab-TedTalks NLLB OpenSubtitles ParaCrawl QED Tatoeba TED2020 TildeMODEL Ubuntu "
    "WikiMatrix XLEnt"
)

# every sentence is held in memory, at several times its size on disk: a larger archive would not fit
_MAX_BYTES = 2**32
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_AGAIN = "where it was kept, delete it to have it fetched again"


def parse_opus(text: str) -> "Opus":
    """Parse `opus:NAME` or `opus:NAME@VERSION`."""
    names = _NAMES.fullmatch(text.removeprefix(PREFIX))
    if names is None:
        raise GlossaeError(
            f"{short_repr(text, 200)}: names no corpus: write opus:NAME or opus:NAME@VERSION, as in opus:ELRC_2923"
        )
    return Opus(names[1], names[2] or _VERSION)


@dataclass(frozen=True)
class Opus(Source):
    """A corpus of OPUS such as `NeuLab-TedTalks` in a version such as `v1`, in the run's first two languages."""

    corpus: str
    version: str

    @property
    def name(self) -> str:
        """The short name for tables: as written, without the default version."""
        return f"{PREFIX}{self.corpus}" + ("" if self.version == _VERSION else f"@{self.version}")

    def archive(self, languages: Sequence[str]) -> Path:
        """The path of the cached archive, which need not exist yet."""
        return cache_folder() / "opus" / self.corpus / self.version / f"{'-'.join(_pair(languages))}.txt.zip"

    def fetch(self, languages: Sequence[str], progress: Progress) -> dict[str, Any]:
        """Fetch the archive unless it is cached; returns its address, size and SHA-256."""
        return asdict(self._fetch_record(languages, progress))

    def read(self, languages: Sequence[str], _seed: int) -> Iterator[Pair]:
        """Yield the pairs, read from the archive."""
        self._fetch_record(languages, no_progress)
        path, pair = self.archive(languages), _pair(languages)
        with _texts(path, path_text(path), pair) as texts:
            yield from read_aligned(dict(zip(pair, texts, strict=True)))

    def _fetch_record(self, languages: Sequence[str], progress: Progress) -> FetchedFile:
        """The record of the archive; raises if it cannot be fetched, or is not an archive of this corpus."""
        if len(languages) < 2:
            raise GlossaeError(f"{self.name}: is a corpus of pairs: give a target and a reference language")
        path, pair = self.archive(languages), _pair(languages)

        def check(file: Path, name: str) -> None:
            with _texts(file, name, pair):
                pass

        base = checked_address(os.environ.get(_BASE[0]) or _BASE[1], _BASE[0])
        url = f"{base}/OPUS-{self.corpus}/{self.version}/moses/{path.name}"
        try:
            return fetch_file(url, path, most=_MAX_BYTES, check=check, refusal=_refusal, progress=progress)
        except DownloadError as error:
            advice = ""
            if error.status in _MISSING:
                advice = f": {_why_missing(self.corpus, self.version, pair)}"
            elif not error.reached:
                first, second = languages[:2]
                files = f"{first}=FILE,{second}=FILE"
                advice = f": fetch it elsewhere and put it at {path_text(path)}, or give files, {files}"
            raise GlossaeError(f"{self.name}: {error}{advice}") from error


def _pair(languages: Sequence[str]) -> tuple[str, str]:
    """The target and the reference in the order that OPUS uses in its names."""
    first, second = sorted(languages[:2])
    return first, second


def _refusal(head: bytes) -> str | None:
    """Why a file that begins with `head` is not a zip archive; None if it may be one."""
    if head.startswith(b"PK"):
        return None
    if not head:
        return "is empty there"
    page = b"<html" in head.lower() or b"<!doctype html" in head.lower()
    what = "a web page, perhaps a network's login" if page else short_repr(head[:40].decode("latin-1"))
    return f"a zip archive should come from there, and what comes is {what}; nothing of it is kept"


@contextmanager
def _texts(path: Path, name: str, pair: tuple[str, str]) -> Iterator[list[Lines]]:
    """The texts of the archive `path` in two languages, read without unpacking; valid only inside the block.

    A damaged archive is refused, and so is one that holds a path that leads out of it, a link, an encrypted
    file or a zip bomb. Damage inside a text shows only when that text is read to its end.
    """
    try:
        with ZipFile(path) as archive, ExitStack() as members:
            for info in archive.infolist():
                parts = PurePosixPath(info.filename.replace("\\", "/"))
                if ".." in parts.parts or parts.is_absolute() or PureWindowsPath(info.filename).anchor:
                    raise _refused_member(name, info, "which leads out of the archive")
                if stat.S_ISLNK(info.external_attr >> 16):
                    raise _refused_member(name, info, "which is a link")
            chosen = [_member(name, archive, f".{'-'.join(pair)}.{code}") for code in pair]
            opened = [cast(ZipExtFile, members.enter_context(archive.open(info))) for info in chosen]
            yield [_lines(name, info, member) for info, member in zip(chosen, opened, strict=True)]
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        # RuntimeError covers NotImplementedError: a feature that this zip module does not support
        raise GlossaeError(
            f"{name}: is no zip archive, or a damaged one ({str(error) or type(error).__name__}); {_AGAIN}"
        ) from error


def _member(name: str, archive: ZipFile, ending: str) -> ZipInfo:
    found = [info for info in archive.infolist() if info.filename.endswith(ending)]
    if len(found) != 1:
        members = ", ".join(short_repr(info.filename) for info in archive.infolist()[:8])
        raise GlossaeError(
            f"{name}: has {len(found)} texts that end in {ending}, and needs one (it holds {members or 'nothing'}); "
            f"{_AGAIN}"
        )
    (info,) = found
    method, size, packed = info.compress_type, info.file_size, info.compress_size
    if info.flag_bits & _ENCRYPTED:
        raise _refused_member(name, info, "which is encrypted")
    if method not in _METHODS:
        raise _refused_member(
            name, info, f"which is compressed by method {method}, neither stored nor deflated"
        )
    if size > _MAX_BYTES:
        raise _refused_member(
            name, info, f"which has {size:,} bytes unpacked, and {_MAX_BYTES:,} are the most"
        )
    if is_bomb(packed, size):
        raise _refused_member(name, info, f"whose {packed:,} bytes unpack to {size:,}")
    return info


def _refused_member(name: str, info: ZipInfo, what: str) -> GlossaeError:
    return GlossaeError(
        f"{name}: holds {short_repr(info.filename, 100)}, {what}: that is no archive of text; {_AGAIN}"
    )


def _lines(name: str, info: ZipInfo, member: ZipExtFile) -> Lines:
    inside = f"{name}/{info.filename if info.filename.isprintable() else short_repr(info.filename, 100)}"

    def read() -> Iterator[tuple[str, str]]:
        # the zip module's own line reader is slow
        stream = BufferedReader(cast(RawIOBase, member), 2**16)
        for line in lines_of(stream, inside):
            yield line, ""
        # the zip module stops at the recorded size, and checks the checksum of what it read
        if member.tell() != info.file_size:
            raise zipfile.BadZipFile(f"{short_repr(info.filename, 100)} is shorter than written down")

    return Lines(inside, read())


def _why_missing(corpus: str, version: str, pair: tuple[str, str]) -> str:
    """What is wrong with a corpus name, version or language pair that OPUS does not have, in a few words."""
    corpora = _api_list(corpora="True")
    if corpora is None:
        near = _nearest(corpus, _KNOWN.split())
        return f"OPUS has no such corpus, version or pair, and its list of corpora cannot be reached{near}"
    names = [name for name in corpora if _is_word(name)]
    if corpus not in names:
        return f"OPUS has no corpus {corpus}{_nearest(corpus, names) or ': https://opus.nlpl.eu lists all'}"
    archives = [
        (row["source"], row["target"], row["version"])
        for row in _api_list(corpus=corpus, preprocessing="moses") or []
        if isinstance(row, dict) and all(_is_word(row.get(key)) for key in ("source", "target", "version"))
    ]
    if not archives:
        return f"OPUS has the corpus {corpus}, but not this version or this pair of languages"
    versions = sorted({number for source, target, number in archives if {source, target} == set(pair)})
    if version in versions:
        return "OPUS lists it, but does not give it out"
    if versions:
        return f"OPUS has no version {short_repr(version)} of this pair: there are {name_list(versions)}"
    partners = {code for row in archives if set(row[:2]) & set(pair) for code in row[:2]} - set(pair)
    if partners:
        some = name_list(sorted(partners))
        return f"OPUS does not have the pair {'-'.join(pair)} of it: with one of the two there are {some}"
    languages = sorted({code for row in archives for code in row[:2]})
    return f"OPUS has it in neither of {' and '.join(pair)}, but in {name_list(languages)}"


def _nearest(corpus: str, names: Iterable[str]) -> str:
    by_lower = {name.lower(): name for name in names}
    near = difflib.get_close_matches(corpus.lower(), by_lower, n=3)
    return f": did you mean {' or '.join(by_lower[name] for name in near)}?" if near else ""


def _is_word(value: object) -> bool:
    """Whether a word from a server is fit for a message."""
    return isinstance(value, str) and value.isprintable() and 0 < len(value) < 100


def _api_list(**query: str) -> list[Any] | None:
    """The list in the answer of OPUS's API; None if there is no answer."""
    try:
        address = checked_address(os.environ.get(_API[0]) or _API[1], _API[0])
        with open_url(f"{address}/?{urlencode(query)}", seconds=_SECONDS) as response:
            answer = json.loads(response.read(_MAX_ANSWER))["corpora"]
    except HTTPError as error:
        # the error is the response too, and has to be closed
        error.close()
        return None
    except (OSError, HTTPException, ValueError, TypeError, KeyError, RecursionError):
        return None
    return answer if isinstance(answer, list) else None
