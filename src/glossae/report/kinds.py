"""Kinds of autoencoders in words, and what each choice changes: pairs that differ in one thing only."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import pandas as pd

from glossae.report.reading import Row
from glossae.report.wording import number, short

_ACTIVATIONS = {"topk": "TopK", "relu": "ReLU"}
_CHOICES = {
    "tied": "Tied against separate matrices",
    "pre_encoder_bias": "With against without a pre-encoder bias",
}
MEASURES = {"mse": "error", "active_per_batch": "latents active in a batch"}
# ratios within so much of one are no difference to speak of
_ALIKE = 0.05


def activation_name(activation: str) -> str:
    """`TopK`."""
    return _ACTIVATIONS.get(activation, activation)


def matrices_words(cell: Row) -> str:
    """`tied` or `separate`."""
    return "tied" if cell["tied"] else "separate"


def kind_words(cell: Row) -> str:
    """`TopK, separate matrices, with a pre-encoder bias`."""
    bias = "with" if cell["pre_encoder_bias"] else "without"
    return (
        f"{activation_name(cell['activation'])}, {matrices_words(cell)} matrices, {bias} a pre-encoder bias"
    )


def sparsity_words(cell: Row) -> str:
    """`k 30` or `L1 0.001`."""
    return f"k {cell['k']}" if cell["k"] is not None else f"L1 {short(cell['l1'])}"


def key(cell: Row, without: str | None = None) -> tuple[object, ...]:
    """What a cell is, all of it or all but one thing."""
    names = ("activation", "tied", "pre_encoder_bias", "k", "l1")
    return tuple(cell[name] for name in names if name != without)


def same_cells(cells: Sequence[Row], others: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Cells of one grid with those of the same kind in another."""
    known = {key(other): other for other in others}
    return [(cell, known[key(cell)]) for cell in cells if key(cell) in known]


@dataclass(frozen=True)
class Comparison:
    """A measure of autoencoders that have something over the measure of those that differ in lacking it.

    Attributes:
        what: `tied` or `pre_encoder_bias`.
        among: which autoencoders, in words.
        measure: `mse` or `active_per_batch`.
        ratios: one for each pair.
    """

    what: str
    among: str
    measure: str
    ratios: tuple[float, ...]

    @property
    def names(self) -> tuple[str, str, str]:
        """The choice, among which, and the measure, as a table has them."""
        return _CHOICES[self.what], self.among, MEASURES[self.measure]

    @property
    def direction(self) -> int:
        """Whether it makes for more (1), less (-1) or neither (0)."""
        middle = median(self.ratios)
        return (middle > 1 + _ALIKE) - (middle < 1 - _ALIKE)

    @property
    def words(self) -> str:
        """`1.53 times (1.45 to 1.75)`."""
        middle = f"{number(median(self.ratios), 2)} times"
        low, high = number(min(self.ratios), 2), number(max(self.ratios), 2)
        return middle if low == high else f"{middle} ({low} to {high})"


def comparisons(cells: Sequence[Row]) -> list[Comparison]:
    """What tying and a pre-encoder bias change, for each activation, and for small and large k."""
    found = []
    for what in _CHOICES:
        for among, group in _groups(cells):
            lacking = {key(cell, what): cell for cell in group if not cell[what]}
            pairs = [
                (cell, lacking[key(cell, what)])
                for cell in group
                if cell[what] and key(cell, what) in lacking
            ]
            for measure in MEASURES:
                # an autoencoder that fires nowhere has no times as many
                ratios = tuple(a[measure] / b[measure] for a, b in pairs if b[measure] > 0)
                if ratios:
                    found.append(Comparison(what, among, measure, ratios))
    return found


def large_k(cells: Sequence[Row]) -> int | None:
    """From where on a k of the grid is large: the upper half of them; None if there is one at most."""
    ks = sorted({cell["k"] for cell in cells if cell["k"] is not None})
    return ks[len(ks) // 2] if len(ks) > 1 else None


def _groups(cells: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    bound = large_k(cells)
    for activation in dict.fromkeys(cell["activation"] for cell in cells):
        own = [cell for cell in cells if cell["activation"] == activation]
        name = activation_name(activation)
        if bound is None or activation != "topk":
            yield name, own
        else:
            yield f"{name}, k below {bound}", [cell for cell in own if cell["k"] < bound]
            yield large_k_words(bound), [cell for cell in own if cell["k"] >= bound]


def large_k_words(bound: int) -> str:
    """How the TopK autoencoders of large k are called."""
    return f"TopK, k {bound} and more"


def outdone(cells: Sequence[Row], activation: str, by: str) -> tuple[int, int]:
    """Of the cells of one activation, how many one of the other's outdoes, and of how many.

    One outdoes another that fires no fewer latents at a token and has no smaller error.
    """
    own, others = ([cell for cell in cells if cell["activation"] == name] for name in (activation, by))
    beaten = sum(any(b["l0"] <= a["l0"] and b["mse"] <= a["mse"] for b in others) for a in own)
    return beaten, len(own)


def rank_correlation(pairs: Sequence[tuple[Row, Row]], measure: str) -> float | None:
    """Spearman's, between the cells of two grids; None where one of them has no order."""
    ranks = pd.DataFrame([(own[measure], other[measure]) for own, other in pairs]).rank()
    if len(ranks) < 2 or (ranks.nunique() == 1).any():
        return None
    return float(ranks[0].corr(ranks[1]))
