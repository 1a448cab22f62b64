"""Clean the sentences of a text, and find sentences that could be in either of two close languages."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import blake2b
from importlib import resources
from itertools import combinations

from glossae.corpora.corpus import Corpus, Pair, Sentence
from glossae.errors import GlossaeError
from glossae.languages import counted_as

_MAX_CHARACTERS = 2_000

# scripts whose letters change shape beside a joiner: Arabic to Sinhala, of South-East Asia, Mongolian, Adlam. There
# the joiners (U+200C, U+200D) and Mongolian's vowel separator belong to the spelling, and U+200D also to emoji
_SHAPED = "\u0600-\u0dff\u1000-\u109f\u1700-\u18af\u1a00-\u1b7f\ua800-\uaaff\ufb50-\ufdff\ufe70-\ufefc"
_SHAPED += "\U00010a00-\U00011fff\U0001e900-\U0001e95f"
_EMOJI = "\u2600-\u27bf\ufe0f\U0001f000-\U0001faff"
# invisible to readers, but tokenizers see them, and texts that differ in them are the same text: soft hyphen,
# combining grapheme joiner, zero-width space, word joiner, byte order mark, direction marks, Hangul fillers,
# joiners where they shape nothing, and tags (U+E0001 to U+E007F) outside of a flag. Variation selectors stay
_FILLERS = ("\u034f", "\u3164", "\uffa0")
_INVISIBLE = re.compile(
    f"[{''.join(_FILLERS)}\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
    # between two letters that it parts, once
    f"|(?<![{_SHAPED}\u200c])[\u180e\u200c]|[\u180e\u200c](?![{_SHAPED}])"
    # beside a letter that it joins, or between two emoji
    f"|(?<![{_SHAPED}])(?!(?<=[{_EMOJI}])\u200d[\u2190-\u2bff{_EMOJI}])\u200d(?![{_SHAPED}])"
    "|(?<![\U0001f3f4\U000e0020-\U000e007e])[\U000e0001-\U000e007f]+"
)
# control characters, and the surrogates that UTF-8 cannot hold
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

# Parliamentary records put the speaker's language before the speech, such as `(DE)`, which gives a language
# away without a word of it. These are the official languages of the EU, as Europarl prints their codes. A
# marker stands at the start, after the end of a sentence, or after a dash: `in writing. - (FR) The draft`.
# Elsewhere it is an ordinary parenthesis: `Domstolsadministrasjonen (DA) i Trondheim`. The regex is
# possessive: it matches a run of markers or nothing
_CODES = "BG|CS|DA|DE|EL|EN|ES|ET|FI|FR|GA|HR|HU|IT|LT|LV|MT|NL|PL|PT|RO|SK|SL|SV"
_MARKERS = re.compile(rf"(?:^|(?<=[.!?…–—-] ))(?:\((?:{_CODES})\)(?: (?:[-–—] )?)?+)++")
# what follows a marker starts a sentence; after one of these the parenthesis is part of a running one
_RUNNING_ON = frozenset(",.;:!?)]}/-–—%&")

# letters, also with an apostrophe or a hyphen between them: `it's`, `e-mail`
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
# two languages that share more than this share of their sentences are one text given twice
_SAME_TEXT = 0.5
# below this number of different texts the check is skipped: close languages share many of their shortest
# sentences
_LEAST_COMPARED = 20


@dataclass
class Tally:
    """Counts of the sentences of one source in one language: read, dropped, changed, moved.

    `read` is the sum of those kept, those in `dropped` and those in `moved`.

    Attributes:
        read: how many were read.
        dropped: how many were dropped, by reason.
        changed: how many were repaired, by kind of repair; a sentence may count under several.
        moved: how many were moved to another role, by role.
    """

    read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    moved: Counter[str] = field(default_factory=Counter)


def clean_text(text: str) -> str:
    """Return `text` in Unicode's NFC form, with single spaces, without invisible characters and language markers.

    Only an official EU language code in capitals and parentheses is a language marker, and only where a
    sentence can
    start: at the beginning, after the end of a sentence or after a dash; and before a capital, a digit, an
    opening mark or the end of the text. The dash after it is removed with it. Cleaning twice changes nothing.
    """
    return _mend(text, Counter())


def _mend(raw: str, changed: Counter[str]) -> str:
    text = raw
    # most text is printable and has no filler; these checks are cheaper than the regex
    plain = raw.isprintable() and not any(filler in raw for filler in _FILLERS)
    if not plain and _INVISIBLE.search(raw):
        # before NFC, because one may stand between a letter and its accent
        text = _INVISIBLE.sub("", raw)
        changed["invisible"] += 1
    if not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
        changed["nfc"] += 1
    if text is not raw:
        text = _seen(text)
    squeezed = _squeeze(text)
    if squeezed != text:
        changed["whitespace"] += 1
        text = squeezed
    # most text has no parenthesis, and this search is cheaper than the regex
    unmarked = _MARKERS.sub(_kept, text).strip() if "(" in text else text
    if unmarked != text:
        changed["language_marker"] += 1
        return unmarked
    # return the string that was read, so that an unchanged one is not held twice
    return text


def _seen(text: str) -> str:
    """`text` in NFC without what is invisible; one step may make work for the other."""
    while (seen := unicodedata.normalize("NFC", _INVISIBLE.sub("", text))) != text:
        text = seen
    return text


def _squeeze(text: str) -> str:
    """Strip `text`, and replace every inner run of blanks and control characters by one space."""
    # most text is printable and has none of them; this check is cheaper than the regex
    if not text.isprintable():
        text = _UNPRINTABLE.sub(" ", text)
    return " ".join(text.split())


def _kept(match: re.Match[str]) -> str:
    following = match.string[match.end() : match.end() + 1]
    return match[0] if following.islower() or following in _RUNNING_ON else ""


def clean(
    pairs: Iterable[Pair], source: str, languages: Sequence[str], earlier: Mapping[str, set[str]]
) -> tuple[list[Sentence], dict[str, Tally]]:
    """Return the cleaned sentences of `pairs` in their order, and a tally for each language that occurs.

    Dropped are sentences in a language outside `languages` (`other_language`), empty ones (`empty`), those
    over 2,000 characters (`too_long`), and repetitions of a text in the same language (`duplicate`). Of equal
    sentences in different pairs, the one with the smallest pair id is kept, so that the order of the file
    plays no part.

    Args:
        pairs: raw text.
        source: the source name of the sentences.
        languages: the wanted language codes; for `no`, text in `nb` and `nn` counts as well.
        earlier: texts by language that count as already read, so that a repetition of one is a duplicate.
    """
    tallies: dict[str, Tally] = {}
    candidates: list[Sentence] = []
    smallest: dict[str, dict[str, str]] = {language: {} for language in languages}
    counted = counted_as(languages)
    for pair in pairs:
        kept, docs = [], []
        for place, (language, raw) in enumerate(pair.texts):
            language = counted.get(language, language)
            tally = tallies.get(language)
            if tally is None:
                tally = tallies[language] = Tally()
            tally.read += 1
            if language not in smallest:
                tally.dropped["other_language"] += 1
                continue
            text = _mend(raw, tally.changed)
            if not text:
                tally.dropped["empty"] += 1
            elif len(text) > _MAX_CHARACTERS:
                tally.dropped["too_long"] += 1
            else:
                kept.append((language, text))
                doc = _squeeze(pair.docs[place]) if pair.docs else ""
                # the same document number in two sources is not the same document
                docs.append(f"{source} {doc}" if doc else "")
        if kept:
            identity = pair.id or _pair_id(kept)
            for (language, text), doc in zip(kept, docs, strict=True):
                candidates.append(Sentence(text, language, identity, source, doc))
                best = smallest[language].get(text)
                if best is None or identity < best:
                    smallest[language][text] = identity

    sentences = []
    for sentence in candidates:
        owners = smallest[sentence.language]
        repeated = sentence.text in earlier.get(sentence.language, ())
        if not repeated and owners.get(sentence.text) == sentence.pair:
            # the empty id matches no pair, so that a repetition inside the pair is a duplicate too
            owners[sentence.text] = ""
            sentences.append(sentence)
        else:
            tallies[sentence.language].dropped["duplicate"] += 1
    return sentences, tallies


def _pair_id(texts: Iterable[tuple[str, str]]) -> str:
    """The id of a pair of cleaned (language, text): a hash, so that the order of the file plays no part."""
    # control characters cannot occur in cleaned text, so different pairs never join to the same string
    joined = "\x1e".join(sorted([f"{language}\x1f{text}" for language, text in texts]))
    return blake2b(joined.encode(), digest_size=8).hexdigest()


def words_of(text: str) -> list[str]:
    """The words of a text in lower case: runs of letters, joined by apostrophes and hyphens, without numbers."""
    return _WORD.findall(text.lower())


def build_lexicons(corpus: Corpus, *, at_least: int = 2) -> dict[str, frozenset[str]]:
    """The lower-case words of each language that occur in at least `at_least` of its sentences.

    A word in a single sentence may be a name, a slip or a quotation.
    """
    counts: dict[str, Counter[str]] = {language: Counter() for language in corpus.languages}
    for sentence in corpus.sentences:
        counts[sentence.language].update(set(words_of(sentence.text)))
    return {
        language: frozenset(word for word, number in count.items() if number >= at_least)
        for language, count in counts.items()
    }


@cache
def telltale_words() -> dict[tuple[str, str], tuple[frozenset[str], frozenset[str]]]:
    """By (language, other): lower-case words and letters that occur in the first language and not in the other."""
    text = (resources.files("glossae") / "corpora" / "telltales.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    return {
        (language, other): (frozenset(words.split()), frozenset(letters.split()))
        for language, other, words, letters in rows
    }


def ambiguous(corpus: Corpus, first: str, second: str, lexicons: Mapping[str, frozenset[str]]) -> list[bool]:
    """Mark the sentences in `first` or `second` that could be in either: both lexicons have every word.

    Danish and Bokmål share whole sentences, which no model can tell apart (SLIDE, arXiv 2502.06692, gives such
    a sentence both labels). A text that the corpus has in both languages is ambiguous, and so is one without a
    word. A telltale word of one language never counts as a word of the other, whatever its lexicon says.
    Sentences in other languages are not ambiguous.

    Only words are compared, not grammar; a word that the smaller text happens to lack makes a sentence
    unambiguous.

    Args:
        lexicons: the words of each language, from `build_lexicons`.

    Returns:
        One truth value per sentence, in order.
    """
    shared = lexicons[first] & lexicons[second]
    for pair in ((first, second), (second, first)):
        words, letters = telltale_words().get(pair, (frozenset(), frozenset()))
        shared = frozenset(word for word in shared - words if letters.isdisjoint(word))
    texts = [{s.text for s in corpus.only(language).sentences} for language in (first, second)]
    twice = texts[0] & texts[1]
    return [
        sentence.language in (first, second)
        and (sentence.text in twice or shared.issuperset(words_of(sentence.text)))
        for sentence in corpus.sentences
    ]


def count_ambiguous(corpus: Corpus, mask: Sequence[bool]) -> dict[str, int]:
    """Count the sentences of each language of the corpus that a mask marks, 0 included."""
    counts = Counter(s.language for s, marked in zip(corpus.sentences, mask, strict=True) if marked)
    return {language: counts[language] for language in corpus.languages}


def identical_texts(corpus: Corpus) -> list[tuple[str, tuple[str, ...]]]:
    """The texts that occur in more than one language, with those languages, both sorted."""
    languages: dict[str, set[str]] = defaultdict(set)
    for sentence in corpus.sentences:
        languages[sentence.text].add(sentence.language)
    return sorted((text, tuple(sorted(codes))) for text, codes in languages.items() if len(codes) > 1)


def refuse_one_text_as_two_languages(corpus: Corpus) -> None:
    """Refuse a corpus in which two languages have the same text.

    The share is the part of the smaller language's different texts that the larger one has too. Close
    languages share short sentences; a copied file shares nearly all.

    Raises:
        GlossaeError: two languages of a source, or of all sources pooled, share more than half, and the
            smaller has at least 20 different texts.
    """
    named = [(source, corpus.of_source(source)) for source in corpus.sources]
    for name, part in [*named, (" and ".join(corpus.sources), corpus)]:
        texts = {language: {s.text for s in part.only(language).sentences} for language in part.languages}
        for (first, ours), (second, theirs) in combinations(texts.items(), 2):
            common, smaller = len(ours & theirs), min(len(ours), len(theirs))
            if smaller >= _LEAST_COMPARED and common > _SAME_TEXT * smaller:
                raise GlossaeError(
                    f"{name}: {common} of {smaller} sentences in {first} and {second} are the same: one text was "
                    f"given for two languages; name the right file for each"
                )
