"""Danish, Swedish and Norwegian Bokmål: suffixed articles, verb second, adverbs that move."""

from sprog.toy.abstract import Agreement, Clause, Nominal, Pronoun
from sprog.toy.realiser import Order, Realiser


class Scandinavian(Realiser):
    """What the three share; the subclasses tell where they part."""

    double_definiteness: bool

    def clause(self, clause: Clause, order: Order, antecedent: Agreement | None = None) -> list[str]:
        """Order the words: verb second in main clauses, adverb before the verb in subordinate ones."""
        owner = self.subject_agreement(clause, antecedent)
        subject = self.phrase(clause.subject, "nom", owner)
        entity: list[str] = []
        if clause.verb == "exist":
            subject, entity = [self.form("word", "expletive")], subject
        finite, infinite = self._verbs(clause)
        adverb = self.adverb(clause)
        objects = [*self.phrase(clause.recipient, "acc", owner), *self.phrase(clause.object, "acc", owner)]
        time, place = self.time(clause), self.adjunct(clause.place, owner)
        front: list[str] = []
        if order == "main" and clause.front == "time":
            front, time = time, []
        elif order == "main" and clause.front == "place":
            front, place = place, []
        tail = [
            *entity,
            *self.predicate(clause, self._predicative(clause, owner), owner),
            *self.adjunct(clause.companion, owner),
            *place,
            *time,
            *self.complement(clause),
        ]
        if order == "subordinate":
            return [*subject, *adverb, finite, *infinite, *objects, *tail]
        # an unstressed pronoun slips past the adverb unless a non-finite verb stands in its way
        shifts = isinstance(clause.object, Pronoun) and clause.recipient is None and not infinite
        middle = [*objects, *adverb] if shifts else [*adverb, *infinite, *objects]
        if front or order in ("inverted", "question"):
            return [*front, finite, *subject, *middle, *tail]
        return [*subject, finite, *middle, *tail]

    def nominal(self, nominal: Nominal, case: str, owner: Agreement) -> list[str]:  # noqa: ARG002
        """Determiner, adjective and noun; the definite article is a suffix if it can be."""
        plural = nominal.number == "plural"
        kind = self._kind(nominal)
        determiner = nominal.determiner
        if determiner == "own":
            before = [self._own(owner, kind)]
        elif determiner == "the":
            before = [self.form("determiner", "the", kind)] if nominal.adjective else []
        elif determiner == "this":
            before = [self.form("determiner", "this", kind)]
        elif determiner == "a":
            countable = self.lexicon["noun"][nominal.noun]["count"] == "count"
            before = [self.form("word", f"a.{kind}")] if countable and not plural else []
        elif determiner in self.table["number"]:
            before = [self.form("number", determiner)]
        else:
            before = [self.form("possessive", determiner, kind)]
        weak = determiner not in ("a", *self.table["number"])
        adjective = []
        if nominal.adjective:
            adjective = [self.form("adjective", nominal.adjective, "def" if weak and not plural else kind)]
        suffixed = (determiner == "the" and not before) or (
            self.double_definiteness and determiner in ("the", "this")
        )
        column = ("pl" if plural else "sg") + (".def" if suffixed else "")
        return [*before, *adjective, self.form("noun", nominal.noun, column)]

    def relativiser(self, nominal: Nominal) -> str:
        """`der` or `som`: Danish tells subjects from objects."""
        assert nominal.relative is not None
        return self.form("word", f"relative.{nominal.relative.gap}")

    def _verbs(self, clause: Clause) -> tuple[str, list[str]]:
        if clause.modal:
            return self.form("modal", clause.modal, clause.tense), [
                self.form("verb", clause.verb, "infinitive")
            ]
        if clause.tense == "perfect":
            auxiliary = self.form("verb", clause.verb, "perfect")
            return self.form("verb", auxiliary, "present"), [self.form("verb", clause.verb, "supine")]
        return self.form("verb", clause.verb, clause.tense), []

    def _kind(self, phrase: Nominal) -> str:
        return "pl" if phrase.number == "plural" else self.form("noun", phrase.noun, "gender")

    def _predicative(self, clause: Clause, owner: Agreement) -> str:
        if clause.predicate is None:
            return ""
        kind = "c" if owner.noun is None else self.form("noun", owner.noun, "gender")
        return self.form("adjective", clause.predicate.adjective, "pl" if owner.number == "plural" else kind)

    def _own(self, owner: Agreement, kind: str) -> str:
        if owner.person == 3:
            return self.form("determiner", f"own.{owner.number}", kind)
        return self.form("possessive", self.possessive(owner, owner.sex), kind)


class Danish(Scandinavian):
    """Commas around every clause; *det store hus*."""

    double_definiteness = False
    comma_opens_clause = True
    comma_closes_relative = True
    comma_before_and = True


class Swedish(Scandinavian):
    """Few commas; *det stora huset*."""

    double_definiteness = True
    comma_opens_clause = False
    comma_closes_relative = False
    comma_before_and = False


class Bokmal(Scandinavian):
    """A comma where a clause ends; *det store huset*."""

    double_definiteness = True
    comma_opens_clause = False
    comma_closes_relative = True
    comma_before_and = True
