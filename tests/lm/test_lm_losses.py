"""Losses equal torch's own cross-entropy sentence by sentence, gradients its differences, final states the model's."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from glossae.corpora import Corpus, Sentence
from glossae.lm import (
    SITE_NAMES,
    Batch,
    Site,
    activations,
    batches,
    edit,
    final_states,
    gradients,
    load,
    mean_over_all,
    mean_over_text,
    replay,
    sentence_losses,
    text_states,
    tokenize,
    tokens_to_score,
)
from glossae.lm.loss import loss_batches, predicts

TEXTS = ["Hej på øen, sagde æblet 😀.", "ja!", "Plain English text with words.", "ÆØÅ 👨‍👩‍👧 og mere"]


def by_hand(lm, tokens):
    """The summed loss of each sentence, each in a pass of its own."""
    losses = []
    for ids in map(torch.from_numpy, tokens.ids):
        with torch.no_grad():
            logits = lm.model(ids[None], attention_mask=torch.ones_like(ids)[None]).logits[0, :-1]
        losses.append(float(cross_entropy(logits, ids[1:], reduction="sum")))
    return np.array(losses)


@pytest.mark.parametrize("bos", [False, True])
def test_losses_equal_cross_entropy_by_hand(tiny_lm, bos):
    corpus = Corpus.of(Sentence(text, "da", str(i), "") for i, text in enumerate(TEXTS))
    tokens = tokenize(tiny_lm, corpus, prefix=[tiny_lm.tokenizer.bos_token_id] * bos)
    losses, expected = sentence_losses(tiny_lm, tokens), by_hand(tiny_lm, tokens)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    assert losses.dtype == np.float64
    # per token, over the whole corpus
    predicted = sum(len(ids) - 1 for ids in tokens.ids)
    assert losses.sum() / tokens.predicted.sum() == pytest.approx(expected.sum() / predicted, rel=1e-4)


@settings(max_examples=15)
@given(st.lists(st.integers(2, 40), min_size=1, max_size=10), st.integers(1, 200), st.randoms())
def test_batched_equals_one_by_one_in_the_order_of_the_sentences(
    tiny_lm, random_tokens, lengths, budget, random
):
    random.shuffle(lengths)
    tokens = random_tokens(lengths)
    losses = sentence_losses(tiny_lm, tokens, budget=budget)
    np.testing.assert_allclose(losses, by_hand(tiny_lm, tokens), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("scored", "copies"), [(None, 1), (None, 4), (2, 1), (2, 4)])
def test_the_logits_of_a_batch_fit(tiny_lm, random_tokens, monkeypatch, scored, copies):
    rows = tiny_lm.model.get_output_embeddings().weight.shape[0]
    monkeypatch.setattr("glossae.lm.loss.MAX_LOGITS", 40 * copies * rows)
    tokens = random_tokens([5] * 30 + [20] * 30).scoring(scored)
    found = list(loss_batches(tiny_lm, tokens, 10**6, copies=copies))
    counts = [int(predicts(batch).sum()) for batch in found]
    assert max(counts) <= 40 < sum(counts)
    assert sum(len(batch.ids) for batch in found) == 60
    # where few tokens of a sentence are scored, more sentences fit
    assert len(found) == (3 if scored else 4 + 15)


def test_losses_of_some_tokens_estimate_those_of_all(tiny_lm, random_tokens):
    tokens = random_tokens([2, 3, 5, 12, 40] * 80, 1)
    whole, some = sentence_losses(tiny_lm, tokens), sentence_losses(tiny_lm, tokens.scoring(3))
    short = tokens.predicted <= 3
    np.testing.assert_allclose(some[short], whole[short], rtol=1e-4)
    # longer sentences' sums are estimates, neither too high nor too low
    error = (some - whole)[~short]
    assert (error != 0).all()
    assert abs(error.mean()) < 3 * error.std() / np.sqrt(len(error))
    # which tokens are scored depends on the sentence alone
    order = np.array([3, 0, 399])
    again = sentence_losses(tiny_lm, tokens.take(order).scoring(3), budget=40)
    np.testing.assert_allclose(again, some[order], rtol=1e-4)


def test_losses_worth_computing_grow_with_what_stands_above_the_site(tiny_lm, random_tokens):
    short, long = random_tokens([5] * 4), random_tokens([200] * 4)
    last = Site("resid", tiny_lm.layers - 1)
    assert tokens_to_score(tiny_lm, last, short) < tokens_to_score(tiny_lm, Site("resid", 0), short)
    assert tokens_to_score(tiny_lm, last, short) < tokens_to_score(tiny_lm, last, long)


# ---- gradients; every family's are in test_lm_families


def slopes(lm, site, tokens, direction, step=1e-5):
    """How fast each sentence's loss rises if `direction` is added to the site at all its tokens."""
    with edit(lm, site, lambda x: x + step * direction):
        above = by_hand(lm, tokens)
    with edit(lm, site, lambda x: x - step * direction):
        below = by_hand(lm, tokens)
    return (above - below) / (2 * step)


def summed(lm, site, tokens, direction, **settings):
    """The same from the gradients."""
    found = np.zeros(len(tokens))
    for part in gradients(lm, tokens, site, **settings):
        np.add.at(found, part.sentence.numpy(), (part.gradient @ direction).numpy())
    return found


@pytest.mark.parametrize("site", [Site(name, layer) for name in SITE_NAMES for layer in (0, 2)], ids=str)
def test_gradients_are_finite_differences_also_of_an_edited_model(tiny_model, tiny_tokens, site):
    lm, tokens = load(str(tiny_model)), tiny_tokens.take([0, 7, 20, 31, 50])
    # so that differences can be taken
    lm.model.double()
    direction = torch.randn(lm.width(site), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain, expected = summed(lm, site, tokens, direction), slopes(lm, site, tokens, direction)
    assert np.abs(expected).min() > 1e-4
    # the loss itself is computed in float32
    np.testing.assert_allclose(plain, expected, rtol=1e-3, atol=1e-5)
    with edit(lm, Site("attn.out", 0), lambda x: 5 * x):
        edited, expected = summed(lm, site, tokens, direction), slopes(lm, site, tokens, direction)
    np.testing.assert_allclose(edited, expected, rtol=1e-3, atol=1e-5)
    assert np.abs(edited - plain).max() > 1e-3 or site == Site("attn.out", 0)


@settings(max_examples=15)
@given(st.lists(st.integers(2, 30), min_size=1, max_size=8), st.integers(1, 200))
def test_batches_of_any_size_give_the_same_gradients(tiny_lm, random_tokens, lengths, budget):
    tokens, site, direction = random_tokens(lengths), Site("resid", 1), torch.linspace(-1, 1, 32)
    one = summed(tiny_lm, site, tokens, direction)
    other = summed(tiny_lm, site, tokens, direction, budget=budget)
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("bos", [False, True])
def test_what_stands_at_the_site_comes_along_and_nothing_stays_behind(tiny_lm, tiny_corpus, count_hooks, bos):
    # transformers may have left some hooks of its own
    site, hooks = Site("mlp.hidden", 1), count_hooks(tiny_lm.model)
    tokens = tokenize(tiny_lm, tiny_corpus, prefix=[tiny_lm.tokenizer.bos_token_id] * bos)
    with torch.no_grad():
        seen = list(gradients(tiny_lm, tokens, site, budget=200))
    plain = list(activations(tiny_lm, batches(tokens, 200), [site]))
    assert len(seen) == len(plain) > 3
    for part, other in zip(seen, plain, strict=True):
        torch.testing.assert_close(part.x, other.sites[site], atol=1e-5, rtol=1e-5)
        assert torch.equal(part.sentence, other.sentence)
        assert not part.x.requires_grad
        assert not part.gradient.requires_grad
        # the last token of a sentence acts on nothing
        last = other.position == torch.from_numpy(tokens.lengths)[part.sentence] - 1 + bos
        assert not part.gradient[last].any()
        assert part.gradient[~last].any(1).all()
    assert count_hooks(tiny_lm.model) == hooks
    assert all(weight.grad is None and not weight.requires_grad for weight in tiny_lm.model.parameters())


# ---- final states; replayed ones are in test_lm_replay


@pytest.fixture(scope="module")
def batch(tiny_tokens):
    found = next(batches(tiny_tokens, 600))
    assert not found.mask.all()
    return found


@torch.no_grad()
def last_states(lm, ids, mask):
    return lm.model(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True).hidden_states[-1]


@torch.no_grad()
def test_final_states_are_the_last_of_the_hidden_states_and_pooled_by_row(tiny_lm, tiny_tokens, batch):
    states = final_states(tiny_lm, batch)
    assert torch.equal(states, last_states(tiny_lm, batch.ids, batch.mask))
    pooled = mean_over_text(batch, states)
    for row, number in enumerate(batch.index.tolist()):
        ids = torch.from_numpy(tiny_tokens.ids[number])[None]
        alone = last_states(tiny_lm, ids, torch.ones_like(ids))[0].mean(0)
        assert torch.allclose(pooled[row], alone, atol=1e-4)
    assert torch.allclose(mean_over_all(batch, states), states.mean(1))


@torch.no_grad()
def test_pads_that_are_edited_are_still_not_looked_at(tiny_lm, batch):
    # a mask over everything, and pads of EOS: as the paper's code has it
    padded = Batch(batch.ids, torch.ones_like(batch.mask), batch.mask, batch.index)
    assert torch.equal(text_states(tiny_lm, padded), last_states(tiny_lm, batch.ids, batch.mask))

    def rolled(x):
        # a norm does not see a factor
        return x.roll(1, -1)

    with replay(tiny_lm, Site("resid", 1), text_states) as run:
        run.begin(padded)
        under = run.under(rolled)
    handle = tiny_lm.blocks[1].register_forward_hook(
        lambda _module, _args, output: (
            rolled(output) if torch.is_tensor(output) else (rolled(output[0]), *output[1:])
        )
    )
    try:
        everywhere = final_states(tiny_lm, batch)
    finally:
        handle.remove()
    assert torch.allclose(under, everywhere, atol=1e-4)
