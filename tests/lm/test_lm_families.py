"""Every family of models: its sites are the tensors they say they are; streams, edits, replay and gradients work."""

import re

import numpy as np
import pytest
import torch
import transformers
from torch.nn.functional import cross_entropy

from glossae.errors import GlossaeError
from glossae.lm import (
    ARCHITECTURES,
    POSITIONS,
    SITE_NAMES,
    Architecture,
    Place,
    Site,
    activations,
    batches,
    edit,
    gradients,
    load,
    locate,
    logit_effects,
    pad,
    replay,
    replayed_losses,
    sentence_losses,
)
from tiny_families import (
    FAMILIES,
    HIDDEN,
    LAYERS,
    WIDTH,
    columns_of,
    left_padded,
    load_family,
    push,
    write_family,
)
from tiny_families import POSITIONS as MAX_POSITIONS

ALL_SITES = [Site(name, layer) for name in SITE_NAMES for layer in range(LAYERS)]
# some sentences are longer than the windows that slide
LENGTHS = [3, 17, 9, 9, 25, 2]
CLOSE = {"atol": 1e-4, "rtol": 1e-4}


@pytest.fixture(scope="module", params=FAMILIES)
def made(request, tmp_path_factory, tiny_tokenizer):
    """Each family in turn, and a random model of it."""
    lm = load_family(tmp_path_factory.mktemp("family"), request.param, tiny_tokenizer)
    # no token ends a text, so that greedy by hand and by `generate` are the same length
    lm.model.generation_config.eos_token_id = None
    return FAMILIES[request.param], lm


@pytest.fixture(scope="module")
def lm(made):
    return made[1]


@pytest.fixture(scope="module")
def family(tmp_path_factory, tiny_tokenizer):
    """A function that makes and loads a random model of one family."""
    return lambda name, **changes: load_family(
        tmp_path_factory.mktemp("family"), name, tiny_tokenizer, **changes
    )


@pytest.fixture(scope="module")
def tokens(random_tokens):
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


@torch.no_grad()
def logits(lm, ids, mask=None, **options):
    mask = None if mask is None else mask.long()
    return lm.model(input_ids=ids, attention_mask=mask, use_cache=False, **options).logits


def untouched(model):
    return not any("forward" in vars(module) for module in model.modules())


def test_every_family_of_the_table_is_here():
    assert {name.partition(",")[0] for name in FAMILIES} == set(ARCHITECTURES)


def test_windows_caps_and_tied_embeddings_are_among_them(family):
    lm = family("gemma2")
    assert lm.model.get_output_embeddings().weight is lm.model.get_input_embeddings().weight
    assert lm.model.config.sliding_window < max(LENGTHS)
    ids = torch.arange(1, 12)[None]
    capped = logits(lm, ids)
    assert capped.abs().max() < 3
    for block in lm.blocks:
        block.self_attn.attn_logit_softcapping = None
    assert (logits(lm, ids) - capped).abs().max() > 1e-3


# ---- each family


@torch.no_grad()
def test_sites_equal_the_familys_own_formulas(made, tokens, hooked):
    family, lm = made
    assert (lm.layers, lm.max_positions) == (LAYERS, MAX_POSITIONS)
    assert lm.widths == {"mlp.hidden": HIDDEN, "mlp.out": WIDTH, "attn.out": WIDTH, "resid": WIDTH}
    entered, left = [], []
    for block in lm.blocks:
        hooked(block, entered.append, left.append)
    batch = pad(tokens, np.array([1]))
    logits(lm, batch.ids)
    (streamed,) = activations(lm, [batch], ALL_SITES)
    for layer, block in enumerate(lm.blocks):
        hidden, mlp, attn, resid = (streamed.sites[Site(name, layer)] for name in SITE_NAMES)
        x = entered[layer][0]
        torch.testing.assert_close(resid, left[layer][0], **CLOSE)
        torch.testing.assert_close(hidden, family.hidden(block, x, attn), **CLOSE)
        torch.testing.assert_close(mlp, family.written(block, hidden), **CLOSE)
        torch.testing.assert_close(resid, family.left(block, x, attn, mlp), **CLOSE)
        # tensors so small that they would be close to anything prove nothing
        assert min(tensor.abs().max() for tensor in (hidden, mlp, attn, resid)) > 0.05
        if layer + 1 < LAYERS:
            assert torch.equal(resid, entered[layer + 1][0])


def test_batched_equals_one_by_one(lm, tokens):
    losses = sentence_losses(lm, tokens, budget=60)
    found = {}
    for part in activations(lm, batches(tokens, 60), ALL_SITES):
        for number in part.sentence.unique().tolist():
            found[number] = {site: x[part.sentence == number] for site, x in part.sites.items()}
    for number, ids in enumerate(tokens.ids):
        (alone,) = activations(lm, [pad(tokens, np.array([number]))], ALL_SITES)
        for site in ALL_SITES:
            torch.testing.assert_close(found[number][site], alone.sites[site], **CLOSE)
        ids = torch.from_numpy(ids)
        by_hand = cross_entropy(logits(lm, ids[None])[0, :-1], ids[1:], reduction="sum")
        assert losses[number] == pytest.approx(float(by_hand), rel=1e-4)


@pytest.mark.parametrize("name", SITE_NAMES)
def test_an_edit_changes_its_tokens_and_pads_on_either_side_change_nothing(lm, tokens, count_hooks, name):
    site, hooks = Site(name, 1), count_hooks(lm.model)
    right = pad(tokens, np.arange(len(tokens)))
    ids, mask = left_padded(tokens.ids)
    positions = (mask.cumsum(1) - 1).clip(min=0)
    before = logits(lm, right.ids, right.mask)
    (plain,) = activations(lm, [right], [site])
    seen = []
    with edit(lm, site, torch.clone):
        assert torch.equal(logits(lm, right.ids, right.mask), before)
    with edit(lm, site, lambda x: seen.append(len(x)) or push(x)):
        (edited,) = activations(lm, [right], [site])
        assert torch.equal(edited.sites[site], push(plain.sites[site]))
        on_the_right = logits(lm, right.ids, right.mask)
        on_the_left = logits(lm, ids, mask, position_ids=positions)
        losses = sentence_losses(lm, tokens)
        assert seen[:3] == [sum(LENGTHS)] * 3
        for row, text in enumerate(map(torch.from_numpy, tokens.ids)):
            alone = logits(lm, text[None])[0]
            torch.testing.assert_close(on_the_right[row, : len(text)], alone, **CLOSE)
            torch.testing.assert_close(on_the_left[row, -len(text) :], alone, **CLOSE)
            loss = cross_entropy(alone[:-1], text[1:], reduction="sum")
            assert losses[row] == pytest.approx(float(loss), rel=1e-4)
    assert (on_the_right - before)[right.mask].abs().max() > 1e-3
    assert torch.equal(logits(lm, right.ids, right.mask), before)
    assert count_hooks(lm.model) == hooks


@pytest.mark.parametrize(
    ("name", "positions", "use_cache"),
    [
        *((name, "all", True) for name in SITE_NAMES[:-1]),
        *(("resid", positions, True) for positions in POSITIONS),
        ("resid", "generated", False),
    ],
)
def test_edits_in_generate(lm, tokens, name, positions, use_cache):
    ids, mask = left_padded(tokens.ids[:2])
    with edit(lm, Site(name, 1), push, positions=positions):
        written = lm.model.generate(
            ids,
            attention_mask=mask.long(),
            max_new_tokens=3,
            do_sample=False,
            pad_token_id=0,
            use_cache=use_cache,
            output_logits=True,
            return_dict_in_generate=True,
        )
    for row, text in enumerate(tokens.ids[:2]):
        n = len(text)
        whole = torch.cat([torch.from_numpy(text), written.sequences[row, -3:]])
        where = torch.zeros(len(whole), dtype=torch.bool)
        where[list(columns_of(positions, n, len(whole)))] = True
        # what comes later changes no earlier logit, so one pass shows every step
        with edit(lm, Site(name, 1), lambda x, where=where: torch.where(where[:, None], push(x), x)):
            alone = logits(lm, whole[None])[0]
        for step in range(3):
            torch.testing.assert_close(written.logits[step][row], alone[n - 1 + step], **CLOSE)
            assert int(alone[n - 1 + step].argmax()) == int(whole[n + step])


@pytest.mark.parametrize("name", SITE_NAMES)
def test_replayed_losses_are_those_of_full_passes(lm, tokens, count_hooks, name):
    hooks = count_hooks(lm.model)
    own = sentence_losses(lm, tokens, budget=4096)
    for layer in range(LAYERS):
        found, plain = replayed_losses(lm, Site(name, layer), tokens, [push, None])
        with edit(lm, Site(name, layer), push):
            expected = sentence_losses(lm, tokens, budget=4096)
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-5)
        np.testing.assert_allclose(plain, own, atol=1e-4, rtol=1e-5)
        assert np.median(np.abs(expected - own)) > 1e-2
    assert count_hooks(lm.model) == hooks
    assert untouched(lm.model)


@pytest.mark.parametrize("name", SITE_NAMES)
def test_replay_runs_what_lies_below_the_site_once_a_batch(lm, tokens, hooked, monkeypatch, name):
    """By the linear maps that are computed; in GPT-2 only the unembedding is one, whose blocks have Conv1D."""
    calls, marks = [], []
    linear, addmm = torch.nn.functional.linear, torch.addmm
    monkeypatch.setattr(torch.nn.functional, "linear", lambda *a: calls.append(0) or linear(*a))
    monkeypatch.setattr(torch, "addmm", lambda *a: calls.append(0) or addmm(*a))
    with replay(lm, Site(name, 1)) as run:
        handles = [
            register(lambda *_: marks.append(len(calls)))
            for block in lm.blocks[:2]
            for register in (block.register_forward_pre_hook, block.register_forward_hook)
        ]
        run.begin(pad(tokens, np.array([0, 1])))
        for handle in handles:
            handle.remove()
        counts = [len(calls)]
        for fn in (push, torch.zeros_like):
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


def losses_by_hand(lm, tokens):
    """The summed loss of each sentence, alone and in float64."""
    texts = [torch.from_numpy(ids) for ids in tokens.ids]
    return np.array(
        [float(cross_entropy(logits(lm, ids[None])[0, :-1], ids[1:], reduction="sum")) for ids in texts]
    )


def slopes(lm, site, tokens, direction, step):
    """How fast each sentence's loss rises if `direction` is added to the site at all its tokens."""
    with edit(lm, site, lambda x: x + step * direction):
        above = losses_by_hand(lm, tokens)
    with edit(lm, site, lambda x: x - step * direction):
        below = losses_by_hand(lm, tokens)
    return (above - below) / (2 * step)


@pytest.mark.parametrize("name", ["mlp.hidden", "resid"])
def test_gradients_are_finite_differences(lm, tiny_tokens, name):
    few, site = tiny_tokens.take([0, 31]), Site(name, 1)
    lm.model.double()
    try:
        direction = torch.randn(lm.width(site), generator=torch.Generator().manual_seed(1)).double()
        found = np.zeros(len(few))
        for part in gradients(lm, few, site):
            np.add.at(found, part.sentence.numpy(), (part.gradient @ direction).numpy())
        # some norms work in float32 whatever the model's precision, and small steps drown in that; large ones cross
        # the kinks of a ReLU
        errors = [np.abs(found - slopes(lm, site, few, direction, step)).max() for step in (1e-5, 1e-3, 5e-3)]
    finally:
        lm.model.float()
    assert min(errors) < 5e-3 * max(1.0, np.abs(found).max())
    assert np.abs(found).max() > 0.05


def test_logit_effects_are_the_change_of_the_logits_by_a_small_step(lm, tokens, hooked):
    """At a right angle to the state, which keeps its size: only that division and a cap are left out."""
    ids, site = torch.from_numpy(tokens.ids[1])[None], Site("resid", lm.layers - 1)
    if getattr(lm.model.base_model, "decoder", None) is not None and lm.model.base_model.decoder.project_out:
        # it reads a projection of its state
        with pytest.raises(GlossaeError, match="not an unembedding"):
            logit_effects(lm, site, torch.ones(1, WIDTH))
        return
    states = []
    hooked(lm.blocks[-1], after=lambda x: states.append(x))
    logits(lm, ids)
    basis = torch.linalg.qr(torch.stack([torch.ones(WIDTH), states[0][0, -1].float()], dim=1)).Q
    direction = torch.randn(WIDTH, generator=torch.Generator().manual_seed(4))
    direction = direction - basis @ (basis.T @ direction)
    step, ends = 1e-2, []
    for sign in (step, -step):
        with edit(lm, site, lambda x, sign=sign: x + sign * direction):
            ends.append(logits(lm, ids)[0, -1])
    (effect,) = logit_effects(lm, site, direction[None])
    change = (ends[0] - ends[1])[: len(effect)]
    assert torch.cosine_similarity(effect, change - change.mean(), dim=0) > 0.998
    # the output projection, and a norm after it if the family has one, is linear but for a positive factor
    if "mlp.hidden" in lm.widths:
        hidden = Site("mlp.hidden", 1)
        one, other = torch.randn(2, lm.width(hidden), generator=torch.Generator().manual_seed(5))
        parts = logit_effects(lm, hidden, torch.stack([one, other, 2 * one - other]))
        torch.testing.assert_close(parts[2], 2 * parts[0] - parts[1], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_folder_without_tokenizer_is_refused(tmp_path, tiny_tokenizer, name):
    folder = write_family(tmp_path / "model", name, tiny_tokenizer)
    (folder / "tokenizer.json").unlink()
    for read in (load, locate, load):
        with pytest.raises(
            GlossaeError, match=f"^model: {folder} has no tokenizer: there is no tokenizer.json"
        ):
            read(str(folder))
        (folder / "tokenizer_config.json").unlink(missing_ok=True)


# ---- what is one family's own


@pytest.mark.parametrize(("name", "look"), [("mlp.hidden", "before"), ("mlp.out", "after")])
def test_opt_flattens_and_pads_keep_their_tensor_bit_for_bit(family, tokens, hooked, name, look):
    lm, batch = family("opt"), pad(tokens, np.array([0, 1]))
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
def test_the_mask_may_be_given_by_position(family, tokens, name, place):
    lm, batch = family(name), pad(tokens, np.array([0, 1]))
    seen = []
    with edit(lm, Site("resid", 1), lambda x: seen.append(len(x)) or x), torch.no_grad():
        for model in (lm.model, lm.model.base_model):
            model(batch.ids, *[None] * (place - 1), batch.mask.long())
    assert seen == [int(batch.mask.sum())] * 2


@pytest.mark.parametrize(
    ("name", "learned"), [("gpt2", True), ("gpt_neo", True), ("opt", False), ("llama", False)]
)
def test_a_left_padded_plain_pass_needs_positions_where_they_are_learned(family, tokens, name, learned):
    # what the edit's docstring says of transformers
    lm, (ids, mask) = family(name), left_padded(tokens.ids)
    given = logits(lm, ids, mask, position_ids=(mask.cumsum(1) - 1).clip(min=0))
    assert torch.allclose(logits(lm, ids, mask)[mask], given[mask], atol=1e-4) is not learned


@torch.no_grad()
def test_gemma_4s_per_layer_input_comes_after_what_the_sites_add(family, tokens, hooked):
    lm = family("gemma4_text", hidden_size_per_layer_input=8)
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


def test_a_gemma_4_whose_last_layer_shares_keys_and_values_is_replayed_and_has_no_mlp_hidden(family, tokens):
    more = {"num_kv_shared_layers": 1, "use_double_wide_mlp": True, "hidden_size_per_layer_input": 8}
    lm = family("gemma4_text", **more)
    assert lm.widths == {"mlp.out": WIDTH, "attn.out": WIDTH, "resid": WIDTH}
    batch = pad(tokens, np.array([0, 1]))
    for site in (site for site in ALL_SITES if site.name != "mlp.hidden"):
        with replay(lm, site) as run:
            run.begin(batch)
            found = run.under(push)
        with edit(lm, site, push):
            full = logits(lm, batch.ids, batch.mask)
        torch.testing.assert_close(found, full[:, :-1][batch.mask[:, 1:]], atol=1e-5, rtol=1e-5)


def test_attention_lies_where_each_layer_of_a_hybrid_has_it(family):
    lm = family("qwen3_5_text")
    first, second, third = lm.blocks
    modules = [lm.tap(Site("attn.out", layer)).module for layer in range(LAYERS)]
    assert modules == [first.linear_attn.out_proj, second.self_attn.o_proj, third.linear_attn.out_proj]


# ---- families that the table lacks

UNKNOWN = {
    "Bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "Falcon": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
    "StableLm": {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
    },
}
# experts have no one output projection
UNKNOWN["Mixtral"] = UNKNOWN["StableLm"] | {"num_local_experts": 2}


@pytest.fixture(scope="module")
def unknown(tiny_tokenizer, tmp_path_factory):
    """A function that saves a random model of a family without known sites, and gives its folder and refusal."""

    def make(name):
        torch.manual_seed(0)
        folder = tmp_path_factory.mktemp(name)
        config = getattr(transformers, f"{name}Config")(
            vocab_size=320, initializer_range=0.2, bos_token_id=0, eos_token_id=0, **UNKNOWN[name]
        )
        getattr(transformers, f"{name}ForCausalLM")(config).save_pretrained(folder)
        tiny_tokenizer.save_pretrained(folder)
        with pytest.raises(GlossaeError) as caught:
            load(str(folder))
        return str(folder), str(caught.value)

    return make


def suggested(message):
    """The architecture that a refusal suggests, as it would be pasted."""
    return eval(re.search(r"architecture=(Architecture\(.*\))\), if", message)[1])


def test_the_refusal_names_the_family_and_its_modules(unknown):
    folder, message = unknown("Bloom")
    assert message.startswith(
        "model: no sites are known for the architecture 'bloom' (known: gpt_neox, gpt2, "
    )
    assert "\n" not in message
    assert "transformer.h (x2: self_attention.query_key_value (32 to 96), " in message
    assert "mlp.dense_4h_to_h (128 to 32)" in message
    assert suggested(message) == Architecture(
        "transformer.h",
        {
            "mlp.hidden": Place("mlp.dense_4h_to_h", "input"),
            "mlp.out": Place("mlp.dense_4h_to_h", "output"),
            "attn.out": Place("self_attention.dense", "output"),
            "resid": Place("", "output"),
        },
    )
    # nothing limits how long its texts are
    assert load(folder, architecture=suggested(message)).max_positions > 10**9


@pytest.mark.parametrize("name", ["Bloom", "Falcon", "StableLm"])
def test_what_it_suggests_works(unknown, random_tokens, name):
    folder, message = unknown(name)
    lm = load(folder, architecture=suggested(message))
    batch, before = pad(random_tokens([9]), np.array([0])), Site("resid", 0)
    sites = [Site(name, 1) for name in SITE_NAMES]
    (streamed,) = activations(lm, [batch], [*sites, before])
    _, mlp, attn, resid = (streamed.sites[site] for site in sites)
    # they are what each adds to the residual stream
    torch.testing.assert_close(resid, streamed.sites[before] + attn + mlp, **CLOSE)
    with edit(lm, sites[0], torch.zeros_like):
        (edited,) = activations(lm, [batch], sites)
    assert not torch.allclose(edited.sites[sites[-1]], resid)


def test_experts_have_no_one_projection_and_a_flattened_place_has_to_be_named_so(unknown):
    folder, message = unknown("Mixtral")
    lm = load(folder, architecture=suggested(message))
    assert set(lm.architecture.places) == {"attn.out", "resid"}
    assert lm.widths == {"attn.out": 32, "resid": 32}
    with pytest.raises(GlossaeError, match=r"^site: 'mlp.out' is not a site; there are attn.out, resid"):
        lm.tap(Site("mlp.out", 0))
    # the router is handed its tokens without rows
    places = {"resid": Place("", "output"), "mlp.hidden": Place("mlp.gate", "input")}
    with pytest.raises(GlossaeError, match=r"should carry \(1, 5, d\) but carries \(5, 32\)"):
        load(folder, architecture=Architecture("model.layers", places))
    places["mlp.hidden"] = Place("mlp.gate", "input", flat=True)
    assert load(folder, architecture=Architecture("model.layers", places)).widths == {
        "resid": 32,
        "mlp.hidden": 32,
    }
