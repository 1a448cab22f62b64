"""Danish, Swedish and Norwegian Bokmål: suffixed articles, verb second, adverbs that move."""

from typing import ClassVar

from toy_grammar.abstract import Agreement, Clause, Nominal, Phrase, Pronoun
from toy_grammar.realiser import Order, Realiser
from toy_grammar.words import Word, movable, optional


class Scandinavian(Realiser):
    """What the three share; the subclasses tell where they part."""

    double_definiteness: ClassVar[bool]
    negation_opens_command: ClassVar[bool] = False

    def clause(self, clause: Clause, order: Order, antecedent: Agreement | None = None) -> list[Word]:
        """Order the words: verb second in main clauses, adverb before the verb in subordinate ones."""
        clause = self.opinion(clause)
        owner = self.subject_agreement(clause, antecedent)
        subject = self.phrase(clause.subject, "nom", owner)
        entity: list[Word] = []
        if clause.verb == "exist":
            subject, entity = [self.one("word", "expletive", "PRON")], subject
        finite, infinite = self.verbs(clause, order)
        front, place, time = self.fronted(clause, order, owner)
        # *at hun ikke kommer*, in speech *at hun kommer ikke*; *kommer hun ofte*, *kommer ofte hun*
        plain = order == "main" and not front
        adverb = self.adverb(clause) if plain else movable(self.adverb(clause))
        objects = self.both_objects(clause, owner)
        tail = [
            *entity,
            *self.predicate(clause.predicate, owner),
            *self.agent(clause, "acc", owner),
            *self.adjunct(clause.companion, owner),
            *place,
            *time,
            *self._infinitives(clause, owner),
            *self.complement(clause),
        ]
        if order == "subordinate":
            return [*subject, *adverb, finite, *infinite, *objects, *tail]
        # an unstressed pronoun slips past the adverb unless a non-finite verb stands in its way
        shifts = isinstance(clause.object, Pronoun) and clause.recipient is None and not infinite
        middle = [*objects, *adverb] if shifts else [*adverb, *infinite, *objects]
        if order == "imperative":
            command = self.words("verb", clause.verb, "imperative")[:1]
            if self.negation_opens_command:
                return [*adverb, *command, *infinite, *objects, *tail]
            return [*command, *middle, *tail]
        if front or order in ("inverted", "question"):
            return [*front, finite, *subject, *middle, *tail]
        return [*subject, finite, *middle, *tail]

    def nominal(self, nominal: Nominal, case: str, owner: Agreement) -> list[Word]:  # noqa: ARG002
        """Determiner, adjective and noun; the definite article is a suffix if it can be."""
        plural = nominal.number == "plural"
        kind = self._kind(nominal)
        determiner = nominal.determiner
        before, after = self._determiner(nominal, kind, owner)
        weak = determiner not in ("a", "any", "no", *self.table["number"])
        adjective: list[Word] = []
        if nominal.adjective:
            column = "sup" if nominal.superlative else "def" if weak and not plural else kind
            adjective = self.words("adjective", nominal.adjective, column)
        bare = determiner == "the" and not before
        doubled = self.double_definiteness and determiner in ("the", "this")
        column = ("pl" if plural else "sg") + (".def" if bare or doubled or after else "")
        noun = self.words("noun", nominal.noun, column)
        # *den gamle*, *min* and *to* stand for a noun as well
        return [*before, *adjective, *(optional(noun) if before or adjective else noun), *after]

    def relativiser(self, head: Phrase, gap: str, verb: str) -> Word:  # noqa: ARG002
        """`der` or `som`: Danish tells subjects from objects."""
        who = self.one("word", f"relative.{gap}", "PRON")
        return who._replace(optional=gap == "object")

    def opener(self, opener: str) -> list[Word]:
        """As elsewhere, and after *who*, which stands for the subject, a relative pronoun: *hvem der*."""
        words = super().opener(opener)
        asks_subject = (
            opener in self.lexicon["question"] and self.lexicon["question"][opener]["asks"] == "subject"
        )
        return [*words, self.one("word", "relative.subject", "PRON")] if asks_subject else words

    def predicative(self, adjective: str, owner: Agreement) -> list[Word]:
        """Common, neuter or plural, as the subject is; *it* that stands for nothing is neuter."""
        if owner.number == "plural":
            return self.words("adjective", adjective, "pl")
        if owner.impersonal:
            return self.words("adjective", adjective, "n")
        gender = "c" if owner.noun is None else self.form("noun", owner.noun, "gender")
        return self.words("adjective", adjective, gender)

    def verbs(self, clause: Clause, order: Order) -> tuple[Word, list[Word]]:
        """The finite verb, and the verbs and particles that stay behind it."""
        if clause.passive:
            return self.one("word", "passive", "AUX"), self.words("verb", clause.verb, "supine")
        if clause.modal:
            modal = self.words("modal", clause.modal, clause.tense)
            infinitive = self.words("verb", clause.verb, "infinitive")
            # *vi skal til byen* needs no verb of motion
            moves = clause.place is not None and clause.place.preposition == "to"
            return modal[0], optional(infinitive) if moves else infinitive
        if clause.tense == "perfect":
            auxiliary = self.form("verb", clause.verb, "perfect")
            finite = Word(self.form("verb", auxiliary, "present"), "AUX", self.drops_have(clause.verb, order))
            supine = self.words("verb", clause.verb, "supine")
            # *hun har købt en bog* against *hun har en bog*
            return finite, optional(supine) if clause.object else supine
        finite, *particle = self.words("verb", clause.verb, clause.tense)
        return finite, optional(particle)

    def drops_have(self, verb: str, order: Order) -> bool:  # noqa: ARG002
        """Whether a perfect may lack its *have* in this order."""
        return False

    def _determiner(self, nominal: Nominal, kind: str, owner: Agreement) -> tuple[list[Word], list[Word]]:
        """What stands before the adjective, and what after the noun."""
        determiner = nominal.determiner
        count = self.lexicon["noun"][nominal.noun]["count"]
        if determiner == "the":
            wanted = bool(nominal.adjective)
            return (self.words("determiner", "the", kind) if wanted else []), []
        if determiner == "a":
            wanted = count != "mass" and kind != "pl"
            return ([self.one("word", f"a.{kind}", "DET")] if wanted else []), []
        if determiner == "any":
            return self.words("determiner", "any_mass" if count == "mass" else "any", kind), []
        if determiner in ("this", "no"):
            return self.words("determiner", determiner, kind), []
        if determiner in self.table["number"]:
            return self.words("number", determiner), []
        return self.owned(nominal, kind, owner)

    def owned(self, nominal: Nominal, kind: str, owner: Agreement) -> tuple[list[Word], list[Word]]:
        """A possessive or a genitive, before or after the noun."""
        if nominal.determiner == "genitive":
            *words, last = self.phrase(nominal.possessor, "nom", owner)
            return [*words, last._replace(text=self.genitive(last.text))], []
        return self.possessives(nominal.determiner, kind, owner), []

    def possessives(self, determiner: str, kind: str, owner: Agreement) -> list[Word]:
        """A possessive; `own` is *sin* after a third person."""
        if determiner != "own":
            return self.words("possessive", determiner, kind)
        if owner.person == 3:
            return self.words("determiner", f"own.{owner.number}", kind)
        return self.words("possessive", self.possessive(owner, owner.sex), kind)

    def genitive(self, word: str) -> str:
        """The genitive of a noun or a name: an -s, or after an s an apostrophe."""
        return f"{word}'" if word.endswith("s") else f"{word}s"

    def _infinitives(self, clause: Clause, owner: Agreement) -> list[Word]:
        words: list[Word] = []
        if clause.infinitive is not None:
            marker = self.form("control", clause.verb, "marker")
            words += self.infinitive(
                clause.infinitive, owner, [Word(marker, "PART")] if marker != "-" else []
            )
        if clause.purpose is not None:
            before, marker = self.form("word", "purpose").split()
            words += self.infinitive(clause.purpose, owner, [Word(before, "ADP"), Word(marker, "PART")])
        return words

    def _kind(self, phrase: Nominal) -> str:
        return "pl" if phrase.number == "plural" else self.form("noun", phrase.noun, "gender")


class Danish(Scandinavian):
    """Commas around every clause; *det store hus*."""

    double_definiteness = False
    comma_opens_clause = True
    comma_closes_relative = True
    comma_before_and = True


class Swedish(Scandinavian):
    """Few commas; *det stora huset*; passives in -s."""

    double_definiteness = True
    comma_opens_clause = False
    comma_closes_relative = False
    comma_before_and = False

    def verbs(self, clause: Clause, order: Order) -> tuple[Word, list[Word]]:
        """As the neighbours do, but a passive is one word."""
        if clause.passive:
            finite, *particle = self.words("verb", clause.verb, "past")
            return finite._replace(text=f"{finite.text}s"), particle
        return super().verbs(clause, order)

    def drops_have(self, verb: str, order: Order) -> bool:  # noqa: ARG002
        """In subordinate clauses: *boken som hon (har) läst*."""
        return order == "subordinate"

    def genitive(self, word: str) -> str:
        """An -s, or after an s nothing."""
        return word if word.endswith("s") else f"{word}s"


class Bokmal(Scandinavian):
    """A comma where a clause ends; *det store huset*; *bilen min*; *ikke glem nøkkelen*."""

    double_definiteness = True
    negation_opens_command = True
    comma_opens_clause = False
    comma_closes_relative = True
    comma_before_and = True

    def drops_have(self, verb: str, order: Order) -> bool:  # noqa: ARG002
        """Where supine and past are one form: *hun (har) åpnet døra*."""
        return self.form("verb", verb, "supine") == self.form("verb", verb, "past")

    def owned(self, nominal: Nominal, kind: str, owner: Agreement) -> tuple[list[Word], list[Word]]:
        """A possessive or a genitive, after the noun if the speaker likes it so."""
        article = self.words("determiner", "the", kind) if nominal.adjective else []
        if nominal.postposed and nominal.determiner == "genitive":
            of = self.one("word", "of", "ADP")
            return article, [of, *self.phrase(nominal.possessor, "nom", owner)]
        if nominal.postposed:
            return article, self.possessives(nominal.determiner, kind, owner)
        # before the noun the feminine is too rustic for a book: *min bok*, but *boka mi*
        return super().owned(nominal, "c" if kind == "f" else kind, owner)
