"""The constructions of the grammar: each draws one kind of sentence.

To add one, write a function from `Draw` to `Sentence` under `@construction`; its name is the construction's.
"""

from collections.abc import Callable
from dataclasses import replace

from sprog.toy.abstract import Clause, Link, Nominal, Phrase, Predicate, Relative, Sentence, Tense
from sprog.toy.clauses import (
    SIMPLE,
    anaphor,
    copula,
    definite_nominal,
    event,
    intransitive,
    located,
    motion,
    state,
    transitive,
)
from sprog.toy.draw import Draw

Construction = Callable[[Draw], Sentence]

ASKED_FOR = "written,ware,food,tool,baked,machine"
"""The classes of things that *what* asks for."""

COMPARED = (
    "person",
    "animal",
    "food",
    "drink",
    "text",
    "vehicle",
    "furniture",
    "clothing",
    "building",
    "place",
)
"""The classes within which things are compared: a car with a boat, not with a king."""

_constructions: dict[str, Construction] = {}


def construction(function: Construction) -> Construction:
    """Register a construction under its function's name."""
    _constructions[function.__name__] = function
    return function


def draw_sentence(draw: Draw) -> Sentence:
    """A sentence of any construction, each as likely."""
    return _constructions[draw.pick(CONSTRUCTIONS)](draw)


def draw_construction(name: str, draw: Draw) -> Sentence:
    """A sentence of the construction `name`."""
    return _constructions[name](draw)


@construction
def transitive_statement(draw: Draw) -> Sentence:
    """As in: Yesterday the girl bought a red bicycle for her brother."""
    clause = transitive(draw)
    if draw.lexicon["verb"][clause.verb]["aspect"] == "event":
        clause = timed(draw, clause, clause.tense)
    if clause.verb in ("buy", "bake", "write", "paint", "repair") and draw.chance(0.3):
        clause = replace(clause, companion=draw.company(clause.subject, "beneficiary"))
    return Sentence("transitive_statement", clause)


@construction
def intransitive_statement(draw: Draw) -> Sentence:
    """As in: In the garden the dog sleeps."""
    if draw.chance(0.3):
        return Sentence("intransitive_statement", located(draw))
    clause = intransitive(draw)
    if draw.chance(0.2):
        clause = replace(clause, companion=draw.company(clause.subject, "companion"))
    if draw.chance(0.7):
        clause = replace(clause, place=draw.location(), front="place" if draw.chance(0.25) else None)
        return Sentence("intransitive_statement", clause)
    return Sentence("intransitive_statement", timed(draw, clause, clause.tense))


@construction
def motion_statement(draw: Draw) -> Sentence:
    """As in: Every day we go to the beach."""
    clause = motion(draw)
    return Sentence("motion_statement", timed(draw, clause, clause.tense))


@construction
def ditransitive_statement(draw: Draw) -> Sentence:
    """As in: The man gives the child an apple."""
    verb = draw.lexeme("verb", frame="ditransitive")
    subject = draw.subject("person")
    recipient = draw.object("person", subject, definite=True)
    thing = draw.object(draw.lexicon["verb"][verb]["object"], subject)
    clause = Clause(subject, verb, draw.tense(subject, *SIMPLE), object=thing, recipient=recipient)
    return Sentence("ditransitive_statement", timed(draw, clause, clause.tense))


@construction
def predicative(draw: Draw) -> Sentence:
    """As in: The houses are very old."""
    clause = copula(draw)
    assert clause.predicate is not None
    if draw.lexicon["adjective"][clause.predicate.adjective]["kind"] == "state":
        if clause.tense == "present" and draw.chance(0.3):
            return Sentence("predicative", replace(clause, time="now"))
        if draw.chance(0.3):
            return Sentence("predicative", replace(clause, adverb=draw.lexeme("adverb", kind="frequency")))
    return Sentence("predicative", clause)


@construction
def comparison(draw: Draw) -> Sentence:
    """As in: My car is more expensive than this bicycle."""
    kind = draw.pick(COMPARED)
    first = definite_nominal(draw, kind)
    second = definite_nominal(draw, kind, other_than=first)
    adjective = draw.lexeme("adjective", of=kind, compared="yes")
    subject: Phrase = draw.name() if kind == "person" and draw.chance(0.4) else first
    clause = Clause(subject, "be", draw.pick(SIMPLE), predicate=Predicate(adjective, than=second))
    return Sentence("comparison", clause)


@construction
def existential(draw: Draw) -> Sentence:
    """As in: There are three cows behind the church."""
    noun = draw.noun("person,animal,furniture,tool,vehicle,plant,food,drink")
    entity = draw.nominal(noun, ["a", "a", "number"])
    clause = Clause(entity, "exist", draw.pick(SIMPLE), place=draw.location())
    if draw.chance(0.3):
        clause = replace(clause, front="place")
    return Sentence("existential", clause)


@construction
def negation(draw: Draw) -> Sentence:
    """As in: The girl does not read the book."""
    if draw.chance(0.25):
        return Sentence("negation", replace(copula(draw), adverb="not"))
    tenses: tuple[Tense, ...] = ("present", "past", "perfect")
    clause = event(draw, tenses, definite=True) if draw.chance(0.8) else transitive(draw, definite=True)
    return Sentence("negation", replace(clause, adverb="not"))


@construction
def frequency(draw: Draw) -> Sentence:
    """As in: The boy never washes his bicycle."""
    clause = event(draw, ("present", "present", "past"), definite=True)
    return Sentence("frequency", replace(clause, adverb=draw.lexeme("adverb", kind="frequency")))


@construction
def polar_question(draw: Draw) -> Sentence:
    """As in: Does the horse drink water?"""
    if draw.chance(0.25):
        return Sentence("polar_question", copula(draw), question="polar")
    clause = event(draw, ("present", "past", "perfect"), definite=True)
    return Sentence("polar_question", clause, question="polar")


@construction
def word_question(draw: Draw) -> Sentence:
    """As in: What did the woman buy in town? Why are you laughing?"""
    word = draw.lexeme("question")
    asks = draw.lexicon["question"][word]["asks"]
    if asks == "object":
        verb = draw.lexeme("verb", frame="transitive", object=ASKED_FOR, aspect="event")
        subject = draw.subject("person", definite=True)
        tense = draw.tense(subject, "present", "past", "perfect")
        return Sentence("word_question", Clause(subject, verb, tense), word)
    if asks == "subject":
        verb = draw.lexeme("verb", frame="transitive")
        thing = draw.object(draw.lexicon["verb"][verb]["object"], None, definite=True)
        tense = draw.pick(SIMPLE)
        return Sentence("word_question", Clause(None, verb, tense, object=thing), word)
    if asks == "place":
        verb = draw.lexeme("verb", frame="intransitive,located")
        subject = draw.subject(draw.lexicon["verb"][verb]["subject"], definite=True)
        return Sentence("word_question", Clause(subject, verb, draw.tense(subject, *SIMPLE)), word)
    return Sentence("word_question", event(draw, definite=True), word)


@construction
def modal(draw: Draw) -> Sentence:
    """As in: Tomorrow my sister wants to visit the museum."""
    clause = event(draw, ("present",))
    verb = draw.lexeme("modal")
    past = "past" in draw.lexicon["modal"][verb]["tenses"] and draw.chance(0.3)
    tense = draw.tense(clause.subject, "past") if past else "present"
    clause = replace(clause, modal=verb, tense=tense)
    return Sentence("modal", timed(draw, clause, "past" if tense == "past" else "modal"))


@construction
def perfect(draw: Draw) -> Sentence:
    """As in: The guests have come to the castle. Ida has never seen a cow."""
    clause = event(draw, ("perfect",))
    if draw.chance(0.25):
        return Sentence("perfect", replace(clause, adverb=draw.pick(["often", "never"])))
    return Sentence("perfect", timed(draw, clause, "perfect"))


@construction
def that_clause(draw: Draw) -> Sentence:
    """As in: Peter says that the girl never eats meat."""
    subject = draw.subject("person", definite=True)
    tense = draw.tense(subject, *SIMPLE)
    told = event(draw, (tense,), definite=True) if draw.chance(0.7) else copula(draw, (tense,))
    if draw.chance(0.4):
        told = replace(told, adverb=draw.pick(["not", "always", "often", "never"]))
    verb = draw.lexeme("verb", frame="clausal")
    return Sentence("that_clause", Clause(subject, verb, tense, complement=told))


@construction
def relative_clause(draw: Draw) -> Sentence:
    """As in: The man who bakes the bread is tired. I read the book that the girl has written."""
    if draw.chance(0.5):
        head = draw.nominal(draw.noun("person"), ("the",), adjective=0.0)
        inner = transitive(draw, definite=True, subject=head)
        if draw.chance(0.3):
            inner = replace(inner, adverb=draw.pick(["always", "often", "never"]))
        subject = replace(head, relative=Relative(replace(inner, subject=None), "subject"))
        outer = state(draw, subject, "present") if draw.chance(0.4) else intransitive(draw, subject=subject)
        return Sentence("relative_clause", outer)
    outer = transitive(draw, aspect="event")
    while not isinstance(outer.object, Nominal) or outer.object.determiner == "own":
        outer = transitive(draw, aspect="event")
    thing = draw.lexicon["noun"][outer.object.noun]["class"]
    verb = draw.lexeme("verb", frame="transitive", object=thing)
    maker = draw.subject("person", definite=True)
    inner = Clause(maker, verb, draw.tense(maker, "present", "past", "perfect"))
    head = replace(outer.object, relative=Relative(inner, "object"))
    return Sentence("relative_clause", replace(outer, object=head))


@construction
def coordination(draw: Draw) -> Sentence:
    """As in: The man sings, and the children dance. The dog sleeps, but the cat does not eat the mouse."""
    tense = draw.pick(SIMPLE)
    first = event(draw, (tense,), definite=True)
    second = event(draw, (tense,), definite=True)
    conjunction = draw.lexeme("conjunction", kind="coordinating")
    if conjunction == "but" and draw.chance(0.5):
        second = replace(second, adverb=draw.pick(["not", "never"]))
    return Sentence("coordination", first, link=Link(conjunction, second))


@construction
def reason(draw: Draw) -> Sentence:
    """As in: The girl drinks water because she is tired."""
    taken_up = None
    while taken_up is None:
        subject = draw.subject("person", definite=True)
        taken_up = anaphor(subject)
    main = event(draw, ("present", "past", "perfect"), definite=True, subject=subject)
    because = state(draw, taken_up, "past" if main.tense == "past" else "present")
    return Sentence("reason", main, link=Link("because", because))


@construction
def condition(draw: Draw) -> Sentence:
    """As in: When the teacher reads, the children sleep. If you are hungry, you can eat an apple."""
    conjunction = draw.pick(("when", "if"))
    main = event(draw, ("present",), definite=True)
    if conjunction == "if" and draw.chance(0.6):
        main = replace(main, modal=draw.pick(("can", "should", "must")))
    subject = draw.subject("person", definite=True)
    other = state(draw, subject, "present") if draw.chance(0.5) else event(draw, ("present",), definite=True)
    return Sentence("condition", main, link=Link(conjunction, other, first=draw.chance(0.6)))


def timed(draw: Draw, clause: Clause, fitting: str) -> Clause:
    """`clause` with, perhaps, a time adverbial that fits, perhaps in front."""
    time = draw.time(fitting)
    return replace(clause, time=time, front="time" if time and draw.chance(0.45) else None)


CONSTRUCTIONS = tuple(_constructions)
"""The names of the constructions, in the order of this file."""
