"""Losses equal torch's own cross-entropy, sentence by sentence, per token and per byte."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sprog.corpora import Corpus, Sentence
from sprog.lm import sentence_losses, tokenize
from sprog.lm.loss import MAX_LOGITS, loss_budget

TEXTS = ["Hej på øen, sagde æblet 😀.", "ja!", "Plain English text with words.", "ÆØÅ 👨‍👩‍👧 og mere"]


def by_hand(lm, ids):
    """Summed cross-entropy of one sentence, in a pass of its own."""
    ids = torch.from_numpy(ids)
    with torch.no_grad():
        predicted = lm.model(ids[None]).logits[0, :-1]
    return float(torch.nn.functional.cross_entropy(predicted, ids[1:], reduction="sum"))


@pytest.mark.parametrize("bos", [False, True])
def test_losses_equal_cross_entropy_by_hand(tiny_lm, bos):
    corpus = Corpus.of(Sentence(text, "da", str(i), "") for i, text in enumerate(TEXTS))
    tokens = tokenize(tiny_lm, corpus, prefix=[tiny_lm.tokenizer.bos_token_id] * bos)
    losses = sentence_losses(tiny_lm, tokens)
    expected = np.array([by_hand(tiny_lm, ids) for ids in tokens.ids])
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    assert losses.dtype == np.float64

    # per token and per byte, over the whole corpus
    predicted = sum(len(ids) - 1 for ids in tokens.ids)
    assert losses.sum() / tokens.predicted.sum() == pytest.approx(expected.sum() / predicted, rel=1e-4)
    texts = [tiny_lm.tokenizer.decode(ids[1:]) for ids in tokens.ids]
    if not any("\ufffd" in text for text in texts):
        size = sum(len(text.encode()) for text in texts)
        assert losses.sum() / tokens.predicted_bytes.sum() == pytest.approx(expected.sum() / size, rel=1e-4)


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(2, 40), min_size=1, max_size=10), st.integers(1, 200), st.integers(0, 3))
def test_batched_equals_one_by_one(tiny_lm, random_tokens, lengths, budget, seed):
    tokens = random_tokens(lengths, seed)
    losses = sentence_losses(tiny_lm, tokens, budget=budget)
    np.testing.assert_allclose(losses, [by_hand(tiny_lm, ids) for ids in tokens.ids], atol=1e-4, rtol=1e-4)


def test_losses_stand_in_the_order_of_the_sentences(tiny_lm, random_tokens):
    tokens = random_tokens([30, 2, 17, 9, 2, 40])
    order = np.array([3, 0, 5, 1, 4, 2])
    np.testing.assert_allclose(
        sentence_losses(tiny_lm, tokens.take(order), budget=40),
        sentence_losses(tiny_lm, tokens, budget=90)[order],
        rtol=1e-4,
    )


def test_a_large_vocabulary_lowers_the_budget(tiny_lm):
    rows = tiny_lm.model.get_output_embeddings().weight.shape[0]
    assert loss_budget(tiny_lm, 10**9) == MAX_LOGITS // rows
    assert loss_budget(tiny_lm, 7) == 7
    assert loss_budget(tiny_lm, 10**9, copies=4) == MAX_LOGITS // (4 * rows)
