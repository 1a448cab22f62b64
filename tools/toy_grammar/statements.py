"""Statements of one clause about what somebody does."""

from dataclasses import replace

from toy_grammar.abstract import Clause, Front, Link, Nominal, Pair, Phrase, Sentence, Tense
from toy_grammar.clauses import (
    FOR_OTHERS,
    SIMPLE,
    copula,
    doing,
    event,
    intransitive,
    located,
    motion,
    timed,
    transitive,
    under_way,
    weather,
    whereabouts,
)
from toy_grammar.draw import Draw, fitting, strangers
from toy_grammar.registry import construction

TOGETHER = ("work", "play", "sing", "dance", "swim")
"""What is done with or without somebody."""

ERRANDS = (
    ("larder", "buy", "food,drink"),
    ("eatery", "eat", "food"),
    ("eatery", "drink", "drink"),
    ("eatery", "meet", "person"),
    ("settlement", "buy", "ware"),
    ("settlement", "sell", "pet,vehicle"),
    ("settlement", "visit", "person"),
    ("stop", "meet", "person"),
    ("water", "swim", ""),
    ("coast", "swim", ""),
    ("green", "draw", "motif"),
    ("shelves", "read", "text"),
    ("shelves", "find", "text"),
    ("screen", "watch", "film"),
    ("ward", "visit", "person"),
    ("hearth", "bake", "baked"),
    ("hearth", "wash", "dish"),
    ("hearth", "drink", "drink"),
    ("home", "sleep", ""),
    ("home", "clean", "room"),
)
"""Where one goes, what to do there, and with what."""


@construction
def transitive_statement(draw: Draw) -> Sentence:
    """As in: Yesterday the girl bought a red bicycle for her brother."""
    clause = timed(draw, transitive(draw))
    if clause.verb in FOR_OTHERS and draw.chance(0.3):
        clause = replace(clause, companion=draw.company(clause.subject, "beneficiary"))
    return Sentence("transitive_statement", clause)


@construction
def intransitive_statement(draw: Draw) -> Sentence:
    """As in: In the garden the dog is sleeping."""
    if draw.chance(0.3):
        return Sentence("intransitive_statement", timed(draw, located(draw)))
    clause = intransitive(draw)
    if clause.verb in TOGETHER and draw.chance(0.4):
        clause = replace(clause, companion=draw.company(clause.subject, "companion"))
    clause = timed(draw, clause)
    if clause.time is None or draw.chance(0.3):
        place = whereabouts(draw, (), draw.lexicon["verb"][clause.verb]["place"])
        front = "place" if clause.front is None and draw.chance(0.3) else clause.front
        clause = replace(clause, place=place, front=front)
    return Sentence("intransitive_statement", clause)


@construction
def motion_statement(draw: Draw) -> Sentence:
    """As in: Every day we go to the beach."""
    return Sentence("motion_statement", timed(draw, motion(draw)))


@construction
def ditransitive_statement(draw: Draw) -> Sentence:
    """As in: The man gives the child an apple."""
    verb = draw.lexeme("verb", frame="ditransitive")
    subject = draw.subject("person")
    clause = doing(draw, verb, subject, draw.tense(subject, *SIMPLE), definite=False)
    return Sentence("ditransitive_statement", timed(draw, clause))


@construction
def negation(draw: Draw) -> Sentence:
    """As in: The girl does not read the book. The boy has not eaten any bread."""
    if draw.chance(0.2):
        return Sentence("negation", copula(draw, negated=True))
    tenses: tuple[Tense, ...] = ("present", "past", "perfect")
    anything = event if draw.chance(0.8) else transitive
    return Sentence("negation", replace(anything(draw, tenses, definite=True, negated=True), adverb="not"))


@construction
def frequency(draw: Draw) -> Sentence:
    """As in: The boy never washes his bicycle."""
    clause = event(draw, ("present", "present", "past"), definite=True)
    return Sentence("frequency", replace(clause, adverb=draw.lexeme("adverb", kind="frequency")))


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
    """As in: The guests have already come to the castle. Ida has never seen a cow."""
    clause = event(draw, ("perfect",))
    if draw.chance(0.5):
        return Sentence(
            "perfect", replace(clause, adverb=draw.pick(["already", "already", "often", "never"]))
        )
    return Sentence("perfect", timed(draw, clause))


@construction
def passive(draw: Draw) -> Sentence:
    """As in: The cake was baked by my grandmother. Yesterday the car was stolen."""
    verb = draw.lexeme("verb", also="passive")
    things = draw.lexicon["verb"][verb]["object"]
    patient = draw.nominal(draw.noun(things), ["the"] * 5 + ["this", "my", "our", "number"])
    clause = timed(draw, Clause(patient, verb, "past", passive=True))
    if clause.time is None or draw.chance(0.4):
        clause = replace(clause, agent=draw.person())
    return Sentence("passive", clause)


@construction
def infinitive(draw: Draw) -> Sentence:
    """As in: The boy is trying to open the door."""
    verb = draw.lexeme("verb", frame="control")
    target = draw.lexeme("verb", also=verb)
    subject = draw.subject(draw.lexicon["verb"][target]["subject"].split(",")[0], definite=True)
    clause = Clause(subject, verb, draw.tense(subject, "present", "past", "past", "perfect"))
    if clause.tense == "present" and verb == "try":
        clause = under_way(draw, clause)
    return Sentence("infinitive", replace(clause, infinitive=_aim(draw, target, subject)))


@construction
def purpose(draw: Draw) -> Sentence:
    """As in: The man drove to the town to buy a lamp."""
    places, verb, things = draw.pick(ERRANDS)
    place = draw.place("to", places)
    assert isinstance(place.phrase, Nominal)
    moves = draw.lexeme("verb", frame="motion", place=draw.classes(place.phrase))
    subject = draw.subject("person")
    thing = draw.object(things, subject) if things else None
    clause = Clause(subject, moves, draw.tense(subject, "present", "past", "past", "perfect"), place=place)
    return Sentence("purpose", replace(clause, purpose=Clause(None, verb, object=thing)))


@construction
def conjoined(draw: Draw) -> Sentence:
    """As in: The woman buys both bread and milk."""
    verb = draw.pick(
        [v for v in fitting("verb", frame="transitive", also="imperative,passive,ask") if v != "watch"]
    )
    row = draw.lexicon["verb"][verb]
    subject = draw.subject(row["subject"].split(",")[0])
    determiner = draw.pick(["the", "a", "own"])
    alike = [nouns for kind in row["object"].split(",") if len(nouns := strangers(kind)) > 1]
    first, second = (
        draw.nominal(noun, [determiner], adjective=0.15) for noun in draw.random.sample(draw.pick(alike), 2)
    )
    clause = Clause(subject, verb, draw.tense(subject, "present", "past", "perfect"))
    clause = replace(clause, object=Pair(first, second, both=draw.chance(0.5)))
    return Sentence("conjoined", timed(draw, clause))


@construction
def weather_statement(draw: Draw) -> Sentence:
    """As in: It often snows in the forest in winter. It was raining, but Anna drove to the beach."""
    tense: Tense = draw.pick(SIMPLE)
    clause = weather(draw, tense)
    if draw.chance(0.5):
        link = Link(draw.pick(("and", "but")), event(draw, (tense,), definite=True))
        return Sentence("weather_statement", under_way(draw, clause), link=link)
    if draw.chance(0.6):
        clause = replace(clause, place=draw.place("at", "settlement,far,green,coast"))
    if tense == "past":
        clause = replace(clause, time=draw.lexeme("time", **{"with": "weather"}))
    elif draw.chance(0.5):
        kind = str(clause.predicate.adjective) if clause.predicate else clause.verb
        season = draw.lexeme("time", **{"with": kind})
        clause = replace(clause, adverb=draw.lexeme("adverb", kind="frequency"), time=season)
    else:
        clause = replace(under_way(draw, clause), time=draw.pick(("today", "now", None)))
    fronts: list[Front | None] = [None, "time" if clause.time else None, "place" if clause.place else None]
    return Sentence("weather_statement", replace(clause, front=draw.pick(fronts)))


def _aim(draw: Draw, verb: str, subject: Phrase) -> Clause:
    return replace(doing(draw, verb, subject, "present"), subject=None)
