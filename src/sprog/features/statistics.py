"""What every latent does on each language, from one streamed pass."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sprog.lm import LanguageModel, Site, TokenizedCorpus, activations, batches
from sprog.sae import Sae


@dataclass(frozen=True)
class LatentStatistics:
    """Sums over the tokens of each language; memory is languages x latents.

    Attributes:
        languages: the rows.
        tokens: tokens of each language.
        fired: on how many of them each latent fires.
        active_sum: sum of its values where it fires.
        active_min, active_max: its smallest and largest value where it fires; 0 where it never does.
        mean_pre: its mean pre-activation.
    """

    languages: tuple[str, ...]
    tokens: Int[Tensor, " languages"]
    fired: Int[Tensor, "languages latents"]
    active_sum: Float[Tensor, "languages latents"]
    active_min: Float[Tensor, "languages latents"]
    active_max: Float[Tensor, "languages latents"]
    mean_pre: Float[Tensor, "languages latents"]

    def row(self, language: str) -> int:
        """The row of a language."""
        return self.languages.index(language)

    def rate(self, language: str) -> Float[Tensor, " latents"]:
        """The share of a language's tokens on which each latent fires."""
        row = self.row(language)
        return self.fired[row].double() / self.tokens[row]

    def mean_value(self, language: str) -> Float[Tensor, " latents"]:
        """Each latent's mean value over all of a language's tokens, zero where it does not fire."""
        row = self.row(language)
        return self.active_sum[row] / self.tokens[row]

    def mean_active(self, language: str) -> Float[Tensor, " latents"]:
        """Each latent's mean value over the tokens where it fires; 0 where it never does."""
        row = self.row(language)
        return self.active_sum[row] / self.fired[row].clamp_min(1)


@torch.no_grad()
def latent_statistics(
    lm: LanguageModel,
    site: Site,
    sae: Sae,
    tokens: TokenizedCorpus,
    *,
    budget: int = 4096,
    progress: Callable[[float], None] = lambda _: None,
) -> LatentStatistics:
    """Stream a corpus through the model and the autoencoder."""
    languages = tokens.corpus.languages
    row = {language: i for i, language in enumerate(languages)}
    of = torch.tensor([row[s.language] for s in tokens.corpus.sentences], device=lm.device)
    latents, shape = sae.config.latents, (len(languages), sae.config.latents)
    # one flat counter of languages x latents, so that a batch of mixed languages is one bincount
    fired = torch.zeros(shape, dtype=torch.int64, device=lm.device)
    active_sum = torch.zeros(shape, dtype=torch.float64, device=lm.device)
    active_max = torch.full(shape, -torch.inf, dtype=torch.float64, device=lm.device)
    active_min = torch.full(shape, torch.inf, dtype=torch.float64, device=lm.device)
    count = torch.zeros(len(languages), dtype=torch.int64, device=lm.device)
    x_sum = torch.zeros(len(languages), sae.config.d_in, dtype=torch.float64, device=lm.device)
    total = int(tokens.lengths.sum())
    for part in activations(lm, batches(tokens, budget), [site]):
        x, language = part.sites[site].float(), of[part.sentence]
        codes = sae.encode(x)
        fires = sae.fires(codes)
        cell = (language[:, None] * latents + codes.indices)[fires]
        values = codes.values[fires].double()
        fired.view(-1).add_(torch.bincount(cell, minlength=fired.numel()))
        active_sum.view(-1).index_add_(0, cell, values)
        active_max.view(-1).scatter_reduce_(0, cell, values, "amax")
        active_min.view(-1).scatter_reduce_(0, cell, values, "amin")
        count += torch.bincount(language, minlength=len(languages))
        x_sum.index_add_(0, language, x.double())
        progress(int(count.sum()) / total)
    # a pre-activation is linear in x, so its mean needs no dense code
    mean_x = x_sum / count[:, None]
    mean_pre = sae.centred(mean_x) @ sae.W_enc.double().T + sae.b_enc.double()
    never = fired == 0
    return LatentStatistics(
        languages=languages,
        tokens=count.cpu(),
        fired=fired.cpu(),
        active_sum=active_sum.cpu(),
        active_min=active_min.masked_fill(never, 0.0).cpu(),
        active_max=active_max.masked_fill(never, 0.0).cpu(),
        mean_pre=mean_pre.cpu(),
    )
