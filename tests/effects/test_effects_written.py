"""What is measured of continuations, and doses of the same damage."""

import numpy as np
import pytest
import torch
from glossae.effects.same_damage import NEAR, doses_at
from glossae.steering.language_of import LEAST_LETTERS
from hypothesis import given
from hypothesis import strategies as st

from glossae.effects import Clusters
from glossae.find import UNANSWERED, NgramModel
from glossae.steering import Ratio, continuation_losses, distinct, language_of, repetition, resamples


def rows(*texts):
    return [np.array([ord(c) for c in text], dtype=np.int64) for text in texts]


def test_repetition_is_what_stood_before():
    # abcd abcd: of abcd bcda cdab dabc abcd the last one; the short text has no 4-gram
    found = repetition(rows("abcdabcd", "abcdefgh", "ab", ""))
    assert found.over.tolist() == [1, 0, 0, 0]
    assert found.under.tolist() == [5, 5, 0, 0]
    assert found.value == 0.1
    assert repetition(rows("ab", "")).value is None
    assert repetition(rows("aaaaaaaaa")).value == pytest.approx(5 / 6)


def test_distinct_counts_over_all_texts():
    assert distinct(rows("abab", "abc"), 1) == 3 / 7
    assert distinct(rows("abab", "abc"), 2) == 3 / 5
    assert distinct(rows("a", ""), 2) is None


@given(st.lists(st.lists(st.integers(0, 3), max_size=12), min_size=1, max_size=5))
def test_both_are_shares(texts):
    written = [np.array(text, dtype=np.int64) for text in texts]
    for value in (repetition(written).value, distinct(written, 1), distinct(written, 2)):
        assert value is None or 0 <= value <= 1
    # of one text, repetition and distinct n-grams add up to all
    if len(written[0]) >= 4:
        assert repetition(written[:1]).value + distinct(written[:1], 4) == pytest.approx(1)


def test_losses_are_those_of_the_continuation_alone(tiny_lm, random_tokens):
    prompts = list(random_tokens([5, 3, 8]).ids)
    written = [np.array([7, 8, 9]), np.zeros(0, dtype=np.int64), np.array([11])]
    found = continuation_losses(tiny_lm, prompts, written, budget=16)
    for number, (prompt, new) in enumerate(zip(prompts, written, strict=True)):
        with torch.no_grad():
            logits = tiny_lm.model(torch.tensor([[*prompt, *new]])).logits[0].log_softmax(-1)
        expected = -sum(float(logits[len(prompt) - 1 + i, token]) for i, token in enumerate(new))
        assert found.over[number] == pytest.approx(expected, abs=1e-4)
    assert found.under.tolist() == [3, 0, 1]


def test_an_interval_is_over_prompts_and_paired():
    ratio = Ratio(np.array([1.0] * 30 + [0.0] * 10), np.ones(40))
    clusters = Clusters(np.arange(40), 40)
    weights = resamples(clusters, 500, seed=3)
    assert (weights.sum(1) == 40).all()
    low, high = ratio.interval(weights)
    assert low < 0.75 < high
    assert 0.5 < low < high < 0.95
    assert ratio.interval(resamples(clusters, 500, seed=3)) == (low, high)
    assert Ratio(np.zeros(3), np.zeros(3)).interval(resamples(Clusters(np.arange(3), 3), 10, 0)) == (
        None,
        None,
    )


TEXTS = {
    "da": ["jeg ved ikke, hvad det er, men det er meget godt", "hun spiser æbler på øen hver torsdag"],
    "en": ["i do not know what it is but it is very good", "she eats apples on the island every thursday"],
}


@pytest.fixture(scope="module")
def ngrams():
    pairs = [(text, code) for code, texts in TEXTS.items() for text in texts]
    return NgramModel.fit([text for text, _ in pairs], [code for _, code in pairs])


SAID = ["hun ved ikke, hvad det er på øen", "she does not know what it is", "det er", "", "?!" * 20]


def test_both_identifiers_have_to_agree(ngrams):
    pytest.importorskip("lingua")
    found = language_of(SAID, ngrams)
    assert found.ngrams == found.lingua == found.both == found.best == ["da", "en", *[UNANSWERED] * 3]
    # the n-grams know no German and take it for something else
    (german,) = language_of(["wir wissen nicht, warum das so ist, aber es ist schön"], ngrams).both
    assert german == UNANSWERED


def test_without_lingua_the_n_grams_decide(ngrams, monkeypatch):
    import sys

    from glossae.steering.language_of import lingua_detector, lingua_languages

    lingua_detector.cache_clear()
    monkeypatch.setitem(sys.modules, "lingua", None)
    found = language_of(SAID, ngrams)
    assert found.lingua is found.both is None
    assert found.best == found.ngrams == ["da", "en", *[UNANSWERED] * 3]
    assert lingua_languages(("da",)) == ()
    lingua_detector.cache_clear()


def test_short_texts_are_left_unanswered(ngrams):
    text = "jegvedikkehvad"
    answers = language_of([text[:LEAST_LETTERS], text[: LEAST_LETTERS - 1]], ngrams).ngrams
    assert answers == ["da", UNANSWERED]


@given(
    st.floats(0.05, 100),
    st.floats(1, 3),
    st.floats(3, 12),
    st.lists(st.floats(0.05, 2), min_size=1, max_size=3, unique=True),
)
def test_doses_of_the_same_damage_are_found(scale, power, most, levels):
    def damage(doses):
        return [-most * float(np.expm1(-((dose / scale) ** power))) for dose in doses]

    known = dict(zip((1.0, 2.0, 4.0), damage([1.0, 2.0, 4.0]), strict=True))
    for level, dose in doses_at(damage, known, levels).items():
        if dose is not None:
            assert damage([dose])[0] == pytest.approx(level, rel=0.1 + 1e-9)
        else:
            assert damage([4 * 64])[0] < level


def test_near_enough_is_two_percent_and_a_dose_at_hand_is_taken():
    found = doses_at(lambda doses: [dose**2 / 50 for dose in doses], {1.0: 0.02, 4.0: 0.32}, [0.1, 0.321])
    assert found[0.321] == 4.0
    assert found[0.1] ** 2 / 50 == pytest.approx(0.1, rel=NEAR)


def test_what_no_dose_does_is_not_found():
    assert doses_at(lambda doses: [0.05] * len(doses), {1.0: 0.05}, [0.1, 0.05]) == {0.1: None, 0.05: 1.0}
    assert doses_at(lambda doses: [0.0] * len(doses), {1.0: 0.0}, [0.1]) == {0.1: None}
