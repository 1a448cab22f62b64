"""A closer look at a few latents: their pre-activations token by token."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import rankdata

from glossae.lm import LanguageModel, Site, TokenizedCorpus, activations, batches
from glossae.sae import Sae

BINS = 60


@dataclass(frozen=True)
class UnitDetail:
    """Pre-activations of one latent on a corpus.

    Attributes:
        unit: its number.
        auroc: how often a random target token has a larger pre-activation than a random reference token.
        quantiles: of its values on the target's tokens where it fires, at 0.5 and 0.99; None if it never does.
        edges: bin edges of the histograms.
        counts: tokens in each bin, by language.
    """

    unit: int
    auroc: float
    quantiles: tuple[float, float] | None
    edges: Float[np.ndarray, " edges"]
    counts: dict[str, np.ndarray]


@torch.no_grad()
def unit_details(
    lm: LanguageModel,
    site: Site,
    sae: Sae,
    tokens: TokenizedCorpus,
    units: Sequence[int],
    target: str,
    reference: str,
    *,
    budget: int = 1024,
    progress: Callable[[float], None] = lambda _: None,
) -> list[UnitDetail]:
    """Collect the pre-activations of `units` on a corpus: tokens x units values are held."""
    if not units:
        return []
    chosen = torch.tensor(list(units), device=lm.device)
    pre, value, sentence = [], [], []
    done, total = 0, int(tokens.lengths.sum())
    for part in activations(lm, batches(tokens, budget), [site]):
        x = part.sites[site].float()
        pre.append(sae.pre_activations(x, chosen).cpu().numpy())
        value.append(fired_values(sae, x, chosen).cpu().numpy())
        sentence.append(part.sentence.cpu().numpy())
        done += len(x)
        progress(done / total)
    of = np.array([s.language for s in tokens.corpus.sentences])[np.concatenate(sentence)]
    all_pre, all_values = np.concatenate(pre), np.concatenate(value)
    details = []
    for column, unit in enumerate(units):
        own, values = all_pre[:, column], all_values[of == target, column]
        values = values[~np.isnan(values)]
        edges = np.linspace(own.min(), own.max(), BINS + 1, dtype=np.float64)
        details.append(
            UnitDetail(
                unit=unit,
                auroc=auroc(own[of == target], own[of == reference]),
                quantiles=(float(np.quantile(values, 0.5)), float(np.quantile(values, 0.99)))
                if len(values)
                else None,
                edges=edges,
                counts={
                    language: np.histogram(own[of == language], bins=edges)[0]
                    for language in tokens.corpus.languages
                },
            )
        )
    return details


def fired_values(
    sae: Sae, x: Float[torch.Tensor, "tokens d_in"], units: torch.Tensor
) -> Float[torch.Tensor, "tokens units"]:
    """The value of each of `units` at each token where it fires, NaN where it does not."""
    codes = sae.encode(x)
    hit = (codes.indices[:, :, None] == units) & sae.fires(codes)[:, :, None]
    values = (codes.values[:, :, None] * hit).sum(1)
    return values.masked_fill(~hit.any(1), torch.nan)


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Area under the ROC curve, ties counted half (the Mann-Whitney statistic over all pairs)."""
    if not len(positive) or not len(negative):
        return 0.5
    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)]
    return float((ranks.sum() - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative)))
