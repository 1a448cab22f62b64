"""What was written after prompts, measured: how it repeats itself, and what the model as it is thinks of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from glossae.effects import Clusters
from glossae.lm import LanguageModel, TokenizedCorpus, sentence_losses
from glossae.text import Corpus, Sentence

# n-grams of tokens whose share that stood before in the same text is called repetition
REPEATED = 4

Ids = Sequence[Int[np.ndarray, " _"]]


@dataclass(frozen=True)
class Ratio:
    """Sums over prompts (or sentences), one over the other, with what each of them adds.

    Attributes:
        over: numerators.
        under: denominators.
    """

    over: Float[np.ndarray, " prompts"]
    under: Float[np.ndarray, " prompts"]

    @property
    def value(self) -> float | None:
        """The ratio of the sums; None where there is nothing to divide by."""
        under = float(self.under.sum())
        return float(self.over.sum()) / under if under else None

    def interval(self, weights: Float[np.ndarray, "draws prompts"]) -> tuple[float | None, float | None]:
        """The central 95 % of the ratio over resamples."""
        under = weights @ self.under
        if not (under > 0).any():
            return None, None
        low, high = np.quantile((weights @ self.over)[under > 0] / under[under > 0], [0.025, 0.975])
        return float(low), float(high)


def resamples(clusters: Clusters, draws: int, seed: int) -> Float[np.ndarray, "draws prompts"]:
    """How often each prompt (or sentence) is in each bootstrap resample of clusters; one seed gives paired ones."""
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(clusters.count, np.full(clusters.count, 1 / clusters.count), size=draws)
    return weights[:, clusters.of].astype(np.float64)


def repetition(written: Ids, n: int = REPEATED) -> Ratio:
    """The share of n-grams of tokens that stood before in the same text (Welleck et al. 2020, eq. 10: seq-rep-n)."""
    grams = [_grams(ids, n) for ids in written]
    return Ratio(
        np.array([len(found) - len(set(found)) for found in grams], dtype=np.float64),
        np.array([len(found) for found in grams], dtype=np.float64),
    )


def distinct(written: Ids, n: int) -> float | None:
    """How many different n-grams of tokens there are in all texts together, over all there are (Li et al. 2016).

    None where no text has any. It falls with the amount of text: compare it between arms of as many prompts.
    """
    grams = [gram for ids in written for gram in _grams(ids, n)]
    return len(set(grams)) / len(grams) if grams else None


def continuation_losses(lm: LanguageModel, prompts: Ids, written: Ids, *, budget: int = 1024) -> Ratio:
    """Summed nats of what was written, given its prompt, and how many tokens that are.

    The loss of prompt and continuation less that of the prompt: a model reads from left to right. Nothing may
    be edited meanwhile.
    """
    some = [number for number, ids in enumerate(written) if len(ids)]
    nats = np.zeros(len(written))
    if some:
        whole = _as_tokens([np.concatenate([prompts[i], written[i]]) for i in some])
        before = _as_tokens([prompts[i] for i in some])
        nats[some] = sentence_losses(lm, whole, budget=budget) - sentence_losses(lm, before, budget=budget)
    return Ratio(nats, np.array([len(ids) for ids in written], dtype=np.float64))


def _as_tokens(rows: Ids) -> TokenizedCorpus:
    return TokenizedCorpus(
        corpus=Corpus.of(Sentence("", "-", str(number), "written") for number in range(len(rows))),
        ids=tuple(np.asarray(row, dtype=np.int64) for row in rows),
        predicted_bytes=np.zeros(len(rows), dtype=np.int64),
        dropped={},
        cut={},
        prefix=0,
    )


def _grams(ids: Int[np.ndarray, " _"], n: int) -> list[tuple[int, ...]]:
    row = ids.tolist()
    return [tuple(row[start : start + n]) for start in range(len(row) - n + 1)]
