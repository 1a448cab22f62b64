"""The forms of a language's lexemes, as words with their parts of speech."""

from toy_grammar.tables import load_table
from toy_grammar.words import Word

TAGS = {
    "noun": "NOUN",
    "adjective": "ADJ",
    "verb": "VERB",
    "modal": "AUX",
    "pronoun": "PRON",
    "it": "PRON",
    "possessive": "DET",
    "determiner": "DET",
    "number": "NUM",
    "adverb": "ADV",
    "preposition": "ADP",
    "place": "ADP",
}
"""The part of speech of a lexeme's head, by section of the tables."""

LED_BY = {"adjective": "ADV", "place": "ADV", "number": "NUM", "determiner": "DET"}
"""What stands before the head in forms of several words, where the head is last: *more beautiful*, *ind i*."""

FOLLOWED_BY = {"verb": "ADP", "modal": "PART"}
"""What stands behind the head in forms of several words, where the head is first: *wakes up*, *wants to*."""


class Forms:
    """The table of one language, and the lexicon of all."""

    def __init__(self, language: str) -> None:
        """Load the table of `language`, a language code."""
        self.table = load_table(language)
        self.lexicon = load_table("lexicon")
        self._made: dict[tuple[str, str, str], list[Word]] = {}

    def form(self, part: str, lexeme: str, column: str = "form") -> str:
        """One form of a lexeme."""
        return self.table[part][lexeme][column]

    def words(self, part: str, lexeme: str, column: str = "form") -> list[Word]:
        """The words of one form of a lexeme, with their parts of speech."""
        key = (part, lexeme, column)
        if key not in self._made:
            texts = self.form(part, lexeme, column).split()
            self._made[key] = [
                Word(text, tag) for text, tag in zip(texts, self._tags(part, lexeme, len(texts)), strict=True)
            ]
        return list(self._made[key])

    def one(self, part: str, lexeme: str, tag: str, column: str = "form") -> Word:
        """A word that the tables tell no part of speech of."""
        return Word(self.form(part, lexeme, column), tag)

    def _tags(self, part: str, lexeme: str, count: int) -> list[str]:
        if part == "time":
            return self.form(part, lexeme, "tags").split()
        if part == "conjunction":
            kind = self.lexicon[part][lexeme]["kind"]
            return ["CCONJ" if kind in ("coordinating", "correlative") else "SCONJ"] * count
        if part == "question":
            asks = self.lexicon[part][lexeme]["asks"]
            return ["PRON" if asks in ("object", "subject") else "ADV"] * count
        head = "AUX" if part == "verb" and lexeme == "be" else TAGS[part]
        if part in FOLLOWED_BY:
            return [head, *[FOLLOWED_BY[part]] * (count - 1)]
        return [*[LED_BY.get(part, head)] * (count - 1), head]
