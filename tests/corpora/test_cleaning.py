"""Cleaning mends what can be mended, drops the rest and counts both; sentences of two languages are found."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glossae.corpora import (
    Corpus,
    Sentence,
    ambiguous,
    build_lexicons,
    clean_text,
    count_ambiguous,
    identical_texts,
    read_source,
    refuse_one_text_as_two_languages,
)
from glossae.corpora.cleaning import telltale_words, words_of
from glossae.errors import GlossaeError


def read(rows, languages=("da", "en")):
    """Read (text, language, pair) rows through a generator."""

    def rows_as_corpus(languages, seed):
        return Corpus.of(Sentence(*row, "") for row in rows)

    return read_source("rows", languages=languages, generators={"rows": rows_as_corpus})


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("  Hej \t med\u00a0dig \r\n", "Hej med dig"),
        ("A\u030ase", "Åse"),
        ("Hej\x07\x1b[1m\x9ddig", "Hej [1m dig"),
        ("a\ud800b", "a b"),
        ("\u2028\x00\n", ""),
        # what cannot be seen, where it shapes nothing
        ("\ufeffHa\u00advn\u200b\u2060\u034f\u3164\u202e", "Havn"),
        ("Auf\u200clage\u200d 5\u200d", "Auflage 5"),
        ("\u200cسلام\u200c می\u200c\u200cخواهم", "سلام می\u200cخواهم"),
        ("e\u200d\u0301 👨\u200d hej\u200d👨", "é 👨 hej👨"),
        ("skjult\U000e0041\U000e0042", "skjult"),
        # markers of the speaker's language
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
def test_what_is_mended(raw, text):
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
        # what shapes letters and emoji
        *("می\u200cخواهم", "क्\u200dष", "ক্\u200cষ", "ه\u200d.", "ᠮᠣᠩᠭᠣᠯ\u180eᠠ", "ශ්\u200dරී"),
        *(
            "👨\u200d👩\u200d👧",
            "❤\ufe0f",
            "🏴\U000e0067\U000e007f",
            "🏳\ufe0f\u200d🌈",
            "🐈\u200d⬛",
            "🙂\u200d↔\ufe0f",
        ),
    ],
)
def test_what_stays(text):
    corpus, tallies = read([(text, "da", "1")])
    assert (corpus.sentences[0].text, clean_text(text)) == (text, text)
    assert not tallies["da"].changed


PIECES = [
    "(DE)",
    "(SV)",
    "(IT)",
    "(XX)",
    "(",
    ")",
    ".",
    "!",
    "-",
    "–",
    " ",
    "a",
    "B",
    "\u0301",
    "DE",
    "\u00ad",
    "\u200c",
    "\u200d",
    "م",
    "👨",
    "\u2329",
]


@given(st.text(st.characters()) | st.lists(st.sampled_from(PIECES), max_size=9).map("".join))
def test_cleaning_twice_changes_nothing(raw):
    text = clean_text(raw)
    assert clean_text(text) == text
    assert unicodedata.is_normalized("NFC", text)
    assert text == " ".join(text.split())
    text.encode()


def test_every_reason_is_counted():
    rows = [
        ("Hej.", "da", "1"),
        ("A\u030ase  siger hej.", "da", "2"),
        (" ", "da", "3"),
        ("x" * 2001, "en", "4"),
        ("Hej.", "da", "5"),
        ("Hej.", "en", "6"),
        ("Hallå.", "sv", "7"),
        ("(DE) Hr.  formand", "da", "8"),
        ("(EN)", "da", "9"),
        # a repetition inside a pair
        *(("Nå.", "da", "10"), ("Nå. ", "da", "10"), ("x" * 2000, "en", "10")),
    ]
    corpus, tallies = read(rows)
    assert [s.text for s in corpus.sentences] == [
        *("Hej.", "Åse siger hej.", "Hej.", "Hr. formand", "Nå.", "x" * 2000)
    ]
    assert tallies["da"].dropped == {"empty": 2, "duplicate": 2}
    # a sentence of blanks alone is changed before it is found to be empty
    assert tallies["da"].changed == {"nfc": 1, "whitespace": 4, "language_marker": 2}
    assert tallies["sv"].dropped == {"other_language": 1}
    assert tallies["en"].dropped == {"too_long": 1}
    assert tallies["en"].changed == {}


@pytest.mark.parametrize(
    "mark", "\u00ad\u200b\u2060\ufeff\u200e\u200f\u061c\u202a\u202c\u2066\u2069", ids=ascii
)
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


raw = st.text(st.sampled_from("ab \t\x07\u0301"), max_size=5)
rows = st.lists(st.tuples(raw, st.sampled_from(["da", "en", "sv"]), st.sampled_from("123456")), min_size=1)


@given(rows, st.randoms())
def test_counts_add_up_and_order_does_not_decide(rows, random):
    rows = [("anchor", "da", "0"), *rows]
    corpus, tallies = read(rows)
    assert sum(tally.read for tally in tallies.values()) == len(rows)
    for language, tally in tallies.items():
        assert tally.read - tally.dropped.total() == len(corpus.only(language))
    assert len({(s.language, s.text) for s in corpus.sentences}) == len(corpus)
    assert set(read(random.sample(rows, len(rows))).corpus.sentences) == set(corpus.sentences)


def corpus_of(*rows, source="a.tsv"):
    """Sentences from (text, language), each a pair of its own."""
    return Corpus.of(Sentence(text, code, f"{source}-{i}", source) for i, (text, code) in enumerate(rows))


def marked(corpus, lexicons=None):
    mask = ambiguous(corpus, "da", "nb", lexicons or build_lexicons(corpus, at_least=1))
    return [sentence.text for sentence, yes in zip(corpus.sentences, mask, strict=True) if yes]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hun bor i Århus.", ["hun", "bor", "i", "århus"]),
        ('E-mail nr. 3: it\'s "ok"!', ["e-mail", "nr", "it's", "ok"]),
        ("- 1984 – 100 % ☃ _", []),
        ("A1b", ["a", "b"]),
    ],
)
def test_words(text, words):
    assert words_of(text) == words


def test_a_word_in_a_single_sentence_is_not_listed():
    corpus = corpus_of(("Hund hund kat", "da"), ("En hest og en kat.", "da"), ("kat kat", "nb"))
    assert build_lexicons(corpus) == {"da": {"kat"}, "nb": set()}


def test_telltales_go_both_ways_and_never_overlap():
    known = telltale_words()
    assert set(known) == {(a, b) for a in ("da", "nb", "sv") for b in ("da", "nb", "sv") if a != b}
    for (first, second), (words, letters) in known.items():
        assert words
        assert all(
            ours.isdisjoint(theirs)
            for ours, theirs in zip((words, letters), known[second, first], strict=True)
        )


def test_telltale_words_are_those_of_their_language(shared):
    # on text that is no part of the package: a tell-tale word is common in its own and absent from the other
    data = shared / "data"
    files = {"da": "parallel/europarl_20k.da", "nb": "languages_ud/nb.txt", "sv": "languages_ud/sv.txt"}
    texts = {
        code: read_source(f"{code}={data / file}", languages=[code]).corpus for code, file in files.items()
    }
    for (first, second), (words, _) in telltale_words().items():
        own, other = (
            [not words.isdisjoint(words_of(s.text)) for s in texts[code].sentences]
            for code in (first, second)
        )
        assert sum(own) > 0.3 * len(own), (first, second)
        assert sum(other) < 0.02 * len(other), (first, second)


def test_a_sentence_is_ambiguous_when_every_word_is_in_both_lists():
    corpus = corpus_of(
        ("Han bor i byen", "da"),
        ("Han bor her", "da"),
        ("Han bor i byen nå", "nb"),
        ("Bor han i byen?", "nb"),
        ("Han bor i byen", "sv"),
    )
    assert marked(corpus) == ["Han bor i byen", "Bor han i byen?"]
    assert count_ambiguous(corpus, [True, False, False, True, False]) == {"da": 1, "nb": 1, "sv": 0}


def test_a_text_that_is_there_twice_is_ambiguous_whatever_the_lists_say():
    corpus = corpus_of(("Det hagler.", "da"), ("Det hagler.", "nb"), ("Det regner.", "nb"), ("17!", "da"))
    assert marked(corpus, {"da": frozenset(), "nb": frozenset()}) == ["Det hagler.", "Det hagler.", "17!"]


def test_a_telltale_word_or_letter_settles_it():
    lexicon = frozenset({"jeg", "ser", "mig", "meg", "över", "så"})
    corpus = corpus_of(
        ("Jeg ser mig", "da"), ("Jeg ser meg", "nb"), ("Jeg ser över", "nb"), ("Jeg ser", "da")
    )
    assert marked(corpus, dict.fromkeys(("da", "nb"), lexicon)) == ["Jeg ser över", "Jeg ser"]
    swedish = corpus_of(("Så över", "sv"), ("Jeg så", "da"), ("Så ser", "sv"))
    assert ambiguous(swedish, "da", "sv", dict.fromkeys(("da", "sv"), lexicon)) == [False, False, True]


words = st.lists(st.sampled_from(["a", "b", "c", "mig", "meg", "ø"]), max_size=4).map(" ".join)


@given(st.lists(st.tuples(words, st.sampled_from(["da", "nb", "sv"])), min_size=1), st.integers(1, 3))
def test_order_and_the_order_of_languages_do_not_matter(rows, at_least):
    corpus = corpus_of(("anker", "da"), ("anker", "nb"), *rows)
    lexicons = build_lexicons(corpus, at_least=at_least)
    mask = ambiguous(corpus, "da", "nb", lexicons)
    assert mask == ambiguous(corpus, "nb", "da", lexicons)
    backwards = Corpus(corpus.sentences[::-1])
    assert mask[::-1] == ambiguous(backwards, "da", "nb", build_lexicons(backwards, at_least=at_least))
    shared = {text for text, codes in identical_texts(corpus) if {"da", "nb"} <= set(codes)}
    for sentence, yes in zip(corpus.sentences, mask, strict=True):
        assert not yes if sentence.language == "sv" else yes >= (sentence.text in shared)


def test_identical_texts_are_listed_with_their_languages():
    rows = [("b", "nb"), ("a", "sv"), ("b", "da"), ("a", "da"), ("a", "nb"), ("c", "da"), ("c", "da")]
    assert identical_texts(corpus_of(*rows)) == [("a", ("da", "nb", "sv")), ("b", ("da", "nb"))]


def test_one_text_given_for_two_languages_is_refused_by_name():
    def texts(code, first, count=50, source="a.tsv"):
        return corpus_of(
            *((f"Sætning {i}", code) for i in range(first, first + count)), source=source
        ).sentences

    with pytest.raises(GlossaeError, match=r"^a.tsv: 50 of 50 sentences in da and sv are the same"):
        refuse_one_text_as_two_languages(Corpus(texts("da", 0) + texts("sv", 0)))
    # across sources
    with pytest.raises(GlossaeError, match=r"^a.tsv and b.tsv: 26 of 50 "):
        refuse_one_text_as_two_languages(Corpus(texts("da", 0) + texts("sv", 24, source="b.tsv")))
    refuse_one_text_as_two_languages(Corpus(texts("da", 0) + texts("sv", 25)))
    # a few short sentences in common
    refuse_one_text_as_two_languages(Corpus(texts("da", 0, 19) + texts("nb", 0, 19)))
