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
from sprog.toy.acceptability import CORRECT, INCORRECT, acceptability
from sprog.toy.constructions import CONSTRUCTIONS
from sprog.toy.grammar import MAX_SENTENCES, corpus, sentences
from sprog.toy.labelled import MAX_LABELLED, LabelledText
from sprog.toy.model import model_hash, toy_model
from sprog.toy.realise import realise, tokens
from sprog.toy.sentiment import NEGATIVE, NEUTRAL, POSITIVE, sentiment
from sprog.toy.settings import ModelSettings
from sprog.toy.tables import LANGUAGES, lexemes
from sprog.toy.words import Word

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
