"""Labelled texts, and what asking for some has in common."""

from collections.abc import Mapping
from dataclasses import dataclass

from glossae.errors import GlossaeError
from toy_grammar.tables import LANGUAGES

MAX_LABELLED = 10_000
"""The most rows that one call gives."""


@dataclass(frozen=True)
class LabelledText:
    """A row of a labelled set.

    Attributes:
        text: a sentence.
        label: one of the set's labels.
        pair: rows of one pair belong into one split; a sentence and its corruption are a pair.
        kind: how the text was made; for reading results, not for training.
    """

    text: str
    label: str
    pair: str
    kind: str

    def row(self) -> Mapping[str, str]:
        """`text` and `label`, as data sets have them."""
        return {"text": self.text, "label": self.label}


def check_request(number: int, language: str) -> None:
    """Refuse what no labelled set can give.

    Raises:
        GlossaeError: the language is unknown, or `number` is out of range.
    """
    if language not in LANGUAGES:
        raise GlossaeError(f"toy: no language {language!r}; the toy grammar has {', '.join(LANGUAGES)}")
    if not 0 <= number <= MAX_LABELLED:
        raise GlossaeError(f"toy: {number} labelled texts asked for; the grammar gives 0 to {MAX_LABELLED}")
