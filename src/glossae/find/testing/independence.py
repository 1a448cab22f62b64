"""How many independent comparisons the estimate of an AUROC is worth.

AUROC is the mean of a kernel in [0, 1], "the sentence of a has the larger value", over all
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

from typing import NamedTuple

import numpy as np
from jaxtyping import Int


class Independence(NamedTuple):
    """What one way of dividing the comparisons of two languages is worth.

    Attributes:
        left_out: the share of comparisons that it leaves out.
        blocks: m, how many independent comparisons a set has at least.
    """

    left_out: float
    blocks: int


def independence(counts: Int[np.ndarray, "clusters 2"]) -> list[Independence]:
    """The ways that the module's text describes, for clusters with so many sentences of the two languages."""
    # few shapes, many clusters
    shapes, times = np.unique(counts, axis=0, return_counts=True)
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
