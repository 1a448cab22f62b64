"""One pass of a language model, and all that is counted of its units in it: statistics and the sentence table."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from glossae.errors import GlossaeError
from glossae.lm import LanguageModel, Site, TokenizedCorpus, activations, batches, finite
from glossae.sae import Sae
from glossae.units.building import TableBuilder
from glossae.units.latents import Latents
from glossae.units.protocol import CountedUnits
from glossae.units.sketch import LAYOUTS
from glossae.units.statistics import UnitStatistics, check_count
from glossae.units.table import SentenceTable

# values of units that have one at every token, held at once: 16 MiB of float32
DENSE_VALUES = 2**22

Collected = tuple[UnitStatistics, SentenceTable | None]


def collect(
    lm: LanguageModel,
    site: Site,
    units: CountedUnits,
    tokens: TokenizedCorpus,
    *,
    budget: int = 1024,
    table: bool = True,
    skip_first: bool = False,
    progress: Callable[[float], None] = lambda _: None,
) -> Collected:
    """Run a corpus through the model once; see `collect_all`."""
    (collected,) = collect_all(
        lm,
        site,
        [units],
        tokens,
        budget=budget,
        table=table,
        skip_first=skip_first,
        progress=progress,
    )
    return collected


@torch.no_grad()
def collect_all(
    lm: LanguageModel,
    site: Site,
    families: Sequence[CountedUnits],
    tokens: TokenizedCorpus,
    *,
    budget: int = 1024,
    table: bool = True,
    skip_first: bool = False,
    progress: Callable[[float], None] = lambda _: None,
) -> list[Collected]:
    """Run a corpus through the model once, and count what several families of units at a site do.

    A BOS never counts. A latent's statistics and its row of the table are over its values in the code. Neurons and
    directions read something at every token, and their statistics are over that; in what is said to be active, and
    neurons in the table, they count where they fire only, and are 0 elsewhere. In the table a direction is the mean
    of all it reads: where it is cut off is the choice of an offset, which a rank needs none of.

    Args:
        lm: the model.
        site: where the units are.
        families: the units.
        tokens: the text.
        budget: tokens in a batch.
        table: whether to build the sentence table; its row i is sentence i of `tokens`.
        skip_first: leave out the token at position 0, which is an attention sink in most models. With a BOS that
            is the BOS, so nothing more is left out.
        progress: is told the share of tokens done.

    Raises:
        GlossaeError: units are of another width or site, an activation is not finite, or there are too many tokens.
    """
    for units in families:
        _check_place(lm, site, units)
    counters = [Counter(units, tokens, table=table, skip_first=skip_first) for units in families]
    done, total = 0, int(tokens.lengths.sum())
    for part in finite(lm, activations(lm, batches(tokens, budget), [site]), tokens):
        x, sentence = part.sites[site], part.sentence
        done += len(x)
        if skip_first:
            kept = part.position > 0
            x, sentence = x[kept], sentence[kept]
        for counter in counters:
            counter.add(x, sentence)
        progress(done / total)
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
    """Stream a corpus through the model and the autoencoder, for the statistics alone."""
    return collect(lm, site, Latents(sae), tokens, budget=budget, table=False, progress=progress)[0]


class Counter:
    """What is counted of one family of units, batch by batch; every sentence is whole in its batch.

    Args:
        units: the family.
        tokens: the text that batches are of.
        table: whether to build the sentence table.
        skip_first: whether the batches leave out position 0; it is written down only.
    """

    def __init__(
        self, units: CountedUnits, tokens: TokenizedCorpus, *, table: bool = True, skip_first: bool = False
    ) -> None:
        self.units = units
        sentences = tokens.corpus.sentences
        languages = tokens.corpus.languages
        row = {language: i for i, language in enumerate(languages)}
        self._language = torch.tensor([row[s.language] for s in sentences], dtype=torch.int64)
        self._empty = (languages, units, skip_first)
        self._sums: UnitStatistics | None = None
        self._x_sum = torch.zeros(len(languages), units.d_in, dtype=torch.float64)
        self._table = TableBuilder(tokens, units) if table else None

    def add(self, x: Float[Tensor, "tokens d_in"], sentence: Int[Tensor, " tokens"]) -> None:
        """Count a batch: the site at some tokens, and the number of each token's sentence, ascending in runs."""
        sums = self._on(x.device)
        if not len(x):
            return
        numbers, row, lengths = sentence.unique_consecutive(return_inverse=True, return_counts=True)
        language = self._language[numbers]
        sums.tokens.index_add_(0, language, lengths)
        sums.sentences.index_add_(0, language, torch.ones_like(language))
        check_count(sums)
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

    def finish(self) -> Collected:
        """What was counted, on the CPU."""
        sums = self._on(self._x_sum.device)
        # a pre-activation is affine in x, so its sum needs the sum of x only
        mean = self._x_sum / sums.tokens.clamp_min(1)[:, None]
        sums.pre_sum.copy_(self.units.pre_activations(mean) * sums.tokens[:, None])
        if self.units.kind == "latent":
            # it reads 0 where it does not fire
            sums.active_sum.copy_(sums.value_sum)
        never = sums.fired == 0
        sums.active_min.masked_fill_(never, 0.0)
        sums.active_max.masked_fill_(never, 0.0)
        arrays = {name: tensor.cpu() for name, tensor in sums.tensors().items()}
        statistics = UnitStatistics(sums.languages, sums.identity, sums.layout, sums.skip_first, **arrays)
        return statistics, None if self._table is None else self._table.finish()

    def _on(self, device: torch.device) -> UnitStatistics:
        """The sums, made on the device where the first batch is."""
        if self._sums is None:
            languages, units, skip_first = self._empty
            self._sums = UnitStatistics.empty(languages, units, skip_first=skip_first, device=device)
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
        """Count the entries of a code, first within each sentence and unit, then those."""
        units = sums.units
        found = self.units.fired(x)
        key, order = (row[found.token] * units + found.unit).sort()
        value = found.value[order].double()
        pair, entry, count = key.unique_consecutive(return_inverse=True, return_counts=True)
        pair_row, unit = pair // units, pair % units
        cell = language[pair_row] * units + unit
        value_sum = value.new_zeros(len(pair)).index_add_(0, entry, value)
        sums.fired.view(-1).index_add_(0, cell, count)
        sums.sentences_fired.view(-1).index_add_(0, cell, torch.ones_like(cell))
        for total, each in ((sums.value_sum, value), (sums.square_sum, value.square())):
            total.view(-1).index_add_(0, cell[entry], each)
        single = value.float()
        sums.active_min.view(-1).scatter_reduce_(0, cell[entry], single, "amin")
        sums.active_max.view(-1).scatter_reduce_(0, cell[entry], single, "amax")
        layout = LAYOUTS[sums.layout]
        bins = cell[entry] * layout.bins + layout.of(single)
        sums.histogram.view(-1).scatter_add_(0, bins, (single != 0).int())
        if self._table is not None:
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
        sums.sentences_fired[language, here] += (fired > 0).sum(0)
        sums.active_sum[language, here] += active_sum.sum(0)
        sums.value_sum[language, here] += value.sum(0, dtype=torch.float64)
        sums.square_sum[language, here] += value.double().square().sum(0)
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


def _check_place(lm: LanguageModel, site: Site, units: CountedUnits) -> None:
    """Refuse units of another width, and those that say they are of another site."""
    if units.d_in != lm.width(site):
        raise GlossaeError(
            f"units: {units.identity} reads {units.d_in} values at a token, and {site} of {lm.name} has "
            f"{lm.width(site)}"
        )
    place = units.identity.split()[1]
    if place not in ("-", f"{site.name}/{site.layer}"):
        raise GlossaeError(f"units: {units.identity} is not of {site}")
