"""Count units in one pass of a language model: sums by language, and the sentence table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from glossae import ranks
from glossae.errors import GlossaeError
from glossae.lm import LanguageModel, Site, TokenizedCorpus, batches, own_activations, require_finite
from glossae.sae import Sae
from glossae.units.histograms import LAYOUTS
from glossae.units.kinds import CountedUnits, Latents
from glossae.units.sentences import SentenceTable, TableBuilder

# values of dense units held at once: 16 MiB of float32
DENSE_VALUES = 2**22
# a histogram's counts are int32
MOST_TOKENS = 2**31 - 1


@dataclass(frozen=True)
class UnitStatistics:
    """Sums over the tokens of each language; memory is languages x units, 296 bytes each for latents.

    Attributes:
        languages: the rows, sorted.
        identity: identifies the units, `KIND SITE HASH`.
        layout: the bins of the histogram, a key of `LAYOUTS`.
        tokens: tokens of each language.
        fired: the number of tokens on which each unit fires.
        value_sum: sum of its values over all tokens; a latent's value is 0 where it does not fire.
        active_sum: sum of its values where it fires.
        active_min: its smallest value where it fires; 0 if it never does.
        active_max: its largest, likewise.
        pre_sum: sum of its pre-activations over all tokens.
        histogram: tokens in each bin of values; zeros are in no bin.
    """

    languages: tuple[str, ...]
    identity: str
    layout: str
    tokens: Int[Tensor, " languages"]
    fired: Int[Tensor, "languages units"]
    value_sum: Float[Tensor, "languages units"]
    active_sum: Float[Tensor, "languages units"]
    active_min: Float[Tensor, "languages units"]
    active_max: Float[Tensor, "languages units"]
    pre_sum: Float[Tensor, "languages units"]
    histogram: Int[Tensor, "languages units bins"]

    @staticmethod
    def empty(
        languages: tuple[str, ...], units: CountedUnits, *, device: torch.device | str = "cpu"
    ) -> "UnitStatistics":
        """Statistics of an empty text."""
        layout = "fine" if units.kind == "direction" else "signed" if units.signed else "positive"

        def zeros(dtype: torch.dtype, *shape: int) -> Tensor:
            return torch.zeros(len(languages), *shape, dtype=dtype, device=device)

        return UnitStatistics(
            languages=languages,
            identity=units.identity,
            layout=layout,
            tokens=zeros(torch.int64),
            fired=zeros(torch.int64, len(units)),
            value_sum=zeros(torch.float64, len(units)),
            active_sum=zeros(torch.float64, len(units)),
            active_min=zeros(torch.float32, len(units)),
            active_max=zeros(torch.float32, len(units)),
            pre_sum=zeros(torch.float64, len(units)),
            histogram=zeros(torch.int32, len(units), LAYOUTS[layout].bins),
        )

    @property
    def units(self) -> int:
        """The number of units."""
        return int(self.fired.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(tensor.nbytes for tensor in self.tensors().values())

    def tensors(self) -> dict[str, Tensor]:
        """Every array by name."""
        return {f.name: value for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)}

    def row(self, language: str) -> int:
        """The row of a language.

        Raises:
            GlossaeError: there is no text in the language.
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

    def mean_value(self, language: str) -> Float[Tensor, " units"]:
        """Each unit's mean value over all of a language's tokens; a latent's value is 0 where it does not fire."""
        row = self.row(language)
        return self.value_sum[row] / self.tokens[row]

    def mean_active(self, language: str) -> Float[Tensor, " units"]:
        """Each unit's mean value over the tokens where it fires; 0 if it never does."""
        row = self.row(language)
        return self.active_sum[row] / self.fired[row].clamp_min(1)

    @property
    def mean_pre(self) -> Float[Tensor, "languages units"]:
        """The mean pre-activation over all tokens."""
        return self.pre_sum / self.tokens[:, None]


Collected = tuple[UnitStatistics, SentenceTable | None]


def collect(
    lm: LanguageModel,
    site: Site,
    units: CountedUnits,
    tokens: TokenizedCorpus,
    *,
    budget: int = 1024,
    table: bool = True,
    progress: Callable[[float], None] = lambda _: None,
) -> Collected:
    """Run a corpus through the model once and count one set of units; see `collect_all`."""
    return collect_all(lm, site, [units], tokens, budget=budget, table=table, progress=progress)[0]


@torch.no_grad()
def collect_all(
    lm: LanguageModel,
    site: Site,
    unit_sets: Sequence[CountedUnits],
    tokens: TokenizedCorpus,
    *,
    budget: int = 1024,
    table: bool = True,
    progress: Callable[[float], None] = lambda _: None,
) -> list[Collected]:
    """Run a corpus through the model once, and count several sets of units at a site.

    A BOS and attention sinks never count. A latent's statistics and its column of the table are over its
    values in the code. Neurons and directions have a value at every token, and their statistics are over that;
    in the `active_` sums, and for neurons in the table, only tokens where they fire count, and others are 0.
    In the table a direction has the mean of all
    its values: its offset would be an arbitrary cut, and ranks need none.

    In joint work (`glossae.ranks`), each rank counts its own batches. Counts, extremes and tables are then those of one
    process, and sums are so apart from the order of float64 additions.

    Args:
        lm: the model.
        site: the units' site.
        unit_sets: the units.
        tokens: the text.
        budget: tokens in a batch.
        table: whether to build the sentence table; its row i is sentence i of `tokens`.
        progress: called with the finished share.

    Raises:
        GlossaeError: units have another width or site, an activation is not finite, or there are too many
            tokens.
    """
    for units in unit_sets:
        if units.d_in != lm.width(site):
            raise GlossaeError(
                f"units: {units.identity} reads {units.d_in} values at a token, and {site} of {lm.name} has "
                f"{lm.width(site)}"
            )
        if units.identity.split()[1] not in ("-", f"{site.name}/{site.layer}"):
            raise GlossaeError(f"units: {units.identity} is not of {site}")
    counters = [Counter(units, tokens, table=table) for units in unit_sets]
    done, total = 0, int(tokens.lengths.sum())
    mine = ranks.mine(batches(tokens, budget))
    for part in require_finite(lm, own_activations(lm, mine, [site]), tokens):
        done += len(part.sentence) * ranks.count()
        for counter in counters:
            counter.add(part.sites[site], part.sentence)
        progress(min(1.0, done / total))
    ranks.meet(f"counts of {len(counters)} sets of units on {total} tokens at {site}")
    for counter in counters:
        counter.join(lm.device)
    return [counter.finish() for counter in counters]


def latent_statistics(
    lm: LanguageModel,
    site: Site,
    sae: Sae,
    tokens: TokenizedCorpus,
    *,
    budget: int = 1024,
    progress: Callable[[float], None] = lambda _: None,
) -> UnitStatistics:
    """Run a corpus through the model and the SAE once, for the statistics alone."""
    return collect(lm, site, Latents(sae), tokens, budget=budget, table=False, progress=progress)[0]


class Counter:
    """Counts one set of units, batch by batch; a batch has whole sentences only.

    Args:
        units: the set.
        tokens: the text of the batches.
        table: whether to build the sentence table.
    """

    def __init__(self, units: CountedUnits, tokens: TokenizedCorpus, *, table: bool = True) -> None:
        self.units = units
        self._languages = tokens.corpus.languages
        row = {language: i for i, language in enumerate(self._languages)}
        self._language = torch.tensor([row[s.language] for s in tokens.corpus.sentences], dtype=torch.int64)
        self._sums: UnitStatistics | None = None
        self._x_sum = torch.zeros(len(self._languages), units.d_in, dtype=torch.float64)
        self._table = TableBuilder(tokens, units) if table else None

    def add(self, x: Float[Tensor, "tokens d_in"], sentence: Int[Tensor, " tokens"]) -> None:
        """Count a batch: activations at some tokens, and the number of each token's sentence, ascending in runs."""
        sums = self._on(x.device)
        if not len(x):
            return
        numbers, row, lengths = sentence.unique_consecutive(return_inverse=True, return_counts=True)
        language = self._language[numbers]
        sums.tokens.index_add_(0, language, lengths)
        self._check_tokens(sums)
        self._x_sum.index_add_(0, language[row], x.double())
        if self._table is not None:
            self._table.sentences(numbers, lengths)
        if self.units.kind == "latent":
            self._add_sparse(sums, x, row, numbers, language)
            return
        # one language at a time, so that its sums are plain sums; a few units at a time
        step = max(1, DENSE_VALUES // len(x))
        for own in language.unique().tolist():
            chosen = (language == own).nonzero()[:, 0]
            inside = language[row] == own
            place = torch.searchsorted(chosen, row[inside])
            for first in range(0, len(self.units), step):
                ids = range(first, min(first + step, len(self.units)))
                self._add_dense(sums, own, ids, self.units.read(x[inside], ids), place, numbers[chosen])

    def join(self, device: torch.device) -> None:
        """Add what every rank has counted, in joint work; a rank without a batch made its sums on no device yet."""
        sums = self._on(device)
        for name, tensor in sums.tensors().items():
            if name == "active_max":
                tensor.neg_()
            (ranks.least_ if name.startswith("active_m") else ranks.sum_)(tensor)
            if name == "active_max":
                tensor.neg_()
        ranks.sum_(self._x_sum)
        self._check_tokens(sums)
        if self._table is not None:
            self._table.join()

    @staticmethod
    def _check_tokens(sums: UnitStatistics) -> None:
        for name, count in zip(sums.languages, sums.tokens.tolist(), strict=True):
            if count > MOST_TOKENS:
                raise GlossaeError(
                    f"statistics of {sums.identity}: {count} tokens of '{name}' are more than a histogram "
                    f"can count ({MOST_TOKENS})"
                )

    def finish(self) -> Collected:
        """The counts, on the CPU."""
        sums = self._on(self._x_sum.device)
        # a pre-activation is affine in x, so its sum needs the sum of x only
        mean = self._x_sum / sums.tokens.clamp_min(1)[:, None]
        sums.pre_sum.copy_(self.units.pre_activations(mean) * sums.tokens[:, None])
        if self.units.kind == "latent":
            # its value is 0 where it does not fire
            sums.active_sum.copy_(sums.value_sum)
        never = sums.fired == 0
        sums.active_min.masked_fill_(never, 0.0)
        sums.active_max.masked_fill_(never, 0.0)
        arrays = {name: tensor.cpu() for name, tensor in sums.tensors().items()}
        statistics = UnitStatistics(sums.languages, sums.identity, sums.layout, **arrays)
        return statistics, None if self._table is None else self._table.finish()

    def _on(self, device: torch.device) -> UnitStatistics:
        """The sums, made on the device of the first batch."""
        if self._sums is None:
            self._sums = UnitStatistics.empty(self._languages, self.units, device=device)
            self._sums.active_min.fill_(torch.inf)
            self._sums.active_max.fill_(-torch.inf)
            self._language, self._x_sum = self._language.to(device), self._x_sum.to(device)
        return self._sums

    def _add_sparse(
        self,
        sums: UnitStatistics,
        x: Float[Tensor, "tokens d_in"],
        row: Int[Tensor, " tokens"],
        numbers: Int[Tensor, " rows"],
        language: Int[Tensor, " rows"],
    ) -> None:
        """Count the entries of a code, first within each sentence and unit, then over these."""
        units = sums.units
        found = self.units.fired(x)
        key, order = (row[found.token] * units + found.unit).sort()
        value = found.value[order].double()
        pair, entry, count = key.unique_consecutive(return_inverse=True, return_counts=True)
        pair_row, unit = pair // units, pair % units
        cell = language[pair_row] * units + unit
        sums.fired.view(-1).index_add_(0, cell, count)
        sums.value_sum.view(-1).index_add_(0, cell[entry], value)
        single = value.float()
        sums.active_min.view(-1).scatter_reduce_(0, cell[entry], single, "amin")
        sums.active_max.view(-1).scatter_reduce_(0, cell[entry], single, "amax")
        layout = LAYOUTS[sums.layout]
        bins = cell[entry] * layout.bins + layout.of(single)
        sums.histogram.view(-1).scatter_add_(0, bins, (single != 0).int())
        if self._table is not None:
            value_sum = value.new_zeros(len(pair)).index_add_(0, entry, value)
            self._table.add(numbers[pair_row], unit, value_sum, count)

    def _add_dense(
        self,
        sums: UnitStatistics,
        language: int,
        ids: range,
        value: Float[Tensor, "tokens chosen"],
        row: Int[Tensor, " tokens"],
        numbers: Int[Tensor, " rows"],
    ) -> None:
        """Count the values of some units at tokens of one language."""
        here = slice(ids.start, ids.stop)
        fires = value > 0
        active = torch.where(fires, value, 0).double()
        active_sum = active.new_zeros(len(numbers), len(ids)).index_add_(0, row, active)
        fired = torch.zeros(len(numbers), len(ids), dtype=torch.int64, device=value.device)
        fired.index_add_(0, row, fires.long())
        sums.fired[language, here] += fired.sum(0)
        sums.active_sum[language, here] += active_sum.sum(0)
        sums.value_sum[language, here] += value.sum(0, dtype=torch.float64)
        single = value.float()
        smallest, largest = sums.active_min[language, here], sums.active_max[language, here]
        smallest.copy_(torch.minimum(smallest, torch.where(fires, single, torch.inf).amin(0)))
        largest.copy_(torch.maximum(largest, torch.where(fires, single, -torch.inf).amax(0)))
        layout = LAYOUTS[sums.layout]
        bins = layout.of(single) + torch.arange(len(ids), device=value.device) * layout.bins
        histogram = sums.histogram[language, here].view(-1)
        histogram.scatter_add_(0, bins.flatten(), (single != 0).int().flatten())
        if self._table is not None:
            row_sum, kept = active_sum, fired > 0
            if self.units.kind == "direction":
                row_sum = active.new_zeros(len(numbers), len(ids)).index_add_(0, row, value.double())
                kept = torch.ones_like(kept)
            where, unit = kept.nonzero(as_tuple=True)
            self._table.add(numbers[where], unit + ids.start, row_sum[where, unit], fired[where, unit])
