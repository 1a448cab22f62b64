"""The null that matters with thousands of sentences: AUROC no larger than a stated minimum.

The exact p-value. AUROC is the mean of a kernel in [0, 1], "the sentence of a has the larger value", over all
comparisons of a sentence of a with one of b. Suppose that a mean can be written as an average of means W, each over
at least m comparisons no two of which share a cluster. Then each W is a mean of m or more independent variables in
[0, 1] with expectation A, and Hoeffding (1963, section 5, by Jensen's inequality, with theorem 1 in its
Chernoff form) gives, for A <= A0 and estimate > A0,

    P(estimate >= a) <= exp(-m KL(a || A0)),   KL(a || A0) = a log(a / A0) + (1 - a) log((1 - a) / (1 - A0)).

It holds for every number of sentences and every distribution. It asks that clusters are independent of each other and
that a sentence's distribution is its language's, whatever cluster it is in.

How large m is. Draw clusters as points, and a comparison as an edge between the clusters of its two sentences. A set
of comparisons without a common cluster is a matching, and a colouring of the edges with c colours divides all of
them into c matchings; it can be chosen such that their sizes differ by one at most (McDiarmid 1972), so that
m = floor(edges / c). How many colours are enough follows from the largest number of edges at a point, D, and the
largest number between two points, M:

- no cluster has both languages: the graph is bipartite, and c = D (König). Without pairs that is m = min(n_a, n_b);
  with up to s sentences of a language in a cluster it is about min(n_a, n_b) / s.
- every cluster is a pair: twice the complete graph, and m = floor(pairs / 2).
- a mix, or larger clusters: c = min(D + M, floor(3 D / 2)) (Vizing 1964; Shannon 1949).

The comparisons within a cluster are no edges: the kernel's mean may be another there. With r their share, an estimate
of a over all comparisons means at least 1 - (1 - a) / (1 - r) over the others, and that is what is tested. In the same
way, where few clusters have both languages, one side of each may be left out, which makes the graph bipartite. Both
bounds hold for every a, so the smaller of the two does.
"""

from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, Int
from scipy.special import logit, rel_entr
from scipy.stats import norm

from sprog.features.testing.auroc import AurocTable

Method: TypeAlias = Literal["exact", "studentised"]


class Independence(NamedTuple):
    """What one way of dividing the comparisons of two languages is worth.

    Attributes:
        left_out: the share of comparisons that it leaves out.
        blocks: m, how many independent comparisons a set has at least.
    """

    left_out: float
    blocks: int


def independence(auroc: AurocTable, target: str, reference: str) -> list[Independence]:
    """The ways that the module's text describes, for the clusters of this table."""
    columns = [auroc.languages.index(target), auroc.languages.index(reference)]
    # few shapes, many clusters
    shapes, times = np.unique(auroc.counts[:, columns], axis=0, return_counts=True)
    shapes, times = shapes[shapes.any(1)], times[shapes.any(1)]
    ways = [_across(shapes, times)]
    both = (shapes > 0).all(1)
    if both.any():
        kept = shapes.copy()
        # of the language that has more to spare
        kept[both, int(np.argmax(shapes.T @ times))] = 0
        within = _across(kept, times)
        all_comparisons, comparisons = (np.prod(each.T @ times, dtype=float) for each in (shapes, kept))
        ways.append(within._replace(left_out=float(1 - comparisons / all_comparisons)))
    return ways


def _across(shapes: Int[np.ndarray, "shapes 2"], times: Int[np.ndarray, " shapes"]) -> Independence:
    a, b = shapes.T
    n_a, n_b = int(a @ times), int(b @ times)
    within = int((a * b) @ times)
    edges = n_a * n_b - within
    if edges == 0:
        return Independence(1.0, 0)
    degree = int((a * (n_b - b) + b * (n_a - a)).max())
    if not within:
        colours = degree
    elif len(shapes) == 1 and a[0] == b[0] == 1:
        pairs = int(times[0])
        colours = 2 * (pairs - 1 + pairs % 2)
    else:
        between = np.outer(a, b) + np.outer(b, a)
        # a shape that occurs once has no other of its kind
        between[np.arange(len(times)), np.arange(len(times))] *= times > 1
        colours = min(degree + int(between.max()), 3 * degree // 2)
    return Independence(within / (n_a * n_b), edges // colours)


def exact_p(
    auroc: AurocTable, target: str, reference: str, minimum: float = 0.8
) -> Float[np.ndarray, " units"]:
    """An upper bound of each unit's p-value for "AUROC of target over reference is at most `minimum`"."""
    estimate = auroc.of(target, reference)
    p = np.ones_like(estimate)
    for way in independence(auroc, target, reference):
        if way.blocks:
            across = 1 - (1 - estimate) / (1 - way.left_out)
            above = np.clip(across, minimum, 1)
            divergence = rel_entr(above, minimum) + rel_entr(1 - above, 1 - minimum)
            p = np.minimum(p, np.exp(-way.blocks * divergence))
    return p


def perfect_p(auroc: AurocTable, target: str, reference: str, minimum: float = 0.8) -> float:
    """The exact p-value of a unit that tells the two apart without exception: the smallest there is."""
    return float(min(minimum**way.blocks for way in independence(auroc, target, reference)))


def studentised(
    auroc: AurocTable, target: str, reference: str, minimum: float = 0.8
) -> Float[np.ndarray, " units"]:
    """Each unit's (logit estimate - logit minimum) / standard error of the logit, close to normal under the null.

    Where the standard error is 0 or missing it says nothing, and the normal score of the exact p-value stands in.

    Of what was tried at a true AUROC of 0.8, this rejects at most as often as it should; a binomial tail with the
    effective sample size (Korn and Graubard 1998) is closer at 0.05 and up to twice too often at 0.001 with few
    sentences. Share rejected at 0.05 and 0.001, n sentences a side (200,000, 100,000 and 20,000 draws):

        | values                                     | test     | n = 50        | n = 200       | n = 1000      |
        |--------------------------------------------|----------|---------------|---------------|---------------|
        | normal, shifted                            | this     | .0455, .00039 | .0493, .00080 | .0491, .00070 |
        |                                            | binomial | .0396, .00106 | .0453, .00106 | .0471, .00075 |
        | 38 % of the target at zero, 98 % of the    | this     | .0346, .00003 | .0443, .00057 | .0459, .00125 |
        | reference                                  | binomial | .0321, .00028 | .0407, .00078 | .0447, .00130 |
        | normal, the target three times as spread   | this     | .0453, .00045 | .0485, .00064 | .0500, .00075 |
        |                                            | binomial | .0391, .00138 | .0447, .00093 | .0479, .00085 |
        | pairs correlated 0.7                       | this     | .0446, .00028 | .0470, .00056 | .0493, .00055 |
        |                                            | binomial | .0392, .00062 | .0437, .00074 | .0479, .00065 |
        | pairs correlated -1                        | this     | .0430, .00030 | .0464, .00058 | .0495, .00075 |
        |                                            | binomial | .0372, .00186 | .0416, .00097 | .0470, .00100 |
    """
    estimate, se = auroc.of(target, reference), auroc.se_of(target, reference)
    usable = (se > 0) & (estimate > 0) & (estimate < 1)
    safe, safe_se = np.where(usable, estimate, 0.5), np.where(usable, se, 1.0)
    score = (logit(safe) - logit(minimum)) * safe * (1 - safe) / safe_se
    return np.where(usable, score, norm.isf(exact_p(auroc, target, reference, minimum)))


def minimum_p(
    auroc: AurocTable, target: str, reference: str, minimum: float = 0.8, *, method: Method = "exact"
) -> Float[np.ndarray, " units"]:
    """Each unit's p-value for "AUROC of target over reference is at most `minimum`", by either method."""
    if method == "exact":
        return exact_p(auroc, target, reference, minimum)
    return norm.sf(studentised(auroc, target, reference, minimum))
