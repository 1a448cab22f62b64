"""Corpora of OPUS (https://opus.nlpl.eu) by name: their Moses archives, fetched once and read as they are."""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from glossae.environment import cache_folder
from glossae.errors import GlossaeError
from glossae.text.download import DownloadError
from glossae.text.keeping import Kept, Progress, kept, silent
from glossae.text.lines import named, shown
from glossae.text.opus_names import why_missing
from glossae.text.readers import Pair, read_aligned
from glossae.text.sources import Source
from glossae.text.web import checked_address
from glossae.text.zipped import zip_texts

PREFIX = "opus:"
_BASE = "GLOSSAE_OPUS_BASE", "https://object.pouta.csc.fi"
_VERSION = "v1"
_NAMES = re.compile(r"([A-Za-z0-9][\w.+-]*)(?:@([A-Za-z0-9][\w.+-]*))?", re.ASCII)
_MISSING = (403, 404, 410)


@dataclass(frozen=True)
class Opus(Source):
    """A corpus of OPUS, in the target and the reference language of the run.

    Attributes:
        corpus: its name there, such as `NeuLab-TedTalks`.
        version: of the corpus, such as `v1`.
    """

    corpus: str
    version: str = _VERSION

    @staticmethod
    def named(text: str) -> "Opus":
        """The corpus that `opus:NAME` or `opus:NAME@VERSION` names.

        Raises:
            GlossaeError: it names none.
        """
        names = _NAMES.fullmatch(text.removeprefix(PREFIX))
        if names is None:
            raise GlossaeError(
                f"{shown(text, 200)}: names no corpus: write opus:NAME or opus:NAME@VERSION, as in opus:ELRC_2923"
            )
        return Opus(names[1], names[2] or _VERSION)

    @property
    def name(self) -> str:
        """The short name for tables: as it is written, without the usual version."""
        return f"{PREFIX}{self.corpus}" + ("" if self.version == _VERSION else f"@{self.version}")

    def archive(self, languages: Sequence[str]) -> Path:
        """Where the archive is kept, whether or not it is there yet."""
        return cache_folder() / "opus" / self.corpus / self.version / f"{'-'.join(_pair(languages))}.txt.zip"

    def fetch(self, languages: Sequence[str], progress: Progress) -> dict[str, Any]:
        """Fetch the archive if it is not there; gives its address, size and SHA-256."""
        return asdict(self._kept(languages, progress))

    def read(self, languages: Sequence[str], _seed: int) -> Iterator[Pair]:
        """The pairs, straight out of the archive."""
        self._kept(languages, silent)
        path = self.archive(languages)
        with zip_texts(path, named(path), _endings(languages)) as texts:
            yield from read_aligned(dict(zip(_pair(languages), texts, strict=True)))

    def _kept(self, languages: Sequence[str], progress: Progress) -> Kept:
        """The archive's record.

        Raises:
            GlossaeError: it cannot be had, or is no archive of this corpus.
        """
        if len(languages) < 2:
            raise GlossaeError(f"{self.name}: is a corpus of pairs: give a target and a reference language")

        def check(file: Path, name: str) -> None:
            with zip_texts(file, name, _endings(languages)):
                pass

        path = self.archive(languages)
        base = checked_address(os.environ.get(_BASE[0]) or _BASE[1], _BASE[0])
        url = f"{base}/OPUS-{self.corpus}/{self.version}/moses/{path.name}"
        try:
            return kept(url, path, check=check, refusal=_refusal, progress=progress)
        except DownloadError as error:
            if error.status in _MISSING:
                why = why_missing(self.corpus, self.version, _pair(languages))
                raise GlossaeError(f"{self.name}: {error}: {why}") from error
            if not error.reached:
                first, second = languages[:2]
                raise GlossaeError(
                    f"{self.name}: {error}: fetch it elsewhere and put it at {named(path)}, "
                    f"or give files, {first}=FILE,{second}=FILE"
                ) from error
            raise GlossaeError(f"{self.name}: {error}") from error


def _pair(languages: Sequence[str]) -> tuple[str, str]:
    """The target and the reference in the order in which OPUS names them."""
    first, second = sorted(languages[:2])
    return first, second


def _endings(languages: Sequence[str]) -> list[str]:
    pair = _pair(languages)
    return [f".{'-'.join(pair)}.{code}" for code in pair]


def _refusal(head: bytes) -> str | None:
    """Why a file that begins with `head` is no zip archive; None if it may be one."""
    if head.startswith(b"PK"):
        return None
    if not head:
        return "is empty there"
    page = b"<html" in head.lower() or b"<!doctype html" in head.lower()
    what = "a web page, perhaps a network's login" if page else shown(head[:40].decode("latin-1"))
    return f"a zip archive should come from there, and what comes is {what}; nothing of it is kept"
