"""Replayed edits give what full passes give, and compute less; every family's are in `test_lm_families`."""

import numpy as np
import pytest
import torch

from glossae.errors import GlossaeError
from glossae.lm import (
    POSITIONS,
    SITE_NAMES,
    Site,
    edit,
    final_states,
    load,
    pad,
    replay,
    replayed,
    replayed_losses,
    sentence_losses,
    tokenize,
)
from tiny_families import LAYERS, push

RESID = Site("resid", 1)
ALL_SITES = [Site(name, layer) for name in SITE_NAMES for layer in range(LAYERS)]
# batches of 40 are padded
LENGTHS = [3, 17, 9, 9, 25, 2]


def double(x):
    return 2 * x


def overwrite(x):
    """Writes into what it is given."""
    return x.zero_()


@pytest.fixture(scope="module")
def tokens(random_tokens):
    return random_tokens(LENGTHS)


def full_passes(lm, site, tokens, fns, positions="all"):
    rows = []
    for fn in fns:
        with edit(lm, site, fn or torch.clone, positions=positions):
            rows.append(sentence_losses(lm, tokens, budget=40))
    return np.stack(rows)


def assert_as_full_passes(lm, site, tokens, fns, positions="all", rtol=1e-5):
    found = replayed_losses(lm, site, tokens, fns, positions=positions, budget=40)
    expected = full_passes(lm, site, tokens, fns, positions)
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=rtol)
    return found


def untouched(model):
    return not any("forward" in vars(module) for module in model.modules())


# ---- the same numbers


@pytest.mark.parametrize("site", ALL_SITES, ids=str)
def test_losses_are_those_of_full_passes_batch_after_batch(tiny_lm, tokens, site):
    found = assert_as_full_passes(tiny_lm, site, tokens, [push, overwrite, None, double, push])
    assert np.array_equal(found[0], found[4])


@pytest.mark.parametrize("positions", POSITIONS)
def test_positions_are_those_of_full_passes(tiny_lm, tokens, positions):
    assert_as_full_passes(tiny_lm, RESID, tokens, [push, None, double], positions)


def test_each_edit_has_its_own_positions(tiny_lm, tokens):
    places = ["last", "all", "not_first"]
    found = replayed_losses(tiny_lm, RESID, tokens, [push] * 3, positions=places, budget=40)
    for row, place in zip(found, places, strict=True):
        np.testing.assert_allclose(row, full_passes(tiny_lm, RESID, tokens, [push], place)[0], atol=1e-4)


@pytest.mark.parametrize(
    "other", [Site("resid", 0), RESID, Site("mlp.hidden", 1), Site("attn.out", 2)], ids=str
)
@pytest.mark.parametrize("site", [RESID, Site("mlp.out", 1)], ids=str)
def test_inside_an_edit_that_edit_is_part_of_the_model(tiny_lm, tokens, site, other):
    with edit(tiny_lm, other, push, positions="not_first"):
        assert_as_full_passes(tiny_lm, site, tokens, [push, None, double])


def test_it_works_in_half_precision(tiny_model, tokens):
    lm = load(str(tiny_model), dtype=torch.bfloat16)
    assert_as_full_passes(lm, RESID, tokens, [push, None], rtol=1e-3)


@pytest.mark.parametrize("name", ["resid", "mlp.hidden"])
def test_texts_that_an_edit_does_not_touch_keep_the_models_own_loss(tiny_lm, tiny_corpus, name):
    tokens, site = tokenize(tiny_lm, tiny_corpus), Site(name, 0)

    def sometimes(x):
        # tokens whose first value is among the largest, which are in some texts only
        return torch.where(x[:, :1] > x[:, 0].quantile(0.98), x * 0.5, x)

    raw, edited, still = replayed_losses(tiny_lm, site, tokens, [None, sometimes, torch.clone], budget=128)
    (every,) = replayed_losses(tiny_lm, site, tokens, [sometimes], budget=128)
    np.testing.assert_allclose(edited, every, rtol=1e-5)
    assert 0 < np.isclose(every, raw, rtol=1e-6, atol=0).sum() < len(tokens)
    assert (edited == raw).sum() > 0
    np.testing.assert_array_equal(still, raw)


# ---- less work


def test_without_the_models_own_losses_nothing_above_the_site_is_run_first(tiny_lm, tokens):
    calls = {0: 0, 2: 0}

    def counted(layer):
        return lambda *_: calls.update({layer: calls[layer] + 1})

    handles = [tiny_lm.blocks[layer].mlp.register_forward_hook(counted(layer)) for layer in calls]
    replayed_losses(tiny_lm, RESID, tokens, [push, double, push], budget=4096)
    assert calls == {0: 1, 2: 3}
    replayed_losses(tiny_lm, RESID, tokens, [push, None], budget=4096)
    assert calls == {0: 2, 2: 5}
    for handle in handles:
        handle.remove()


def test_the_unembedding_sees_predicted_tokens_only(tiny_lm, tokens):
    shapes = []
    handle = tiny_lm.model.get_output_embeddings().register_forward_hook(
        lambda _m, args, _o: shapes.append(tuple(args[0].shape[:2]))
    )
    replayed_losses(tiny_lm, RESID, tokens, [push], budget=4096)
    handle.remove()
    assert shapes == [(1, int(tokens.predicted.sum()))]


# ---- side effects


@torch.no_grad()
def softmaxes(lm, batch):
    return lm.model(batch.ids, attention_mask=batch.mask.long()).logits.double().log_softmax(-1)


@pytest.mark.parametrize("positions", ["all", "not_first"])
def test_side_effects_are_what_they_are_by_hand(tiny_lm, tokens, positions):
    site, fns = Site("mlp.out", 1), [push, None, double]
    found = replayed(tiny_lm, site, tokens, fns, positions=positions, side_effects=True, budget=40)
    effects = found.side_effects
    expected = full_passes(tiny_lm, site, tokens, fns, positions)
    np.testing.assert_allclose(found.losses, expected, atol=1e-4, rtol=1e-5)
    for i in range(len(tokens)):
        batch = pad(tokens, np.array([i]))
        own, seen = softmaxes(tiny_lm, batch), []
        with edit(tiny_lm, site, lambda x, seen=seen: seen.append(x) or x):
            softmaxes(tiny_lm, batch)
        assert effects.size[i] == pytest.approx(float(seen[0].norm(dim=1).sum()), rel=1e-5)
        for number, fn in enumerate(fns):
            fn = fn or torch.clone
            with edit(tiny_lm, site, fn, positions=positions):
                other = softmaxes(tiny_lm, batch)
            kl = (own.exp() * (own - other))[0, :-1].sum()
            assert effects.kl[number, i] == pytest.approx(float(kl), rel=1e-3, abs=1e-4)
            agreed = int((own.argmax(-1) == other.argmax(-1))[0, :-1].sum())
            assert effects.agreed[number, i] == agreed
            x = seen[0][1:] if positions == "not_first" else seen[0]
            moved = (fn(x) - x).norm(dim=1).sum()
            assert effects.moved[number, i] == pytest.approx(float(moved), rel=1e-4, abs=1e-6)
    assert not effects.kl[1].any()
    assert not effects.moved[1].any()
    assert (effects.agreed[1] == tokens.predicted).all()
    # where the first token is left alone, nothing can change what a text of two tokens has to predict
    assert (effects.kl[0] > 0).tolist() == [positions == "all" or length > 2 for length in LENGTHS]


def test_predictions_are_compared_where_they_are_asked_for(tiny_lm, tokens):
    fns, asked = [push, None, double], np.arange(len(tokens)) % 2 == 0
    whole, some, none = (
        replayed(tiny_lm, RESID, tokens, fns, side_effects=which, budget=40) for which in (True, asked, False)
    )
    np.testing.assert_array_equal(some.losses, whole.losses)
    for name in ("kl", "agreed"):
        found, all_of_them = (getattr(each.side_effects, name) for each in (some, whole))
        np.testing.assert_allclose(found[:, asked], all_of_them[:, asked], rtol=1e-6)
        assert not found[:, ~asked].any()
    # how far the site is moved is known of all
    np.testing.assert_array_equal(some.side_effects.moved, whole.side_effects.moved)
    assert none.side_effects is None


# ---- by hand, other readers, and what goes wrong


def test_batches_follow_each_other(tiny_lm, tokens):
    with replay(tiny_lm, Site("mlp.hidden", 1)) as run:
        with pytest.raises(GlossaeError, match="^replay: .* no batch was begun$"):
            run.under(push)
        for numbers in ([0, 1], [4], [2, 3, 5]):
            batch = pad(tokens, np.array(numbers))
            plain = run.begin(batch)
            with edit(tiny_lm, Site("resid", 2), torch.clone):
                torch.testing.assert_close(run.under(torch.clone), plain, atol=1e-5, rtol=1e-5)
            assert run.tokens() is run.tokens()
            assert len(run.tokens("last")) == len(numbers)
            assert run.begin(batch, logits=False) is None
            assert run.under(torch.clone).shape == plain.shape


@pytest.mark.parametrize("site", [Site("resid", 0), Site("resid", 2), Site("mlp.hidden", 1)], ids=str)
@torch.no_grad()
def test_final_states_are_those_of_a_full_pass(tiny_lm, tokens, site):
    batch = pad(tokens, np.arange(4))
    with replay(tiny_lm, site, final_states) as run:
        own, under, again = run.begin(batch), run.under(push), run.under(torch.clone)
    assert torch.equal(own, final_states(tiny_lm, batch))
    torch.testing.assert_close(again[batch.mask], own[batch.mask], atol=1e-5, rtol=0)
    with edit(tiny_lm, site, push):
        full = final_states(tiny_lm, batch)
    torch.testing.assert_close(under[batch.mask], full[batch.mask], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(under[batch.mask], own[batch.mask], atol=1e-2)


@pytest.mark.parametrize("name", SITE_NAMES)
def test_the_model_is_itself_again_after_an_exception(tiny_lm, tokens, count_hooks, name):
    before, hooks = sentence_losses(tiny_lm, tokens), count_hooks(tiny_lm.model)

    def fail(x):
        raise KeyError

    with pytest.raises(KeyError):
        replayed_losses(tiny_lm, Site(name, 1), tokens, [push, fail])
    assert count_hooks(tiny_lm.model) == hooks
    assert untouched(tiny_lm.model)
    assert np.array_equal(sentence_losses(tiny_lm, tokens), before)


def test_a_forward_that_a_library_put_there_is_put_back(tiny_lm, tokens):
    block = tiny_lm.blocks[0]
    own, calls = block.forward, []

    def wrapped(*args, **kwargs):
        calls.append(0)
        return own(*args, **kwargs)

    block.forward = wrapped
    try:
        found = replayed_losses(tiny_lm, RESID, tokens, [push, double])
        assert block.forward is wrapped
        assert len(calls) == 1
    finally:
        del block.forward
    np.testing.assert_allclose(found, full_passes(tiny_lm, RESID, tokens, [push, double]), atol=1e-4)


class Twice(torch.nn.Module):
    """Calls one module by itself, and again inside another."""

    def __init__(self, shared, linear):
        super().__init__()
        self.shared = shared
        self.inner = torch.nn.Sequential(shared, linear)

    def forward(self, x):
        return self.inner(self.shared(x)) + self.shared(2 * x)


class Overwriting(torch.nn.Module):
    """Writes into what came before it."""

    def forward(self, x):
        return x.mul_(0.5)


def test_a_module_may_be_called_by_many_and_often(tiny_model, tokens):
    lm = load(str(tiny_model))
    shared = torch.nn.GELU()
    for block in lm.blocks:
        block.mlp.act = shared
        block.mlp.dense_h_to_4h = torch.nn.Sequential(
            Twice(shared, torch.nn.Linear(32, 32)), block.mlp.dense_h_to_4h
        )
    for site in ALL_SITES[1::3]:
        assert_as_full_passes(lm, site, tokens, [push, None, double])


def test_modules_may_write_into_what_others_gave(tiny_model, tokens):
    lm = load(str(tiny_model))
    for block in lm.blocks:
        block.mlp.act = Overwriting()
        block.post_attention_dropout = Overwriting()
    for site in ALL_SITES[1::3]:
        assert_as_full_passes(lm, site, tokens, [push, None, double])


def test_what_cannot_be_replayed_is_refused(tiny_lm, tokens):
    with pytest.raises(GlossaeError, match=r"^layer: .* has the layers 0 to 2, and 7 is not one"):
        replayed_losses(tiny_lm, Site("resid", 7), tokens, [push])
    with pytest.raises(GlossaeError, match=r"^edit: resid of layer 1: the shape .* became"):
        replayed_losses(tiny_lm, RESID, tokens, [lambda x: x[:, 1:]])
    with pytest.raises(GlossaeError, match=r"^replay: 2 edits but 1 positions$"):
        replayed_losses(tiny_lm, RESID, tokens, [push, push], positions=["all"])
    assert untouched(tiny_lm.model)


def test_no_edits_and_no_text_are_no_trouble_and_progress_comes_to_its_end(tiny_lm, tokens):
    assert replayed_losses(tiny_lm, RESID, tokens, []).shape == (0, len(LENGTHS))
    assert replayed_losses(tiny_lm, RESID, tokens.take([]), [push]).shape == (1, 0)
    done = []
    replayed_losses(tiny_lm, RESID, tokens, [push, None], budget=40, progress=done.append)
    assert done == sorted(done)
    assert done[-1] == 1.0
