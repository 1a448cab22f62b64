"""Random samples of sentences that grow until an interval is narrow enough."""

import math
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int

# of the standard normal distribution: 95 % lie within so many standard deviations
Z_95 = 1.959964
# an interval of this share of a change is narrow enough: nobody needs 2.31 of 2.3
RELATIVE = 0.1
# sentences of a language in the first sample: below about 30 the interval of a ratio is too narrow
# (Cochran 1977, chapter 6)
FIRST = 32


def random_order(languages: Sequence[str], *, seed: int) -> dict[str, Int[np.ndarray, " own"]]:
    """Return the sentence numbers of each language in a random order.

    The order of one language does not depend on the other languages.

    Args:
        languages: the language of each sentence.
        seed: of the order.
    """
    column = np.array(languages, dtype=object)
    return {
        language: np.random.default_rng([seed, zlib.crc32(language.encode())]).permutation(
            np.flatnonzero(column == language)
        )
        for language in sorted(set(languages))
    }


def growing(
    languages: Sequence[str], *, seed: int, first: int = FIRST, factor: int = 2
) -> Iterator[dict[str, Int[np.ndarray, " sample"]]]:
    """Yield ever larger random samples of sentence numbers, language by language.

    Each sample holds the one before it as its beginning, so what was measured on that need not be measured again. The
    last sample is the whole text. Whoever stops at the first sample that is precise enough has an interval of a fixed
    width by a sequential rule, whose coverage comes to 95 % as the width goes to 0 (Chow and Robbins 1965, Annals of
    Mathematical Statistics 36, 457-462).

    Args:
        languages: the language of each sentence.
        seed: of the draw.
        first: how many sentences of each language are in the first sample.
        factor: how many times as many are in each following sample.
    """
    order = random_order(languages, seed=seed)
    longest = max(map(len, order.values()), default=0)
    size = first
    while longest:
        yield {language: own[:size] for language, own in order.items()}
        if size >= longest:
            return
        size *= factor


def half_width(sums: Float[np.ndarray, " sentences"], counts: Int[np.ndarray, " sentences"]) -> float:
    """Return half the width of the 95 % interval of `sums.sum() / counts.sum()`, a mean per token.

    Sentences are drawn, not tokens, so the mean is a ratio of two sums: with R the ratio, n sentences and d = y - R x,
    its variance is about n / (n - 1) sum(d^2) / (sum x)^2 (Cochran 1977, Sampling Techniques, theorem 2.5 and chapter
    6, without the correction for a finite population: the text stands for more than itself). Infinite for fewer than
    2 sentences or without a token.

    Args:
        sums: of a quantity over the tokens of each sentence.
        counts: the tokens of each sentence.
    """
    n, total = len(sums), float(counts.sum())
    if n < 2 or total <= 0:
        return math.inf
    deviations = sums - sums.sum() / total * counts
    return Z_95 * math.sqrt(n / (n - 1) * float(np.square(deviations).sum())) / total


def narrow_enough(half: float, change: float, precision: float) -> bool:
    """Return whether half an interval is at most `precision`, or `RELATIVE` of the change that it is about."""
    return half <= max(precision, RELATIVE * abs(change))
