"""The clauses that constructions are built of: a verb with a subject, objects and adjuncts that suit it."""

from sprog.toy.abstract import Clause, Nominal, Phrase, Predicate, Pronoun, Tense, agreement
from sprog.toy.draw import Draw

DESCRIBED = "animal,food,drink,text,vehicle,furniture,tool,clothing,opening,building,place,picture"
"""The classes of nouns that adjectives suit, people aside."""

SIMPLE: tuple[Tense, ...] = ("present", "past")


def transitive(
    draw: Draw,
    tenses: tuple[Tense, ...] = SIMPLE,
    definite: bool = False,
    aspect: str = "event,state",
    subject: Phrase | None = None,
) -> Clause:
    """Somebody does something to somebody or something.

    Args:
        draw: source of chance.
        tenses: what the tense is drawn from.
        definite: whether to avoid indefinite subjects and numerals, which clash with negation and questions.
        aspect: `event`, `state` or both.
        subject: a person to be the subject; drawn if None.
    """
    verb = draw.lexeme("verb", frame="transitive", aspect=aspect)
    row = draw.lexicon["verb"][verb]
    subject = subject or draw.subject(row["subject"], definite)
    thing = draw.object(row["object"], subject, definite)
    return Clause(subject, verb, draw.tense(subject, *tenses), object=thing)


def intransitive(
    draw: Draw, tenses: tuple[Tense, ...] = SIMPLE, definite: bool = False, subject: Phrase | None = None
) -> Clause:
    """Somebody does something that needs nobody else; no place yet."""
    verb = draw.lexeme("verb", frame="intransitive", aspect="event")
    subject = subject or draw.subject(draw.lexicon["verb"][verb]["subject"], definite)
    return Clause(subject, verb, draw.tense(subject, *tenses))


def motion(
    draw: Draw, tenses: tuple[Tense, ...] = SIMPLE, definite: bool = False, subject: Phrase | None = None
) -> Clause:
    """Somebody goes somewhere."""
    verb = draw.lexeme("verb", frame="motion")
    subject = subject or draw.subject(draw.lexicon["verb"][verb]["subject"], definite)
    return Clause(subject, verb, draw.tense(subject, *tenses), place=draw.place("to"))


def event(
    draw: Draw, tenses: tuple[Tense, ...] = SIMPLE, definite: bool = False, subject: Phrase | None = None
) -> Clause:
    """Any of the three above: something that happens."""
    which = draw.random.random()
    if which < 0.6:
        return transitive(draw, tenses, definite, "event", subject)
    return (intransitive if which < 0.85 else motion)(draw, tenses, definite, subject)


def copula(draw: Draw, tenses: tuple[Tense, ...] = SIMPLE, subject: Phrase | None = None) -> Clause:
    """Somebody or something is tired, red, big ..."""
    if subject is None and draw.chance(0.5):
        subject = draw.subject("person", definite=True)
    if subject is None:
        subject = definite_nominal(draw, DESCRIBED)
    classes = draw.lexicon["noun"][subject.noun]["class"] if isinstance(subject, Nominal) else "person"
    degree = "very" if draw.chance(0.25) else None
    predicate = Predicate(draw.lexeme("adjective", of=classes), degree)
    return Clause(subject, "be", draw.tense(subject, *tenses), predicate=predicate)


def state(draw: Draw, subject: Phrase, tense: Tense) -> Clause:
    """A person is tired, hungry, happy ...: a passing state, good as a reason."""
    return Clause(subject, "be", tense, predicate=Predicate(draw.lexeme("adjective", kind="state")))


def located(draw: Draw) -> Clause:
    """Somebody lives, sits or stands somewhere: verbs that say little without the place."""
    verb = draw.lexeme("verb", frame="located")
    row = draw.lexicon["verb"][verb]
    subject = draw.subject(row["subject"])
    place = draw.place("at") if row["aspect"] == "state" else draw.location()
    return Clause(subject, verb, draw.tense(subject, *SIMPLE), place=place)


def definite_nominal(draw: Draw, classes: str, other_than: Phrase | None = None) -> Nominal:
    """Something known, without an attribute that a predicate could contradict."""
    return draw.nominal(draw.noun(classes, other_than), ["the"] * 4 + ["this", "my", "our"], adjective=0.0)


def anaphor(subject: Phrase) -> Pronoun | None:
    """The pronoun that takes up a person already named; None where languages would choose differently."""
    if isinstance(subject, Pronoun):
        return subject
    known = agreement(subject)
    if known.number == "plural":
        return Pronoun("they")
    return {"m": Pronoun("he"), "f": Pronoun("she")}.get(known.sex)
