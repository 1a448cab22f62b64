"""Edits change what they name, as much as they say, and nothing else: on a tensor, in a model, in every family."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from effects_sae import (
    LATENTS,
    NEVER,
    SITE,
    D,
    by_hand,
    dense_code,
    edited_by_hand,
    logits_by_hand,
    random_sae,
)
from glossae.effects import Edit, compile_edits, neurons_off
from glossae.errors import GlossaeError
from glossae.evidence import lape
from glossae.lm import (
    SITE_NAMES,
    Site,
    SiteEdit,
    activations,
    batches,
    edit,
    edits,
    load,
    pad,
    sentence_losses,
    tokenize,
)
from glossae.sae import Sae, SaeConfig
from glossae.units import Directions, Latents, Neurons, set_units
from tiny_families import left_padded, write_family

UNITS = (30, 2, NEVER[0])
TARGETS = (2.5, -3.0, 1.0)
IDS = (30, 2)


@pytest.fixture(scope="module", params=[True, False], ids=["relu", "no relu"])
def sae(request):
    return random_sae(relu=request.param)


@pytest.fixture(scope="module")
def every_kind():
    """Units of every kind, all with a unit 30; the directions are not orthogonal, nor without offsets."""
    vectors = torch.randn(31, D, generator=torch.Generator().manual_seed(1)) + 0.3
    directions = Directions([f"d{i}" for i in range(31)], vectors, torch.linspace(-1, 1, 31))
    return [Latents(random_sae()), Neurons(SITE, D), Neurons(SITE, D, signed=True), directions]


@pytest.fixture(scope="module")
def x(tiny_lm, tiny_tokens):
    """What the site carries, in float32."""
    parts = activations(tiny_lm, batches(tiny_tokens.take(range(12)), 4096), [SITE])
    return torch.cat([part.sites[SITE] for part in parts])


@pytest.fixture(scope="module")
def drawn():
    """Any tensor; many of the latents fire on it."""
    return 2 * torch.randn(50, D, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def batch(tiny_tokens):
    """Three sentences of different lengths."""
    return pad(tiny_tokens, np.argsort(tiny_tokens.lengths)[[0, 20, -1]])


@torch.no_grad()
def logits(lm, ids, mask=None, **options):
    mask = None if mask is None else mask.long()
    return lm.model(input_ids=ids, attention_mask=mask, use_cache=False, **options).logits


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def rows(units, ids=IDS):
    return units.direction(ids).float()


# the tensor


@pytest.mark.parametrize("splice", [False, True])
@pytest.mark.parametrize("operation", ["set", "mean"])
def test_an_edit_is_the_dense_one(sae, x, splice, operation):
    before = x.clone()
    # these latents do fire here, so the edit is one
    assert (dense_code(sae, x)[:, UNITS[:2]] != 0).any(0).all()
    for targets in ((0.0, 0.0, 0.0), TARGETS):
        found = Edit(operation, UNITS, targets, splice).compile(sae)(x)
        close(found, edited_by_hand(sae, x, dict(zip(UNITS, targets, strict=True)), splice=splice))
        assert not torch.allclose(found, sae(x) if splice else x, atol=1e-2)
        assert torch.equal(found, Edit(operation, UNITS, targets, splice).compile(Latents(sae))(x))
    assert torch.equal(x, before)


def test_without_an_edit_the_splice_is_the_reconstruction_and_its_absence_the_model(sae, x):
    torch.testing.assert_close(Edit("none", splice=True).compile(sae)(x), sae(x))
    assert torch.equal(Edit("none").compile(sae)(x), x)


def test_a_token_s_own_values_change_nothing(sae, x):
    for token, code in enumerate(dense_code(sae, x)[:20]):
        everything = Edit("set", tuple(range(LATENTS)), tuple(code.tolist()))
        one = x[token : token + 1]
        torch.testing.assert_close(everything.compile(sae)(one), one, rtol=1e-5, atol=1e-5)
        spliced = dataclasses.replace(everything, splice=True).compile(sae)(one)
        torch.testing.assert_close(spliced, sae(one), rtol=1e-5, atol=1e-5)


def test_other_latents_keep_their_values():
    sae = Sae(SaeConfig(d_in=D, latents=D, k=D, relu=False)).requires_grad_(False)
    sae.W_enc.data, sae.W_dec.data = torch.eye(D), torch.eye(D)
    x = torch.randn(9, D, generator=torch.Generator().manual_seed(0))
    expected = x.clone()
    expected[:, 5], expected[:, 3] = 7.0, -2.0
    for splice in (False, True):
        after = dense_code(sae, Edit("set", (5, 3), (7.0, -2.0), splice).compile(sae)(x))
        torch.testing.assert_close(after, expected)


def test_what_the_autoencoder_does_not_explain_stays(x):
    # it reads and writes one direction only
    sae = Sae(SaeConfig(d_in=D, latents=1, k=1)).requires_grad_(False)
    sae.W_enc.data[0, 4] = sae.W_dec.data[0, 4] = 1
    preserved = Edit("set", (0,), (9.0,)).compile(sae)(x)
    rest = [i for i in range(D) if i != 4]
    assert torch.equal(preserved[:, rest], x[:, rest])
    below = x[:, 4].clamp_max(0)
    torch.testing.assert_close(preserved[:, 4], 9.0 + below)
    spliced = Edit("set", (0,), (9.0,), splice=True).compile(sae)(x)
    assert not spliced[:, rest].any()
    torch.testing.assert_close(spliced[:, 4], torch.full_like(below, 9.0))


def test_each_operation_is_its_formula(every_kind, drawn):
    values = torch.tensor([1.5, -0.5])
    for units in every_kind:
        r, directions = units.read(drawn, IDS), rows(units)
        expected = {
            "set": drawn + (values - r) @ directions,
            "mean": drawn + (values - r) @ directions,
            "zero": drawn - r @ directions,
            "scale": drawn + (values * r - r) @ directions,
            "add": drawn + 1.5 * directions[0] - 0.5 * directions[1],
        }
        for operation, tensor in expected.items():
            targets = () if operation == "zero" else (1.5, -0.5)
            close(Edit(operation, IDS, targets).compile(units)(drawn), tensor)
            assert not torch.allclose(tensor, drawn, atol=1e-2)
        assert torch.equal(Edit("none").compile(units)(drawn), drawn)


def test_spliced_the_same_stands_on_the_reconstruction(drawn):
    sae = random_sae()
    code = dense_code(sae, drawn)
    reconstruction = code @ sae.W_dec + sae.b_dec
    changed_codes = {
        ("set", (1.5, -0.5)): lambda z: torch.tensor([1.5, -0.5]).expand(len(z), 2),
        ("zero", ()): torch.zeros_like,
        ("scale", (3.0, -1.0)): lambda z: z * torch.tensor([3.0, -1.0]),
        ("add", (1.5, -0.5)): lambda z: z + torch.tensor([1.5, -0.5]),
    }
    for (operation, targets), change in changed_codes.items():
        after = code.clone()
        after[:, IDS] = change(code[:, IDS])
        found = Edit(operation, IDS, targets, splice=True).compile(sae)(drawn)
        close(found, after @ sae.W_dec + sae.b_dec)
    projected = Edit("project_out", IDS, splice=True).compile(sae)(drawn)
    close(projected, Edit("project_out", IDS).compile(sae)(reconstruction))


@pytest.mark.parametrize("targets", [(), (0.7, -1.2)])
def test_units_are_projected_out_along_their_span(every_kind, drawn, targets):
    for units in every_kind:
        d = torch.nn.functional.normalize(rows(units))
        # one alone: directional ablation
        alone = Edit("project_out", (30,), targets[:1]).compile(units)(drawn)
        wanted = targets[0] if targets else 0.0
        close(alone, drawn - (drawn @ d[0] - wanted)[:, None] * d[0])
        found = Edit("project_out", IDS, targets).compile(units)(drawn)
        close(found @ d.T, torch.tensor(targets or (0.0, 0.0)).expand(len(drawn), 2))
        # nothing but the span is touched
        span = torch.linalg.qr(d.T).Q
        away = torch.eye(D) - span @ span.T
        close(found @ away, drawn @ away)


def test_units_that_say_the_same_are_projected_out_like_one(drawn):
    expected = drawn.clone()
    expected[:, 5] = 0
    close(Edit("project_out", (5, 5 + D)).compile(Neurons(SITE, D, signed=True))(drawn), expected)


def test_projected_to_a_mean_they_have_its_components(every_kind, drawn):
    mean = drawn[:9].mean(0)
    for units in every_kind:
        change = Edit.project_to(units, IDS, mean, positions="not_first")
        assert (change.operation, change.positions) == ("project_out", "not_first")
        close(change.compile(units)(drawn) @ rows(units).T, (rows(units) @ mean).expand(len(drawn), 2))


OTHERS = (Edit("scale", IDS, (2.0, 0.5)), Edit("project_out", IDS), Edit("add", IDS, (1.0, 1.0)))


def test_half_precision_is_computed_in_single_and_gradients_go_through(every_kind, drawn):
    half = drawn.bfloat16()
    for units in every_kind:
        for change in OTHERS:
            found = change.compile(units)(half)
            assert found.dtype == torch.float32
            close(found, change.compile(units)(half.float()))
            x = drawn.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(change.compile(units)(x).square().sum(), x)
            assert torch.isfinite(gradient).all()


def test_edits_compiled_together_are_those_compiled_alone(drawn):
    sae = random_sae()
    changes = [
        Edit("set", IDS, (1.5, -0.5)),
        Edit("none", splice=True),
        Edit("zero", IDS, splice=True),
        Edit("scale", (7,), (2.0,)),
        Edit("project_out", IDS),
    ]
    together = compile_edits(changes, sae)
    with torch.no_grad():
        for tensor in (drawn, 3 * drawn, drawn):
            for fn, change in zip(together, changes, strict=True):
                assert torch.equal(fn(tensor), change.compile(sae)(tensor))


def test_together_they_encode_a_tensor_once(drawn, monkeypatch):
    encode, calls = Sae.encode, []

    def counted(self, tensor):
        calls.append(len(tensor))
        return encode(self, tensor)

    monkeypatch.setattr(Sae, "encode", counted)
    fns = compile_edits([Edit("set", IDS, (float(v), 0.0), splice=v > 3) for v in range(6)], random_sae())
    with torch.no_grad():
        for fn in fns:
            fn(drawn)
        assert calls == [50]
        # another tensor, and the same one after it was written into
        other = drawn[:7].clone()
        before = fns[0](other)
        other += 1
        assert not torch.allclose(fns[0](other), before + 1)
    assert calls == [50, 7, 7]
    # while gradients are recorded every edit has its own
    fns[0](drawn)
    fns[1](drawn)
    assert calls[3:] == [50, 50]


# what is no edit, or does not fit


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (("set", (3, 4), (1.0, float("nan"))), r"edit: targets\[1\]: nan is not a finite number"),
        (("set", (3, 4), (float("-inf"), 1.0)), r"edit: targets\[0\]: -inf is not a finite number"),
        (("set", (3,), (1.0,), False, float("inf")), "edit: value: inf is not a finite number"),
        (("set", (3, 4), (1.0,)), "edit: 2 units but 1 values$"),
        (("scale", (3, 4)), "edit: 2 units but 0 values$"),
        (("set", (4, 1, 4), (1.0, 2.0, 3.0)), "edit: the unit 4 is named twice$"),
        (("none", (3,), (1.0,)), "edit: units: 'none' changes no unit, so it has none"),
        (("zero", (3,), (1.0,)), "edit: targets: 'zero' has none; 'set' takes values"),
        (("draw", (3,), (1.0,)), "edit: value: 'draw' needs one: the share of the way to the targets"),
    ],
)
def test_what_is_no_edit_is_refused_by_its_key(given, line):
    with pytest.raises(GlossaeError, match=f"^{line}"):
        Edit(*given)


@pytest.mark.parametrize("units", [random_sae(), Neurons(SITE, D)])
def test_draw_goes_a_share_of_the_way_that_set_goes(units):
    x = torch.randn(20, D, generator=torch.Generator().manual_seed(0))
    ids, targets = (4, 9), (0.5, -1.0)
    whole = Edit("set", ids, targets).compile(units)(x) - x
    for share in (1.0, 0.25, -0.5):
        moved = Edit("draw", ids, targets, value=share).compile(units)(x) - x
        torch.testing.assert_close(moved, share * whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("key", "known"), [("operation", "none, set, zero,"), ("positions", "all, not_first,")]
)
def test_words_that_only_a_type_checker_would_refuse_are_refused(key, known):
    change = Edit("zero", (3,))
    object.__setattr__(change, key, "first")
    with pytest.raises(GlossaeError, match=f"^edit: {key}: 'first' is not one of {known}"):
        change.__post_init__()


def test_units_that_are_not_there_and_sites_of_another_width_are_refused(every_kind):
    for units in every_kind:
        for change in (Edit("zero", (0, len(units))), Edit("project_out", (len(units),))):
            line = f"^edit: there is no {units.kind} {len(units)}; there are 0 to {len(units) - 1}$"
            with pytest.raises(GlossaeError, match=line):
                change.compile(units)
        with pytest.raises(GlossaeError, match="^edit: there is no"):
            Edit.project_to(units, (len(units),), torch.zeros(D))
        line = f"^edit: the {units.kind}s are of a site of d_in 48, and this one is 32 wide"
        with pytest.raises(GlossaeError, match=line):
            Edit("zero", IDS).compile(units)(torch.zeros(3, 32))


def test_a_splice_without_a_reconstruction_and_a_projection_on_nothing_are_refused():
    line = "^edit: a neuron has no reconstruction to splice; leave splice off$"
    with pytest.raises(GlossaeError, match=line):
        Edit("set", (0,), (1.0,), splice=True).compile(Neurons(SITE, D))
    sae = Sae(SaeConfig(d_in=D, latents=LATENTS, k=4))
    with pytest.raises(GlossaeError, match="^edit: latent 3 has no direction to be projected on"):
        Edit("project_out", (3,)).compile(sae)


def test_an_edit_stays_itself():
    change = Edit("set", IDS, (1.0, 2.0))
    with pytest.raises(dataclasses.FrozenInstanceError):
        change.operation = "zero"
    assert len({change, Edit("set", IDS, (1.0, 2.0))}) == 1


# in the model


def test_setting_a_latent_to_what_it_is_changes_no_logit(tiny_lm, batch):
    sae = random_sae()
    # always selected, always 5
    sae.W_enc.data[8] = 0
    sae.b_enc.data[8] = 5
    before = logits(tiny_lm, batch.ids, batch.mask)[batch.mask]
    for units, targets in [((8,), (5.0,)), (NEVER, (0.0,) * 3), ((8, *NEVER), (5.0, 0.0, 0.0, 0.0))]:
        with edit(tiny_lm, SITE, Edit("set", units, targets).compile(sae)):
            close(logits(tiny_lm, batch.ids, batch.mask)[batch.mask], before)
    with edit(tiny_lm, SITE, Edit("set", (8,), (1.0,)).compile(sae)):
        assert (logits(tiny_lm, batch.ids, batch.mask)[batch.mask] - before).abs().max() > 1e-2


@pytest.mark.parametrize(
    "change",
    [
        Edit("none", splice=True),
        Edit("set", UNITS, (0.0, 0.0, 0.0)),
        Edit("set", UNITS, TARGETS, splice=True),
    ],
)
def test_batched_equals_one_by_one_by_hand(tiny_lm, tiny_tokens, sae, batch, change):
    plain = logits(tiny_lm, batch.ids, batch.mask)
    with edit(tiny_lm, SITE, change.compile(sae)):
        together = logits(tiny_lm, batch.ids, batch.mask)
        losses = [sentence_losses(tiny_lm, tiny_tokens, budget=budget) for budget in (1, 4096)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    for row, number in enumerate(batch.index.tolist()):
        ids = tiny_tokens.ids[number]
        with by_hand(tiny_lm, sae, change):
            alone = logits_by_hand(tiny_lm, ids)
        close(together[row, : len(ids)], alone)
        assert (alone - plain[row, : len(ids)]).abs().max() > 1e-2


@pytest.mark.parametrize("splice", [False, True])
def test_pads_are_never_touched(tiny_lm, batch, splice):
    seen = []
    # what the projection behind the site puts out
    module = tiny_lm.blocks[SITE.layer].mlp.dense_4h_to_h
    handle = module.register_forward_hook(lambda _m, _a, out: seen.append(out.clone()))
    logits(tiny_lm, batch.ids, batch.mask)
    with edit(tiny_lm, SITE, Edit("set", UNITS, TARGETS, splice).compile(random_sae())):
        logits(tiny_lm, batch.ids, batch.mask)
    handle.remove()
    plain, edited = seen
    assert not batch.mask.all()
    # the product may round by the company a row is in
    torch.testing.assert_close(edited[~batch.mask], plain[~batch.mask], rtol=1e-6, atol=1e-6)
    assert ((edited - plain)[batch.mask].abs().amax(-1) > 1e-3).all()


def test_it_works_in_half_precision(tiny_model, batch):
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        lm = load(str(tiny_model), dtype=dtype)
        with edit(lm, SITE, Edit("set", UNITS, TARGETS).compile(random_sae())):
            results.append(logits(lm, batch.ids, batch.mask)[batch.mask])
    assert results[1].dtype == torch.bfloat16
    full, half = (result.float().log_softmax(-1) for result in results)
    assert (full - half).abs().mean() < 0.05 * full.std()


def test_neurons_and_directions_are_edited_in_the_model(tiny_lm, batch):
    directions = Directions(["a", "b"], torch.eye(D)[[5, 7]] + 0.1, torch.tensor([0.5, -1.0]))
    before = logits(tiny_lm, batch.ids, batch.mask)
    for units in (Neurons(SITE, D), Neurons(SITE, D, signed=True), directions):
        with edit(tiny_lm, SITE, lambda x, units=units: set_units(units, x, [1, 0], [2.0, -0.5])):
            by_hand = logits(tiny_lm, batch.ids, batch.mask)
        with edit(tiny_lm, SITE, Edit("set", (1, 0), (2.0, -0.5)).compile(units)):
            torch.testing.assert_close(logits(tiny_lm, batch.ids, batch.mask), by_hand)
        assert (by_hand - before)[batch.mask].abs().max() > 1e-2


# unchanged values leave the model what it is, however it is run; that every family's sites can be edited is in
# test_lm_families


@pytest.fixture(scope="module", params=["gpt_neox", "opt", "gemma3"])
def lm(request, tmp_path_factory, tiny_tokenizer):
    """A random model of a family, in which no token ends a text."""
    model = load(str(write_family(tmp_path_factory.mktemp("family"), request.param, tiny_tokenizer)))
    model.model.generation_config.eos_token_id = None
    return model


@pytest.fixture(scope="module")
def tokens(random_tokens):
    return random_tokens([3, 17, 9])


def unchanged_at_every_site(lm, pick):
    """An edit at each site of the middle layer that gives units the values that they have, another kind at each."""
    found, ids = [], (0, 5, 11)
    for number, name in enumerate(SITE_NAMES):
        site = Site(name, 1)
        d, generator = lm.width(site), torch.Generator().manual_seed(0)
        sae = Sae(SaeConfig(d_in=d, latents=12, k=8)).requires_grad_(False)
        for parameter in sae.parameters():
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
        directions = Directions([*"abcdefghijkl"], torch.randn(12, d, generator=generator), torch.ones(12))
        which = (pick + number) % 3
        units = (Latents(sae), Neurons(site, d), directions)[which]
        fns = (
            Edit("scale", ids, (1.0,) * 3).compile(units),
            Edit("add", ids, (0.0,) * 3).compile(units),
            lambda x, units=units: set_units(units, x, ids, units.read(x, ids)),
        )
        found.append(SiteEdit(site, fns[which]))
    return found


@pytest.mark.parametrize("pick", range(3))
def test_no_logit_and_no_loss_changes(lm, tokens, pick):
    right, (ids, mask) = pad(tokens, np.arange(len(tokens))), left_padded(tokens.ids)
    positions = (mask.cumsum(1) - 1).clip(min=0)

    def passes():
        return [
            logits(lm, right.ids, right.mask)[right.mask],
            logits(lm, ids, mask, position_ids=positions)[mask],
            logits(lm, right.ids[1:2])[0],
        ]

    plain, losses = passes(), sentence_losses(lm, tokens)
    with edits(lm, unchanged_at_every_site(lm, pick)):
        for found, expected in zip(passes(), plain, strict=True):
            assert (found - expected).abs().max() <= 1e-4
        per_token = np.abs(sentence_losses(lm, tokens) - losses) / tokens.predicted
        assert per_token.max() <= 1e-5


@pytest.mark.parametrize(("pick", "use_cache"), [(1, True), (2, False)])
def test_nor_does_what_is_generated(lm, tokens, pick, use_cache):
    ids, mask = left_padded(tokens.ids)
    options = {"max_new_tokens": 3, "do_sample": False, "pad_token_id": 0, "use_cache": use_cache}
    options |= {"output_logits": True, "return_dict_in_generate": True, "attention_mask": mask.long()}
    plain = lm.model.generate(ids, **options)
    with edits(lm, unchanged_at_every_site(lm, pick)):
        found = lm.model.generate(ids, **options)
    assert torch.equal(found.sequences, plain.sequences)
    for one, other in zip(found.logits, plain.logits, strict=True):
        assert (one - other).abs().max() <= 1e-4


# neurons of many layers switched off at once

OFF = {0: (3, 0, 47), 2: (5,), 1: ()}


@pytest.mark.parametrize(
    ("name", "path"), [("gpt_neox", "mlp.dense_4h_to_h"), ("llama", "mlp.down_proj"), ("opt", "fc2")]
)
def test_switched_off_is_as_without_their_output_weights(tmp_path, tiny_tokenizer, tiny_corpus, name, path):
    lm = load(str(write_family(tmp_path, name, tiny_tokenizer)))
    tokens = tokenize(lm, tiny_corpus)
    before = sentence_losses(lm, tokens)
    with edits(lm, neurons_off(lm, OFF)):
        found = sentence_losses(lm, tokens)
    assert np.array_equal(sentence_losses(lm, tokens), before)
    without = dataclasses.replace(lm, model=copy.deepcopy(lm.model))
    with torch.no_grad():
        for layer, ids in OFF.items():
            without.blocks[layer].get_submodule(path).weight[:, list(ids)] = 0.0
    np.testing.assert_allclose(found, sentence_losses(without, tokens), atol=1e-4, rtol=1e-5)
    assert not np.allclose(found, before, atol=1e-3)


def test_neurons_off_read_exactly_zero_and_all_others_what_they_read(tiny_lm, tiny_tokens):
    sites = [Site("mlp.hidden", layer) for layer in range(3)]
    (plain,) = activations(tiny_lm, batches(tiny_tokens, 10**6), sites)
    with edits(tiny_lm, neurons_off(tiny_lm, OFF)):
        (edited,) = activations(tiny_lm, batches(tiny_tokens, 10**6), sites)
    for layer, ids in OFF.items():
        assert not edited.sites[sites[layer]][:, list(ids)].any()
    others = [neuron for neuron in range(48) if neuron not in OFF[0]]
    assert torch.equal(edited.sites[sites[0]][:, others], plain.sites[sites[0]][:, others])


def test_lape_neurons_can_be_switched_off_as_they_come(tiny_lm, tiny_tokens):
    best = lape(tiny_lm, tiny_tokens, target="da", share=0.3, percentile=0.5).best(7)
    changes = neurons_off(tiny_lm, best, positions="not_first")
    assert sum(map(len, best.values())) == 7
    assert [change.site.layer for change in changes] == sorted(best)
    assert {change.positions for change in changes} == {"not_first"}
    assert neurons_off(tiny_lm, {}) == []


@pytest.mark.parametrize(
    ("neurons", "message"),
    [
        ({3: (1,)}, "^layer: .* has the layers 0 to 2, and 3 is not one of them"),
        ({1: (48,)}, "there is no neuron 48; there are 0 to 47"),
        ({1: (4, 4)}, "the unit 4 is named twice"),
    ],
)
def test_neurons_that_are_not_there_are_refused(tiny_lm, neurons, message):
    with pytest.raises(GlossaeError, match=message):
        neurons_off(tiny_lm, neurons)
