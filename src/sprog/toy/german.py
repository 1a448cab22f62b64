"""German: three cases, three adjective declensions, and the verb at the end of a subordinate clause."""

from sprog.toy.abstract import Adjunct, Agreement, Clause, Nominal, Phrase, Pronoun
from sprog.toy.realiser import Order, Realiser


class German(Realiser):
    """Commas around every clause; none before *und*."""

    comma_opens_clause = True
    comma_closes_relative = True
    comma_before_and = False

    def clause(self, clause: Clause, order: Order, antecedent: Agreement | None = None) -> list[str]:
        """Order the words: verb second, the rest of the verbs last; all verbs last in subordinate clauses."""
        owner = self.subject_agreement(clause, antecedent)
        finite, infinite = self._verbs(clause, owner)
        if clause.verb == "exist":
            subject, direct = [self.form("word", "expletive")], clause.subject
        else:
            subject, direct = self.phrase(clause.subject, "nom", owner), clause.object
        time, place = self.time(clause), self.adjunct(clause.place, owner)
        front: list[str] = []
        if order == "main" and clause.front == "time":
            front, time = time, []
        elif order == "main" and clause.front == "place":
            front, place = place, []
        # *kein* takes the place of *nicht* before a noun without a definite article
        absorbed = clause.adverb == "not" and isinstance(direct, Nominal) and direct.determiner == "a"
        recipient = self.phrase(clause.recipient, "dat", owner)
        thing = self._direct(clause, direct, owner, negated=absorbed)
        early: list[str] = []
        if isinstance(clause.recipient, Pronoun):
            early, recipient = recipient, []
        if isinstance(direct, Pronoun):
            early, thing = [*thing, *early], []
        adverb = [] if absorbed else self.adverb(clause)
        frequency, negation = ([], adverb) if clause.adverb == "not" else (adverb, [])
        middle = [
            *early,
            *time,
            *frequency,
            *recipient,
            *thing,
            *negation,
            *self.adjunct(clause.companion, owner),
            *place,
            *self.predicate(clause, self._predicative(clause), owner),
        ]
        if order == "subordinate":
            words = [*subject, *middle, *infinite, finite]
        elif front or order in ("inverted", "question"):
            words = [*front, finite, *subject, *middle, *infinite]
        else:
            words = [*subject, finite, *middle, *infinite]
        return [*words, *self.complement(clause)]

    def nominal(self, nominal: Nominal, case: str, owner: Agreement) -> list[str]:
        """Determiner, adjective and noun in `case`."""
        return self._declined(nominal, case, owner, negated=False)

    def adjunct(self, adjunct: Adjunct | None, owner: Agreement) -> list[str]:
        """A preposition with the case it governs, contracted with the article where German does so."""
        if adjunct is None:
            return []
        phrase = adjunct.phrase
        if adjunct.preposition in ("at", "to") and isinstance(phrase, Nominal):
            preposition = self.form("place", phrase.noun, adjunct.preposition)
            case = "dat" if adjunct.preposition == "at" else self.form("place", phrase.noun, "to.case")
        else:
            preposition = self.form("preposition", adjunct.preposition)
            case = self.form("preposition", adjunct.preposition, "case")
        first, *rest = self.phrase(phrase, case, owner)
        contracted = self.table["contraction"].get(f"{preposition} {first}")
        return [contracted["form"], *rest] if contracted else [preposition, first, *rest]

    def relativiser(self, nominal: Nominal) -> str:
        """The relative pronoun: its gender from the noun, its case from its own clause."""
        assert nominal.relative is not None
        inner = nominal.relative
        case = "nom" if inner.gap == "subject" else self.form("verb", inner.clause.verb, "object")
        return self.form("determiner", f"relative.{self._kind(nominal)}", case)

    def _declined(self, nominal: Nominal, case: str, owner: Agreement, negated: bool) -> list[str]:
        kind = self._kind(nominal)
        determiner, declension = self._determiner(nominal, kind, case, owner, negated)
        adjective = []
        if nominal.adjective:
            ending = self.form("ending", f"{declension}.{kind}", case)
            adjective = [self.form("adjective", nominal.adjective, "stem") + ending]
        column = case if kind != "pl" else "pl.dat" if case == "dat" else "pl"
        return [*determiner, *adjective, self.form("noun", nominal.noun, column)]

    def _determiner(
        self, nominal: Nominal, kind: str, case: str, owner: Agreement, negated: bool
    ) -> tuple[list[str], str]:
        """The determiner and the declension it asks of an adjective."""
        determiner = nominal.determiner
        if determiner in ("the", "this"):
            return [self.form("determiner", f"{determiner}.{kind}", case)], "weak"
        if determiner in self.table["number"]:
            return [self.form("number", determiner, "dat" if case == "dat" else "form")], "strong"
        if determiner == "a" and negated:
            return [self.form("determiner", f"no.{kind}", case)], "mixed"
        if determiner == "a":
            mass = self.lexicon["noun"][nominal.noun]["count"] == "mass"
            if mass or kind == "pl":
                return [], "strong"
            return [self.form("determiner", f"a.{kind}", case)], "mixed"
        # possessives end as *kein* does
        suffix = self.form("determiner", f"no.{kind}", case).removeprefix("kein")
        possessive = self._own(owner) if determiner == "own" else determiner
        return [self.form("possessive", possessive, "stem") + suffix], "mixed"

    def _direct(self, clause: Clause, direct: Phrase | None, owner: Agreement, negated: bool) -> list[str]:
        if direct is None:
            return []
        case = self.form("verb", clause.verb, "object")
        if isinstance(direct, Nominal) and negated:
            return self._declined(direct, case, owner, negated)
        return self.phrase(direct, case, owner)

    def _verbs(self, clause: Clause, owner: Agreement) -> tuple[str, list[str]]:
        if clause.verb == "exist":
            owner = Agreement()
        if clause.modal:
            infinitive = self.form("verb", clause.verb, "infinitive")
            return self._finite("modal", clause.modal, clause.tense, owner), [infinitive]
        if clause.tense == "perfect":
            auxiliary = self.form("verb", clause.verb, "perfect")
            return self._finite("verb", auxiliary, "present", owner), [
                self.form("verb", clause.verb, "participle")
            ]
        return self._finite("verb", clause.verb, clause.tense, owner), []

    def _finite(self, part: str, lexeme: str, tense: str, owner: Agreement) -> str:
        plural = owner.number == "plural"
        if tense == "past":
            if owner.person == 2:
                raise ValueError("the German table has no second person of the past: use the perfect")
            return self.form(part, lexeme, "past.pl" if plural else "past")
        return self.form(part, lexeme, "pl" if plural else f"{owner.person}sg")

    def _kind(self, nominal: Nominal) -> str:
        return "pl" if nominal.number == "plural" else self.form("noun", nominal.noun, "gender")

    def _predicative(self, clause: Clause) -> str:
        return self.form("adjective", clause.predicate.adjective, "predicative") if clause.predicate else ""

    def _own(self, owner: Agreement) -> str:
        sex = owner.sex
        if sex == "n" and owner.noun is not None:
            sex = self.form("noun", owner.noun, "gender")
        return self.possessive(owner, "f" if sex == "f" else "m")
