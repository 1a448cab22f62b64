"""The reader of TMX, the exchange format of translation memories."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from glossae.errors import GlossaeError
from glossae.text.languages import language_code
from glossae.text.lines import named, opened, shown
from glossae.text.readers import Pair

_XML_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_CHUNK = 1 << 16
# elements inside a segment that hold the original format's codes, not text; `hi` and `sub` hold text
_CODES = frozenset({"bpt", "ept", "it", "ph", "ut"})
# TMX has no element for documents. Two properties that tell them are in wide use: DGT-TM's number of the act, and the
# address of the page in what Bitextor makes (ParaCrawl, web crawls of ELRC)
_DOC_PROPERTIES = frozenset({"txt::doc. no.", "source-document"})


class _TmxError(Exception):
    """A mistake in the document; its line is known to the parser alone."""


class _Units:
    """A parser's target that collects the translation units of a document and forgets the rest.

    No tree is built, so memory is bounded by one chunk's units, however large or deeply nested the file.
    """

    def __init__(self) -> None:
        self.units: list[Pair] = []
        self._root: str | None = None
        self._texts: list[tuple[str, str]] = []
        self._docs: list[str] = []
        self._unit_doc = self._doc = ""
        self._language: str | None = None
        self._property: list[str] | None = None
        self._pieces: list[str] | None = None
        # inside a segment: for every open element, whether its text counts
        self._is_text: list[bool] = []

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        name = _local(tag)
        if self._root is None:
            self._root = name
            if name != "tmx":
                raise _TmxError(f"is XML but not TMX (its first element is {shown(name)}): give a TMX file")
        if self._pieces is not None:
            self._is_text.append(name == "sub" or (name not in _CODES and self._is_text[-1]))
        elif name == "tu":
            self._texts, self._docs, self._unit_doc = [], [], ""
        elif name == "prop" and attributes.get("type", "").strip().lower() in _DOC_PROPERTIES:
            self._property = []
        elif name == "tuv":
            self._doc = ""
            written = attributes.get(_XML_LANG) or attributes.get("lang") or ""
            self._language = language_code(written)
            if self._language is None:
                raise _TmxError(
                    f"a tuv's xml:lang is {shown(written)}: write a language code, as in da or en-GB"
                )
        elif name == "seg" and self._language is not None:
            self._pieces = []
            self._is_text = [True]

    def end(self, tag: str) -> None:
        if self._pieces is not None:
            self._is_text.pop()
            if not self._is_text and self._language is not None:
                self._texts.append((self._language, "".join(self._pieces)))
                self._docs.append(self._doc)
                self._pieces = None
        elif _local(tag) == "prop" and self._property is not None:
            told, self._property = "".join(self._property).strip(), None
            # of a sentence that stood in several documents the first counts
            if self._language is None:
                self._unit_doc = self._unit_doc or told
            else:
                self._doc = self._doc or told
        elif _local(tag) == "tuv":
            self._language = None
        elif _local(tag) == "tu" and self._texts:
            docs = tuple(doc or self._unit_doc for doc in self._docs)
            self.units.append(Pair(tuple(self._texts), None, docs if any(docs) else ()))

    def data(self, text: str) -> None:
        if self._pieces is not None and self._is_text[-1]:
            self._pieces.append(text)
        elif self._property is not None:
            self._property.append(text)


def _local(tag: str) -> str:
    return tag.rpartition("}")[2].lower()


def read_tmx(path: Path) -> Iterator[Pair]:
    """Read a TMX file of any size and encoding.

    A DOCTYPE is allowed and never followed. The codes of the original format (`bpt`, `ept`, `it`, `ph`,
    `ut`) are left out of the text; highlighted (`hi`) and sub-flow (`sub`) text is kept. A document
    is told by a `prop` of type `Txt::Doc. No.` (DGT-TM) or `source-document` (Bitextor), of a unit or of one of its
    translations; `tuid` tells none.

    Raises:
        GlossaeError: the file cannot be read, is not well-formed or not TMX, declares an entity, or a
            translation has no language.
    """
    # XML parsing is needed for this format alone, and `import glossae.text` is to stay cheap
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import DefusedXMLParser, ParseError

    units = _Units()
    parser = DefusedXMLParser(target=units)
    try:
        with opened(path) as file:
            while chunk := file.read(_CHUNK):
                parser.feed(chunk)
                yield from units.units
                units.units.clear()
        parser.close()
        yield from units.units
    except ParseError as error:
        line, _ = error.position
        reason = str(error).partition(": line ")[0]
        raise GlossaeError(
            f"{named(path)}, line {line}: is not well-formed XML ({reason}): "
            f"it may be truncated or of another format; fetch it again"
        ) from error
    except DefusedXmlException as error:
        raise GlossaeError(
            f"{named(path)}, line {parser.parser.CurrentLineNumber}: "
            f"declares an XML entity, which is refused: write the text itself in its place"
        ) from error
    except _TmxError as error:
        raise GlossaeError(f"{named(path)}, line {parser.parser.CurrentLineNumber}: {error}") from error
    except (LookupError, ValueError) as error:
        raise GlossaeError(
            f"{named(path)}, line 1: its XML declaration names an encoding that cannot be read "
            f"({shown(str(error))}): convert it to UTF-8"
        ) from error
