"""Languages are told apart as well as they can be, and no better: by units, by activations, and by characters."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from glossae.corpora import Corpus, Sentence
from glossae.errors import GlossaeError
from glossae.evidence import auroc_table
from glossae.evidence.classify import UNANSWERED, evaluate, folds
from glossae.evidence.identify import (
    Rows,
    TokenSample,
    identify_by_likelihood,
    identify_rows,
    identify_sentences,
    identify_sentences_by_largest,
    identify_tokens,
    identify_tokens_by_activations,
    pick_units,
    sample_tokens,
    sentence_rows,
    token_likelihoods,
)
from glossae.lm import Site, activations, batches
from glossae.units import Neurons
from sentence_tables import make_table

LANGUAGES = ("da", "en", "sv")
SITE = Site("resid", 1)

# ---- accuracy, F1 and confusion


@given(
    st.lists(
        st.tuples(
            st.sampled_from(LANGUAGES), st.sampled_from((*LANGUAGES, UNANSWERED)), st.sampled_from("abcdef")
        ),
        min_size=1,
        max_size=40,
    ),
    st.randoms(),
)
def test_measures_agree_with_scikit_learn_in_any_order(rows, random):
    def run(some):
        return evaluate(*zip(*some, strict=True), draws=20, seed=3)

    found = run(rows)
    truth, guess, _ = zip(*rows, strict=True)
    known = sorted(set(truth))
    f1 = f1_score(truth, guess, labels=known, average=None, zero_division=0)
    assert list(found.f1) == known
    assert np.allclose(list(found.f1.values()), f1)
    assert found.macro_f1 == pytest.approx(f1.mean())
    assert found.accuracy == pytest.approx(np.mean(np.array(truth) == np.array(guess)))
    for i, a in enumerate(found.languages):
        for j, b in enumerate(found.languages):
            assert found.confusion[i][j] == sum(row[:2] == (a, b) for row in rows)
    mixed = list(rows)
    random.shuffle(mixed)
    assert run(mixed) == found


def test_the_interval_of_independent_rows_is_the_binomial_one():
    generator = np.random.default_rng(0)
    truth = np.repeat(["da", "en"], 500)
    wrong = generator.random(1000) < 0.2
    guess = np.where(wrong, np.where(truth == "da", "en", "da"), truth)
    found = evaluate(truth, guess, np.arange(1000).astype(str), draws=4000)
    half = 1.96 * np.sqrt(found.accuracy * (1 - found.accuracy) / 1000)
    assert found.accuracy_interval == pytest.approx((found.accuracy - half, found.accuracy + half), abs=0.003)


def test_rows_of_a_pair_are_drawn_together():
    truth = np.tile(["da", "en"], 100)
    right = np.repeat(np.arange(100) % 2 == 0, 2)
    guess = np.where(right, truth, "sv")
    alone = evaluate(truth, guess, np.arange(200).astype(str), draws=4000)
    paired = evaluate(truth, guess, np.repeat(np.arange(100), 2).astype(str), draws=4000)
    width = [np.subtract(*found.accuracy_interval[::-1]) for found in (alone, paired)]
    assert width[1] == pytest.approx(width[0] * np.sqrt(2), rel=0.1)


def test_intervals_hold_the_macro_f1_of_a_known_confusion():
    generator = np.random.default_rng(1)
    truth = np.tile(["da", "en"], 150)
    inside = 0
    for seed in range(200):
        wrong = generator.random(300) < 0.1
        guess = np.where(wrong, np.where(truth == "da", "en", "da"), truth)
        low, high = evaluate(truth, guess, np.arange(300).astype(str), draws=300, seed=seed).macro_f1_interval
        inside += low <= 0.9 <= high
    # the binomial 99.9 % range of 200 at 0.95, a little wider below for the bootstrap
    assert 178 <= inside <= 199


def test_results_are_fit_for_json():
    found = evaluate(["da", "en"], ["da", ""], ["1", "2"], draws=10)
    read = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert list(read)[:3] == ["languages", "confusion", "rows"]
    assert read["languages"] == ["da", "en", ""]
    assert (read["confusion"], read["rows"]) == ([[1, 0, 0], [0, 0, 1], [0, 0, 0]], 2)
    assert (read["accuracy"], read["f1"]) == (0.5, {"da": 1.0, "en": 0.0})
    assert (read["units"], read["converged"], read["strength"]) == ({}, True, None)
    with pytest.raises(GlossaeError, match="no text to test on"):
        evaluate([], [], [])


# ---- sentences, by a few units


def planted(seed, *, strength=3.0, each=60, units=12, source="old.tsv", identity="latent layer3.resid abc"):
    """Unit i < 3 stands for language i, unit 3 for da and sv; the others are noise, most of them silent."""
    generator = np.random.default_rng(seed)
    languages = np.repeat(LANGUAGES, each)
    values = np.maximum(generator.normal(size=(len(languages), units)), 0)
    for unit, language in enumerate(LANGUAGES):
        values[:, unit] += strength * (languages == language)
    values[:, 3] += strength * (languages != "en")
    values[:, -1] = 0
    return make_table(
        values,
        languages,
        [f"{source} {i % each}" for i in range(len(languages))],
        [source] * len(languages),
        identity,
    )


def told(find, held_out, per_language=1, tell=identify_sentences, seed=0):
    return tell(pick_units(auroc_table(find), per_language), find, [held_out], seed=seed)[0]


both_ways = pytest.mark.parametrize("tell", [identify_sentences, identify_sentences_by_largest])


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_no_unit_left_out_is_better_against_the_closest_language(seed, n):
    generator = np.random.default_rng(seed)
    auroc = auroc_table(make_table(generator.integers(0, 3, size=(12, 5)), np.array([*LANGUAGES * 4])))
    for language, chosen in pick_units(auroc, n).items():
        smallest = np.min([auroc.of(language, other) for other in LANGUAGES if other != language], axis=0)
        assert len(set(chosen)) == len(chosen) == min(n, 5)
        assert (np.diff(smallest[list(chosen)]) <= 0).all()
        left = np.delete(smallest, list(chosen))
        assert not len(left) or left.max() <= smallest[list(chosen)].min()


@both_ways
def test_planted_languages_are_told_apart(tell):
    find, held_out = planted(0), planted(1, source="new.tsv")
    found = told(find, held_out, tell=tell)
    assert found.units == {"da": (0,), "en": (1,), "sv": (2,)}
    assert found.macro_f1 > 0.95
    assert found.converged
    assert found.languages == LANGUAGES
    assert np.sum(found.confusion, axis=1).tolist() == [60, 60, 60]


@both_ways
def test_noise_is_told_apart_by_chance_only(tell):
    find, held_out = (planted(s, strength=0, each=200, source=f"{s}.tsv") for s in (2, 3))
    # 600 sentences: four standard errors about a third
    assert abs(told(find, held_out, 4, tell).accuracy - 1 / 3) < 4 * np.sqrt(2 / 9 / 600)


def test_the_regression_uses_what_no_language_owns_and_minds_no_silent_unit():
    find, held_out = (planted(s, source=f"{s}.tsv") for s in (4, 5))
    # the last unit never fires
    assert told(find, held_out, 12).macro_f1 > 0.95
    # one unit for both Scandinavian languages and one for Swedish are enough for three languages
    assert told(find.columns([2, 3, 5]), held_out.columns([2, 3, 5]), 3).macro_f1 > 0.9


def test_the_order_of_sentences_changes_nothing():
    find, held_out = planted(6, strength=1.0), planted(7, strength=1.0, source="new.tsv")
    order = np.random.default_rng(0).permutation(len(find))
    first = told(find, held_out, 2, seed=1)
    assert told(find.take(order), held_out.take(order), 2, seed=1) == first


def test_bad_halves_are_refused():
    table, other = planted(0), planted(1, source="new.tsv")
    auroc, chosen = auroc_table(table), pick_units(auroc_table(table), 1)
    for languages, n, match in (
        (LANGUAGES, 0, "0 units"),
        (("da",), 1, "two languages"),
        (("da", "nb"), 1, "nb: no unit was compared"),
    ):
        with pytest.raises(GlossaeError, match=match):
            pick_units(auroc, n, languages)
    for tell in (identify_sentences, identify_sentences_by_largest):
        for find, held_out, match in (
            (table, table, "both fitted to and tested on"),
            (table, planted(1, source="new.tsv", identity="neuron"), "different units"),
            (table.take(np.flatnonzero(table.languages != "sv")), other, "sv: there is text to test on"),
            (table, other.take([]), "no text to test on"),
            (table.take([]), other, "no text to fit to"),
        ):
            with pytest.raises(GlossaeError, match=match):
                tell(chosen, find, [held_out])
    few = table.take(np.concatenate([table.rows("da"), table.rows("en")[:1]]))
    danish = other.take(other.rows("da"))
    for find, match in (
        (few, "en has sentences of one pair only"),
        (table.take(table.rows("da")), "two languages"),
    ):
        with pytest.raises(GlossaeError, match=match):
            identify_sentences(chosen, find, [danish])


# ---- the regression


@given(
    st.lists(st.tuples(st.sampled_from(LANGUAGES), st.integers(0, 9)), min_size=6, max_size=40),
    st.integers(0, 9),
)
def test_folds_keep_clusters_whole_in_any_order(rows, seed):
    languages, clusters = (np.array(column).astype(str) for column in zip(*rows, strict=True))
    having = [len(set(clusters[languages == code])) for code in set(languages)]
    if min(having) < 2:
        with pytest.raises(GlossaeError, match="too few"):
            folds(languages, clusters, seed)
        return
    fold = folds(languages, clusters, seed)
    assert all(len(set(fold[clusters == name])) == 1 for name in set(clusters))
    assert len(set(fold)) >= 2
    order = np.random.default_rng(seed).permutation(len(rows))
    assert (folds(languages[order], clusters[order], seed) == fold[order]).all()


def test_the_regression_is_balanced_and_its_penalty_fits_the_text():
    generator = np.random.default_rng(0)
    languages = np.array(["da"] * 30 + ["en"] * 300)

    def rows(signal, source):
        x = generator.normal(size=(330, 4))
        x[:, 0] += signal * (languages == "da")
        return Rows(x, languages, np.full(330, source), np.arange(330).astype(str))

    noise, clear = (identify_rows(rows(s, "old"), [rows(s, "new")])[0] for s in (0, 4))
    assert noise.strength < clear.strength
    assert clear.macro_f1 > 0.85
    # without balance nothing would be taken for Danish
    assert 0.25 < sum(row[0] for row in noise.confusion) / 330 < 0.75
    odd = rows(0, "odd")
    odd.x[3, 2] = np.nan
    with pytest.raises(GlossaeError, match="a value is not finite"):
        identify_rows(odd, [rows(0, "new")])


# ---- the whole activation


def test_means_are_those_of_each_sentence_and_identify(tiny_lm, tiny_tokens):
    means = sentence_rows(tiny_lm, SITE, tiny_tokens, budget=64)
    for number in (0, 7, 53):
        (part,) = activations(tiny_lm, batches(tiny_tokens.take([number]), 4096), [SITE])
        assert np.allclose(means.x[number], part.sites[SITE].mean(0).numpy(), atol=1e-5)
    assert np.allclose(means.x, sentence_rows(tiny_lm, SITE, tiny_tokens, budget=4096).x, atol=1e-6)
    even = np.array([int(s.pair[5:]) % 2 == 0 for s in tiny_tokens.corpus.sentences])
    (found,) = identify_rows(means.take(even), [means.take(~even)])
    assert found.accuracy > 0.9
    assert found.converged


# ---- single tokens

UNITS = Neurons(SITE, 6)
CHOSEN = {"da": (0, 3), "en": (1, 4), "sv": (2, 5)}
WORDS = {
    "da": ["øl", " og", "hvad", "æg"],
    "en": ["the", " and", "what", "who"],
    "sv": ["öl", " och", "vad", "ägg"],
}


def made(seed, source, *, sentences=40, length=5, strength=8.0):
    """Coordinate i stands for language i; the others are noise. A pair has a sentence of every language."""
    generator = np.random.default_rng(seed)
    texts = [
        [generator.choice(WORDS[code]) for _ in range(length)] for _ in range(sentences) for code in LANGUAGES
    ]
    corpus = Corpus.of(
        Sentence("".join(text), LANGUAGES[n % 3], f"{source} {n // 3}", source)
        for n, text in enumerate(texts)
    )
    sentence = np.repeat(np.arange(len(texts)), length)
    rows = Rows.of(np.zeros((len(texts), 0)), corpus).take(sentence)
    x = generator.normal(size=(len(sentence), 6)).astype(np.float32)
    for number, code in enumerate(LANGUAGES):
        x[rows.languages == code, number] += strength
    texts = tuple(token for text in texts for token in text)
    return TokenSample(dataclasses.replace(rows, x=x), texts, sentence, corpus)


@pytest.fixture(scope="module")
def halves():
    return made(0, "old"), made(1, "new")


def test_tokens_that_differ_are_told_apart_without_exception(halves):
    find, held_out = halves
    by_units, again = identify_tokens(UNITS, CHOSEN, find, [held_out, made(2, "third")])
    assert by_units.units == CHOSEN
    for found in (by_units, again, identify_tokens_by_activations(find, [held_out])[0]):
        assert found.accuracy == 1
        assert found.macro_f1_interval == (1, 1)
        assert found.rows == 600
        assert found.converged
    # only the units that are chosen are read
    noise = {code: (3 + n,) for n, code in enumerate(CHOSEN)}
    assert identify_tokens(UNITS, noise, find, [held_out])[0].accuracy < 0.5


def by_characters(find, held_out, *, so_far=False):
    return identify_by_likelihood(*token_likelihoods(find, held_out, so_far=so_far), LANGUAGES)


def test_characters_tell_tokens_apart_by_what_they_have_read(halves):
    assert by_characters(*halves).accuracy == by_characters(*halves, so_far=True).accuracy == 1
    # a token that is the same in all languages is no more than a guess by itself, and known from what stands before
    same = [
        dataclasses.replace(
            half, texts=tuple("et" if n % 5 == 4 else text for n, text in enumerate(half.texts))
        )
        for half in halves
    ]
    assert by_characters(*same).accuracy == pytest.approx(0.8 + 0.2 / 3)
    assert by_characters(*same, so_far=True).accuracy > 0.95


def test_a_token_without_text_is_unanswered(halves):
    find, held_out = halves
    found = by_characters(find, dataclasses.replace(held_out, texts=("", *held_out.texts[1:])))
    assert found.languages[-1] == UNANSWERED
    assert found.accuracy == pytest.approx(599 / 600)


def test_likelihoods_are_compared_among_some_languages_only():
    x = np.array([[-1.0, -2.0, -0.5], [-3.0, -2.0, -1.0]])
    rows = Rows(x, np.array(["da", "en"]), np.array(["t"] * 2), np.array(["1", "2"]))
    assert identify_by_likelihood(rows, LANGUAGES, LANGUAGES).accuracy == 0
    found = identify_by_likelihood(rows, LANGUAGES, ("da", "en"))
    assert (found.accuracy, found.languages) == (1, ("da", "en"))
    with pytest.raises(GlossaeError, match="no likelihood"):
        identify_by_likelihood(rows, LANGUAGES, ("nl",))


def test_a_sample_is_of_whole_sentences_whatever_their_order(tiny_lm, tiny_tokens):
    sample = sample_tokens(tiny_lm, SITE, tiny_tokens, per_language=40, seed=1, budget=64)
    for code in ("da", "en"):
        assert 40 <= (sample.rows.languages == code).sum() < 80
    (numbers,) = np.nonzero([s in sample.corpus.sentences for s in tiny_tokens.corpus.sentences])
    assert len(sample) == tiny_tokens.take(numbers).lengths.sum()
    # a token's row is what the model has there, and its text is part of its sentence
    (part,) = activations(tiny_lm, batches(tiny_tokens.take(numbers[:1]), 4096), [SITE])
    first = sample.sentence == 0
    assert np.allclose(sample.rows.x[first], part.sites[SITE].numpy(), atol=1e-5)
    text = "".join(t for t, own in zip(sample.texts, first, strict=True) if own)
    assert text.strip() == sample.corpus.sentences[0].text
    assert sample.so_far()[int(first.sum()) - 1] == text[-60:]
    order = np.random.default_rng(0).permutation(len(tiny_tokens))
    again = sample_tokens(tiny_lm, SITE, tiny_tokens.take(order), per_language=40, seed=1, budget=4096)
    assert set(again.corpus.sentences) == set(sample.corpus.sentences)


def test_bad_samples_are_refused(halves):
    find, held_out = halves
    with pytest.raises(GlossaeError, match="both fitted to and tested on"):
        identify_tokens(UNITS, CHOSEN, find, [find])
    with pytest.raises(GlossaeError, match="sv"):
        token_likelihoods(find.only(["da", "en"]), held_out)
    with pytest.raises(GlossaeError, match="no text to test on"):
        identify_tokens_by_activations(find, [held_out.only(["fr"])])
