"""What a sentence says, before any language says it.

A realiser turns these into words (`sprog.toy.realise`). Words are lexeme ids, the keys of the tables:

    >>> girl, book = Nominal("girl"), Nominal("book", determiner="a", adjective="old")
    >>> realise(Sentence("transitive", Clause(girl, "read", object=book)), "da")
    'Pigen læser en gammel bog.'
"""

from dataclasses import dataclass
from typing import Literal

from sprog.toy.tables import load_table

Number = Literal["singular", "plural"]
Tense = Literal["present", "past", "perfect"]


@dataclass(frozen=True)
class Nominal:
    """A noun with what goes before and after it.

    Attributes:
        noun: its lexeme.
        number: mass nouns are singular.
        determiner: `the`, `a` (nothing before plurals and mass nouns), `this`, a possessive, `own` (the
            possessive that points back at the subject), or a numeral, which makes the noun plural.
        adjective: an attribute, or None.
        relative: a restrictive relative clause, or None.
    """

    noun: str
    number: Number = "singular"
    determiner: str = "the"
    adjective: str | None = None
    relative: "Relative | None" = None


@dataclass(frozen=True)
class Name:
    """A person's first name."""

    name: str


@dataclass(frozen=True)
class Pronoun:
    """A personal pronoun: `i`, `you` (one person), `he`, `she`, `we`, `they`."""

    pronoun: str


@dataclass(frozen=True)
class Pair:
    """Two phrases joined by *and*."""

    first: "Phrase"
    second: "Phrase"


Phrase = Nominal | Name | Pronoun | Pair


@dataclass(frozen=True)
class Adjunct:
    """A preposition with its phrase; `at` and `to` become whatever the place asks for."""

    preposition: str
    phrase: Phrase


@dataclass(frozen=True)
class Predicate:
    """What the subject of *be* is said to be.

    Attributes:
        adjective: its lexeme.
        degree: an adverb of degree (`very`), or None.
        than: what the subject is compared with; makes the adjective a comparative.
    """

    adjective: str
    degree: str | None = None
    than: Phrase | None = None


@dataclass(frozen=True)
class Clause:
    """A verb with everything that belongs to it.

    Attributes:
        subject: None where a question word or a relative pronoun stands for it.
        verb: a verb; `be` wants a predicate, `exist` says that the subject is somewhere.
        tense: tense of the finite verb; with a modal, the modal's.
        modal: a modal verb that takes `verb` as its infinitive, or None.
        object: direct object.
        recipient: indirect object.
        predicate: with `be`.
        adverb: `not`, or an adverb of frequency; its place is the languages' chief difference.
        companion: with or for whom.
        place: where, or where to.
        time: a time adverbial.
        front: which adjunct opens a main clause; None lets the subject do so.
        complement: a that-clause.
    """

    subject: Phrase | None
    verb: str
    tense: Tense = "present"
    modal: str | None = None
    object: Phrase | None = None
    recipient: Phrase | None = None
    predicate: Predicate | None = None
    adverb: str | None = None
    companion: Adjunct | None = None
    place: Adjunct | None = None
    time: str | None = None
    front: Literal["time", "place"] | None = None
    complement: "Clause | None" = None


@dataclass(frozen=True)
class Relative:
    """A relative clause; `gap` says what its head would be in it, and that part of `clause` is None."""

    clause: Clause
    gap: Literal["subject", "object"]


@dataclass(frozen=True)
class Link:
    """A second clause, tied to a first by a conjunction.

    Attributes:
        conjunction: coordinating (`and`, `but`) or subordinating (`because`, `when`, `if`).
        clause: the second clause.
        first: whether a subordinate clause opens the sentence.
    """

    conjunction: str
    clause: Clause
    first: bool = False


@dataclass(frozen=True)
class Sentence:
    """A whole sentence.

    Attributes:
        construction: the name of the construction that made it.
        clause: the main clause.
        question: `polar` for a yes/no question, a question word's lexeme, or None for a statement.
        link: a second clause, or None.
    """

    construction: str
    clause: Clause
    question: str | None = None
    link: Link | None = None


@dataclass(frozen=True)
class Agreement:
    """What verbs, adjectives, pronouns and possessives need to know of a phrase.

    Attributes:
        person: 1, 2 or 3.
        number: grammatical number.
        sex: `m` or `f` for people who have one, else `n`.
        noun: the noun's lexeme, from which a language knows the gender; None if there is no noun.
    """

    person: int = 3
    number: Number = "singular"
    sex: str = "n"
    noun: str | None = None


def agreement(phrase: Phrase) -> Agreement:
    """What `phrase` makes other words agree with."""
    lexicon = load_table("lexicon")
    match phrase:
        case Name(name):
            return Agreement(sex=lexicon["name"][name]["sex"])
        case Pronoun(pronoun):
            row = lexicon["pronoun"][pronoun]
            number: Number = "plural" if row["number"] == "plural" else "singular"
            return Agreement(int(row["person"]), number, row["sex"])
        case Pair():
            return Agreement(number="plural")
        case Nominal(noun, number):
            return Agreement(3, number, lexicon["noun"][noun]["sex"], noun)
