"""Questions and commands."""

from dataclasses import replace

from toy_grammar.abstract import Adjunct, Clause, Nominal, Pronoun, Sentence
from toy_grammar.clauses import FOR_OTHERS, SIMPLE, copula, doing, event, located, under_way
from toy_grammar.draw import Draw
from toy_grammar.registry import construction

YOU = Pronoun("you")


@construction
def polar_question(draw: Draw) -> Sentence:
    """As in: Does the horse drink water?"""
    subject = draw.subject("person", definite=True, asked=True)
    if draw.chance(0.2):
        return Sentence("polar_question", copula(draw, subject=subject), question="polar")
    clause = event(draw, ("present", "past", "perfect"), definite=True, subject=subject)
    return Sentence("polar_question", _perhaps_under_way(draw, clause), question="polar")


@construction
def word_question(draw: Draw) -> Sentence:
    """As in: What did the woman buy? Why are you laughing?"""
    word = draw.lexeme("question")
    clause = asked(draw, word)
    return Sentence("word_question", _perhaps_under_way(draw, clause) if word != "when" else clause, word)


@construction
def command(draw: Draw) -> Sentence:
    """As in: Open the window! Do not forget the key tomorrow!"""
    if draw.chance(0.3):
        verb = draw.lexeme("verb", also="warn")
        return Sentence("command", _ordered(draw, verb, adverb="not"), command=True)
    return Sentence("command", _ordered(draw, draw.lexeme("verb", also="imperative")), command=True)


def asked(draw: Draw, word: str) -> Clause:
    """A clause that lacks what a question word asks for."""
    asks = draw.lexicon["question"][word]["asks"]
    subject = draw.subject("person", definite=True, asked=True)
    if asks == "object":
        verb = draw.lexeme("verb", frame="transitive", also="ask")
        return Clause(subject, verb, draw.tense(subject, "present", "past", "perfect"))
    if asks == "subject":
        verb = draw.lexeme("verb", frame="transitive,ditransitive", aspect="event", subject="person")
        return doing(draw, verb, None, draw.pick(SIMPLE))
    if asks == "place":
        if draw.chance(0.4):
            return replace(located(draw, subject), place=None)
        verb = draw.lexeme("verb", frame="intransitive", subject=draw.classes(subject))
        return Clause(subject, verb, draw.tense(subject, *SIMPLE))
    return event(draw, definite=True, subject=subject)


def _ordered(draw: Draw, verb: str, adverb: str | None = None) -> Clause:
    clause = doing(draw, verb, YOU, "present")
    if isinstance(clause.object, Nominal):
        known = draw.nominal(clause.object.noun, ["the"] * 4 + ["my", "our", "own", "this"], adjective=0.25)
        clause = replace(clause, object=known)
    if verb in FOR_OTHERS and draw.chance(0.4):
        clause = replace(clause, companion=Adjunct("for", draw.object("person", YOU, definite=True)))
    time = draw.pick(("today", "tonight", "tomorrow")) if draw.chance(0.3) else None
    return replace(clause, adverb=adverb, time=time)


def _perhaps_under_way(draw: Draw, clause: Clause) -> Clause:
    return under_way(draw, clause) if clause.tense == "present" and draw.chance(0.6) else clause
