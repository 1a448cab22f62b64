"""Statements of one clause about what somebody or something is, has, or is like."""

from dataclasses import replace

from toy_grammar.abstract import Adjunct, Clause, Front, Link, Name, Nominal, Phrase, Predicate, Sentence
from toy_grammar.clauses import EXTREME, FOUND, SIMPLE, copula, definite_nominal, transitive, whereabouts
from toy_grammar.draw import Draw, fitting, strangers
from toy_grammar.registry import construction

COMPARED = (
    "person",
    "pet",
    "fruit",
    "vegetable",
    "vehicle",
    "furniture",
    "clothing",
    "dish",
    "sight",
    "settlement",
    "eatery",
    "content",
)
"""The classes within which things are compared: a car with a boat, not with a king."""

OWNED = "vehicle,clothing,tool,furniture,dish,pet,kin,home"
"""The classes of what is said to be somebody's."""

TOPICS = "judged,content,amusing,experience,tasty,cosy"
"""The classes of what people have opinions about."""


@construction
def predicative(draw: Draw) -> Sentence:
    """As in: The houses are very old."""
    clause = copula(draw)
    assert clause.predicate is not None
    if draw.lexicon["adjective"][str(clause.predicate.adjective)]["kind"] == "state":
        if clause.tense == "present" and draw.chance(0.3):
            return Sentence("predicative", replace(clause, time="now"))
        if draw.chance(0.3):
            return Sentence("predicative", replace(clause, adverb=draw.lexeme("adverb", kind="frequency")))
    return Sentence("predicative", clause)


@construction
def comparison(draw: Draw) -> Sentence:
    """As in: My car is more expensive than this bicycle."""
    subject, other, adjective = _compared(draw)
    clause = Clause(subject, "be", draw.pick(SIMPLE), predicate=Predicate(adjective, than=other))
    return Sentence("comparison", clause)


@construction
def equality(draw: Draw) -> Sentence:
    """As in: The lamp is as expensive as the table."""
    subject, other, adjective = _compared(draw)
    clause = Clause(subject, "be", draw.pick(SIMPLE), predicate=Predicate(adjective, like=other))
    return Sentence("equality", replace(clause, adverb="not" if draw.chance(0.3) else None))


@construction
def superlative(draw: Draw) -> Sentence:
    """As in: Anna is the cleverest pupil in the village. We visited the oldest castle in the town."""
    settlement = draw.place("at", "settlement")
    if draw.chance(0.4):
        name = draw.name()
        sex = draw.lexicon["name"][name.name]["sex"]
        best = _best(draw, draw.pick(_of_sex(draw, "job,young,adult", sex)), settlement)
        clause = Clause(name, "be", draw.pick(SIMPLE), predicate=Predicate(nominal=best))
        return Sentence("superlative", clause)
    verb, kind = draw.pick(
        (("visit", "monument"), ("see", "monument"), ("have", "pet,vehicle"), ("paint", "monument"))
    )
    subject = draw.subject("person", definite=True)
    best = _best(draw, draw.noun(kind), settlement)
    return Sentence("superlative", Clause(subject, verb, draw.tense(subject, *SIMPLE), object=best))


@construction
def profession(draw: Draw) -> Sentence:
    """As in: My brother is not a doctor. Ida is a teacher, but her uncle was a poor farmer."""
    sex = draw.pick(("f", "m"))
    first = _working(draw, sex)
    if draw.chance(0.5):
        return Sentence("profession", first)
    second = replace(_working(draw, draw.pick(("f", "m"))), tense="present", adverb=None)
    return Sentence("profession", first, link=Link(draw.pick(("and", "but")), second))


@construction
def age(draw: Draw) -> Sentence:
    """As in: The girl is eight years old, and her brother is ten years old."""
    old = draw.chance(0.5)
    first = _aged(draw, old)
    if draw.chance(0.4):
        return Sentence("age", replace(first, adverb="not" if draw.chance(0.25) else None))
    second = replace(_aged(draw, old), tense=first.tense)
    return Sentence("age", first, link=Link(draw.pick(("and", "but")), second))


@construction
def existential(draw: Draw) -> Sentence:
    """As in: There are three cows behind the church."""
    kinds, places, prepositions = draw.pick(FOUND)
    entity = draw.nominal(draw.pick(strangers(kinds)), ["a", "a", "number"])
    place = whereabouts(draw, prepositions, places)
    front: Front | None = "place" if draw.chance(0.3) else None
    return Sentence("existential", Clause(entity, "exist", draw.pick(SIMPLE), place=place, front=front))


@construction
def absence(draw: Draw) -> Sentence:
    """As in: The girl has no books. There are no cows behind the house."""
    if draw.chance(0.5):
        thing = draw.noun("vehicle,furniture,clothing,tool,dish,pet")
        subject = draw.subject("person", definite=True)
        absent = Nominal(thing, "plural", "no")
        return Sentence("absence", Clause(subject, "have", draw.tense(subject, *SIMPLE), object=absent))
    sentence = existential(draw)
    while not isinstance(sentence.clause.subject, Nominal) or not _countable(draw, sentence.clause.subject):
        sentence = existential(draw)
    absent = replace(sentence.clause.subject, number="plural", determiner="no")
    return Sentence("absence", replace(sentence.clause, subject=absent))


@construction
def genitive(draw: Draw) -> Sentence:
    """As in: Peter repaired Anna's bicycle. The girl's hat is red."""
    owner: Name | Nominal = draw.name()
    if draw.chance(0.5):
        owner = draw.nominal(draw.noun("young,relation,kin,job"), ["the", "my", "our"], adjective=0.0)
        # *moren mins hatt* is no Bokmål
        owner = replace(owner, postposed=False)
    if draw.chance(0.5):
        owned = replace(definite_nominal(draw, OWNED), determiner="genitive", possessor=owner)
        owned = replace(owned, postposed=draw.chance(0.4))
        return Sentence("genitive", copula(draw, subject=owned))
    clause = transitive(draw, definite=True)
    while not isinstance(clause.object, Nominal) or _is_nobodys(draw, clause.object):
        clause = transitive(draw, definite=True)
    owned = replace(clause.object, determiner="genitive", possessor=owner)
    owned = replace(owned, postposed=draw.chance(0.4))
    return Sentence("genitive", replace(clause, object=owned))


@construction
def opinion(draw: Draw) -> Sentence:
    """As in: Peter thinks that the film is not boring."""
    subject = draw.subject("person", definite=True)
    topic = draw.nominal(draw.noun(TOPICS), ["the"] * 4 + ["this"], adjective=0.0)
    verdicts = fitting("adjective", of=draw.classes(topic), polarity="positive,negative", kind="quality")
    verdict, negated = draw.pick(verdicts), draw.chance(0.25)
    strongly = "particularly" if negated else "really" if verdict in EXTREME else "very"
    degree = strongly if draw.chance(0.4) else None
    thought = Predicate(verdict, None if negated and verdict in EXTREME else degree)
    clause = Clause(subject, "consider", draw.tense(subject, *SIMPLE), object=topic, predicate=thought)
    return Sentence("opinion", replace(clause, adverb="not" if negated else None))


def _working(draw: Draw, sex: str) -> Clause:
    """Somebody of a sex has a profession, or wants to have it."""
    subject: Phrase = draw.pick([Name(n) for n, row in draw.lexicon["name"].items() if row["sex"] == sex])
    if draw.chance(0.6):
        kin = draw.pick(_of_sex(draw, "kin", sex))
        subject = replace(draw.nominal(kin, list(draw.lexicon["possessive"]), 0.0), number="singular")
    job = draw.pick(_of_sex(draw, "job", sex))
    clause = Clause(subject, "be", draw.pick(SIMPLE), predicate=Predicate(job=job))
    which = draw.random.random()
    if which < 0.3:
        # a profession with an attribute is a noun like any other
        described = Nominal(job, determiner="a", adjective=draw.adjective(job, kind="quality"))
        return replace(clause, predicate=Predicate(nominal=described))
    if which < 0.5:
        return replace(clause, verb="become", tense="present", modal="want")
    return replace(clause, adverb="not") if which < 0.65 else clause


def _aged(draw: Draw, old: bool) -> Clause:
    """Somebody or something is so many years old."""
    if old:
        subject: Phrase = definite_nominal(draw, "grown,sight,vehicle,home")
    else:
        subject = draw.name() if draw.chance(0.4) else definite_nominal(draw, "young,pet")
    years = draw.lexeme("number", kind="maturity" if old else "age")
    return Clause(subject, "be", draw.pick(SIMPLE), predicate=Predicate(years=years))


def _compared(draw: Draw) -> tuple[Phrase, Nominal, str]:
    """Two things of a kind, and an adjective that suits both."""
    while True:
        kind = draw.pick(COMPARED)
        first = definite_nominal(draw, kind)
        second = definite_nominal(draw, kind, other_than=first)
        suiting = [
            adjective
            for adjective in fitting("adjective", of=draw.classes(first), compared="yes", kind="quality")
            if adjective in fitting("adjective", of=draw.classes(second))
        ]
        if suiting:
            named = kind == "person" and draw.chance(0.4)
            return (draw.name() if named else first), second, draw.pick(suiting)


def _best(draw: Draw, noun: str, place: Adjunct) -> Nominal:
    adjective = draw.adjective(noun, compared="yes", kind="quality")
    assert adjective is not None
    return Nominal(noun, adjective=adjective, superlative=True, place=place)


def _of_sex(draw: Draw, classes: str, sex: str) -> list[str]:
    return [n for n in fitting("noun", **{"class": classes}) if draw.lexicon["noun"][n]["sex"] == sex]


def _countable(draw: Draw, nominal: Nominal) -> bool:
    return draw.lexicon["noun"][nominal.noun]["count"] == "count"


def _is_nobodys(draw: Draw, nominal: Nominal) -> bool:
    return not set(draw.classes(nominal).split(",")) & set(OWNED.split(","))
