"""German: three cases and a genitive, three declensions, and the verb at the end of a subordinate clause."""

from toy_grammar.abstract import (
    Adjunct,
    Agreement,
    Clause,
    Name,
    Nominal,
    Pair,
    Phrase,
    Pronoun,
    Tense,
    agreement,
)
from toy_grammar.realiser import Order, Realiser
from toy_grammar.tables import load_table
from toy_grammar.words import COMMA, Word, optional


class German(Realiser):
    """Commas around every clause; none before *und*."""

    comma_opens_clause = True
    comma_closes_relative = True
    comma_before_and = False

    def clause(self, clause: Clause, order: Order, antecedent: Agreement | None = None) -> list[Word]:
        """Order the words: verb second, the rest of the verbs last; all verbs last in subordinate clauses."""
        owner = self.subject_agreement(clause, antecedent)
        front, place, time = self.fronted(clause, order, owner)
        subject, direct = self.phrase(clause.subject, "nom", owner), clause.object
        if clause.verb == "exist":
            if self._is_to_be_had(clause.subject):
                subject, direct = [self.one("word", "expletive", "PRON")], clause.subject
                owner = Agreement()
                place = [*optional(place[:1]), *place[1:]]
            elif order == "main":
                # *hinter dem Haus ist eine Kuh*, which is there by chance
                front, place = [*front, *place], []
        finite, infinite, prefix = self._verbs(clause, owner)
        middle = self._middle(clause, direct, owner, place, time)
        extraposed = [*self._infinitives(clause, owner), *self.complement(clause)]
        if order == "subordinate":
            closing = finite._replace(text=prefix[0].text + finite.text) if prefix else finite
            return [*subject, *middle, *infinite, closing, *extraposed]
        if order == "imperative":
            finite, subject = self.words("verb", clause.verb, "imperative")[0], []
        if front or order in ("inverted", "question"):
            return [*front, finite, *subject, *middle, *infinite, *prefix, *extraposed]
        return [*subject, finite, *middle, *infinite, *prefix, *extraposed]

    def infinitive(self, clause: Clause, owner: Agreement, opening: list[Word]) -> list[Word]:
        """Between commas: what goes with the infinitive, then *zu* and the infinitive."""
        middle = self._middle(clause, clause.object, owner, self.adjunct(clause.place, owner), [])
        verb = self.words("verb", clause.verb, "infinitive")
        zu = self.form("word", "infinitive")
        if prefix := self._prefix(clause.verb):
            verb = [Word(prefix + zu + verb[0].text.removeprefix(prefix), "VERB")]
        else:
            verb = [Word(zu, "PART"), *verb]
        return [COMMA, *opening, *middle, *verb, COMMA]

    def nominal(self, nominal: Nominal, case: str, owner: Agreement) -> list[Word]:
        """Determiner, adjective and noun in `case`."""
        return self._declined(nominal, case, owner, negated=False)

    def adjunct(self, adjunct: Adjunct | None, owner: Agreement) -> list[Word]:
        """A preposition with the case it governs, contracted with the article where German does so."""
        if adjunct is None:
            return []
        phrase = adjunct.phrase
        if adjunct.preposition in ("at", "to") and isinstance(phrase, Nominal):
            preposition = self.words("place", phrase.noun, adjunct.preposition)
            case = "dat" if adjunct.preposition == "at" else self.form("place", phrase.noun, "to.case")
        else:
            preposition = self.words("preposition", adjunct.preposition)
            case = self.form("preposition", adjunct.preposition, "case")
        first, *rest = self.phrase(phrase, case, owner)
        contracted = self.table["contraction"].get(f"{preposition[0].text} {first.text}")
        if contracted and first.tag == "DET":
            return [Word(contracted["form"], "ADP"), *rest]
        return [*preposition, first, *rest]

    def relativiser(self, head: Phrase, gap: str, verb: str) -> Word:
        """The relative pronoun: its gender from the head, its case from its own clause."""
        case = "nom" if gap == "subject" else self.form("verb", verb, "object")
        return self.one("determiner", f"relative.{self._gender(head)}", "PRON", case)

    def opener(self, opener: str) -> list[Word]:
        """As elsewhere, but without *dass* the verb would not stand where it does."""
        return [word._replace(optional=False) for word in super().opener(opener)]

    def linking(self, conjunction: str, first: bool) -> list[Word]:
        """As elsewhere, but without a subordinating conjunction the verb would not stand where it does."""
        subordinating = self.lexicon["conjunction"][conjunction]["kind"] == "subordinating"
        return super().linking(conjunction, first or subordinating)

    def predicative(self, adjective: str, owner: Agreement) -> list[Word]:  # noqa: ARG002
        """The bare stem, whatever the subject is."""
        return self.words("adjective", adjective, "predicative")

    def cleft_frame(self, tense: Tense, focus: Phrase) -> list[Word]:
        """*es ist*, or *es sind*: the verb agrees with the focus."""
        return [*self.words("pronoun", "it", "nom"), *self._finite("verb", "be", tense, agreement(focus))]

    def profession(self, noun: str) -> list[Word]:
        """What somebody is by profession, without an article."""
        return self.words("noun", noun, "nom")

    def _middle(
        self, clause: Clause, direct: Phrase | None, owner: Agreement, place: list[Word], time: list[Word]
    ) -> list[Word]:
        """What stands between the verbs: pronouns, time, what is known, adverbs, what is new."""
        # *kein* takes the place of *nicht* before a noun without a definite article
        absorbed = (
            clause.adverb == "not" and isinstance(direct, Nominal) and direct.determiner in ("a", "any")
        )
        adverb = [] if absorbed else self.adverb(clause)
        if clause.adverb == "not" and clause.predicate is not None:
            if clause.predicate.job is not None:
                gender = self.form("noun", clause.predicate.job, "gender")
                adverb = self.words("determiner", f"no.{gender}", "nom")
            elif clause.predicate.nominal is not None and clause.predicate.nominal.determiner == "any":
                adverb = []
        frequency, negation = ([], adverb) if clause.adverb == "not" else (adverb, [])
        recipient = self.objects(clause.recipient, "dat", owner)
        thing = self._direct(clause, direct, owner, negated=absorbed)
        early: list[Word] = []
        if isinstance(clause.recipient, Pronoun):
            early, recipient = recipient, []
        if isinstance(direct, Pronoun):
            early, thing = [*thing, *early], []
        known, new = (thing, []) if _definite(direct) else ([], thing)
        # *es ist auf dem Berg immer kalt*, but *sie schläft immer im Garten*
        scene, place = (place, []) if clause.predicate is not None else ([], place)
        return [
            *early,
            *time,
            *scene,
            *recipient,
            *known,
            *frequency,
            *new,
            *negation,
            *self.agent(clause, "dat", owner),
            *self.adjunct(clause.companion, owner),
            *place,
            *self.predicate(clause.predicate, owner),
        ]

    def _declined(self, nominal: Nominal, case: str, owner: Agreement, negated: bool) -> list[Word]:
        kind = self._kind(nominal)
        determiner, declension = self._determiner(nominal, kind, case, owner, negated)
        adjective: list[Word] = []
        if nominal.adjective:
            ending = self.form("ending", f"{declension}.{kind}", case)
            stem = self.form("adjective", nominal.adjective, "sup" if nominal.superlative else "stem")
            adjective = [Word(stem + ending, "ADJ")]
        column = case if kind != "pl" else "pl.dat" if case == "dat" else "pl"
        owned = []
        if isinstance(nominal.possessor, Nominal):
            owned = self._declined(nominal.possessor, "gen", owner, negated=False)
        noun = self.words("noun", nominal.noun, column)
        # *das alte*, *mein* and *zwei* stand for a noun as well
        return [*determiner, *adjective, *(optional(noun) if determiner or adjective else noun), *owned]

    def _determiner(
        self, nominal: Nominal, kind: str, case: str, owner: Agreement, negated: bool
    ) -> tuple[list[Word], str]:
        """The determiner and the declension it asks of an adjective."""
        determiner = nominal.determiner
        if isinstance(nominal.possessor, Name):
            name = self.phrase(nominal.possessor, "nom", owner)[0]
            genitive = f"{name.text}'" if name.text.endswith("s") else f"{name.text}s"
            return [name._replace(text=genitive)], "strong"
        if determiner in ("the", "this", "genitive"):
            part = "this" if determiner == "this" else "the"
            return self.words("determiner", f"{part}.{kind}", case), "weak"
        if determiner in self.table["number"]:
            return self.words("number", determiner, "dat" if case == "dat" else "form"), "strong"
        if determiner in ("no", "any") or negated:
            return self.words("determiner", f"no.{kind}", case), "mixed"
        if determiner == "a":
            mass = self.lexicon["noun"][nominal.noun]["count"] == "mass"
            if mass or kind == "pl":
                return [], "strong"
            return self.words("determiner", f"a.{kind}", case), "mixed"
        # possessives end as *kein* does
        suffix = self.form("determiner", f"no.{kind}", case).removeprefix("kein")
        possessive = self._own(owner) if determiner == "own" else determiner
        return [Word(self.form("possessive", possessive, "stem") + suffix, "DET")], "mixed"

    def _direct(self, clause: Clause, direct: Phrase | None, owner: Agreement, negated: bool) -> list[Word]:
        if direct is None:
            return []
        case = self.form("verb", clause.verb, "object")
        if isinstance(direct, Nominal) and negated and direct.determiner in ("a", "any"):
            return self._declined(direct, case, owner, negated)
        return self.objects(direct, case, owner)

    def _verbs(self, clause: Clause, owner: Agreement) -> tuple[Word, list[Word], list[Word]]:
        """The finite verb, the verbs that close the clause, and the prefix that the finite verb has lost."""
        participle = self.words("verb", clause.verb, "participle")
        if clause.passive:
            row = "passive.pl" if owner.number == "plural" else "passive"
            return self.one("word", row, "AUX"), participle, []
        if clause.modal:
            # *sie will das Buch* needs no verb
            infinitive = optional(self.words("verb", clause.verb, "infinitive"))
            return self._finite("modal", clause.modal, clause.tense, owner)[0], infinitive, []
        if clause.tense == "perfect":
            auxiliary = self.form("verb", clause.verb, "perfect")
            finite = self._finite("verb", auxiliary, "present", owner)[0]._replace(tag="AUX")
            return finite, optional(participle) if clause.object else participle, []
        verb = "be" if clause.verb == "exist" and not self._is_to_be_had(clause.subject) else clause.verb
        finite, *prefix = self._finite("verb", verb, clause.tense, owner)
        return finite, [], optional(prefix)

    def _finite(self, part: str, lexeme: str, tense: str, owner: Agreement) -> list[Word]:
        plural = owner.number == "plural"
        if tense == "past":
            if owner.person == 2:
                raise ValueError("the German table has no second person of the past: use the perfect")
            return self.words(part, lexeme, "past.pl" if plural else "past")
        return self.words(part, lexeme, "pl" if plural else f"{owner.person}sg")

    def _infinitives(self, clause: Clause, owner: Agreement) -> list[Word]:
        words: list[Word] = []
        if clause.infinitive is not None:
            words += self.infinitive(clause.infinitive, owner, [])
        if clause.purpose is not None:
            # once one said: *er ging, Brot zu kaufen*
            um = optional([self.one("word", "purpose", "SCONJ")])
            words += self.infinitive(clause.purpose, owner, um)
        return words

    def _prefix(self, verb: str) -> str:
        return self.form("verb", verb, "3sg").partition(" ")[2]

    def _is_to_be_had(self, phrase: Phrase | None) -> bool:
        """Whether *es gibt* is said of it: food, and what does not move."""
        if not isinstance(phrase, Nominal):
            return False
        classes = self.lexicon["noun"][phrase.noun]["class"].split(",")
        return not {"food", "drink", "place", "sight"}.isdisjoint(classes)

    def _kind(self, nominal: Nominal) -> str:
        return "pl" if nominal.number == "plural" else self.form("noun", nominal.noun, "gender")

    def _gender(self, head: Phrase) -> str:
        if isinstance(head, Nominal):
            return self._kind(head)
        known = agreement(head)
        return "pl" if known.number == "plural" else known.sex

    def _own(self, owner: Agreement) -> str:
        sex = owner.sex
        if sex == "n" and owner.noun is not None:
            sex = self.form("noun", owner.noun, "gender")
        return self.possessive(owner, "f" if sex == "f" else "m")


def _definite(phrase: Phrase | None) -> bool:
    """Whether a phrase is of something known, which precedes adverbs."""
    match phrase:
        case Pair(first, second):
            return _definite(first) and _definite(second)
        case Nominal():
            numbers = load_table("lexicon")["number"]
            return phrase.determiner not in ("a", "any", "no", *numbers)
    return phrase is not None
