"""Drawing phrases that make sense together: who can do what to whom, and where."""

from collections.abc import Sequence
from functools import cache
from random import Random
from typing import TypeVar

from toy_grammar.abstract import Adjunct, Name, Nominal, Number, Pair, Phrase, Pronoun, Tense, agreement
from toy_grammar.tables import load_table

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
        return self.pick(fitting(part, **wanted))

    def classes(self, phrase: Phrase | None) -> str:
        """The semantic classes of a phrase; names and pronouns are people."""
        return self.lexicon["noun"][phrase.noun]["class"] if isinstance(phrase, Nominal) else "person"

    def noun(self, classes: str, other_than: Phrase | None = None) -> str:
        """A noun of one of the classes, not the one that `other_than` has."""
        taken = other_than.noun if isinstance(other_than, Nominal) else None
        return self.pick([noun for noun in fitting("noun", **{"class": classes}) if noun != taken])

    def adjective(self, noun: str, **wanted: str) -> str | None:
        """An adjective that can be said of `noun`; None if there is none."""
        suiting = fitting("adjective", of=self.lexicon["noun"][noun]["class"], **wanted)
        return self.pick(suiting) if suiting else None

    def attribute(self, noun: str) -> str | None:
        """An adjective before `noun`: seldom a passing state, which is said of somebody rather than with them."""
        return self.adjective(noun, kind="state" if self.chance(0.1) else "quality,passing")

    def subject(self, classes: str, definite: bool = False, asked: bool = False) -> Phrase:
        """A subject.

        Args:
            classes: of the noun.
            definite: leaves out *a dog* and *two dogs*, which read badly in some places.
            asked: leaves out *I* and *we*, of whom one asks little.
        """
        if "person" in classes.split(","):
            which = self.random.random()
            if which < 0.2:
                pronouns = [p for p in self.lexicon["pronoun"] if p != "it"]
                return Pronoun(self.pick([p for p in pronouns if not asked or p not in ("i", "we")]))
            if which < 0.32:
                return self.name()
            if which < 0.37:
                return self.pair()
        noun = self.noun(classes)
        determiners = ["the"] * 5 + ["this", *self.lexicon["possessive"]]
        if not definite:
            determiners += ["a"] * 2 + ["number"] * 2 + ["few"]
        return self.nominal(noun, determiners)

    def name(self) -> Name:
        """A person's name."""
        return Name(self.lexeme("name"))

    def pair(self) -> Pair:
        """Two people with different names."""
        first, second = self.random.sample(list(self.lexicon["name"]), 2)
        return Pair(Name(first), Name(second))

    def person(self) -> Phrase:
        """Somebody with a name or a noun, and without an attribute."""
        if self.chance(0.4):
            return self.name()
        determiners = ["the"] * 4 + ["my", "our", "your"]
        return self.nominal(self.noun("person"), determiners, adjective=0.0)

    def object(
        self, classes: str, subject: Phrase | None, definite: bool = False, negated: bool = False
    ) -> Phrase:
        """An object for a verb with this subject, if it has one.

        Args:
            classes: of the noun.
            subject: whom `own` can point back at.
            definite: leaves out numerals, which read badly under negation and in questions.
            negated: makes an indefinite one of those that stand under negation.
        """
        if "person" in classes.split(","):
            if self.chance(0.2):
                return self.pronoun(subject)
            if self.chance(0.1):
                return self.name_other_than(subject)
        determiners = (
            ["the"] * 4 + ["any" if negated else "a"] * 3 + ["this", self.pick(["my", "your", "our"])]
        )
        if subject is not None:
            determiners += ["own"] * 2
        if not definite:
            determiners += ["number"]
        return self.nominal(self.noun(classes, other_than=subject), determiners)

    def pronoun(self, subject: Phrase | None) -> Pronoun:
        """An object pronoun; nobody of the first or second person does something to themselves."""
        person = agreement(subject).person if subject is not None else 3
        others = [
            p
            for p, row in self.lexicon["pronoun"].items()
            if p != "it" and (person == 3 or int(row["person"]) != person)
        ]
        return Pronoun(self.pick(others))

    def name_other_than(self, subject: Phrase | None) -> Name:
        """A name that does not occur in `subject`."""
        taken = (subject.first, subject.second) if isinstance(subject, Pair) else (subject,)
        return self.pick([name for key in self.lexicon["name"] if (name := Name(key)) not in taken])

    def nominal(self, noun: str, determiners: Sequence[str], adjective: float = 0.3) -> Nominal:
        """A noun with one of the determiners and, with probability `adjective`, an adjective."""
        determiner = self.pick(self._suitable(noun, determiners))
        count = self.lexicon["noun"][noun]["count"]
        number: Number = "plural" if count == "count" and self.chance(0.25) else "singular"
        if determiner == "number":
            determiner = self.lexeme("number", kind="numeral,quantifier")
        if determiner in self.lexicon["number"]:
            number = "plural"
            if count != "count":
                determiner, number = ("a" if count == "mass" else "the"), "singular"
        quality = self.attribute(noun) if self.chance(adjective) else None
        owned = determiner == "own" or determiner in self.lexicon["possessive"]
        return Nominal(noun, number, determiner, quality, postposed=owned and self.lags(noun, quality))

    def lags(self, noun: str, adjective: str | None = None) -> bool:
        """Whether Bokmål puts a possessive after the noun: half the time, less often of kin or after an adjective."""
        reserved = adjective is not None or "kin" in self.lexicon["noun"][noun]["class"].split(",")
        return self.chance(0.4 if reserved else 0.55)

    def place(self, preposition: str, classes: str = "place") -> Adjunct:
        """At, or to, one of the places."""
        places = fitting("noun", **{"class": "place"})
        noun = self.pick([n for n in fitting("noun", **{"class": classes}) if n in places])
        determiner = "this" if preposition == "at" and self.chance(0.1) else "the"
        quality = self.attribute(noun) if self.chance(0.2) else None
        return Adjunct(preposition, Nominal(noun, "singular", determiner, quality))

    def beside(self, prepositions: Sequence[str]) -> Adjunct:
        """Under, behind, beside, on or in front of a thing."""
        preposition = self.pick(prepositions)
        noun = self.noun(self.lexicon["preposition"][preposition]["of"])
        quality = self.attribute(noun) if self.chance(0.25) else None
        determiner = self.pick(["the", "the", "the", "this"])
        return Adjunct(preposition, Nominal(noun, "singular", determiner, quality))

    def company(self, subject: Phrase | None, kind: str) -> Adjunct:
        """With, without or for somebody, as `kind` says."""
        preposition = self.lexeme("preposition", kind=kind)
        return Adjunct(preposition, self.object("person", subject, definite=True))

    def tense(self, subject: Phrase | None, *tenses: Tense) -> Tense:
        """One of `tenses`; *you* is never told of the past, where German would change tense."""
        possible = [t for t in tenses if t != "past" or subject != Pronoun("you")]
        return self.pick(possible or ["present"])

    def time(self, suits: str, probability: float = 0.35) -> str | None:
        """A time adverbial that goes with a tense, `modal`, `ongoing` or `state`."""
        return self.lexeme("time", **{"with": suits}) if self.chance(probability) else None

    def _suitable(self, noun: str, determiners: Sequence[str]) -> list[str]:
        """The determiners that can be said of `noun`: nobody has a king, and everybody's mother is somebody's."""
        classes = self.lexicon["noun"][noun]["class"].split(",")
        owners = ("own", *self.lexicon["possessive"])
        if "kin" in classes:
            return [d for d in determiners if d in owners] or ["my", "our"]
        nobodys = "wild" in classes or ("person" in classes and "relation" not in classes)
        public = (
            not {"place", "landmark", "sight", "transport"}.isdisjoint(classes) and "ownable" not in classes
        )
        if nobodys or public:
            return [d for d in determiners if d not in owners] or ["the"]
        return list(determiners)


@cache
def fitting(part: str, **wanted: str) -> tuple[str, ...]:
    """The lexemes whose comma-separated attributes meet every wanted one; any of several will do."""
    rows = load_table("lexicon")[part].items()
    return tuple(key for key, row in rows if all(_meets(row[k], v) for k, v in wanted.items()))


def strangers(classes: str) -> tuple[str, ...]:
    """The nouns of some classes, without the words for kin, who are always somebody's."""
    kin = fitting("noun", **{"class": "kin"})
    return tuple(noun for noun in fitting("noun", **{"class": classes}) if noun not in kin)


def _meets(attribute: str, wanted: str) -> bool:
    return not set(attribute.split(",")).isdisjoint(wanted.split(","))
