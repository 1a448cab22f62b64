"""Logistic probes under an un-squared norm penalty, solved to the optimum along a path of penalties.

The objective is the paper's (section 4.1.1):

    f(w, b) = mean_i [ softplus(z_i) - y_i z_i ] + lambda * ||w||,    z_i = x_i . w + b

Because the norm is not squared, the optimum is exactly w = 0 from a critical lambda on: the norm of the loss
gradient at zero (group-lasso optimality, Yuan & Lin 2006, with one group). Away from zero f is smooth and
convex, with the Hessian X' D X + lambda / ||w|| (I - w w' / ||w||^2), and is minimised by Newton steps whose
systems are solved by preconditioned conjugate gradients. Several fits on different rows are solved at once, as
columns, so that each pass over the activations serves all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Fits = Float[Tensor, " fits"]
Weights = Float[Tensor, "d fits"]
Logits = Float[Tensor, "rows fits"]

TOLERANCE = 1e-4
# the solver's tolerance is a little below the promised one, so that the float64 check has room
WORKING_TOLERANCE = 0.3 * TOLERANCE
MAX_NEWTON_STEPS = 100
MAX_CG_STEPS = 100
# an eigendecomposition of the covariance pays for itself up to about this width
MAX_PRECONDITIONED_WIDTH = 4096
CHECK_ROWS = 8192


@dataclass(frozen=True)
class Solution:
    """The optimum at one lambda, for each fit (column).

    Attributes:
        penalty: lambda.
        weight: w; zero if collapsed.
        bias: b.
        logits: z for every row, also those that a fit did not use.
        subgradient: norm of the smallest subgradient of f, computed in float64.
    """

    penalty: Fits
    weight: Weights
    bias: Fits
    logits: Logits
    subgradient: Fits


class ProbePath:
    """Probes on one layer's activations, for several fits at once.

    Args:
        x: activations, float32.
        y: 0 or 1 for each row.
        weights: the weight of each row in each fit; columns sum to 1, held-out rows are 0.
        penalise_bias: include the bias in the norm (the paper's formula, i = 0 ... n); otherwise the bias is
            free.
    """

    def __init__(
        self, x: Float[Tensor, "rows d"], y: Float[Tensor, " rows"], weights: Logits, *, penalise_bias: bool
    ) -> None:
        self.penalise_bias = penalise_bias
        self.x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1) if penalise_bias else x
        self.y = y.double()[:, None]
        self.weights = weights.double()
        rate = (self.weights * self.y).sum(0)
        # the best bias without weights; a penalised bias starts at 0
        self._bias0 = torch.zeros_like(rate) if penalise_bias else torch.logit(rate)
        nothing = torch.zeros(self.x.shape[1], len(rate), dtype=torch.float64, device=x.device)
        self._gradient0 = self._exact_gradient(nothing, self._bias0)[0]
        self._basis, self._scales = self._preconditioner()

    @property
    def critical_penalty(self) -> Fits:
        """The lambda from which on the optimum is exactly zero: the norm of the gradient there."""
        norms: Tensor = self._gradient0.norm(dim=0)
        return norms

    def solve(self, penalties: Sequence[Fits]) -> list[Solution]:
        """Solve at each lambda (one value per fit), warm-started from the largest down; results in the given order."""
        order = sorted(range(len(penalties)), key=lambda i: -float(penalties[i].sum()))
        solutions: dict[int, Solution] = {}
        w, b = torch.zeros_like(self._gradient0), self._bias0.clone()
        for number in order:
            penalty = penalties[number].double()
            w, b = self._minimise(penalty, w, b)
            subgradient = self._checked_subgradient(penalty, w, b)
            if (subgradient > TOLERANCE).any() and self.x.dtype != torch.float64:
                # badly scaled activations: float32 products are not enough, from this lambda on
                self.x = self.x.double()
                w, b = self._minimise(penalty, w, b)
                subgradient = self._checked_subgradient(penalty, w, b)
            solutions[number] = Solution(
                penalty=penalties[number],
                weight=w[:-1] if self.penalise_bias else w,
                bias=w[-1] if self.penalise_bias else b,
                logits=self._times(w) + b,
                subgradient=subgradient,
            )
        return [solutions[number] for number in range(len(penalties))]

    # The activations enter two products only, in their own precision; all else is float64. In both products
    # the few fits are the rows of a contiguous matrix: BLAS is several times faster with a few rows than with
    # a few columns.

    def _times(self, w: Weights) -> Logits:
        return torch.nn.functional.linear(self.x, w.T.to(self.x.dtype).contiguous()).double()

    def _transposed_times(self, r: Logits) -> Weights:
        return (r.T.to(self.x.dtype).contiguous() @ self.x).T.double()

    def _objective(self, logits: Logits, norms: Fits, penalty: Fits) -> Fits:
        losses = torch.nn.functional.softplus(logits) - self.y * logits
        return (self.weights * losses).sum(0) + penalty * norms

    def _preconditioner(self) -> tuple[Float[Tensor, "d d"] | None, Float[Tensor, " d"]]:
        """Eigenvectors (None if too wide) and eigenvalues of the second moments of x."""
        rows, d = self.x.shape
        if d > MAX_PRECONDITIONED_WIDTH:
            return None, self.x.square().mean(0).double()
        scales, basis = torch.linalg.eigh((self.x.T @ self.x).double() / rows)
        return basis, scales.clamp_min(0)

    def _minimise(self, penalty: Fits, w: Weights, b: Fits) -> tuple[Weights, Fits]:
        collapsed = penalty >= self.critical_penalty
        w, b = self._leave_zero(penalty, w, b, collapsed)
        logits = self._times(w) + b
        for _ in range(MAX_NEWTON_STEPS):
            residual = self.weights * (torch.sigmoid(logits) - self.y)
            gradient_w = self._transposed_times(residual) + penalty * w / w.norm(dim=0).clamp_min(1e-300)
            gradient_b = torch.zeros_like(b) if self.penalise_bias else residual.sum(0)
            size = (gradient_w.square().sum(0) + gradient_b.square()).sqrt().masked_fill(collapsed, 0)
            active = size > WORKING_TOLERANCE
            if not active.any():
                break
            step_w, step_b, step_logits = self._newton_step(
                penalty, w, logits, gradient_w * active, gradient_b * active, size
            )
            slope = (gradient_w * step_w).sum(0) + gradient_b * step_b
            length = self._line_search(penalty, w, logits, step_w, step_logits, slope)
            if not (length * active).any():
                break
            w, b = w + length * step_w, b + length * step_b
            # recomputed rather than incremented, so that rounding does not accumulate
            logits = self._times(w) + b
        return w, b

    def _leave_zero(self, penalty: Fits, w: Weights, b: Fits, collapsed: Tensor) -> tuple[Weights, Fits]:
        """Set collapsed fits to zero; for others still at zero, take the best small step down the gradient."""
        w = w.masked_fill(collapsed, 0.0)
        b = torch.where(collapsed, self._bias0, b)
        stuck = ~collapsed & (w.norm(dim=0) == 0)
        if stuck.any():
            direction = -self._gradient0 / self.critical_penalty.clamp_min(1e-300)
            slope = self.critical_penalty - penalty
            along = self._times(direction)
            weights = self.weights * torch.sigmoid(self._bias0) * torch.sigmoid(-self._bias0)
            curvature = (weights * along.square()).sum(0)
            # along a direction f(t) = f(0) - slope t + curvature t^2 / 2 + ...; half its minimum is safe
            w = torch.where(stuck, 0.5 * slope / curvature.clamp_min(1e-300) * direction, w)
        return w, b

    def _newton_step(
        self, penalty: Fits, w: Weights, logits: Logits, gradient_w: Weights, gradient_b: Fits, size: Fits
    ) -> tuple[Weights, Fits, Logits]:
        """Solve H step = -gradient by conjugate gradients; also returns what the step does to the logits."""
        norms = w.norm(dim=0).clamp_min(1e-300)
        unit = w / norms
        stiffness = penalty / norms
        curvature = self.weights * torch.sigmoid(logits) * torch.sigmoid(-logits)
        mean_curvature = curvature.sum(0).clamp_min(1e-12)

        def precondition(v: Tensor, v_b: Tensor) -> tuple[Tensor, Tensor]:
            inner = v if self._basis is None else self._basis.T @ v
            inner = inner / (self._scales[:, None] * mean_curvature + stiffness + 1e-12)
            return (inner if self._basis is None else self._basis @ inner), v_b / mean_curvature

        step_w, step_b, step_logits = map(torch.zeros_like, (w, gradient_b, logits))
        residual_w, residual_b = -gradient_w, -gradient_b
        solved_w, solved_b = precondition(residual_w, residual_b)
        search_w, search_b = solved_w, solved_b
        energy = (residual_w * solved_w).sum(0) + residual_b * solved_b
        # far from the optimum a rough direction is enough (Dembo, Eisenstat & Steihaug 1982)
        target = size * torch.minimum(torch.full_like(size, 0.1), size.sqrt())
        for _ in range(MAX_CG_STEPS):
            search_logits = self._times(search_w) + (0 if self.penalise_bias else search_b)
            weighted = curvature * search_logits
            image_w = self._transposed_times(weighted)
            image_w = image_w + stiffness * (search_w - unit * (unit * search_w).sum(0))
            image_b = torch.zeros_like(search_b) if self.penalise_bias else weighted.sum(0)
            bend = (search_w * image_w).sum(0) + search_b * image_b
            going = bend > 0
            alpha = (energy / bend.where(going, torch.ones_like(bend))).where(going, torch.zeros_like(bend))
            step_w, step_b = step_w + alpha * search_w, step_b + alpha * search_b
            step_logits = step_logits + alpha * search_logits
            residual_w, residual_b = residual_w - alpha * image_w, residual_b - alpha * image_b
            left = (residual_w.square().sum(0) + residual_b.square()).sqrt()
            if not (going & (left > target)).any():
                break
            solved_w, solved_b = precondition(residual_w, residual_b)
            next_energy = (residual_w * solved_w).sum(0) + residual_b * solved_b
            beta = torch.where(energy > 0, next_energy / energy.clamp_min(1e-300), torch.zeros_like(energy))
            search_w, search_b = solved_w + beta * search_w, solved_b + beta * search_b
            energy = next_energy
        return step_w, step_b, step_logits

    def _line_search(
        self, penalty: Fits, w: Weights, logits: Logits, step_w: Weights, step_logits: Logits, slope: Fits
    ) -> Fits:
        """Halve each fit's step until it lowers f enough (Armijo); logits are linear in the step, so this is cheap."""
        before = self._objective(logits, w.norm(dim=0), penalty)
        length = torch.ones_like(before)
        for _ in range(40):
            after = self._objective(logits + length * step_logits, (w + length * step_w).norm(dim=0), penalty)
            # near the optimum, rounding of f itself must not reject a Newton step
            enough = after <= before + 1e-4 * length * slope + 1e-13 * before.abs()
            if enough.all():
                return length
            length = torch.where(enough, length, length / 2)
        return torch.where(enough, length, torch.zeros_like(length))

    def _checked_subgradient(self, penalty: Fits, w: Weights, b: Fits) -> Fits:
        """The norm of the smallest subgradient of f."""
        if not w.any():
            return (self.critical_penalty - penalty).clamp_min(0)
        gradient_w, gradient_b = self._exact_gradient(w, b)
        norms = w.norm(dim=0)
        at_zero = (gradient_w.norm(dim=0) - penalty).clamp_min(0)
        away = (gradient_w + penalty * w / norms.clamp_min(1e-300)).norm(dim=0)
        return (torch.where(norms == 0, at_zero, away).square() + gradient_b.square()).sqrt()

    def _exact_gradient(self, w: Weights, b: Fits) -> tuple[Weights, Fits]:
        """Gradient of the loss in w and b with every product in float64, a slab of rows at a time."""
        gradient_w, gradient_b = torch.zeros_like(w), torch.zeros_like(b)
        for start in range(0, len(self.x), CHECK_ROWS):
            rows = slice(start, start + CHECK_ROWS)
            x = self.x[rows].double()
            residual = self.weights[rows] * (torch.sigmoid(x @ w + b) - self.y[rows])
            gradient_w += x.T @ residual
            gradient_b += residual.sum(0)
        return gradient_w, torch.zeros_like(gradient_b) if self.penalise_bias else gradient_b
