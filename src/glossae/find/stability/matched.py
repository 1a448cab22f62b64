"""Latents of two autoencoders set side by side, by what they write and by where they fire."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from glossae.errors import GlossaeError
from glossae.find.cosine import SAME, cosines, nearest, one_to_one
from glossae.find.stability.correlating import CorrelationSums
from glossae.lm import LanguageModel, Site, TokenizedCorpus, activations, batches, finite
from glossae.units import Latents

# of each latent, how many of the other autoencoder's it is correlated with: those that write nearest to it
CANDIDATES = 8
# cosines held by the one-to-one matching: 256 MiB of float64
ASSIGNED = 2**25


class Shares(NamedTuple):
    """How many of some latents are there again, of those that were looked at.

    Attributes:
        of: how many were looked at.
        cosine: how many have a latent of the other at a cosine of at least `same`.
        correlation: how many have one that correlates with them as much.
        both: how many have one of which both is true.
    """

    of: int
    cosine: int
    correlation: int
    both: int


@dataclass(frozen=True)
class LatentMatch:
    """The latents of one autoencoder against those of another on the same site and the same tokens.

    The cosine is that of decoder rows, with its sign: a latent that writes the opposite does not do the same. The
    correlation is Pearson's over tokens (`CorrelationSums`). From 0.7 on a latent counts as the same, as in Paulo and
    Belrose 2025 (arXiv 2501.16615), who match decoder and encoder rows one to one and find 30 % shared between seeds of
    an autoencoder with 131,072 latents.

    Attributes:
        nearest: of each latent, those of the other with the largest cosines, the nearest first.
        cosine: these cosines.
        correlation: how each correlates with these.
        fired: on how many tokens each fires.
        other_fired: the same of the other autoencoder's.
        selected: the latents that are looked at closely.
        partner: of each of them, its latent in the one-to-one matching of the largest total cosine, among those
            nearest to any of them; -1 where there are more of them than latents.
        partner_cosine, partner_correlation: with that one; 0 without one.
        correlate: of each selected latent, the one that correlates with it most, among all of the other.
        correlate_cosine, correlate_correlation: with that one.
        tokens: how many there were.
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

    def firing(self, same: float = SAME) -> Shares:
        """Of all latents that fire on the text; correlations with the nearest few only, so that is a lower bound."""
        return self._shares(np.flatnonzero(self.fired), None, same)

    def of_selected(self, same: float = SAME) -> Shares:
        """Of the selected latents; correlations with all of the other's."""
        return self._shares(self.selected, self.correlate_correlation, same)

    def again(self, same: float = SAME) -> Bool[np.ndarray, " selected"]:
        """Which selected latents have a partner of their own that is near enough by cosine and by correlation."""
        return (self.partner_cosine >= same) & (self.partner_correlation >= same)

    def _shares(self, latents: np.ndarray, best: Float[np.ndarray, " chosen"] | None, same: float) -> Shares:
        near, like = self.cosine[latents] >= same, self.correlation[latents] >= same
        correlated = like.any(1) if best is None else best >= same
        return Shares(
            len(latents), *(int(which.sum()) for which in (near.any(1), correlated, (near & like).any(1)))
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
    """Match the latents of two autoencoders in one pass of the model over a corpus.

    Args:
        lm: the model.
        site: where both read.
        one: the latents that are looked for.
        other: those among which they are looked for.
        tokens: the text.
        selected: latents of the first to look at closely.
        candidates: how many of the other's each latent is correlated with.
        budget: tokens in a batch.
        progress: is told the share of tokens done.

    Raises:
        GlossaeError: they are of different widths, there is no such latent, or an activation is not finite.
    """
    matcher = LatentMatcher(one, other, selected, candidates=candidates)
    total = int(tokens.lengths.sum())
    for part in finite(lm, activations(lm, batches(tokens, budget), [site]), tokens):
        matcher.add(part.sites[site])
        progress(matcher.tokens / total)
    return matcher.finish()


class LatentMatcher:
    """A match in the making, batch by batch; see `match_latents`.

    Raises:
        GlossaeError: the autoencoders are of different widths, or there is no such latent.
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
        self._rows, self._others = _decoder(one), _decoder(other)
        self._selected = torch.tensor(list(selected), dtype=torch.int64, device=self._rows.device)
        self._nearest, self._cosine = nearest(self._rows, self._others, min(candidates, len(other)))
        self._sums = CorrelationSums(one, other, self._nearest, self._selected)

    @property
    def tokens(self) -> int:
        """Tokens counted so far."""
        return self._sums.tokens

    def add(self, x: Float[Tensor, "tokens d_in"]) -> None:
        """Count a batch of the site."""
        self._sums.add(x)

    @torch.no_grad()
    def finish(self) -> LatentMatch:
        """What was counted."""
        rows = self._rows[self._selected]
        partner, partner_cosine = _partners(rows, self._others)
        correlations = self._sums.of_selected()
        correlate = correlations.argmax(1)
        nearness = torch.nn.functional.cosine_similarity(rows, self._others[correlate], dim=1)
        one, other = self._sums.fires()
        every, values = np.arange(len(partner)), _array(correlations)
        return LatentMatch(
            nearest=_array(self._nearest),
            cosine=_array(self._cosine.double()),
            correlation=_array(self._sums.of_candidates()),
            fired=_array(one),
            other_fired=_array(other),
            selected=_array(self._selected),
            partner=partner,
            partner_cosine=partner_cosine,
            partner_correlation=np.where(partner >= 0, values[every, partner], 0.0),
            correlate=_array(correlate),
            correlate_cosine=_array(nearness.double()),
            correlate_correlation=values[every, _array(correlate)],
            tokens=self.tokens,
        )


def _partners(
    rows: Float[Tensor, "selected d_in"], others: Float[Tensor, "others d_in"]
) -> tuple[Int[np.ndarray, " selected"], Float[np.ndarray, " selected"]]:
    """The one-to-one matching of some rows with others, each row bidding for those nearest to any of the rows.

    With as many candidates a row as there are rows this is the best there is; beyond some 300 rows they are fewer, to
    bound the memory.
    """
    if not len(rows):
        return np.zeros(0, dtype=np.int64), np.zeros(0)
    count = min(len(rows), len(others), max(1, ASSIGNED // len(rows) ** 2))
    columns = nearest(rows, others, count)[0].unique()
    place, how = one_to_one(cosines(rows, others[columns]).cpu().double().numpy())
    partner = np.where(place >= 0, columns.cpu().numpy()[place], -1)
    return partner, how


def _decoder(latents: Latents) -> Float[Tensor, "latents d_in"]:
    # half precision would round cosines
    rows = latents.sae.W_dec.detach()
    return rows if rows.dtype == torch.float64 else rows.float()


def _array(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.cpu().numpy()
    return array
