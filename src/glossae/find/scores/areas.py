"""A unit as a detector of its language: area under the ROC curve, and average precision."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from glossae.errors import GlossaeError
from glossae.find.scores.counts import against_others, unit_slices, with_silent
from glossae.units import SentenceTable


@dataclass(frozen=True)
class Areas:
    """How well each unit's value tells the target from all other languages together.

    Attributes:
        auroc: how often a random value of the target is larger than one of the others, ties counted half.
        average_precision: the mean precision over the target's values, highest first; equal values are one step.
            By chance it is the target's share of all values.
    """

    auroc: Float[np.ndarray, " units"]
    average_precision: Float[np.ndarray, " units"]


def token_areas(
    *,
    histogram: Int[np.ndarray, "languages units bins"],
    tokens: Int[np.ndarray, " languages"],
    target: int,
    negative_bins: int = 0,
) -> Areas:
    """Of single tokens, from a histogram: values of one bin are ties, as are all tokens that are in none.

    AUROC is the Mann-Whitney statistic (Hanley & McNeil 1982).

    Raises:
        GlossaeError: a histogram holds more values than there are tokens, or there is one language only.
    """
    units, width = histogram.shape[1], histogram.shape[2] + 1
    areas = Areas(np.empty(units), np.empty(units))
    for part in unit_slices(units, len(tokens) * width):
        counts = with_silent(histogram[:, part], tokens, negative_bins)
        positive, negative = against_others(counts[:, :, ::-1], target)
        found = _areas(np.repeat(np.arange(len(positive)), width), positive.ravel(), negative.ravel())
        areas.auroc[part], areas.average_precision[part] = found
    return areas


def sentence_areas(table: SentenceTable, target: str) -> Areas:
    """Of sentences by their mean value: Kojima et al. 2024 (arXiv 2404.02431), after Suau et al. 2022.

    They take the units of highest average precision, and those of lowest: units that are low on the language.
    Memory beside the table is a few times the entries of one chunk of units.

    Raises:
        GlossaeError: there are no sentences of the target, or of nothing else.
    """
    of_target = table.languages == target
    positives = int(of_target.sum())
    negatives = len(table) - positives
    if not positives or not negatives:
        raise GlossaeError(
            f"scores: sentences of {target} and of another language are needed, "
            f"and there are {positives} and {negatives}"
        )
    areas = Areas(np.empty(table.units), np.empty(table.units))
    for first, last in table.chunks():
        found = _of_columns(table, of_target, first, last)
        areas.auroc[first:last], areas.average_precision[first:last] = found
    return areas


# a column's groups of equal values, by falling value: the column, and how falling values are numbered
VALUE_BITS = 32
ZERO = 2**31 - 1


def _of_columns(
    table: SentenceTable, of_target: np.ndarray, first: int, last: int
) -> tuple[np.ndarray, np.ndarray]:
    matrix, columns = table.values, last - first
    entries = slice(matrix.indptr[first], matrix.indptr[last])
    values, label = matrix.data[entries], of_target[matrix.indices[entries]]
    column = np.repeat(np.arange(columns), np.diff(matrix.indptr[first : last + 1]))
    # zeros that are stored are zeros like those that are not
    stored = values != 0
    values, label, column = values[stored], label[stored], column[stored]
    # one number a value that rises as the value falls: the bits of a float32 rise with it, and fall below zero
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32).astype(np.uint64)
    falling = np.where(bits >> 31, bits, ZERO - bits)
    # one sort, of plain numbers, puts together what is equal within a column
    key = np.sort(((column.astype(np.uint64) << VALUE_BITS | falling) << 1) | label)
    label, key = (key & 1).astype(np.int64), key >> 1
    starts = np.flatnonzero(np.diff(key, prepend=key[:1] - 1)) if len(key) else np.zeros(0, dtype=np.int64)
    group, sizes = key[starts], np.diff(starts, append=len(key))
    positive = np.add.reduceat(label, starts) if len(starts) else np.zeros(0, dtype=np.int64)

    # and a group of zeros for each column
    of_zero = np.arange(columns, dtype=np.uint64) << VALUE_BITS | ZERO
    place = np.searchsorted(group, of_zero)
    of_group = (group >> VALUE_BITS).astype(np.int64)
    stored_positive = np.bincount(of_group, positive, columns).astype(np.int64)
    stored_all = np.bincount(of_group, sizes, columns).astype(np.int64)
    zero_positive = int(of_target.sum()) - stored_positive
    zero_all = len(of_target) - stored_all
    positive = np.insert(positive, place, zero_positive)
    negative = np.insert(sizes, place, zero_all) - positive
    return _areas(np.insert(of_group, place, np.arange(columns)), positive, negative)


def _areas(
    column: Int[np.ndarray, " groups"],
    positive: Int[np.ndarray, " groups"],
    negative: Int[np.ndarray, " groups"],
) -> tuple[np.ndarray, np.ndarray]:
    """Both areas of every column, from counts of equal values by falling value; every column has a group."""
    starts = np.flatnonzero(np.diff(column, prepend=-1))
    totals = [np.add.reduceat(counts, starts).astype(np.float64) for counts in (positive, negative)]

    def so_far(counts: np.ndarray) -> np.ndarray:
        """Running sums that begin anew with every column."""
        running = np.cumsum(counts)
        since: np.ndarray = running - np.repeat(
            running[starts] - counts[starts], np.diff(starts, append=len(counts))
        )
        return since

    hits, misses = so_far(positive), so_far(negative)
    won = np.add.reduceat(negative * (hits - positive / 2), starts)
    precision = hits / np.maximum(hits + misses, 1)
    return won / (totals[0] * totals[1]), np.add.reduceat(positive * precision, starts) / totals[0]
