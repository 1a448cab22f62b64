"""Reading sentences back, with nothing but the tables: what each word may be, and where phrases end.

The checkers of the languages build on this; none of them uses a realiser.
"""

import re
from dataclasses import dataclass
from functools import cache

from toy_grammar.tables import load_table

SUBORDINATORS = {
    "da": ("at", "fordi", "hvis", "når", "da", "mens", "før", "selvom", "om"),
    "nb": ("at", "fordi", "hvis", "når", "da", "mens", "før", "selv", "om"),
    "sv": ("att", "eftersom", "när", "om", "medan", "innan", "trots"),
    "de": ("dass", "weil", "wenn", "als", "während", "bevor", "obwohl", "ob"),
}
LEXICON = load_table("lexicon")
NAMES = {row["form"].lower() for row in LEXICON["name"].values()}


@dataclass(frozen=True)
class Reading:
    """What a word may be: a section of the tables, a lexeme, and a column."""

    part: str
    lexeme: str
    column: str


@cache
def readings(language):
    """By word, in lower case: its readings. Of forms of several words, the first has them."""
    found = {}
    for part, rows in load_table(language).items():
        for lexeme, row in rows.items():
            for column, form in row.items():
                if form != "-" and column not in ("gender", "perfect", "object", "case", "tags", "to.case"):
                    found.setdefault(form.lower().split()[0], set()).add(Reading(part, lexeme, column))
    return found


def read(word, language, part):
    """The readings of a word in one section."""
    return [r for r in readings(language).get(word, ()) if r.part == part]


def tokens(text):
    """Words in lower case, commas, and the final mark."""
    return re.findall(r"[\w']+|[,.?!]", text.lower())


FINITE = ("present", "past", "third", "1sg", "2sg", "3sg", "pl", "past.pl", "form")


def finite(word, language):
    """Whether a word may be a finite verb."""
    if (
        language == "sv"
        and word.endswith("s")
        and any(r.column == "past" for r in read(word[:-1], "sv", "verb"))
    ):
        return True
    words = load_table(language)["word"]
    if word in (words[key]["form"] for key in ("passive", "passive.pl") if key in words):
        return True
    return any(r.column in FINITE for part in ("verb", "modal") for r in read(word, language, part))


@cache
def phrases(language, part):
    """The forms of a section as lists of words, longest first."""
    forms = {tuple(row["form"].lower().split()) for row in load_table(language)[part].values()}
    return sorted(forms, key=len, reverse=True)


def starts_with(words, i, forms):
    """The length of the longest of `forms` that stands at `i`, or 0."""
    return next((len(form) for form in forms if tuple(words[i : i + len(form)]) == form), 0)


@cache
def prepositions(language):
    """Prepositions and what leads to places, as lists of words, longest first."""
    table = load_table(language)
    forms = {tuple(row["form"].lower().split()) for row in table["preposition"].values()}
    forms |= {tuple(row[c].lower().split()) for row in table["place"].values() for c in ("at", "to")}
    forms |= {(row["form"],) for row in table.get("contraction", {}).values()}
    return sorted(forms, key=len, reverse=True)
