"""Cleaning mends what can be mended, drops the rest, and counts both."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glossae.text import Corpus, Sentence, clean_text, read_source


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


INVISIBLE = [
    "\u00ad",
    "\u200b",
    "\u2060",
    "\ufeff",
    "\u200e",
    "\u200f",
    "\u061c",
    "\u202a",
    "\u202c",
    "\u2066",
    "\u2069",
]


@pytest.mark.parametrize("mark", INVISIBLE, ids=ascii)
def test_what_no_reader_sees_is_taken_out_and_counted(mark):
    rows = [
        (f"{mark}Hun e\u0301t fisk.", "da", "1"),
        (f"Han spi{mark}ser {mark} brød.", "da", "2"),
        (f"Hun e{mark}\u0301t{mark} fisk.", "da", "3"),
        (mark, "da", "4"),
    ]
    corpus, tallies = read(rows)
    # between a letter and its accent too, so that both are one letter
    assert [s.text for s in corpus.sentences] == ["Hun ét fisk.", "Han spiser brød."]
    assert tallies["da"].changed["invisible"] == 4
    assert tallies["da"].dropped == {"duplicate": 1, "empty": 1}
    assert [clean_text(text) for text, *_ in rows] == ["Hun ét fisk.", "Han spiser brød.", "Hun ét fisk.", ""]


@pytest.mark.parametrize(
    "text",
    ["می\u200cخواهم", "क्\u200dष", "👨\u200d👩\u200d👧", "❤\ufe0f", "🏴\U000e0067\U000e007f"],
    ids=ascii,
)
def test_what_shapes_letters_and_emoji_stays(text):
    corpus, tallies = read([(text, "da", "1")])
    assert (corpus.sentences[0].text, clean_text(text)) == (text, text)
    assert not tallies["da"].changed


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


# ---- markers of the speaker's language


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("(DE) Hr. formand!", "Hr. formand!"),
        (" (SV)  Fru formand!", "Fru formand!"),
        ("(DA)\u00a0Formand!", "Formand!"),
        ("(EN)Madam President", "Madam President"),
        ("(FR) - Monsieur le Président", "Monsieur le Président"),
        ("(FR) – « Monsieur »", "« Monsieur »"),
        ("- (EL) Hr. formand", "- Hr. formand"),
        ("in writing. - (FR) The draft", "in writing. - The draft"),
        ("ordfører. (FR) Klokken er 23.20.", "ordfører. Klokken er 23.20."),
        (". (NL) We voted.", ". We voted."),
        ("(DE) (EN) Mr President", "Mr President"),
        ("(RO) 25 % of it", "25 % of it"),
        ("in writing. - (PT)", "in writing. -"),
        ("(MT)", ""),
    ],
)
def test_a_marker_of_the_language_is_taken_out(raw, text):
    assert clean_text(raw) == text


@pytest.mark.parametrize(
    "text",
    [
        "Domstolsadministrasjonen (DA) i Trondheim",
        "Informationsteknologi (IT) Er Vigtigt.",
        "(IT) er en forkortelse.",
        "Det er dyrt. (IT) er det også.",
        "(EC) No 1408/71",
        "(US) Mr President",
        "(de) Mr President",
        "(DEU) Mr President",
        "DE Mr President",
        "(DE, EN) Mr President",
        "[DE] Mr President",
        "( DE ) Mr President",
        "Lande: (DE), (FR) og (IT).",
        "Det gælder fem lande. (DE), (FR) og andre.",
        "(DE)-Gruppe",
        "(Applaus) Frau Präsidentin",
        "Alle (EN) Og (FR) Folk",
    ],
)
def test_other_parentheses_stay(text):
    assert clean_text(text) == text


def test_markers_are_counted_where_they_are():
    rows = [
        ("(DE) Hr.  formand", "da", "1"),
        ("Hr. formand (DE)", "da", "2"),
        ("(EN)", "da", "3"),
        ("Sir", "en", "1"),
    ]
    corpus, tallies = read(rows)
    assert [s.text for s in corpus.sentences] == ["Hr. formand", "Sir", "Hr. formand (DE)"]
    assert tallies["da"].changed == {"language_marker": 2, "whitespace": 1}
    assert tallies["da"].dropped == {"empty": 1}
    assert tallies["en"].changed == {}


fragments = st.lists(
    st.sampled_from(
        ["(DE)", "(SV)", "(IT)", "(XX)", "(", ")", ".", "!", "-", "–", " ", "a", "B", "\u0301", "DE"]
    ),
    max_size=9,
).map("".join)


@given(fragments)
def test_no_marker_comes_to_light_by_taking_one_out(raw):
    text = clean_text(raw)
    assert clean_text(text) == text
    assert text == text.strip()
    assert "  " not in text
    assert unicodedata.is_normalized("NFC", text)
