"""How much more often, and how much more strongly, a unit fires on one language than on others."""

import numpy as np
from jaxtyping import Bool, Float, Int

from glossae.find.scores.counts import others, rates
from glossae.find.select import paper_rule


def rate_difference(
    *, fired: Int[np.ndarray, "languages units"], tokens: Int[np.ndarray, " languages"], target: int
) -> Float[np.ndarray, " units"]:
    """The share of the target's tokens on which a unit fires, less that of the language closest to it.

    With two languages this is the difference that the paper ranks by (section 5.1); with more, the largest of
    the others' shares is taken off, so that what is Danish has to fire less on every other language.
    """
    share = rates(fired, tokens)
    difference: np.ndarray = share[target] - share[others(len(tokens), target)].max(0)
    return difference


def passes_paper_rule(
    *,
    fired: Int[np.ndarray, "languages units"],
    tokens: Int[np.ndarray, " languages"],
    target: int,
    min_target: float = 0.5,
    max_reference: float = 0.01,
) -> Bool[np.ndarray, " units"]:
    """The paper's rule (section 5.1) against every other language: more than half of the target, under 1 % of each."""
    share = rates(fired, tokens)
    passing: np.ndarray = paper_rule(
        share[target],
        share[others(len(tokens), target)].max(0),
        min_target=min_target,
        max_reference=max_reference,
    )
    return passing


def mean_difference(
    *, sums: Float[np.ndarray, "languages units"], tokens: Int[np.ndarray, " languages"], target: int
) -> Float[np.ndarray, " units"]:
    """Deng et al. 2025 (arXiv 2505.05111), nu: a unit's mean on the language less the mean of its means on the others.

    Every other language counts the same, however many tokens it has. In the unit's own values, so it compares
    units only where those have one scale.
    """
    means = rates(sums, tokens)
    nu: np.ndarray = means[target] - means[others(len(tokens), target)].mean(0)
    return nu
