"""Latents of two autoencoders matched, where it is known which are the same."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from every_kind import precise
from features_sae import LATENTS, SITE, codes_by_hand, random_sae, site_by_hand
from glossae.errors import GlossaeError
from glossae.evidence import LatentMatcher, match_latents, stability
from glossae.sae import Sae
from glossae.units import Latents

D_IN, TOKENS = 48, 700


def reordered(sae, order):
    """The same autoencoder with its latents in another order."""
    other = Sae(sae.config)
    with torch.no_grad():
        for name in ("W_enc", "W_dec", "b_enc"):
            getattr(other, name).copy_(getattr(sae, name)[order])
        other.b_dec.copy_(sae.b_dec)
    return other.requires_grad_(False)


def unrelated(*, relu=True):
    """An autoencoder that has nothing to do with `random_sae`."""
    sae = random_sae(relu=relu)
    generator = torch.Generator().manual_seed(9)
    for name in ("W_enc", "W_dec"):
        getattr(sae, name).data = 0.3 * torch.randn(LATENTS, D_IN, generator=generator)
    return sae


def thresholded(sae):
    """Its weights with a ReLU and no k."""
    other = Sae(dataclasses.replace(sae.config, activation="relu", k=None))
    other.load_state_dict(sae.state_dict())
    return other.requires_grad_(False)


def matched_on(x, one, other, selected=(), *, batch=TOKENS, **more):
    matcher = LatentMatcher(Latents(one), Latents(other), selected, **more)
    for part in x.split(batch):
        matcher.add(part)
    return matcher.finish()


ONE, X = random_sae(), torch.randn(TOKENS, D_IN, generator=torch.Generator().manual_seed(4))
FIRING = np.flatnonzero(codes_by_hand(ONE, X)[2].any(0))


def counts(shares):
    """How many were looked at, and the shares with a match."""
    return shares.of, shares.cosine, shares.correlation, shares.both


@settings(max_examples=20)
@given(st.permutations(range(LATENTS)))
def test_the_same_dictionary_in_another_order_is_there_again_whole(order):
    found = matched_on(X, ONE, reordered(ONE, list(order)), FIRING.tolist())
    place = np.argsort(order)
    assert found.partner.tolist() == found.correlate.tolist() == place[FIRING].tolist()
    assert found.nearest[:, 0].tolist() == place.tolist()
    for shares in (found.firing(), found.of_selected(())):
        assert counts(shares) == (len(FIRING), 1, 1, 1)
    assert found.again().all()
    assert found.partner_correlation == pytest.approx(1, abs=1e-6)
    assert found.other_fired[place].tolist() == found.fired.tolist()


def test_another_dictionary_has_none_of_them():
    found = matched_on(X, ONE, unrelated(), FIRING.tolist())
    for shares in (found.firing(), found.of_selected(())):
        assert counts(shares) == (len(FIRING), 0, 0, 0)
    assert not found.again().any()
    # each has a partner all the same, and no two the same one
    assert len(set(found.partner.tolist())) == len(FIRING)


@pytest.mark.parametrize("kind", ["relu", "signed", "threshold"])
def test_correlations_are_numpys(kind):
    one, other = random_sae(relu=kind != "signed"), unrelated(relu=kind != "signed")
    # near enough to its own latents for correlations of all sizes
    other.W_enc.data.mul_(0.6).add_(0.8 * one.W_enc.data)
    (_, mine, fires), (_, theirs, _) = codes_by_hand(one, X), codes_by_hand(other, X)
    if kind == "threshold":
        # tokens then have different numbers of latents
        one, other = map(thresholded, (one, other))
        mine, theirs = (((X - s.b_dec) @ s.W_enc.T + s.b_enc).relu().double().numpy() for s in (one, other))
        fires = mine > 0
        assert fires.sum(1).std() > 0
    found = matched_on(X, one, other, FIRING.tolist(), candidates=LATENTS)
    with np.errstate(invalid="ignore"):
        full = np.nan_to_num(np.corrcoef(mine.T, theirs.T)[:LATENTS, LATENTS:])
    by_hand = np.take_along_axis(full, found.nearest, axis=1)
    assert np.abs(found.correlation - by_hand).max() < 1e-5
    assert found.correlation.max() > 0.7
    assert found.correlation.min() < -0.05
    assert np.abs(found.correlate_correlation - full[FIRING].max(1)).max() < 1e-5
    assert np.abs(found.partner_correlation - full[FIRING, found.partner]).max() < 1e-5
    assert found.fired.tolist() == fires.sum(0).tolist()
    assert found.tokens == TOKENS


def test_cosines_are_those_of_decoder_rows_with_their_sign():
    other = reordered(ONE, list(range(LATENTS)))
    other.W_dec.data[5] *= -2
    found = matched_on(X, ONE, other, FIRING.tolist(), candidates=LATENTS)
    rows = [torch.nn.functional.normalize(sae.W_dec, dim=1).double().numpy() for sae in (ONE, other)]
    by_hand = np.take_along_axis(rows[0] @ rows[1].T, found.nearest, axis=1)
    assert np.abs(found.cosine - by_hand).max() < 1e-5
    assert (np.diff(found.cosine, axis=1) <= 1e-7).all()
    assert 5 in FIRING
    # it fires on the very same tokens, and writes the opposite
    chosen = FIRING.tolist().index(5)
    assert (found.correlate[chosen], found.correlate_correlation[chosen]) == (5, pytest.approx(1))
    assert found.correlate_cosine[chosen] == pytest.approx(-1, abs=1e-5)
    all_but_one = (len(FIRING) - 1) / len(FIRING)
    assert counts(found.of_selected(())) == (len(FIRING), all_but_one, 1, all_but_one)
    assert tuple(found.again()) == tuple(unit != 5 for unit in FIRING)


@pytest.mark.parametrize("batch", [1, 7, 300])
def test_batches_make_no_difference(batch, monkeypatch):
    other = unrelated()
    other.W_enc.data.add_(ONE.W_enc.data)
    whole = matched_on(X[:300], ONE, other, FIRING.tolist(), batch=300)
    # and few pairs at a time
    monkeypatch.setattr("glossae.evidence.stability.PAIRS", 50)
    parts = matched_on(X[:300], ONE, other, FIRING.tolist(), batch=batch)
    assert parts.nearest.tolist() == whole.nearest.tolist()
    for name in ("correlation", "partner_correlation", "correlate_correlation"):
        assert np.abs(getattr(parts, name) - getattr(whole, name)).max() < 1e-6
    assert parts.fired.tolist() == whole.fired.tolist()


def test_one_pass_of_a_model_counts_every_token_once_whatever_the_batches(tiny_lm, tiny_tokens):
    lm, told = precise(tiny_lm), []
    one, other = Latents(ONE), Latents(reordered(ONE, list(range(LATENTS))[::-1]))
    few, many = (
        match_latents(lm, SITE, one, other, tiny_tokens, FIRING.tolist(), budget=budget, progress=told.append)
        for budget in (50, 4000)
    )
    assert few.tokens == many.tokens == tiny_tokens.lengths.sum()
    assert told[-1] == 1
    assert np.abs(few.correlation - many.correlation).max() < 1e-6
    assert few.fired.tolist() == many.fired.tolist()
    values = np.concatenate([codes_by_hand(ONE, site_by_hand(tiny_lm, ids))[1] for ids in tiny_tokens.ids])
    unit = int(few.fired.argmax())
    near = LATENTS - 1 - few.nearest[unit]
    # latents that never vary have no correlation by numpy
    with np.errstate(invalid="ignore"):
        by_hand = np.nan_to_num([np.corrcoef(values[:, unit], values[:, other])[0, 1] for other in near])
    assert np.abs(few.correlation[unit] - by_hand).max() < 1e-4


def test_two_latents_of_one_do_not_share_a_partner():
    other = unrelated()
    one = reordered(ONE, list(range(LATENTS)))
    with torch.no_grad():
        # two of the first write almost what one of the other writes
        one.W_dec[FIRING[0]] = other.W_dec[3]
        one.W_dec[FIRING[1]] = other.W_dec[3] + 0.1 * one.W_dec[FIRING[1]]
    found = matched_on(X, one, other, [int(FIRING[0]), int(FIRING[1])])
    assert found.nearest[FIRING[:2], 0].tolist() == [3, 3]
    assert found.partner[0] == 3
    assert found.partner[1] != 3
    assert found.of_selected(()).cosine == 1
    assert (found.partner_cosine >= 0.7).tolist() == [True, False]


def test_the_matching_of_few_candidates_is_that_of_all(monkeypatch):
    other = reordered(ONE, torch.randperm(LATENTS, generator=torch.Generator().manual_seed(1)))
    other.W_dec.data += 0.2 * unrelated().W_dec.data
    all_of_them = matched_on(X, ONE, other, FIRING.tolist())
    monkeypatch.setattr(stability, "ASSIGNED", 3 * len(FIRING) ** 2)
    few = matched_on(X, ONE, other, FIRING.tolist())
    assert few.partner.tolist() == all_of_them.partner.tolist()


def test_more_selected_than_the_other_has_leaves_some_without_a_partner():
    small = Sae(dataclasses.replace(ONE.config, latents=6))
    with torch.no_grad():
        for name in ("W_enc", "W_dec", "b_enc"):
            getattr(small, name).copy_(getattr(ONE, name)[FIRING[:6]])
        small.b_dec.copy_(ONE.b_dec)
    found = matched_on(X, ONE, small, FIRING.tolist())
    assert found.partner[:6].tolist() == list(range(6))
    assert (found.partner[6:] == -1).all()
    assert (found.partner_correlation[6:] == 0).all()
    assert found.nearest.shape == (LATENTS, 6)


def test_nothing_selected_and_nothing_that_fires():
    quiet = random_sae()
    quiet.b_enc.data -= 100
    found = matched_on(X, quiet, ONE)
    assert counts(found.firing()) == counts(found.of_selected(())) == (0, None, None, None)
    assert found.partner.shape == found.correlate.shape == (0,)
    assert (found.correlation == 0).all()


def test_other_widths_and_other_latents_are_refused():
    with pytest.raises(GlossaeError, match="is of width 48, and .* of 12"):
        LatentMatcher(Latents(ONE), Latents(random_sae(12)))
    with pytest.raises(GlossaeError, match="there is no latent 40; there are 0 to 39"):
        LatentMatcher(Latents(ONE), Latents(ONE), [40])
