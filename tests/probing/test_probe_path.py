"""Probes are at their optimum, and exactly zero from the critical lambda on."""

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glossae.probing import ProbePath

PROTOCOLS = pytest.mark.parametrize("published", [True, False], ids=["published", "controlled"])


def data(seed, *, rows=120, width=6, fits=2, scales=None, shift=0.0, noise=1.0):
    """Labels that depend on a direction, and random parts of the rows held out of each fit."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, width))
    y = (x @ generator.normal(size=width) + noise * generator.normal(size=rows) > 0.3).astype(float)
    y[:2] = 0, 1
    x = (x + shift) * (np.ones(width) if scales is None else scales)
    weights = (generator.random((rows, fits)) < 0.8).astype(float)
    weights[:2] = 1
    return torch.from_numpy(x).float(), torch.from_numpy(y), torch.from_numpy(weights / weights.sum(0))


def same(penalty, fits=2):
    return torch.full((fits,), penalty, dtype=torch.float64)


def gradient(x, y, weights, w, b):
    """Of the loss, by hand."""
    residual = weights * (1 / (1 + np.exp(-(x @ w + b))) - y)
    return x.T @ residual, residual.sum()


def subgradient(x, y, weights, penalty, w, b, *, published):
    """The norm of the smallest subgradient of the objective, by hand."""
    slope_w, slope_b = gradient(x, y, weights, w, b)
    if published:
        w, slope_w, slope_b = np.append(w, b), np.append(slope_w, slope_b), 0.0
    norm = np.linalg.norm(w)
    inside = slope_w + penalty * w / norm if norm else slope_w * max(0, 1 - penalty / np.linalg.norm(slope_w))
    return np.hypot(np.linalg.norm(inside), slope_b)


def critical_by_hand(x, y, weights, *, published):
    x = np.column_stack([x, np.ones(len(x))]) if published else x
    expected = 0.5 if published else (weights * y).sum()
    return np.linalg.norm(x.T @ (weights * (expected - y)))


def assert_optimal(solution, x, y, weights, *, published):
    x, y, weights = (tensor.double().numpy() for tensor in (x, y, weights))
    for fit in range(weights.shape[1]):
        w, b = solution.weight[:, fit].numpy(), float(solution.bias[fit])
        size = subgradient(x, y, weights[:, fit], float(solution.penalty[fit]), w, b, published=published)
        assert size <= 1e-4
        assert float(solution.subgradient[fit]) == pytest.approx(size, abs=1e-6)


# ---- the optimum


@PROTOCOLS
@settings(max_examples=20)
@given(
    seed=st.integers(0, 10_000),
    shares=st.lists(st.floats(0.001, 1.5), min_size=1, max_size=4),
    noise=st.sampled_from([0.0, 0.3, 3.0]),
    powers=st.none() | st.lists(st.floats(-3, 3), min_size=6, max_size=6),
    shift=st.sampled_from([0.0, 5.0, -100.0]),
)
def test_every_solution_is_optimal_also_on_badly_scaled_activations(
    published, seed, shares, noise, powers, shift
):
    scaled = {} if powers is None else {"scales": 10.0 ** np.array(powers), "shift": shift}
    x, y, weights = data(seed, noise=noise, **scaled)
    path = ProbePath(x, y, weights, penalise_bias=published)
    for solution in path.solve([share * path.critical_penalty for share in shares]):
        assert_optimal(solution, x, y, weights, published=published)
        assert solution.logits.shape == (120, 2)


@PROTOCOLS
def test_the_papers_lambdas_are_solved_on_activations_with_an_outlier(published):
    scales = np.ones(40)
    scales[3] = 300
    x, y, weights = data(0, rows=800, width=40, scales=scales)
    path = ProbePath(x, y, weights, penalise_bias=published)
    for solution in path.solve([same(float(penalty)) for penalty in np.geomspace(0.1, 30, 10)]):
        assert_optimal(solution, x, y, weights, published=published)


@PROTOCOLS
@pytest.mark.parametrize("share", [0.5, 0.1, 0.02])
def test_the_solution_equals_an_independent_solvers(published, share):
    x, y, weights = data(3, fits=1)
    path = ProbePath(x, y, weights, penalise_bias=published)
    (solution,) = path.solve([share * path.critical_penalty])
    penalty = share * float(path.critical_penalty)
    x, y, weights = x.double().numpy(), y.numpy(), weights[:, 0].numpy()

    def objective(parameters):
        w, b = parameters[:-1], parameters[-1]
        z = x @ w + b
        penalised = parameters if published else w
        return (weights * (np.logaddexp(0, z) - y * z)).sum() + penalty * np.linalg.norm(penalised)

    found = scipy.optimize.minimize(objective, np.full(7, 0.1), method="BFGS", options={"gtol": 1e-7})
    expected = found.x
    np.testing.assert_allclose(solution.weight[:, 0], expected[:-1], atol=1e-3)
    np.testing.assert_allclose(solution.bias[0], expected[-1], atol=1e-3)


@PROTOCOLS
def test_logits_are_those_of_all_rows(published):
    x, y, weights = data(4)
    path = ProbePath(x, y, weights, penalise_bias=published)
    (solution,) = path.solve([0.1 * path.critical_penalty])
    torch.testing.assert_close(
        solution.logits, x.double() @ solution.weight + solution.bias, atol=1e-5, rtol=1e-5
    )
    assert solution.logits.shape == (120, 2)


# ---- the critical lambda


@PROTOCOLS
@settings(max_examples=10)
@given(seed=st.integers(0, 10_000), power=st.floats(-2, 2))
def test_the_critical_lambda_is_the_gradients_norm_at_zero(published, seed, power):
    x, y, weights = data(seed, scales=10**power)
    path = ProbePath(x, y, weights, penalise_bias=published)
    for fit in range(2):
        expected = critical_by_hand(
            x.double().numpy(), y.numpy(), weights[:, fit].numpy(), published=published
        )
        assert float(path.critical_penalty[fit]) == pytest.approx(expected, rel=1e-6)


@PROTOCOLS
@settings(max_examples=10)
@given(seed=st.integers(0, 10_000))
def test_weights_are_exactly_zero_from_the_critical_lambda_on_and_not_below(published, seed):
    x, y, weights = data(seed)
    path = ProbePath(x, y, weights, penalise_bias=published)
    at, above, below = path.solve([share * path.critical_penalty for share in (1.0, 3.0, 0.999)])
    for collapsed in (at, above):
        assert not collapsed.weight.any()
        assert (collapsed.subgradient <= 1e-4).all()
    assert (below.weight.norm(dim=0) > 0).all()
    if published:
        assert not at.bias.any()
        assert not at.logits.any()
    else:
        # the bias alone: the share of ones among the rows of each fit
        torch.testing.assert_close(torch.sigmoid(at.bias), (weights * y[:, None]).sum(0))


@PROTOCOLS
def test_fits_may_collapse_apart(published):
    x, y, weights = data(5)
    path = ProbePath(x, y, weights, penalise_bias=published)
    low, high = path.critical_penalty.sort().values
    between = (low + high) / 2
    (solution,) = path.solve([between.expand(2)])
    assert (solution.weight.norm(dim=0) == 0).tolist() == (path.critical_penalty == low).tolist()
    assert_optimal(solution, x, y, weights, published=published)


# ---- the path


@PROTOCOLS
@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]])
def test_the_order_of_lambdas_does_not_matter(published, order):
    shares = [1.2, 0.6, 0.2, 0.05]
    x, y, weights = data(6)

    def path():
        return ProbePath(x, y, weights, penalise_bias=published)

    critical = path().critical_penalty
    warm = path().solve([shares[i] * critical for i in order])
    for number, solution in zip(order, warm, strict=True):
        (cold,) = path().solve([shares[number] * critical])
        assert torch.equal(solution.penalty, cold.penalty)
        torch.testing.assert_close(solution.weight, cold.weight, atol=2e-3, rtol=2e-3)
        torch.testing.assert_close(solution.bias, cold.bias, atol=2e-3, rtol=2e-3)


@PROTOCOLS
def test_fits_do_not_see_each_other_nor_the_rows_held_out(published):
    x, y, weights = data(7)
    path = ProbePath(x, y, weights, penalise_bias=published)
    (together,) = path.solve([0.1 * path.critical_penalty])
    for fit in range(2):
        fitted = weights[:, fit] > 0
        alone = ProbePath(x[fitted], y[fitted], weights[fitted, fit : fit + 1], penalise_bias=published)
        (solution,) = alone.solve([0.1 * alone.critical_penalty])
        torch.testing.assert_close(solution.weight[:, 0], together.weight[:, fit], atol=2e-3, rtol=2e-3)


def test_the_norm_falls_as_lambda_rises():
    x, y, weights = data(8)
    path = ProbePath(x, y, weights, penalise_bias=False)
    norms = [
        s.weight.norm(dim=0) for s in path.solve([share * path.critical_penalty for share in (0.9, 0.3, 0.1)])
    ]
    assert (norms[0] < norms[1]).all()
    assert (norms[1] < norms[2]).all()
