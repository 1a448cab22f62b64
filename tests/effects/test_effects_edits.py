"""Edits change what they name, as much as they say, and nothing else."""

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

from glossae.effects import Edit
from glossae.errors import GlossaeError
from glossae.lm import activations, batches, edit, load, pad, sentence_losses
from glossae.sae import Sae, SaeConfig
from glossae.units import Directions, Latents, Neurons, changed

UNITS = (30, 2, NEVER[0])


@pytest.fixture(scope="module", params=[True, False], ids=["relu", "no relu"])
def sae(request):
    return random_sae(relu=request.param)


@pytest.fixture(scope="module")
def x(tiny_lm, tiny_tokens):
    """What the site carries, in float32."""
    parts = activations(tiny_lm, batches(tiny_tokens.take(range(12)), 4096), [SITE])
    return torch.cat([part.sites[SITE] for part in parts])


def logits(lm, batch):
    with torch.no_grad():
        return lm.model(batch.ids, attention_mask=batch.mask.long()).logits


@pytest.fixture
def batch(tiny_tokens):
    """Three sentences of different lengths."""
    return pad(tiny_tokens, np.argsort(tiny_tokens.lengths)[[0, 20, -1]])


def same_logits(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


# ---- the tensor


@pytest.mark.parametrize("splice", [False, True])
@pytest.mark.parametrize("targets", [(0.0, 0.0, 0.0), (2.5, -3.0, 1.0)])
@pytest.mark.parametrize("operation", ["set", "mean"])
def test_an_edit_is_the_dense_one(sae, x, splice, targets, operation):
    apply = Edit(operation, UNITS, targets, splice).compile(sae)
    expected = edited_by_hand(sae, x, dict(zip(UNITS, targets, strict=True)), splice=splice)
    torch.testing.assert_close(apply(x), expected, rtol=1e-4, atol=1e-4)
    # these latents do fire here, so the edit is one
    assert (dense_code(sae, x)[:, UNITS[:2]] != 0).any(0).all()
    assert not torch.allclose(apply(x), sae(x) if splice else x, atol=1e-2)


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


def test_only_the_units_directions_are_written(sae, x):
    for splice, base in ((False, x), (True, sae(x))):
        change = Edit("set", UNITS, (2.5, -3.0, 1.0), splice).compile(sae)(x) - base
        share = torch.linalg.lstsq(sae.W_dec[list(UNITS)].T, change.T).solution
        torch.testing.assert_close(share.T @ sae.W_dec[list(UNITS)], change, rtol=1e-3, atol=1e-4)
        expected = torch.tensor([2.5, -3.0, 1.0]) - dense_code(sae, x)[:, list(UNITS)]
        torch.testing.assert_close(share.T, expected, rtol=1e-3, atol=1e-4)


def test_other_latents_keep_their_values():
    sae = Sae(SaeConfig(d_in=D, latents=D, k=D, relu=False)).requires_grad_(False)
    sae.W_enc.data, sae.W_dec.data = torch.eye(D), torch.eye(D)
    x = torch.randn(9, D, generator=torch.Generator().manual_seed(0))
    for splice in (False, True):
        after = dense_code(sae, Edit("set", (5, 3), (7.0, -2.0), splice).compile(sae)(x))
        expected = x.clone()
        expected[:, 5], expected[:, 3] = 7.0, -2.0
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


def test_an_edit_does_not_write_into_its_argument(sae, x):
    before = x.clone()
    for splice in (False, True):
        Edit("set", UNITS, (2.5, -3.0, 1.0), splice).compile(sae)(x)
    assert torch.equal(x, before)


# ---- in the model


def test_setting_a_latent_to_what_it_is_changes_no_logit(tiny_lm, batch):
    sae = random_sae()
    # always selected, always 5
    sae.W_enc.data[8] = 0
    sae.b_enc.data[8] = 5
    before = logits(tiny_lm, batch)
    for units, targets in [((8,), (5.0,)), (NEVER, (0.0,) * 3), ((8, *NEVER), (5.0, 0.0, 0.0, 0.0))]:
        with edit(tiny_lm, SITE, Edit("set", units, targets).compile(sae)):
            same_logits(logits(tiny_lm, batch)[batch.mask], before[batch.mask])
    with edit(tiny_lm, SITE, Edit("set", (8,), (1.0,)).compile(sae)):
        assert (logits(tiny_lm, batch) - before)[batch.mask].abs().max() > 1e-2


@pytest.mark.parametrize(
    "change",
    [
        Edit("none", splice=True),
        Edit("set", UNITS, (0.0, 0.0, 0.0)),
        Edit("set", UNITS, (2.5, -3.0, 1.0)),
        Edit("set", UNITS, (2.5, -3.0, 1.0), splice=True),
    ],
)
def test_batched_equals_one_by_one_by_hand(tiny_lm, tiny_tokens, sae, batch, change):
    with edit(tiny_lm, SITE, change.compile(sae)):
        together = logits(tiny_lm, batch)
    plain = logits(tiny_lm, batch)
    for row, number in enumerate(batch.index.tolist()):
        ids = tiny_tokens.ids[number]
        with by_hand(tiny_lm, sae, change):
            alone = logits_by_hand(tiny_lm, ids)
        same_logits(together[row, : len(ids)], alone)
        assert (alone - plain[row, : len(ids)]).abs().max() > 1e-2


def test_losses_do_not_depend_on_the_batches(tiny_lm, tiny_tokens, sae):
    with edit(tiny_lm, SITE, Edit("set", UNITS, (2.5, -3.0, 1.0), splice=True).compile(sae)):
        losses = [sentence_losses(tiny_lm, tiny_tokens, budget=budget) for budget in (1, 100, 4096)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    np.testing.assert_allclose(losses[2], losses[0], rtol=1e-4)


@pytest.mark.parametrize("splice", [False, True])
def test_pads_are_never_touched(tiny_lm, batch, splice):
    seen = []
    apply = Edit("set", UNITS, (2.5, -3.0, 1.0), splice).compile(random_sae())

    def look():
        # what the projection behind the site puts out
        module = tiny_lm.blocks[SITE.layer].mlp.dense_4h_to_h
        handle = module.register_forward_hook(lambda _m, _a, out: seen.append(out.clone()))
        logits(tiny_lm, batch)
        handle.remove()

    look()
    with edit(tiny_lm, SITE, apply):
        look()
    plain, edited = seen
    assert not batch.mask.all()
    # the product may round by the company a row is in
    torch.testing.assert_close(edited[~batch.mask], plain[~batch.mask], rtol=1e-6, atol=1e-6)
    assert ((edited - plain)[batch.mask].abs().amax(-1) > 1e-3).all()


def test_it_works_in_half_precision(tiny_model, batch):
    sae, change = random_sae(), Edit("set", UNITS, (2.5, -3.0, 1.0))
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        lm = load(str(tiny_model), dtype=dtype)
        with edit(lm, SITE, change.compile(sae)):
            results.append(logits(lm, batch)[batch.mask])
    assert results[1].dtype == torch.bfloat16
    full, half = (result.float().log_softmax(-1) for result in results)
    assert (full - half).abs().mean() < 0.05 * full.std()


# ---- units of any kind


def test_latents_and_their_autoencoder_are_edited_alike(sae, x):
    for splice in (False, True):
        change = Edit("set", UNITS, (2.5, -3.0, 1.0), splice)
        assert torch.equal(change.compile(Latents(sae))(x), change.compile(sae)(x))


def test_neurons_and_directions_are_edited_in_the_model(tiny_lm, batch):
    directions = Directions(["a", "b"], torch.eye(D)[[5, 7]] + 0.1, torch.tensor([0.5, -1.0]))
    for units in (Neurons(SITE, D), Neurons(SITE, D, signed=True), directions):
        change = Edit("set", (1, 0), (2.0, -0.5))
        seen = []

        def look(x, units=units, seen=seen):
            seen.append(changed(units, x, [1, 0], [2.0, -0.5]))
            return seen[-1]

        before = logits(tiny_lm, batch)
        with edit(tiny_lm, SITE, look):
            by_hand = logits(tiny_lm, batch)
        with edit(tiny_lm, SITE, change.compile(units)):
            torch.testing.assert_close(logits(tiny_lm, batch), by_hand)
        assert (by_hand - before)[batch.mask].abs().max() > 1e-2
        if units.kind == "neuron":
            assert seen[0][:, 1].tolist() == pytest.approx([2.0] * len(seen[0]))
    x = torch.randn(4, D)
    assert torch.equal(Edit("none").compile(directions)(x), x)


def test_only_latents_have_a_reconstruction_to_splice():
    with pytest.raises(
        GlossaeError, match="^edit: a neuron has no reconstruction to splice; leave splice off$"
    ):
        Edit("set", (0,), (1.0,), splice=True).compile(Neurons(SITE, D))
    with pytest.raises(GlossaeError, match=f"^edit: there is no neuron {D}; there are 0 to {D - 1}$"):
        Edit("set", (D,), (1.0,)).compile(Neurons(SITE, D))


# ---- what cannot be edited


@pytest.mark.parametrize("unit", [-1, LATENTS])
def test_a_latent_that_is_not_there_is_refused(sae, unit):
    change = Edit("set", (0, unit), (1.0, 1.0))
    with pytest.raises(GlossaeError, match=f"^edit: there is no latent {unit}; there are 0 to 39$"):
        change.compile(sae)


def test_each_unit_needs_a_value():
    with pytest.raises(GlossaeError, match="^edit: 2 units but 1 values$"):
        Edit("set", (0, 1), (1.0,))


def test_a_latent_is_named_once():
    with pytest.raises(GlossaeError, match="^edit: the unit 4 is named twice$"):
        Edit("set", (4, 1, 4), (1.0, 2.0, 3.0))
