"""What firing says of the language: mutual information, log-odds, and the F statistic."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from glossae.errors import GlossaeError
from glossae.find.scores.counts import against_others
from glossae.units import SentenceTable

JEFFREYS = 0.5


def mutual_information(
    *,
    fired: Int[np.ndarray, "languages units"],
    tokens: Int[np.ndarray, " languages"],
    prior: float = JEFFREYS,
) -> Float[np.ndarray, " units"]:
    """The mutual information of "the unit fires" and "the language", in nats (Shannon 1948).

    Of the table of languages x (fires, does not), to each cell of which the prior is added: a half is Jeffreys'
    prior for a binomial rate. It depends on the languages' shares of the tokens, and it does not say which language
    is the high one. Gurnee et al. 2023 (arXiv 2305.01610) rank neurons by it. For one language against the rest,
    hand in two rows.
    """
    silent = tokens[:, None] - fired
    joint = np.stack([fired, silent]) + prior
    joint = joint / joint.sum((0, 1))
    independent = joint.sum(0, keepdims=True) * joint.sum(1, keepdims=True)
    ratio = np.divide(joint, independent, out=np.ones_like(joint), where=joint > 0)
    # rounding can leave a unit that says nothing a little below zero
    found: np.ndarray = np.maximum((joint * np.log(ratio)).sum((0, 1)), 0.0)
    return found


@dataclass(frozen=True)
class LogOdds:
    """The log of an odds ratio.

    Attributes:
        value: in nats; above zero, the unit fires more readily on the target.
        error: its standard error, as if tokens were independent. Those of one sentence are not: for intervals hand
            in counts of sentences.
    """

    value: Float[np.ndarray, " units"]
    error: Float[np.ndarray, " units"]


def log_odds(
    *,
    fired: Int[np.ndarray, "languages units"],
    tokens: Int[np.ndarray, " languages"],
    target: int,
    prior: float = JEFFREYS,
) -> LogOdds:
    """The log-odds ratio of firing on the target against all others together, a half added to every cell.

    Haldane 1956 and Anscombe 1956; its variance is the sum of the cells' inverses (Gart & Zweifel 1967).
    """
    of_target, of_others = against_others(fired, target)
    target_tokens, other_tokens = against_others(tokens, target)
    cells = np.stack([of_target, target_tokens - of_target, of_others, other_tokens - of_others]) + prior
    logs = np.log(cells)
    return LogOdds(logs[0] - logs[1] - logs[2] + logs[3], np.sqrt((1 / cells).sum(0)))


def f_statistic(
    *,
    sizes: Int[np.ndarray, " groups"],
    sums: Float[np.ndarray, "groups units"],
    squares: Float[np.ndarray, "groups units"],
) -> Float[np.ndarray, " units"]:
    """The F statistic of a one-way analysis of variance (Fisher 1925), from sums and sums of squares by group.

    Gurnee et al. 2023 (arXiv 2305.01610) rank neurons by it. It does not say which group is the high one.
    0 for a unit that is the same everywhere, infinite for one that is the same within every group only.

    Raises:
        GlossaeError: there are fewer than two groups, one is empty, or no group has two members.
    """
    groups, total = len(sizes), int(sizes.sum())
    if groups < 2 or not (sizes > 0).all() or total <= groups:
        raise GlossaeError(
            f"scores: an F statistic needs two groups with members, and the sizes are {sizes.tolist()}"
        )
    of_group = (sums**2 / sizes[:, None]).sum(0)
    between = np.maximum(of_group - sums.sum(0) ** 2 / total, 0.0)
    everything = squares.sum(0)
    within = np.maximum(everything - of_group, 0.0)
    # below this is nothing but rounding of the sums
    least = 1e-12 * everything
    ratio = np.divide(
        between / (groups - 1),
        within / (total - groups),
        out=np.full(len(within), np.inf),
        where=within > least,
    )
    found: np.ndarray = np.where(between > least, ratio, 0.0)
    return found


def sentence_moments(
    table: SentenceTable, target: str
) -> tuple[Int[np.ndarray, " 2"], Float[np.ndarray, "2 units"], Float[np.ndarray, "2 units"]]:
    """Of the sentences of the target and of all others: how many, the sum of their values, and of the squares."""
    of_target = table.languages == target
    sizes = np.array([of_target.sum(), len(table) - of_target.sum()], dtype=np.int64)
    unit = np.repeat(np.arange(table.units), np.diff(table.values.indptr))
    values = table.values.data.astype(np.float64)
    here = of_target[table.values.indices]
    sums, squares = (
        np.stack([np.bincount(unit[rows], of[rows], table.units) for rows in (here, ~here)]).astype(
            np.float64
        )
        for of in (values, values**2)
    )
    return sizes, sums, squares
