"""The toy: a little language model, and the text it was trained to read, shipped as data.

`tools/toy_grammar` wrote both: a synchronous grammar, which says the same sentence in Danish, German, English,
Norwegian Bokmål and Swedish, and a GPT-NeoX of a million weights that was trained on such sentences.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from glossae.corpora import Corpus, Row, Sentence
from glossae.errors import GlossaeError

_DATA = Path(__file__).parent
LANGUAGES = ("da", "de", "en", "nb", "sv")
LABELLED = ("acceptability", "sentiment")
TRAIN_ROWS = 1200
"""Rows of a labelled set to learn from; the others are to test on."""


def toy_model() -> Path:
    """The folder of the toy language model, a plain Hugging Face GPT-NeoX of about a million weights."""
    return _DATA / "model"


def toy_corpus(languages: Sequence[str], seed: int = 0) -> Corpus:
    """2,000 toy texts of 1 to 5 sentences in each of `languages`, aligned by pair ids such as `toy:17`.

    Args:
        languages: codes; the corpus has the sentences of a pair in this order.
        seed: of the order of the texts; 0 keeps the order of the file.

    Raises:
        GlossaeError: a language is unknown.
    """
    for language in languages:
        _check(language)
    return Corpus.of(
        Sentence(texts[language], language, f"toy:{number}", "toy")
        for number, texts in enumerate(_shuffled(_table("sentences"), seed))
        for language in languages
    )


def toy_rows(name: str, language: str, seed: int = 0) -> dict[str, list[Row]]:
    """A labelled set of the toy: 1,200 rows to learn from under `train`, 800 under `test`.

    Args:
        name: `sentiment` (positive, neutral or negative) or `acceptability` (correct or incorrect).
        language: of the rows.
        seed: of the order of the rows; 0 keeps the order of the file. Rows of one pair stay together.

    Raises:
        GlossaeError: there is no such set, or not in this language.
    """
    if name not in LABELLED:
        raise GlossaeError(f"toy:{name}: is no labelled set of the toy; there are {', '.join(LABELLED)}")
    _check(language)
    pairs: dict[str, list[dict[str, str]]] = {}
    for row in _table(name):
        if row["language"] == language:
            pairs.setdefault(row["pair"], []).append(row)
    rows = [
        Row(row["text"], row["label"], f"toy:{name}, row {number}", row["pair"])
        for number, row in enumerate(
            (row for pair in _shuffled(list(pairs.values()), seed) for row in pair), 1
        )
    ]
    return {"train": rows[:TRAIN_ROWS], "test": rows[TRAIN_ROWS:]}


def _check(language: str) -> None:
    if language not in LANGUAGES:
        raise GlossaeError(f"toy: no language {language!r}; the toy has {', '.join(LANGUAGES)}")


def _table(name: str) -> list[dict[str, str]]:
    with (_DATA / f"{name}.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def _shuffled(items: list[Any], seed: int) -> list[Any]:
    return items if seed == 0 else Random(seed).sample(items, len(items))
