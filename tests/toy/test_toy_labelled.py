"""The labelled sets: what their labels mean, and that they are made again the same."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_elsewhere import made_elsewhere

from glossae.errors import GlossaeError
from toy_grammar import (
    MAX_LABELLED,
    Clause,
    LabelledText,
    Nominal,
    Sentence,
    acceptability,
    sentiment,
    tokens,
)
from toy_grammar.acceptability import corrupt
from toy_grammar.tables import LANGUAGES, load_table
from toy_grammar.words import text_of

SETS = {"sentiment": sentiment, "acceptability": acceptability}


@pytest.fixture(scope="module")
def rows():
    expression = "{name: {code: make(1500, 5, code) for code in LANGUAGES} for name, make in %s}"
    sets = made_elsewhere(expression % '(("sentiment", sentiment), ("acceptability", acceptability))')
    return {
        name: {code: [LabelledText(**row) for row in rows] for code, rows in by_code.items()}
        for name, by_code in sets.items()
    }


@pytest.fixture(scope="module")
def others():
    return made_elsewhere("sentences(20_000, 6)")


@pytest.mark.parametrize("name", SETS)
@given(seed=st.integers(0, 2**63), number=st.integers(0, 30), language=st.sampled_from(LANGUAGES))
@settings(max_examples=15)
def test_same_seed_same_rows_and_a_longer_set_goes_on(name, seed, number, language):
    made = SETS[name](number, seed, language)
    assert made == SETS[name](number, seed, language)
    assert made == SETS[name](number + 7, seed, language)[:number]
    assert len({row.text for row in made}) == number
    for row in made:
        assert isinstance(row, LabelledText)
        assert row.row() == {"text": row.text, "label": row.label}


@pytest.mark.parametrize("name", SETS)
def test_what_cannot_be_given(name):
    with pytest.raises(GlossaeError, match=r"'fi'.*da, de, en, nb, sv"):
        SETS[name](1, 0, "fi")
    with pytest.raises(GlossaeError, match=str(MAX_LABELLED)):
        SETS[name](MAX_LABELLED + 1, 0, "da")


@pytest.mark.parametrize(
    ("language", "shares"),
    [
        ("en", {"negative": 0.28, "neutral": 0.405, "positive": 0.315}),
        ("da", {"negative": 0.37, "neutral": 0.35, "positive": 0.28}),
    ],
)
def test_labels_are_shared_out_as_in_the_papers_sets(rows, language, shares):
    labels = Counter(row.label for row in rows["sentiment"][language])
    assert set(labels) == set(shares)
    for label, share in shares.items():
        assert labels[label] / 1500 == pytest.approx(share, abs=0.04)


def judging(language, polarity):
    """The forms of the adjectives of a polarity that stand alone."""
    lexicon = load_table("lexicon")["adjective"]
    return {
        form
        for adjective, row in load_table(language)["adjective"].items()
        if lexicon[adjective]["polarity"] == polarity
        for form in row.values()
    }


@pytest.mark.parametrize(
    ("language", "negation"), [("da", "ikke"), ("en", "not"), ("sv", "inte"), ("nb", "ikke")]
)
def test_no_word_decides_alone(rows, language, negation):
    made = rows["sentiment"][language]
    for polarity in ("positive", "negative"):
        words = judging(language, polarity)
        found = Counter(
            row.label for row in made if not words.isdisjoint(row.text.lower().rstrip(".?").split())
        )
        assert set(found) == {"positive", "neutral", "negative"}
        assert max(found.values()) < 0.85 * found.total()
    for word in (negation, load_table(language)["adverb"]["very"]["form"]):
        found = Counter(row.label for row in made if word in row.text.split())
        assert min(found[label] for label in ("positive", "neutral", "negative")) >= 10


def test_labels_follow_what_is_said(rows):
    """Read back in English, from the words alone, where there is one clause and one judging word."""
    good, bad = judging("en", "positive"), judging("en", "negative")
    checked = 0
    for row in rows["sentiment"]["en"]:
        words = row.text.lower().rstrip(".").split()
        judged = [word for word in words if word in good | bad]
        if row.kind not in ("predicated", "described", "thought") or len(judged) != 1 or "too" in words:
            continue
        # an attribute of the person who thinks so judges nothing
        if words.index(judged[0]) < len(words) - 1 - (row.kind == "described"):
            continue
        positive = (judged[0] in good) != ("not" in words)
        assert row.label == ("positive" if positive else "negative"), row.text
        checked += 1
    assert checked > 150


@pytest.mark.parametrize("language", LANGUAGES)
def test_half_is_correct_and_pairs_stay_together(rows, language):
    made = rows["acceptability"][language]
    kinds = Counter(row.kind for row in made)
    assert kinds["clean"] == 750
    assert min(kinds["delete"], kinds["flip_neighbours"]) > 250
    first = Counter()
    for one, other in zip(made[::2], made[1::2], strict=True):
        assert one.pair == other.pair
        assert {one.label, other.label} == {"correct", "incorrect"}
        first[one.label] += 1
    assert min(first.values()) > 250


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_corruption_is_one_deletion_or_one_swap(rows, language):
    made = {(row.pair, row.label): row for row in rows["acceptability"][language]}
    for (pair, label), row in made.items():
        assert row.text[0].isupper()
        if label == "correct":
            continue
        clean = made[pair, "correct"].text.lower().replace(",", " ,")[:-1].split()
        broken = row.text.lower().replace(",", " ,")[:-1].split()
        if row.kind == "delete":
            assert broken in [clean[:i] + clean[i + 1 :] for i in range(len(clean))]
        else:
            swaps = [[*clean[:i], clean[i + 1], clean[i], *clean[i + 2 :]] for i in range(len(clean) - 1)]
            assert broken != clean
            assert broken in swaps


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_corruption_is_a_sentence(rows, others, language):
    correct = {texts[language] for texts in others}
    correct |= {row.text for row in rows["acceptability"][language] if row.label == "correct"}
    assert correct.isdisjoint(row.text for row in rows["acceptability"][language] if row.label == "incorrect")


@pytest.mark.parametrize(
    ("language", "clause", "never"),
    [
        # without the conjunction it is a sentence, and so without the auxiliary
        (
            "da",
            Clause(Nominal("man"), "say", complement=Clause(Nominal("girl"), "read", object=Nominal("book"))),
            "Manden siger, pigen læser bogen.",
        ),
        (
            "nb",
            Clause(Nominal("girl"), "open", "perfect", object=Nominal("window", adjective="big")),
            "Jenta åpnet det store vinduet.",
        ),
        (
            "en",
            Clause(Nominal("girl"), "open", "perfect", object=Nominal("window", adjective="big")),
            "The girl opened the big window.",
        ),
        (
            "sv",
            Clause(Nominal("boy"), "buy", "perfect", object=Nominal("car", adjective="big")),
            "Pojken har den stora bilen.",
        ),
        ("de", Clause(Nominal("girl"), "drive", modal="can", time="tomorrow"), "Das Mädchen kann morgen."),
        ("da", Clause(Nominal("girl"), "sleep", time="now"), "Sover pigen nu."),
    ],
)
def test_what_leaves_a_sentence_behind_is_never_made(language, clause, never):
    words = tokens(Sentence("that_clause", clause), language)
    random = Random(0)
    made = {text_of(found[1]) for _ in range(300) if (found := corrupt(words, random))}
    assert never not in made
    assert made
