"""Source strings: where a text is to come from, in one word."""

import difflib
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path

from glossae.errors import GlossaeError
from glossae.files import path_named
from glossae.text.hub import SCHEME as HUB
from glossae.text.hub_source import parse_hub
from glossae.text.languages import language_code
from glossae.text.lines import shown
from glossae.text.opus import PREFIX as OPUS
from glossae.text.opus import Opus
from glossae.text.sources import Aligned, Columns, Generated, Generator, Records, Source, Tmx, Tsv

_FORMS = (
    "PATH.tsv, PATH.jsonl, PATH.csv, PATH.tmx, cols:en,da,-:PATH, da=PATH, da=PATH,en=PATH, "
    "opus:NAME, hub:OWNER/NAME"
)
_ASSIGNMENT = re.compile(r"([\w-]+)=(.*)", re.DOTALL)
# a comma inside a file's name is not the start of the next file
_NEXT_ASSIGNMENT = re.compile(r",(?=[\w-]+=)")
_PACKED = frozenset({".gz", ".zip", ".bz2", ".xz", ".zst"})


def parse_source(text: str, generators: Mapping[str, Generator] | None = None) -> Source:
    """What `text` names: a file, several, a corpus to be fetched, or one of `generators` by its bare name.

    Raises:
        GlossaeError: it is not a form that is understood. Whether a file exists is found out by reading it.
    """
    generators = generators or {}
    if text in generators:
        return Generated(text, generators[text])
    for prefix, named in _BY_PREFIX.items():
        if text.startswith(prefix):
            return named(text)
    if assignment := _ASSIGNMENT.fullmatch(text):
        return _aligned(text, assignment[1])
    path = path_named(text)
    kind = _BY_SUFFIX.get(path.suffix.lower())
    if kind is None:
        raise GlossaeError(f"{shown(text, 200)}: {_refusal(text, path, generators)}")
    return kind(path)


def _refusal(text: str, path: Path, generators: Mapping[str, Generator]) -> str:
    suffix = path.suffix.lower()
    if path.is_dir():
        return (
            f"is a folder: name a file in it, or write da={text} for a folder of .txt files, each a document"
        )
    if suffix in _PACKED:
        return "is compressed: unpack it and name what comes out"
    if suffix == ".json":
        return "is JSON in one piece: write an object a line into a .jsonl file (jq -c '.[]' does)"
    if suffix == ".conllu":
        return f"does not say its language: write da={text}"
    if suffix == ".txt" or path.is_file():
        return f"does not say its language: write da={text} for a sentence a line, or cols:en,da:{text}"
    near = difflib.get_close_matches(text, list(generators), n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    forms = ", ".join([_FORMS, *generators])
    return f"is not a source that is understood; {hint}sources are: {forms} (quote a path with blanks)"


def _columns(text: str) -> Columns:
    codes, _, path = text.removeprefix("cols:").partition(":")
    if not codes or not path:
        raise GlossaeError(f"{shown(text, 200)}: write cols:CODE,CODE,-:PATH, a code or - for every column")
    columns = tuple(None if code.strip() == "-" else _code(code, text) for code in codes.split(","))
    _refuse_repeated([code for code in columns if code is not None], text)
    return Columns(path_named(path), columns)


def _aligned(text: str, first: str) -> Aligned:
    if language_code(first) is None:
        _code(first, text)
    paths = []
    for part in _NEXT_ASSIGNMENT.split(text):
        written, _, path = part.partition("=")
        if not path:
            raise GlossaeError(f"{shown(text, 200)}: no file after {written}=: write {written}=PATH")
        paths.append((_code(written, text), path_named(path)))
    _refuse_repeated([code for code, _ in paths], text)
    return Aligned(tuple(paths))


def _code(written: str, text: str) -> str:
    code = language_code(written)
    if code is None:
        raise GlossaeError(
            f"{shown(text, 200)}: {shown(written)} is not a language code: "
            f"write two or three letters, as in da"
        )
    return code


def _refuse_repeated(codes: list[str], text: str) -> None:
    if not codes:
        raise GlossaeError(f"{shown(text, 200)}: every column is passed over: name at least one language")
    if len(set(codes)) < len(codes):
        raise GlossaeError(f"{shown(text, 200)}: a language is named twice: name each once")


def split_sources(text: str) -> list[str]:
    """The source strings in a role's string: separated by blanks, a path with blanks in quotes.

    Raises:
        GlossaeError: there is none, one is there twice, or a quote is not closed.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise GlossaeError(
            f"{shown(text, 200)}: a quote is not closed: quote a path with blanks on both sides"
        ) from error
    if not words:
        raise GlossaeError("names no source: give one, such as a PATH.tsv")
    for word in words:
        if words.count(word) > 1:
            raise GlossaeError(f"{shown(word, 200)}: is named twice: name each source once")
    return words


_BY_PREFIX: dict[str, Callable[[str], Source]] = {"cols:": _columns, OPUS: Opus.named, HUB: parse_hub}
_BY_SUFFIX: dict[str, Callable[[Path], Source]] = {
    ".tsv": Tsv,
    ".tmx": Tmx,
    ".jsonl": Records,
    ".csv": Records,
}
