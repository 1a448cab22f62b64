"""The realiser of each language."""

from functools import cache

from toy_grammar.abstract import Sentence
from toy_grammar.english import English
from toy_grammar.german import German
from toy_grammar.realiser import Realiser
from toy_grammar.scandinavian import Bokmal, Danish, Swedish
from toy_grammar.words import Word, text_of

_REALISERS: dict[str, type[Realiser]] = {
    "da": Danish,
    "de": German,
    "en": English,
    "nb": Bokmal,
    "sv": Swedish,
}


@cache
def _realiser(language: str) -> Realiser:
    return _REALISERS[language](language)


def tokens(sentence: Sentence, language: str) -> list[Word]:
    """The words of an abstract sentence in a language, with their parts of speech and with punctuation."""
    return _realiser(language).tokens(sentence)


def realise(sentence: Sentence, language: str) -> str:
    """The text of an abstract sentence in a language, with sentence case and final punctuation."""
    return text_of(tokens(sentence, language))
