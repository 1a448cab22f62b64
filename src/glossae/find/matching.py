"""Sentences of two languages that a tokenizer treats alike: whether units tell languages apart, or tokens."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

from glossae.errors import GlossaeError
from glossae.lm import TokenizedCorpus

COVARIATES = ("tokens_per_word", "bytes_per_token")
CALIPER = 0.2
"""How far matched sentences may differ in each covariate, in standard deviations (Austin 2011)."""


@dataclass(frozen=True)
class MatchedTokenisation:
    """Sentences of one language, each with one of another that is tokenised much like it.

    Attributes:
        first: numbers of sentences of the first language, in the tokenized corpus.
        second: of the sentence of the second language that goes with each.
        found: how many sentences of the first and the second language there were.
        before: by covariate, the standardised mean difference of all of them, first less second: in units of
            sqrt((s1^2 + s2^2) / 2) (Austin 2009).
        after: the same of the matched ones, in the same units; below 0.1 in size is commonly taken as balance.
    """

    first: Int[np.ndarray, " matched"]
    second: Int[np.ndarray, " matched"]
    found: tuple[int, int]
    before: dict[str, float]
    after: dict[str, float]

    def __len__(self) -> int:
        """How many sentences were matched."""
        return len(self.first)

    @property
    def rows(self) -> Int[np.ndarray, " both"]:
        """The numbers of all matched sentences, ascending: what to take from a table of the same text."""
        return np.sort(np.concatenate([self.first, self.second]))

    def as_json(self) -> dict[str, Any]:
        """The counts and the balance, fit for JSON."""
        return {
            "matched": len(self),
            "found": list(self.found),
            "before": self.before,
            "after": self.after,
        }


def tokenisation(tokens: TokenizedCorpus) -> Float[np.ndarray, "sentences 2"]:
    """Tokens per word and UTF-8 bytes per token of each sentence.

    Words are what blanks divide. Bytes are those of the predicted tokens. Of a sentence that was cut the tokens
    that are left are set against all of its words, so text should be tokenized uncut.
    """
    words = np.array([max(len(s.text.split()), 1) for s in tokens.corpus.sentences], dtype=np.float64)
    bytes_per_token = tokens.predicted_bytes / np.maximum(tokens.predicted, 1)
    return np.stack([tokens.lengths / words, bytes_per_token], axis=1).astype(np.float64)


def match_tokenisation(
    tokens: TokenizedCorpus, first: str, second: str, *, caliper: float = CALIPER, seed: int = 0
) -> MatchedTokenisation:
    """Match the sentences of two languages on tokens per word and bytes per token.

    Greedy nearest neighbours without replacement (Rosenbaum and Rubin 1985): the sentences of the language that
    has fewer are gone through in random order, and each takes the nearest one that is left within the caliper in
    both covariates; near means the larger of the two differences is small. Whoever finds none is left out. The
    order of the corpus plays no part.

    Args:
        caliper: in standard deviations (see `MatchedTokenisation.before`).
        seed: of the order in which sentences are matched.

    Raises:
        GlossaeError: a language has fewer than 2 sentences, both are the same, the caliper is not above 0, or
            no two sentences lie within it.
    """
    if first == second:
        raise GlossaeError(f"matching: {first} twice: name two languages")
    if not caliper > 0:
        raise GlossaeError(f"matching: caliper {caliper}: it has to be above 0")
    sides = [_numbers(tokens, language) for language in (first, second)]
    values = tokenisation(tokens)
    unit = np.sqrt(np.mean([values[side].var(0, ddof=1) for side in sides], axis=0))
    # a covariate that does not vary within the languages cannot be scaled; any difference is then outside
    scaled = values / np.where(unit > 0, unit, np.finfo(np.float64).tiny ** 0.5)
    few, many = sorted(sides, key=len)
    taken = _greedy(scaled[few], scaled[many], caliper, seed)
    if not taken:
        raise GlossaeError(
            f"matching: no sentence of {first} is tokenised like one of {second}: widen the caliper"
        )
    here, there = (np.array(column, dtype=np.int64) for column in zip(*sorted(taken.items()), strict=True))
    matched = [few[here], many[there]]
    if few is not sides[0]:
        matched.reverse()
    return MatchedTokenisation(
        first=matched[0],
        second=matched[1],
        found=(len(sides[0]), len(sides[1])),
        before=_difference(scaled, sides),
        after=_difference(scaled, matched),
    )


def _numbers(tokens: TokenizedCorpus, language: str) -> Int[np.ndarray, " chosen"]:
    """The sentences of a language, in an order that does not depend on the corpus's."""
    sentences = tokens.corpus.sentences
    chosen = [i for i, s in enumerate(sentences) if s.language == language]
    if len(chosen) < 2:
        raise GlossaeError(f"matching: {len(chosen)} sentences in {language}: give at least 2")
    return np.array(sorted(chosen, key=lambda i: sentences[i]), dtype=np.int64)


def _greedy(
    few: Float[np.ndarray, "few 2"], many: Float[np.ndarray, "many 2"], caliper: float, seed: int
) -> dict[int, int]:
    """Whom each takes, of those who find somebody."""
    tree = KDTree(many)
    free = np.ones(len(many), dtype=bool)
    taken: dict[int, int] = {}
    for one in np.random.default_rng(seed).permutation(len(few)).tolist():
        nearby = np.array(
            tree.query_ball_point(few[one], caliper, p=np.inf, return_sorted=True), dtype=np.int64
        )
        nearby = nearby[free[nearby]]
        if len(nearby):
            best = int(nearby[np.abs(many[nearby] - few[one]).max(1).argmin()])
            taken[one], free[best] = best, False
    return taken


def _difference(
    scaled: Float[np.ndarray, "sentences 2"], sides: list[Int[np.ndarray, " _"]]
) -> dict[str, float]:
    difference = scaled[sides[0]].mean(0) - scaled[sides[1]].mean(0)
    return dict(zip(COVARIATES, difference.tolist(), strict=True))
