"""Drawing phrases that make sense together: who can do what to whom, and where."""

from collections.abc import Sequence
from functools import cache
from random import Random
from typing import TypeVar

from sprog.toy.abstract import Adjunct, Name, Nominal, Number, Pair, Phrase, Pronoun, Tense, agreement
from sprog.toy.tables import load_table

Item = TypeVar("Item")


class Draw:
    """Random choices from the lexicon; everything follows from `random`."""

    def __init__(self, random: Random) -> None:
        """Draw with `random`."""
        self.random = random
        self.lexicon = load_table("lexicon")

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.random.random() < probability

    def pick(self, items: Sequence[Item]) -> Item:
        """One of `items`, each as likely."""
        return items[self.random.randrange(len(items))]

    def lexeme(self, part: str, **wanted: str) -> str:
        """A lexeme whose comma-separated attributes meet every wanted one (any of several will do)."""
        return self.pick(_fitting(part, **wanted))

    def noun(self, classes: str, other_than: Phrase | None = None) -> str:
        """A noun of one of the classes, not the one that `other_than` has."""
        taken = other_than.noun if isinstance(other_than, Nominal) else None
        return self.pick([noun for noun in _fitting("noun", **{"class": classes}) if noun != taken])

    def adjective(self, noun: str, **wanted: str) -> str | None:
        """An adjective that can be said of `noun`; None if there is none."""
        fitting = _fitting("adjective", of=self.lexicon["noun"][noun]["class"], **wanted)
        return self.pick(fitting) if fitting else None

    def subject(self, classes: str, definite: bool = False) -> Phrase:
        """A subject; `definite` leaves out *a dog* and *two dogs*, which read badly in some places."""
        if "person" in classes.split(","):
            which = self.random.random()
            if which < 0.2:
                return Pronoun(self.lexeme("pronoun"))
            if which < 0.32:
                return self.name()
            if which < 0.38:
                return self.pair()
        noun = self.noun(classes)
        determiners = ["the"] * 5 + ["this", *self.lexicon["possessive"]]
        if not definite:
            determiners += ["a"] * 2 + ["number"] * 2
        return self.nominal(noun, determiners)

    def name(self) -> Name:
        """A person's name."""
        return Name(self.lexeme("name"))

    def pair(self) -> Pair:
        """Two people with different names."""
        first, second = self.random.sample(list(self.lexicon["name"]), 2)
        return Pair(Name(first), Name(second))

    def object(self, classes: str, subject: Phrase | None, definite: bool = False) -> Phrase:
        """An object for a verb with this subject; `owned` allows a possessive that points at the subject."""
        if "person" in classes.split(","):
            if self.chance(0.2):
                return self.pronoun(subject)
            if self.chance(0.1):
                return self.name_other_than(subject)
        determiners = ["the"] * 4 + ["a"] * 3 + ["this", self.pick(["my", "your", "our"])]
        if subject is not None:
            determiners += ["own"] * 2
        if not definite:
            determiners += ["number"]
        return self.nominal(self.noun(classes, other_than=subject), determiners)

    def pronoun(self, subject: Phrase | None) -> Pronoun:
        """An object pronoun; nobody of the first or second person does something to themselves."""
        person = agreement(subject).person if subject is not None else 3
        fitting = [
            p for p, row in self.lexicon["pronoun"].items() if person == 3 or int(row["person"]) != person
        ]
        return Pronoun(self.pick(fitting))

    def name_other_than(self, subject: Phrase | None) -> Name:
        """A name that does not occur in `subject`."""
        taken = (subject.first, subject.second) if isinstance(subject, Pair) else (subject,)
        return self.pick([name for key in self.lexicon["name"] if (name := Name(key)) not in taken])

    def nominal(self, noun: str, determiners: Sequence[str], adjective: float = 0.3) -> Nominal:
        """A noun with one of the determiners and, with probability `adjective`, an adjective."""
        classes = self.lexicon["noun"][noun]["class"].split(",")
        if "person" in classes and "relation" not in classes:
            # *my woman* says more than *the woman*
            determiners = [d for d in determiners if d not in self.lexicon["possessive"] and d != "own"]
        determiner = self.pick(determiners)
        number: Number = "plural" if self.chance(0.25) else "singular"
        if determiner == "number":
            determiner, number = self.lexeme("number"), "plural"
        if self.lexicon["noun"][noun]["count"] == "mass":
            number = "singular"
            if determiner in self.lexicon["number"]:
                determiner = "a"
        quality = self.adjective(noun) if self.chance(adjective) else None
        return Nominal(noun, number, determiner, quality)

    def place(self, preposition: str) -> Adjunct:
        """At, or to, one of the places."""
        noun = self.noun("place")
        determiners = ["the"] * 8 + ["this", "a"] if preposition == "at" else ["the"]
        quality = self.adjective(noun) if self.chance(0.2) else None
        return Adjunct(preposition, Nominal(noun, "singular", self.pick(determiners), quality))

    def location(self) -> Adjunct:
        """Where something is: at a place, or under, behind or beside a thing."""
        if self.chance(0.6):
            return self.place("at")
        preposition = self.lexeme("preposition", kind="location")
        noun = self.noun(self.lexicon["preposition"][preposition]["of"])
        quality = self.adjective(noun) if self.chance(0.25) else None
        return Adjunct(
            preposition, Nominal(noun, "singular", self.pick(["the", "the", "the", "this"]), quality)
        )

    def company(self, subject: Phrase | None, kind: str) -> Adjunct:
        """With, without or for somebody, as `kind` says."""
        preposition = self.lexeme("preposition", kind=kind)
        return Adjunct(preposition, self.object("person", subject, definite=True))

    def tense(self, subject: Phrase | None, *tenses: Tense) -> Tense:
        """One of `tenses`; *you* is never told of the past, where German would change tense."""
        fitting = [t for t in tenses if t != "past" or subject != Pronoun("you")]
        return self.pick(fitting or ["present"])

    def time(self, fitting: str, probability: float = 0.35) -> str | None:
        """A time adverbial that goes with a tense, `modal` or `state`."""
        return self.lexeme("time", **{"with": fitting}) if self.chance(probability) else None


@cache
def _fitting(part: str, **wanted: str) -> tuple[str, ...]:
    rows = load_table("lexicon")[part].items()
    return tuple(key for key, row in rows if all(_meets(row[k], v) for k, v in wanted.items()))


def _meets(attribute: str, wanted: str) -> bool:
    return not set(attribute.split(",")).isdisjoint(wanted.split(","))
