"""Every score by name: what it is, where it comes from, which way is better, what it needs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from glossae.errors import GlossaeError
from glossae.find.scores.attribution import attribution_difference
from glossae.find.scores.counts import sentence_firing
from glossae.find.scores.entropy import entropy, lape, sae_lape
from glossae.find.scores.evidence import Evidence
from glossae.find.scores.information import f_statistic, mutual_information, sentence_moments
from glossae.find.scores.overlap import histogram_overlap
from glossae.find.scores.random_tokens import random_token_difference, random_token_filter
from glossae.find.scores.rates import mean_difference, passes_paper_rule, rate_difference

Scored = Float[np.ndarray, " units"]
Chosen = Bool[np.ndarray, " units"]


@dataclass(frozen=True)
class Score:
    """A score.

    Attributes:
        meaning: what it is, in one line.
        source: the paper it comes from.
        higher_is_better: whether a high value speaks for the unit.
        directed: whether it tells units that are high on the target from units that are low on it.
        needs: the parts of `Evidence.known` it is computed from.
        compute: the score of every unit.
    """

    meaning: str
    source: str
    higher_is_better: bool
    directed: bool
    needs: frozenset[str]
    compute: Callable[[Evidence], Scored]


def _rate_difference(of: Evidence) -> Scored:
    counts = of.of_tokens
    return rate_difference(fired=counts.fired, tokens=counts.tokens, target=of.row)


def _mean_difference(of: Evidence) -> Scored:
    counts = of.of_tokens
    return mean_difference(sums=counts.sums, tokens=counts.tokens, target=of.row)


def _histogram_overlap(of: Evidence) -> Scored:
    counts = of.of_tokens
    return histogram_overlap(
        histogram=of.histogram, tokens=counts.tokens, target=of.row, negative_bins=counts.negative_bins
    )


def _lape(of: Evidence) -> Scored:
    return entropy(fired=of.of_tokens.fired, tokens=of.of_tokens.tokens)


def _mutual_information(of: Evidence) -> Scored:
    fired, tokens = of.two_rows
    return mutual_information(fired=fired, tokens=tokens)


def _f_statistic(of: Evidence) -> Scored:
    sizes, sums, squares = sentence_moments(of.sentences, of.target)
    return f_statistic(sizes=sizes, sums=sums, squares=squares)


def _l1(of: Evidence) -> Scored:
    found = np.zeros(of.sentences.units)
    found[of.l1.units] = of.l1.coefficients
    return found


def _adaptive(of: Evidence) -> Scored:
    found, order = np.zeros(of.sentences.units), of.adaptive.order
    found[order] = np.arange(len(order), 0, -1)
    return found


def _attribution(of: Evidence) -> Scored:
    found = of.gradients
    if of.target not in found.languages:
        raise GlossaeError(f"scores: there is no attribution for {of.target}")
    return attribution_difference(
        effect=found.effect, predicted=found.predicted, target=found.languages.index(of.target)
    )


def _random_tokens(of: Evidence) -> Scored:
    assert of.random_rate is not None
    return random_token_difference(rate=of.token_rate, random_rate=of.random_rate)


SCORES: dict[str, Score] = {
    "rate_difference": Score(
        "share of the target's tokens it fires on, less the largest share of another language",
        "Kirkegaard et al. 2025, section 5.1",
        higher_is_better=True,
        directed=True,
        needs=frozenset({"counts"}),
        compute=_rate_difference,
    ),
    "mean_difference": Score(
        "nu: mean value on the target less the mean of its means on the others",
        "Deng et al. 2025, arXiv 2505.05111",
        higher_is_better=True,
        directed=True,
        needs=frozenset({"counts"}),
        compute=_mean_difference,
    ),
    "histogram_overlap": Score(
        "how much of the target's histogram of values lies under that of the closest language",
        "Kirkegaard et al. 2025, section 5.1; Weitzman 1970",
        higher_is_better=False,
        directed=False,
        needs=frozenset({"histogram"}),
        compute=_histogram_overlap,
    ),
    "lape": Score(
        "entropy of its firing rates over languages, nats",
        "Tang et al. 2024, arXiv 2402.16438",
        higher_is_better=False,
        directed=False,
        needs=frozenset({"counts"}),
        compute=_lape,
    ),
    "token_auroc": Score(
        "how often its value at a target token is above that at another language's token",
        "Hanley & McNeil 1982",
        higher_is_better=True,
        directed=True,
        needs=frozenset({"histogram"}),
        compute=lambda of: of.token_areas.auroc,
    ),
    "token_average_precision": Score(
        "average precision of its value as a detector of the target's tokens",
        "Kojima et al. 2024, arXiv 2404.02431, on tokens",
        higher_is_better=True,
        directed=True,
        needs=frozenset({"histogram"}),
        compute=lambda of: of.token_areas.average_precision,
    ),
    "sentence_auroc": Score(
        "how often its mean value on a target sentence is above that on another language's sentence",
        "Hanley & McNeil 1982",
        higher_is_better=True,
        directed=True,
        needs=frozenset({"table"}),
        compute=lambda of: of.sentence_areas.auroc,
    ),
    "sentence_average_precision": Score(
        "average precision of its mean value as a detector of the target's sentences",
        "Kojima et al. 2024, arXiv 2404.02431",
        higher_is_better=True,
        directed=True,
        needs=frozenset({"table"}),
        compute=lambda of: of.sentence_areas.average_precision,
    ),
    "mutual_information": Score(
        "what firing says of target or not, nats, Jeffreys prior",
        "Shannon 1948; Gurnee et al. 2023, arXiv 2305.01610",
        higher_is_better=True,
        directed=False,
        needs=frozenset({"counts"}),
        compute=_mutual_information,
    ),
    "log_odds": Score(
        "log-odds ratio of firing on the target against all others, Jeffreys prior",
        "Haldane 1956; Gart & Zweifel 1967",
        higher_is_better=True,
        directed=True,
        needs=frozenset({"counts"}),
        compute=lambda of: of.log_odds.value,
    ),
    "log_odds_z": Score(
        "that log-odds ratio in standard errors, as if tokens were independent",
        "Gart & Zweifel 1967",
        higher_is_better=True,
        directed=True,
        needs=frozenset({"counts"}),
        compute=lambda of: of.log_odds.value / of.log_odds.error,
    ),
    "f_statistic": Score(
        "variance of its sentence values between target and others by that within",
        "Fisher 1925; Gurnee et al. 2023, arXiv 2305.01610",
        higher_is_better=True,
        directed=False,
        needs=frozenset({"table"}),
        compute=_f_statistic,
    ),
    "l1_probe": Score(
        "its coefficient in an L1 logistic probe on sentence values",
        "Gurnee et al. 2023, arXiv 2305.01610",
        higher_is_better=True,
        directed=True,
        needs=frozenset({"table"}),
        compute=_l1,
    ),
    "adaptive_probe": Score(
        "how late adaptive thresholding drops it; 0 where it was never taken up",
        "Gurnee et al. 2023, arXiv 2305.01610",
        higher_is_better=True,
        directed=False,
        needs=frozenset({"table"}),
        compute=_adaptive,
    ),
    "attribution": Score(
        "nats per token the target would lose without it, to first order, less the most another language would",
        "Nanda 2023; Marks et al. 2024, arXiv 2403.19647",
        higher_is_better=True,
        directed=True,
        needs=frozenset({"attribution"}),
        compute=_attribution,
    ),
    "random_tokens": Score(
        "share of the target's tokens it fires on, less that of random tokens",
        "LangFIR, arXiv 2604.03532",
        higher_is_better=True,
        directed=True,
        needs=frozenset({"counts", "random_rate"}),
        compute=_random_tokens,
    ),
}
"""The scores by name."""

HIGHER_IS_BETTER = {name: score.higher_is_better for name, score in SCORES.items()}


def all_scores(evidence: Evidence, names: Iterable[str] | None = None) -> dict[str, Scored]:
    """Every score that the evidence is enough for, `(units,)` each, or those of these names.

    Raises:
        GlossaeError: a name is not known, what a named score needs is not there, or there is no other language.
    """
    known = evidence.known
    if names is None:
        names = [name for name, score in SCORES.items() if score.needs <= known]
    found = {}
    for name in names:
        if name not in SCORES:
            raise GlossaeError(f"scores: '{name}' is not a score; there are {', '.join(SCORES)}")
        if missing := SCORES[name].needs - known:
            raise GlossaeError(f"scores: {name} needs {' and '.join(sorted(missing))}")
        found[name] = SCORES[name].compute(evidence)
    return found


def chosen_by(evidence: Evidence) -> dict[str, Chosen]:
    """The units that each rule gives to the target: `paper`, `lape`, `sae_lape`, `random_tokens`, as far as known."""
    known, rules = evidence.known, {}
    if "counts" in known:
        counts, row = evidence.of_tokens, evidence.row
        fired, tokens = counts.fired, counts.tokens
        rules["paper"] = passes_paper_rule(fired=fired, tokens=tokens, target=row)
        rules["lape"] = lape(fired=fired, tokens=tokens).languages[row]
        if "table" in known:
            sentences, sentence_fired = sentence_firing(evidence.sentences, counts.languages)
            rules["sae_lape"] = sae_lape(
                fired=fired, tokens=tokens, sentences=sentences, sentence_fired=sentence_fired
            ).languages[row]
        if evidence.random_rate is not None:
            rules["random_tokens"] = random_token_filter(
                rate=evidence.token_rate, random_rate=evidence.random_rate
            )
    return rules
