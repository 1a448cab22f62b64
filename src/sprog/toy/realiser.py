"""What the realisers of all languages share: how clauses become sentences, and sentences text."""

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

from sprog.toy.abstract import (
    Adjunct,
    Agreement,
    Clause,
    Name,
    Nominal,
    Pair,
    Phrase,
    Pronoun,
    Sentence,
    agreement,
)
from sprog.toy.tables import load_table

Order = Literal["main", "inverted", "question", "subordinate"]
"""`inverted` is a main clause after a fronted clause, `question` one whose subject follows the verb."""


class Realiser(ABC):
    """Writes abstract sentences in one language.

    Subclasses put words in order (`clause`) and make them agree (`nominal`); the rest is punctuation.
    """

    comma_opens_clause: ClassVar[bool]
    comma_closes_relative: ClassVar[bool]
    comma_before_and: ClassVar[bool]

    def __init__(self, language: str) -> None:
        """Load the table of `language`, a language code."""
        self.table = load_table(language)
        self.lexicon = load_table("lexicon")

    @abstractmethod
    def clause(self, clause: Clause, order: Order, antecedent: Agreement | None = None) -> list[str]:
        """The words of `clause`; `antecedent` is what a missing subject stands for."""

    @abstractmethod
    def nominal(self, nominal: Nominal, case: str, owner: Agreement) -> list[str]:
        """Determiner, adjective and noun; `owner` is the subject that `own` points back at."""

    @abstractmethod
    def relativiser(self, nominal: Nominal) -> str:
        """The relative pronoun after `nominal`, which has a relative clause."""

    def sentence(self, sentence: Sentence) -> str:
        """The text of `sentence`: sentence case, with its full stop or question mark."""
        return punctuate(self._words(sentence), "?" if sentence.question else ".")

    def form(self, part: str, lexeme: str, column: str = "form") -> str:
        """One form of a lexeme."""
        return self.table[part][lexeme][column]

    def phrase(self, phrase: Phrase | None, case: str, owner: Agreement) -> list[str]:
        """The words of a phrase in a case (`nom`, `acc` or `dat`); none if there is no phrase."""
        match phrase:
            case None:
                return []
            case Name(name):
                return [self.lexicon["name"][name]["form"]]
            case Pronoun(pronoun):
                return [self.form("pronoun", pronoun, case)]
            case Pair(first, second):
                joined = self.form("conjunction", "and")
                return [*self.phrase(first, case, owner), joined, *self.phrase(second, case, owner)]
            case Nominal():
                return [*self.nominal(phrase, case, owner), *self._relative(phrase)]

    def adjunct(self, adjunct: Adjunct | None, owner: Agreement) -> list[str]:
        """The words of a preposition and its phrase."""
        if adjunct is None:
            return []
        phrase = adjunct.phrase
        if adjunct.preposition in ("at", "to") and isinstance(phrase, Nominal):
            preposition = self.form("place", phrase.noun, adjunct.preposition)
        else:
            preposition = self.form("preposition", adjunct.preposition)
        return [preposition, *self.phrase(phrase, "acc", owner)]

    def predicate(self, clause: Clause, adjective: str, owner: Agreement) -> list[str]:
        """The words of a predicate, once its adjective agrees with the subject."""
        predicate = clause.predicate
        if predicate is None:
            return []
        if predicate.than is not None:
            comparative = self.form("adjective", predicate.adjective, "comp")
            return [comparative, self.form("conjunction", "than"), *self.phrase(predicate.than, "nom", owner)]
        degree = [self.form("adverb", predicate.degree)] if predicate.degree else []
        return [*degree, adjective]

    def adverb(self, clause: Clause) -> list[str]:
        """The negation or adverb of frequency, if there is one."""
        return [self.form("adverb", clause.adverb)] if clause.adverb else []

    def time(self, clause: Clause) -> list[str]:
        """The time adverbial, if there is one."""
        return [self.form("time", clause.time)] if clause.time else []

    def complement(self, clause: Clause) -> list[str]:
        """The that-clause, if there is one."""
        if clause.complement is None:
            return []
        return [
            *self._opening(),
            self.form("conjunction", "that"),
            *self.clause(clause.complement, "subordinate"),
        ]

    def possessive(self, owner: Agreement, sex: str) -> str:
        """The possessive that belongs to `owner`; `sex` decides between *his* and *her*."""
        for possessive, row in self.lexicon["possessive"].items():
            same = (int(row["person"]), row["number"]) == (owner.person, owner.number)
            if same and row["sex"] in ("n", sex):
                return possessive
        raise ValueError(f"no possessive for {owner}")

    @staticmethod
    def subject_agreement(clause: Clause, antecedent: Agreement | None) -> Agreement:
        """What the finite verb agrees with; a question word is third person singular."""
        if clause.subject is not None:
            return agreement(clause.subject)
        return antecedent or Agreement()

    def _words(self, sentence: Sentence) -> list[str]:
        main, link = sentence.clause, sentence.link
        if sentence.question is not None:
            asked = [] if sentence.question == "polar" else [self.form("question", sentence.question)]
            return [*asked, *self.clause(main, "question")]
        if link is None:
            return self.clause(main, "main")
        conjunction = self.form("conjunction", link.conjunction)
        if self.lexicon["conjunction"][link.conjunction]["kind"] == "coordinating":
            comma = [","] if self.comma_before_and or link.conjunction != "and" else []
            return [*self.clause(main, "main"), *comma, conjunction, *self.clause(link.clause, "main")]
        subordinate = [conjunction, *self.clause(link.clause, "subordinate")]
        if link.first:
            return [*subordinate, ",", *self.clause(main, "inverted")]
        return [*self.clause(main, "main"), *self._opening(), *subordinate]

    def _relative(self, nominal: Nominal) -> list[str]:
        if nominal.relative is None:
            return []
        inner = self.clause(nominal.relative.clause, "subordinate", agreement(nominal))
        closing = [","] if self.comma_closes_relative else []
        return [*self._opening(), self.relativiser(nominal), *inner, *closing]

    def _opening(self) -> list[str]:
        return [","] if self.comma_opens_clause else []


def punctuate(words: list[str], mark: str) -> str:
    """Join words into a sentence: capital first, commas close to the left and never two in a row."""
    text = ""
    for word in words:
        if word != ",":
            text += f" {word}"
        elif not text.endswith(","):
            text += ","
    text = text.strip().rstrip(",")
    return text[0].upper() + text[1:] + mark
