"""The embedded default: a small grammar of five languages, and a language model trained on it.

A synchronous grammar writes the same sentence in Danish, German, English, Norwegian Bokmål and Swedish. The
words and their forms are in `tables`, what can be said in `constructions`, how it is said in one realiser per
language. Making sentences needs neither torch nor transformers; `toy_model` loads them when it is called.
"""

from toy_grammar.abstract import (
    Adjunct,
    Clause,
    Link,
    Name,
    Nominal,
    Pair,
    Predicate,
    Pronoun,
    Relative,
    Sentence,
)
from toy_grammar.acceptability import CORRECT, INCORRECT, acceptability
from toy_grammar.constructions import CONSTRUCTIONS
from toy_grammar.grammar import MAX_SENTENCES, corpus, documents, sentences
from toy_grammar.labelled import MAX_LABELLED, LabelledText
from toy_grammar.realise import realise, tokens
from toy_grammar.sentiment import NEGATIVE, NEUTRAL, POSITIVE, sentiment
from toy_grammar.settings import ModelSettings
from toy_grammar.tables import LANGUAGES, lexemes
from toy_grammar.words import Word

__all__ = [
    "CONSTRUCTIONS",
    "CORRECT",
    "INCORRECT",
    "LANGUAGES",
    "MAX_LABELLED",
    "MAX_SENTENCES",
    "NEGATIVE",
    "NEUTRAL",
    "POSITIVE",
    "Adjunct",
    "Clause",
    "LabelledText",
    "Link",
    "ModelSettings",
    "Name",
    "Nominal",
    "Pair",
    "Predicate",
    "Pronoun",
    "Relative",
    "Sentence",
    "Word",
    "acceptability",
    "corpus",
    "documents",
    "lexemes",
    "realise",
    "sentences",
    "sentiment",
    "tokens",
]
