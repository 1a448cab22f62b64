"""Ways of liking something, of disliking it, and of speaking of it without a verdict."""

from collections.abc import Callable
from dataclasses import replace

from toy_grammar.abstract import Clause, Link, Nominal, Phrase, Predicate, Pronoun, Sentence, Tense
from toy_grammar.clauses import EXTREME, SIMPLE, anaphor, timed
from toy_grammar.draw import Draw, fitting

TOPICS = "content,amusing,judged,experience,tasty,cosy"
"""The classes of what is liked or disliked."""

EXCESSIVE = ("big", "small", "old", "long", "short", "expensive", "heavy", "cold", "warm")
"""What something can be too much of."""

PLAIN = (
    "big",
    "small",
    "old",
    "new",
    "long",
    "short",
    "famous",
    "red",
    "blue",
    "green",
    "white",
    "black",
    "rich",
)
"""What can be said of a topic without a verdict."""

LOADED = ("love", "like", "hate", "recommend", "miss", "steal", "lose")
"""The verbs that are no plain news of a topic."""


def predicated(draw: Draw, positive: bool) -> Sentence:
    """As in: This café is not particularly good. The coat was too expensive."""
    topic = _topic(draw)
    return Sentence("predicated", _verdict(draw, topic, positive))


def thought(draw: Draw, positive: bool) -> Sentence:
    """As in: My sister thinks that the film is wonderful. We did not think that the hotel was bad."""
    topic = _topic(draw)
    verdict = _verdict(draw, topic, positive)
    subject = draw.subject("person", definite=True)
    tense = draw.tense(subject, verdict.tense)
    return Sentence("thought", replace(verdict, subject=subject, verb="consider", tense=tense, object=topic))


def described(draw: Draw, positive: bool) -> Sentence:
    """As in: It was not a good film. These are wonderful cakes."""
    while True:
        noun = draw.noun(TOPICS)
        countable = draw.lexicon["noun"][noun]["count"] == "count"
        negated = countable and draw.chance(0.35)
        adjective = _judging(draw, noun, positive != negated, negated)
        if adjective is not None:
            said = Nominal(noun, determiner="any" if negated else "a", adjective=adjective)
            clause = Clause(Pronoun("it"), "be", draw.pick(SIMPLE), predicate=Predicate(nominal=said))
            return Sentence("described", replace(clause, adverb="not" if negated else None))


def felt(draw: Draw, positive: bool) -> Sentence:
    """As in: I love the new café. Peter did not like the party."""
    return Sentence("felt", _feeling(draw, _topic(draw), positive))


def explained(draw: Draw, positive: bool) -> Sentence:
    """As in: She likes the book because it is exciting."""
    topic = _topic(draw)
    while (pronoun := anaphor(topic)) is None:
        topic = _topic(draw)
    feeling = _feeling(draw, topic, positive)
    because = _verdict(draw, topic, positive)
    because = replace(because, subject=pronoun, tense=feeling.tense)
    return Sentence("explained", feeling, link=Link("because", because))


def contrasted(draw: Draw, positive: bool) -> Sentence:
    """As in: The hotel is old, but the café is good."""
    plain, verdict = _plainly(draw, _topic(draw)), _verdict(draw, _topic(draw), positive)
    link = Link(draw.pick(("but", "but", "and")), replace(verdict, tense=plain.tense))
    return Sentence("contrasted", plain, link=link)


def stated(draw: Draw) -> Sentence:
    """As in: The museum is not very big."""
    return Sentence("stated", _plainly(draw, _topic(draw)))


def stated_twice(draw: Draw) -> Sentence:
    """As in: The hotel is old, but the café is not big."""
    first, second = _plainly(draw, _topic(draw)), _plainly(draw, _topic(draw))
    link = Link(draw.pick(("but", "and")), replace(second, tense=first.tense))
    return Sentence("stated_twice", first, link=link)


def reported(draw: Draw) -> Sentence:
    """As in: Anna has not read the book. Yesterday we visited the museum."""
    while True:
        topic = _topic(draw)
        verbs = fitting("verb", frame="transitive", subject="person", object=draw.classes(topic))
        plain = [verb for verb in verbs if verb not in LOADED]
        if plain:
            break
    subject = draw.subject("person", definite=True)
    tense = draw.tense(subject, "present", "past", "past", "perfect")
    clause = Clause(subject, draw.pick(plain), tense, object=topic)
    if draw.chance(0.4):
        return Sentence("reported", replace(clause, adverb=draw.pick(("not", "not", "never", "often"))))
    return Sentence("reported", timed(draw, clause))


def wondered(draw: Draw) -> Sentence:
    """As in: He asks whether the film is good. I do not know whether the restaurant is bad."""
    verdict = _openly(_verdict(draw, _topic(draw), draw.chance(0.5)))
    subject = draw.subject("person", definite=True)
    tense = draw.tense(subject, verdict.tense)
    asks = draw.chance(0.5)
    outer = Clause(subject, "ask" if asks else "know", tense, adverb=None if asks else "not")
    told = replace(verdict, tense=tense)
    return Sentence("wondered", replace(outer, complement=told, opener="whether"))


def asked(draw: Draw) -> Sentence:
    """As in: Is the film good?"""
    verdict = _openly(_verdict(draw, _topic(draw), draw.chance(0.5)))
    return Sentence("asked", verdict, question="polar")


VERDICTS: tuple[Callable[[Draw, bool], Sentence], ...] = (
    predicated,
    thought,
    described,
    felt,
    explained,
    contrasted,
)
"""Ways of saying that something is good (true) or bad."""

NEITHER: tuple[Callable[[Draw], Sentence], ...] = (
    stated,
    stated_twice,
    reported,
    reported,
    wondered,
    asked,
)
"""Ways of saying neither."""


def _topic(draw: Draw) -> Nominal:
    return draw.nominal(draw.noun(TOPICS), ["the"] * 5 + ["this", "my", "your"], adjective=0.0)


def _judging(draw: Draw, noun: str, positive: bool, negated: bool) -> str | None:
    """An adjective of quality that judges `noun`; a mild one if it will be negated."""
    judging = fitting(
        "adjective",
        of=draw.lexicon["noun"][noun]["class"],
        kind="quality",
        polarity="positive" if positive else "negative",
    )
    judging = tuple(
        adjective for adjective in judging if not (negated and adjective in ("wonderful", "terrible"))
    )
    return draw.pick(judging) if judging else None


def _verdict(draw: Draw, topic: Nominal, positive: bool) -> Clause:
    """What says of `topic` that it is good or bad, outright, by a negation or by *too*."""
    tense: Tense = draw.pick(SIMPLE)
    excessive = [a for a in EXCESSIVE if a in fitting("adjective", of=draw.classes(topic))]
    if excessive and draw.chance(0.2):
        too = Predicate(draw.pick(excessive), "too")
        return Clause(topic, "be", tense, predicate=too, adverb="not" if positive else None)
    negated = draw.chance(0.4)
    adjective = _judging(draw, topic.noun, positive != negated, negated)
    if adjective is None:
        negated = not negated
        adjective = _judging(draw, topic.noun, positive != negated, negated)
    if negated:
        degree = draw.pick(("particularly", None)) if not positive else None
    else:
        extreme = adjective in EXTREME
        degree = draw.pick(("really", None, None) if extreme else ("very", "really", "quite", None, None))
    return Clause(
        topic, "be", tense, predicate=Predicate(adjective, degree), adverb="not" if negated else None
    )


def _openly(verdict: Clause) -> Clause:
    """What a verdict says, as one asks for it: without a negation, and whether *good* rather than *very good*."""
    assert verdict.predicate is not None
    degree = "too" if verdict.predicate.degree == "too" else None
    return replace(verdict, adverb=None, predicate=replace(verdict.predicate, degree=degree))


def _plainly(draw: Draw, topic: Nominal) -> Clause:
    """What says something of `topic`, or of another one, without a verdict."""
    while not (plain := [a for a in PLAIN if a in fitting("adjective", of=draw.classes(topic))]):
        topic = _topic(draw)
    negated = draw.chance(0.3)
    degree = None if negated else draw.pick(("very", "quite", None, None))
    said = Predicate(draw.pick(plain), degree)
    return Clause(topic, "be", draw.pick(SIMPLE), predicate=said, adverb="not" if negated else None)


def _feeling(draw: Draw, topic: Phrase, positive: bool) -> Clause:
    """What somebody feels for `topic`."""
    subject = draw.subject("person", definite=True)
    verb = draw.pick(("love", "like", "recommend") if positive else ("hate", "like", "recommend"))
    negated = not positive and verb != "hate"
    tense = draw.tense(subject, "present", "present", "past")
    return Clause(subject, verb, tense, object=topic, adverb="not" if negated else None)
