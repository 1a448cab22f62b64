"""Labelled texts, and what asking for some has in common."""

from collections.abc import Mapping
from dataclasses import dataclass

from sprog.errors import SprogError
from sprog.toy.tables import LANGUAGES

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
        SprogError: the language is unknown, or `number` is out of range.
    """
    if language not in LANGUAGES:
        raise SprogError(f"toy: no language {language!r}; the toy grammar has {', '.join(LANGUAGES)}")
    if not 0 <= number <= MAX_LABELLED:
        raise SprogError(f"toy: {number} labelled texts asked for; the grammar gives 0 to {MAX_LABELLED}")
