"""Word lists of languages, built from text, with what is known to tell two close languages apart."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

from glossae.errors import GlossaeError
from glossae.text.sentences import Corpus

# letters, also with an apostrophe or a hyphen between them: `it's`, `e-mail`
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")


@dataclass(frozen=True)
class Lexicon:
    """The words of a language.

    Attributes:
        language: its code.
        words: in lower case.
    """

    language: str
    words: frozenset[str]


@dataclass(frozen=True)
class Telltale:
    """What one language has and another has not, whatever a text in the other quotes.

    Attributes:
        words: in lower case.
        letters: in lower case.
    """

    words: frozenset[str] = frozenset()
    letters: frozenset[str] = frozenset()

    def marks(self, word: str) -> bool:
        """Whether a lower-case word is a tell-tale one."""
        return word in self.words or not self.letters.isdisjoint(word)


def words_of(text: str) -> list[str]:
    """The words of a text in lower case: runs of letters, joined by apostrophes and hyphens; no numbers."""
    return _WORD.findall(text.lower())


def build_lexicons(
    corpus: Corpus, languages: Iterable[str] | None = None, *, at_least: int = 2
) -> dict[str, Lexicon]:
    """The word lists of the languages of a corpus: every word that stands in `at_least` sentences.

    A word in a single sentence may be a name, a slip or a quotation.

    Args:
        languages: the codes wanted; those of the corpus if None.

    Raises:
        GlossaeError: the corpus has no sentence in one of them.
    """
    counts: dict[str, Counter[str]] = {
        language: Counter() for language in (corpus.languages if languages is None else languages)
    }
    for sentence in corpus.sentences:
        if (count := counts.get(sentence.language)) is not None:
            count.update(set(words_of(sentence.text)))
    for language in counts:
        if language not in corpus.languages:
            raise GlossaeError(f"no sentence in {language} to take its words from: give text in {language}")
    return {
        language: Lexicon(language, frozenset(word for word, number in count.items() if number >= at_least))
        for language, count in counts.items()
    }


def telltale(language: str, other: str) -> Telltale:
    """What is known to stand in `language` and not in `other`; nothing for most pairs of languages."""
    return _telltales().get((language, other), Telltale())


@cache
def _telltales() -> dict[tuple[str, str], Telltale]:
    text = (resources.files("glossae") / "text" / "telltales.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    return {
        (language, other): Telltale(frozenset(words.split()), frozenset(letters.split()))
        for language, other, words, letters in rows
    }
