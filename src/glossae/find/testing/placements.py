"""Where every value of a unit stands among the sentences of every language, from one sort of what is stored."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Int32, Integer
from scipy.sparse import csc_array

from glossae.errors import GlossaeError
from glossae.find.testing.clusters import Clusters
from glossae.units import SentenceTable

ENTRIES = 2_000_000
"""How many entries are held at once; several arrays of languages x entries are."""


class Placements(NamedTuple):
    """A run of units, entry by entry, sorted by unit, cluster and language.

    A place is counted in half sentences: each sentence that lies below counts two, each tie one. A sentence whose
    value is not stored lies at zero; its place is `zero`, and the place of an entry is `zero + above`. The placement
    values of any ordered pair of languages, and the ranks of any two pooled, are sums of these.

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


def placements(table: SentenceTable, clusters: Clusters, entries: int = ENTRIES) -> Iterator[Placements]:
    """Runs of units with about so many entries each.

    Raises:
        GlossaeError: a value is not finite.
    """
    # rows by cluster, so that the sentences of a pair stand side by side in every column
    values = csc_array(table.values.tocsr()[clusters.order])
    for first, last in table.chunks(entries):
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
        above, zero = _places(unit, value, clusters.language[row], clusters.n, last - first)
        yield Placements(first, unit, row, above, zero)


def _places(
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
        # below an entry and tied with it, among the stored; those at zero lie on one side of it
        side = (
            np.stack([-at_zero[:, of], at_zero[:, of]], axis=1) - 2 * (seen[of_unit] + below[:, of])[:, None]
        )
        place = seen[begins] + seen[ends] + side.astype(np.int32)[run_unit, positive.view(np.int8)]
        np.take(place, run, out=above[of])
    return above, 2 * below + at_zero


def _key(
    unit: Int[np.ndarray, " entries"], value: Float[np.ndarray, " entries"]
) -> Integer[np.ndarray, " entries"]:
    """Whole numbers in the order of unit, then value: those sort several times as fast as two keys."""
    bits = value.astype(np.float32, copy=False).view(np.uint32)
    # the bits of floats order as whole numbers do once the negative ones are turned around
    ordered = np.where(bits >> 31, ~bits, bits | np.uint32(2**31))
    return (unit.astype(np.uint64) << np.uint64(32)) | ordered
