"""An edit changes what it should, at the tokens that it should, and is gone afterwards."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from glossae.errors import GlossaeError
from glossae.lm import (
    POSITIONS,
    Site,
    SiteEdit,
    activations,
    edit,
    edits,
    gradients,
    pad,
    positions_mask,
    sentence_losses,
)
from tiny_families import columns_of, left_padded, push

BELOW, RESID = Site("resid", 0), Site("resid", 1)
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


def double(x):
    return 2 * x


def logits(lm, batch):
    with torch.no_grad():
        return lm.model(batch.ids, attention_mask=batch.mask.long()).logits


@pytest.fixture(scope="module")
def tokens(random_tokens):
    return random_tokens([3, 11])


@pytest.fixture
def batch(tiny_tokens):
    """Three sentences of different lengths."""
    return pad(tiny_tokens, np.argsort(tiny_tokens.lengths)[[0, 20, -1]])


# ---- what changes and what does not


@pytest.mark.parametrize("side", ["left", "right"])
def test_pads_keep_their_tensor_bit_for_bit(tiny_lm, batch, side):
    ids, mask = (batch.ids, batch.mask) if side == "right" else (batch.ids.flip(1), batch.mask.flip(1))
    seen = []

    def run():
        # what the next block is given
        handle = tiny_lm.blocks[2].register_forward_pre_hook(lambda _m, args: seen.append(args[0].clone()))
        with torch.no_grad():
            tiny_lm.model(ids, attention_mask=mask.long())
        handle.remove()

    run()
    with edit(tiny_lm, RESID, double):
        run()
    plain, edited = seen
    assert torch.equal(edited[~mask], plain[~mask])
    assert torch.equal(edited[mask], 2 * plain[mask])


def test_an_edit_gets_the_tokens_that_the_mask_shows(tiny_lm, batch):
    shapes = []
    with edit(tiny_lm, RESID, lambda x: shapes.append(tuple(x.shape)) or x), torch.no_grad():
        tiny_lm.model(batch.ids, attention_mask=batch.mask.long())
        tiny_lm.model.base_model(batch.ids, batch.mask.long())
        tiny_lm.model(batch.ids)
    shown = (int(batch.mask.sum()), 32)
    assert shapes == [shown, shown, (batch.ids.numel(), 32)]


def test_several_edits_each_see_what_earlier_ones_left(tiny_lm, tokens):
    second, batch = Site("mlp.hidden", 2), [pad(tokens, np.arange(2))]
    (plain,) = activations(tiny_lm, batch, [BELOW, RESID])
    with edits(tiny_lm, [SiteEdit(BELOW, push), SiteEdit(BELOW, double, "not_first"), SiteEdit(RESID, push)]):
        (edited,) = activations(tiny_lm, batch, [BELOW, RESID])
    expected = push(plain.sites[BELOW])
    expected[plain.position > 0] *= 2
    assert torch.equal(edited.sites[BELOW], expected)
    with edit(tiny_lm, BELOW, push), edit(tiny_lm, BELOW, double, positions="not_first"):
        (nested,) = activations(tiny_lm, batch, [BELOW, RESID])
    assert torch.equal(edited.sites[RESID], push(nested.sites[RESID]))
    with edits(tiny_lm, [SiteEdit(BELOW, push), SiteEdit(second, torch.zeros_like)]):
        together = sentence_losses(tiny_lm, tokens)
    with edit(tiny_lm, second, torch.zeros_like), edit(tiny_lm, BELOW, push):
        assert np.array_equal(sentence_losses(tiny_lm, tokens), together)


# ---- coming and going


@pytest.mark.parametrize("where", ["nowhere", "block", "edit"])
def test_the_edit_is_gone_after_the_block_also_after_an_exception(tiny_lm, batch, count_hooks, where):
    before, hooks = logits(tiny_lm, batch), count_hooks(tiny_lm.model)

    def fn(x):
        if where == "edit":
            raise KeyError
        # written in place, which the model's own tensor must not see
        return x.zero_()

    def run():
        with edit(tiny_lm, RESID, fn), edit(tiny_lm, RESID, fn, positions="generated"):
            assert count_hooks(tiny_lm.model) > hooks
            assert "generate" in vars(tiny_lm.model)
            logits(tiny_lm, batch)
            if where == "block":
                raise KeyError

    with nullcontext() if where == "nowhere" else pytest.raises(KeyError):
        run()
    assert count_hooks(tiny_lm.model) == hooks
    assert "generate" not in vars(tiny_lm.model)
    assert torch.equal(logits(tiny_lm, batch), before)


def test_what_is_not_there_is_refused_before_anything_is_hooked(tiny_lm, batch, tokens, count_hooks):
    hooks = count_hooks(tiny_lm.model)
    with (
        pytest.raises(GlossaeError, match=r"^positions: 'first' is not one of all, not_first, prompt, "),
        edits(tiny_lm, [SiteEdit(RESID, push), SiteEdit(RESID, push, "first")]),
    ):
        pass
    for wrong, line in (
        (Site("resid", -1), "layer: .* has the layers 0 to 2, and -1 is not one of them"),
        (Site("resid", 3), "layer: .* has the layers 0 to 2, and 3 is not one of them"),
        (
            Site("mlp.hiden", 1),
            "site: 'mlp.hiden' is not a site; there are mlp.hidden, mlp.out, attn.out, resid",
        ),
    ):
        uses = (
            lambda wrong: tiny_lm.width(wrong),
            lambda wrong: next(activations(tiny_lm, [batch], [wrong])),
            lambda wrong: next(gradients(tiny_lm, tokens, wrong)),
            lambda wrong: edits(tiny_lm, [SiteEdit(RESID, push), SiteEdit(wrong, push)]).__enter__(),
        )
        for use in uses:
            with pytest.raises(GlossaeError, match=f"^{line}$"):
                use(wrong)
    assert count_hooks(tiny_lm.model) == hooks


def test_a_changed_shape_and_a_mask_that_does_not_say_what_is_a_pad_are_refused(tiny_lm, batch):
    with (
        pytest.raises(GlossaeError, match=r"^edit: resid of layer 1: the shape .* became"),
        edit(tiny_lm, RESID, lambda x: x[:, 1:]),
    ):
        logits(tiny_lm, batch)
    mask = torch.zeros(len(batch.ids), 1, *[batch.ids.shape[1]] * 2)
    with (
        pytest.raises(GlossaeError, match=r"^edit: the attention mask has to be \(batch, seq\)"),
        edit(tiny_lm, RESID, torch.clone),
    ):
        tiny_lm.model(batch.ids, attention_mask=mask)


# ---- which tokens


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 7), min_size=1, max_size=4),
    st.integers(0, 3),
    st.sampled_from(["left", "right"]),
    st.sampled_from(POSITIONS),
)
def test_masks_are_what_the_words_say(lengths, generated, side, positions):
    longest = max(lengths)
    mask = torch.zeros(len(lengths), longest + generated, dtype=torch.bool)
    expected = mask.clone()
    for row, length in enumerate(lengths):
        start = longest - length if side == "left" else 0
        text = [*range(start, start + length), *range(longest, longest + generated)]
        mask[row, text] = True
        for place in columns_of(positions, length, len(text)):
            expected[row, text[place]] = True
    assert torch.equal(positions_mask(mask, positions, longest), expected)
    if not generated:
        assert torch.equal(positions_mask(mask, positions), expected)


@torch.no_grad()
def logits_by_hand(lm, ids, columns):
    """The logits of one text, with `push` at some of its columns, by a hook of this test's own."""
    where = torch.tensor(list(columns), dtype=torch.int64)

    def replace(_module, _args, output):
        x = (output[0] if isinstance(output, tuple) else output).clone()
        x[0, where] = push(x[0, where])
        return (x, *output[1:]) if isinstance(output, tuple) else x

    handle = lm.blocks[1].register_forward_hook(replace)
    try:
        return lm.model(ids[None], use_cache=False).logits[0]
    finally:
        handle.remove()


@pytest.mark.parametrize("positions", POSITIONS)
def test_outside_generate_all_of_the_text_is_the_prompt(tiny_lm, tokens, positions):
    batch = pad(tokens, np.arange(len(tokens)))
    ids, mask = left_padded(tokens.ids)
    with edit(tiny_lm, RESID, push, positions=positions), torch.no_grad():
        right = logits(tiny_lm, batch)
        left = tiny_lm.model(
            ids, attention_mask=mask.long(), position_ids=(mask.cumsum(1) - 1).clip(min=0)
        ).logits
        without = tiny_lm.model(batch.ids[1:2]).logits
        losses = sentence_losses(tiny_lm, tokens)
    for row, text in enumerate(map(torch.from_numpy, tokens.ids)):
        n = len(text)
        alone = logits_by_hand(tiny_lm, text, columns_of(positions, n, n))
        torch.testing.assert_close(right[row, :n], alone, **CLOSE)
        torch.testing.assert_close(left[row, -n:], alone, **CLOSE)
        loss = cross_entropy(alone[:-1], text[1:], reduction="sum")
        assert losses[row] == pytest.approx(float(loss), rel=1e-4)
    torch.testing.assert_close(without[0], alone, **CLOSE)


def test_a_cache_of_ones_own_counts_as_text_before(tiny_lm, tokens):
    ids = torch.from_numpy(tokens.ids[1])[None]
    expected = logits_by_hand(tiny_lm, ids[0], range(1, ids.shape[1]))
    with edit(tiny_lm, RESID, push, positions="not_first"), torch.no_grad():
        first = tiny_lm.model(ids[:, :5], use_cache=True)
        second = tiny_lm.model(ids[:, 5:], past_key_values=first.past_key_values)
    torch.testing.assert_close(first.logits[0], expected[:5], **CLOSE)
    torch.testing.assert_close(second.logits[0], expected[5:], **CLOSE)


def test_the_prompt_is_known_however_it_is_given(tiny_lm, tokens):
    ids = torch.from_numpy(tokens.ids[0])[None]
    seen = []
    options = {
        "attention_mask": torch.ones_like(ids),
        "max_new_tokens": 2,
        "do_sample": False,
        "pad_token_id": 0,
    }
    with edit(tiny_lm, RESID, lambda x: seen.append(len(x)) or x, positions="generated"):
        tiny_lm.model.generate(inputs=ids, **options)
        tiny_lm.model.generate(input_ids=ids, **options)
        tiny_lm.model.generate(inputs_embeds=tiny_lm.model.get_input_embeddings()(ids), **options)
        # and a plain pass afterwards has no generated tokens
        sentence_losses(tiny_lm, tokens)
    assert seen == [1, 1, 1]


@pytest.mark.parametrize("use_cache", [True, False])
def test_each_step_of_generate_edits_what_it_runs(tiny_lm, tiny_tokens, monkeypatch, use_cache):
    monkeypatch.setattr(tiny_lm.model.generation_config, "eos_token_id", None)
    ids, mask = left_padded([tiny_tokens.ids[i] for i in (0, 7, 31)])
    edited = []
    with edit(tiny_lm, RESID, lambda x: edited.append(len(x)) or push(x)):
        tiny_lm.model.generate(
            ids,
            attention_mask=mask.long(),
            max_new_tokens=4,
            do_sample=False,
            pad_token_id=0,
            use_cache=use_cache,
        )
    count = int(mask.sum())
    assert edited == [count] + ([3] * 3 if use_cache else [count + 3 * step for step in (1, 2, 3)])
