"""Activations of each language at a site: their first and second moments, and the activations themselves."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from glossae.errors import GlossaeError
from glossae.lm import LanguageModel, Site, TokenizedCorpus, activations, batches, finite


@dataclass(frozen=True)
class Moments:
    """Sums over the tokens of each language, float64; what directions are made of.

    Attributes:
        languages: the rows, sorted.
        site: where they were taken, if it is known.
        tokens: tokens of each language.
        sum: sum of the activations of each language.
        products: sum of x x' over the tokens of all languages; None where no covariance was asked for.
    """

    languages: tuple[str, ...]
    site: Site | None
    tokens: Int[Tensor, " languages"]
    sum: Float[Tensor, "languages d_in"]
    products: Float[Tensor, "d_in d_in"] | None

    @classmethod
    def of(
        cls,
        x: Float[Tensor, "tokens d_in"],
        languages: Shaped[np.ndarray, " tokens"],
        *,
        covariance: bool = True,
        site: Site | None = None,
    ) -> "Moments":
        """The moments of activations, given the language of each."""
        codes, row = np.unique(languages, return_inverse=True)
        place = torch.from_numpy(row.astype(np.int64)).to(x.device)
        precise = x.double()
        return cls(
            languages=tuple(str(code) for code in codes),
            site=site,
            tokens=torch.bincount(place, minlength=len(codes)),
            sum=precise.new_zeros(len(codes), x.shape[1]).index_add_(0, place, precise),
            products=precise.T @ precise if covariance else None,
        )

    def row(self, language: str) -> int:
        """The row of a language.

        Raises:
            GlossaeError: there is no text in it.
        """
        if language not in self.languages:
            raise GlossaeError(f"moments: no text is in '{language}'; there are {', '.join(self.languages)}")
        return self.languages.index(language)

    def mean(self, language: str) -> Float[Tensor, " d_in"]:
        """The mean activation of a language."""
        row = self.row(language)
        return self.sum[row] / self.tokens[row]

    def pooled_covariance(self) -> Float[Tensor, "d_in d_in"]:
        """The covariance within languages: mean square deviation of every token from its own language's mean.

        Raises:
            GlossaeError: the moments were taken without products.
        """
        if self.products is None:
            raise GlossaeError("moments: a covariance needs moments that were taken with `covariance`")
        means = self.sum / self.tokens[:, None]
        return (self.products - means.T @ self.sum) / int(self.tokens.sum())


def merge_moments(one: Moments, other: Moments) -> Moments:
    """The moments of two texts together.

    Raises:
        GlossaeError: they are of different sites or widths, or one has products and the other has not.
    """
    for what, mine, theirs in (
        ("sites", one.site, other.site),
        ("widths", one.sum.shape[1], other.sum.shape[1]),
        ("kinds (with and without covariance)", one.products is None, other.products is None),
    ):
        if mine != theirs:
            raise GlossaeError(f"moments: they are of different {what}: {mine} and {theirs}")
    languages = tuple(sorted({*one.languages, *other.languages}))
    tokens = one.tokens.new_zeros(len(languages))
    total = one.sum.new_zeros(len(languages), one.sum.shape[1])
    for part in (one, other):
        place = torch.tensor([languages.index(language) for language in part.languages], device=tokens.device)
        tokens.index_add_(0, place, part.tokens)
        total.index_add_(0, place, part.sum)
    products = None if one.products is None or other.products is None else one.products + other.products
    return Moments(languages, one.site, tokens, total, products)


def activation_moments(
    lm: LanguageModel,
    site: Site,
    tokens: TokenizedCorpus,
    *,
    covariance: bool = True,
    skip_first: bool = False,
    budget: int = 1024,
    progress: Callable[[float], None] = lambda _: None,
) -> Moments:
    """Stream a corpus through the model once; memory is languages x d_in, and d_in x d_in with `covariance`.

    Raises:
        GlossaeError: the corpus is empty, or an activation is not finite.
    """
    codes = np.array([sentence.language for sentence in tokens.corpus.sentences])
    moments: Moments | None = None
    done, total = 0, int(tokens.lengths.sum())
    for part in finite(lm, activations(lm, batches(tokens, budget), [site]), tokens):
        x, sentence = part.sites[site], part.sentence
        done += len(x)
        if skip_first:
            x, sentence = x[part.position > 0], sentence[part.position > 0]
        here = Moments.of(x, codes[sentence.cpu().numpy()], covariance=covariance, site=site)
        moments = here if moments is None else merge_moments(moments, here)
        progress(done / total)
    if moments is None:
        raise GlossaeError("moments: there is no text")
    return moments


def activation_samples(
    lm: LanguageModel,
    site: Site,
    tokens: TokenizedCorpus,
    *,
    skip_first: bool = False,
    budget: int = 1024,
) -> tuple[Float[Tensor, "tokens d_in"], Shaped[np.ndarray, " tokens"]]:
    """The activations of every token of a corpus as float32, and the language of each; all are held.

    Raises:
        GlossaeError: the corpus is empty, or an activation is not finite.
    """
    codes = np.array([sentence.language for sentence in tokens.corpus.sentences])
    parts, languages = [], []
    for part in finite(lm, activations(lm, batches(tokens, budget), [site]), tokens):
        kept = part.position >= int(skip_first)
        parts.append(part.sites[site][kept].float())
        languages.append(codes[part.sentence[kept].cpu().numpy()])
    if not parts:
        raise GlossaeError("samples: there is no text")
    return torch.cat(parts), np.concatenate(languages)
