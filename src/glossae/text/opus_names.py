"""Why OPUS does not have an archive, and what it has instead."""

import difflib
import json
import os
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode

from glossae.text.lines import shown
from glossae.text.web import checked_address, open_url

_API = "GLOSSAE_OPUS_API", "https://opus.nlpl.eu/opusapi/"
_TIMEOUT = 15.0
_MAX_BYTES = 2**24
_LISTED = 12
# asked only where OPUS's own list cannot be reached: some of its larger and better known corpora
_KNOWN = (
    *("Books", "bible-uedin", "CCAligned", "CCMatrix", "DGT", "ECB", "ELRC_2923", "EMEA", "EUbookshop"),
    *("Europarl", "GlobalVoices", "GNOME", "JRC-Acquis", "KDE4", "MultiCCAligned", "NeuLab-TedTalks", "NLLB"),
    *(
        "OpenSubtitles",
        "ParaCrawl",
        "QED",
        "Tatoeba",
        "TED2020",
        "TildeMODEL",
        "Ubuntu",
        "WikiMatrix",
        "XLEnt",
    ),
)


def why_missing(corpus: str, version: str, pair: tuple[str, str]) -> str:
    """What is wrong with a name, a version or a pair that OPUS does not have, in a few words."""
    names = _names()
    if names is None:
        near = _nearest(corpus, _KNOWN)
        return f"OPUS has no such corpus, version or pair, and its list of corpora cannot be reached{near}"
    if corpus not in names:
        return f"OPUS has no corpus {corpus}{_nearest(corpus, names) or ': https://opus.nlpl.eu lists all'}"
    archives = _archives(corpus)
    if not archives:
        return f"OPUS has the corpus {corpus}, but not this version or this pair of languages"
    versions = sorted({row["version"] for row in archives if {row["source"], row["target"]} == set(pair)})
    if version in versions:
        return "OPUS lists it, but does not give it out"
    if versions:
        return f"OPUS has no version {shown(version)} of this pair: there are {_listed(versions)}"
    wanted = [
        {row["source"], row["target"]} - {code} for row in archives for code in pair if code in row.values()
    ]
    partners = sorted({code for others in wanted for code in others} - set(pair))
    if partners:
        return f"OPUS does not have the pair {'-'.join(pair)} of it: with one of the two there are {_listed(partners)}"
    languages = sorted({row[side] for row in archives for side in ("source", "target")})
    return f"OPUS has it in neither of {' and '.join(pair)}, but in {_listed(languages)}"


def _nearest(corpus: str, names: tuple[str, ...]) -> str:
    by_lower = {name.lower(): name for name in names}
    near = difflib.get_close_matches(corpus.lower(), by_lower, n=3)
    return f": did you mean {' or '.join(by_lower[name] for name in near)}?" if near else ""


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _names() -> tuple[str, ...] | None:
    found = _asked(corpora="True")
    return None if found is None else tuple(name for name in found if _is_word(name))


def _archives(corpus: str) -> list[dict[str, str]] | None:
    """Source, target and version of every Moses archive of a corpus."""
    found = _asked(corpus=corpus, preprocessing="moses")
    if found is None:
        return None
    keys = ("source", "target", "version")
    rows = [row for row in found if isinstance(row, dict) and all(_is_word(row.get(key)) for key in keys)]
    return [{key: row[key] for key in keys} for row in rows]


def _is_word(value: object) -> bool:
    """Whether a server's word fits into a message."""
    return isinstance(value, str) and value.isprintable() and 0 < len(value) < 100


def _asked(**query: str) -> list[Any] | None:
    """The list that OPUS's API answers with; None if it does not."""
    try:
        address = checked_address(os.environ.get(_API[0]) or _API[1], _API[0])
        with open_url(f"{address}/?{urlencode(query)}", timeout=_TIMEOUT) as response:
            answer = json.loads(response.read(_MAX_BYTES))["corpora"]
    except HTTPError as error:
        # it is the response too, and has to be closed
        error.close()
        return None
    except (OSError, HTTPException, ValueError, TypeError, KeyError, RecursionError):
        return None
    return answer if isinstance(answer, list) else None
