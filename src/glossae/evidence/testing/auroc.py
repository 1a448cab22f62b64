"""AUROC of every unit between languages, sentence by sentence: estimates, standard errors and p-values."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Float, Int, Int32, Integer
from scipy.sparse import csc_array
from scipy.special import expit, logit, rel_entr
from scipy.stats import norm

from glossae.errors import GlossaeError
from glossae.units import SentenceTable

ENTRIES = 2_000_000
"""Entries of a table held at once; several arrays of languages x entries are made of them."""

LEVEL = 0.95
"""Coverage of the intervals."""

Method: TypeAlias = Literal["exact", "studentised"]


class Independence(NamedTuple):
    """The sample size of an AUROC under one way of choosing comparisons of two languages.

    Attributes:
        left_out: the share of comparisons that it leaves out.
        blocks: m, the least number of independent comparisons in a set.
    """

    left_out: float
    blocks: int


def independence(counts: Int[np.ndarray, "clusters 2"]) -> list[Independence]:
    """How many independent comparisons an AUROC is worth, from each cluster's numbers of sentences.

    AUROC is the mean of a kernel in [0, 1], "the sentence of a has the larger value", over all comparisons of a
    sentence of a with one of b. Suppose that a mean can be written as an average of means W, each over at least m
    comparisons no two of which share a cluster. Then each W is a mean of m or more independent variables in [0, 1] with
    expectation A, and Hoeffding (1963, section 5, by Jensen's inequality, with theorem 1 in its Chernoff form) gives,
    for A <= A0 and estimate > A0,

        P(estimate >= a) <= exp(-m KL(a || A0)),   KL(a || A0) = a log(a / A0) + (1 - a) log((1 - a) / (1 - A0)).

    It holds for every number of sentences and every distribution, if clusters are independent of each other
    and a sentence's distribution depends only on its language, not on its cluster.

    To find m, draw clusters as points, and a comparison as an edge between the clusters of its two sentences. A set of
    comparisons without a common cluster is a matching. A colouring of the edges with c colours divides them into c
    matchings whose sizes differ by one at most (McDiarmid 1972), so that m = floor(edges / c). With D the largest
    number of edges at a point, and M the largest number between two points, enough colours are:

    - no cluster has both languages: the graph is bipartite, and c = D (König). Without pairs m = min(n_a, n_b); with up
      to s sentences of a language in a cluster it is about min(n_a, n_b) / s.
    - every cluster is a pair: twice the complete graph, and m = floor(pairs / 2).
    - a mix, or larger clusters: c = min(D + M, floor(3 D / 2)) (Vizing 1964; Shannon 1949).

    Comparisons within a cluster are not edges, since the kernel's mean may differ there. With r their share,
    an estimate of a over all comparisons means at least 1 - (1 - a) / (1 - r) over the others, and that is
    tested. In the same way, if few clusters have both languages, one side of each may be left out, which makes
    the graph bipartite. Both bounds hold for every a, and so does the smaller of the two.
    """
    # there are few shapes, and many clusters of each
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
        # a shape that occurs once has no other cluster of its kind
        between[np.arange(len(times)), np.arange(len(times))] *= times > 1
        colours = min(degree + int(between.max()), 3 * degree // 2)
    return Independence(within / (n_a * n_b), edges // colours)


@dataclass(frozen=True)
class AurocTable:
    """AUROC of every unit and every ordered pair of languages.

    Attributes:
        languages: the codes, sorted.
        estimate: `[unit, a, b]`: the probability that a random sentence of `a` has a larger value than one of
            `b`, ties counted half; `[unit, b, a]` is 1 minus it, and the diagonal is 0.5.
        se: its standard error, robust to dependence between sentences of one cluster; NaN if a language has
            only one cluster.
        n: the number of sentences of each language.
        counts: sentences of each language in each cluster.
    """

    languages: tuple[str, ...]
    estimate: Float[np.ndarray, "units languages languages"]
    se: Float[np.ndarray, "units languages languages"]
    n: Int[np.ndarray, " languages"]
    counts: Int[np.ndarray, "clusters languages"]

    def of(self, target: str, reference: str) -> Float[np.ndarray, " units"]:
        """The estimate of one comparison."""
        a, b = self._places(target, reference)
        return self.estimate[:, a, b]

    def se_of(self, target: str, reference: str) -> Float[np.ndarray, " units"]:
        """The standard error of one comparison."""
        a, b = self._places(target, reference)
        return self.se[:, a, b]

    def independence(self, target: str, reference: str) -> list[Independence]:
        """How many independent comparisons one comparison of languages is worth."""
        return independence(self.counts[:, self._places(target, reference)])

    def interval(
        self, target: str, reference: str
    ) -> tuple[Float[np.ndarray, " units"], Float[np.ndarray, " units"]]:
        """The ends of a 95 % Wald interval on the logit scale (Pepe 2003, section 5.2.5).

        For an estimate of 0 or 1 the standard error is 0 and gives no information. The interval then reaches
        to the AUROC whose `exact_p` is 2.5 %: with m independent sentences per language, from 1 down to
        0.025^(1/m).
        """
        estimate, se = self.of(target, reference), self.se_of(target, reference)
        inside = (estimate > 0) & (estimate < 1)
        # 0.5 replaces estimates with an infinite logit
        safe = np.where(inside, estimate, 0.5)
        half = norm.ppf(0.5 + LEVEL / 2) * se / (safe * (1 - safe))
        low, high = expit(logit(safe) - half), expit(logit(safe) + half)
        blocks = max(way.blocks for way in self.independence(target, reference))
        end = ((1 - LEVEL) / 2) ** (1 / blocks) if blocks else 0.0
        low = np.where(inside, low, np.where(estimate == 1, end, 0.0))
        high = np.where(inside, high, np.where(estimate == 1, 1.0, 1 - end))
        return low, high

    def _places(self, target: str, reference: str) -> list[int]:
        return [self.languages.index(target), self.languages.index(reference)]


def exact_p(
    auroc: AurocTable, target: str, reference: str, minimum: float = 0.8
) -> Float[np.ndarray, " units"]:
    """An upper bound of each unit's p-value for "AUROC of target over reference is at most `minimum`".

    exp(-m KL(estimate || minimum)) if the estimate is larger than the minimum, and 1 otherwise (Hoeffding
    1963, section 5): valid for every number of sentences and every distribution. `independence` gives m.
    """
    estimate = auroc.of(target, reference)
    p = np.ones_like(estimate)
    for way in auroc.independence(target, reference):
        if way.blocks:
            across = 1 - (1 - estimate) / (1 - way.left_out)
            above = np.clip(across, minimum, 1)
            divergence = rel_entr(above, minimum) + rel_entr(1 - above, 1 - minimum)
            p = np.minimum(p, np.exp(-way.blocks * divergence))
    return p


def perfect_p(auroc: AurocTable, target: str, reference: str, minimum: float = 0.8) -> float:
    """The exact p-value of a unit that separates the two perfectly: the smallest possible."""
    return float(min(minimum**way.blocks for way in auroc.independence(target, reference)))


def studentised(
    auroc: AurocTable, target: str, reference: str, minimum: float = 0.8
) -> Float[np.ndarray, " units"]:
    """Each unit's (logit estimate - logit minimum) / standard error of the logit, close to normal under the null.

    If the standard error is 0 or missing, the normal score of the exact p-value is used instead.

    The table has the rejection rates at a true AUROC of 0.8, at levels 0.05 and 0.001, with n sentences per
    language (200,000, 100,000 and 20,000 draws). A binomial tail with the effective sample size (Korn and
    Graubard 1998) is closer at 0.05, but rejects up to twice too often at 0.001 with few sentences.

        | values                                               | n = 50        | n = 200       | n = 1000      |
        |------------------------------------------------------|---------------|---------------|---------------|
        | normal, shifted                                      | .0455, .00039 | .0493, .00080 | .0491, .00070 |
        | zero in 38 % of the target, 98 % of the reference    | .0346, .00003 | .0443, .00057 | .0459, .00125 |
        | normal, the target three times as spread             | .0453, .00045 | .0485, .00064 | .0500, .00075 |
        | pairs correlated 0.7                                 | .0446, .00028 | .0470, .00056 | .0493, .00055 |
        | pairs correlated -1                                  | .0430, .00030 | .0464, .00058 | .0495, .00075 |
    """
    estimate, se = auroc.of(target, reference), auroc.se_of(target, reference)
    usable = (se > 0) & (estimate > 0) & (estimate < 1)
    safe, safe_se = np.where(usable, estimate, 0.5), np.where(usable, se, 1.0)
    score = (logit(safe) - logit(minimum)) * safe * (1 - safe) / safe_se
    exact = norm.isf(exact_p(auroc, target, reference, minimum))
    return np.asarray(np.where(usable, score, exact))


def minimum_p(
    auroc: AurocTable, target: str, reference: str, minimum: float = 0.8, *, method: Method = "exact"
) -> Float[np.ndarray, " units"]:
    """Each unit's p-value for "AUROC of target over reference is at most `minimum`", by either method."""
    if method == "exact":
        return exact_p(auroc, target, reference, minimum)
    return np.asarray(norm.sf(studentised(auroc, target, reference, minimum)))


@dataclass(frozen=True)
class Clusters:
    """The sentences of a table by cluster and language; a cluster is a pair or a document with all of its sentences.

    Attributes:
        languages: the codes, sorted.
        order: the table's rows, sorted by cluster and by language within it.
        language: for each row in that order, its place in `languages`.
        cluster: for each row in that order.
        counts: the number of sentences of each language in each cluster.
    """

    languages: tuple[str, ...]
    order: Int[np.ndarray, " sentences"]
    language: Int[np.ndarray, " sentences"]
    cluster: Int[np.ndarray, " sentences"]
    counts: Int[np.ndarray, "clusters languages"]

    @staticmethod
    def of(table: SentenceTable) -> "Clusters":
        """The clusters of a table."""
        languages = table.present
        language = np.searchsorted(np.array(languages), table.languages.astype(str))
        names, cluster = np.unique(table.clusters.astype(str), return_inverse=True)
        order = np.lexsort((language, cluster))
        size = len(names) * len(languages)
        counts = np.bincount(cluster * len(languages) + language, minlength=size)
        return Clusters(
            languages,
            order,
            language[order],
            cluster[order],
            counts.reshape(len(names), len(languages)),
        )

    @cached_property
    def n(self) -> Int[np.ndarray, " languages"]:
        """The number of sentences of each language."""
        return np.asarray(self.counts.sum(0))

    @cached_property
    def lone(self) -> bool:
        """Whether every sentence is a cluster of its own."""
        return len(self.counts) == len(self.order)

    @cached_property
    def single(self) -> bool:
        """Whether no cluster has two sentences of one language."""
        return bool((self.counts <= 1).all())


class Placements(NamedTuple):
    """The ranks of a run of units, entry by entry, sorted by unit, cluster and language.

    A place is counted in half sentences: each sentence below counts two, each tie one. A sentence whose value
    is not stored has the value zero; its place is `zero`, and the place of an entry is `zero + above`. The
    placement values of any ordered pair of languages, and the ranks of any two pooled, are sums of these.

    Attributes:
        first: the run's first unit.
        unit: of each entry, counted from `first`.
        row: of each entry, in the clusters' order.
        above: of each entry, its place among each language's sentences, less that of zero; int32.
        zero: the place of zero among each language's sentences.
    """

    first: int
    unit: Int[np.ndarray, " entries"]
    row: Int[np.ndarray, " entries"]
    above: Int32[np.ndarray, "languages entries"]
    zero: Int[np.ndarray, "units languages"]


def placements(table: SentenceTable, clusters: Clusters) -> Iterator[Placements]:
    """Runs of units with about `ENTRIES` entries each.

    Raises:
        GlossaeError: a value is not finite.
    """
    # rows by cluster, so that the sentences of a pair are neighbours in every column
    values = csc_array(table.values.tocsr()[clusters.order])
    for first, last in table.chunks(ENTRIES):
        start, end = int(values.indptr[first]), int(values.indptr[last])
        value, row = values.data[start:end], values.indices[start:end].astype(np.int64)
        unit = np.repeat(np.arange(last - first), np.diff(values.indptr[first : last + 1]))
        finite = np.isfinite(value)
        if not finite.all():
            bad = first + int(unit[np.argmin(finite)])
            raise GlossaeError(
                f"unit {bad} of {table.identity} has a value that is not finite, which has no rank"
            )
        if not value.all():
            unit, row, value = unit[value != 0], row[value != 0], value[value != 0]
        above, zero = _place(unit, value, clusters.language[row], clusters.n, last - first)
        yield Placements(first, unit, row, above, zero)


def _place(
    unit: Int[np.ndarray, " entries"],
    value: Float[np.ndarray, " entries"],
    language: Int[np.ndarray, " entries"],
    n: Int[np.ndarray, " languages"],
    units: int,
) -> tuple[Int32[np.ndarray, "languages entries"], Int[np.ndarray, "units languages"]]:
    """`above` and `zero`: cumulative counts of each language along the entries in order of value."""
    count, languages = len(value), len(n)
    key = _key(unit, value)
    order = np.argsort(key)
    key, by_value = key[order], language[order]
    # a run of equal values begins where the key changes
    begins = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]])) if count else np.zeros(0, np.int64)
    ends = np.append(begins[1:], count)
    run = np.empty(count, dtype=np.int64)
    run[order] = np.repeat(np.arange(len(begins)), ends - begins)
    first = order[begins]
    run_unit, positive = unit[first], value[first] > 0
    of_unit = np.searchsorted(unit, np.arange(units))
    cell = unit * languages + language
    stored = np.bincount(cell, minlength=units * languages).reshape(units, languages)
    below = np.bincount(cell[value < 0], minlength=units * languages).reshape(units, languages)
    at_zero = n - stored
    above = np.empty((languages, count), dtype=np.int32)
    seen = np.zeros(count + 1, dtype=np.int32)
    for of in range(languages):
        np.cumsum(by_value == of, out=seen[1:])
        # below an entry and tied with it, among stored values; zeros lie on one side of it
        side = (
            np.stack([-at_zero[:, of], at_zero[:, of]], axis=1) - 2 * (seen[of_unit] + below[:, of])[:, None]
        )
        place = seen[begins] + seen[ends] + side.astype(np.int32)[run_unit, positive.view(np.int8)]
        np.take(place, run, out=above[of])
    return above, 2 * below + at_zero


def _key(
    unit: Int[np.ndarray, " entries"], value: Float[np.ndarray, " entries"]
) -> Integer[np.ndarray, " entries"]:
    """Integers in the order of unit, then value: they sort several times as fast as two keys."""
    bits = value.astype(np.float32, copy=False).view(np.uint32)
    # the bits of floats order as integers once those of negative values are inverted
    ordered = np.where(bits >> 31, ~bits, bits | np.uint32(2**31))
    return (unit.astype(np.uint64) << np.uint64(32)) | ordered


def auroc_table(table: SentenceTable) -> AurocTable:
    """AUROC of every unit and ordered pair of languages, about `ENTRIES` values of the table at a time.

    The standard error is that of the placement values (DeLong, DeLong and Clarke-Pearson 1988): with V_i the
    share of `b` below sentence i of `a`, and W_j the share of `a` above sentence j of `b`, the variance is
    var(V)/n_a + var(W)/n_b. Sentences of one cluster count as one (Obuchowski 1997): the squares are of sums
    over clusters, and a cluster with sentences of both languages adds the product of its two sums.

    Raises:
        GlossaeError: a value is not finite.
    """
    clusters = Clusters.of(table)
    size = (table.units, len(clusters.languages), len(clusters.languages))
    estimate, se = np.empty(size), np.empty(size)
    for part in placements(table, clusters):
        run = slice(part.first, part.first + len(part.zero))
        estimate[run], se[run] = _auroc_of(part, clusters)
    return AurocTable(clusters.languages, estimate, se, clusters.n, clusters.counts)


def _auroc_of(
    part: Placements, clusters: Clusters
) -> tuple[Float[np.ndarray, "units languages languages"], Float[np.ndarray, "units languages languages"]]:
    """Estimate and standard error of a run of units.

    Counts are integers (half sentences), so that a unit that separates two languages perfectly has an estimate
    of exactly 1 and a standard error of exactly 0.
    """
    sums = _Sums(part, clusters)
    n = clusters.n.astype(np.float64)
    pairs = 2 * n[:, None] * n
    estimate = (part.zero[:, None, :] * n[:, None] + sums.first) / pairs
    of_language = (clusters.counts > 0).sum(0)
    either = ((clusters.counts[:, :, None] > 0) | (clusters.counts[:, None, :] > 0)).sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        # one cluster gives no variance between clusters
        own = sums.squares() * np.where(of_language > 1, of_language / (of_language - 1), np.nan)[:, None]
        both = sums.products() * np.where(either > 1, either / (either - 1), np.nan)
        variance = own + own.swapaxes(1, 2) - both - both.swapaxes(1, 2)
    se = np.sqrt(np.maximum(variance, 0)) / pairs
    same = np.arange(len(n))
    estimate[:, same, same], se[:, same, same] = 0.5, 0.0
    return estimate, se


class _Sums:
    """Sums of placements over clusters, by unit, own language a and other language b.

    With G_k the sum of `above[b]` over the sentences of `a` in cluster k, m_k their number, and g the mean of
    `above[b]` over all sentences of `a`, the influence of a cluster's sentences of `a` is G_k - m_k g. Values
    that are not stored add nothing to a sum of `above`, so all of these run over the entries only.
    """

    def __init__(self, part: Placements, clusters: Clusters) -> None:
        self.units, self.languages = part.zero.shape
        self.clusters, self.counts = clusters, clusters.counts.astype(np.float64)
        self.unit, self.above = part.unit, part.above
        self.language, self.cluster = clusters.language[part.row], clusters.cluster[part.row]
        self.cell = self.unit * self.languages + self.language
        self.first = self._by_other(lambda b: part.above[b])
        self.mean = self.first / clusters.n[:, None]
        if not clusters.single:
            self._merge()

    def squares(self) -> Float[np.ndarray, "units languages languages"]:
        """The sum over clusters of (G_k - m_k g)^2."""
        square = self._by_other(lambda b: np.square(self.above[b], dtype=np.float64))
        n = self.clusters.n.astype(np.float64)[:, None]
        if self.clusters.single:
            # n S2 - S1^2 rather than with the mean: integers, and exactly zero if all are equal
            return np.asarray(np.maximum(n * square - np.square(self.first), 0) / n)
        own = self.counts[self.cluster, self.language]
        weighted = self._by_other(lambda b: self.above[b] * own)
        sizes = np.square(self.counts).sum(0)[:, None]
        return np.asarray(square - 2 * self.mean * weighted + np.square(self.mean) * sizes)

    def products(self) -> Float[np.ndarray, "units languages languages"]:
        """The sum over clusters of (G_k - m_k g) of `a` against `b` times the same of `b` against `a`."""
        if self.clusters.lone:
            return np.zeros_like(self.first)
        other = self._by_other(lambda b: self.above[b] * self.counts[self.cluster, b])
        cross = self.mean.swapaxes(1, 2) * other
        together = self.counts.T @ self.counts
        means = self.mean * self.mean.swapaxes(1, 2)
        return np.asarray(self._stored() - cross - cross.swapaxes(1, 2) + means * together)

    def _stored(self) -> Float[np.ndarray, "units languages languages"]:
        """The sum over clusters of the product of the two G_k, if both are stored."""
        shape = (self.units, self.languages, self.languages)
        total = np.zeros(np.prod(shape, dtype=int))
        group = self.unit * len(self.counts) + self.cluster
        for lag in range(1, self.languages):
            # entries are sorted by unit, cluster and language: those of one cluster are a few places apart
            left = np.flatnonzero(group[lag:] == group[:-lag])
            right = left + lag
            a, b = self.language[left], self.language[right]
            product = self.above[b, left].astype(np.float64) * self.above[a, right]
            total += np.bincount(
                (self.unit[left] * self.languages + a) * self.languages + b, product, minlength=len(total)
            )
        half = total.reshape(shape)
        return half + half.swapaxes(1, 2)

    def _merge(self) -> None:
        """Merge a cluster's entries of one language and unit into one."""
        key = (self.unit * len(self.counts) + self.cluster) * self.languages + self.language
        begins = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]])) if len(key) else key
        if len(begins):
            self.above = np.add.reduceat(self.above, begins, axis=1)
        self.unit, self.cell = self.unit[begins], self.cell[begins]
        self.language, self.cluster = self.language[begins], self.cluster[begins]

    def _by_other(
        self, weight: Callable[[int], np.ndarray]
    ) -> Float[np.ndarray, "units languages languages"]:
        """For every language b the sum of a weight over the entries of each unit and language."""
        size = self.units * self.languages
        sums = [np.bincount(self.cell, weight(b), minlength=size) for b in range(self.languages)]
        stacked = np.stack(sums, axis=1).reshape(self.units, self.languages, self.languages)
        return stacked.astype(np.float64, copy=False)
