"""Every operation is its formula, on units of every kind; edits go to JSON and back; what is no edit is refused."""

import dataclasses
import json

import pytest
import torch
from effects_sae import LATENTS, SITE, D, dense_code, random_sae
from hypothesis import given
from hypothesis import strategies as st

from glossae.effects import OPERATIONS, Edit, compile_edits
from glossae.errors import GlossaeError
from glossae.lm import POSITIONS, edit
from glossae.sae import Sae, SaeConfig
from glossae.units import Directions, Latents, Neurons, changed

IDS = (30, 2)


@pytest.fixture(scope="module")
def sae():
    return random_sae()


@pytest.fixture(scope="module")
def every_kind(sae):
    """Units of every kind, all with a unit 30; the directions are not orthogonal, nor without offsets."""
    generator = torch.Generator().manual_seed(1)
    vectors = torch.randn(31, D, generator=generator) + 0.3
    directions = Directions([f"d{i}" for i in range(31)], vectors, torch.linspace(-1, 1, 31))
    return [Latents(sae), Neurons(SITE, D), Neurons(SITE, D, signed=True), directions]


@pytest.fixture(scope="module")
def x():
    """Any tensor; many of the latents fire on it."""
    return 2 * torch.randn(50, D, generator=torch.Generator().manual_seed(2))


def rows(units, ids=IDS):
    return units.direction(ids).float()


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


# ---- formulas


def test_each_operation_is_its_formula(every_kind, x):
    for units in every_kind:
        r, directions = units.read(x, IDS), rows(units)
        values = torch.tensor([1.5, -0.5])
        expected = {
            "set": x + (values - r) @ directions,
            "mean": x + (values - r) @ directions,
            "zero": x - r @ directions,
            "scale": x + (values * r - r) @ directions,
            "add": x + 1.5 * directions[0] - 0.5 * directions[1],
        }
        for operation, tensor in expected.items():
            targets = () if operation == "zero" else (1.5, -0.5)
            close(Edit(operation, IDS, targets).compile(units)(x), tensor)
            assert not torch.allclose(tensor, x, atol=1e-2)
        assert torch.equal(Edit("none").compile(units)(x), x)


def test_spliced_the_same_stands_on_the_reconstruction(sae, x):
    code = dense_code(sae, x)
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
        found = Edit(operation, IDS, targets, splice=True).compile(sae)(x)
        close(found, after @ sae.W_dec + sae.b_dec)
    projected = Edit("project_out", IDS, splice=True).compile(sae)(x)
    close(projected, Edit("project_out", IDS).compile(sae)(reconstruction))


def test_scaling_by_one_adding_nothing_and_ones_own_values_change_nothing(every_kind, x):
    for units in every_kind:
        for change in (Edit("scale", IDS, (1.0, 1.0)), Edit("add", IDS, (0.0, 0.0))):
            torch.testing.assert_close(change.compile(units)(x), x, atol=1e-6, rtol=0)
        torch.testing.assert_close(changed(units, x, IDS, units.read(x, IDS)), x, atol=1e-5, rtol=0)
        zero = Edit("scale", IDS, (0.0, 0.0)).compile(units)(x)
        close(zero, Edit("zero", IDS).compile(units)(x))


def test_projecting_out_is_directional_ablation(every_kind, x):
    for units in every_kind:
        d = rows(units, (30,))[0]
        d = d / d.norm()
        component = x @ d
        close(Edit("project_out", (30,)).compile(units)(x), x - component[:, None] * d)
        close(Edit("project_out", (30,), (0.7,)).compile(units)(x), x - (component - 0.7)[:, None] * d)


@pytest.mark.parametrize("targets", [(), (0.7, -1.2)])
def test_several_units_are_projected_out_along_their_span(every_kind, x, targets):
    for units in every_kind:
        directions = rows(units)
        directions = directions / directions.norm(dim=1, keepdim=True)
        found = Edit("project_out", IDS, targets).compile(units)(x)
        close(found @ directions.T, torch.tensor(targets or (0.0, 0.0)).expand(len(x), 2))
        # nothing but the span is touched
        span = torch.linalg.qr(directions.T).Q
        away = torch.eye(D) - span @ span.T
        close(found @ away, x @ away)


def test_units_that_say_the_same_are_projected_out_like_one(x):
    neurons = Neurons(SITE, D, signed=True)
    found = Edit("project_out", (5, 5 + D)).compile(neurons)(x)
    expected = x.clone()
    expected[:, 5] = 0
    close(found, expected)


def test_projected_to_a_mean_they_have_its_components(every_kind, x):
    mean = x[:9].mean(0)
    for units in every_kind:
        change = Edit.project_to(units, IDS, mean, positions="not_first")
        assert (change.operation, change.positions) == ("project_out", "not_first")
        found = change.compile(units)(x)
        close(found @ rows(units).T, (rows(units) @ mean).expand(len(x), 2))


def test_half_precision_is_computed_in_single(every_kind, x):
    half = x.bfloat16()
    for units in every_kind:
        for change in (
            Edit("scale", IDS, (2.0, 2.0)),
            Edit("project_out", IDS),
            Edit("add", IDS, (1.0, 1.0)),
        ):
            found = change.compile(units)(half)
            assert found.dtype == torch.float32
            close(found, change.compile(units)(half.float()))


# ---- many at once


def test_edits_compiled_together_are_those_compiled_alone(sae, every_kind, x):
    changes = [
        Edit("set", IDS, (1.5, -0.5)),
        Edit("none", splice=True),
        Edit("zero", IDS, splice=True),
        Edit("scale", (7,), (2.0,)),
        Edit("project_out", IDS),
    ]
    together = compile_edits(changes, sae)
    with torch.no_grad():
        for tensor in (x, 3 * x, x):
            for fn, change in zip(together, changes, strict=True):
                assert torch.equal(fn(tensor), change.compile(sae)(tensor))
    assert [fn(x).shape for fn in compile_edits(changes[3:], every_kind[3])] == [x.shape] * 2


def test_together_they_encode_a_tensor_once(sae, x, monkeypatch):
    encode, calls = Sae.encode, []

    def counted(self, tensor):
        calls.append(len(tensor))
        return encode(self, tensor)

    monkeypatch.setattr(Sae, "encode", counted)
    fns = compile_edits([Edit("set", IDS, (float(v), 0.0), splice=v > 3) for v in range(6)], sae)
    with torch.no_grad():
        for fn in fns:
            fn(x)
        assert calls == [50]
        # another tensor, and the same one after it was written into
        other = x[:7].clone()
        before = fns[0](other)
        other += 1
        assert not torch.allclose(fns[0](other), before + 1)
    assert calls == [50, 7, 7]
    # while gradients are recorded every edit has its own
    fns[0](x)
    fns[1](x)
    assert calls[3:] == [50, 50]


def test_gradients_go_through_an_edit(sae):
    for units in (sae, Neurons(SITE, D)):
        x = torch.randn(4, D, requires_grad=True)
        for change in (
            Edit("scale", IDS, (2.0, 0.5)),
            Edit("project_out", IDS),
            Edit("add", IDS, (1.0, 1.0)),
        ):
            (gradient,) = torch.autograd.grad(change.compile(units)(x).square().sum(), x)
            assert torch.isfinite(gradient).all()


# ---- as data


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.sampled_from(OPERATIONS),
    st.dictionaries(st.integers(0, 10**6), finite, max_size=4),
    st.booleans(),
    st.none() | finite,
    st.sampled_from(POSITIONS),
)
def test_to_json_and_back(operation, units, splice, value, positions):
    units = {} if operation == "none" else units
    targets = () if operation == "zero" else tuple(units.values())
    change = Edit(operation, tuple(units), targets, splice, value, positions)
    text = json.dumps(change.to_json(), allow_nan=False)
    assert Edit.from_json(json.loads(text)) == change


def test_keys_that_are_not_there_have_their_defaults():
    assert Edit.from_json({"operation": "set", "units": [3], "targets": [2]}) == Edit("set", (3,), (2.0,))


GOOD = Edit("set", (3, 4), (1.0, 2.0), value=1.0).to_json()


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("targets", [1.0, float("nan")], r"edit: targets\[1\]: nan is not a finite number"),
        ("targets", [float("-inf"), 1.0], r"edit: targets\[0\]: -inf is not a finite number"),
        ("value", float("inf"), "edit: value: inf is not a finite number"),
        ("targets", [1.0, None], r"edit: targets: \[1.0, None\] is not a list of numbers"),
        ("targets", [1.0], "edit: 2 units but 1 values"),
        ("units", [3, 3], "edit: the unit 3 is named twice"),
        ("units", [3, 4.5], r"edit: units: \[3, 4.5\] is not a list of whole numbers"),
        ("units", [3, True], r"edit: units: \[3, True\] is not a list of whole numbers"),
        ("units", 3, "edit: units: 3 is not a list of whole numbers"),
        ("splice", 1, "edit: splice: 1 is not true or false"),
        ("operation", "sett", "edit: operation: 'sett' is not one of none, set, zero, mean, scale, add, "),
        ("operation", 4, "edit: operation: 4 is not a word"),
        ("operation", "none", "edit: units: 'none' changes no unit, so it has none"),
        ("operation", "zero", "edit: targets: 'zero' has none; 'set' takes values"),
        ("positions", "first", "edit: positions: 'first' is not one of all, not_first, "),
        ("dose", 4, "edit: dose: is not a key of an edit; there are operation, units, "),
    ],
)
def test_what_is_no_edit_is_refused_by_its_key(key, value, line):
    with pytest.raises(GlossaeError, match=f"^{line}"):
        Edit.from_json(GOOD | {key: value})


def test_what_is_no_object_or_has_no_operation_is_refused():
    with pytest.raises(GlossaeError, match="^edit: it has to be a JSON object, not list$"):
        Edit.from_json([GOOD])
    with pytest.raises(GlossaeError, match="^edit: operation: is missing$"):
        Edit.from_json({"units": [1]})
    with pytest.raises(GlossaeError, match="^edit: 2 units but 0 values$"):
        Edit("scale", (1, 2))


# ---- what does not fit the units


def test_units_that_are_not_there_are_refused(every_kind):
    for units in every_kind:
        for change in (Edit("zero", (0, len(units))), Edit("project_out", (len(units),))):
            with pytest.raises(
                GlossaeError, match=f"^edit: there is no {units.kind} {len(units)}; there are 0 to"
            ):
                change.compile(units)
        with pytest.raises(GlossaeError, match="^edit: there is no"):
            Edit.project_to(units, (len(units),), torch.zeros(D))


def test_a_site_of_another_width_is_refused(tiny_lm, tiny_tokens, every_kind):
    for units in every_kind:
        with pytest.raises(
            GlossaeError, match=f"^edit: the {units.kind}s are of a site of d_in 48, and this one is 32 wide"
        ):
            Edit("zero", IDS).compile(units)(torch.zeros(3, 32))


def test_a_latent_that_writes_nothing_cannot_be_projected_out():
    sae = Sae(SaeConfig(d_in=D, latents=LATENTS, k=4))
    with pytest.raises(GlossaeError, match="^edit: latent 3 has no direction to be projected on"):
        Edit("project_out", (3,)).compile(sae)


def test_a_site_that_the_model_lacks_is_refused(tiny_lm, sae):
    with (
        pytest.raises(GlossaeError, match="^layer: .* has the layers 0 to 2, and 9 is not one of them$"),
        edit(tiny_lm, SITE._replace(layer=9), Edit("zero", IDS).compile(sae)),
    ):
        pass


def test_an_edit_stays_itself():
    change = Edit("set", IDS, (1.0, 2.0))
    with pytest.raises(dataclasses.FrozenInstanceError):
        change.operation = "zero"
    assert len({change, Edit("set", IDS, (1.0, 2.0))}) == 1
