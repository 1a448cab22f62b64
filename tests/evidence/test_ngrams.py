"""Characters alone tell languages apart, whatever the text looks like."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glossae.corpora import Corpus, Sentence
from glossae.errors import GlossaeError
from glossae.evidence.identify import UNANSWERED, NgramModel, identify_by_likelihood, sentence_likelihoods

TEXTS = {
    "da": ["Pigen på øen købte en blå cykel.", "Hvad hedder din ældre søster?", "Jeg ved ikke, hvor han er."],
    "de": ["Das Mädchen kaufte ein Fahrrad.", "Wie heißt deine Schwester?", "Ich weiß nicht, wo er ist."],
    "en": ["The girl bought a blue bicycle.", "What is your sister called?", "I do not know where he is."],
}
ODD = ["", " ", "7", "\ud800", "\x00", "😀", "ﬁ", "İ", "漢字", "e\u0301", "A" * 3000, "??!", "\u200b"]


@pytest.fixture(scope="module")
def model():
    pairs = [(text, language) for language, some in TEXTS.items() for text in some]
    return NgramModel.fit([text for text, _ in pairs], [language for _, language in pairs])


def by_hand(learnt, text, alphabet):
    """The log-likelihood of a text by Witten and Bell's formula, character by character."""
    counts, padded = Counter(), "^^^"
    for one in learnt:
        for at in range(3, len(one) + 4):
            counts.update((padded + one + "$")[at - size : at + 1] for size in range(4))

    def p(context, x):
        shorter = p(context[1:], x) if context else 1 / (len(alphabet) + 2)
        after = [
            count for gram, count in counts.items() if gram[:-1] == context and len(gram) == len(context) + 1
        ]
        if not after:
            return shorter
        return (counts[context + x] + len(after) * shorter) / (sum(after) + len(after))

    whole = padded + text + "$"
    return sum(np.log(p(whole[at - 3 : at], whole[at])) for at in range(3, len(whole)))


def test_scores_are_the_formula():
    learnt = {"x": ["aab", "abba", "b"], "y": ["abc", "cab"]}
    model = NgramModel.fit([t for some in learnt.values() for t in some], ["x"] * 3 + ["y"] * 2)
    texts = ["a", "aab", "bbbb", "abcab", "aæb"]
    expected = [[by_hand(some, text, "abc") for some in learnt.values()] for text in texts]
    np.testing.assert_allclose(model.score(texts), expected)


def test_it_is_a_distribution_over_texts():
    """Of a model that knows a, b and one unknown, all texts up to some length have nearly all probability."""
    model = NgramModel.fit(["a", "b", "", "ab"], ["x"] * 4)
    totals, texts = [], [""]
    for _ in range(8):
        texts = [text + letter for text in texts for letter in "ab\u00e6"]
        totals.append(np.exp(model.score(texts)).sum())
    assert (np.cumsum(totals) < 1).all()
    # what is missing: the empty text, which has no score, and longer ones
    assert sum(totals) > 0.6


@pytest.mark.parametrize("text", ODD)
def test_odd_text_has_a_finite_score_and_probabilities(model, text):
    assert np.isfinite(model.score([text])).all()
    assert model.probabilities([text]).sum() == pytest.approx(1)
    assert model.identify([text])[0] in {*TEXTS, UNANSWERED}


@given(texts=st.lists(st.text(st.characters(), max_size=30), max_size=8), random=st.randoms())
def test_any_texts_score_alike_alone_and_in_any_order(model, texts, random):
    together = model.score(texts)
    order = list(range(len(texts)))
    random.shuffle(order)
    assert np.allclose(model.score([texts[i] for i in order]), together[order], atol=1e-9)
    for number, text in enumerate(texts):
        assert np.allclose(model.score([text])[0], together[number], atol=1e-9)


def test_new_words_are_known_by_their_letters_and_text_without_any_is_unanswered(model):
    assert model.identify(["hvor er cyklen?", "wo ist das Rad?", "where is the bike?"]) == ["da", "de", "en"]
    assert model.identify(["", "1 234", "🙂"]) == [UNANSWERED] * 3
    assert np.allclose(model.probabilities(["12"]), 1 / 3)
    # what is not sure
    assert model.identify(["n"], least=1.0) == [UNANSWERED]


@pytest.mark.parametrize(
    ("texts", "languages", "match"),
    [([], [], "no text to fit to"), (["ord", ""], ["da", "en"], "no text in en")],
)
def test_what_cannot_be_fitted_is_refused(texts, languages, match):
    with pytest.raises(GlossaeError, match=match):
        NgramModel.fit(texts, languages)


def corpus(texts, source):
    return Corpus.of(
        Sentence(text, language, f"{source} {language} {number}", source)
        for language, some in texts.items()
        for number, text in enumerate(some)
    )


def told(find, held_out):
    likelihoods, columns = sentence_likelihoods(find, held_out)
    return identify_by_likelihood(likelihoods, columns, columns)


def test_a_corpus_is_identified_and_a_silent_sentence_counts_as_wrong():
    held_out = corpus({"da": ["Hvor er pigen?", "42"], "en": ["Where is the girl?"]}, "new.tsv")
    found = told(corpus(TEXTS, "old.tsv"), held_out)
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.f1 == {"da": pytest.approx(2 / 3), "en": 1.0}
    assert found.units == {}


def test_fitting_to_what_is_tested_is_refused():
    text = corpus(TEXTS, "old.tsv")
    with pytest.raises(GlossaeError, match="both fitted to and tested on"):
        told(text, text)
    with pytest.raises(GlossaeError, match="sv"):
        told(text, corpus({"sv": ["Var är flickan?"]}, "new.tsv"))


def test_europarl_is_told_apart(shared):
    def half(which):
        lines = {
            code: (shared / "data" / "languages" / f"{code}.txt").read_text(encoding="utf-8").splitlines()
            for code in ("da", "en", "sv", "de")
        }
        return corpus({code: some[which:400:2] for code, some in lines.items()}, f"europarl-{which}")

    found = told(half(0), half(1))
    assert found.macro_f1 > 0.97
    assert found.macro_f1_interval[0] <= found.macro_f1 <= found.macro_f1_interval[1]
