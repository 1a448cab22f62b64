"""Sentences written by hand, two or more per construction: the realisers must agree word for word."""

import gold_linked
import gold_properties
import gold_requests
import gold_statements
import gold_verbs
import pytest

from toy_grammar import CONSTRUCTIONS, Sentence, realise
from toy_grammar.tables import LANGUAGES

GOLD = [
    *gold_statements.GOLD,
    *gold_verbs.GOLD,
    *gold_properties.GOLD,
    *gold_requests.GOLD,
    *gold_linked.GOLD,
]


@pytest.mark.parametrize("row", GOLD, ids=[row[5] for row in GOLD])
def test_sentence_as_written_by_hand(row):
    name, clause, more, *texts = row
    sentence = Sentence(name, clause, **more)
    assert {language: realise(sentence, language) for language in LANGUAGES} == dict(
        zip(LANGUAGES, texts, strict=True)
    )


@pytest.mark.parametrize("name", CONSTRUCTIONS)
def test_every_construction_has_two(name):
    assert sum(row[0] == name for row in GOLD) >= 2
