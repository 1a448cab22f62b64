"""The clauses that constructions are built of: a verb with a subject, objects and adjuncts that suit it."""

from dataclasses import replace

from toy_grammar.abstract import Adjunct, Clause, Nominal, Phrase, Predicate, Pronoun, Tense, agreement
from toy_grammar.draw import Draw, fitting
from toy_grammar.tables import load_table

DESCRIBED = "animal,food,drink,text,film,vehicle,furniture,dish,clothing,opening,building,room,picture,event"
"""The classes of nouns that adjectives suit, people aside."""

SIMPLE: tuple[Tense, ...] = ("present", "past")

EXTREME = ("wonderful", "terrible", "delicious")
"""What is not said to be *very* so, nor *not* so."""


def transitive(
    draw: Draw,
    tenses: tuple[Tense, ...] = SIMPLE,
    definite: bool = False,
    aspect: str = "event,state",
    subject: Phrase | None = None,
    negated: bool = False,
) -> Clause:
    """Somebody does something to somebody or something.

    Args:
        draw: source of chance.
        tenses: what the tense is drawn from.
        definite: whether to avoid indefinite subjects and numerals, which clash with negation and questions.
        aspect: `event`, `state` or both.
        subject: a person to be the subject; drawn if None.
        negated: whether a negation will be put in.
    """
    verb = draw.lexeme("verb", frame="transitive", aspect=aspect, **_suiting(draw, subject))
    row = draw.lexicon["verb"][verb]
    subject = subject or draw.subject(row["subject"], definite)
    beast = "animal" in draw.classes(subject).split(",") and row["animal"] != "-"
    thing = draw.object(row["animal" if beast else "object"], subject, definite, negated)
    return Clause(subject, verb, draw.tense(subject, *tenses), object=thing)


def intransitive(
    draw: Draw,
    tenses: tuple[Tense, ...] = SIMPLE,
    definite: bool = False,
    subject: Phrase | None = None,
) -> Clause:
    """Somebody does something that needs nobody else; no place yet."""
    verb = draw.lexeme("verb", frame="intransitive", **_suiting(draw, subject))
    subject = subject or draw.subject(draw.lexicon["verb"][verb]["subject"], definite)
    return Clause(subject, verb, draw.tense(subject, *tenses))


def motion(
    draw: Draw,
    tenses: tuple[Tense, ...] = SIMPLE,
    definite: bool = False,
    subject: Phrase | None = None,
) -> Clause:
    """Somebody goes somewhere."""
    verb = draw.lexeme("verb", frame="motion", **_suiting(draw, subject))
    row = draw.lexicon["verb"][verb]
    subject = subject or draw.subject(row["subject"], definite)
    beast = "animal" in draw.classes(subject).split(",")
    place = draw.place("to", "outdoor" if beast else row["place"])
    return Clause(subject, verb, draw.tense(subject, *tenses), place=place)


def event(
    draw: Draw,
    tenses: tuple[Tense, ...] = SIMPLE,
    definite: bool = False,
    subject: Phrase | None = None,
    negated: bool = False,
) -> Clause:
    """Any of the three above: something that happens."""
    which = draw.random.random()
    if which < 0.6:
        return transitive(draw, tenses, definite, "event", subject, negated)
    return (intransitive if which < 0.85 else motion)(draw, tenses, definite, subject)


def doing(draw: Draw, verb: str, subject: Phrase | None, tense: Tense, definite: bool = True) -> Clause:
    """Somebody does what `verb` says, with an object if it wants one."""
    row = draw.lexicon["verb"][verb]
    frames = row["frame"].split(",")
    if "transitive" in frames:
        return Clause(subject, verb, tense, object=draw.object(row["object"], subject, definite))
    if "ditransitive" in frames:
        recipient = draw.object("person", subject, definite=True)
        return Clause(
            subject, verb, tense, object=draw.object(row["object"], subject, definite), recipient=recipient
        )
    place = draw.place("to", row["place"]) if "motion" in frames else None
    return Clause(subject, verb, tense, place=place)


def copula(
    draw: Draw,
    tenses: tuple[Tense, ...] = SIMPLE,
    subject: Phrase | None = None,
    negated: bool = False,
) -> Clause:
    """Somebody or something is tired, red, very big, or, `negated`, not particularly big ..."""
    if subject is None and draw.chance(0.5):
        subject = draw.subject("person", definite=True)
    if subject is None:
        subject = definite_nominal(draw, DESCRIBED)
    usual = ("particularly", "particularly", "too") if negated else ("very", "very", "quite", "too")
    degree = draw.pick(usual) if draw.chance(0.33) else None
    # whoever is described once is not described twice
    if isinstance(subject, Nominal):
        subject = replace(subject, adjective=None)
    adjective = draw.lexeme("adjective", of=draw.classes(subject))
    predicate = Predicate(adjective, None if adjective in EXTREME else degree)
    adverb = "not" if negated else None
    return Clause(subject, "be", draw.tense(subject, *tenses), predicate=predicate, adverb=adverb)


def state(draw: Draw, subject: Phrase, tense: Tense, among: str | None = None) -> Clause:
    """A person is tired, hungry, happy ...: a passing state, good as a reason; `among` names some."""
    adjectives = among.split(",") if among else fitting("adjective", kind="state")
    return Clause(subject, "be", tense, predicate=Predicate(draw.pick(adjectives)))


def located(draw: Draw, subject: Phrase | None = None, verb: str | None = None) -> Clause:
    """Somebody lives, sits, stands or lies somewhere: verbs that say little without the place."""
    verb = verb or draw.lexeme("verb", frame="located", **_suiting(draw, subject))
    row = draw.lexicon["verb"][verb]
    subject = subject or draw.subject(row["subject"])
    place = draw.place("at", row["place"])
    if verb in PERCHES and draw.chance(0.35):
        place = draw.beside(PERCHES[verb])
    return Clause(subject, verb, draw.tense(subject, *SIMPLE), place=place)


FOR_OTHERS = ("buy", "bake", "write", "paint", "repair", "build", "find")
"""What is done for somebody."""

PERCHES = {
    "sit": ("on", "under", "beside"),
    "stand": ("behind", "beside", "in_front_of"),
    "lie": ("under", "behind"),
}
"""The prepositions that suit a posture."""

FOUND: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("person", "public,outdoor,room", ("behind", "beside", "in_front_of")),
    ("animal", "outdoor", ("under", "behind", "beside", "in_front_of")),
    ("wheeled", "paved", ("behind", "beside", "in_front_of")),
    ("furniture", "room,home,lodging", ()),
    ("tool,dish", "room", ("on", "under")),
    ("clothing,text", "room,home", ("on",)),
    ("plant", "green", ("behind", "beside", "in_front_of")),
    ("food,drink", "larder", ("on",)),
    ("sight,public", "settlement", ()),
)
"""What is found where: classes of things, of places, and prepositions."""


def whereabouts(draw: Draw, prepositions: tuple[str, ...], places: str) -> Adjunct:
    """At one of the places, or near a thing."""
    if prepositions and draw.chance(0.45):
        return draw.beside(prepositions)
    return draw.place("at", places)


def weather(draw: Draw, tense: Tense, kinds: tuple[str, ...] = ("rain", "snow", "cold", "warm")) -> Clause:
    """It rains, snows, is cold or warm."""
    kind = draw.pick(kinds)
    if kind in draw.lexicon["verb"]:
        return Clause(Pronoun("it"), kind, tense)
    return Clause(Pronoun("it"), "be", tense, predicate=Predicate(kind))


def definite_nominal(draw: Draw, classes: str, other_than: Phrase | None = None) -> Nominal:
    """Something known, without an attribute that a predicate could contradict."""
    return draw.nominal(draw.noun(classes, other_than), ["the"] * 4 + ["this", "my", "our"], adjective=0.0)


def anaphor(named: Phrase) -> Pronoun | None:
    """The pronoun that takes up somebody or something named; None where languages would choose differently."""
    if isinstance(named, Pronoun):
        return named
    known = agreement(named)
    if known.number == "plural":
        return Pronoun("they")
    if isinstance(named, Nominal) and not is_animate(named):
        return Pronoun("it", named.noun)
    return {"m": Pronoun("he"), "f": Pronoun("she")}.get(known.sex)


def is_animate(phrase: Phrase) -> bool:
    """Whether a phrase is of people or animals."""
    if not isinstance(phrase, Nominal):
        return True
    classes = load_table("lexicon")["noun"][phrase.noun]["class"].split(",")
    return "person" in classes or "animal" in classes


def taken_up(draw: Draw, classes: str = "person") -> tuple[Phrase, Pronoun]:
    """A definite subject of `classes`, and the pronoun that takes it up."""
    while True:
        subject = draw.subject(classes, definite=True)
        if (pronoun := anaphor(subject)) is not None:
            return subject, pronoun


def timed(draw: Draw, clause: Clause, suits: str | None = None) -> Clause:
    """An event with, perhaps, a time adverbial that fits its tense (or `suits`), perhaps in front.

    What happens in the present may be under way; then the time is not one of habits.
    """
    if "event" not in aspects(draw, clause):
        return clause
    if suits is None and clause.tense == "present" and draw.chance(0.5):
        lasting = under_way(draw, clause)
        clause, suits = lasting, "ongoing" if lasting.ongoing else None
    time = draw.time(suits or clause.tense)
    return replace(clause, time=time, front="time" if time and draw.chance(0.45) else None)


def under_way(draw: Draw, clause: Clause) -> Clause:
    """`clause` as something that goes on, if it lasts; English alone tells."""
    lasts = "event" in aspects(draw, clause) and "instant" not in aspects(draw, clause)
    return replace(clause, ongoing=lasts and clause.tense != "perfect")


def aspects(draw: Draw, clause: Clause) -> list[str]:
    """What the verb of a clause tells of: `event`, perhaps also `instant`, or `state`."""
    return draw.lexicon["verb"][clause.verb]["aspect"].split(",")


def _suiting(draw: Draw, subject: Phrase | None) -> dict[str, str]:
    """What a verb must meet to have `subject`, if there is one."""
    return {} if subject is None else {"subject": draw.classes(subject)}
