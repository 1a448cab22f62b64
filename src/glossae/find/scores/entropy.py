"""How few languages a unit fires on: LAPE, and what it became for latents."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from glossae.find.scores.counts import rates


@dataclass(frozen=True)
class Assigned:
    """Units that fire on few languages, and which.

    Attributes:
        entropy: over languages, in nats; NaN where a unit never fires. Low: few languages.
        kept: whether a unit passes the filters.
        languages: the languages that a unit is for; none where it was not kept.
    """

    entropy: Float[np.ndarray, " units"]
    kept: Bool[np.ndarray, " units"]
    languages: Bool[np.ndarray, "languages units"]


def entropy(
    *, fired: Int[np.ndarray, "languages units"], tokens: Int[np.ndarray, " languages"]
) -> Float[np.ndarray, " units"]:
    """LAPE, the language activation probability entropy of Tang et al. 2024 (arXiv 2402.16438), in nats.

    The entropy of a unit's firing rates on the languages, made to sum to 1. It does not say which language is the
    high one. NaN where a unit never fires.
    """
    share = rates(fired, tokens)
    total = share.sum(0)
    p = np.divide(share, total, out=np.zeros_like(share), where=total > 0)
    logs = np.log(p, out=np.zeros_like(p), where=p > 0)
    # 0 - ... so that the entropy of one language alone is no -0.0
    found: np.ndarray = np.where(total > 0, 0.0 - (p * logs).sum(0), np.nan)
    return found


def lape(
    *,
    fired: Int[np.ndarray, "languages units"],
    tokens: Int[np.ndarray, " languages"],
    percentile: float = 0.95,
    share: float = 0.01,
) -> Assigned:
    """Tang et al. 2024 (arXiv 2402.16438): the units of lowest LAPE, given to all languages they are high on.

    Of the units whose largest rate is above the 95th percentile of all rates (of all units and languages), the
    lowest 1 % of all units are kept, or as many as there are; a unit is given to every language on which its rate
    is above that percentile. Ties are broken by the unit's number. The percentile is the k-th smallest rate,
    k = round(0.95 n), and strictly above is meant, as in the authors' code.
    """
    rate, found = rates(fired, tokens), entropy(fired=fired, tokens=tokens)
    place = min(max(round(percentile * rate.size), 1), rate.size) - 1
    bar = np.partition(rate.ravel(), place)[place]
    high = rate > bar
    units = len(found)
    ordered = np.argsort(np.where(high.any(0), found, np.inf), kind="stable")
    kept = np.zeros(units, dtype=bool)
    kept[ordered[: round(share * units)]] = True
    kept &= high.any(0)
    return Assigned(found, kept, high & kept)


def sae_lape(
    *,
    fired: Int[np.ndarray, "languages units"],
    tokens: Int[np.ndarray, " languages"],
    sentence_fired: Int[np.ndarray, "languages units"],
    sentences: Int[np.ndarray, " languages"],
    min_sentences: float = 0.98,
    min_tokens: float = 0.1,
    dominance: float = 0.5,
) -> Assigned:
    """Andrylie et al. 2025 (arXiv 2507.11230): LAPE for latents, with other filters.

    Kept are units that fire in at least 98 % of the sentences of some language and on more than 10 % of the tokens
    of some language, not necessarily the same one, and whose rate on exactly one language is at least half of its
    largest rate: that language is theirs. Rank the kept ones by their entropy, lowest first.
    """
    rate = rates(fired, tokens)
    consistent = (rates(sentence_fired, sentences) >= min_sentences).any(0)
    frequent = (rate > min_tokens).any(0)
    largest = rate.max(0)
    high = (rate >= dominance * largest) & (largest > 0)
    kept = consistent & frequent & (high.sum(0) == 1)
    return Assigned(entropy(fired=fired, tokens=tokens), kept, high & kept)
