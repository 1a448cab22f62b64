"""What German sentences must keep to; see `violations`."""

from functools import cache

from toy_reading import NAMES, SUBORDINATORS, finite, phrases, prepositions, read, starts_with, tokens

from toy_grammar.tables import load_table

TABLE = load_table("de")
CASES = ("nom", "acc", "dat", "gen")
PLACES_IN = ("in", "auf", "an", "unter", "hinter", "neben", "vor")
"""Prepositions with the dative for where, the accusative for where to."""
GOVERNED = {"mit": "dat", "von": "dat", "zu": "dat", "ohne": "acc", "für": "acc"}
CONTRACTED = {
    "im": ("dat", "mn"),
    "am": ("dat", "mn"),
    "zum": ("dat", "mn"),
    "ins": ("acc", "n"),
    "ans": ("acc", "n"),
    "zur": ("dat", "f"),
}
PERSONS = {"ich": "1sg", "du": "2sg", "er": "3sg", "es": "3sg", "wir": "pl"}
RELATIVES = ("der", "die", "das", "den", "dem", "denen")
WH = ("was", "wer", "wo", "warum", "wann")


@cache
def nouns(word):
    """(kind, case) of every noun that a word may be; the kind is a gender or `pl`."""
    found = set()
    for r in read(word, "de", "noun"):
        if r.column in ("pl", "pl.dat"):
            # a plural without an ending of its own serves the dative as well
            found |= {("pl", case) for case in (("dat",) if r.column == "pl.dat" else ("nom", "acc", "gen"))}
        elif r.column in CASES:
            found.add((TABLE["noun"][r.lexeme]["gender"], r.column))
    return found


@cache
def determiners():
    """By word: (kind, case, declension) of every determiner that it may be."""
    found = {}

    def add(form, kind, case, declension):
        found.setdefault(form, set()).add((kind, case, declension))

    for lexeme, row in TABLE["determiner"].items():
        name, kind = lexeme.split(".")
        if name == "relative":
            continue
        for case, form in row.items():
            add(form, kind, case, "weak" if name in ("the", "this") else "mixed")
            if name == "no":
                for possessive in TABLE["possessive"].values():
                    add(possessive["stem"] + form.removeprefix("kein"), kind, case, "mixed")
    for row in TABLE["number"].values():
        for case in CASES:
            add(row["dat" if case == "dat" else "form"], "pl", case, "strong")
    return found


@cache
def adjectives():
    """By word: (declension, kind, case) of every attribute that it may be."""
    found = {}
    for row in TABLE["adjective"].values():
        for stem in (row["stem"], row["sup"]):
            for lexeme, endings in TABLE["ending"].items():
                declension, kind = lexeme.split(".")
                for case, ending in endings.items():
                    found.setdefault(stem + ending, set()).add((declension, kind, case))
    return found


def noun_phrase(words, i):
    """A phrase with a noun at `i`: its length and its possible (kind, case); (0, None) if there is none.

    Raises:
        AssertionError: the words agree in no reading.
    """
    before, j = determiners().get(words[i]), i
    genitive = (words[i].rstrip("'").removesuffix("s") in NAMES and words[i] not in NAMES) or words[
        i
    ].endswith("'")
    if words[i] in CONTRACTED:
        case, kinds = CONTRACTED[words[i]]
        before = {(kind, case, "weak") for kind in kinds}
    if before or genitive:
        j += 1
    described = adjectives().get(words[j]) if j + 1 < len(words) and nouns(words[j + 1]) else None
    if described and words[j] in ("jungen", "junge") and finite(words[j + 1], "de"):
        # *die Jungen treffen*
        described = None
    if described and words[j] in ("jungen", "junge") and before:
        # *dem Jungen Briefe schicken* or *den jungen Hunden*
        described = described if {(k, c) for k, c, _ in before} & nouns(words[j + 1]) else None
    if described:
        j += 1
    if j >= len(words) or not nouns(words[j]):
        return 0, None
    kinds = nouns(words[j])
    if before:
        declensions = {(kind, case): d for kind, case, d in before}
        kinds = kinds & set(declensions)
        if described:
            kinds = {
                (k, c) for k, c in kinds if any((d, k, c) in described for d in _declensions(before, k, c))
            }
    elif described:
        kinds = {(k, c) for k, c in kinds if ("strong", k, c) in described}
    if not kinds:
        raise AssertionError(f"does not agree: {' '.join(words[i : j + 1])}")
    return j + 1 - i, kinds


def constituent(words, i):
    """The length and the (kind, case) of the time, place, name, pronoun or phrase at `i`; (0, None) if none."""
    if length := starts_with(words, i, phrases("de", "time")):
        return length, None
    if words[i] not in CONTRACTED and (length := starts_with(words, i, prepositions("de"))):
        inner = constituent(words, i + length)[0]
        return (length + inner if inner else 0), None
    length, kinds = noun_phrase(words, i)
    if words[i] in CONTRACTED:
        kinds = None
    if not length and (words[i] in NAMES or read(words[i], "de", "pronoun")):
        length, kinds = 1, {("pl" if words[i] == "wir" else "m", "nom")}
    if words[i] == "sie":
        kinds = None
    if (
        length
        and i + length < len(words)
        and any(c == "gen" for _, c, _ in determiners().get(words[i + length], ()))
    ):
        owner, cases = noun_phrase(words, i + length)
        length += owner if cases and ("gen" in {c for _, c in cases}) else 0
    if length and i + length < len(words) and words[i + length] == "und":
        second = constituent(words, i + length + 1)[0]
        return (length + 1 + second, {("pl", "nom")}) if second else (0, None)
    return length, kinds


def violations(text):
    """What is wrong with a sentence, and how many things of what kind were looked at."""
    words, wrong, seen = tokens(text), [], []
    i = 0
    while i < len(words) and not wrong:
        if length := starts_with(words, i, phrases("de", "time")):
            i += length
            continue
        try:
            length, kinds = noun_phrase(words, i)
        except AssertionError as error:
            if (i and words[i - 1] == "," and words[i] in RELATIVES) or words[i] == "ihr":
                # a relative pronoun, or *ihr* for *to her*
                i += 1
                continue
            wrong.append(str(error))
            break
        if length:
            seen.append("phrase")
            _governed(words, i, kinds, wrong, seen)
        i += max(length, 1)
    if not wrong:
        for check in (_verb_second, _verb_last, _persons, _commas):
            check(words, wrong, seen)
    return wrong, seen


def _declensions(before, kind, case):
    return {d for k, c, d in before if (k, c) == (kind, case)}


def _governed(words, i, kinds, wrong, seen):
    case = GOVERNED.get(words[i - 1]) if i else None
    possible = {case} if case else {"acc", "dat"} if i and words[i - 1] in PLACES_IN else None
    if possible:
        seen.append("case after a preposition")
        if possible.isdisjoint(c for _, c in kinds):
            wrong.append(f"wrong case after {words[i - 1]}")


def _verb_second(words, wrong, seen):
    if words[-1] != ".":
        return
    if words[0] in SUBORDINATORS["de"]:
        start = words.index(",") + 1
        while not finite(words[start], "de") and "," in words[start:]:
            # an infinitive or a relative clause of the fronted one
            start += words[start:].index(",") + 1
        seen.append("inverted")
        if not finite(words[start], "de"):
            wrong.append("no verb after a fronted clause")
        return
    length, kinds = constituent(words, 0)
    if not length or words[length] == ",":
        return
    seen.append("verb second")
    if not finite(words[length], "de"):
        wrong.append(f"no verb in second place: {' '.join(words[: length + 1])}")
    elif kinds and any(c == "nom" for _, c in kinds) and words[0] not in PERSONS:
        seen.append("number of the verb")
        numbers = {"pl" if k == "pl" else "sg" for k, c in kinds if c == "nom"}
        if numbers.isdisjoint(_numbers(words[length])):
            wrong.append(f"the verb does not agree: {' '.join(words[: length + 1])}")


def _numbers(verb):
    """The numbers of what a verb can be said of."""
    if verb in ("wurde", "wurden"):
        return {"pl" if verb == "wurden" else "sg"}
    columns = {r.column for part in ("verb", "modal") for r in read(verb, "de", part)}
    singular = columns & {"3sg", "past"}
    plural = columns & {"pl", "past.pl"}
    return {number for number, forms in (("sg", singular), ("pl", plural)) if forms}


def _verb_last(words, wrong, seen):
    for i, word in enumerate(words):
        opens = word in SUBORDINATORS["de"] or (word in WH and i and words[i - 1] == ",")
        compares = word == "als" and i and words[i - 1] != ","
        if not opens or compares:
            continue
        end = next((j for j in range(i + 1, len(words)) if words[j] in ",.?!"), len(words))
        seen.append("verb last")
        if not finite(words[end - 1].removeprefix("ein").removeprefix("auf"), "de"):
            wrong.append(f"no verb at the end: {' '.join(words[i:end])}")


def _persons(words, wrong, seen):
    """A pronoun that opens a main clause, or follows its verb, agrees with it."""
    if words[-1] == "!":
        return
    for i, word in enumerate(words[:-1]):
        opens = i == 0 or words[i - 1] in ("und", "aber")
        verb = words[i + 1] if opens else words[i - 1]
        if word not in PERSONS or not finite(verb, "de") or verb in ("wurde", "wurden"):
            continue
        if word == "es" and verb in ("ist", "sind", "war", "waren"):
            # in a cleft the verb agrees with what is brought out
            continue
        seen.append("person of the verb")
        columns = {r.column for part in ("verb", "modal") for r in read(verb, "de", part)}
        if columns.isdisjoint({PERSONS[word], "past.pl" if word == "wir" else "past"}):
            wrong.append(f"{word} with {verb}")


def _commas(words, wrong, seen):
    for i, word in enumerate(words[1:], start=1):
        if word in ("dass", "weil", "wenn", "ob", "obwohl", "bevor", "um"):
            if word == "um" and "uhr" in words:
                continue
            seen.append("comma")
            if words[i - 1] != ",":
                wrong.append(f"no comma before {word}")
