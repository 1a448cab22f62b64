"""What a few units do over a whole text: contexts, density, values, logit effects, nearest units."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from glossae.errors import GlossaeError
from glossae.lm import (
    LanguageModel,
    Site,
    TokenizedCorpus,
    activations,
    batches,
    logit_effects,
    require_finite,
)
from glossae.results import (
    LanguageDensity,
    LogitEffects,
    NearUnit,
    TokenEffect,
    UnitContext,
    UnitInterval,
    ValueHistogram,
)
from glossae.units.contexts import readable_tokens
from glossae.units.kinds import Latents, Units

# contexts of a language; tokens on each side of the peak
BEST, SIDE = 10, 24
INTERVALS, DRAWN = 5, 3
# sentences without the unit
SILENT = 15
# windows that share more of their tokens than this are near-duplicates; only so many sentences are compared
SAME, CANDIDATES = 0.7, 200
# bins on either side of zero while counting, and bins that are shown
HALF, SHOWN_BINS = 2048, 40
FIRING_SHARE = 0.01
NEAREST, TOKENS, MOST_RAISED = 5, 10, 100
# a token is a language's own if it is so many times as frequent there as in any other
TIMES = 2


@dataclass(frozen=True)
class Seen:
    """One unit over a text; the fields are those of `glossae.results.UnitDashboard`."""

    threshold: float
    density: dict[str, LanguageDensity]
    contexts: dict[str, list[UnitContext]]
    intervals: list[UnitInterval]
    silent: list[UnitContext]
    histogram: ValueHistogram


@torch.no_grad()
def look_at_units(
    lm: LanguageModel,
    site: Site,
    chosen: Sequence[tuple[Units, Sequence[int]]],
    tokens: TokenizedCorpus,
    *,
    seed: int = 0,
    budget: int = 1024,
    progress: Callable[[float], None] = lambda _: None,
) -> list[list[Seen]]:
    """Read some units in one pass over a text, and once more on the sentences that are shown.

    Memory: 8 bytes for each sentence and unit, and 64 KiB for each unit and language.

    Args:
        lm: the model.
        site: where the units are.
        chosen: units of one kind, and the numbers of those to look at.
        tokens: the text.
        seed: of the sentences that are drawn from each interval.
        budget: tokens in a batch.
        progress: called with the finished share.

    Returns:
        For each kind, what was seen of each unit.

    Raises:
        GlossaeError: an activation is not finite.
    """
    languages = tokens.corpus.languages
    row = {language: number for number, language in enumerate(languages)}
    of = torch.tensor([row[s.language] for s in tokens.corpus.sentences], device=lm.device)
    readers = [_Reader(units, ids, tokens, lm.device) for units, ids in chosen if len(ids)]
    counted = torch.zeros(len(languages), dtype=torch.int64, device=lm.device)
    done, total = 0, max(1, int(tokens.lengths.sum()))
    for part in require_finite(lm, activations(lm, batches(tokens, budget), [site]), tokens):
        language = of[part.sentence]
        counted += torch.bincount(language, minlength=len(languages))
        for reader in readers:
            reader.add(part.sites[site], part.sentence, part.position, language)
        done += int(tokens.lengths[part.batch.index.numpy()].sum())
        progress(0.9 * done / total)
    amount = counted.cpu().numpy()
    shown = [reader.choose(of.cpu().numpy(), len(languages), seed) for reader in readers]
    windows = _windows(lm, site, readers, shown, tokens, budget)
    progress(1.0)
    found = iter(
        [
            [
                _seen(reader, column, place, amount, languages, of.cpu().numpy(), windows[number])
                for column, place in enumerate(places)
            ]
            for number, (reader, places) in enumerate(zip(readers, shown, strict=True))
        ]
    )
    return [next(found) if len(ids) else [] for _, ids in chosen]


@dataclass(frozen=True)
class _Shown:
    """The numbers of the sentences that are shown of a unit."""

    best: dict[int, list[int]]
    intervals: list[tuple[float, float, int, list[int]]]
    silent: list[int]

    @property
    def sentences(self) -> list[int]:
        drawn = [number for *_, numbers in self.intervals for number in numbers]
        return [*(number for numbers in self.best.values() for number in numbers), *drawn, *self.silent]


class _Reader:
    """The values of some units of one kind: the peak of every sentence, and counts and sums in narrow bins.

    The bins reach from minus to plus a power of two above every value; as it grows, pairs of bins are joined, so
    that counts are exact and depend on no order.
    """

    def __init__(
        self, units: Units, ids: Sequence[int], tokens: TokenizedCorpus, device: torch.device
    ) -> None:
        self.units, self.ids, self.tokens = units, list(ids), tokens
        self.sparse, languages = units.kind == "latent", len(tokens.corpus.languages)
        shape = (len(tokens), len(self.ids))
        self.peak = torch.full(shape, -torch.inf, device=device)
        self.place = torch.zeros(shape, dtype=torch.int32, device=device)
        self.counts = torch.zeros(languages, len(self.ids), 2 * HALF, dtype=torch.int64, device=device)
        self.sums = torch.zeros(languages, len(self.ids), 2 * HALF, dtype=torch.float64, device=device)
        self.reach = torch.full((len(self.ids),), 2.0**-64, dtype=torch.float64, device=device)

    def add(
        self,
        x: Float[Tensor, "tokens d_in"],
        sentence: Int[Tensor, " tokens"],
        position: Int[Tensor, " tokens"],
        language: Int[Tensor, " tokens"],
    ) -> None:
        """Read a batch of whole sentences."""
        if not len(x):
            return
        values = self.units.read(x, self.ids).to(self.peak.device).float()
        numbers, row = sentence.unique_consecutive(return_inverse=True)
        index = row[:, None].expand_as(values)
        peak = values.new_full((len(numbers), len(self.ids)), -torch.inf).scatter_reduce_(
            0, index, values, "amax"
        )
        # the first token that has it
        far = position.new_full((len(position), 1), 2**31 - 1)
        here = torch.where(values == peak[row], position[:, None], far)
        place = here.new_full(peak.shape, 2**31 - 1).scatter_reduce_(0, index, here, "amin")
        self.peak[numbers], self.place[numbers] = peak, place.int()
        self._widen(values.abs().amax(0).double())
        kept = values != 0 if self.sparse else torch.ones_like(values, dtype=torch.bool)
        token, unit = kept.nonzero(as_tuple=True)
        value = values[token, unit].double()
        # a product with a power of two, so nothing is rounded
        bins = (value * (HALF / self.reach)[unit]).floor().long() + HALF
        key = (language[token] * len(self.ids) + unit) * 2 * HALF + bins
        self.counts.view(-1).index_add_(0, key, torch.ones_like(key))
        self.sums.view(-1).index_add_(0, key, value)

    def _widen(self, largest: Float[Tensor, " units"]) -> None:
        wanted = torch.where(largest > 0, (largest.log2().floor() + 1).exp2(), self.reach)
        for unit in (wanted > self.reach).nonzero()[:, 0].tolist():
            new = (torch.arange(2 * HALF, device=self.reach.device) + HALF) // 2
            while self.reach[unit] < wanted[unit]:
                if not bool(self.counts[:, unit].any()):
                    self.reach[unit] = wanted[unit]
                    break
                for table in (self.counts, self.sums):
                    table[:, unit] = torch.zeros_like(table[:, unit]).index_add_(1, new, table[:, unit])
                self.reach[unit] *= 2

    def edges(self, unit: int) -> Float[np.ndarray, " edges"]:
        """The edges of a unit's bins."""
        edges: np.ndarray = np.arange(-HALF, HALF + 1) * (float(self.reach[unit]) / HALF)
        return edges

    def first_firing(self, unit: int) -> int:
        """The number of the first bin whose values count as firing."""
        if self.sparse:
            return 0
        above = self.counts[:, unit].sum(0).cpu().numpy()[::-1].cumsum()[::-1]
        return int(np.argmax(np.append(above, 0) <= FIRING_SHARE * above[0]))

    def choose(self, of: Int[np.ndarray, " sentences"], languages: int, seed: int) -> list[_Shown]:
        """The sentences to show of each unit."""
        peaks, places = self.peak.cpu().numpy(), self.place.cpu().numpy()
        return [
            _Shown(
                {
                    language: self._best(peaks[:, column], places[:, column], np.flatnonzero(of == language))
                    for language in range(languages)
                },
                _draw(peaks[:, column], np.random.default_rng([seed, self.ids[column]])),
                _draw_silent(
                    peaks[:, column],
                    0.0 if self.sparse else float(self.edges(column)[self.first_firing(column)]),
                    np.random.default_rng([seed, self.ids[column], 1]),
                ),
            )
            for column in range(len(self.ids))
        ]

    def _best(
        self,
        peak: Float[np.ndarray, " sentences"],
        place: Int[np.ndarray, " sentences"],
        own: Int[np.ndarray, " own"],
    ) -> list[int]:
        """Sentences with the largest values, without those whose window is nearly that of one before."""
        own = own[np.isfinite(peak[own]) & ((peak[own] != 0) if self.sparse else True)]
        if len(own) > CANDIDATES:
            own = own[peak[own] >= np.partition(peak[own], -CANDIDATES)[-CANDIDATES]]
        kept: list[tuple[int, set[int]]] = []
        for number in own[np.argsort(-peak[own], kind="stable")][:CANDIDATES].tolist():
            first, last = _window(int(place[number]), self.tokens, number)
            words = set(self.tokens.ids[number][first:last].tolist())
            if all(len(words & other) <= SAME * len(words | other) for _, other in kept):
                kept.append((number, words))
            if len(kept) == BEST:
                break
        return [number for number, _ in kept]


def _draw(
    peak: Float[np.ndarray, " sentences"], generator: np.random.Generator
) -> list[tuple[float, float, int, list[int]]]:
    """Five equal intervals of (0, max], the number of sentences whose peak lies in each, and a few of these."""
    largest = float(peak.max(initial=-np.inf))
    if not largest > 0:
        return []
    edges = [largest * number / INTERVALS for number in range(INTERVALS + 1)]
    drawn = []
    for low, high in zip(edges, [*edges[1:-1], largest], strict=False):
        inside = np.flatnonzero((peak > low) & (peak <= high))
        some = generator.permutation(len(inside))[:DRAWN]
        drawn.append((low, high, len(inside), inside[np.sort(some)].tolist()))
    return drawn


def _draw_silent(
    peak: Float[np.ndarray, " sentences"], threshold: float, generator: np.random.Generator
) -> list[int]:
    """A few sentences on no token of which the unit fires."""
    silent = np.flatnonzero(np.isfinite(peak) & ((peak < threshold) if threshold else (peak <= 0)))
    drawn: list[int] = np.sort(silent[generator.permutation(len(silent))[:SILENT]]).tolist()
    return drawn


def _window(place: int, tokens: TokenizedCorpus, number: int) -> tuple[int, int]:
    """The first position of a context in its sentence, and the one after its last."""
    return max(tokens.prefix, place - SIDE), min(len(tokens.ids[number]), place + SIDE + 1)


def _windows(
    lm: LanguageModel,
    site: Site,
    readers: Sequence[_Reader],
    shown: Sequence[Sequence[_Shown]],
    tokens: TokenizedCorpus,
    budget: int,
) -> list[dict[tuple[int, int], UnitContext]]:
    """By kind, the context of each unit and sentence that is shown."""
    wanted: dict[int, list[tuple[int, int]]] = {}
    for kind, units in enumerate(shown):
        for column, place in enumerate(units):
            for number in place.sentences:
                wanted.setdefault(number, []).append((kind, column))
    numbers = sorted(wanted)
    found: list[dict[tuple[int, int], UnitContext]] = [{} for _ in readers]
    places = [reader.place.cpu().numpy() for reader in readers]
    for part in activations(lm, batches(tokens.take(numbers), budget), [site]):
        x, sentence, position = part.sites[site], part.sentence.cpu().numpy(), part.position.cpu().numpy()
        values = [reader.units.read(x, reader.ids).float().cpu().numpy() for reader in readers]
        for local in np.unique(sentence).tolist():
            number, inside = numbers[local], sentence == local
            ids = tokens.ids[number]
            readable = [""] * tokens.prefix + readable_tokens(lm, ids[tokens.prefix :].tolist())
            for kind, column in dict.fromkeys(wanted[number]):
                along = np.zeros(len(ids))
                along[position[inside]] = values[kind][inside, column]
                peak = int(places[kind][number, column])
                found[kind][column, number] = _context(tokens, number, readable, along, peak)
    return found


def _context(
    tokens: TokenizedCorpus, number: int, readable: Sequence[str], along: np.ndarray, peak: int
) -> UnitContext:
    first, last = _window(peak, tokens, number)
    # a character whose bytes span several tokens stands at the first of them
    while first > tokens.prefix and not readable[first]:
        first -= 1
    sentence, ids = tokens.corpus.sentences[number], tokens.ids[number]
    return UnitContext(
        language=sentence.language,
        source=sentence.source,
        tokens=list(readable[first:last]),
        ids=ids[first:last].tolist(),
        values=[rounded(value) for value in along[first:last]],
        peak=peak - first,
        cut=(first > tokens.prefix, last < len(ids)),
    )


def _seen(
    reader: _Reader,
    column: int,
    shown: _Shown,
    amount: Int[np.ndarray, " languages"],
    languages: Sequence[str],
    of: Int[np.ndarray, " sentences"],
    windows: dict[tuple[int, int], UnitContext],
) -> Seen:
    """Put together what was read of one unit."""
    counts, sums = (table[:, column].cpu().numpy() for table in (reader.counts, reader.sums))
    peak, edges = reader.peak[:, column].cpu().numpy(), reader.edges(column)
    start = reader.first_firing(column)
    fired, active = counts[:, start:].sum(1), sums[:, start:].sum(1)
    density = {}
    for row, language in enumerate(languages):
        own = peak[(of == row) & np.isfinite(peak)]
        density[language] = LanguageDensity(
            tokens=int(amount[row]),
            sentences=len(own),
            rate=float(fired[row] / max(1, amount[row])),
            mean=rounded(sums[row].sum() / max(1, amount[row])),
            mean_active=rounded(active[row] / fired[row]) if fired[row] else None,
            largest=rounded(own.max(initial=0.0) if reader.sparse or not len(own) else own.max()),
        )
    return Seen(
        threshold=0.0 if reader.sparse else float(edges[start]),
        density=density,
        contexts={
            languages[row]: [windows[column, number] for number in numbers]
            for row, numbers in shown.best.items()
        },
        intervals=[
            UnitInterval(
                low=rounded(low),
                high=rounded(high),
                sentences=count,
                contexts=[windows[column, number] for number in numbers],
            )
            for low, high, count, numbers in shown.intervals
        ],
        silent=[windows[column, number] for number in shown.silent],
        histogram=_histogram(counts, edges, languages),
    )


def _histogram(
    counts: Int[np.ndarray, "languages bins"], edges: Float[np.ndarray, " edges"], languages: Sequence[str]
) -> ValueHistogram:
    """The bins that have something, joined to at most `SHOWN_BINS`."""
    used = np.flatnonzero(counts.sum(0))
    if not len(used):
        return ValueHistogram(edges=[], counts={language: [] for language in languages})
    first, last = int(used[0]), int(used[-1]) + 1
    step = -(-(last - first) // SHOWN_BINS)
    starts = np.arange(first, last, step)
    # beyond the last edge of all nothing was counted
    ends = [float(edges[0] + (edges[1] - edges[0]) * place) for place in (*starts, starts[-1] + step)]
    joined = np.add.reduceat(counts[:, : starts[-1] + step], starts, axis=1)
    return ValueHistogram(
        edges=[rounded(edge, 6) for edge in ends],
        counts={language: joined[row].tolist() for row, language in enumerate(languages)},
    )


def rounded(value: float | np.floating, digits: int = 4) -> float:
    """A number with this many significant digits, so that files stay small."""
    return float(f"{float(value):.{digits}g}")


def token_counts(tokens: TokenizedCorpus, vocabulary: int) -> Int[np.ndarray, "languages vocabulary"]:
    """How often each token occurs in the text of each language."""
    languages = tokens.corpus.languages
    counts = np.zeros((len(languages), vocabulary), dtype=np.int64)
    for row, language in enumerate(languages):
        own = [
            ids[tokens.prefix :]
            for ids, sentence in zip(tokens.ids, tokens.corpus.sentences, strict=True)
            if sentence.language == language
        ]
        counts[row] = np.bincount(np.concatenate(own), minlength=vocabulary)[:vocabulary]
    return counts


def own_language(counts: Int[np.ndarray, "languages vocabulary"]) -> Int[np.ndarray, " vocabulary"]:
    """The row of the language that each token is of, -1 without one.

    It is the language in whose text the token's relative frequency is largest, if that is at least twice the next
    language's.
    """
    share = counts / counts.sum(1, keepdims=True).clip(1)
    order = np.sort(share, axis=0)
    next_best = order[-2] if len(order) > 1 else np.zeros(share.shape[1])
    own: np.ndarray = np.where((order[-1] > 0) & (order[-1] >= TIMES * next_best), share.argmax(0), -1)
    return own


def unit_logits(
    lm: LanguageModel,
    site: Site,
    directions: Float[Tensor, "units d_in"],
    counts: Int[np.ndarray, "languages vocabulary"],
    languages: Sequence[str],
) -> list[LogitEffects] | str:
    """The logit effects of some directions, or why there are none; see `glossae.lm.logit_effects`.

    Args:
        lm: the model.
        site: where the directions are.
        directions: one each row.
        counts: how often each token occurs in each language, as `token_counts`.
        languages: of its rows.
    """
    try:
        effects = logit_effects(lm, site, directions).numpy()
    except GlossaeError as error:
        return str(error)
    own = own_language(counts)

    def listed(values: np.ndarray, order: np.ndarray) -> list[TokenEffect]:
        return [
            TokenEffect(id=token, token=lm.tokenizer.decode([token]), value=rounded(values[token]))
            for token in order[:TOKENS].tolist()
        ]

    found = []
    for values in effects:
        order = np.argsort(-values, kind="stable")
        heights, edges = np.histogram(values.astype(np.float64), bins=SHOWN_BINS)
        top = own[order[:MOST_RAISED]]
        found.append(
            LogitEffects(
                raised=listed(values, order),
                lowered=listed(values, order[::-1]),
                edges=[rounded(edge, 6) for edge in edges],
                counts=heights.tolist(),
                of=len(top),
                languages={code: float((top == row).mean()) for row, code in enumerate(languages)},
            )
        )
    return found


@torch.no_grad()
def nearest_units(units: Units, ids: Iterable[int]) -> list[list[NearUnit]]:
    """Of some units, the other units of the same kind whose directions have the largest cosine with theirs.

    Neurons are at right angles to each other, and have none.
    """
    chosen = list(ids)
    if units.kind == "neuron" or not chosen:
        return [[] for _ in chosen]
    every: Any = (
        units.sae.W_dec.detach() if isinstance(units, Latents) else units.direction(range(len(units)))
    )
    own = every[chosen]
    cosine = own @ every.T / own.norm(dim=1, keepdim=True) / every.norm(dim=1).clamp_min(1e-30)
    cosine[torch.arange(len(chosen)), torch.tensor(chosen)] = -torch.inf
    count = min(NEAREST, len(units) - 1)
    values, numbers = (part.cpu() for part in cosine.sort(dim=1, descending=True, stable=True))
    return [
        [
            NearUnit(unit=unit, label=units.name(unit), cosine=rounded(value))
            for unit, value in zip(numbers[row, :count].tolist(), values[row, :count].tolist(), strict=True)
        ]
        for row in range(len(chosen))
    ]
