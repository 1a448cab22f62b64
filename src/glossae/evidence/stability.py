"""Match the latents of one SAE with those of another, by decoder cosine and by correlation of activations."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from glossae.errors import GlossaeError
from glossae.evidence.confounders import MOST_ROWS
from glossae.evidence.testing import FrozenSet
from glossae.lm import LanguageModel, Site, TokenizedCorpus, activations, batches, require_finite
from glossae.results import MatchShares, Partner, SeedRow, SelectedShares, StabilityResult, StableUnit
from glossae.units import Fired, Latents

# from this |cosine| on, two directions count as the same
SAME = 0.7
# for each latent, the number of the other SAE's latents that it is correlated with: those of nearest decoder
# rows
CANDIDATES = 8
# cosines held at once: 64 MiB of float32
COSINES = 2**24
# cosines held by the one-to-one matching: 256 MiB of float64
ASSIGNED = 2**25
# products of latents that fire at one token, held at once: 64 MiB, and as much for their places
PAIRS = 2**23
# a variance below this share of a latent's mean square is rounding
ROUNDING = 1e-12


@dataclass(frozen=True)
class LatentMatch:
    """The latents of one SAE compared with those of another on the same site and the same tokens.

    The cosine is that of decoder rows, with its sign: a latent with the opposite row is not the same. The
    correlation is Pearson's over tokens (`LatentMatcher`). From 0.7 on a latent counts as the same, as in
    Paulo and Belrose 2025 (arXiv 2501.16615), who match decoder and encoder rows one to one and find 30 %
    shared between seeds of an SAE with 131,072 latents.

    Attributes:
        nearest: for each latent, the other's latents with the largest cosines, the nearest first.
        cosine: these cosines.
        correlation: the correlations with them.
        fired: the number of tokens on which each fires.
        other_fired: the same for the other SAE.
        selected: the latents compared with all of the other's.
        partner: for each of them, its latent in the one-to-one matching of the largest total cosine, among
            those nearest to any of them; -1 if the other SAE has too few latents.
        partner_cosine, partner_correlation: with the partner; 0 without one.
        correlate: for each selected latent, the other's latent of the largest correlation with it.
        correlate_cosine, correlate_correlation: with that one.
        tokens: the number of tokens.
    """

    nearest: Int[np.ndarray, "latents candidates"]
    cosine: Float[np.ndarray, "latents candidates"]
    correlation: Float[np.ndarray, "latents candidates"]
    fired: Int[np.ndarray, " latents"]
    other_fired: Int[np.ndarray, " others"]
    selected: Int[np.ndarray, " selected"]
    partner: Int[np.ndarray, " selected"]
    partner_cosine: Float[np.ndarray, " selected"]
    partner_correlation: Float[np.ndarray, " selected"]
    correlate: Int[np.ndarray, " selected"]
    correlate_cosine: Float[np.ndarray, " selected"]
    correlate_correlation: Float[np.ndarray, " selected"]
    tokens: int

    def again(self, same: float = SAME) -> Bool[np.ndarray, " selected"]:
        """Which selected latents have a partner of their own that is near enough by cosine and by correlation."""
        return (self.partner_cosine >= same) & (self.partner_correlation >= same)

    def firing(self, same: float = SAME) -> MatchShares:
        """Of all latents that fire on the text; correlations with the nearest few only, so that is a lower bound."""
        return MatchShares(**self._shares(np.flatnonzero(self.fired), None, same))

    def of_selected(self, found: Sequence[int], same: float = SAME) -> SelectedShares:
        """Of the selected latents; correlations with all of the other's, of which `found` pass the test there."""
        again, passes = self.again(same), np.isin(self.partner, found)
        masks = {
            "one_to_one": again,
            "partner_found": passes,
            "correlate_found": np.isin(self.correlate, found),
            "again_and_found": again & passes,
        }
        own = {name: float(mask.mean()) if len(mask) else None for name, mask in masks.items()}
        return SelectedShares(**self._shares(self.selected, self.correlate_correlation, same) | own)

    def partners(self, seed: int, found: Sequence[int]) -> list[Partner]:
        """Each selected latent's partner, and the latent that correlates with it most; `found` pass the test there."""
        again = self.again()
        return [
            Partner(
                seed=seed,
                again=bool(again[row]),
                partner=int(self.partner[row]),
                partner_cosine=float(self.partner_cosine[row]),
                partner_correlation=float(self.partner_correlation[row]),
                partner_found=int(self.partner[row]) in found,
                correlate=int(self.correlate[row]),
                correlate_cosine=float(self.correlate_cosine[row]),
                correlate_correlation=float(self.correlate_correlation[row]),
                correlate_found=int(self.correlate[row]) in found,
            )
            for row in range(len(self.selected))
        ]

    def _shares(
        self, latents: np.ndarray, best: Float[np.ndarray, " chosen"] | None, same: float
    ) -> dict[str, Any]:
        near, like = self.cosine[latents] >= same, self.correlation[latents] >= same
        correlated = like.any(1) if best is None else best >= same
        of = len(latents)
        masks = {"cosine": near.any(1), "correlation": correlated, "both": (near & like).any(1)}
        return {"of": of} | {name: int(mask.sum()) / of if of else None for name, mask in masks.items()}


def stability_result(
    matches: Mapping[int, tuple[LatentMatch, Sequence[int]]], frozen: FrozenSet, latents: Latents, role: str
) -> StabilityResult:
    """Whether a frozen set comes again in autoencoders of other seeds.

    Args:
        matches: by seed, the match with that autoencoder, and its latents that pass the same test.
        frozen: the set; its latents are those that each match has selected.
        latents: all that it is of.
        role: of the text that latents are matched on.
    """
    partners = [match.partners(seed, found) for seed, (match, found) in matches.items()]
    return StabilityResult(
        same=SAME,
        claim=frozen.claim,
        role=role,
        tokens=max(match.tokens for match, _ in matches.values()),
        found=len(frozen.units),
        of=len(latents),
        seeds=[
            SeedRow(
                seed=seed,
                found=len(found),
                of=len(match.other_fired),
                firing=match.firing(),
                selected=match.of_selected(found),
            )
            for seed, (match, found) in matches.items()
        ],
        units=[
            StableUnit(unit=unit, label=latents.name(unit), seeds=[rows[place] for rows in partners])
            for place, unit in enumerate(frozen.units[:MOST_ROWS])
        ],
    )


@torch.no_grad()
def match_latents(
    lm: LanguageModel,
    site: Site,
    one: Latents,
    other: Latents,
    tokens: TokenizedCorpus,
    selected: Sequence[int] = (),
    *,
    candidates: int = CANDIDATES,
    budget: int = 1024,
    progress: Callable[[float], None] = lambda _: None,
) -> LatentMatch:
    """Match the latents of two SAEs in one pass of the model over a corpus.

    Args:
        lm: the model.
        site: the site of both SAEs.
        one: the latents to find again.
        other: the latents to search among.
        tokens: the text.
        selected: latents of the first to compare with all of the other's.
        candidates: the number of the other's latents that each latent is correlated with.
        budget: tokens in a batch.
        progress: called with the finished share.

    Raises:
        GlossaeError: the widths differ, a latent does not exist, or an activation is not finite.
    """
    matcher = LatentMatcher(one, other, selected, candidates=candidates)
    total = int(tokens.lengths.sum())
    for part in require_finite(lm, activations(lm, batches(tokens, budget), [site]), tokens):
        matcher.add(part.sites[site])
        progress(matcher.tokens / total)
    return matcher.finish()


class LatentMatcher:
    """Matches the latents of two SAEs batch by batch, from sums over tokens; see `match_latents`.

    The correlation of latents a_i of the first with b_j of the other is Pearson's,

        r(i, j) = (sum a_i b_j - n m_i m_j) / sqrt((sum a_i^2 - n m_i^2) (sum b_j^2 - n m_j^2)),   m the means.

    A latent is 0 where it does not fire, and those tokens count like all others. A constant latent has
    correlation 0 with all. Products are summed for every latent of the first with its own candidates of the
    other, and for the selected latents
    with all of the other. All sums are float64: memory is 8 bytes for each of latents x candidates and of
    selected x others.

    Raises:
        GlossaeError: the widths of the SAEs differ, or a latent does not exist.
    """

    @torch.no_grad()
    def __init__(
        self, one: Latents, other: Latents, selected: Sequence[int] = (), *, candidates: int = CANDIDATES
    ) -> None:
        if one.d_in != other.d_in:
            raise GlossaeError(
                f"stability: {one.identity} is of width {one.d_in}, and {other.identity} of {other.d_in}"
            )
        for unit in selected:
            if not 0 <= unit < len(one):
                raise GlossaeError(f"stability: there is no latent {unit}; there are 0 to {len(one) - 1}")
        self.one, self.other, self.tokens = one, other, 0
        self._rows, self._others = _decoder(one), _decoder(other)
        device = self._device = self._rows.device
        self._selected = torch.tensor(list(selected), dtype=torch.int64, device=device)
        self._candidates, self._cosine = nearest(self._rows, self._others, min(candidates, len(other)))
        # sum, sum of squares, and the number of tokens on which each fires
        self._moments = _zeros(device, 3, len(one)), _zeros(device, 3, len(other))
        self._with_candidates = _zeros(device, *self._candidates.shape)
        self._with_all = _zeros(device, len(selected), len(other))
        self._row = torch.full((len(one),), -1, dtype=torch.int64, device=device)
        self._row[self._selected] = torch.arange(len(selected), device=device)

    @torch.no_grad()
    def add(self, x: Float[Tensor, "tokens d_in"]) -> None:
        """Count a batch of the site."""
        self.tokens += len(x)
        codes = [
            Fired(*(part.to(self._device) for part in units.fired(x))) for units in (self.one, self.other)
        ]
        a, b = (code._replace(value=code.value.double()) for code in codes)
        for moments, code in zip(self._moments, (a, b), strict=True):
            each = (code.value, code.value.square(), torch.ones_like(code.value))
            for total, values in zip(moments, each, strict=True):
                total.index_add_(0, code.unit, values)
        if len(a.unit) and len(b.unit):
            self._add_candidates(a, b)
            self._add_selected(a, b, len(x))

    @torch.no_grad()
    def finish(self) -> LatentMatch:
        """The matches from the counts so far."""
        rows = self._rows[self._selected]
        partner, partner_cosine = _partners(rows, self._others)
        one, other = self._moments
        correlation = self._pearson(self._with_candidates, one[:, :, None], other[:, self._candidates])
        correlations = self._pearson(self._with_all, one[:, self._selected, None], other[:, None])
        correlate = correlations.argmax(1)
        nearness = torch.nn.functional.cosine_similarity(rows, self._others[correlate], dim=1)
        every, values = np.arange(len(partner)), _array(correlations)
        return LatentMatch(
            nearest=_array(self._candidates),
            cosine=_array(self._cosine.double()),
            correlation=_array(correlation),
            fired=_array(one[2].long()),
            other_fired=_array(other[2].long()),
            selected=_array(self._selected),
            partner=partner,
            partner_cosine=partner_cosine,
            partner_correlation=np.where(partner >= 0, values[every, partner], 0.0),
            correlate=_array(correlate),
            correlate_cosine=_array(nearness.double()),
            correlate_correlation=values[every, _array(correlate)],
            tokens=self.tokens,
        )

    def _add_candidates(self, a: Fired, b: Fired) -> None:
        # the place of each token and latent of the other in its code, by a number for both
        key, order = (b.token * len(self.other) + b.unit).sort()
        value = b.value[order]
        for rows in torch.arange(len(a.unit), device=key.device).split(
            max(1, PAIRS // self._candidates.shape[1])
        ):
            unit = a.unit[rows]
            wanted = a.token[rows, None] * len(self.other) + self._candidates[unit]
            place = torch.searchsorted(key, wanted).clamp_max(len(key) - 1)
            product = torch.where(key[place] == wanted, a.value[rows, None] * value[place], 0.0)
            self._with_candidates.index_add_(0, unit, product)

    def _add_selected(self, a: Fired, b: Fired, tokens: int) -> None:
        chosen = self._row[a.unit] >= 0
        row, token, value = self._row[a.unit[chosen]], a.token[chosen], a.value[chosen]
        # codes are in the order of tokens, so the latents that fire at a token are a run
        count = torch.bincount(b.token, minlength=tokens)
        first = count.cumsum(0) - count
        for part in _runs(count[token]):
            here = count[token[part]]
            entry = torch.arange(len(here), device=here.device).repeat_interleave(here)
            place = torch.arange(len(entry), device=here.device) - (here.cumsum(0) - here)[entry]
            place += first[token[part]][entry]
            cell = row[part][entry] * len(self.other) + b.unit[place]
            self._with_all.view(-1).index_add_(0, cell, value[part][entry] * b.value[place])

    def _pearson(
        self, products: Float[Tensor, "rows columns"], a: Float[Tensor, "3 _ _"], b: Float[Tensor, "3 _ _"]
    ) -> Float[Tensor, "rows columns"]:
        n = max(1, self.tokens)
        spread = [
            torch.where(squares - each.square() / n > ROUNDING * squares, squares - each.square() / n, 0.0)
            for each, squares, _ in (a, b)
        ]
        scale = (spread[0] * spread[1]).sqrt()
        covariance = products - a[0] * b[0] / n
        return torch.where(scale > 0, covariance / scale, 0.0).clamp(-1, 1)


def _runs(sizes: Int[Tensor, " entries"]) -> Iterator[slice]:
    """Runs of entries whose sizes add up to at most about PAIRS, at least one entry each."""
    ends = sizes.cumsum(0)
    first = 0
    while first < len(sizes):
        before = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(torch.searchsorted(ends, before + PAIRS, right=True)))
        yield slice(first, last)
        first = last


def _zeros(device: torch.device, *shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.float64, device=device)


def _partners(
    rows: Float[Tensor, "selected d_in"], others: Float[Tensor, "others d_in"]
) -> tuple[Int[np.ndarray, " selected"], Float[np.ndarray, " selected"]]:
    """The one-to-one matching of rows with others, where each row considers those nearest to any of the rows.

    With as many candidates per row as there are rows this is the optimum; beyond some 300 rows there are
    fewer, to bound the memory.
    """
    if not len(rows):
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    count = min(len(rows), len(others), max(1, ASSIGNED // len(rows) ** 2))
    columns = nearest(rows, others, count)[0].unique()
    place, how = one_to_one(cosines(rows, others[columns]).cpu().double().numpy())
    partner = np.where(place >= 0, columns.cpu().numpy()[place], -1)
    return partner, how


def _decoder(latents: Latents) -> Float[Tensor, "latents d_in"]:
    # half precision would round the cosines
    rows = latents.sae.W_dec.detach()
    return rows if rows.dtype == torch.float64 else rows.float()


def _array(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.cpu().numpy()
    return array


def cosines(
    rows: Float[Tensor, "rows d_in"], directions: Float[Tensor, "directions d_in"]
) -> Float[Tensor, "rows directions"]:
    """The cosine of each row with each direction; 0 for a zero vector."""
    lengths = [matrix.norm(dim=1).clamp_min(1e-12) for matrix in (rows, directions)]
    found: Tensor = rows @ directions.T / lengths[0][:, None] / lengths[1]
    return found


@torch.no_grad()
def nearest(
    rows: Float[Tensor, "rows d_in"], directions: Float[Tensor, "directions d_in"], count: int
) -> tuple[Int[Tensor, "rows count"], Float[Tensor, "rows count"]]:
    """The `count` directions with the largest cosine to each row, and these cosines, the nearest first.

    Cosines are computed for some rows at a time: for 65,536 rows and as many directions they would take 16 GiB.
    """
    step = max(1, COSINES // len(directions))
    parts = [cosines(part, directions).topk(count, dim=1) for part in rows.split(step)]
    return torch.cat([part.indices for part in parts]), torch.cat([part.values for part in parts])


def one_to_one(
    similarity: Float[np.ndarray, "rows columns"],
) -> tuple[Int[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
    """Each row's column in the one-to-one matching of the largest total similarity, and that similarity.

    By the Hungarian algorithm (Kuhn 1955). With more rows than columns, some rows have no column: -1, and
    similarity 0.
    """
    from scipy.optimize import linear_sum_assignment

    row, column = linear_sum_assignment(similarity, maximize=True)
    partner, how = np.full(len(similarity), -1, dtype=np.int64), np.zeros(len(similarity))
    partner[row], how[row] = column, similarity[row, column]
    return partner, how
