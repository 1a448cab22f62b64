"""Sentences become ids and batches without one being lost, doubled or changed."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glossae.errors import GlossaeError
from glossae.lm import batches, pad, sentence_batches, tokenize
from glossae.text import Corpus, Sentence

LENGTHS = st.lists(st.integers(2, 60), min_size=1, max_size=40)


def corpus_of(*texts, language="da", source="a.tsv"):
    return Corpus.of(Sentence(text, language, str(number), source) for number, text in enumerate(texts))


# ---- token ids


def test_ids_are_the_tokenizers_without_special_tokens(tiny_lm):
    tokens = tokenize(tiny_lm, corpus_of("Pigen så æblet 😀.", "He bought it."))
    assert [tiny_lm.tokenizer.decode(ids) for ids in tokens.ids] == ["Pigen så æblet 😀.", "He bought it."]
    assert all(tiny_lm.tokenizer.bos_token_id not in ids for ids in tokens.ids)


def test_a_bos_stands_first_and_is_no_text(tiny_lm):
    plain = tokenize(tiny_lm, corpus_of("Pigen så æblet."))
    with_bos = tokenize(tiny_lm, corpus_of("Pigen så æblet."), prefix=[tiny_lm.tokenizer.bos_token_id])
    assert with_bos.ids[0].tolist() == [tiny_lm.tokenizer.bos_token_id, *plain.ids[0]]
    assert with_bos.lengths == plain.lengths == with_bos.predicted == plain.predicted + 1
    assert not pad(with_bos, np.array([0])).content[0, 0]
    assert pad(with_bos, np.array([0])).content[0, 1:].all()


def test_bos_without_a_bos_token_is_refused(tiny_lm):
    class NoBos:
        bos_token_id = None

    with pytest.raises(GlossaeError, match="^bos: the tokenizer of .* has no BOS token"):
        _ = dataclasses.replace(tiny_lm, tokenizer=NoBos(), bos=True).prefix


def test_texts_under_two_tokens_are_dropped_and_counted(tiny_lm):
    short = Corpus((*corpus_of("a", "Hej med dig", "b").sentences, *corpus_of("c", language="en").sentences))
    tokens = tokenize(tiny_lm, short)
    assert [sentence.text for sentence in tokens.corpus.sentences] == ["Hej med dig"]
    assert tokens.dropped == {("a.tsv", "da"): 2, ("a.tsv", "en"): 1}
    assert tokens.cut == {}


@pytest.mark.parametrize("bos", [False, True])
def test_long_texts_are_cut_and_counted(tiny_lm, bos):
    corpus = corpus_of("x" * 3, "abcdefghijklmnop" * 3)
    whole = tokenize(tiny_lm, corpus)
    tokens = tokenize(tiny_lm, corpus, max_tokens=10, prefix=[tiny_lm.tokenizer.bos_token_id] * bos)
    assert [len(ids) for ids in tokens.ids] == [min(3, whole.lengths[0]) + bos, 10]
    assert tokens.ids[1].tolist() == ([0, *whole.ids[1][:9]] if bos else whole.ids[1][:10].tolist())
    assert tokens.cut == {("a.tsv", "da"): 1}
    assert tokens.dropped == {}


def test_texts_are_cut_at_the_models_positions(tiny_lm):
    tokens = tokenize(tiny_lm, corpus_of("qwxz" * 100), max_tokens=10_000)
    assert tokens.lengths.tolist() == [tiny_lm.max_positions]
    assert sum(tokens.cut.values()) == 1


@pytest.mark.parametrize("text", ["Hej på øen", "Ja: æøå ÆØÅ", "Se 😀👨‍👩‍👧!", "plain"])
def test_predicted_bytes_are_those_after_the_first_token(tiny_lm, text):
    tokens = tokenize(tiny_lm, corpus_of(text))
    first = tiny_lm.tokenizer.decode(tokens.ids[0][:1])
    assert tokens.predicted_bytes.tolist() == [len(text.encode()) - len(first.encode())]
    assert tokenize(
        tiny_lm, corpus_of(text), prefix=[tiny_lm.tokenizer.bos_token_id]
    ).predicted_bytes.tolist() == [len(text.encode())]


def test_predicted_bytes_of_a_cut_text_end_with_its_last_token(tiny_lm):
    text = "Hej på øen, sagde hun."
    whole = tokenize(tiny_lm, corpus_of(text))
    for kept in range(2, len(whole.ids[0])):
        tokens = tokenize(tiny_lm, corpus_of(text), max_tokens=kept)
        shown = tiny_lm.tokenizer.decode(tokens.ids[0])
        if "\ufffd" not in shown:
            first = tiny_lm.tokenizer.decode(tokens.ids[0][:1])
            assert tokens.predicted_bytes[0] == len(shown.encode()) - len(first.encode())


def test_take_keeps_the_order_asked_for(tiny_tokens):
    taken = tiny_tokens.take(np.array([7, 2]))
    assert taken.corpus.sentences == (tiny_tokens.corpus.sentences[7], tiny_tokens.corpus.sentences[2])
    assert [ids.tolist() for ids in taken.ids] == [tiny_tokens.ids[i].tolist() for i in (7, 2)]
    assert taken.predicted_bytes.tolist() == tiny_tokens.predicted_bytes[[7, 2]].tolist()


# ---- batches


def assert_rows_are_sentences(batch, tokens):
    assert batch.mask.shape == batch.ids.shape == batch.content.shape
    for ids, mask, number in zip(batch.ids, batch.mask, batch.index, strict=True):
        length = len(tokens.ids[number])
        assert mask.tolist() == [True] * length + [False] * (batch.ids.shape[1] - length)
        assert ids[:length].tolist() == tokens.ids[number].tolist()
        assert not ids[length:].any()


@given(LENGTHS, st.integers(1, 300), st.none() | st.integers(0, 5))
def test_batches_cover_each_sentence_once_within_the_budget(random_tokens, lengths, budget, seed):
    tokens = random_tokens(lengths)
    seen = []
    for batch in batches(tokens, budget, seed=seed):
        assert batch.ids.numel() <= budget or len(batch.ids) == 1
        assert_rows_are_sentences(batch, tokens)
        seen += batch.index.tolist()
    assert sorted(seen) == list(range(len(lengths)))


def test_more_sentences_than_one_window_are_covered_once(random_tokens):
    tokens = random_tokens([2 + i % 9 for i in range(2500)])
    for seed in (None, 0):
        seen = [i for batch in batches(tokens, 100, seed=seed) for i in batch.index.tolist()]
        assert sorted(seen) == list(range(2500))


def test_batches_are_seeded(random_tokens):
    tokens = random_tokens([2 + i % 9 for i in range(50)])

    def order(seed):
        return [batch.index.tolist() for batch in batches(tokens, 40, seed=seed)]

    assert order(1) == order(1) != order(2)
    assert order(None) == order(None) != order(1)


@given(LENGTHS, st.integers(1, 50), st.integers(0, 5))
def test_sentence_batches_hold_a_fixed_number_of_sentences(random_tokens, lengths, size, seed):
    tokens = random_tokens(lengths)
    drawn = list(sentence_batches(tokens, size, seed=seed))
    assert [len(batch.index) for batch in drawn[:-1]] == [size] * (len(drawn) - 1)
    for batch in drawn:
        assert_rows_are_sentences(batch, tokens)
    assert sorted(i for batch in drawn for i in batch.index.tolist()) == list(range(len(lengths)))
    again = list(sentence_batches(tokens, size, seed=seed))
    assert [batch.index.tolist() for batch in drawn] == [batch.index.tolist() for batch in again]
