"""Attention sinks: tokens whose norm at a site is far from that of all others, which no average should have in it."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from glossae.errors import GlossaeError
from glossae.lm.batches import TokenizedCorpus, batches
from glossae.lm.model import LanguageModel, NormRange
from glossae.lm.sites import Activation, Site, attached

# A sink's norm is at least so many times the median norm, or so many times smaller: SmolLM2-135M has sinks of 6 to 130
# times the median in its residual stream, and of a 16th of it at mlp.hidden
RATIO = 5.0
# and no other token comes within this factor of it: what trails off evenly is a heavy tail, not a sink
GAP = 1.5
# sinks are few: a larger share of the tokens is another kind of text
MOST = 0.2


@dataclass(frozen=True)
class FoundSinks:
    """The attention sinks of one site, as they were found on some text.

    Attributes:
        site: where.
        median: the median norm of a token there.
        smallest, largest: a token whose norm is outside is a sink; 0 and None where there is none on that side.
        tokens: how many tokens were looked at, also of a prefix.
        count: how many of them are sinks.
        text_share: the share of the text's own tokens (a prefix is none) that are sinks.
        norm: the median norm of a sink; None where there is none.
        first: how many of them are the first token of their text.
        examples: the tokens themselves, the most frequent first, at most 5.
    """

    site: Site
    median: float
    smallest: float
    largest: float | None
    tokens: int
    count: int = 0
    text_share: float = 0.0
    norm: float | None = None
    first: int = 0
    examples: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """The facts as JSON's types, which `from_json` takes back."""
        rest = {name: value for name, value in vars(self).items() if name != "site"}
        return {"site": self.site.name, "layer": self.site.layer, **rest, "examples": list(self.examples)}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "FoundSinks":
        """The facts from what `to_json` gave."""
        rest = {name: value for name, value in row.items() if name not in ("site", "layer", "examples")}
        return cls(site=Site(row["site"], row["layer"]), examples=tuple(row["examples"]), **rest)


@torch.no_grad()
def find_sinks(
    lm: LanguageModel, tokens: TokenizedCorpus, sites: Sequence[Site], *, budget: int = 1024
) -> list[FoundSinks]:
    """Look for attention sinks at several sites in one pass of the model, at every token, also of a prefix.

    Norms are sorted. Sinks lie beyond the widest gap (a ratio of neighbours) among those above `RATIO` times the
    median, and likewise below a `RATIO`th of it. There are none on a side whose widest gap is narrower than `GAP`, or
    has more than `MOST` of the tokens beyond it.

    Args:
        lm: the model.
        tokens: some text, a few hundred tokens or more.
        sites: where to look.
        budget: tokens in a batch.

    Raises:
        GlossaeError: the model has no such site, or there is no text.
    """
    if not len(tokens):
        raise GlossaeError("sinks: there is no text to look for attention sinks in")
    taps = {site: lm.tap(site) for site in sites}
    norms: dict[Site, list[Tensor]] = {site: [] for site in sites}
    ids, places = [], []
    for batch in batches(tokens, budget):

        def keep(site: Site, x: Activation, mask: Tensor = batch.mask) -> None:
            norms[site].append(x.float().norm(dim=-1).cpu()[mask])

        with attached([(tap, partial(keep, site)) for site, tap in taps.items()]):
            lm.model.base_model(
                input_ids=batch.ids.to(lm.device),
                attention_mask=batch.mask.long().to(lm.device),
                use_cache=False,
            )
        ids.append(batch.ids[batch.mask])
        places.append(batch.mask.nonzero()[:, 1])
    every, place = torch.cat(ids), torch.cat(places)
    return [_found(lm, site, torch.cat(norms[site]), every, place, tokens.prefix) for site in sites]


def _found(
    lm: LanguageModel,
    site: Site,
    norms: Float[Tensor, " tokens"],
    ids: Int[Tensor, " tokens"],
    place: Int[Tensor, " tokens"],
    prefix: int,
) -> FoundSinks:
    # what is not finite is no sink: a stage that needs it says which sentence it is at
    sound = norms.isfinite()
    norms, ids, place = norms[sound], ids[sound], place[sound]
    if not len(norms):
        return FoundSinks(site, 0.0, 0.0, None, 0)
    precise = norms.double().clamp_min(1e-30)
    largest, inverse = _limit(precise), _limit(1 / precise)
    smallest = 0.0 if inverse is None else 1 / inverse
    sinks = (norms < smallest) | (norms > (torch.inf if largest is None else largest))
    found = FoundSinks(site, float(norms.median()), smallest, largest, len(norms))
    if not bool(sinks.any()):
        return found
    text = place >= prefix
    frequent, times = ids[sinks].unique(return_counts=True)
    examples = frequent[times.argsort(descending=True, stable=True)[:5]].tolist()
    return dataclasses.replace(
        found,
        count=int(sinks.sum()),
        text_share=float((sinks & text).sum() / text.sum().clamp_min(1)),
        norm=float(norms[sinks].median()),
        first=int((place[sinks] == 0).sum()),
        examples=tuple(map(str, lm.tokenizer.convert_ids_to_tokens(examples))),
    )


def _limit(norms: Float[Tensor, " tokens"]) -> float | None:
    """What parts the largest norms from all others: in the middle of the gap, as a ratio; None where there is none."""
    ordered = norms.sort().values
    far = int((ordered > RATIO * float(norms.median())).sum())
    if not far:
        return None
    upper, lower = ordered[-far:], ordered[-far - 1 : -1]
    gaps = upper / lower
    widest = int(gaps.argmax())
    if float(gaps[widest]) < GAP or far - widest > MOST * len(ordered):
        return None
    return float((upper[widest] * lower[widest]).sqrt())


def with_sinks(lm: LanguageModel, found: Sequence[FoundSinks]) -> LanguageModel:
    """The same model; its sinks are left out of activations, and edits leave them alone."""
    ranges = {
        each.site: NormRange(
            each.smallest, torch.inf if each.largest is None else each.largest, each.text_share
        )
        for each in found
        if each.count
    }
    return dataclasses.replace(lm, sinks={**lm.sinks, **ranges})
