"""How faithful autoencoders are, language by language."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch

from sprog.lm import LanguageModel, Site, TokenizedCorpus, activations, batches, replayed_losses
from sprog.sae.sae import Sae


@dataclass(frozen=True)
class SpliceLoss:
    """Next-token loss of a language in nats per token.

    Attributes:
        raw: of the model itself.
        spliced: with the reconstruction in the site's place.
        ablated: with zeros in the site's place.
        recovered: (ablated - spliced) / (ablated - raw); None where ablation changes nothing.
    """

    raw: float
    spliced: float
    ablated: float
    recovered: float | None


@dataclass(frozen=True)
class Quality:
    """Fidelity on a corpus.

    Attributes:
        fvu: by language, the fraction of variance unexplained: sums of squares over its tokens, around the
            mean of the whole corpus.
        l0: latents firing at a token.
        dead_fraction: share of latents that fire on no token.
        ce: by language; empty where it was not measured.
        tokens: how many tokens were looked at.
    """

    fvu: dict[str, float]
    l0: float
    dead_fraction: float
    tokens: int
    ce: dict[str, SpliceLoss] = field(default_factory=dict)


def measure(
    lm: LanguageModel,
    site: Site,
    sae: Sae,
    tokens: TokenizedCorpus,
    *,
    budget: int = 4096,
    progress: Callable[[float], None] = lambda _: None,
) -> Quality:
    """Measure an autoencoder on a corpus, streamed: reconstruction, and losses with it in the site's place."""
    (quality,) = measure_reconstruction(
        lm, site, [sae], tokens, budget=budget, progress=lambda x: progress(0.25 * x)
    )
    losses = _splice_losses(
        lm, site, sae, tokens, tokens.corpus.languages, budget, lambda x: progress(0.25 + 0.75 * x)
    )
    return replace(quality, ce=losses)


@torch.no_grad()
def measure_reconstruction(
    lm: LanguageModel,
    site: Site,
    saes: Sequence[Sae],
    tokens: TokenizedCorpus,
    *,
    budget: int = 4096,
    progress: Callable[[float], None] = lambda _: None,
) -> list[Quality]:
    """Measure autoencoders on a corpus in one pass of the model, all but the losses (`ce` is empty)."""
    languages = tokens.corpus.languages
    number = {language: i for i, language in enumerate(languages)}
    of = torch.tensor([number[s.language] for s in tokens.corpus.sentences], device=lm.device)
    # float64 sums: sums of squares minus squares of sums lose digits
    squares, count = (torch.zeros(len(languages), dtype=torch.float64, device=lm.device) for _ in range(2))
    sums = torch.zeros(len(languages), lm.width(site), dtype=torch.float64, device=lm.device)
    error = torch.zeros(len(saes), len(languages), dtype=torch.float64, device=lm.device)
    fired = [torch.zeros(sae.config.latents, dtype=torch.int64, device=lm.device) for sae in saes]
    total = int(tokens.lengths.sum())
    for part in activations(lm, batches(tokens, budget), [site]):
        x = part.sites[site].float()
        language = of[part.sentence]
        squares.index_add_(0, language, x.double().square().sum(1))
        sums.index_add_(0, language, x.double())
        count.index_add_(0, language, torch.ones_like(language, dtype=torch.float64))
        for sae, own, times in zip(saes, error, fired, strict=True):
            codes = sae.encode(x)
            own.index_add_(0, language, (x - sae.decode(codes)).double().square().sum(1))
            times += torch.bincount(codes.indices[sae.fires(codes)], minlength=len(times))
        progress(float(count.sum()) / total)
    mean = sums.sum(0) / count.sum()
    variance = squares - 2 * sums @ mean + count * mean.square().sum()
    return [
        Quality(
            fvu={
                language: float(own[i] / variance[i])
                for i, language in enumerate(languages)
                if variance[i] > 0
            },
            l0=float(times.sum() / count.sum()),
            dead_fraction=float((times == 0).double().mean()),
            tokens=total,
        )
        for own, times in zip(error, fired, strict=True)
    ]


def _splice_losses(
    lm: LanguageModel,
    site: Site,
    sae: Sae,
    tokens: TokenizedCorpus,
    languages: Sequence[str],
    budget: int,
    progress: Callable[[float], None],
) -> dict[str, SpliceLoss]:
    raw, spliced, ablated = replayed_losses(
        lm,
        site,
        tokens,
        [None, lambda x: sae(x.float()), torch.zeros_like],
        budget=budget,
        progress=progress,
    )
    losses = {}
    for language in languages:
        rows = [i for i, sentence in enumerate(tokens.corpus.sentences) if sentence.language == language]
        predicted = tokens.predicted[rows].sum()
        a, b, c = (float(summed[rows].sum() / predicted) for summed in (raw, spliced, ablated))
        losses[language] = SpliceLoss(a, b, c, (c - b) / (c - a) if c != a else None)
    return losses
