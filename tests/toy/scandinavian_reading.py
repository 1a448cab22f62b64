"""Reading Danish, Bokmål and Swedish phrases back, with nothing but the tables."""

from functools import cache

from toy_reading import NAMES, finite, phrases, prepositions, read, starts_with

from toy_grammar.tables import load_table

DOUBLE = {"da": False, "nb": True, "sv": True}
MOVING = {
    "da": ("ikke", "altid", "ofte", "aldrig", "nogle gange", "allerede"),
    "nb": ("ikke", "alltid", "ofte", "aldri", "noen ganger", "allerede"),
    "sv": ("inte", "alltid", "ofta", "aldrig", "ibland", "redan"),
}


@cache
def nouns(language, word):
    """(gender, number, definite) of every noun that a word may be."""
    gender = {noun: row["gender"] for noun, row in load_table(language)["noun"].items()}
    return {
        (gender[r.lexeme], r.column[:2], r.column.endswith(".def"))
        for r in read(word, language, "noun")
        if r.column != "gender"
    }


def adjectives(language, word):
    """The columns of every adjective that a word may be; *more* and *most* are none."""
    return (
        {r.column for r in read(word, language, "adjective")}
        if word not in ("mere", "mest", "mer")
        else set()
    )


@cache
def determiners(language):
    """By first word: (length, genders, number, definite noun?, weak adjective?) of what stands before nouns."""
    table, double = load_table(language), DOUBLE[language]
    found = {}

    def add(form, column, definite, weak):
        words = tuple(form.split())
        number = "pl" if column == "pl" else "sg"
        genders = ("c", "f", "n") if column == "pl" else (column,)
        found.setdefault(words[0], []).append((words, genders, number, definite, weak))

    for gender in ("c", "f", "n"):
        if f"a.{gender}" in table["word"]:
            add(table["word"][f"a.{gender}"]["form"], gender, False, False)
    for lexeme, row in table["determiner"].items():
        for column, form in row.items():
            if form == "-" or lexeme.startswith("own"):
                continue
            add(form, column, double and lexeme in ("the", "this"), lexeme in ("the", "this"))
            if lexeme == "any_mass":
                # *noget mælk*: a quantity has no gender
                add(form, "c", False, False)
    rows = [*table["possessive"].values(), *(table["determiner"][f"own.{n}"] for n in ("singular", "plural"))]
    for row in rows:
        for column, form in row.items():
            add(form, column, False, True)
            if column == "c" and language == "nb":
                add(form, "f", False, True)
    for row in table["number"].values():
        add(row["form"], "pl", False, False)
    return found


def noun_phrase(words, i, language):
    """A phrase with a noun at `i`: its length and its possible (gender, number); (0, None) if there is none.

    Raises:
        AssertionError: the words agree in no reading.
    """
    table = determiners(language)
    best, broken = (0, None), 0
    for form, genders, number, definite, weak in table.get(words[i], ()):
        j = i + len(form)
        if tuple(words[i:j]) != form:
            continue
        j, columns = _attribute(words, j, language)
        if j >= len(words) or not nouns(language, words[j]):
            continue
        kinds = {
            (g, n) for g, n, d in nouns(language, words[j]) if g in genders and n == number and d == definite
        }
        if form[0] in ("den", "det", "de") and len(form) == 1 and not columns:
            # *den* and *de* without an adjective are pronouns: *de børn* is not said here
            continue
        wanted = (
            {"def", "sup"} if weak and number == "sg" else {"pl", "sup"} if number == "pl" else set(genders)
        )
        if kinds and (not columns or columns & wanted):
            best = max(best, (j + 1 - i, frozenset(kinds)), key=lambda found: found[0])
        else:
            broken = max(broken, j + 1 - i)
    if best[0] == 0 and broken:
        raise AssertionError(f"does not agree: {' '.join(words[i : i + broken])}")
    if best[0]:
        return best
    j, columns = _attribute(words, i, language)
    known = nouns(language, words[j]) if j < len(words) else set()
    if not known or (columns and words[i] in MOVING[language]):
        return 0, None
    if not columns:
        return 1, frozenset((g, n) for g, n, _ in known)
    kinds = {(g, n) for g, n, d in known if not d and columns & ({"pl"} if n == "pl" else {g})}
    owned = i > 0 and words[i - 1].rstrip("'").endswith("s") and columns & {"def", "pl"}
    if not kinds and not owned:
        raise AssertionError(f"does not agree: {' '.join(words[i : j + 1])}")
    return j + 1 - i, frozenset(kinds or {(g, n) for g, n, _ in known})


def constituent(words, i, language):
    """The length of the time, place, name, pronoun or phrase that stands at `i`; 0 if none is seen."""
    if length := starts_with(words, i, phrases(language, "time")):
        return length
    if length := starts_with(words, i, prepositions(language)):
        inner = constituent(words, i + length, language)
        return length + inner if inner else 0
    length = 0
    if words[i] in NAMES or read(words[i], language, "pronoun"):
        length = 1
    if (words[i].rstrip("'").removesuffix("s") in NAMES and words[i] not in NAMES) or words[i].endswith("'"):
        length = 1 + noun_phrase(words, i + 1, language)[0]
    phrase = noun_phrase(words, i, language)[0]
    length = max(length, phrase)
    if length and language == "nb":
        length += _postposed(words, i + length, language)
    if length and _is_genitive(words[i + length - 1], language):
        length += noun_phrase(words, i + length, language)[0]
    joined = load_table(language)["conjunction"]["and"]["form"]
    if length and i + length < len(words) and words[i + length] == joined:
        second = constituent(words, i + length + 1, language)
        return length + 1 + second if second else 0
    return length


def _attribute(words, i, language):
    while i < len(words) and words[i] in ("mere", "mest", "mer"):
        i += 1
    columns = adjectives(language, words[i]) if i < len(words) else set()
    after = nouns(language, words[i + 1]) if i + 1 < len(words) else set()
    return (i + 1, columns) if columns and after else (i, set())


def _is_genitive(word, language):
    """Whether a word is a genitive, such as *pigens*, rather than a word that ends so."""
    known = word in owners(language) or nouns(language, word) or (word in NAMES and language != "sv")
    return word.endswith("s") and not known


@cache
def owners(language):
    table = load_table(language)
    rows = [*table["possessive"].values(), *(table["determiner"][f"own.{n}"] for n in ("singular", "plural"))]
    return {form for row in rows for form in row.values()}


def _postposed(words, i, language):
    if i < len(words) and words[i] == "til":
        inner = constituent(words, i + 1, language)
        return 1 + inner if inner else 0
    if i >= len(words) or words[i] not in owners(language):
        return 0
    try:
        return 0 if noun_phrase(words, i, language)[0] and not finite(words[i + 1], language) else 1
    except AssertionError:
        return 1
