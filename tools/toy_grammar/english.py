"""English: the subject first, the third person's -s, and *do* where nothing else can carry the sentence."""

from toy_grammar.abstract import Agreement, Clause, Nominal, Phrase
from toy_grammar.realiser import Order, Realiser
from toy_grammar.words import Word, movable, optional

NEVER_ALONE = ("a", "an", "the", "my", "your", "our", "their", "its")
"""Determiners that want a noun."""


class English(Realiser):
    """British spelling; restrictive relative clauses without commas."""

    comma_opens_clause = False
    comma_closes_relative = False
    comma_before_and = True
    infinitive_column = "base"

    def clause(self, clause: Clause, order: Order, antecedent: Agreement | None = None) -> list[Word]:
        """Order the words: subject before verb, but an auxiliary before the subject in questions."""
        clause = self.opinion(clause)
        owner = self.subject_agreement(clause, antecedent)
        subject = self.phrase(clause.subject, "nom", owner)
        entity: list[Word] = []
        if clause.verb == "exist":
            subject, entity = [self.one("word", "expletive", "PRON")], subject
        asks = order == "question" and clause.subject is not None
        direct = self.both_objects(clause, owner)
        adverb = self.adverb(clause)
        front, place, time = self.fronted(clause, order, owner)
        if order == "imperative":
            support = [self.one("word", "do", "AUX")] if clause.adverb == "not" else []
            head, verb = [*support, *adverb], self.words("verb", clause.verb, "base")
        else:
            auxiliary, verb = self._verbs(clause, owner, support=asks or clause.adverb == "not")
            if auxiliary and not (direct or clause.predicate or place or time or clause.companion):
                # *she has slept*, *she has*
                verb = optional(verb)
            if order == "conjunct" and clause.ongoing:
                auxiliary = []
            # *she often sings*, *she sings often*; and *you read it?* asks as well
            head = [*optional(auxiliary), *subject] if asks else [*front, *subject, *auxiliary]
            head += adverb if clause.adverb == "not" else movable(adverb)
        return [
            *head,
            *verb,
            *entity,
            *direct,
            *self.predicate(clause.predicate, owner),
            *self.agent(clause, "acc", owner),
            *self.adjunct(clause.companion, owner),
            *place,
            *time,
            *self._infinitives(clause, owner),
            *self.complement(clause),
        ]

    def nominal(self, nominal: Nominal, case: str, owner: Agreement) -> list[Word]:  # noqa: ARG002
        """Determiner, adjective and noun; adjectives never agree."""
        column = "pl" if nominal.number == "plural" else "sg"
        adjective: list[Word] = []
        if nominal.adjective:
            form = "sup" if nominal.superlative else "form"
            adjective = self.words("adjective", nominal.adjective, form)
        noun = self.words("noun", nominal.noun, column)
        following = (adjective or noun)[0].text
        determiner = self._determiner(nominal, column, owner, following)
        # *his*, *this* and *two* stand for a noun as well; *the*, *my* and *the old* do not
        alone = determiner and not adjective and determiner[-1].text not in NEVER_ALONE
        return [*determiner, *adjective, *(optional(noun) if alone else noun)]

    def relativiser(self, head: Phrase, gap: str, verb: str) -> Word:  # noqa: ARG002
        """`who` for people, `that` for the rest and for objects."""
        classes = ["person"]
        if isinstance(head, Nominal):
            classes = self.lexicon["noun"][head.noun]["class"].split(",")
        person = "person" in classes and gap == "subject"
        who = self.one("word", "relative.person" if person else "relative.thing", "PRON")
        return who._replace(optional=gap == "object")

    def predicative(self, adjective: str, owner: Agreement) -> list[Word]:  # noqa: ARG002
        """The only form there is."""
        return self.words("adjective", adjective)

    def profession(self, noun: str) -> list[Word]:
        """What somebody is by profession, with an article."""
        return self.nominal(Nominal(noun, determiner="a"), "nom", Agreement())

    def linking(self, conjunction: str, first: bool) -> list[Word]:  # noqa: ARG002
        """Without its conjunction a clause is a main clause, also in front."""
        return optional(self.words("conjunction", conjunction))

    def _determiner(self, nominal: Nominal, column: str, owner: Agreement, following: str) -> list[Word]:
        determiner = nominal.determiner
        mass = self.lexicon["noun"][nominal.noun]["count"] == "mass"
        if determiner == "genitive":
            *words, last = self.phrase(nominal.possessor, "nom", owner)
            plural = isinstance(nominal.possessor, Nominal) and nominal.possessor.number == "plural"
            bare = plural and last.text.endswith("s")
            suffix = self.form("word", "genitive.pl" if bare else "genitive")
            return [*words, last._replace(text=last.text + suffix)]
        if determiner == "own":
            if (owner.person, owner.number, owner.sex) == (3, "singular", "n"):
                return [self.one("word", "its", "DET")]
            return self.words("possessive", self.possessive(owner, owner.sex))
        singular = column == "sg" and not mass
        if determiner == "a" or (determiner == "any" and singular):
            # the tables hold no word like *hour* or *university*, whose first letter misleads
            article = "a.vowel" if following[0] in "aeiou" else "a.consonant"
            return [self.one("word", article, "DET")] if singular else []
        if determiner in self.table["determiner"]:
            return self.words("determiner", determiner, column)
        part = "number" if determiner in self.table["number"] else "possessive"
        return self.words(part, determiner)

    def _verbs(self, clause: Clause, owner: Agreement, support: bool) -> tuple[list[Word], list[Word]]:
        """The auxiliary, if there is one, and the verbs that stay behind it."""
        if clause.passive:
            participle = self.words("verb", clause.verb, "participle")
            # *the door was opened by Anna* against *the door was by Anna*
            return self._finite("verb", "be", "past", owner), optional(participle)
        if clause.ongoing:
            return self._finite("verb", "be", clause.tense, owner), self.words("verb", clause.verb, "ing")
        if clause.tense == "perfect":
            have = Word(self._finite("verb", "have", "present", owner)[0].text, "AUX")
            participle = self.words("verb", clause.verb, "participle")
            same = self.form("verb", clause.verb, "participle") == self.form("verb", clause.verb, "past")
            # *she has opened it*, *she opened it*, *she has it*
            return [have._replace(optional=same)], optional(participle) if clause.object else participle
        base = self.words("verb", clause.verb, "base")
        if clause.modal and len(self.words("modal", clause.modal, "base")) == 1:
            plain = self.form("verb", clause.verb, "base")
            stands = plain in (
                self.form("verb", clause.verb, "past"),
                " ".join(word.text for word in self._finite("verb", clause.verb, "present", owner)),
            )
            finite = self._finite("modal", clause.modal, clause.tense, owner)
            return optional(finite) if stands else finite, base
        part, lexeme, rest = "verb", clause.verb, []
        if clause.modal:
            # *have to* and *want to* are no auxiliaries: they need *do*, as other verbs do
            part, lexeme, rest = "modal", clause.modal, base
        finite = self._finite(part, lexeme, clause.tense, owner)
        if lexeme in ("be", "exist"):
            return [word._replace(tag="AUX") for word in finite], rest
        if support:
            return [self._support(clause.tense, owner)], [*self.words(part, lexeme, "base"), *rest]
        verb, *particle = finite
        return [], [verb, *(particle if clause.modal else optional(particle)), *rest]

    def _finite(self, part: str, lexeme: str, tense: str, owner: Agreement) -> list[Word]:
        plain = owner.number == "plural" or owner.person == 2
        if self.form(part, lexeme, "base") == "be" and (plain or owner.person == 1):
            if tense == "past" and plain:
                return [self.one("word", "were", "AUX")]
            if tense == "present":
                return [self.one("word", "are" if plain else "am", "AUX")]
        if tense == "past":
            return self.words(part, lexeme, "past")
        return self.words(part, lexeme, "base" if plain or owner.person == 1 else "third")

    def _support(self, tense: str, owner: Agreement) -> Word:
        if tense == "past":
            return self.one("word", "did", "AUX")
        does = owner.number == "singular" and owner.person == 3
        return self.one("word", "does" if does else "do", "AUX")

    def _infinitives(self, clause: Clause, owner: Agreement) -> list[Word]:
        to = [self.one("word", "infinitive", "PART")]
        infinitives = [i for i in (clause.infinitive, clause.purpose) if i is not None]
        return [word for i in infinitives for word in self.infinitive(i, owner, to)]
