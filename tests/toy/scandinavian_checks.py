"""What Danish, Bokmål and Swedish sentences must keep to; see `violations`."""

from scandinavian_reading import MOVING, adjectives, constituent, noun_phrase, nouns, owners
from toy_reading import NAMES, SUBORDINATORS, finite, phrases, read, starts_with, tokens

COMMON = ("jeg", "jag", "du", "han", "hun", "hon")
PLURAL = ("vi", "de")


def violations(text, language):
    """What is wrong with a sentence, and how many things of what kind were looked at."""
    words, wrong, seen = tokens(text), [], []
    i = 0
    while i < len(words) and not wrong:
        if length := starts_with(words, i, phrases(language, "time")):
            i += length
            continue
        try:
            length = noun_phrase(words, i, language)[0]
        except AssertionError as error:
            if (language == "nb" and _owns_what_is_before(words, i)) or _is_pronoun(words, i, language):
                i += 1
            else:
                wrong.append(str(error))
        else:
            seen += ["phrase"] * (length > 1)
            i += max(length, 1)
    if not wrong:
        for check in (_verb_second, _subordinate, _commas, _modals, _predicatives):
            check(words, language, wrong, seen)
    return wrong, seen


def _is_pronoun(words, i, language):
    """Whether what looks like an article is a pronoun: *i hagen er det gamle trær*, *nå spiser de fersk ost*."""
    if words[i - 1] in ("er", "var", "finns", "fanns"):
        return words[i] == "det"
    strong = "def" not in adjectives(language, words[i + 1])
    return words[i] in ("det", "de") and finite(words[i - 1], language) and strong


def _owns_what_is_before(words, i):
    """Whether a possessive may stand behind its noun: *boka mi*, and then another phrase."""
    return words[i] in owners("nb") and any(definite for _, _, definite in nouns("nb", words[i - 1]))


def _verb_second(words, language, wrong, seen):
    if words[-1] != "." or words[0] == "ikke":
        return
    start = 0
    if words[0] in SUBORDINATORS[language] and "," in words:
        start = words.index(",") + 1
        seen.append("inverted")
        if not finite(words[start], language):
            wrong.append(f"no verb after a fronted clause: {words[start]}")
        return
    length = constituent(words, start, language)
    if not length or words[start + length] in (",", "som"):
        return
    seen.append("verb second")
    if not finite(words[start + length], language):
        wrong.append(f"no verb in second place: {' '.join(words[: start + length + 1])}")


def _subordinate(words, language, wrong, seen):
    for i, word in enumerate(words):
        opens = word in SUBORDINATORS[language] or (word in ("som", "der") and i and words[i - 1] == ",")
        if not opens or (word == "om" and starts_with(words, i, phrases(language, "time"))):
            continue
        end = next((j for j in range(i + 1, len(words)) if words[j] in ",.?!"), len(words))
        clause = words[i + 1 : end]
        for adverb in MOVING[language]:
            first = adverb.split()[0]
            if adverb in " ".join(clause) and first in clause:
                verbs = [j for j, w in enumerate(clause) if finite(w, language) and not nouns(language, w)]
                seen.append("adverb in a clause")
                if verbs and verbs[0] < clause.index(first):
                    wrong.append(f"adverb after the verb: {' '.join(clause)}")


def _commas(words, language, wrong, seen):
    openers = {"da": ("fordi", "hvis", "selvom", "mens", "før"), "nb": ("fordi", "hvis", "mens", "før")}
    for i, word in enumerate(words[1:], start=1):
        if word in openers.get(language, ("eftersom", "medan", "innan", "trots")):
            seen.append("comma")
            if (words[i - 1] == ",") != (language == "da"):
                wrong.append(f"comma before {word}")
        at = {"da": "at", "nb": "at", "sv": "att"}[language]
        if word == at and words[i - 1] not in ("for", "för", "trots"):
            told = constituent(words, i + 1, language) > 0 and finite_later(words, i, language)
            if told and language == "da" and words[i - 1] != ",":
                wrong.append("no comma before at")
            if language != "da" and words[i - 1] == ",":
                wrong.append(f"comma before {at}")


def finite_later(words, i, language):
    """Whether a finite verb stands right after the constituent behind `i`."""
    j = i + 1 + constituent(words, i + 1, language)
    return j < len(words) and finite(words[j], language)


def _modals(words, language, wrong, seen):
    for i, word in enumerate(words):
        if not read(word, language, "modal") or (word in ("kan", "kunne") and "lide" in words):
            continue
        after = [
            {r.column for r in read(w, language, "verb")}
            for w in words[i + 1 :]
            if read(w, language, "verb") and not nouns(language, w)
        ]
        if after and word not in NAMES:
            seen.append("modal")
            if "infinitive" not in after[0]:
                wrong.append(f"no infinitive after {word}")


def _predicatives(words, language, wrong, seen):
    copulas = ("er", "var", "är")
    if "som" in words or "der" in words or "til" in words:
        return
    for i in range(1, len(words) - 1):
        if words[i] not in copulas or words[i - 1] in ("", ","):
            continue
        j = i + 1
        while starts_with(words, j, phrases(language, "adverb")):
            j += starts_with(words, j, phrases(language, "adverb"))
        columns = adjectives(language, words[j]) & {"c", "f", "n", "pl"}
        if not columns or nouns(language, words[j + 1]) or "comp" in adjectives(language, words[j]):
            continue
        wanted = _subject_before(words, i, language)
        if wanted:
            seen.append("predicative")
            if not wanted & columns:
                wrong.append(f"does not agree: {' '.join(words[i - 1 : j + 1])}")


def _subject_before(words, i, language):
    last = words[i - 1]
    if i > 1 and words[i - 2] in ("og", "och"):
        return {"pl"}
    if last in COMMON or last in NAMES:
        return {"c"}
    if last in PLURAL:
        return {"pl"}
    if last in ("det", "den"):
        return {"n"} if last == "det" else {"c", "f"}
    return {"pl" if n == "pl" else g for g, n, _ in nouns(language, last)}
