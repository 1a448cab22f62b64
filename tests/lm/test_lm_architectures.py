"""Every family in the table: its sites are the tensors they say they are, and edits and streams work on them."""

import numpy as np
import pytest
import torch

from glossae.lm import ARCHITECTURES, SITE_NAMES, Site, activations, batches, edit, load, pad, sentence_losses
from tiny_families import FAMILIES, HIDDEN, LAYERS, POSITIONS, WIDTH, write_family

ALL_SITES = [Site(name, layer) for name in SITE_NAMES for layer in range(LAYERS)]
# some sentences are longer than the windows that slide
LENGTHS = [3, 17, 9, 9, 25]


@pytest.fixture(scope="module", params=FAMILIES)
def made(request, tmp_path_factory, tiny_tokenizer):
    """Each family in turn, and a random model of it."""
    lm = load(str(write_family(tmp_path_factory.mktemp("family"), request.param, tiny_tokenizer)))
    # no token ends a text, so that greedy by hand and by `generate` are the same length
    lm.model.generation_config.eos_token_id = None
    return FAMILIES[request.param], lm


@pytest.fixture(scope="module")
def lm(made):
    """The random model."""
    return made[1]


@pytest.fixture(scope="module")
def tokens(random_tokens):
    """Sentences of several lengths."""
    return random_tokens(LENGTHS)


@pytest.fixture
def hooked():
    """A function that hooks a module, for this test only."""
    handles = []

    def hook(module, before=None, after=None):
        if before is not None:
            handles.append(module.register_forward_pre_hook(lambda _m, args: before(args[0])))
        if after is not None:
            handles.append(
                module.register_forward_hook(
                    lambda _m, _a, out: after(out[0] if isinstance(out, tuple) else out)
                )
            )

    yield hook
    for handle in handles:
        handle.remove()


def push(x):
    # not a multiple of x: a layer norm would undo that
    return x + 3 * torch.linspace(-1, 1, x.shape[1])


@torch.no_grad()
def logits(lm, ids, mask=None, **options):
    mask = None if mask is None else mask.long()
    return lm.model(input_ids=ids, attention_mask=mask, use_cache=False, **options).logits


def left_padded(tokens):
    """The sentences as one batch with its pads on the left: ids, mask, and the positions of the tokens."""
    longest = max(map(len, tokens.ids))
    ids = np.stack([np.pad(row, (longest - len(row), 0)) for row in tokens.ids])
    mask = np.stack([np.arange(longest) >= longest - len(row) for row in tokens.ids])
    positions = (mask.cumsum(1) - 1).clip(min=0)
    return torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(positions)


def test_every_family_of_the_table_is_here():
    assert {name.partition(",")[0] for name in FAMILIES} == set(ARCHITECTURES)


def test_windows_caps_and_tied_embeddings_are_among_them(load_family):
    lm = load_family("gemma2")
    assert lm.model.get_output_embeddings().weight is lm.model.get_input_embeddings().weight
    assert lm.model.config.sliding_window < max(LENGTHS)
    ids = torch.arange(1, 12)[None]
    capped = logits(lm, ids)
    assert capped.abs().max() < 3
    for block in lm.blocks:
        block.self_attn.attn_logit_softcapping = None
    assert (logits(lm, ids) - capped).abs().max() > 1e-3


# ---- the tensors


def test_shapes_are_known(lm):
    assert (lm.layers, lm.max_positions) == (LAYERS, POSITIONS)
    assert lm.widths == {"mlp.hidden": HIDDEN, "mlp.out": WIDTH, "attn.out": WIDTH, "resid": WIDTH}


@torch.no_grad()
def test_sites_equal_the_familys_own_formulas(made, tokens, hooked):
    family, lm = made
    entered, left = [], []
    for block in lm.blocks:
        hooked(block, entered.append, left.append)
    batch = pad(tokens, np.array([1]))
    logits(lm, batch.ids)
    (streamed,) = activations(lm, [batch], ALL_SITES)
    for layer, block in enumerate(lm.blocks):
        hidden, mlp, attn, resid = (streamed.sites[Site(name, layer)] for name in SITE_NAMES)
        x = entered[layer][0]
        close = {"atol": 1e-4, "rtol": 1e-4}
        torch.testing.assert_close(resid, left[layer][0], **close)
        torch.testing.assert_close(hidden, family.hidden(block, x, attn), **close)
        torch.testing.assert_close(mlp, family.written(block, hidden), **close)
        torch.testing.assert_close(resid, family.left(block, x, attn, mlp), **close)
        # tensors so small that they would be close to anything prove nothing
        assert min(tensor.abs().max() for tensor in (hidden, mlp, attn, resid)) > 0.05


def test_each_layer_leaves_what_the_next_one_gets(lm, tokens, hooked):
    batch = pad(tokens, np.array([1]))
    entered = []
    for block in lm.blocks[1:]:
        hooked(block, entered.append)
    sites = [Site("resid", layer) for layer in range(LAYERS)]
    (streamed,) = activations(lm, [batch], sites)
    for site, x in zip(sites, entered, strict=False):
        assert torch.equal(streamed.sites[site], x[0])


# ---- streams


def test_batched_equals_one_by_one(lm, tokens):
    losses = sentence_losses(lm, tokens, budget=60)
    found = {}
    for part in activations(lm, batches(tokens, 60), ALL_SITES):
        for number in part.sentence.unique().tolist():
            found[number] = {site: x[part.sentence == number] for site, x in part.sites.items()}
    for number, ids in enumerate(tokens.ids):
        (alone,) = activations(lm, [pad(tokens, np.array([number]))], ALL_SITES)
        for site in ALL_SITES:
            torch.testing.assert_close(found[number][site], alone.sites[site], atol=1e-4, rtol=1e-4)
        ids = torch.from_numpy(ids)
        by_hand = torch.nn.functional.cross_entropy(logits(lm, ids[None])[0, :-1], ids[1:], reduction="sum")
        assert losses[number] == pytest.approx(float(by_hand), rel=1e-4)


@pytest.mark.parametrize("deepest", [0, 1, 2])
def test_blocks_above_the_deepest_site_are_not_run(lm, tokens, hooked, deepest):
    calls = dict.fromkeys([*range(LAYERS), "unembedding"], 0)

    def counted(name):
        def count(_x):
            calls[name] += 1

        return count

    for layer, block in enumerate(lm.blocks):
        hooked(block, counted(layer))
    hooked(lm.model.get_output_embeddings(), counted("unembedding"))
    for name in SITE_NAMES:
        list(activations(lm, [pad(tokens, np.array([0]))], [Site(name, deepest), Site("resid", 0)]))
    passes = len(SITE_NAMES)
    assert calls == {layer: passes if layer <= deepest else 0 for layer in range(LAYERS)} | {"unembedding": 0}


# ---- edits


@pytest.mark.parametrize("site", ALL_SITES, ids=str)
def test_an_identity_edit_changes_nothing_and_another_does(lm, tokens, count_hooks, site):
    batch, hooks = pad(tokens, np.array([0, 1])), count_hooks(lm.model)
    before = logits(lm, batch.ids, batch.mask)
    with edit(lm, site, torch.clone):
        same = logits(lm, batch.ids, batch.mask)
    with edit(lm, site, push):
        other = logits(lm, batch.ids, batch.mask)
    assert torch.equal(same, before)
    assert (other - before)[batch.mask].abs().max() > 1e-3
    assert torch.equal(logits(lm, batch.ids, batch.mask), before)
    assert count_hooks(lm.model) == hooks


@pytest.mark.parametrize("name", SITE_NAMES)
def test_an_edit_is_what_is_streamed_from_then_on(lm, tokens, name):
    site = Site(name, 1)
    rows = [pad(tokens, np.array([0, 1]))]
    (plain,) = activations(lm, rows, [site])
    with edit(lm, site, push):
        (edited,) = activations(lm, rows, [site])
    assert torch.equal(edited.sites[site], push(plain.sites[site]))


@pytest.mark.parametrize("name", SITE_NAMES)
def test_pads_on_either_side_change_no_edited_pass(lm, tokens, name):
    right = pad(tokens, np.arange(len(tokens)))
    ids, mask, positions = left_padded(tokens)
    seen = []

    def push_and_count(x):
        seen.append(len(x))
        return push(x)

    with edit(lm, Site(name, 1), push_and_count):
        on_the_right = logits(lm, right.ids, right.mask)
        on_the_left = logits(lm, ids, mask, position_ids=positions)
        assert seen == [sum(LENGTHS)] * 2
        for row, text in enumerate(tokens.ids):
            alone = logits(lm, torch.from_numpy(text)[None])[0]
            torch.testing.assert_close(on_the_right[row, : len(text)], alone, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(on_the_left[row, -len(text) :], alone, atol=1e-4, rtol=1e-4)


def test_edited_losses_are_those_of_each_sentence_alone(lm, tokens):
    plain = sentence_losses(lm, tokens)
    with edit(lm, Site("mlp.hidden", 1), push):
        together = sentence_losses(lm, tokens)
        alone = [sentence_losses(lm, tokens.take([i]))[0] for i in range(len(tokens))]
    np.testing.assert_allclose(together, alone, rtol=1e-4)
    assert np.abs(together - plain).min() > 1e-3


@pytest.mark.parametrize("name", SITE_NAMES)
@pytest.mark.parametrize("use_cache", [True, False])
def test_edits_and_padding_in_generate(lm, tokens, name, use_cache):
    ids, mask, _ = left_padded(tokens)
    with edit(lm, Site(name, 1), push):
        generated = lm.model.generate(
            ids,
            attention_mask=mask.long(),
            max_new_tokens=5,
            do_sample=False,
            pad_token_id=0,
            use_cache=use_cache,
        )
        for row, text in zip(generated, tokens.ids, strict=True):
            # greedy by hand, without pads, the whole text anew at every step
            by_hand = torch.from_numpy(text)[None]
            for _ in range(5):
                best = logits(lm, by_hand)[0, -1].argmax()
                by_hand = torch.cat([by_hand, best[None, None]], 1)
            assert row[-5:].tolist() == by_hand[0, -5:].tolist()


# ---- what is one family's own


@pytest.fixture(scope="module")
def load_family(tmp_path_factory, tiny_tokenizer):
    """A function that makes a random model of a family and loads it."""

    def make(name, **changes):
        return load(str(write_family(tmp_path_factory.mktemp("family"), name, tiny_tokenizer, **changes)))

    return make


@pytest.mark.parametrize(("name", "look"), [("mlp.hidden", "before"), ("mlp.out", "after")])
def test_opt_flattens_and_pads_keep_their_tensor_bit_for_bit(load_family, tokens, hooked, name, look):
    lm, batch = load_family("opt"), pad(tokens, np.array([0, 1]))
    plain, edited = [], []
    hooked(lm.blocks[1].fc2, **{look: plain.append})
    logits(lm, batch.ids, batch.mask)
    with edit(lm, Site(name, 1), push):
        # this hook stands behind the edit's
        hooked(lm.blocks[1].fc2, **{look: edited.append})
        logits(lm, batch.ids, batch.mask)
    mask = batch.mask.flatten()
    assert edited[0].shape == plain[0].shape == (batch.mask.numel(), lm.widths[name])
    assert torch.equal(edited[0][~mask], plain[0][~mask])
    assert torch.equal(edited[0][mask], push(plain[0][mask]))


@pytest.mark.parametrize(("name", "place"), [("gpt2", 2), ("opt", 1), ("llama", 1)])
def test_the_mask_may_be_given_by_position(load_family, tokens, name, place):
    lm, batch = load_family(name), pad(tokens, np.array([0, 1]))
    seen = []
    with edit(lm, Site("resid", 1), lambda x: seen.append(len(x)) or x), torch.no_grad():
        for model in (lm.model, lm.model.base_model):
            model(batch.ids, *[None] * (place - 1), batch.mask.long())
    assert seen == [int(batch.mask.sum())] * 2


def test_a_left_padded_plain_pass_needs_positions_where_they_are_learned(load_family, tokens):
    # what the edit's docstring says of transformers
    ids, mask, positions = left_padded(tokens)
    for name, learned in (("gpt2", True), ("gpt_neo", True), ("opt", False), ("llama", False)):
        lm = load_family(name)
        without, given = logits(lm, ids, mask), logits(lm, ids, mask, position_ids=positions)
        assert torch.allclose(without[mask], given[mask], atol=1e-4) is not learned


@torch.no_grad()
def test_gemma_4s_per_layer_input_comes_after_what_the_sites_add(load_family, tokens, hooked):
    lm = load_family("gemma4_text", hidden_size_per_layer_input=8)
    lm.blocks[1].layer_scalar.fill_(0.7)
    entered, gated, left = [], [], []
    hooked(lm.blocks[1], entered.append, left.append)
    hooked(lm.blocks[1].per_layer_input_gate, gated.append)
    batch = pad(tokens, np.array([1]))
    logits(lm, batch.ids)
    (streamed,) = activations(lm, [batch], ALL_SITES)
    mlp, attn, resid = (streamed.sites[Site(name, 1)] for name in SITE_NAMES[1:])
    torch.testing.assert_close(gated[0][0], entered[0][0] + attn + mlp, atol=1e-5, rtol=1e-5)
    assert torch.equal(resid, left[0][0])
    assert not torch.allclose(resid, 0.7 * gated[0][0], atol=1e-2)


def test_a_gemma_4_with_mlps_of_two_widths_has_no_mlp_hidden(load_family):
    more = {"num_kv_shared_layers": 1, "use_double_wide_mlp": True, "hidden_size_per_layer_input": 8}
    lm = load_family("gemma4_text", **more)
    assert lm.widths == {"mlp.out": WIDTH, "attn.out": WIDTH, "resid": WIDTH}


def test_attention_lies_where_each_layer_of_a_hybrid_has_it(load_family):
    lm = load_family("qwen3_5_text")
    modules = [lm.tap(Site("attn.out", layer)).module for layer in range(LAYERS)]
    blocks = lm.blocks
    assert modules == [
        blocks[0].linear_attn.out_proj,
        blocks[1].self_attn.o_proj,
        blocks[2].linear_attn.out_proj,
    ]
