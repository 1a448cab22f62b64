"""Sentences of two clauses."""

from dataclasses import replace

from toy_grammar.abstract import Clause, Link, Nominal, Phrase, Predicate, Pronoun, Relative, Sentence, Tense
from toy_grammar.clauses import (
    SIMPLE,
    anaphor,
    copula,
    doing,
    event,
    intransitive,
    is_animate,
    located,
    motion,
    state,
    taken_up,
    transitive,
    under_way,
    weather,
)
from toy_grammar.draw import Draw, fitting, strangers
from toy_grammar.registry import construction
from toy_grammar.requests import asked

POSTURES = {
    "sit": ("read", "write", "eat", "drink", "draw", "wait", "sing", "cry", "laugh"),
    "stand": ("wait", "sing", "laugh", "paint", "smile", "cry"),
    "lie": ("sleep", "read", "cry"),
}
"""What is done while one sits, stands or lies."""


@construction
def that_clause(draw: Draw) -> Sentence:
    """As in: Peter says that the girl never eats meat."""
    subject = draw.subject("person", definite=True)
    tense = draw.tense(subject, *SIMPLE)
    negated = draw.chance(0.15)
    if draw.chance(0.7):
        told = event(draw, (tense,), definite=True, negated=negated)
        often = draw.pick(("always", "often", "never", "sometimes", None, None, None, None))
        told = replace(told, adverb="not" if negated else often)
    else:
        told = copula(draw, (tense,), negated=negated)
    verb = draw.lexeme("verb", frame="clausal")
    return Sentence("that_clause", Clause(subject, verb, tense, complement=told))


@construction
def indirect_question(draw: Draw) -> Sentence:
    """As in: Ida asks whether the shop is expensive. I do not know where your sister lives."""
    opener = draw.pick(("whether", "whether", *draw.lexicon["question"]))
    wondering = draw.chance(0.5)
    subject = draw.subject("person", definite=True)
    tense: Tense = "present" if subject in (Pronoun("i"), Pronoun("we")) else draw.tense(subject, *SIMPLE)
    if opener == "whether":
        told = event(draw, (tense,), definite=True) if draw.chance(0.7) else copula(draw, (tense,))
    else:
        told = asked(draw, opener)
    if told.tense != "perfect" and told.subject != Pronoun("you"):
        told = replace(told, tense=tense)
    outer = Clause(subject, "ask" if wondering else "know", tense, complement=told, opener=opener)
    return Sentence("indirect_question", outer if wondering else replace(outer, adverb="not"))


@construction
def relative_clause(draw: Draw) -> Sentence:
    """As in: The man who bakes the bread is tired. I read the book that the girl has written."""
    if draw.chance(0.5):
        head = draw.nominal(draw.pick(strangers("person")), ("the",), adjective=0.0)
        inner = transitive(draw, definite=True, subject=head)
        if draw.chance(0.3):
            inner = replace(inner, adverb=draw.pick(("always", "often", "never")))
        subject = replace(head, relative=Relative(replace(inner, subject=None), "subject"))
        outer = state(draw, subject, "present") if draw.chance(0.4) else intransitive(draw, subject=subject)
        return Sentence("relative_clause", outer)
    outer = transitive(draw, aspect="event")
    while not isinstance(outer.object, Nominal) or outer.object.determiner not in ("the", "a", "number"):
        outer = transitive(draw, aspect="event")
    thing = draw.classes(outer.object)
    verb = draw.lexeme("verb", frame="transitive", object=thing, subject="person")
    maker = draw.subject("person", definite=True)
    inner = Clause(maker, verb, draw.tense(maker, "present", "past", "perfect"))
    head = replace(outer.object, relative=Relative(inner, "object"))
    return Sentence("relative_clause", replace(outer, object=head))


@construction
def cleft(draw: Draw) -> Sentence:
    """As in: It is Anna who bakes the cakes."""
    focus = draw.person()
    clause = event(draw, ("present", "past", "perfect"), definite=True, subject=focus)
    return Sentence("cleft", replace(clause, subject=None), focus=focus)


@construction
def coordination(draw: Draw) -> Sentence:
    """As in: The man sings, and the children dance. The dog sleeps, but the cat does not eat the mouse."""
    tense: Tense = draw.pick(SIMPLE)
    first = event(draw, (tense,), definite=True)
    conjunction = draw.lexeme("conjunction", kind="coordinating")
    negated = conjunction == "but" and draw.chance(0.5)
    second = event(draw, (tense,), definite=True, negated=negated)
    if negated:
        return Sentence("coordination", first, link=Link(conjunction, replace(second, adverb="not")))
    if tense == "present" and draw.chance(0.6):
        first, second = under_way(draw, first), under_way(draw, second)
    return Sentence("coordination", first, link=Link(conjunction, second))


@construction
def posture(draw: Draw) -> Sentence:
    """As in: My brother is sitting in the garden and reading a book."""
    verb = draw.pick(tuple(POSTURES))
    first = located(draw, draw.subject("person"), verb)
    second = doing(draw, draw.pick(POSTURES[verb]), first.subject, first.tense, definite=False)
    if first.tense == "present" or draw.chance(0.3):
        first, second = under_way(draw, first), under_way(draw, second)
    first = replace(first, front="place" if draw.chance(0.2) else None)
    return Sentence("posture", first, link=Link("and", replace(second, subject=None)))


@construction
def reason(draw: Draw) -> Sentence:
    """As in: The girl drinks water because she is thirsty. We bought the lamp because it was cheap."""
    which = draw.random.random()
    if which < 0.75:
        main, because = (_moved_by_state if which < 0.35 else _moved_by_quality)(draw)
        return Sentence("reason", main, link=Link("because", because))
    main = motion(draw, definite=True)
    because = weather(draw, main.tense, ("rain", "snow", "cold"))
    link = Link("because", under_way(draw, because))
    return Sentence("reason", replace(main, adverb="not"), link=link)


@construction
def condition(draw: Draw) -> Sentence:
    """As in: When the teacher reads, the children sleep. If you are hungry, you can eat an apple."""
    which = draw.random.random()
    if which < 0.4:
        subject, pronoun = taken_up(draw)
        first = draw.chance(0.6)
        verb = _moved_verb(draw, subject)
        here, there = (pronoun, subject) if first else (subject, pronoun)
        main = replace(doing(draw, verb, here, "present"), modal=draw.pick(("can", "should", None)))
        because = state(draw, there, "present", draw.lexicon["verb"][verb]["state"])
        return Sentence("condition", main, link=Link(draw.pick(("when", "if")), because, first))
    main = event(draw, ("present",), definite=True)
    if which < 0.6:
        other = weather(draw, "present")
        main = replace(main, adverb=draw.pick(("often", "never", "always", None)))
    else:
        other = event(draw, ("present",), definite=True)
    return Sentence("condition", main, link=Link(draw.pick(("when", "if")), other, first=draw.chance(0.6)))


@construction
def concession(draw: Draw) -> Sentence:
    """As in: Although Martin was tired, he worked. The girl did not eat the bread, although she was hungry."""
    subject, pronoun = taken_up(draw)
    first = draw.chance(0.5)
    here, there = (pronoun, subject) if first else (subject, pronoun)
    tense = draw.tense(subject, *SIMPLE)
    if draw.chance(0.5):
        verb = _moved_verb(draw, subject)
        although = state(draw, there, tense, draw.lexicon["verb"][verb]["state"])
        main = replace(doing(draw, verb, here, tense), adverb="not")
    else:
        although = state(draw, there, tense, "tired,sick,sad,angry")
        verb = draw.lexeme("verb", also="promise", subject=draw.classes(subject))
        main = doing(draw, verb, here, tense)
    return Sentence("concession", main, link=Link("although", although, first))


@construction
def temporal(draw: Draw) -> Sentence:
    """As in: When Anna opened the door, the cat was sleeping. Before he read the letter, he drank coffee."""
    conjunction = draw.pick(("when_once", "while", "before"))
    first = draw.chance(0.6)
    if conjunction == "before":
        subject, pronoun = taken_up(draw)
        here, there = (pronoun, subject) if first else (subject, pronoun)
        tense = draw.tense(subject, *SIMPLE)
        main = event(draw, (tense,), definite=True, subject=here)
        other = event(draw, (tense,), definite=True, subject=there)
        return Sentence("temporal", main, link=Link(conjunction, other, first))
    people = (draw.person() if draw.chance(0.7) else draw.subject("person", True) for _ in range(2))
    subject, other_subject = people
    tense = draw.pick(SIMPLE) if conjunction == "while" else "past"
    if Pronoun("you") in (subject, other_subject):
        conjunction, tense = "while", "present"
    main = event(draw, (tense,), definite=True, subject=subject)
    other = event(draw, (tense,), definite=True, subject=other_subject)
    if conjunction == "while":
        other = under_way(draw, other)
    else:
        main = under_way(draw, main)
    return Sentence("temporal", main, link=Link(conjunction, other, first))


def _moved_verb(draw: Draw, subject: Phrase) -> str:
    """A verb that a state of its subject is a reason for."""
    suiting = fitting("verb", subject=draw.classes(subject))
    return draw.pick([verb for verb in suiting if draw.lexicon["verb"][verb]["state"] != "-"])


def _moved_by_state(draw: Draw) -> tuple[Clause, Clause]:
    subject, pronoun = taken_up(draw)
    verb = _moved_verb(draw, subject)
    tense = draw.tense(subject, *SIMPLE)
    main = doing(draw, verb, subject, tense)
    if tense == "present" and draw.chance(0.5):
        main = under_way(draw, main)
    because = state(draw, pronoun, tense, draw.lexicon["verb"][verb]["state"])
    return main, because


def _moved_by_quality(draw: Draw) -> tuple[Clause, Clause]:
    while True:
        subject = draw.subject("person", definite=True)
        moved = fitting("verb", frame="transitive", subject=draw.classes(subject))
        verb = draw.pick([v for v in moved if draw.lexicon["verb"][v]["quality"] != "-"])
        tense = draw.tense(subject, *SIMPLE)
        main = doing(draw, verb, subject, tense)
        if not isinstance(main.object, Nominal) or is_animate(main.object):
            continue
        suiting = fitting("adjective", of=draw.classes(main.object))
        qualities = [q for q in draw.lexicon["verb"][verb]["quality"].split(",") if q in suiting]
        pronoun = anaphor(main.object)
        if qualities and pronoun is not None:
            main = replace(main, object=replace(main.object, adjective=None))
            predicate = Predicate(draw.pick(qualities), "very" if draw.chance(0.2) else None)
            return main, Clause(pronoun, "be", tense, predicate=predicate)
