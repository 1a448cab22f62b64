"""Which tokens an edit reaches: in plain passes, in losses, and in `generate` with and without cache, on either pad."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glossae.errors import GlossaeError
from glossae.lm import POSITIONS, Site, SiteEdit, activations, chosen, edit, edits, load, pad, sentence_losses
from tiny_families import FAMILIES, write_family

RESID = Site("resid", 1)
LENGTHS = [3, 11]
STEPS = 3


def push(x):
    # not a multiple of x: a layer norm would undo that
    return x + 3 * torch.linspace(-1, 1, x.shape[1])


def columns_of(positions, prompt, length):
    """The columns of one unpadded text that are edited, by the words of the definition."""
    return {
        "all": range(length),
        "not_first": range(1, length),
        "prompt": range(prompt),
        "generated": range(prompt, length),
        "last": range(prompt - 1, length),
    }[positions]


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
    assert torch.equal(chosen(mask, positions, longest), expected)
    if not generated:
        assert torch.equal(chosen(mask, positions), expected)


@pytest.fixture(scope="module")
def tokens(random_tokens):
    return random_tokens(LENGTHS)


def left_padded(tokens):
    longest = max(map(len, tokens.ids))
    ids = np.stack([np.pad(row, (longest - len(row), 0)) for row in tokens.ids])
    mask = np.stack([np.arange(longest) >= longest - len(row) for row in tokens.ids])
    return torch.from_numpy(ids), torch.from_numpy(mask)


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


# ---- plain passes


@pytest.mark.parametrize("positions", POSITIONS)
def test_in_a_plain_pass_all_of_the_text_is_the_prompt(tiny_lm, tokens, positions):
    batch = pad(tokens, np.arange(len(tokens)))
    ids, mask = left_padded(tokens)
    with edit(tiny_lm, RESID, push, positions=positions), torch.no_grad():
        right = tiny_lm.model(batch.ids, attention_mask=batch.mask.long()).logits
        left = tiny_lm.model(
            ids, attention_mask=mask.long(), position_ids=(mask.cumsum(1) - 1).clip(min=0)
        ).logits
        without = tiny_lm.model(batch.ids[1:2]).logits
    for row, text in enumerate(tokens.ids):
        n = len(text)
        alone = logits_by_hand(tiny_lm, torch.from_numpy(text), columns_of(positions, n, n))
        torch.testing.assert_close(right[row, :n], alone, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(left[row, -n:], alone, atol=1e-4, rtol=1e-4)
        if row == 1:
            torch.testing.assert_close(without[0, :n], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("positions", POSITIONS)
def test_in_losses(tiny_lm, tokens, positions):
    with edit(tiny_lm, RESID, push, positions=positions):
        losses = sentence_losses(tiny_lm, tokens)
    for loss, text in zip(losses, tokens.ids, strict=True):
        ids = torch.from_numpy(text)
        logits = logits_by_hand(tiny_lm, ids, columns_of(positions, len(ids), len(ids)))
        expected = torch.nn.functional.cross_entropy(logits[:-1], ids[1:], reduction="sum")
        assert loss == pytest.approx(float(expected), rel=1e-4)


def test_nothing_is_generated_in_a_plain_pass_so_nothing_is_called(tiny_lm, tokens):
    def fail(x):
        raise AssertionError

    plain = sentence_losses(tiny_lm, tokens)
    with edit(tiny_lm, RESID, fail, positions="generated"):
        assert np.array_equal(sentence_losses(tiny_lm, tokens), plain)


def test_a_cache_of_ones_own_counts_as_text_before(tiny_lm, tokens):
    ids = torch.from_numpy(tokens.ids[1])[None]
    expected = logits_by_hand(tiny_lm, ids[0], range(1, ids.shape[1]))
    with edit(tiny_lm, RESID, push, positions="not_first"), torch.no_grad():
        first = tiny_lm.model(ids[:, :5], use_cache=True)
        second = tiny_lm.model(ids[:, 5:], past_key_values=first.past_key_values)
    torch.testing.assert_close(first.logits[0], expected[:5], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(second.logits[0], expected[5:], atol=1e-4, rtol=1e-4)


# ---- generate


@pytest.fixture(scope="module", params=FAMILIES)
def lm(request, tmp_path_factory, tiny_tokenizer):
    """A random model of each family, in which no token ends a text."""
    model = load(str(write_family(tmp_path_factory.mktemp("family"), request.param, tiny_tokenizer)))
    model.model.generation_config.eos_token_id = None
    return model


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("positions", POSITIONS)
def test_in_generate_with_and_without_cache(lm, tokens, positions, use_cache):
    ids, mask = left_padded(tokens)
    with edit(lm, RESID, push, positions=positions):
        written = lm.model.generate(
            ids,
            attention_mask=mask.long(),
            max_new_tokens=STEPS,
            do_sample=False,
            pad_token_id=0,
            use_cache=use_cache,
            output_logits=True,
            return_dict_in_generate=True,
        )
    for row, text in enumerate(tokens.ids):
        n = len(text)
        whole = torch.cat([torch.from_numpy(text), written.sequences[row, -STEPS:]])
        # what comes later changes no earlier logit, so one pass shows every step
        alone = logits_by_hand(lm, whole, columns_of(positions, n, len(whole)))
        for step in range(STEPS):
            torch.testing.assert_close(written.logits[step][row], alone[n - 1 + step], atol=1e-4, rtol=1e-4)


def test_generate_is_the_models_own_again_afterwards(tiny_lm, tokens):
    ids = torch.from_numpy(tokens.ids[0])[None]
    options = {"max_new_tokens": 2, "do_sample": False, "pad_token_id": 0}
    plain = tiny_lm.model.generate(ids, attention_mask=torch.ones_like(ids), **options)
    with edit(tiny_lm, RESID, push), edit(tiny_lm, RESID, push, positions="generated"):
        assert "generate" in vars(tiny_lm.model)
    with pytest.raises(KeyError), edit(tiny_lm, RESID, push):
        raise KeyError
    assert "generate" not in vars(tiny_lm.model)
    again = tiny_lm.model.generate(ids, attention_mask=torch.ones_like(ids), **options)
    assert torch.equal(again, plain)


def test_the_prompt_is_known_however_it_is_given(tiny_lm, tokens):
    ids = torch.from_numpy(tokens.ids[0])[None]
    mask = torch.ones_like(ids)
    seen = []
    options = {"attention_mask": mask, "max_new_tokens": 2, "do_sample": False, "pad_token_id": 0}
    with edit(tiny_lm, RESID, lambda x: seen.append(len(x)) or x, positions="generated"):
        tiny_lm.model.generate(inputs=ids, **options)
        tiny_lm.model.generate(input_ids=ids, **options)
        tiny_lm.model.generate(inputs_embeds=tiny_lm.model.get_input_embeddings()(ids), **options)
        # and a plain pass afterwards has no generated tokens
        sentence_losses(tiny_lm, tokens)
    assert seen == [1, 1, 1]


# ---- several at once


def test_several_edits_each_see_what_earlier_ones_left(tiny_lm, tokens):
    first, second = Site("resid", 0), Site("mlp.hidden", 2)
    batch = [pad(tokens, np.arange(2))]
    (plain,) = activations(tiny_lm, batch, [first, RESID])
    with edits(
        tiny_lm, [SiteEdit(first, push), SiteEdit(first, lambda x: 2 * x, "not_first"), SiteEdit(RESID, push)]
    ):
        (edited,) = activations(tiny_lm, batch, [first, RESID])
    expected = push(plain.sites[first])
    expected[plain.position > 0] *= 2
    assert torch.equal(edited.sites[first], expected)
    with edit(tiny_lm, first, push), edit(tiny_lm, first, lambda x: 2 * x, positions="not_first"):
        (nested,) = activations(tiny_lm, batch, [first, RESID])
    assert torch.equal(edited.sites[RESID], push(nested.sites[RESID]))
    with edits(tiny_lm, [SiteEdit(first, push), SiteEdit(second, torch.zeros_like)]):
        together = sentence_losses(tiny_lm, tokens)
    with edit(tiny_lm, second, torch.zeros_like), edit(tiny_lm, first, push):
        assert np.array_equal(sentence_losses(tiny_lm, tokens), together)
    with edits(tiny_lm, []):
        assert np.array_equal(sentence_losses(tiny_lm, tokens), sentence_losses(tiny_lm, tokens))


def test_what_is_not_there_is_refused_before_anything_is_hooked(tiny_lm, count_hooks):
    hooks = count_hooks(tiny_lm.model)
    with (
        pytest.raises(GlossaeError, match=r"^positions: 'first' is not one of all, not_first, prompt, "),
        edits(tiny_lm, [SiteEdit(RESID, push), SiteEdit(RESID, push, "first")]),
    ):
        pass
    with (
        pytest.raises(GlossaeError, match=r"^layer: .* has the layers 0 to 2, and 3 is not one"),
        edits(tiny_lm, [SiteEdit(RESID, push), SiteEdit(Site("resid", 3), push)]),
    ):
        pass
    assert count_hooks(tiny_lm.model) == hooks
