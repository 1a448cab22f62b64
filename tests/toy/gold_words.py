"""Short names for what gold sentences often speak of."""

from toy_grammar import Adjunct, Name, Nominal, Pronoun

ME, YOU, HE, SHE, IT, WE = (Pronoun(p) for p in ("i", "you", "he", "she", "it", "we"))
ANNA, PETER = Name("anna"), Name("peter")


def at(noun, **more):
    return Adjunct("at", Nominal(noun, **more))


def to(noun, **more):
    return Adjunct("to", Nominal(noun, **more))


def many(noun, determiner="the", adjective=None):
    return Nominal(noun, "plural", determiner, adjective)
