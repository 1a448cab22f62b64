"""What token-level scores are computed from: counts by language, and a few ways to look at them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Num

from glossae.errors import GlossaeError
from glossae.units import LAYOUTS, SentenceTable, UnitStatistics

# values held at once where a score needs an array of units x bins
ENTRIES = 4_000_000


@dataclass(frozen=True)
class TokenCounts:
    """Sums over the tokens of each language.

    Attributes:
        languages: the rows.
        tokens: tokens of each language.
        fired: on how many of them each unit fires.
        sums: sum over all tokens of what each unit reads; a latent reads 0 where it does not fire.
        histogram: tokens in each bin of what a unit reads; a unit's bins are the same for every language and rise.
            None where it was not counted.
        negative_bins: how many of the bins hold values below zero; between them and the others stand the tokens
            that are in no bin, because they read zero.
    """

    languages: tuple[str, ...]
    tokens: Int[np.ndarray, " languages"]
    fired: Int[np.ndarray, "languages units"]
    sums: Float[np.ndarray, "languages units"]
    histogram: Int[np.ndarray, "languages units bins"] | None = None
    negative_bins: int = 0

    @property
    def units(self) -> int:
        """How many units there are."""
        return int(self.fired.shape[1])

    def row(self, language: str) -> int:
        """The row of a language.

        Raises:
            GlossaeError: there is no such language.
        """
        if language not in self.languages:
            raise GlossaeError(
                f"scores: there are no tokens of {language}, only of {', '.join(self.languages)}"
            )
        return self.languages.index(language)

    @staticmethod
    def of(statistics: UnitStatistics) -> "TokenCounts":
        """The counts that streamed statistics hold."""
        return TokenCounts(
            languages=statistics.languages,
            tokens=statistics.tokens.numpy(),
            fired=statistics.fired.numpy(),
            sums=statistics.value_sum.numpy(),
            histogram=statistics.histogram.numpy(),
            negative_bins=LAYOUTS[statistics.layout].zero,
        )


def rates(
    counts: Num[np.ndarray, "languages units"], tokens: Int[np.ndarray, " languages"]
) -> Float[np.ndarray, "languages units"]:
    """Counts or sums by the number of tokens.

    Raises:
        GlossaeError: a language has no token.
    """
    if not (tokens > 0).all():
        raise GlossaeError(f"scores: language {int(np.argmin(tokens))} of the counts has no tokens")
    return counts / tokens[:, None].astype(np.float64)


def others(languages: int, target: int) -> Int[np.ndarray, " others"]:
    """The rows that are not the target's.

    Raises:
        GlossaeError: there is none.
    """
    rows = np.flatnonzero(np.arange(languages) != target)
    if not len(rows):
        raise GlossaeError("scores: a score compares languages, and there is only one")
    return rows


def against_others(counts: Num[np.ndarray, "languages *rest"], target: int) -> Num[np.ndarray, "2 *rest"]:
    """Counts of the target, and of all other languages together."""
    return np.stack([counts[target], counts[others(len(counts), target)].sum(0)])


def with_silent(
    histogram: Int[np.ndarray, "languages units bins"],
    tokens: Int[np.ndarray, " languages"],
    negative_bins: int,
) -> Int[np.ndarray, "languages units all_bins"]:
    """The histogram of all tokens: a bin more, at zero, for those that are in none.

    Raises:
        GlossaeError: it holds more values than there are tokens.
    """
    silent = tokens[:, None] - histogram.sum(2)
    if (silent < 0).any():
        raise GlossaeError("scores: a histogram holds more values than its language has tokens")
    return np.insert(histogram, negative_bins, silent, axis=2)


def unit_slices(units: int, width: int) -> Iterator[slice]:
    """Runs of units so that units x width stays small."""
    step = max(1, ENTRIES // max(1, width))
    for first in range(0, units, step):
        yield slice(first, min(first + step, units))


def sentence_firing(
    table: SentenceTable, languages: tuple[str, ...]
) -> tuple[Int[np.ndarray, " languages"], Int[np.ndarray, "languages units"]]:
    """How many sentences each language has, and on how many of them each unit fires at all."""
    sentences = np.array([len(table.rows(language)) for language in languages], dtype=np.int64)
    unit = np.repeat(np.arange(table.units), np.diff(table.fired.indptr))
    language = table.languages[table.fired.indices]
    fires = table.fired.data > 0
    return sentences, np.stack(
        [np.bincount(unit[fires & (language == of)], minlength=table.units) for of in languages]
    )
