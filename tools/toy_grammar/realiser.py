"""What the realisers of all languages share: how clauses become sentences, and lexemes words."""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import ClassVar, Literal

from toy_grammar.abstract import (
    Adjunct,
    Agreement,
    Clause,
    Name,
    Nominal,
    Pair,
    Phrase,
    Predicate,
    Pronoun,
    Sentence,
    Tense,
    agreement,
)
from toy_grammar.forms import Forms
from toy_grammar.words import COMMA, Word, closed, movable, optional

Order = Literal["main", "inverted", "question", "subordinate", "imperative", "conjunct"]
"""`inverted` is a main clause after a fronted clause, `question` one whose subject follows the verb, `conjunct`
one that shares the subject of the clause before it."""


class Realiser(Forms, ABC):
    """Writes abstract sentences in one language.

    Subclasses put words in order (`clause`) and make them agree (`nominal`); the rest is punctuation.
    """

    comma_opens_clause: ClassVar[bool]
    comma_closes_relative: ClassVar[bool]
    comma_before_and: ClassVar[bool]
    infinitive_column: ClassVar[str] = "infinitive"

    @abstractmethod
    def clause(self, clause: Clause, order: Order, antecedent: Agreement | None = None) -> list[Word]:
        """The words of `clause`; `antecedent` is what a missing subject stands for."""

    @abstractmethod
    def nominal(self, nominal: Nominal, case: str, owner: Agreement) -> list[Word]:
        """Determiner, adjective and noun; `owner` is the subject that `own` points back at."""

    @abstractmethod
    def relativiser(self, head: Phrase, gap: str, verb: str) -> Word:
        """The relative pronoun after `head`, which `verb` has as its subject or object (`gap`)."""

    def tokens(self, sentence: Sentence) -> list[Word]:
        """The words of `sentence`, commas and final mark among them."""
        mark = "?" if sentence.question else "!" if sentence.command else "."
        return closed(self._words(sentence), mark)

    def phrase(self, phrase: Phrase | None, case: str, owner: Agreement) -> list[Word]:
        """The words of a phrase in a case (`nom`, `acc` or `dat`); none if there is no phrase."""
        match phrase:
            case None:
                return []
            case Name(name):
                return [Word(self.lexicon["name"][name]["form"], "PROPN")]
            case Pronoun("it", noun) if noun is not None and "it" in self.table:
                # *den* or *det*, *er* or *sie*: as the noun's gender is
                return self.words("it", self.form("noun", noun, "gender"), case)
            case Pronoun(pronoun):
                return self.words("pronoun", pronoun, case)
            case Pair(first, second, both):
                before = optional(self.words("conjunction", "both")) if both else []
                joined = self.words("conjunction", "and_also" if both else "and")
                return [
                    *before,
                    *self.phrase(first, case, owner),
                    *joined,
                    *self.phrase(second, case, owner),
                ]
            case Nominal():
                place = self.adjunct(phrase.place, owner)
                # *die Kirche in der Stadt*, *die Kirche der Stadt*
                where = [*optional(place[:1]), *place[1:]]
                return [*self.nominal(phrase, case, owner), *where, *self._relative(phrase)]

    def objects(self, phrase: Phrase | None, case: str, owner: Agreement) -> list[Word]:
        """The words of an object; one word alone may be left out of most sentences."""
        words = self.phrase(phrase, case, owner)
        return optional(words) if len(words) == 1 else words

    def both_objects(self, clause: Clause, owner: Agreement) -> list[Word]:
        """The words of the indirect object, then of the direct one."""
        return [
            *self.objects(clause.recipient, "acc", owner),
            *self.objects(clause.object, "acc", owner),
        ]

    def agent(self, clause: Clause, case: str, owner: Agreement) -> list[Word]:
        """By whom it is done, in a passive that says so."""
        if clause.agent is None:
            return []
        return [*self.words("preposition", "by"), *self.objects(clause.agent, case, owner)]

    def infinitive(self, clause: Clause, owner: Agreement, opening: list[Word]) -> list[Word]:
        """The words of `clause` as an infinitive whose subject is `owner`; `opening` comes first."""
        return [
            *opening,
            *self.words("verb", clause.verb, self.infinitive_column),
            *self.both_objects(clause, owner),
            *self.adjunct(clause.companion, owner),
            *self.adjunct(clause.place, owner),
        ]

    def adjunct(self, adjunct: Adjunct | None, owner: Agreement) -> list[Word]:
        """The words of a preposition and its phrase."""
        if adjunct is None:
            return []
        phrase = adjunct.phrase
        if adjunct.preposition in ("at", "to") and isinstance(phrase, Nominal):
            preposition = self.words("place", phrase.noun, adjunct.preposition)
        else:
            preposition = self.words("preposition", adjunct.preposition)
        # many a preposition is an adverb when nothing follows it
        return [*preposition, *self.objects(phrase, "acc", owner)]

    def predicate(self, predicate: Predicate | None, owner: Agreement) -> list[Word]:
        """The words of a predicate whose subject is `owner`."""
        if predicate is None:
            return []
        if predicate.job is not None:
            return self.profession(predicate.job)
        if predicate.nominal is not None:
            return self.phrase(predicate.nominal, "nom", owner)
        if predicate.years is not None:
            years = [*self.words("number", predicate.years), self.one("word", "years", "NOUN")]
            return [*years, *self.predicative("old", owner)]
        assert predicate.adjective is not None
        if predicate.than is not None:
            compared = [*self.words("conjunction", "than"), *self.phrase(predicate.than, "nom", owner)]
            return [*self.words("adjective", predicate.adjective, "comp"), *compared]
        if predicate.like is not None:
            compared = [*self.words("conjunction", "like"), *self.phrase(predicate.like, "nom", owner)]
            degree = self.words("adverb", "as")
            return [*degree, *self.predicative(predicate.adjective, owner), *compared]
        degree = self.words("adverb", predicate.degree) if predicate.degree else []
        if predicate.degree == "really":
            degree = movable(degree)
        return [*degree, *self.predicative(predicate.adjective, owner)]

    @abstractmethod
    def predicative(self, adjective: str, owner: Agreement) -> list[Word]:
        """An adjective after *be*, as its subject wants it."""

    def profession(self, noun: str) -> list[Word]:
        """What somebody is by profession: a bare noun."""
        return self.words("noun", noun, "sg")

    def adverb(self, clause: Clause) -> list[Word]:
        """The negation or adverb of frequency, if there is one."""
        return self.words("adverb", clause.adverb) if clause.adverb else []

    def time(self, clause: Clause) -> list[Word]:
        """The time adverbial, if there is one."""
        if clause.time is None:
            return []
        words = optional(self.words("time", clause.time))
        return movable(words) if len(words) == 1 else words

    def complement(self, clause: Clause) -> list[Word]:
        """The subordinate clause that the verb asks for, if there is one."""
        if clause.complement is None:
            return []
        told = self.clause(clause.complement, "subordinate")
        return [*self.opening(), *self.opener(clause.opener), *told]

    def opener(self, opener: str) -> list[Word]:
        """What opens a complement; *that* may be left out where the order does not tell a clause by itself."""
        if opener in self.lexicon["question"]:
            return self.words("question", opener)
        words = self.words("conjunction", opener)
        return optional(words) if opener == "that" else words

    def opinion(self, clause: Clause) -> Clause:
        """A clause of `consider` with what is thought as a that-clause; any other clause as it is."""
        if clause.verb != "consider":
            return clause
        thought = Clause(clause.object, "be", clause.tense, predicate=clause.predicate)
        return replace(clause, object=None, predicate=None, complement=thought)

    def fronted(self, clause: Clause, order: Order, owner: Agreement) -> tuple[list[Word], ...]:
        """The adjunct in front, then the place and the time that stay behind."""
        place, time = self.adjunct(clause.place, owner), self.time(clause)
        if order == "main" and clause.front == "time":
            return time, place, []
        if order == "main" and clause.front == "place":
            return place, [], time
        return [], place, time

    def possessive(self, owner: Agreement, sex: str) -> str:
        """The possessive that belongs to `owner`; `sex` decides between *his* and *her*."""
        for possessive, row in self.lexicon["possessive"].items():
            same = (int(row["person"]), row["number"]) == (owner.person, owner.number)
            if same and row["sex"] in ("n", sex):
                return possessive
        raise ValueError(f"no possessive for {owner}")

    def opening(self) -> list[Word]:
        """The comma before a subordinate clause, where the language has one."""
        return [COMMA] if self.comma_opens_clause else []

    def linking(self, conjunction: str, first: bool) -> list[Word]:
        """A conjunction between clauses; without it two main clauses are left, save where the order tells."""
        words = self.words("conjunction", conjunction)
        return words if first else optional(words)

    def cleft_frame(self, tense: Tense, focus: Phrase) -> list[Word]:  # noqa: ARG002
        """*It is*, before the `focus` of a cleft."""
        return self.clause(Clause(Pronoun("it"), "be", tense), "main")

    @staticmethod
    def subject_agreement(clause: Clause, antecedent: Agreement | None) -> Agreement:
        """What the finite verb agrees with; a question word is third person singular."""
        if clause.subject is not None:
            return agreement(clause.subject)
        return antecedent or Agreement()

    def _words(self, sentence: Sentence) -> list[Word]:
        main, link = sentence.clause, sentence.link
        if sentence.command:
            return self.clause(main, "imperative")
        if sentence.focus is not None:
            return self._cleft(sentence.focus, main)
        if sentence.question is not None:
            asked = [] if sentence.question == "polar" else self.words("question", sentence.question)
            return [*asked, *self.clause(main, "question")]
        if link is None:
            return self.clause(main, "main")
        if self.lexicon["conjunction"][link.conjunction]["kind"] == "coordinating":
            return [*self.clause(main, "main"), *self._coordinated(main, link.conjunction, link.clause)]
        subordinate = [
            *self.linking(link.conjunction, link.first),
            *self.clause(link.clause, "subordinate"),
        ]
        if link.first:
            return [*subordinate, COMMA, *self.clause(main, "inverted")]
        return [*self.clause(main, "main"), *self.opening(), *subordinate]

    def _coordinated(self, main: Clause, conjunction: str, second: Clause) -> list[Word]:
        joined = self.linking(conjunction, first=False)
        if second.subject is None:
            return [*joined, *self.clause(second, "conjunct", self.subject_agreement(main, None))]
        comma = [COMMA] if self.comma_before_and or conjunction != "and" else []
        return [*comma, *joined, *self.clause(second, "main")]

    def _cleft(self, focus: Phrase, clause: Clause) -> list[Word]:
        frame = self.cleft_frame("past" if clause.tense == "past" else "present", focus)
        who = self.relativiser(focus, "subject", clause.verb)
        brought_out = self.phrase(focus, "nom", Agreement())
        inner = self.clause(clause, "subordinate", agreement(focus))
        return [*frame, *brought_out, *self.opening(), who, *inner]

    def _relative(self, nominal: Nominal) -> list[Word]:
        relative = nominal.relative
        if relative is None:
            return []
        inner = self.clause(relative.clause, "subordinate", agreement(nominal))
        if relative.gap == "object" and len(self.phrase(relative.clause.subject, "nom", Agreement())) == 1:
            # *the key that Anna forgot* against *the key that forgot Anna*
            inner = [*movable(optional(inner[:1])), *inner[1:]]
        who = self.relativiser(nominal, relative.gap, relative.clause.verb)
        closing = [COMMA] if self.comma_closes_relative else []
        return [*self.opening(), who, *inner, *closing]
