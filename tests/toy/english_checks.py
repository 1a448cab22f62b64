"""What English sentences must keep to; see `violations`."""

from functools import cache
from itertools import pairwise

from toy_reading import NAMES, read, tokens

from toy_grammar.tables import load_table

TABLE = load_table("en")
THIRD = ("he", "she", "it")
PLAIN = ("i", "you", "we", "they")
OFTEN = ("always", "often", "sometimes", "never", "already", "not")
NUMBERS = {row["form"] for row in TABLE["number"].values()}
FORMS_OF_BE = {
    "am": {"i"},
    "is": set(THIRD),
    "are": {"you", "we", "they"},
    "was": {"i", *THIRD},
    "were": {"you", "we", "they"},
}
AUXILIARIES = ("do", "does", "did", "can", "could", "should", "to")
"""What wants a base form after it."""


@cache
def nouns(word):
    """The numbers of every noun that a word may be."""
    return frozenset(r.column for r in read(word, "en", "noun"))


@cache
def verbs(word):
    """The columns of every verb that a word may be."""
    return frozenset(r.column for part in ("verb", "modal") for r in read(word, "en", part))


def violations(text):
    """What is wrong with a sentence, and how many things of what kind were looked at."""
    words, wrong, seen = tokens(text), [], []
    for i, (word, following) in enumerate(pairwise(words)):
        if word in ("a", "an"):
            seen.append("article")
            if (word == "an") != (following[0] in "aeiou"):
                wrong.append(f"{word} {following}")
        _numbers(words, i, wrong, seen)
        _after_auxiliaries(words, i, wrong, seen)
        _persons(words, i, wrong, seen)
    _first_subject(words, wrong, seen)
    return wrong, seen


def _noun_after(words, i):
    """The first noun behind a determiner at `i`, past an adjective; None if there is none."""
    for word in words[i + 1 : i + 4]:
        if nouns(word) and not read(word, "en", "adjective"):
            return word
        if not read(word, "en", "adjective") and word not in ("more", "most"):
            return None
    return None


def _numbers(words, i, wrong, seen):
    wanted = {"a": "sg", "an": "sg", "this": "sg", "these": "pl"}.get(words[i])
    wanted = "pl" if words[i] in NUMBERS and words[i + 1] not in ("o'clock", "years", "days") else wanted
    noun = _noun_after(words, i) if wanted else None
    if noun:
        seen.append("number of a noun")
        mass = nouns(noun) == {"sg"} and wanted == "pl"
        if wanted not in nouns(noun) or mass:
            wrong.append(f"{words[i]} ... {noun}")


def _after_auxiliaries(words, i, wrong, seen):
    word = words[i]
    if word not in AUXILIARIES:
        return
    j = i + 1
    asked = i == 0 or words[0] in ("what", "who", "where", "why", "when")
    if word == "to" and not verbs(words[j]):
        return
    if asked and word != "to":
        return
    while words[j] in OFTEN:
        j += 1
    columns = verbs(words[j])
    if columns and words[j] not in NAMES and not (word == "to" and nouns(words[j])):
        seen.append("base form")
        if "base" not in columns:
            wrong.append(f"{word} {words[j]}")


def _persons(words, i, wrong, seen):
    """A pronoun and the verb after it agree, where the pronoun is a subject for sure."""
    word, j = words[i], i + 1
    if word not in ("i", "he", "she", "we", "they") or (
        i and words[i - 1] in ("do", "does", "did", "than", "as")
    ):
        return
    if i and words[i - 1] in (*FORMS_OF_BE, "has", "have", "can", "could", "should", "had"):
        return
    while words[j] in OFTEN:
        j += 1
    _agrees(word, words[j], "third" if word in THIRD else "base", wrong, seen)


def _agrees(subject, verb, column, wrong, seen):
    if verb in FORMS_OF_BE:
        seen.append("person of the verb")
        singular = column == "third"
        fits = (
            subject in FORMS_OF_BE[verb]
            if subject in (*THIRD, *PLAIN)
            else singular == (verb in ("is", "was"))
        )
        if not fits:
            wrong.append(f"{subject} {verb}")
        return
    if verb in ("do", "does", "has", "have"):
        columns = {"third"} if verb in ("does", "has") else {"base"}
    else:
        columns = verbs(verb)
    if columns & {"base", "third", "past"}:
        seen.append("person of the verb")
        if columns.isdisjoint({column, "past"}):
            wrong.append(f"{subject} {verb}")


def _first_subject(words, wrong, seen):
    """A sentence that opens with a noun: its verb agrees."""
    if words[-1] != ".":
        return
    if words[0] in NAMES and words[1] == "and":
        end, column = 3, "base"
    elif words[0] in NAMES:
        end, column = 1, "third"
    else:
        determined = words[0] in ("the", "a", "an", "this", "these", *NUMBERS) or read(
            words[0], "en", "possessive"
        )
        noun = _noun_after(words, 0) if determined else None
        if not noun:
            return
        end = words.index(noun) + 1
        if noun == "sheep" or noun == "fish":
            return
        column = "base" if "pl" in nouns(noun) and words[0] not in ("a", "an", "this") else "third"
        if nouns(noun) == {"sg", "pl"}:
            return
    if (
        (end < len(words) and words[end] == "and")
        or words[end] in ("who", "that")
        or words[end].endswith("'s")
    ):
        return
    while words[end] in OFTEN:
        end += 1
    _agrees(words[0] if words[0] not in THIRD else "", words[end], column, wrong, seen)
