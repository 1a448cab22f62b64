"""Sentences that could be in two languages are found, and text that was given twice is refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glossae.errors import GlossaeError
from glossae.text import (
    Corpus,
    Lexicon,
    Sentence,
    Telltale,
    ambiguous,
    build_lexicons,
    count_ambiguous,
    identical_texts,
    read_source,
    refuse_one_text_as_two_languages,
    refuse_one_text_in_two_roles,
    telltale,
    words_of,
)

DATA = Path(__file__).parents[2].parent / "shared" / "data"
NOTHING = (Telltale(), Telltale())


def corpus_of(*rows, source="a.tsv"):
    """Sentences from (text, language), each a pair of its own."""
    return Corpus.of(Sentence(text, code, f"{source}-{i}", source) for i, (text, code) in enumerate(rows))


def marked(corpus, first="da", second="nb", lexicons=None, telltales=None):
    mask = ambiguous(corpus, first, second, lexicons or build_lexicons(corpus, at_least=1), telltales)
    return [sentence.text for sentence, yes in zip(corpus.sentences, mask, strict=True) if yes]


# ---- words and word lists


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
    assert build_lexicons(corpus)["da"] == Lexicon("da", frozenset({"kat"}))
    assert build_lexicons(corpus, ["nb"], at_least=1) == {"nb": Lexicon("nb", frozenset({"kat"}))}


def test_a_language_without_text_has_no_word_list():
    with pytest.raises(GlossaeError, match="^no sentence in nb"):
        build_lexicons(corpus_of(("Hej", "da")), ["da", "nb"])


def test_telltales_go_both_ways_and_never_overlap():
    for first, second in [("da", "nb"), ("da", "sv"), ("nb", "sv")]:
        ours, theirs = telltale(first, second), telltale(second, first)
        assert ours.words
        assert theirs.words
        assert not ours.words & theirs.words
        assert not ours.letters & theirs.letters
    assert telltale("da", "en") == Telltale()


def test_telltale_words_are_those_of_their_language():
    # on text that is no part of the package: a tell-tale word is common in its own and absent from the other
    if not DATA.is_dir():
        pytest.skip("there is no folder 'shared' beside the checkout")
    texts = {
        "da": read_source(f"da={DATA}/parallel/europarl_20k.da", languages=["da"]).corpus,
        "nb": read_source(f"nb={DATA}/languages_ud/nb.txt", languages=["nb"]).corpus,
        "sv": read_source(f"sv={DATA}/languages_ud/sv.txt", languages=["sv"]).corpus,
    }
    for first, second in [("da", "nb"), ("nb", "da"), ("da", "sv"), ("sv", "da"), ("nb", "sv"), ("sv", "nb")]:
        known = telltale(first, second)
        own = [not known.words.isdisjoint(words_of(s.text)) for s in texts[first].sentences]
        other = [not known.words.isdisjoint(words_of(s.text)) for s in texts[second].sentences]
        assert sum(own) > 0.3 * len(own), (first, second)
        assert sum(other) < 0.02 * len(other), (first, second)


# ---- ambiguous sentences


def test_a_sentence_is_ambiguous_when_every_word_is_in_both_lists():
    corpus = corpus_of(
        ("Han bor i byen", "da"),
        ("Han bor her", "da"),
        ("Han bor i byen nå", "nb"),
        ("Bor han i byen?", "nb"),
        ("Han bor i byen", "sv"),
    )
    assert marked(corpus) == ["Han bor i byen", "Bor han i byen?"]


def test_a_text_that_is_there_twice_is_ambiguous_whatever_the_lists_say():
    corpus = corpus_of(("Det hagler.", "da"), ("Det hagler.", "nb"), ("Det regner.", "nb"), ("17!", "da"))
    lexicons = {"da": Lexicon("da", frozenset()), "nb": Lexicon("nb", frozenset())}
    assert marked(corpus, lexicons=lexicons) == ["Det hagler.", "Det hagler.", "17!"]


def test_a_telltale_word_settles_it():
    lexicons = {code: Lexicon(code, frozenset({"jeg", "ser", "mig", "meg", "över"})) for code in ("da", "nb")}
    corpus = corpus_of(
        ("Jeg ser mig", "da"), ("Jeg ser meg", "nb"), ("Jeg ser över", "nb"), ("Jeg ser", "da")
    )
    assert marked(corpus, lexicons=lexicons) == ["Jeg ser över", "Jeg ser"]
    assert len(marked(corpus, lexicons=lexicons, telltales=NOTHING)) == 4
    swedish = (Telltale(), Telltale(letters=frozenset("äö")))
    assert marked(corpus, lexicons=lexicons, telltales=swedish) == ["Jeg ser mig", "Jeg ser meg", "Jeg ser"]


def test_ambiguous_sentences_are_counted_by_language():
    corpus = corpus_of(("Han", "da"), ("Han ser", "da"), ("Han.", "nb"), ("He", "en"))
    mask = ambiguous(corpus, "da", "nb", build_lexicons(corpus, at_least=1))
    assert mask == [True, False, True, False]
    assert count_ambiguous(corpus, mask) == {"da": 1, "en": 0, "nb": 1}


def test_a_language_without_a_word_list_is_named():
    with pytest.raises(GlossaeError, match="^no word list for nb: "):
        ambiguous(corpus_of(("Han", "da")), "da", "nb", {"da": Lexicon("da", frozenset())})


rows = st.lists(
    st.tuples(
        st.lists(st.sampled_from(["a", "b", "c", "mig", "meg", "ø"]), max_size=4).map(" ".join),
        st.sampled_from(["da", "nb", "sv"]),
    ),
    min_size=1,
)


@given(rows, st.integers(1, 3))
def test_order_and_the_order_of_languages_do_not_matter(rows, at_least):
    corpus = corpus_of(("anker", "da"), ("anker", "nb"), *rows)
    lexicons = build_lexicons(corpus, at_least=at_least)
    mask = ambiguous(corpus, "da", "nb", lexicons)
    assert mask == ambiguous(corpus, "nb", "da", lexicons)
    backwards = Corpus(corpus.sentences[::-1])
    assert mask[::-1] == ambiguous(backwards, "da", "nb", build_lexicons(backwards, at_least=at_least))
    assert not any(yes for s, yes in zip(corpus.sentences, mask, strict=True) if s.language == "sv")
    shared = {text for text, codes in identical_texts(corpus) if {"da", "nb"} <= set(codes)}
    assert all(
        yes for s, yes in zip(corpus.sentences, mask, strict=True) if s.text in shared and s.language != "sv"
    )


# ---- one text, given twice


def test_identical_texts_are_listed_with_their_languages():
    corpus = corpus_of(
        ("b", "nb"), ("a", "sv"), ("b", "da"), ("a", "da"), ("a", "nb"), ("c", "da"), ("c", "da")
    )
    assert identical_texts(corpus) == [("a", ("da", "nb", "sv")), ("b", ("da", "nb"))]


def test_a_file_for_two_languages_is_refused_by_name(tmp_path):
    for name, first in [("a.txt", 0), ("b.txt", 30), ("c.txt", 500)]:
        (tmp_path / name).write_text("".join(f"Sætning {i}.\n" for i in range(first, first + 50)))

    def read(da, sv):
        source = f"da={tmp_path / da},sv={tmp_path / sv}"
        return read_source(source, languages=["da", "sv"]).corpus

    with pytest.raises(GlossaeError, match=r"^a.txt\+a.txt: 50 of 50 sentences in da and sv are the same"):
        refuse_one_text_as_two_languages(read("a.txt", "a.txt"))
    # 20 of 50
    refuse_one_text_as_two_languages(read("a.txt", "b.txt"))
    with pytest.raises(GlossaeError, match="20 of 50"):
        refuse_one_text_as_two_languages(read("a.txt", "b.txt"), share=0.3)
    refuse_one_text_as_two_languages(read("a.txt", "c.txt"))


def test_a_file_for_two_languages_is_found_across_sources():
    danish = corpus_of(*((f"Sætning {i}", "da") for i in range(40)), source="a.txt")
    swedish = corpus_of(*((f"Sætning {i}", "sv") for i in range(40)), source="b.txt")
    with pytest.raises(GlossaeError, match=r"^a.txt and b.txt: 40 of 40 "):
        refuse_one_text_as_two_languages(Corpus(danish.sentences + swedish.sentences))


def test_a_few_short_sentences_in_common_are_no_copy():
    refuse_one_text_as_two_languages(corpus_of(*((f"{i}", code) for i in range(19) for code in ("da", "nb"))))


def test_roles_that_share_a_sentence_are_refused_by_name():
    ours, theirs = corpus_of(("a", "da"), ("b", "da")), corpus_of(("c", "da"), ("a", "nb"), source="b.tsv")
    refuse_one_text_in_two_roles({"select": ours, "test": theirs})
    again = Corpus(
        (*theirs.sentences, Sentence("b", "da", "x", "b.tsv"), Sentence("y", "en", "a.tsv-0", "a.tsv"))
    )
    with pytest.raises(GlossaeError, match="^2 of 4 sentences of test are in select too"):
        refuse_one_text_in_two_roles({"select": ours, "test": again})
