"""What every unit does on each language: sums that merge, whatever passes they were taken in."""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from glossae.errors import GlossaeError
from glossae.units.protocol import CountedUnits
from glossae.units.sketch import LAYOUTS, Estimate, Layout, auroc, average_precision

# a histogram's counts are int32
MOST_TOKENS = 2**31 - 1


@dataclass(frozen=True)
class UnitStatistics:
    """Sums over the tokens of each language; memory is languages x units, 312 bytes each for latents.

    Attributes:
        languages: the rows, sorted.
        identity: whose units these are, `KIND SITE HASH`.
        layout: where the histogram's bins end, a key of `sketch.LAYOUTS`.
        skip_first: whether the tokens at position 0 were left out.
        tokens: tokens of each language.
        sentences: sentences of each language that have a token.
        fired: on how many tokens each unit fires.
        sentences_fired: in how many sentences it fires at least once.
        value_sum: sum over all tokens of what it reads; a latent reads 0 where it does not fire.
        square_sum: sum of the squares.
        active_sum: sum of its values where it fires.
        active_min: its smallest value where it fires; 0 where it never does.
        active_max: its largest, likewise.
        pre_sum: sum of its pre-activations over all tokens.
        histogram: tokens in each bin of values; what is in none reads zero.
    """

    languages: tuple[str, ...]
    identity: str
    layout: str
    skip_first: bool
    tokens: Int[Tensor, " languages"]
    sentences: Int[Tensor, " languages"]
    fired: Int[Tensor, "languages units"]
    sentences_fired: Int[Tensor, "languages units"]
    value_sum: Float[Tensor, "languages units"]
    square_sum: Float[Tensor, "languages units"]
    active_sum: Float[Tensor, "languages units"]
    active_min: Float[Tensor, "languages units"]
    active_max: Float[Tensor, "languages units"]
    pre_sum: Float[Tensor, "languages units"]
    histogram: Int[Tensor, "languages units bins"]

    @classmethod
    def empty(
        cls,
        languages: tuple[str, ...],
        units: CountedUnits,
        *,
        skip_first: bool = False,
        device: torch.device | str = "cpu",
    ) -> "UnitStatistics":
        """The statistics of no text."""
        layout = "fine" if units.kind == "direction" else "signed" if units.signed else "positive"
        return _zeros(languages, units.identity, layout, skip_first, len(units), device)

    @property
    def units(self) -> int:
        """How many units there are."""
        return int(self.fired.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(tensor.nbytes for tensor in self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """Every array by its name."""
        return {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)}

    def row(self, language: str) -> int:
        """The row of a language.

        Raises:
            GlossaeError: there is no text in it.
        """
        if language not in self.languages:
            raise GlossaeError(
                f"statistics: no text is in '{language}'; there are {', '.join(self.languages)}"
            )
        return self.languages.index(language)

    def rate(self, language: str) -> Float[Tensor, " units"]:
        """The share of a language's tokens on which each unit fires."""
        row = self.row(language)
        return self.fired[row].double() / self.tokens[row]

    def sentence_rate(self, language: str) -> Float[Tensor, " units"]:
        """The share of a language's sentences in which each unit fires at least once."""
        row = self.row(language)
        return self.sentences_fired[row].double() / self.sentences[row]

    def mean_value(self, language: str) -> Float[Tensor, " units"]:
        """Each unit's mean value over all of a language's tokens; a latent's is zero where it does not fire."""
        row = self.row(language)
        return self.value_sum[row] / self.tokens[row]

    def variance(self, language: str) -> Float[Tensor, " units"]:
        """The variance of each unit's value over all of a language's tokens (their mean square deviation)."""
        row = self.row(language)
        mean = self.value_sum[row] / self.tokens[row]
        return (self.square_sum[row] / self.tokens[row] - mean.square()).clamp_min(0)

    def mean_active(self, language: str) -> Float[Tensor, " units"]:
        """Each unit's mean value over the tokens where it fires; 0 where it never does."""
        row = self.row(language)
        return self.active_sum[row] / self.fired[row].clamp_min(1)

    @property
    def mean_pre(self) -> Float[Tensor, "languages units"]:
        """The mean pre-activation over all tokens."""
        return self.pre_sum / self.tokens[:, None]

    def auroc(self, target: str, reference: str) -> Estimate:
        """How often a random target token has a larger value than a random reference token, ties counted half.

        From the histograms, so up to a bound that comes with it (see `sketch.auroc`).
        """
        return auroc(*self._histograms(target, reference))

    def average_precision(self, target: str, reference: str) -> Estimate:
        """Average precision of finding the target's tokens among both languages' by each unit's value.

        From the histograms, so up to a bound that comes with it (see `sketch.average_precision`).
        """
        return average_precision(*self._histograms(target, reference))

    def _histograms(self, target: str, reference: str) -> tuple[Layout, Tensor, int, Tensor, int]:
        one, other = self.row(target), self.row(reference)
        return (
            LAYOUTS[self.layout],
            self.histogram[one],
            int(self.tokens[one]),
            self.histogram[other],
            int(self.tokens[other]),
        )


def merge(one: UnitStatistics, other: UnitStatistics) -> UnitStatistics:
    """The statistics of two texts together; a language may be in either or both.

    Raises:
        GlossaeError: they are of different units, or were counted differently, or a language has more tokens than
            the histograms can count.
    """
    if one.identity != other.identity:
        raise GlossaeError(f"these are different units: {one.identity} and {other.identity}")
    if one.skip_first != other.skip_first:
        raise GlossaeError(
            f"statistics of {one.identity}: some leave out the first token of each sentence, some do not"
        )
    languages = tuple(sorted({*one.languages, *other.languages}))
    both = _zeros(languages, one.identity, one.layout, one.skip_first, one.units, one.fired.device)
    for part in (one, other):
        for row, language in enumerate(part.languages):
            to = languages.index(language)
            fired, before = part.fired[row] > 0, both.fired[to] > 0
            # where one of them never fired, its 0 is no value
            for name, better in (("active_min", torch.minimum), ("active_max", torch.maximum)):
                mine, theirs = getattr(both, name)[to], getattr(part, name)[row]
                merged = torch.where(fired, torch.where(before, better(mine, theirs), theirs), mine)
                getattr(both, name)[to] = merged
            both.tokens[to] += part.tokens[row]
            check_count(both)
            for name, tensor in part.tensors().items():
                if name not in ("active_min", "active_max", "tokens"):
                    getattr(both, name)[to] += tensor[row]
    return both


def check_count(statistics: UnitStatistics) -> None:
    """Refuse more tokens than a histogram can count.

    Raises:
        GlossaeError: a language has more.
    """
    for language, tokens in zip(statistics.languages, statistics.tokens.tolist(), strict=True):
        if tokens > MOST_TOKENS:
            raise GlossaeError(
                f"statistics of {statistics.identity}: {tokens} tokens of '{language}' are more than a histogram "
                f"can count ({MOST_TOKENS})"
            )


def _zeros(
    languages: tuple[str, ...],
    identity: str,
    layout: str,
    skip_first: bool,
    units: int,
    device: torch.device | str,
) -> UnitStatistics:
    def zeros(dtype: torch.dtype, *shape: int) -> Tensor:
        return torch.zeros(len(languages), *shape, dtype=dtype, device=device)

    return UnitStatistics(
        languages=languages,
        identity=identity,
        layout=layout,
        skip_first=skip_first,
        tokens=zeros(torch.int64),
        sentences=zeros(torch.int64),
        fired=zeros(torch.int64, units),
        sentences_fired=zeros(torch.int64, units),
        value_sum=zeros(torch.float64, units),
        square_sum=zeros(torch.float64, units),
        active_sum=zeros(torch.float64, units),
        active_min=zeros(torch.float32, units),
        active_max=zeros(torch.float32, units),
        pre_sum=zeros(torch.float64, units),
        histogram=zeros(torch.int32, units, LAYOUTS[layout].bins),
    )
