"""Units of every kind fire, are read and are changed as they say, and are told from each other."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from every_kind import WIDTH, families, orthonormal
from features_sae import LATENTS, SITE, codes_by_hand, random_sae
from glossae.errors import GlossaeError
from glossae.lm import Site
from glossae.sae import Sae, SaeConfig
from glossae.units import Directions, Latents, Neurons, set_units

EVERY_KIND = pytest.mark.parametrize(
    "units", [pytest.param(units, id=name) for name, units in families().items()]
)
RELU = pytest.mark.parametrize("relu", [True, False])


@pytest.fixture(scope="module")
def x():
    return torch.randn(60, WIDTH, generator=torch.Generator().manual_seed(1))


# ---- reading


@EVERY_KIND
def test_what_fires_is_what_is_read_there(units, x):
    values = units.read(x, range(len(units)))
    assert values.shape == (len(x), len(units))
    found = units.fired(x)
    dense = torch.zeros_like(values)
    dense[found.token, found.unit] = found.value
    assert len({*zip(found.token.tolist(), found.unit.tolist(), strict=True)}) == len(found.value)
    torch.testing.assert_close(dense, values if units.kind == "latent" else values.clamp_min(0))
    assert 0 < len(found.value) < values.numel()
    # in any order, also twice, and in full where half precision is given
    torch.testing.assert_close(units.read(x, [4, 0, 4, 2]), values[:, [4, 0, 4, 2]])
    assert units.read(x, []).shape == (len(x), 0)
    half = x.bfloat16()
    assert units.read(half, [0]).dtype == units.fired(half).value.dtype == torch.float32
    torch.testing.assert_close(units.read(half, range(5)), units.read(half.float(), range(5)))


@RELU
def test_a_latent_fires_and_reads_as_its_code_has_it(x, relu):
    # small enough that values below zero are among the largest
    sae, x = random_sae(relu=relu), 0.2 * x
    _, values, fires = codes_by_hand(sae, x)
    found = Latents(sae).fired(x)
    by_hand = np.zeros_like(fires)
    by_hand[found.token.numpy(), found.unit.numpy()] = True
    assert (by_hand == fires).all()
    np.testing.assert_allclose(Latents(sae).read(x, range(LATENTS)), values, rtol=1e-4, atol=1e-5)
    assert (values[fires] < 0).any() == Latents(sae).signed == (not relu)


@pytest.mark.parametrize("activation", ["relu", "jumprelu"])
def test_latents_with_thresholds_fire_above_them(x, activation):
    sae = Sae(SaeConfig(d_in=WIDTH, latents=LATENTS, activation=activation))
    weights = random_sae().state_dict()
    if activation == "jumprelu":
        weights["threshold"] = torch.linspace(0, 3, LATENTS)
    sae.load_state_dict(weights)
    units = Latents(sae.requires_grad_(False))
    over = sae.pre_activations(x) > (0 if sae.threshold is None else sae.threshold)
    found = units.fired(x)
    dense = torch.zeros_like(over)
    dense[found.token, found.unit] = True
    assert torch.equal(dense, over)
    # the first latent fills up codes of tokens that select less than others
    assert not over[:, 0].all()
    pre = sae.pre_activations(x)
    torch.testing.assert_close(units.read(x, [0, 3, 1]), torch.where(over, pre, 0)[:, [0, 3, 1]])


def test_a_neuron_is_its_coordinate_and_the_second_half_their_negations(x):
    units = Neurons(SITE, WIDTH, signed=True)
    assert len(units) == 2 * len(Neurons(SITE, WIDTH)) == 2 * WIDTH
    assert torch.equal(units.read(x, [5, WIDTH + 5]), torch.stack([x[:, 5], -x[:, 5]], 1))
    assert (units.name(5), units.name(WIDTH + 5)) == ("neuron 5", "neuron 5, negated")
    after = set_units(units, x, [WIDTH + 3], [2.5])
    assert after[:, 3].tolist() == pytest.approx([-2.5] * len(x))


def test_a_direction_is_of_length_one_and_fires_where_it_did():
    given = Directions(["a"], torch.tensor([[3.0, 4.0]]), torch.tensor([10.0]))
    torch.testing.assert_close(given.direction([0]), torch.tensor([[0.6, 0.8]], dtype=torch.float64))
    x = torch.tensor([[2.0, 1.1], [2.0, 0.9]])
    torch.testing.assert_close(given.read(x, [0])[:, 0], torch.tensor([0.08, -0.08]))
    assert given.fired(x).token.tolist() == [0]


@EVERY_KIND
def test_a_mean_pre_activation_is_that_of_the_mean_token(units, x):
    before = units.pre_activations(x.double())
    torch.testing.assert_close(units.pre_activations(x.double().mean(0, keepdim=True))[0], before.mean(0))
    if units.kind != "latent":
        torch.testing.assert_close(units.read(x, range(len(units))), before.float(), rtol=1e-4, atol=1e-5)


# ---- changing


@EVERY_KIND
def test_changing_takes_targets_token_by_token_and_in_any_precision(units, x):
    ids = [4, 0, 3]
    torch.testing.assert_close(set_units(units, x, ids, units.read(x, ids)), x, rtol=0, atol=1e-6)
    assert torch.equal(set_units(units, x, [], []), x)
    targets = torch.linspace(-2, 2, 2 * len(x)).view(-1, 2)
    together = set_units(units, x, [1, 3], targets)
    for token in (0, 17):
        alone = set_units(units, x[token : token + 1], [1, 3], targets[token].tolist())
        torch.testing.assert_close(together[token : token + 1], alone, rtol=1e-5, atol=1e-5)
    half = x.bfloat16()
    torch.testing.assert_close(set_units(units, half, [0], [1.0]), set_units(units, half.float(), [0], [1.0]))
    for wrong in (-1, len(units)):
        with pytest.raises(GlossaeError, match=f"^edit: there is no {units.kind} {wrong}; there are 0 to"):
            set_units(units, x, [0, wrong], [1.0, 1.0])


@given(st.lists(st.floats(-50, 50), min_size=4, max_size=4))
@pytest.mark.parametrize(
    "units", [Neurons(SITE, WIDTH), orthonormal(9)], ids=["neurons", "orthonormal directions"]
)
def test_what_is_set_is_read(units, targets):
    x = torch.randn(7, WIDTH, generator=torch.Generator().manual_seed(3))
    ids, rest = [7, 2, 5, 0], [1, 3, 4, 6, 8]
    after = set_units(units, x, ids, targets)
    wanted = torch.tensor(targets).expand(len(x), -1)
    torch.testing.assert_close(units.read(after, ids), wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(units.read(after, rest), units.read(x, rest), rtol=1e-4, atol=1e-4)


@RELU
def test_the_decoder_moves_by_the_difference(x, relu):
    sae = random_sae(relu=relu)
    units, ids, targets = Latents(sae), [12, 3], torch.tensor([2.0, -1.0])
    now = units.read(x, ids)
    assert (now != 0).any(0).all()
    moved = set_units(units, x, ids, targets) - x
    torch.testing.assert_close(moved, (targets - now) @ sae.W_dec[ids], rtol=1e-4, atol=1e-5)


# ---- whose units they are


def test_identities_tell_units_apart():
    sae = random_sae()
    other = copy.deepcopy(sae)
    other.b_enc.data[0] += 1e-6
    placed = Sae(dataclasses.replace(sae.config, site="resid", layer=3))
    placed.load_state_dict(sae.state_dict())
    two = Directions(["a"], torch.ones(1, 4), torch.zeros(1))
    different = [
        Latents(sae),
        Latents(other),
        Latents(placed),
        Neurons(SITE, WIDTH),
        Neurons(SITE, WIDTH, signed=True),
        Neurons(SITE, WIDTH, model="another"),
        Neurons(SITE, WIDTH + 1),
        Neurons(Site("resid", 1), WIDTH),
        two,
        Directions(["a"], torch.ones(1, 4), torch.ones(1)),
        Directions(["b"], torch.ones(1, 4), torch.zeros(1)),
        Directions(["a"], torch.ones(1, 4), torch.zeros(1), site=SITE),
    ]
    identities = [units.identity for units in different]
    assert len(set(identities)) == len(different)
    assert all(
        identity.split()[0] == units.kind and len(identity.split()) == 3
        for identity, units in zip(identities, different, strict=True)
    )
    assert Latents(placed).identity.startswith("latent resid/3 ")
    assert Latents(sae).identity == Latents(copy.deepcopy(sae)).identity
    assert two.identity == Directions(["a"], torch.ones(1, 4), torch.zeros(1)).identity


@pytest.mark.parametrize(
    ("vectors", "offsets", "line"),
    [
        (torch.zeros(1, 4), torch.zeros(1), "'a' has the length 0.0"),
        (torch.full((1, 4), torch.nan), torch.zeros(1), "'a' has the length nan"),
        (torch.ones(1, 4), torch.tensor([torch.inf]), "the offset inf"),
        (torch.ones(2, 4), torch.zeros(2), "1 names, 2 vectors and 2 offsets"),
    ],
)
def test_what_is_no_direction_is_refused(vectors, offsets, line):
    with pytest.raises(GlossaeError, match=f"^directions: .*{line}"):
        Directions(["a"], vectors, offsets)
