"""Characters alone tell languages apart, whatever the text looks like."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glossae.errors import GlossaeError
from glossae.find import UNANSWERED, NgramModel, identify_by_ngrams
from glossae.text import Corpus, Sentence

TEXTS = {
    "da": ["Pigen på øen købte en blå cykel.", "Hvad hedder din ældre søster?", "Jeg ved ikke, hvor han er."],
    "de": ["Das Mädchen kaufte ein Fahrrad.", "Wie heißt deine Schwester?", "Ich weiß nicht, wo er ist."],
    "en": ["The girl bought a blue bicycle.", "What is your sister called?", "I do not know where he is."],
}
ODD = ["", " ", "7", "\ud800", "\x00", "😀", "ﬁ", "İ", "漢字", "e\u0301", "A" * 3000, "??!", "\u200b"]


def flat(texts=TEXTS):
    pairs = [(text, language) for language, some in texts.items() for text in some]
    return [text for text, _ in pairs], [language for _, language in pairs]


@pytest.fixture(scope="module")
def model():
    return NgramModel.fit(*flat())


def test_it_knows_new_words_by_their_letters(model):
    assert model.identify(["hvor er cyklen?", "wo ist das Rad?", "where is the bike?"]) == ["da", "de", "en"]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_it_is_a_distribution_over_texts(order):
    """Of a model that knows a, b and one unknown, all texts up to some length have nearly all probability."""
    model = NgramModel.fit(["a", "b", "", "ab"], ["x"] * 4, order=order)
    totals, texts = [], [""]
    for _ in range(8):
        texts = [text + letter for text in texts for letter in "ab\u00e6"]
        totals.append(np.exp(model.score(texts)).sum())
    assert (np.cumsum(totals) < 1).all()
    # what is missing: the empty text, which has no score, and longer ones
    assert sum(totals) > 0.6


def test_a_unigram_model_is_the_formula():
    # "aab" and its end: a 2, b 1, end 1 of 4 symbols and 3 types; uniform over a, b, end and unknown
    model = NgramModel.fit(["aab"], ["x"], order=1)
    expected = np.log((2 + 3 / 4) / 7) + np.log((1 + 3 / 4) / 7)
    assert model.score(["a"])[0, 0] == pytest.approx(expected)


@pytest.mark.parametrize("text", ODD)
def test_odd_text_has_a_finite_score_and_probabilities(model, text):
    assert np.isfinite(model.score([text])).all()
    probabilities = model.probabilities([text])
    assert probabilities.sum() == pytest.approx(1)
    assert model.identify([text])[0] in {*TEXTS, UNANSWERED}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(), max_size=30), max_size=8), st.randoms())
def test_any_texts_score_alike_alone_and_in_any_order(texts, random):
    model = NgramModel.fit(*flat())
    together = model.score(texts)
    order = list(range(len(texts)))
    random.shuffle(order)
    assert np.allclose(model.score([texts[i] for i in order]), together[order], atol=1e-9)
    for number, text in enumerate(texts):
        assert np.allclose(model.score([text])[0], together[number], atol=1e-9)


def test_text_without_a_letter_is_unanswered(model):
    assert model.identify(["", "1 234", "🙂", "en"])[:3] == [UNANSWERED] * 3
    assert np.allclose(model.probabilities(["12"]), 1 / 3)


def test_it_can_decline_what_is_not_sure(model):
    assert model.identify(["n"], least=1.0) == [UNANSWERED]


def test_saved_and_loaded_it_scores_the_same(model, tmp_path):
    model.save(tmp_path / "model.npz")
    again = NgramModel.load(tmp_path / "model.npz")
    assert again.languages == model.languages
    assert np.array_equal(again.score(["hvor er han", *ODD]), model.score(["hvor er han", *ODD]))
    with np.load(tmp_path / "model.npz", allow_pickle=False) as file:
        assert all(file[name].dtype != object for name in file.files)


def test_other_files_are_refused(tmp_path, model):
    path = tmp_path / "model.npz"
    for content in (b"", b"not a zip"):
        path.write_bytes(content)
        with pytest.raises(GlossaeError, match="no n-gram model"):
            NgramModel.load(path)
    np.savez(path, languages=np.array(["da"]))
    with pytest.raises(GlossaeError, match="no n-gram model"):
        NgramModel.load(path)
    with pytest.raises(GlossaeError, match="no such file"):
        NgramModel.load(tmp_path / "missing.npz")


@pytest.mark.parametrize(
    ("texts", "languages", "order", "match"),
    [
        ([], [], 4, "no text to fit to"),
        (["ord", ""], ["da", "en"], 4, "no text in en"),
        (["ord"], ["da"], 5, "1 to 4"),
        (["ord"], ["da"], 0, "1 to 4"),
    ],
)
def test_what_cannot_be_fitted_is_refused(texts, languages, order, match):
    with pytest.raises(GlossaeError, match=match):
        NgramModel.fit(texts, languages, order=order)


def corpus(texts, source):
    return Corpus.of(
        Sentence(text, language, f"{source} {language} {number}", source)
        for language, some in texts.items()
        for number, text in enumerate(some)
    )


def test_a_corpus_is_identified_and_a_silent_sentence_counts_as_wrong():
    held_out = corpus({"da": ["Hvor er pigen?", "42"], "en": ["Where is the girl?"]}, "new.tsv")
    result = identify_by_ngrams(corpus(TEXTS, "old.tsv"), held_out, draws=50)
    assert result.accuracy == pytest.approx(2 / 3)
    assert result.f1 == {"da": pytest.approx(2 / 3), "en": 1.0}
    assert result.units == {}


def test_fitting_to_what_is_tested_is_refused():
    text = corpus(TEXTS, "old.tsv")
    with pytest.raises(GlossaeError, match="both fitted to and tested on"):
        identify_by_ngrams(text, text)
    with pytest.raises(GlossaeError, match="sv"):
        identify_by_ngrams(text, corpus({"sv": ["Var är flickan?"]}, "new.tsv"))


def test_europarl_is_told_apart(shared):
    def half(which):
        return Corpus.of(
            Sentence(line, language, f"{language} {number}", "europarl")
            for language in ("da", "en", "sv", "de")
            for number, line in enumerate(
                (shared / "data" / "languages" / f"{language}.txt").read_text(encoding="utf-8").splitlines()
            )
            if number % 2 == which and number < 400
        )

    result = identify_by_ngrams(half(0), half(1), draws=200)
    assert result.macro_f1 > 0.97
    assert result.macro_f1_interval[0] <= result.macro_f1 <= result.macro_f1_interval[1]
