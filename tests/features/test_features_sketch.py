"""What a sketch says of a unit is within its bound of what all the values say."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from glossae.units import LAYOUTS
from glossae.units.sketch import auroc, average_precision

LAYOUT_NAMES = list(LAYOUTS)


def histogram(layout, values):
    """Bins of float32 values, one unit."""
    values = torch.as_tensor(values, dtype=torch.float32)
    return torch.bincount(layout.of(values[values != 0]), minlength=layout.bins)[None]


def estimates(name, positive, negative):
    layout = LAYOUTS[name]
    args = (
        layout,
        histogram(layout, positive),
        len(positive),
        histogram(layout, negative),
        len(negative),
    )
    return auroc(*args), average_precision(*args)


def exact(positive, negative):
    labels = [1] * len(positive) + [0] * len(negative)
    values = np.array([*positive, *negative], dtype=np.float32)
    return roc_auc_score(labels, values), average_precision_score(labels, values)


# ---- bins


@pytest.mark.parametrize("name", LAYOUT_NAMES)
def test_layouts_have_the_bins_they_promise(name):
    layout = LAYOUTS[name]
    assert layout.bins == {"positive": 64, "signed": 64, "fine": 256}[name]
    assert layout.zero == (layout.bins // 2 if layout.signed else 0)
    edges = layout.magnitudes
    assert (edges.diff() > 0).all()
    assert edges[0] == 2.0**-12
    # no bin among the usual values is wider than it should be
    ratio = (edges[1:] / edges[:-1])[(edges[:-1] >= 2.0**-4) & (edges[1:] <= 2.0**8)]
    assert ratio.max() <= 1 + 1 / layout.per_octave


@pytest.mark.parametrize("name", LAYOUT_NAMES)
@given(
    st.lists(
        st.floats(-(2.0**100), 2.0**100, width=32).filter(bool)
        | st.floats(-(2.0**9), 2.0**9, width=32).filter(bool),
        min_size=2,
        max_size=40,
    )
)
def test_bins_are_intervals_in_the_order_of_values(name, values):
    layout = LAYOUTS[name]
    values = torch.tensor(values, dtype=torch.float32)
    values = values if layout.signed else values.abs()
    bins = layout.of(values)
    assert (bins >= 0).all()
    assert (bins < layout.bins).all()
    assert (bins[values.argsort()].diff() >= 0).all()
    assert torch.equal(bins >= layout.zero, values > 0)
    if layout.signed:
        assert torch.equal(layout.of(-values), layout.bins - 1 - bins)
    # the edge itself belongs to the bin above it
    magnitude = values.abs().double().clamp_min(2.0**-12)
    expected = torch.searchsorted(layout.magnitudes, magnitude, right=True) - 1
    assert torch.equal(bins[values > 0] - layout.zero, expected[values > 0])


def test_edges_never_change():
    # files of different releases have to merge: a change here needs a new format
    positive, signed = LAYOUTS["positive"], LAYOUTS["signed"]
    values = torch.tensor([1e-9, 0.0625, 0.999, 1.0, 1.24, 1.25, 1.75, 2.0, 255.9, 256.0, 1e30])
    assert positive.of(values).tolist() == [0, 8, 23, 24, 24, 25, 27, 28, 55, 56, 63]
    assert signed.of(values).tolist() == [32, 36, 43, 44, 44, 44, 45, 46, 59, 60, 63]
    assert signed.of(-values).tolist() == [31, 27, 20, 19, 19, 19, 18, 17, 4, 3, 0]
    fine = LAYOUTS["fine"].of(values)
    assert fine.tolist() == [128, 144, 175, 176, 177, 178, 182, 184, 239, 240, 255]


# ---- estimates

VALUES = st.lists(
    st.sampled_from([0.0, 0.0, 0.5, 1.0, 3.0])
    | st.floats(0.0625, 8, width=32)
    | st.floats(1.0, 1.25, width=32),
    min_size=1,
    max_size=40,
)
SIGNED_VALUES = st.lists(
    st.sampled_from([0.0, -1.0, 1.0]) | st.floats(-8, 8, width=32), min_size=1, max_size=40
)


def check(name, positive, negative):
    found = estimates(name, positive, negative)
    for estimate, truth in zip(found, exact(positive, negative), strict=True):
        # scikit-learn adds up in floats as well
        assert abs(float(estimate.value) - truth) <= float(estimate.bound) + 1e-9
        assert float(estimate.bound) <= 1


@given(VALUES, VALUES)
def test_of_positive_values_an_estimate_is_within_its_bound(positive, negative):
    check("positive", positive, negative)


@pytest.mark.parametrize("name", ["signed", "fine"])
@given(SIGNED_VALUES, SIGNED_VALUES)
def test_of_signed_values_an_estimate_is_within_its_bound(name, positive, negative):
    check(name, positive, negative)


@given(
    st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 9.0]), min_size=1, max_size=30),
    st.lists(st.sampled_from([0.0, 0.7, 1.3, 3.0]), min_size=1, max_size=30),
)
def test_where_no_bin_has_both_it_is_exact(positive, negative):
    found, _ = estimates("positive", positive, negative)
    assert float(found.value) == pytest.approx(exact(positive, negative)[0], abs=1e-12)
    assert float(found.bound) == 0


def test_ties_in_a_bin_count_half():
    found, _ = estimates("positive", [1.0, 1.2], [1.1, 1.1])
    assert (float(found.value), float(found.bound)) == (0.5, 0.5)
    # zeros are ties in truth, so there is nothing to be wrong about
    found, precision = estimates("positive", [0.0, 1.0], [0.0, 0.0])
    assert (float(found.value), float(found.bound)) == (0.75, 0.0)
    assert float(precision.value) == pytest.approx(0.5 * 1 + 0.5 * 2 / 4)
    assert float(precision.bound) < 1e-9


@pytest.mark.parametrize("name", LAYOUT_NAMES)
def test_of_many_values_estimates_are_close(name):
    # two units at once: one that tells the languages apart, one that does not
    generator = np.random.default_rng(0)
    layout = LAYOUTS[name]
    positive, negative = generator.normal(1, 1, size=(2, 4000)), generator.normal(0, 1, size=(2, 6000))
    positive[1] -= 1
    if not layout.signed:
        positive, negative = positive.clip(0), negative.clip(0)
    args = (
        layout,
        torch.cat([histogram(layout, row) for row in positive]),
        4000,
        torch.cat([histogram(layout, row) for row in negative]),
        6000,
    )
    for found, which in ((auroc(*args), 0), (average_precision(*args), 1)):
        truth = [exact(*rows)[which] for rows in zip(positive, negative, strict=True)]
        error = np.abs(found.value.numpy() - truth)
        assert (error <= found.bound.numpy()).all()
        assert error.max() < {"positive": 2e-3, "signed": 1e-2, "fine": 1e-3}[name]


def test_units_do_not_depend_on_each_other(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    layout = LAYOUTS["positive"]
    one, other = torch.randint(0, 9, (2, 23, layout.bins), generator=generator)
    args = (layout, one, 1000, other, 2000)
    whole = [auroc(*args), average_precision(*args)]
    monkeypatch.setattr("glossae.units.sketch.UNITS_AT_ONCE", 4)
    for parts, together in zip([auroc(*args), average_precision(*args)], whole, strict=True):
        assert torch.equal(parts.value, together.value)
        assert torch.equal(parts.bound, together.bound)
        assert len(parts.value) == 23


def test_without_tokens_on_a_side_nothing_is_known():
    layout = LAYOUTS["positive"]
    some, none = histogram(layout, [1.0, 2.0]), histogram(layout, [])
    assert float(auroc(layout, some, 2, none, 0).value) == 0.5
    assert float(auroc(layout, none, 0, some, 2).value) == 0.5
    assert float(average_precision(layout, some, 2, none, 0).value) == 1
    assert average_precision(layout, none, 0, some, 2).value.isnan().all()
