"""The literature's scores of units for a language, by name in `SCORES`, and how similarly they rank the units."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Num
from scipy.sparse import csr_array, diags_array
from scipy.stats import rankdata

from glossae.errors import GlossaeError
from glossae.evidence.attribution import Attribution, gradient_attribution, random_token_sequences
from glossae.units import LAYOUTS, SentenceTable, UnitStatistics

__all__ = [
    "HIGHER_IS_BETTER",
    "MAX_RANDOM",
    "MIN_RATE",
    "SCORES",
    "Agreement",
    "Attribution",
    "ScoreInputs",
    "TokenCounts",
    "agreement",
    "all_scores",
    "gradient_attribution",
    "lape",
    "random_token_filter",
    "random_token_sequences",
]

# values of a languages x units x bins array held at once
ENTRIES = 4_000_000
# Jeffreys' prior for a binomial rate
PRIOR = 0.5
MIN_RATE, MAX_RANDOM = 0.5, 0.05
"""Thresholds of `random_token_filter`, our choice: the least rate on the language, the largest on random tokens."""

Scored = Float[np.ndarray, " units"]
PerLanguage = Num[np.ndarray, "languages units"]
Tokens = Int[np.ndarray, " languages"]


@dataclass(frozen=True)
class TokenCounts:
    """Sums over the tokens of each language.

    Attributes:
        languages: the rows.
        tokens: tokens of each language.
        fired: the number of them on which each unit fires.
        sums: sum of each unit's values over all tokens; a latent's value is 0 where it does not fire.
        histogram: tokens in each bin of a unit's values; a unit's bins ascend and are the same for every
            language.
        negative_bins: the number of bins for values below zero. Tokens in no bin have the value zero, and come
            between these bins and the others.
    """

    languages: tuple[str, ...]
    tokens: Tokens
    fired: Int[np.ndarray, "languages units"]
    sums: Float[np.ndarray, "languages units"]
    histogram: Int[np.ndarray, "languages units bins"]
    negative_bins: int = 0

    @staticmethod
    def of(statistics: UnitStatistics) -> "TokenCounts":
        """The counts in streamed statistics."""
        return TokenCounts(
            languages=statistics.languages,
            tokens=statistics.tokens.numpy(),
            fired=statistics.fired.numpy(),
            sums=statistics.value_sum.numpy(),
            histogram=statistics.histogram.numpy(),
            negative_bins=LAYOUTS[statistics.layout].zero,
        )


class Areas(NamedTuple):
    """How well each unit's value detects the target among all other languages.

    Attributes:
        auroc: the probability that a random value of the target is larger than one of the others, ties counted
            half: the Mann-Whitney statistic (Hanley & McNeil 1982).
        average_precision: the mean precision over the target's values, highest first; ties are one step. By
            chance it is the target's share of all values.
    """

    auroc: Scored
    average_precision: Scored


@dataclass(frozen=True)
class ScoreInputs:
    """The data that units are scored by, for one language.

    Attributes:
        target: the language.
        counts: sums over tokens, by language.
        table: the units' values by sentence.
        attribution: the predicted change of the loss without them.
        random_rate: the share of random tokens on which each unit fires.
        seed: of the probes' split and solver.
    """

    target: str
    counts: TokenCounts
    table: SentenceTable
    attribution: Attribution
    random_rate: Scored
    seed: int = 0

    def __post_init__(self) -> None:
        """Check that the parts agree.

        Raises:
            GlossaeError: the numbers of units differ, or the target or any other language is missing.
        """
        sizes = {
            "counts": self.counts.fired.shape[1],
            "table": self.table.units,
            "attribution": self.attribution.effect.shape[1],
            "random_rate": len(self.random_rate),
        }
        if len(set(sizes.values())) > 1:
            raise GlossaeError(
                "scores: these are not the same units: "
                + ", ".join(f"{number} in {name}" for name, number in sizes.items())
            )
        if self.target not in self.counts.languages:
            raise GlossaeError(
                f"scores: there are no tokens of {self.target}, only of {', '.join(self.counts.languages)}"
            )
        if self.target not in self.attribution.languages:
            raise GlossaeError(f"scores: there is no attribution for {self.target}")
        if not 0 < (positives := int(self.of_target.sum())) < len(self.table):
            raise GlossaeError(
                f"scores: sentences of {self.target} and of another language are needed, "
                f"and there are {positives} and {len(self.table) - positives}"
            )

    @property
    def row(self) -> int:
        """The target's row of the counts."""
        return self.counts.languages.index(self.target)

    @property
    def of_target(self) -> Bool[np.ndarray, " sentences"]:
        """Which sentences of the table are in the target."""
        return np.asarray(self.table.languages == self.target)

    @property
    def token_rate(self) -> Scored:
        """The share of the target's tokens on which each unit fires."""
        return np.asarray(_rates(self.counts.fired, self.counts.tokens)[self.row])

    @cached_property
    def token_areas(self) -> Areas:
        """Units as detectors of the target's tokens; values of one bin are ties."""
        return _token_areas(self.counts, self.row)

    @cached_property
    def sentence_areas(self) -> Areas:
        """Units as detectors of the target's sentences, by their mean value."""
        found = [_areas_of_columns(self.table, self.of_target, *ends) for ends in self.table.chunks()]
        return Areas(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


class Score(NamedTuple):
    """A score and its source.

    Attributes:
        source: the paper that defines it.
        higher_is_better: whether a high value speaks for the unit.
        compute: gives the score of every unit, `(units,)`; its docstring defines the score.
    """

    source: str
    higher_is_better: bool
    compute: Callable[[ScoreInputs], Scored]


SCORES: dict[str, Score] = {}
"""The scores by name."""


def _score(
    name: str, source: str, *, higher_is_better: bool = True
) -> Callable[[Callable[[ScoreInputs], Scored]], Callable[[ScoreInputs], Scored]]:
    """Register a function in `SCORES`."""

    def register(compute: Callable[[ScoreInputs], Scored]) -> Callable[[ScoreInputs], Scored]:
        SCORES[name] = Score(source, higher_is_better, compute)
        return compute

    return register


@_score("rate_difference", "Kirkegaard et al. 2025, section 5.1")
def _rate_difference(evidence: ScoreInputs) -> Scored:
    """Share of the target's tokens on which a unit fires, less the largest share of another language."""
    return _above_closest(evidence.counts.fired, evidence.counts.tokens, evidence.row)


@_score("mean_difference", "Deng et al. 2025, arXiv 2505.05111")
def _mean_difference(evidence: ScoreInputs) -> Scored:
    """Their nu: mean value on the target less the mean of its means on the others, in the unit's own values.

    Every other language has the same weight, whatever its number of tokens.
    """
    means = _rates(evidence.counts.sums, evidence.counts.tokens)
    return np.asarray(means[evidence.row] - np.delete(means, evidence.row, axis=0).mean(0))


@_score("histogram_overlap", "Kirkegaard et al. 2025, section 5.1; Weitzman 1970", higher_is_better=False)
def _histogram_overlap(evidence: ScoreInputs) -> Scored:
    """The overlap coefficient of a unit's values on the target and on the language closest to it.

    The sum over bins of the smaller of two shares: 1 for equal histograms, 0 for disjoint ones. It does not
    tell on which language the unit is high.
    """
    counts = evidence.counts
    overlap = np.empty(len(evidence.random_rate))
    for part in _slices(counts, counts.histogram.shape[2]):
        shares = _with_silent(counts, part) / counts.tokens[:, None, None]
        overlap[part] = (
            np.minimum(shares[evidence.row], np.delete(shares, evidence.row, axis=0)).sum(2).max(0)
        )
    return overlap


@_score("lape", "Tang et al. 2024, arXiv 2402.16438", higher_is_better=False)
def _lape(evidence: ScoreInputs) -> Scored:
    """Entropy of a unit's firing rates over languages, nats. It does not tell on which language the unit is high."""
    return _entropy(evidence.counts.fired, evidence.counts.tokens)


@_score("token_auroc", "Hanley & McNeil 1982")
def _token_auroc(evidence: ScoreInputs) -> Scored:
    """The probability that its value at a target token is above that at another language's token."""
    return evidence.token_areas.auroc


@_score("token_average_precision", "Kojima et al. 2024, arXiv 2404.02431, on tokens")
def _token_average_precision(evidence: ScoreInputs) -> Scored:
    """Average precision of its value as a detector of the target's tokens."""
    return evidence.token_areas.average_precision


@_score("sentence_auroc", "Hanley & McNeil 1982")
def _sentence_auroc(evidence: ScoreInputs) -> Scored:
    """The probability that its mean value on a target sentence is above that on another language's sentence."""
    return evidence.sentence_areas.auroc


@_score("sentence_average_precision", "Kojima et al. 2024, arXiv 2404.02431, after Suau et al. 2022")
def _sentence_average_precision(evidence: ScoreInputs) -> Scored:
    """Average precision of its mean value as a detector of the target's sentences."""
    return evidence.sentence_areas.average_precision


@_score("mutual_information", "Shannon 1948; Gurnee et al. 2023, arXiv 2305.01610")
def _mutual_information(evidence: ScoreInputs) -> Scored:
    """Mutual information of "the unit fires" and "the language is the target", nats, Jeffreys prior.

    It depends on the target's share of the tokens, and does not tell on which language the unit is high.
    """
    fired, tokens = (
        _against_others(each, evidence.row) for each in (evidence.counts.fired, evidence.counts.tokens)
    )
    joint = np.stack([fired, tokens[:, None] - fired]) + PRIOR
    joint = joint / joint.sum((0, 1))
    independent = joint.sum(0, keepdims=True) * joint.sum(1, keepdims=True)
    # rounding can put a unit without information slightly below zero
    return np.asarray(np.maximum((joint * np.log(joint / independent)).sum((0, 1)), 0.0))


@_score("log_odds", "Haldane 1956; Gart & Zweifel 1967")
def _log_odds(evidence: ScoreInputs) -> Scored:
    """Log-odds ratio of firing on the target against all other languages, nats, Jeffreys prior."""
    logs = np.log(_odds_cells(evidence))
    return np.asarray(logs[0] - logs[1] - logs[2] + logs[3])


@_score("log_odds_z", "Gart & Zweifel 1967")
def _log_odds_z(evidence: ScoreInputs) -> Scored:
    """The same log-odds ratio in standard errors, as if tokens were independent."""
    return np.asarray(_log_odds(evidence) / np.sqrt((1 / _odds_cells(evidence)).sum(0)))


@_score("f_statistic", "Fisher 1925; Gurnee et al. 2023, arXiv 2305.01610")
def _f_statistic(evidence: ScoreInputs) -> Scored:
    """Variance of its sentence values between the target and all others over that within: the F of a one-way ANOVA.

    0 for a constant unit, infinite for a unit that is constant within both groups only. It does not tell on
    which group the unit is high.
    """
    sizes, sums, squares = _moments(evidence.table, evidence.of_target)
    total = int(sizes.sum())
    of_group = (sums**2 / sizes[:, None]).sum(0)
    between = np.maximum(of_group - sums.sum(0) ** 2 / total, 0.0)
    everything = squares.sum(0)
    within = np.maximum(everything - of_group, 0.0)
    # below this is only rounding of the sums
    least = 1e-12 * everything
    infinite = np.full(len(within), np.inf)
    ratio = np.divide(between, within / max(total - 2, 1), out=infinite, where=within > least)
    return np.where(between > least, ratio, 0.0)


@_score("l1_probe", "Gurnee et al. 2023, arXiv 2305.01610")
def _l1_probe(evidence: ScoreInputs) -> Scored:
    """Its coefficient in an L1 logistic probe on the sentence values of all units that fire (C = 0.1, their code's)."""
    probe = _Probe(evidence)
    found = np.zeros(evidence.table.units)
    found[probe.alive] = probe.coefficients(probe.alive, strength=0.1, l1_ratio=1.0)
    return found


@_score("adaptive_probe", "Gurnee et al. 2023, arXiv 2305.01610")
def _adaptive_probe(evidence: ScoreInputs) -> Scored:
    """The step of adaptive thresholding at which it is dropped; 0 if it was never included.

    As `telescopic_sparsity_sweep` in their code: start from the 256 units of largest absolute difference of
    means in standard deviations, or the next power of two below if fewer units fire. For k halving down to 1,
    fit an elastic net with C = k / 20 and an L1 share of exp(-k / 20) within [0.1, 0.9], order by absolute
    coefficient, keep the next k. Their penalty does not
    grow with the text: it needs thousands of sentences.
    """
    probe = _Probe(evidence)
    standardised = np.abs(probe.difference[probe.alive]) / probe.deviation[probe.alive]
    kept = probe.alive[np.argsort(-standardised, kind="stable")]
    k = 2 ** int(np.log2(min(LARGEST_PROBE, len(kept))))
    # the unit that is kept longest comes first
    order, kept = kept[:0], kept[:k]
    while k:
        units = np.sort(kept)
        l1_ratio = float(np.clip(np.exp(-k / 20), 0.1, 0.9))
        coefficients = probe.coefficients(units, strength=k / 20, l1_ratio=l1_ratio)
        kept = units[np.argsort(-np.abs(coefficients), kind="stable")]
        k //= 2
        order, kept = np.concatenate([kept[k:], order]), kept[:k]
    found = np.zeros(evidence.table.units)
    found[order] = np.arange(len(order), 0, -1)
    return found


@_score("attribution", "Nanda 2023; Marks et al. 2024, arXiv 2403.19647")
def _attribution(evidence: ScoreInputs) -> Scored:
    """Nats per token that the target would lose without it, to first order, less the most for another language.

    Targeted probe perturbation (Karvonen et al. 2025, arXiv 2503.09532) measures the same on probes; this is
    on the model's own loss.
    """
    found = evidence.attribution
    return _above_closest(found.effect, found.predicted, found.languages.index(evidence.target))


@_score("random_tokens", "LangFIR, arXiv 2604.03532")
def _random_tokens(evidence: ScoreInputs) -> Scored:
    """Share of the target's tokens on which it fires, less that of random tokens."""
    return np.asarray(evidence.token_rate - evidence.random_rate)


HIGHER_IS_BETTER = {name: score.higher_is_better for name, score in SCORES.items()}


def all_scores(evidence: ScoreInputs) -> dict[str, Scored]:
    """Every score, `(units,)` each, by name.

    Raises:
        GlossaeError: a language has no tokens, or the probes have too few sentences to fit on.
    """
    return {name: score.compute(evidence) for name, score in SCORES.items()}


@dataclass(frozen=True)
class Agreement:
    """The similarity of scores over the same units.

    Attributes:
        names: of the scores, the rows and columns of the matrices.
        spearman: rank correlation; NaN for a constant score.
        overlap: the share of the `top` best units of one score that are among those of the other.
        top: the number of best units compared.
    """

    names: tuple[str, ...]
    spearman: Float[np.ndarray, "scores scores"]
    overlap: Float[np.ndarray, "scores scores"]
    top: int


def agreement(
    scores: Mapping[str, Scored],
    *,
    higher_is_better: Mapping[str, bool],
    among: Bool[np.ndarray, " units"],
    top: int = 10,
) -> Agreement:
    """Rank correlations of all pairs of scores, and the overlap of their best units.

    Args:
        scores: by name. NaN ranks last.
        higher_is_better: by name, whether a high value is a good one.
        among: the compared units, such as those that ever fire. Scores that do not tell on which language a
            unit is high are compared fairly only among units that fire more on the target.
        top: the number of best units of each that are compared; ties go by the unit's number.

    Raises:
        GlossaeError: fewer than two units are compared.
    """
    chosen = np.flatnonzero(among)
    if len(chosen) < 2:
        raise GlossaeError(f"scores: there are {len(chosen)} units to compare scores on, and 2 are needed")
    names, top = tuple(scores), min(top, len(chosen))
    ranks = []
    for name in names:
        score = scores[name][chosen]
        oriented = np.where(np.isnan(score), -np.inf, score if higher_is_better[name] else -score)
        ranks.append(rankdata(oriented))
    best = [set(np.argsort(-rank, kind="stable")[:top].tolist()) for rank in ranks]
    spearman, overlap = np.eye(len(names)), np.eye(len(names))
    for i, j in zip(*np.triu_indices(len(names)), strict=True):
        constant = any(ranks[k].min() == ranks[k].max() for k in (i, j))
        spearman[i, j] = spearman[j, i] = np.nan if constant else np.corrcoef(ranks[i], ranks[j])[0, 1]
        overlap[i, j] = overlap[j, i] = len(best[i] & best[j]) / top
    return Agreement(names, spearman, overlap, top)


class LapeUnits(NamedTuple):
    """Units that fire on few languages, and these languages.

    Attributes:
        entropy: over languages, in nats; NaN if a unit never fires. Low: few languages.
        languages: the languages that a unit is assigned to; none if it was not kept.
    """

    entropy: Scored
    languages: Bool[np.ndarray, "languages units"]


def lape(
    *,
    fired: Int[np.ndarray, "languages units"],
    tokens: Tokens,
    percentile: float = 0.95,
    share: float = 0.01,
) -> LapeUnits:
    """Tang et al. 2024 (arXiv 2402.16438): the units of lowest LAPE, assigned to all languages they are high on.

    Of the units whose largest rate is above the 95th percentile of all rates (of all units and languages), the
    lowest 1 % of all units are kept, or as many as there are; a unit is assigned to every language on which
    its rate is above that percentile. Ties are broken by the unit's number. The percentile is the k-th
    smallest rate, k = round(0.95 n), and "above" is strict, as in the authors' code.
    """
    rate, found = _rates(fired, tokens), _entropy(fired, tokens)
    place = min(max(round(percentile * rate.size), 1), rate.size) - 1
    high = rate > np.partition(rate.ravel(), place)[place]
    ordered = np.argsort(np.where(high.any(0), found, np.inf), kind="stable")
    kept = np.zeros(len(found), dtype=bool)
    kept[ordered[: round(share * len(found))]] = True
    return LapeUnits(found, high & kept)


def random_token_filter(*, rate: Scored, random_rate: Scored) -> Bool[np.ndarray, " units"]:
    """LangFIR (arXiv 2604.03532): units that fire consistently on the language and not on random tokens.

    It needs text of one language only, so it cannot separate Danish from features that Danish and Swedish
    share.

    Args:
        rate: the share of the language's tokens on which each unit fires; at least `MIN_RATE` passes.
        random_rate: the same share of random tokens; at most `MAX_RANDOM` passes.
    """
    return np.asarray((rate >= MIN_RATE) & (random_rate <= MAX_RANDOM))


def _rates(counts: PerLanguage, tokens: Tokens) -> Float[np.ndarray, "languages units"]:
    """Counts or sums divided by the number of tokens."""
    if not (tokens > 0).all():
        raise GlossaeError(f"scores: language {int(np.argmin(tokens))} of the counts has no tokens")
    return np.asarray(counts / tokens[:, None].astype(np.float64))


def _above_closest(counts: PerLanguage, tokens: Tokens, target: int) -> Scored:
    """The target's rate less the largest of the other languages'."""
    rate = _rates(counts, tokens)
    return np.asarray(rate[target] - np.delete(rate, target, axis=0).max(0))


def _against_others(counts: Num[np.ndarray, "languages *rest"], target: int) -> Num[np.ndarray, "2 *rest"]:
    """Counts of the target, and of all other languages pooled."""
    return np.stack([counts[target], np.delete(counts, target, axis=0).sum(0)])


def _odds_cells(evidence: ScoreInputs) -> Float[np.ndarray, "4 units"]:
    """Tokens on which units fire and do not, of the target and of all others, with the prior."""
    fired, tokens = (
        _against_others(each, evidence.row) for each in (evidence.counts.fired, evidence.counts.tokens)
    )
    return np.stack([fired[0], tokens[0] - fired[0], fired[1], tokens[1] - fired[1]]) + PRIOR


def _entropy(fired: Int[np.ndarray, "languages units"], tokens: Tokens) -> Scored:
    """The entropy of firing rates normalised over languages, in nats; NaN if a unit never fires."""
    share = _rates(fired, tokens)
    total = share.sum(0)
    p = np.divide(share, total, out=np.zeros_like(share), where=total > 0)
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    # 0 - ... so that the entropy of a single language is not -0.0
    return np.where(total > 0, 0.0 - (p * logs).sum(0), np.nan)


def _slices(counts: TokenCounts, width: int) -> Iterator[slice]:
    """Runs of units for which languages x units x width stays small."""
    step = max(1, ENTRIES // max(1, len(counts.tokens) * width))
    for first in range(0, counts.fired.shape[1], step):
        yield slice(first, first + step)


def _with_silent(counts: TokenCounts, part: slice) -> Int[np.ndarray, "languages units all_bins"]:
    """The histogram of all tokens, with one more bin, at zero, for tokens in no bin."""
    histogram = counts.histogram[:, part]
    return np.insert(histogram, counts.negative_bins, counts.tokens[:, None] - histogram.sum(2), axis=2)


def _token_areas(counts: TokenCounts, target: int) -> Areas:
    units, width = counts.fired.shape[1], counts.histogram.shape[2] + 1
    areas = Areas(np.empty(units), np.empty(units))
    for part in _slices(counts, width):
        positive, negative = _against_others(_with_silent(counts, part)[:, :, ::-1], target)
        found = _areas(np.repeat(np.arange(len(positive)), width), positive.ravel(), negative.ravel())
        areas.auroc[part], areas.average_precision[part] = found
    return areas


# groups of equal values, in descending order: the column of each, and the number of each value
VALUE_BITS = 32
ZERO = 2**31 - 1


def _areas_of_columns(table: SentenceTable, of_target: np.ndarray, first: int, last: int) -> Areas:
    """The areas of some units' sentence values; memory is a few times the entries of those units."""
    matrix, columns = table.values, last - first
    entries = slice(matrix.indptr[first], matrix.indptr[last])
    values, label = matrix.data[entries], of_target[matrix.indices[entries]]
    column = np.repeat(np.arange(columns), np.diff(matrix.indptr[first : last + 1]))
    # stored zeros equal zeros that are not stored
    stored = values != 0
    values, label, column = values[stored], label[stored], column[stored]
    # an integer per value that ascends as the value descends: a float32's bits ascend with it above zero,
    # descend below
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32).astype(np.uint64)
    falling = np.where(bits >> 31, bits, ZERO - bits)
    # one sort of integers puts equal values of a column together
    key = np.sort(((column.astype(np.uint64) << VALUE_BITS | falling) << 1) | label)
    label, key = (key & 1).astype(np.int64), key >> 1
    starts = np.flatnonzero(np.diff(key, prepend=key[:1] - 1))
    group, sizes = key[starts], np.diff(starts, append=len(key))
    positive = np.add.reduceat(label, starts) if len(starts) else starts

    # and a group of zeros for each column
    of_zero = np.arange(columns, dtype=np.uint64) << VALUE_BITS | ZERO
    place = np.searchsorted(group, of_zero)
    of_group = (group >> VALUE_BITS).astype(np.int64)
    stored_positive = np.bincount(of_group, positive, columns).astype(np.int64)
    stored_all = np.bincount(of_group, sizes, columns).astype(np.int64)
    positive = np.insert(positive, place, int(of_target.sum()) - stored_positive)
    negative = np.insert(sizes, place, len(of_target) - stored_all) - positive
    return _areas(np.insert(of_group, place, np.arange(columns)), positive, negative)


def _areas(
    column: Int[np.ndarray, " groups"],
    positive: Int[np.ndarray, " groups"],
    negative: Int[np.ndarray, " groups"],
) -> Areas:
    """Both areas of every column, from counts of equal values in descending order; every column has a group."""
    starts = np.flatnonzero(np.diff(column, prepend=-1))
    totals = [np.add.reduceat(counts, starts).astype(np.float64) for counts in (positive, negative)]
    sizes = np.diff(starts, append=len(column))

    def so_far(counts: np.ndarray) -> np.ndarray:
        """Running sums that restart with every column."""
        running = np.cumsum(counts)
        return np.asarray(running - np.repeat(running[starts] - counts[starts], sizes))

    hits, misses = so_far(positive), so_far(negative)
    won = np.add.reduceat(negative * (hits - positive / 2), starts)
    precision = hits / np.maximum(hits + misses, 1)
    return Areas(won / (totals[0] * totals[1]), np.add.reduceat(positive * precision, starts) / totals[0])


def _moments(
    table: SentenceTable, of_target: np.ndarray
) -> tuple[Int[np.ndarray, " 2"], Float[np.ndarray, "2 units"], Float[np.ndarray, "2 units"]]:
    """For the sentences of the target and of all others: their number, the sum of values, and the sum of squares."""
    sizes = np.array([of_target.sum(), len(table) - of_target.sum()], dtype=np.int64)
    unit = np.repeat(np.arange(table.units), np.diff(table.values.indptr))
    values = table.values.data.astype(np.float64)
    here = of_target[table.values.indices]
    sums, squares = (
        np.stack([np.bincount(unit[rows], each[rows], table.units) for rows in (here, ~here)]).astype(float)
        for each in (values, values**2)
    )
    return sizes, sums, squares


# the share of clusters that Gurnee et al. evaluate probes on, which is not fitted
HELD_OUT = 0.3
LARGEST_PROBE = 256
MAX_STEPS = 2000
# Gurnee et al. divide activations by this many standard deviations, and their penalties refer to that scale
DEVIATIONS = 10.0


class _Probe:
    """The sentences that a probe is fitted on, in whole clusters, and the scale of its values."""

    def __init__(self, evidence: ScoreInputs) -> None:
        clusters, cluster = np.unique(evidence.table.clusters, return_inverse=True)
        left_out = np.zeros(len(clusters), dtype=bool)
        shuffled = np.random.default_rng(evidence.seed).permutation(len(clusters))
        left_out[shuffled[: round(HELD_OUT * len(clusters))]] = True
        table = evidence.table.take(np.flatnonzero(~left_out[cluster]))
        self.values, self.of_target = table.values, table.languages == evidence.target
        self.seed = evidence.seed
        if (found := int(self.of_target.sum())) in (0, len(table)):
            raise GlossaeError(
                f"scores: a probe has to fit on sentences of {evidence.target} and of another language, "
                f"and there are {found} and {len(table) - found}"
            )
        sizes, sums, squares = _moments(table, self.of_target)
        total = int(sizes.sum())
        self.deviation = np.sqrt(np.maximum(squares.sum(0) / total - (sums.sum(0) / total) ** 2, 0.0))
        # a constant unit cannot be scaled, and gives no information
        self.alive = np.flatnonzero(self.deviation > 1e-6 * np.sqrt(squares.sum(0) / total))
        if not len(self.alive):
            raise GlossaeError("scores: no unit differs between the sentences a probe is fitted on")
        self.difference = sums[0] / sizes[0] - sums[1] / sizes[1]

    def coefficients(
        self, units: Int[np.ndarray, " k"], *, strength: float, l1_ratio: float
    ) -> Float[np.ndarray, " k"]:
        """The coefficients of a probe on some units, for values divided by `DEVIATIONS` standard deviations."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        scale = diags_array(1 / (DEVIATIONS * self.deviation[units]))
        x = csr_array(self.values[:, units].astype(np.float64) @ scale)
        # before scikit-learn 1.8 the penalty has to be named, and from 1.8 on it must not be
        penalty = signature(LogisticRegression).parameters.get("penalty")
        named = {"penalty": "elasticnet"} if penalty is not None and penalty.default == "l2" else {}
        probe = LogisticRegression(
            solver="saga",
            class_weight="balanced",
            max_iter=MAX_STEPS,
            C=strength,
            l1_ratio=l1_ratio,
            random_state=self.seed,
            **named,
        )
        with warnings.catch_warnings():
            # a ranking needs no exact optimum
            warnings.simplefilter("ignore", ConvergenceWarning)
            probe.fit(x, self.of_target.astype(np.int64))
        return np.asarray(probe.coef_[0], dtype=np.float64)
