"""Sentences by the number: the same ones in every language, no two alike."""

from collections.abc import Sequence
from itertools import islice
from random import Random

from glossae.corpora import Corpus, Sentence
from glossae.errors import GlossaeError
from toy_grammar.constructions import draw_sentence
from toy_grammar.draw import Draw
from toy_grammar.realise import realise
from toy_grammar.tables import LANGUAGES

MAX_SENTENCES = 1_000_000
"""The most that one call gives; the grammar has many more, but a toy corpus has no use for them."""


def sentences(count: int, seed: int) -> list[dict[str, str]]:
    """Write `count` different sentences, each in every language.

    Args:
        count: how many, 0 to `MAX_SENTENCES`.
        seed: same seed, same sentences; a smaller count gives the first ones of a larger.

    Returns:
        For each sentence, its text by language code. No two are the same in all languages.

    Raises:
        GlossaeError: `count` is out of range.
    """
    if not 0 <= count <= MAX_SENTENCES:
        raise GlossaeError(f"toy: {count} sentences asked for; the grammar gives 0 to {MAX_SENTENCES}")
    draw = Draw(Random(seed))
    # an ordered set: a dictionary keeps the first of equals in its place
    different: dict[tuple[str, ...], None] = {}
    while len(different) < count:
        abstract = draw_sentence(draw)
        different[tuple(realise(abstract, language) for language in LANGUAGES)] = None
    return [dict(zip(LANGUAGES, texts, strict=True)) for texts in different]


def documents(lengths: Sequence[int], seed: int) -> list[dict[str, str]]:
    """Write a document for each of `lengths`: so many different sentences, one after the other, in every language.

    Args:
        lengths: sentences of each document, `MAX_SENTENCES` together at most.
        seed: see `sentences`.

    Returns:
        For each document, its text by language code.

    Raises:
        GlossaeError: there are too many sentences.
    """
    written = iter(sentences(sum(lengths), seed))
    return [
        {language: " ".join(texts[language] for texts in part) for language in LANGUAGES}
        for part in (list(islice(written, length)) for length in lengths)
    ]


def corpus(count: int, seed: int, languages: Sequence[str]) -> Corpus:
    """A corpus of `count` toy sentences in each of `languages`, aligned by pair ids such as `toy:17`.

    Args:
        count: sentences per language.
        seed: see `sentences`.
        languages: codes; the corpus has the sentences of a pair in this order.

    Raises:
        GlossaeError: a language is unknown, or `count` is out of range.
    """
    for language in languages:
        if language not in LANGUAGES:
            raise GlossaeError(f"toy: no language {language!r}; the toy grammar has {', '.join(LANGUAGES)}")
    return Corpus.of(
        Sentence(texts[language], language, f"toy:{number}", "toy")
        for number, texts in enumerate(sentences(count, seed))
        for language in languages
    )
