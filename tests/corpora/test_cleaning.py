"""Cleaning mends what can be mended, drops the rest, and counts both."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprog.corpora import Corpus, Sentence, clean_text, read_source


def read(rows, languages=("da", "en"), **options):
    """Read (text, language, pair) rows through a generator."""

    def rows_as_corpus(languages, seed):
        return Corpus.of(Sentence(*row, "") for row in rows)

    return read_source("rows", languages=languages, generators={"rows": rows_as_corpus}, **options)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("  Hej \t med\u00a0dig \r\n", "Hej med dig"),
        ("A\u030ase", "Åse"),
        ("Hej\x07\x1b[1m\x9ddig", "Hej [1m dig"),
        ("a\ud800b", "a b"),
        ("👨‍👩‍👧", "👨‍👩‍👧"),
        ("\u2028\x00\n", ""),
    ],
)
def test_clean_text(raw, text):
    assert clean_text(raw) == text


@given(st.text(st.characters()))
def test_cleaning_twice_changes_nothing(raw):
    text = clean_text(raw)
    assert clean_text(text) == text
    assert unicodedata.is_normalized("NFC", text)
    assert text == text.strip()
    assert "  " not in text
    text.encode()


def test_every_reason_is_counted():
    rows = [
        ("Hej.", "da", "1"),
        ("A\u030ase  siger hej.", "da", "2"),
        (" ", "da", "3"),
        ("x" * 11, "en", "4"),
        ("Hej.", "da", "5"),
        ("Hej.", "en", "6"),
        ("Hallå.", "sv", "7"),
    ]
    corpus, tallies = read(rows, max_characters=len("Åse siger hej."))
    assert [s.text for s in corpus.sentences] == ["Hej.", "Åse siger hej.", "x" * 11, "Hej."]
    assert tallies["da"].dropped == {"empty": 1, "duplicate": 1}
    # a sentence of blanks alone is changed before it is found to be empty
    assert tallies["da"].changed == {"nfc": 1, "whitespace": 2}
    assert tallies["sv"].dropped == {"other_language": 1}
    assert read(rows, max_characters=10).tallies["en"].dropped == {"too_long": 1}


def test_repetition_inside_a_pair_is_a_duplicate():
    corpus, tallies = read([("Hej.", "da", "1"), ("Hej. ", "da", "1"), ("Hi.", "en", "1")])
    assert len(corpus) == 2
    assert tallies["da"].dropped == {"duplicate": 1}


raw = st.text(st.sampled_from("ab \t\x07\u0301"), max_size=5)
rows = st.lists(st.tuples(raw, st.sampled_from(["da", "en", "sv"]), st.sampled_from("123456")), min_size=1)


@given(rows, st.integers(0, 4))
def test_counts_add_up(rows, max_characters):
    corpus, tallies = read([("anchor", "da", "0"), *rows], max_characters=6 + max_characters)
    assert sum(tally.read for tally in tallies.values()) == 1 + len(rows)
    assert sum(tally.kept for tally in tallies.values()) == len(corpus)
    for language in ("da", "en"):
        if language in tallies:
            assert tallies[language].kept == len(corpus.only(language))
    assert len({(s.language, s.text) for s in corpus.sentences}) == len(corpus)


@given(rows, st.randoms())
def test_order_does_not_decide(rows, random):
    rows = [("anchor", "da", "0"), *rows]
    shuffled = random.sample(rows, len(rows))
    assert set(read(rows).corpus.sentences) == set(read(shuffled).corpus.sentences)
