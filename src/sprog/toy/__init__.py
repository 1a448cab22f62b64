"""The embedded default: a small grammar of five languages, and a language model trained on it.

A synchronous grammar writes the same sentence in Danish, German, English, Norwegian Bokmål and Swedish. The
words and their forms are in `tables`, what can be said in `constructions`, how it is said in one realiser per
language. Making sentences needs neither torch nor transformers; `toy_model` loads them when it is called.
"""

from sprog.toy.abstract import (
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
from sprog.toy.constructions import CONSTRUCTIONS
from sprog.toy.grammar import MAX_SENTENCES, corpus, sentences
from sprog.toy.model import model_hash, toy_model
from sprog.toy.realise import realise
from sprog.toy.settings import ModelSettings
from sprog.toy.tables import LANGUAGES, lexemes

__all__ = [
    "CONSTRUCTIONS",
    "LANGUAGES",
    "MAX_SENTENCES",
    "Adjunct",
    "Clause",
    "Link",
    "ModelSettings",
    "Name",
    "Nominal",
    "Pair",
    "Predicate",
    "Pronoun",
    "Relative",
    "Sentence",
    "corpus",
    "lexemes",
    "model_hash",
    "realise",
    "sentences",
    "toy_model",
]
