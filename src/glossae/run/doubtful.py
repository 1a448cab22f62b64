"""Sentences that could be in either of two languages, pair of languages by pair."""

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from glossae.text import Corpus, Sentence, ambiguous, build_lexicons


@dataclass(frozen=True)
class Doubtful:
    """Two languages, and the sentences of both whose words are all in the word lists of both.

    Attributes:
        languages: the two.
        found: how many sentences each has.
        marked: the doubtful ones of both.
    """

    languages: tuple[str, str]
    found: tuple[int, int]
    marked: frozenset[Sentence]

    def as_row(self) -> dict[str, Any]:
        """The counts, for `results.json`."""
        marked = Counter(sentence.language for sentence in self.marked)
        return {
            "languages": list(self.languages),
            "sentences": dict(zip(self.languages, self.found, strict=True)),
            "doubtful": {language: marked[language] for language in self.languages},
        }


def doubtful_pairs(corpus: Corpus) -> list[Doubtful]:
    """Every pair of languages of a corpus, by word lists that are built from it."""
    lexicons = build_lexicons(corpus)
    sizes = {language: len(corpus.only(language)) for language in corpus.languages}
    found = []
    for one, other in combinations(corpus.languages, 2):
        mask = ambiguous(corpus, one, other, lexicons)
        marked = frozenset(s for s, doubtful in zip(corpus.sentences, mask, strict=True) if doubtful)
        found.append(Doubtful((one, other), (sizes[one], sizes[other]), marked))
    return found
