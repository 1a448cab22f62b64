"""Directions that tell a language from others: the baselines that latents have to beat."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from glossae.errors import GlossaeError
from glossae.lm import Site
from glossae.probe import ProbePath
from glossae.units.directions import Directions
from glossae.units.moments import Moments

# the penalty of a probe's norm, as a share of the critical one (see `glossae.probe`)
PENALTY_SHARE = 0.1
# a share of a variance that is no more than the rounding of sums of float64
ROUNDING = 1e-12


def difference_of_means(moments: Moments, target: str, others: Sequence[str] = ()) -> Directions:
    """The mean of the target less that of each other language, and less that of all others together.

    Offsets lie midway between the two means. All others together is the mean of their means, so that each counts
    alike whatever text there is of it. With one other language there is one direction.

    Args:
        moments: of the activations.
        target: the language that directions point to.
        others: the languages they point away from; every other one if none is named.

    Raises:
        GlossaeError: there is no text in a language, or two have the same mean.
    """
    contrasts = _contrasts(moments, target, others)
    vectors = torch.stack([one - other for _, one, other in contrasts])
    middles = torch.stack([(one + other) / 2 for _, one, other in contrasts])
    names = [f"difference of means: {name}" for name, _, _ in contrasts]
    return Directions(names, vectors, (vectors * middles).sum(1), site=moments.site)


def discriminants(
    moments: Moments, target: str, others: Sequence[str] = (), *, shrinkage: float | None = None
) -> Directions:
    """Linear discriminants (Fisher 1936): the inverse of the covariance within languages, times the differences.

    The covariance S, pooled over all languages of the moments, is shrunk to (1 - s) S + s tr(S) / d I. Offsets lie
    midway between the two means, as for equal priors.

    Args:
        moments: of the activations, with products.
        target: the language that directions point to.
        others: the languages they point away from, each by itself and all together.
        shrinkage: s, between 0 and 1; None: the oracle-approximating one (see `oas`).

    Raises:
        GlossaeError: there is no text in a language, two have the same mean, the moments have no products, or the
            covariance cannot be inverted.
    """
    covariance = moments.pooled_covariance()
    share = oas(covariance, int(moments.tokens.sum())) if shrinkage is None else shrinkage
    level = covariance.diagonal().mean()
    shrunk = (1 - share) * covariance
    shrunk.diagonal().add_(share * level)
    contrasts = _contrasts(moments, target, others)
    differences = torch.stack([one - other for _, one, other in contrasts])
    factor, failed = torch.linalg.cholesky_ex(shrunk)
    # What of each coordinate's variance those before it leave. Of one that they give whole, rounding alone is left,
    # above zero or below it as the machine has it: that the factorisation goes through says nothing.
    left = factor.diagonal().square() / shrunk.diagonal()
    if int(failed) or not bool((left > ROUNDING).all()):
        raise GlossaeError(
            "directions: the covariance cannot be inverted; more text or more shrinkage may help"
        )
    vectors = torch.cholesky_solve(differences.T, factor).T
    middles = torch.stack([(one + other) / 2 for _, one, other in contrasts])
    names = [f"linear discriminant: {name}" for name, _, _ in contrasts]
    return Directions(names, vectors, (vectors * middles).sum(1), site=moments.site)


def oas(covariance: Float[Tensor, "d d"], samples: int) -> float:
    """The oracle-approximating shrinkage of a covariance, from itself and the number of samples.

    Chen, Wiesel, Eldar and Hero (2010), eq. 23, as scikit-learn has it: for large d, with 2 / d taken as 0.
    """
    d = len(covariance)
    level = covariance.diagonal().mean().square()
    spread = covariance.square().mean()
    denominator = (samples + 1) * (spread - level / d)
    return 1.0 if denominator <= 0 else min(float((spread + level) / denominator), 1.0)


def probe_normal(
    x: Float[Tensor, "tokens d_in"],
    languages: Shaped[np.ndarray, " tokens"],
    target: str,
    others: Sequence[str] = (),
    *,
    share: float = PENALTY_SHARE,
    site: Site | None = None,
) -> Directions:
    """The normal of a logistic probe of the target against all the others, in the site's own coordinates.

    It is fitted on activations of mean 0 and variance 1, both sides having the same weight, under a penalty of
    `share` of the critical one (`glossae.probe.ProbePath`). It fires where the probe says target.

    Args:
        x: activations.
        languages: of each.
        target: what the probe finds.
        others: what it finds it among; every other language if none is named.
        share: of the lambda from which on the probe is zero; below 1.
        site: where the activations are from.

    Raises:
        GlossaeError: there is no text on one of the sides, or `share` leaves nothing of the probe.
    """
    positive = languages == target
    negative = np.isin(languages, list(others)) if others else ~positive
    negative &= ~positive
    for side, where in ((target, positive), (" and ".join(others) or f"all but {target}", negative)):
        if not where.any():
            raise GlossaeError(f"directions: a probe of '{target}' has no text of '{side}'")
    used = torch.from_numpy(positive | negative).to(x.device)
    y = torch.from_numpy(positive).to(x.device)[used].double()
    chosen = x[used].double()
    mean = chosen.mean(0)
    deviation = (chosen - mean).square().mean(0).sqrt()
    deviation = torch.where(deviation > 0, deviation, 1.0)
    weights = torch.where(y > 0, 0.5 / y.sum(), 0.5 / (1 - y).sum())
    path = ProbePath(((chosen - mean) / deviation).float(), y, weights[:, None], penalise_bias=False)
    (solution,) = path.solve([share * path.critical_penalty])
    if not solution.weight.any():
        raise GlossaeError(f"directions: a penalty of {share} times the critical one leaves a probe of zero")
    weight = solution.weight[:, 0] / deviation
    offset = weight @ mean - solution.bias[0]
    name = f"probe: {target} against {' and '.join(others) or 'all others'}"
    return Directions([name], weight[None], offset[None], site=site)


def random_directions(
    count: int,
    d_in: int,
    *,
    seed: int,
    centre: Float[Tensor, " d_in"] | None = None,
    site: Site | None = None,
) -> Directions:
    """Directions drawn evenly from the sphere: what a direction does that means nothing.

    Args:
        count: how many.
        d_in: width of the site.
        seed: the same seed gives the same directions.
        centre: where they read 0, such as the mean activation; the origin if it is None.
        site: where they are.
    """
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(count, d_in, generator=generator, dtype=torch.float64)
    offsets = torch.zeros(count, dtype=torch.float64) if centre is None else vectors @ centre.double().cpu()
    return Directions([f"random direction {seed}.{i}" for i in range(count)], vectors, offsets, site=site)


def _contrasts(
    moments: Moments, target: str, others: Sequence[str]
) -> list[tuple[str, Float[Tensor, " d_in"], Float[Tensor, " d_in"]]]:
    """The target's mean beside that of each other language, and of all together where there are several."""
    names = list(others) or [language for language in moments.languages if language != target]
    own = moments.mean(target)
    if not names or target in names:
        raise GlossaeError(f"directions: '{target}' needs other languages to be told from")
    means = {name: moments.mean(name) for name in names}
    contrasts = [(f"{target} against {name}", own, mean) for name, mean in means.items()]
    if len(names) > 1:
        together = torch.stack(list(means.values())).mean(0)
        label = "all others" if not others else " and ".join(names)
        contrasts.append((f"{target} against {label}", own, together))
    return contrasts
