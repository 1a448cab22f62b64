"""What a sentence says, before any language says it.

A realiser turns these into words (`toy_grammar.realise`). Words are lexeme ids, the keys of the tables:

    >>> girl, book = Nominal("girl"), Nominal("book", determiner="a", adjective="old")
    >>> realise(Sentence("transitive_statement", Clause(girl, "read", object=book)), "da")
    'Pigen læser en gammel bog.'
"""

from dataclasses import dataclass
from typing import Literal

from toy_grammar.tables import load_table

Number = Literal["singular", "plural"]
Tense = Literal["present", "past", "perfect"]
Front = Literal["time", "place"]


@dataclass(frozen=True)
class Nominal:
    """A noun with what goes before and after it.

    Attributes:
        noun: its lexeme.
        number: mass nouns are singular.
        determiner: `the`, `a` (nothing before plurals and mass nouns), `this`, a possessive, `own` (the
            possessive that points back at the subject), `any` (an indefinite under negation), `no` (of
            plurals), `genitive` (see `possessor`), or a numeral or quantifier, which makes the noun plural.
        adjective: an attribute, or None.
        superlative: whether the attribute is one.
        possessor: with `genitive`, whose it is: a name, or a person without an attribute.
        postposed: whether Bokmål says *bilen min* and *bilen til Anna*, rather than *min bil* and *Annas bil*.
        place: where, of a superlative: *the oldest house in the village*.
        relative: a restrictive relative clause, or None.
    """

    noun: str
    number: Number = "singular"
    determiner: str = "the"
    adjective: str | None = None
    superlative: bool = False
    possessor: "Nominal | Name | None" = None
    postposed: bool = False
    place: "Adjunct | None" = None
    relative: "Relative | None" = None


@dataclass(frozen=True)
class Name:
    """A person's first name."""

    name: str


@dataclass(frozen=True)
class Pronoun:
    """A personal pronoun: `i`, `you` (one person), `he`, `she`, `it`, `we`, `they`.

    Attributes:
        pronoun: its lexeme.
        noun: what `it` takes up, whose gender it has; without one, `it` stands for nothing, as in *it rains*.
    """

    pronoun: str
    noun: str | None = None


@dataclass(frozen=True)
class Pair:
    """Two phrases joined by *and*; `both` says so beforehand."""

    first: "Phrase"
    second: "Phrase"
    both: bool = False


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
        adjective: its lexeme; None if a noun is said instead.
        degree: an adverb of degree (`very`), or None.
        than: what the subject is compared with; makes the adjective a comparative.
        like: what the subject is equal to: *as old as my brother*.
        years: the numeral of an age, with the adjective `old`.
        nominal: a noun with a determiner; without one (`job`), what somebody is by profession.
        job: a profession: *she is a doctor*, *hun er læge*.
    """

    adjective: str | None = None
    degree: str | None = None
    than: Phrase | None = None
    like: Phrase | None = None
    years: str | None = None
    nominal: Nominal | None = None
    job: str | None = None


@dataclass(frozen=True)
class Clause:
    """A verb with everything that belongs to it.

    Attributes:
        subject: None where a question word, a relative pronoun or another clause's subject stands for it.
        verb: a verb; `be` wants a predicate, `exist` says that the subject is somewhere, `consider` wants an
            object and a predicate (*she thinks that the film is good*).
        tense: tense of the finite verb; with a modal, the modal's.
        modal: a modal verb that takes `verb` as its infinitive, or None.
        ongoing: whether English says *is reading*; in the present or the past.
        passive: whether the subject suffers what the verb says, in the past; `agent` does it.
        object: direct object.
        recipient: indirect object.
        agent: who does it, in a passive.
        predicate: with `be` and `consider`.
        adverb: `not`, or an adverb of frequency; its place is the languages' chief difference.
        companion: with or for whom.
        place: where, or where to.
        time: a time adverbial.
        front: which adjunct opens a main clause; None lets the subject do so.
        infinitive: what is tried, begun or promised; a clause without a subject.
        purpose: what for, likewise.
        complement: a subordinate clause that the verb asks for.
        opener: what opens the complement: `that`, `whether` or a question word.
    """

    subject: Phrase | None
    verb: str
    tense: Tense = "present"
    modal: str | None = None
    ongoing: bool = False
    passive: bool = False
    object: Phrase | None = None
    recipient: Phrase | None = None
    agent: Phrase | None = None
    predicate: Predicate | None = None
    adverb: str | None = None
    companion: Adjunct | None = None
    place: Adjunct | None = None
    time: str | None = None
    front: Front | None = None
    infinitive: "Clause | None" = None
    purpose: "Clause | None" = None
    complement: "Clause | None" = None
    opener: str = "that"


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
        clause: the second clause; after `and` it may lack a subject, and then shares the first one's.
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
        question: `polar` for a yes/no question, a question word's lexeme, or None.
        command: whether the clause, whose subject is `you`, is an imperative.
        link: a second clause, or None.
        focus: who is brought out by a cleft (*it is Anna who sings*); the clause's subject then is None.
    """

    construction: str
    clause: Clause
    question: str | None = None
    command: bool = False
    link: Link | None = None
    focus: Phrase | None = None


@dataclass(frozen=True)
class Agreement:
    """What verbs, adjectives, pronouns and possessives need to know of a phrase.

    Attributes:
        person: 1, 2 or 3.
        number: grammatical number.
        sex: `m` or `f` for people who have one, else `n`.
        noun: the noun's lexeme, from which a language knows the gender; None if there is no noun.
        impersonal: whether it is the *it* of *it is cold*.
    """

    person: int = 3
    number: Number = "singular"
    sex: str = "n"
    noun: str | None = None
    impersonal: bool = False


def agreement(phrase: Phrase) -> Agreement:
    """What `phrase` makes other words agree with."""
    lexicon = load_table("lexicon")
    match phrase:
        case Name(name):
            return Agreement(sex=lexicon["name"][name]["sex"])
        case Pronoun(pronoun, noun):
            row = lexicon["pronoun"][pronoun]
            number: Number = "plural" if row["number"] == "plural" else "singular"
            impersonal = pronoun == "it" and noun is None
            return Agreement(int(row["person"]), number, row["sex"], noun, impersonal)
        case Pair():
            return Agreement(number="plural")
        case Nominal(noun, number):
            return Agreement(3, number, lexicon["noun"][noun]["sex"], noun)
