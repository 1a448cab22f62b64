"""Cleaning: what is mended in a sentence, what is dropped, and the count of both."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from glossae.text.markers import without_markers
from glossae.text.readers import Pair
from glossae.text.sentences import Sentence

MAX_CHARACTERS = 2_000

# soft hyphen, zero-width space, word joiner, byte order mark, marks of direction and of nothing: a reader sees none
# of them, and a tokenizer does. Joiners, which shape letters and emoji, and variation selectors belong to the text
_INVISIBLE = re.compile("[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
# control characters, and the surrogates that UTF-8 cannot hold
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass
class Tally:
    """What became of the sentences of one source in one language.

    `read` is the sum of those kept, those in `dropped` and those in `moved`.

    Attributes:
        read: how many there were.
        dropped: how many were left out, by reason.
        changed: how many were mended, by what was mended; a sentence may count under several.
        moved: how many were cut out for another role, by role.
    """

    read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    moved: Counter[str] = field(default_factory=Counter)

    @property
    def kept(self) -> int:
        """How many are left."""
        return self.read - self.dropped.total() - self.moved.total()


def squeeze(text: str) -> str:
    """`text` without blanks at its ends; every inner run of blanks and control characters one space."""
    # printable text, which most is, has none of them, and finding that out is the cheaper search
    if not text.isprintable():
        text = _UNPRINTABLE.sub(" ", text)
    return " ".join(text.split())


def clean_text(text: str) -> str:
    """`text` in Unicode's NFC form, squeezed, without invisible characters and language markers.

    Cleaning twice changes nothing.
    """
    return without_markers(squeeze(unicodedata.normalize("NFC", _INVISIBLE.sub("", text))))


def clean(
    pairs: Iterable[Pair],
    *,
    source: str,
    languages: Sequence[str],
    max_characters: int = MAX_CHARACTERS,
    earlier: Mapping[str, set[str]] | None = None,
) -> tuple[list[Sentence], dict[str, Tally]]:
    """Clean `pairs` into sentences, in the order they came, and count per language what was done.

    Dropped are sentences in a language that is not wanted (`other_language`), empty ones (`empty`), those
    over `max_characters` (`too_long`), and repetitions of a text in the same language (`duplicate`). Of
    equal sentences in different pairs the one with the smallest pair id stays: whichever comes first in
    the file must not decide.

    Args:
        pairs: raw text.
        source: the name the sentences get.
        languages: the codes wanted.
        max_characters: the longest sentence kept.
        earlier: texts by language that were read before and make any repetition a duplicate.

    Returns:
        The sentences, and a tally per language that occurs.
    """
    tallies: dict[str, Tally] = {}
    candidates: list[Sentence] = []
    smallest: dict[str, dict[str, str]] = {language: {} for language in languages}
    for pair in pairs:
        kept, docs = [], []
        for place, (language, raw) in enumerate(pair.texts):
            tally = tallies.get(language)
            if tally is None:
                tally = tallies[language] = Tally()
            tally.read += 1
            if language not in smallest:
                tally.dropped["other_language"] += 1
                continue
            text = _mend(raw, tally)
            if not text:
                tally.dropped["empty"] += 1
            elif len(text) > max_characters:
                tally.dropped["too_long"] += 1
            else:
                kept.append((language, text))
                docs.append(_document(source, pair.docs[place]) if pair.docs else "")
        if kept:
            identity = pair.id or pair_id(kept)
            for (language, text), doc in zip(kept, docs, strict=True):
                candidates.append(Sentence(text, language, identity, source, doc))
                best = smallest[language].get(text)
                if best is None or identity < best:
                    smallest[language][text] = identity

    sentences = []
    for sentence in candidates:
        owners = smallest[sentence.language]
        repeated = earlier is not None and sentence.text in earlier.get(sentence.language, ())
        if not repeated and owners.get(sentence.text) == sentence.pair:
            # the empty id matches no pair, so that a repetition inside the pair is a duplicate too
            owners[sentence.text] = ""
            sentences.append(sentence)
        else:
            tallies[sentence.language].dropped["duplicate"] += 1
    return sentences, tallies


def _document(source: str, name: str) -> str:
    # the same number in two sources is not the same document
    squeezed = squeeze(name)
    return f"{source} {squeezed}" if squeezed else ""


def _mend(raw: str, tally: Tally) -> str:
    text = raw
    # printable text has none of them; before NFC, because one may stand between a letter and its accent
    if not raw.isprintable() and _INVISIBLE.search(raw):
        text = _INVISIBLE.sub("", raw)
        tally.changed["invisible"] += 1
    if not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
        tally.changed["nfc"] += 1
    squeezed = squeeze(text)
    if squeezed != text:
        tally.changed["whitespace"] += 1
        text = squeezed
    unmarked = without_markers(text)
    if unmarked != text:
        tally.changed["language_marker"] += 1
        return unmarked
    # the string that was read, so that an unchanged one is not held twice
    return text


def pair_id(texts: Iterable[tuple[str, str]]) -> str:
    """The id of a pair of cleaned (language, text): a hash, so that a file's order plays no part."""
    # control characters cannot occur in cleaned text, so different pairs never join to the same string
    joined = "\x1e".join(sorted([f"{language}\x1f{text}" for language, text in texts]))
    return blake2b(joined.encode(), digest_size=8).hexdigest()
