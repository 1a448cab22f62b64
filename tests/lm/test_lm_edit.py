"""An edit changes what it should, where it should, and is gone afterwards."""

import numpy as np
import pytest
import torch

from glossae.errors import GlossaeError
from glossae.lm import SITE_NAMES, Site, activations, continue_prompts, edit, pad, sentence_losses

RESID = Site("resid", 1)


def double(x):
    return 2 * x


def push(x):
    # not a multiple of x: a layer norm would undo that
    return x + 3 * torch.linspace(-1, 1, x.shape[1])


def logits(lm, batch):
    with torch.no_grad():
        return lm.model(batch.ids, attention_mask=batch.mask.long()).logits


@pytest.fixture
def batch(tiny_tokens):
    """Three sentences of different lengths."""
    return pad(tiny_tokens, np.argsort(tiny_tokens.lengths)[[0, 20, -1]])


@pytest.fixture
def look():
    """A function that records what a module puts out, with a hook of this test's own."""
    handles = []

    def watch(module):
        seen = []
        handles.append(
            module.register_forward_hook(
                lambda _m, _a, out: seen.append((out[0] if isinstance(out, tuple) else out).clone())
            )
        )
        return seen

    yield watch
    for handle in handles:
        handle.remove()


# ---- what changes and what does not


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("name", SITE_NAMES)
def test_an_identity_edit_changes_no_logit_and_another_does(tiny_lm, batch, name, layer):
    before = logits(tiny_lm, batch)
    with edit(tiny_lm, Site(name, layer), torch.clone):
        same = logits(tiny_lm, batch)
    with edit(tiny_lm, Site(name, layer), push):
        other = logits(tiny_lm, batch)
    torch.testing.assert_close(same[batch.mask], before[batch.mask], atol=1e-5, rtol=0)
    assert (other - before)[batch.mask].abs().max() > 1e-3


@pytest.mark.parametrize("name", SITE_NAMES)
def test_zeroing_a_sublayer_is_what_leaving_it_out_would_do(tiny_lm, tiny_tokens, name):
    (part,) = activations(tiny_lm, [pad(tiny_tokens, np.array([4]))], [Site(name, 1)])
    with edit(tiny_lm, Site(name, 1), torch.zeros_like):
        (zeroed,) = activations(tiny_lm, [pad(tiny_tokens, np.array([4]))], [Site(name, 1), RESID])
    assert part.sites[Site(name, 1)].any()
    if name == "resid":
        assert not zeroed.sites[RESID].any()


@pytest.mark.parametrize("side", ["left", "right"])
def test_pads_keep_their_tensor_bit_for_bit(tiny_lm, batch, look, side):
    ids, mask = (batch.ids, batch.mask) if side == "right" else (batch.ids.flip(1), batch.mask.flip(1))
    seen = look(tiny_lm.blocks[1])

    def run():
        with torch.no_grad():
            tiny_lm.model(ids, attention_mask=mask.long())

    run()
    with edit(tiny_lm, RESID, double):
        # this hook stands before the edit's, so the next block's input is what tells
        handle = tiny_lm.blocks[2].register_forward_pre_hook(lambda _m, args: seen.append(args[0].clone()))
        run()
        handle.remove()
    plain, _, edited = seen
    assert torch.equal(edited[~mask], plain[~mask])
    assert torch.equal(edited[mask], 2 * plain[mask])


def test_the_edit_gets_the_tokens_and_nothing_else(tiny_lm, batch):
    shapes = []

    def note(x):
        shapes.append(tuple(x.shape))
        return x

    with edit(tiny_lm, RESID, note):
        logits(tiny_lm, batch)
    assert shapes == [(int(batch.mask.sum()), 32)]


def test_without_a_mask_every_position_is_a_token(tiny_lm, batch):
    shapes = []

    def note(x):
        shapes.append(tuple(x.shape))
        return x

    with edit(tiny_lm, RESID, note), torch.no_grad():
        tiny_lm.model(batch.ids)
    assert shapes == [(batch.ids.numel(), 32)]


def test_the_mask_may_be_given_by_position(tiny_lm, batch):
    shapes = []

    def note(x):
        shapes.append(len(x))
        return x

    with edit(tiny_lm, RESID, note), torch.no_grad():
        tiny_lm.model.base_model(batch.ids, batch.mask.long())
    assert shapes == [int(batch.mask.sum())]


def test_an_edit_in_place_does_not_reach_the_models_own_tensor(tiny_lm, batch):
    def overwrite(x):
        return x.zero_()

    before = logits(tiny_lm, batch)
    with edit(tiny_lm, RESID, overwrite):
        logits(tiny_lm, batch)
    assert torch.equal(logits(tiny_lm, batch), before)


def test_an_edit_that_changes_the_shape_is_refused(tiny_lm, batch):
    with (
        pytest.raises(GlossaeError, match=r"^edit: resid of layer 1: the shape .* became"),
        edit(tiny_lm, RESID, lambda x: x[:, 1:]),
    ):
        logits(tiny_lm, batch)


def test_a_mask_that_does_not_say_what_is_a_pad_is_refused(tiny_lm, batch):
    length = batch.ids.shape[1]
    mask = torch.zeros(len(batch.ids), 1, length, length)
    with (
        pytest.raises(GlossaeError, match=r"^edit: the attention mask has to be \(batch, seq\)"),
        edit(tiny_lm, RESID, torch.clone),
    ):
        tiny_lm.model(batch.ids, attention_mask=mask)


# ---- coming and going


def test_edits_nest_and_the_inner_one_sees_what_the_outer_left(tiny_lm, batch):
    with edit(tiny_lm, RESID, lambda x: 3 * x + 1):
        once = logits(tiny_lm, batch)
    with edit(tiny_lm, RESID, lambda x: 3 * x), edit(tiny_lm, RESID, lambda x: x + 1):
        nested = logits(tiny_lm, batch)
        with edit(tiny_lm, Site("mlp.hidden", 2), torch.zeros_like):
            deeper = logits(tiny_lm, batch)
        assert torch.equal(logits(tiny_lm, batch), nested)
    torch.testing.assert_close(once, nested)
    assert not torch.allclose(deeper, nested)


def test_the_edit_is_gone_after_the_block(tiny_lm, batch, count_hooks):
    before, hooks = logits(tiny_lm, batch), count_hooks(tiny_lm.model)
    with edit(tiny_lm, RESID, double):
        assert count_hooks(tiny_lm.model) > hooks
    assert count_hooks(tiny_lm.model) == hooks
    assert torch.equal(logits(tiny_lm, batch), before)


def test_the_edit_is_gone_after_an_exception_in_the_block(tiny_lm, batch, count_hooks):
    before, hooks = logits(tiny_lm, batch), count_hooks(tiny_lm.model)
    with pytest.raises(KeyError), edit(tiny_lm, RESID, double):
        raise KeyError
    assert count_hooks(tiny_lm.model) == hooks
    assert torch.equal(logits(tiny_lm, batch), before)


def test_the_edit_is_gone_after_an_exception_in_the_edit(tiny_lm, batch, count_hooks):
    def fail(x):
        raise KeyError

    before, hooks = logits(tiny_lm, batch), count_hooks(tiny_lm.model)
    with pytest.raises(KeyError), edit(tiny_lm, RESID, fail):
        logits(tiny_lm, batch)
    assert count_hooks(tiny_lm.model) == hooks
    assert torch.equal(logits(tiny_lm, batch), before)


# ---- where it works


def test_it_works_in_sentence_losses(tiny_lm, tiny_tokens):
    plain = sentence_losses(tiny_lm, tiny_tokens)
    with edit(tiny_lm, RESID, torch.clone):
        same = sentence_losses(tiny_lm, tiny_tokens)
    with edit(tiny_lm, RESID, double):
        batched = sentence_losses(tiny_lm, tiny_tokens)
        alone = [sentence_losses(tiny_lm, tiny_tokens.take([i]))[0] for i in range(5)]
    np.testing.assert_allclose(same, plain, atol=1e-5)
    assert np.abs(batched - plain).min() > 1e-4
    np.testing.assert_allclose(batched[:5], alone, rtol=1e-4)


def test_it_works_in_activations_above_it(tiny_lm, batch):
    (plain,) = activations(tiny_lm, [batch], [RESID, Site("resid", 0)])
    with edit(tiny_lm, Site("resid", 0), double):
        (edited,) = activations(tiny_lm, [batch], [RESID, Site("resid", 0)])
    assert torch.equal(edited.sites[Site("resid", 0)], 2 * plain.sites[Site("resid", 0)])
    assert not torch.allclose(edited.sites[RESID], plain.sites[RESID])


def generated_by_hand(lm, ids, steps):
    """Greedy continuation, the whole text anew at every step."""
    for _ in range(steps):
        with torch.no_grad():
            best = lm.model(ids, use_cache=False).logits[0, -1].argmax()
        ids = torch.cat([ids, best[None, None]], dim=1)
    return ids


def generate(lm, ids, mask, steps, **options):
    return lm.model.generate(
        ids,
        attention_mask=mask.long(),
        min_new_tokens=steps,
        max_new_tokens=steps,
        do_sample=False,
        pad_token_id=0,
        **options,
    )


@pytest.fixture
def without_end(tiny_lm, monkeypatch):
    """No token ends a text, so that greedy by hand and by `generate` are the same length."""
    monkeypatch.setattr(tiny_lm.model.generation_config, "eos_token_id", None)


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("name", SITE_NAMES)
def test_it_works_in_generate(tiny_lm, tiny_tokens, without_end, name, use_cache):
    ids = torch.from_numpy(tiny_tokens.ids[0])[None]
    plain = generate(tiny_lm, ids, torch.ones_like(ids), 8, use_cache=use_cache)
    with edit(tiny_lm, Site(name, 1), push):
        expected = generated_by_hand(tiny_lm, ids, 8)
        steered = generate(tiny_lm, ids, torch.ones_like(ids), 8, use_cache=use_cache)
    assert torch.equal(steered, expected)
    assert not torch.equal(steered, plain)


@pytest.mark.parametrize("use_cache", [True, False])
def test_it_works_in_a_left_padded_generate(tiny_lm, tiny_tokens, without_end, use_cache):
    prompts = [torch.from_numpy(tiny_tokens.ids[i]) for i in np.argsort(tiny_tokens.lengths)[[0, 20, -1]]]
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.stack([torch.nn.functional.pad(p, (longest - len(p), 0)) for p in prompts])
    mask = torch.stack([torch.arange(longest) >= longest - len(p) for p in prompts])
    edited = []

    def push_and_count(x):
        edited.append(len(x))
        return push(x)

    with edit(tiny_lm, RESID, push_and_count):
        together = generate(tiny_lm, ids, mask, 6, use_cache=use_cache)
    tokens = int(mask.sum())
    assert edited == [tokens] + ([3] * 5 if use_cache else [tokens + 3 * step for step in range(1, 6)])
    with edit(tiny_lm, RESID, push):
        for row, prompt in zip(together, prompts, strict=True):
            alone = generated_by_hand(tiny_lm, prompt[None], 6)[0]
            assert row[longest:].tolist() == alone[len(prompt) :].tolist()


def test_it_works_in_continue_prompts(tiny_lm):
    plain = continue_prompts(tiny_lm, ["Pigen på øen"])
    with edit(tiny_lm, RESID, push):
        steered = continue_prompts(tiny_lm, ["Pigen på øen"])
    assert plain != steered
    assert continue_prompts(tiny_lm, ["Pigen på øen"]) == plain
