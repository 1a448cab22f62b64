"""Replayed edits give what full passes give, in every family and at every site, and compute less."""

import numpy as np
import pytest
import torch

from glossae.errors import GlossaeError
from glossae.lm import (
    POSITIONS,
    SITE_NAMES,
    Site,
    edit,
    load,
    pad,
    replay,
    replayed,
    replayed_losses,
    sentence_losses,
    tokenize,
)
from tiny_families import FAMILIES, LAYERS, write_family

RESID = Site("resid", 1)
ALL_SITES = [Site(name, layer) for name in SITE_NAMES for layer in range(LAYERS)]
# some sentences are longer than the windows that slide, and batches of 40 are padded
LENGTHS = [3, 17, 9, 9, 25, 2]


def push(x):
    # not a multiple of x: a layer norm would undo that
    return x + 3 * torch.linspace(-1, 1, x.shape[1])


def double(x):
    return 2 * x


def overwrite(x):
    """Writes into what it is given."""
    return x.zero_()


@pytest.fixture(scope="module", params=FAMILIES)
def lm(request, tmp_path_factory, tiny_tokenizer):
    """A random model of each family."""
    return load(str(write_family(tmp_path_factory.mktemp("family"), request.param, tiny_tokenizer)))


@pytest.fixture(scope="module")
def tokens(random_tokens):
    """Sentences of several lengths."""
    return random_tokens(LENGTHS)


def full_passes(lm, site, tokens, fns, positions="all", budget=40):
    rows = []
    for fn in fns:
        if fn is None:
            rows.append(sentence_losses(lm, tokens, budget=budget))
        else:
            with edit(lm, site, fn, positions=positions):
                rows.append(sentence_losses(lm, tokens, budget=budget))
    return np.stack(rows)


def untouched(model):
    return not any("forward" in vars(module) for module in model.modules())


def softmaxes(lm, batch):
    with torch.no_grad():
        logits = lm.model(batch.ids, attention_mask=batch.mask.long()).logits.double()
    return logits.log_softmax(-1)


# ---- the same numbers


@pytest.mark.parametrize("name", SITE_NAMES)
def test_losses_are_those_of_full_passes(lm, tokens, count_hooks, name):
    hooks = count_hooks(lm.model)
    for layer in range(LAYERS):
        found = replayed_losses(lm, Site(name, layer), tokens, [push, None])
        expected = full_passes(lm, Site(name, layer), tokens, [push, None], budget=4096)
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-5)
        assert np.median(np.abs(expected[0] - expected[1])) > 1e-2
    assert count_hooks(lm.model) == hooks
    assert untouched(lm.model)


@pytest.mark.parametrize("site", ALL_SITES, ids=str)
def test_and_batch_after_batch(tiny_lm, tokens, site):
    fns = [push, None, double, push]
    found = replayed_losses(tiny_lm, site, tokens, fns, budget=40)
    np.testing.assert_allclose(found, full_passes(tiny_lm, site, tokens, fns), atol=1e-4, rtol=1e-5)
    assert np.array_equal(found[0], found[3])


@pytest.mark.parametrize("positions", POSITIONS)
def test_positions_are_those_of_full_passes(tiny_lm, tokens, positions):
    fns = [push, None, double]
    found = replayed_losses(tiny_lm, RESID, tokens, fns, positions=positions, budget=40)
    np.testing.assert_allclose(found, full_passes(tiny_lm, RESID, tokens, fns, positions), atol=1e-4)


def test_each_edit_has_its_own_positions(tiny_lm, tokens):
    places = ["last", "all", "not_first"]
    found = replayed_losses(tiny_lm, RESID, tokens, [push] * 3, positions=places, budget=40)
    for row, place in zip(found, places, strict=True):
        np.testing.assert_allclose(row, full_passes(tiny_lm, RESID, tokens, [push], place)[0], atol=1e-4)


@pytest.mark.parametrize("site", [RESID, Site("mlp.hidden", 1), Site("attn.out", 0)], ids=str)
def test_an_edit_that_overwrites_its_argument_reaches_no_other(tiny_lm, tokens, site):
    fns = [overwrite, push, overwrite, None, double]
    found = replayed_losses(tiny_lm, site, tokens, fns, budget=40)
    np.testing.assert_allclose(found, full_passes(tiny_lm, site, tokens, fns), atol=1e-4)


@pytest.mark.parametrize(
    "other", [Site("resid", 0), Site("resid", 1), Site("mlp.hidden", 1), Site("attn.out", 2)], ids=str
)
@pytest.mark.parametrize("site", [RESID, Site("mlp.out", 1)], ids=str)
def test_inside_an_edit_that_edit_is_part_of_the_model(tiny_lm, tokens, site, other):
    fns = [push, None, double]
    with edit(tiny_lm, other, push, positions="not_first"):
        found = replayed_losses(tiny_lm, site, tokens, fns, budget=40)
        np.testing.assert_allclose(found, full_passes(tiny_lm, site, tokens, fns), atol=1e-4)


def test_it_works_in_half_precision(tiny_model, tokens):
    lm = load(str(tiny_model), dtype=torch.bfloat16)
    found = replayed_losses(lm, RESID, tokens, [push, None], budget=40)
    np.testing.assert_allclose(found, full_passes(lm, RESID, tokens, [push, None]), rtol=1e-3)


# ---- less work


@pytest.mark.parametrize("name", SITE_NAMES)
def test_what_lies_below_the_site_is_run_once_a_batch(lm, tokens, monkeypatch, name):
    """By the linear maps that are computed; in GPT-2 only the unembedding is one, whose blocks have Conv1D."""
    calls, marks = [], []
    linear, addmm = torch.nn.functional.linear, torch.addmm
    monkeypatch.setattr(torch.nn.functional, "linear", lambda *a: calls.append(0) or linear(*a))
    monkeypatch.setattr(torch, "addmm", lambda *a: calls.append(0) or addmm(*a))
    batch, site = pad(tokens, np.array([0, 1])), Site(name, 1)
    with replay(lm, site) as run:
        handles = [
            handle
            for block in lm.blocks[:2]
            for handle in (
                block.register_forward_pre_hook(lambda *_: marks.append(len(calls))),
                block.register_forward_hook(lambda *_: marks.append(len(calls))),
            )
        ]
        run.begin(batch)
        for handle in handles:
            handle.remove()
        counts = [len(calls)]
        for fn in (push, double):
            calls.clear()
            run.under(fn)
            counts.append(len(calls))
    # a hybrid's layers differ
    below, own = marks[1] - marks[0], marks[3] - marks[2]
    assert min(below, own) >= 4
    # two of three blocks are below or at the site; what maps embeddings (OPT 350M) is run every time
    spared = {"resid": below + own, "mlp.out": below + own, "mlp.hidden": below + own - 1}
    if name in spared:
        assert counts[0] - counts[1] == spared[name]
    else:
        # the attention's maps of its own block at least, whichever comes behind it
        assert below < counts[0] - counts[1] < below + own - 1
    assert counts[1] == counts[2]


@pytest.mark.parametrize(
    "site", [Site(name, layer) for name in SITE_NAMES[1:] for layer in range(LAYERS)], ids=str
)
def test_layers_that_share_the_keys_and_values_of_one_below_get_them(shared_states, random_tokens, site):
    batch = pad(random_tokens(LENGTHS), np.array([0, 1]))
    with replay(shared_states, site) as run:
        run.begin(batch)
        found = run.under(push)
    with edit(shared_states, site, push), torch.no_grad():
        full = shared_states.model(batch.ids, attention_mask=batch.mask.long(), use_cache=False).logits
    torch.testing.assert_close(found, full[:, :-1][batch.mask[:, 1:]], atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def shared_states(tmp_path_factory, tiny_tokenizer):
    """A Gemma 4 whose last layer has no keys and values of its own, and which has per-layer inputs."""
    folder = tmp_path_factory.mktemp("shared")
    more = {"num_kv_shared_layers": 1, "use_double_wide_mlp": True, "hidden_size_per_layer_input": 8}
    return load(str(write_family(folder, "gemma4_text", tiny_tokenizer, **more)))


def test_without_the_models_own_losses_nothing_above_the_site_is_run_first(tiny_lm, tokens):
    counts = {"above": 0, "below": 0}

    def counted(name):
        def count(*_):
            counts[name] += 1

        return count

    handles = [
        tiny_lm.blocks[2].mlp.register_forward_hook(counted("above")),
        tiny_lm.blocks[0].mlp.register_forward_hook(counted("below")),
    ]
    replayed_losses(tiny_lm, RESID, tokens, [push, double, push], budget=4096)
    assert counts == {"above": 3, "below": 1}
    replayed_losses(tiny_lm, RESID, tokens, [push, None], budget=4096)
    assert counts == {"above": 5, "below": 2}
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


@pytest.mark.parametrize("positions", ["all", "not_first"])
def test_side_effects_are_what_they_are_by_hand(tiny_lm, tokens, positions):
    site, fns = Site("mlp.out", 1), [push, None, double]
    found = replayed(tiny_lm, site, tokens, fns, positions=positions, side_effects=True, budget=40)
    effects = found.side_effects
    np.testing.assert_allclose(
        found.losses, full_passes(tiny_lm, site, tokens, fns, positions), atol=1e-4, rtol=1e-5
    )
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
    whole, some = (
        replayed(tiny_lm, RESID, tokens, fns, side_effects=which, budget=40) for which in (True, asked)
    )
    np.testing.assert_array_equal(some.losses, whole.losses)
    for name in ("kl", "agreed"):
        found, all_of_them = (getattr(each.side_effects, name) for each in (some, whole))
        np.testing.assert_allclose(found[:, asked], all_of_them[:, asked], rtol=1e-6)
        assert not found[:, ~asked].any()
    # how far the site is moved is known of all
    np.testing.assert_array_equal(some.side_effects.moved, whole.side_effects.moved)


def test_losses_alone_have_no_side_effects(tiny_lm, tokens):
    assert replayed(tiny_lm, RESID, tokens, [push]).side_effects is None


# ---- by hand, and what goes wrong


def test_batches_follow_each_other(tiny_lm, tokens):
    with replay(tiny_lm, Site("mlp.hidden", 1)) as run:
        for numbers in ([0, 1], [4], [2, 3, 5]):
            batch = pad(tokens, np.array(numbers))
            plain = run.begin(batch)
            with edit(tiny_lm, Site("resid", 2), torch.clone):
                torch.testing.assert_close(run.under(torch.clone), plain, atol=1e-5, rtol=1e-5)
            assert run.tokens() is run.tokens()
            assert len(run.tokens("last")) == len(numbers)
            assert run.begin(batch, logits=False) is None
            assert run.under(torch.clone).shape == plain.shape
        # passes beside the replay are the model's own
        np.testing.assert_allclose(
            sentence_losses(tiny_lm, tokens), sentence_losses(tiny_lm, tokens), atol=1e-6
        )


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


@pytest.mark.parametrize("layer", range(LAYERS))
@pytest.mark.parametrize("name", SITE_NAMES)
def test_a_module_may_be_called_by_many_and_often(tiny_model, tokens, name, layer):
    lm = load(str(tiny_model))
    shared = torch.nn.GELU()
    for block in lm.blocks:
        block.mlp.act = shared
        block.mlp.dense_h_to_4h = torch.nn.Sequential(
            Twice(shared, torch.nn.Linear(32, 32)), block.mlp.dense_h_to_4h
        )
    found = replayed_losses(lm, Site(name, layer), tokens, [push, None, double], budget=40)
    expected = full_passes(lm, Site(name, layer), tokens, [push, None, double])
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-5)


class Overwriting(torch.nn.Module):
    """Writes into what came before it."""

    def forward(self, x):
        return x.mul_(0.5)


def test_modules_may_write_into_what_others_gave(tiny_model, tokens):
    lm = load(str(tiny_model))
    for block in lm.blocks:
        block.mlp.act = Overwriting()
        block.post_attention_dropout = Overwriting()
    for site in ALL_SITES:
        found = replayed_losses(lm, site, tokens, [push, None, double], budget=40)
        np.testing.assert_allclose(
            found, full_passes(lm, site, tokens, [push, None, double]), atol=1e-4, rtol=1e-5
        )


def test_what_cannot_be_replayed_is_refused(tiny_lm, tokens):
    with pytest.raises(GlossaeError, match=r"^layer: .* has the layers 0 to 2, and 7 is not one"):
        replayed_losses(tiny_lm, Site("resid", 7), tokens, [push])
    with pytest.raises(GlossaeError, match=r"^edit: resid of layer 1: the shape .* became"):
        replayed_losses(tiny_lm, RESID, tokens, [lambda x: x[:, 1:]])
    with pytest.raises(GlossaeError, match=r"^replay: 2 edits but 1 positions$"):
        replayed_losses(tiny_lm, RESID, tokens, [push, push], positions=["all"])
    with replay(tiny_lm, RESID) as run, pytest.raises(GlossaeError, match="^replay: .* no batch was begun$"):
        run.under(push)
    assert untouched(tiny_lm.model)


def test_no_edits_and_no_text_are_no_trouble(tiny_lm, tokens):
    assert replayed_losses(tiny_lm, RESID, tokens, []).shape == (0, len(LENGTHS))
    assert replayed_losses(tiny_lm, RESID, tokens.take([]), [push]).shape == (1, 0)


def test_progress_comes_to_its_end(tiny_lm, tokens):
    done = []
    replayed_losses(tiny_lm, RESID, tokens, [push, None], budget=40, progress=done.append)
    assert done == sorted(done)
    assert done[-1] == 1.0


@pytest.mark.parametrize("name", ["resid", "mlp.hidden"])
def test_texts_that_an_edit_does_not_touch_keep_the_models_own_loss(tiny_lm, tiny_corpus, name):
    tokens, site = tokenize(tiny_lm, tiny_corpus), Site(name, 0)
    calls = []

    def sometimes(x):
        # tokens whose first value is among the largest, which are in some texts only
        calls.append(len(x))
        return torch.where(x[:, :1] > x[:, 0].quantile(0.98), x * 0.5, x)

    raw, edited = replayed_losses(tiny_lm, site, tokens, [None, sometimes], budget=128)
    (every,) = replayed_losses(tiny_lm, site, tokens, [sometimes], budget=128)
    np.testing.assert_allclose(edited, every, rtol=1e-5)
    same = np.isclose(every, raw, rtol=1e-6, atol=0)
    assert 0 < same.sum() < len(tokens)
    assert (edited == raw).sum() > 0
    still, none = replayed_losses(tiny_lm, site, tokens, [None, lambda x: x.clone()])
    np.testing.assert_array_equal(still, none)
