"""English: the subject first, the third person's -s, and *do* where nothing else can carry the sentence."""

from sprog.toy.abstract import Agreement, Clause, Nominal
from sprog.toy.realiser import Order, Realiser


class English(Realiser):
    """British spelling; restrictive relative clauses without commas."""

    comma_opens_clause = False
    comma_closes_relative = False
    comma_before_and = True

    def clause(self, clause: Clause, order: Order, antecedent: Agreement | None = None) -> list[str]:
        """Order the words: subject before verb, but an auxiliary before the subject in questions."""
        owner = self.subject_agreement(clause, antecedent)
        subject = self.phrase(clause.subject, "nom", owner)
        entity: list[str] = []
        if clause.verb == "exist":
            subject, entity = [self.form("word", "expletive")], subject
        asks = order == "question" and clause.subject is not None
        auxiliary, verb = self._verbs(clause, owner, support=asks or clause.adverb == "not")
        time, place = self.time(clause), self.adjunct(clause.place, owner)
        front: list[str] = []
        if order == "main" and clause.front == "time":
            front, time = time, []
        elif order == "main" and clause.front == "place":
            front, place = place, []
        head = [*auxiliary, *subject] if asks else [*front, *subject, *auxiliary]
        return [
            *head,
            *self.adverb(clause),
            *verb,
            *entity,
            *self.phrase(clause.recipient, "acc", owner),
            *self.phrase(clause.object, "acc", owner),
            *self.predicate(clause, self._predicative(clause), owner),
            *self.adjunct(clause.companion, owner),
            *place,
            *time,
            *self.complement(clause),
        ]

    def nominal(self, nominal: Nominal, case: str, owner: Agreement) -> list[str]:  # noqa: ARG002
        """Determiner, adjective and noun; adjectives never change."""
        plural = nominal.number == "plural"
        column = "pl" if plural else "sg"
        adjective = [self.form("adjective", nominal.adjective)] if nominal.adjective else []
        words = [*adjective, self.form("noun", nominal.noun, column)]
        determiner = nominal.determiner
        if determiner == "own":
            neuter = (owner.person, owner.number, owner.sex) == (3, "singular", "n")
            own = (
                self.form("word", "its")
                if neuter
                else self.form("possessive", self.possessive(owner, owner.sex))
            )
            return [own, *words]
        if determiner in self.table["determiner"]:
            return [self.form("determiner", determiner, column), *words]
        if determiner in self.table["number"]:
            return [self.form("number", determiner), *words]
        if determiner != "a":
            return [self.form("possessive", determiner), *words]
        if plural or self.lexicon["noun"][nominal.noun]["count"] == "mass":
            return words
        # the tables hold no word like *hour* or *university*, whose first letter misleads
        return [self.form("word", "a.vowel" if words[0][0] in "aeiou" else "a.consonant"), *words]

    def relativiser(self, nominal: Nominal) -> str:
        """`who` for people, `that` for the rest and for objects."""
        assert nominal.relative is not None
        classes = self.lexicon["noun"][nominal.noun]["class"].split(",")
        person = "person" in classes and nominal.relative.gap == "subject"
        return self.form("word", "relative.person" if person else "relative.thing")

    def _verbs(self, clause: Clause, owner: Agreement, support: bool) -> tuple[list[str], list[str]]:
        """The auxiliary, if there is one, and the verbs that stay behind it."""
        if clause.tense == "perfect":
            return [self._finite("verb", "have", "present", owner)], [
                self.form("verb", clause.verb, "participle")
            ]
        part, lexeme = ("modal", clause.modal) if clause.modal else ("verb", clause.verb)
        rest = [self.form("verb", clause.verb, "base")] if clause.modal else []
        finite = self._finite(part, lexeme, clause.tense, owner)
        base = self.form(part, lexeme, "base")
        # only *be* and the modals without -s do an auxiliary's work; *have to* and *want to* do not
        if base == "be" or (clause.modal and base == self.form(part, lexeme, "third")):
            return [finite], rest
        if support:
            return [self._support(clause.tense, owner)], [base, *rest]
        return [], [finite, *rest]

    def _finite(self, part: str, lexeme: str, tense: str, owner: Agreement) -> str:
        plain = owner.number == "plural" or owner.person == 2
        if self.form(part, lexeme, "base") == "be" and tense == "past":
            return self.form("word", "were") if plain else self.form(part, lexeme, "past")
        if self.form(part, lexeme, "base") == "be" and (plain or owner.person == 1):
            return self.form("word", "are" if plain else "am")
        if tense == "past":
            return self.form(part, lexeme, "past")
        return self.form(part, lexeme, "base" if plain or owner.person == 1 else "third")

    def _support(self, tense: str, owner: Agreement) -> str:
        if tense == "past":
            return self.form("word", "did")
        return self.form("word", "does" if owner.number == "singular" and owner.person == 3 else "do")

    def _predicative(self, clause: Clause) -> str:
        return self.form("adjective", clause.predicate.adjective) if clause.predicate else ""
