"""Single tokens: they are whole sentences' tokens, and are told apart as well as they can be, and no better."""

import dataclasses

import numpy as np
import pytest

from glossae.errors import GlossaeError
from glossae.find import (
    UNANSWERED,
    Rows,
    TokenSample,
    identify_by_likelihood,
    identify_tokens,
    identify_tokens_by_activations,
    identify_tokens_by_ngrams,
    sample_tokens,
)
from glossae.lm import Site, activations, batches
from glossae.text import Corpus, Sentence
from glossae.units import Neurons

SITE = Site("resid", 1)
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
    languages = list(WORDS)
    texts = [
        [generator.choice(WORDS[code]) for _ in range(length)] for _ in range(sentences) for code in languages
    ]
    corpus = Corpus.of(
        Sentence("".join(text), languages[n % 3], f"{source} {n // 3}", source)
        for n, text in enumerate(texts)
    )
    sentence = np.repeat(np.arange(len(texts)), length)
    rows = Rows.of(np.zeros((len(texts), 0)), corpus).take(sentence)
    x = generator.normal(size=(len(sentence), 6)).astype(np.float32)
    for number, code in enumerate(languages):
        x[rows.languages == code, number] += strength
    return TokenSample(rows.with_values(x), tuple(t for text in texts for t in text), sentence, corpus)


@pytest.fixture(scope="module")
def halves():
    return made(0, "old"), made(1, "new")


def test_tokens_that_differ_are_told_apart_without_exception(halves):
    find, held_out = halves
    by_units, again = identify_tokens(UNITS, CHOSEN, find, [held_out, made(2, "third")], draws=50)
    assert by_units.units == CHOSEN
    for found in (by_units, again, identify_tokens_by_activations(find, [held_out], draws=50)[0]):
        assert found.accuracy == 1
        assert found.macro_f1_interval == (1, 1)
        assert len(found) == 600
        assert found.converged


def test_units_that_say_nothing_leave_it_to_chance():
    find, held_out = made(3, "old", strength=0), made(4, "new", strength=0)
    for found in (
        *identify_tokens(UNITS, CHOSEN, find, [held_out], draws=50),
        *identify_tokens_by_activations(find, [held_out], draws=50),
    ):
        # 600 tokens: four standard errors about a third
        assert abs(found.accuracy - 1 / 3) < 4 * np.sqrt(2 / 9 / 600)


def test_only_the_units_that_are_chosen_are_read(halves):
    found = identify_tokens(
        UNITS, {code: (3 + n,) for n, code in enumerate(CHOSEN)}, halves[0], halves[1:], draws=50
    )
    assert found[0].accuracy < 0.5


def test_characters_tell_tokens_apart_by_what_they_have_read(halves):
    find, held_out = halves
    alone = identify_tokens_by_ngrams(find, held_out, draws=50)
    so_far = identify_tokens_by_ngrams(find, held_out, so_far=True, draws=50)
    assert alone.accuracy == so_far.accuracy == 1
    # a token that is the same in all languages is no more than a guess by itself, and known from what stands before
    same = [
        dataclasses.replace(
            half, texts=tuple("et" if n % 5 == 4 else text for n, text in enumerate(half.texts))
        )
        for half in halves
    ]
    assert identify_tokens_by_ngrams(*same, draws=50).accuracy == pytest.approx(0.8 + 0.2 / 3)
    assert identify_tokens_by_ngrams(*same, so_far=True, draws=50).accuracy > 0.95


def test_a_token_without_text_is_unanswered(halves):
    find, held_out = halves
    silent = dataclasses.replace(held_out, texts=("", *held_out.texts[1:]))
    found = identify_tokens_by_ngrams(find, silent, draws=50)
    assert found.languages[-1] == UNANSWERED
    assert found.accuracy == pytest.approx(599 / 600)


def test_likelihoods_are_compared_among_some_languages_only():
    rows = Rows(
        np.array([[-1.0, -2.0, -0.5], [-3.0, -2.0, -1.0]]),
        np.array(["da", "en"]),
        np.array(["t"] * 2),
        np.array(["1", "2"]),
    )
    assert identify_by_likelihood(rows, ("da", "en", "sv"), draws=50).accuracy == 0
    found = identify_by_likelihood(rows, ("da", "en", "sv"), ("da", "en"), draws=50)
    assert (found.accuracy, found.languages) == (1, ("da", "en"))
    with pytest.raises(GlossaeError, match="no likelihood"):
        identify_by_likelihood(rows, ("da", "en", "sv"), ("nl",))


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
        identify_tokens_by_ngrams(find.only(["da", "en"]), held_out)
    with pytest.raises(GlossaeError, match="no text to test on"):
        identify_tokens_by_activations(find, [held_out.only(["fr"])])
