"""The embedded default: a small grammar of five languages, and a language model trained on it.

A synchronous grammar writes the same sentence in Danish, German, English, Norwegian Bokmål and Swedish. The
words and their forms are in `tables`, what can be said in `constructions`, how it is said in one realiser per
language. Making sentences needs neither torch nor transformers; `toy_model` loads them when it is called.
"""

from glossae.toy.abstract import (
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
from glossae.toy.acceptability import CORRECT, INCORRECT, acceptability
from glossae.toy.constructions import CONSTRUCTIONS
from glossae.toy.grammar import MAX_SENTENCES, corpus, sentences
from glossae.toy.labelled import MAX_LABELLED, LabelledText
from glossae.toy.model import model_hash, toy_model
from glossae.toy.realise import realise, tokens
from glossae.toy.sentiment import NEGATIVE, NEUTRAL, POSITIVE, sentiment
from glossae.toy.settings import ModelSettings
from glossae.toy.tables import LANGUAGES, lexemes
from glossae.toy.words import Word

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
    "lexemes",
    "model_hash",
    "realise",
    "sentences",
    "sentiment",
    "tokens",
    "toy_model",
]
