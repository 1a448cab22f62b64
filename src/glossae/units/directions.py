"""Directions that separate a language from others, made from activations: the baselines for latents."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from glossae.errors import GlossaeError
from glossae.lm import LanguageModel, Site, TokenizedCorpus, activations, batches, require_finite
from glossae.probing import ProbePath
from glossae.units.kinds import Directions

# the penalty of a probe's norm, as a share of the critical one (see `glossae.probing`)
PENALTY_SHARE = 0.1
# a share of the variance below this is rounding of float64 sums
ROUNDING = 1e-12


@dataclass(frozen=True)
class Moments:
    """Sums over the tokens of each language, float64, for making directions.

    Attributes:
        languages: the rows, sorted.
        site: the site of the activations, if known.
        tokens: tokens of each language.
        sum: sum of the activations of each language.
        products: sum of x x' over the tokens of all languages.
    """

    languages: tuple[str, ...]
    site: Site | None
    tokens: Int[Tensor, " languages"]
    sum: Float[Tensor, "languages d_in"]
    products: Float[Tensor, "d_in d_in"]

    @classmethod
    def of(
        cls,
        x: Float[Tensor, "tokens d_in"],
        languages: Shaped[np.ndarray, " tokens"],
        *,
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
            products=precise.T @ precise,
        )

    def mean(self, language: str) -> Float[Tensor, " d_in"]:
        """The mean activation of a language.

        Raises:
            GlossaeError: there is no text in the language.
        """
        if language not in self.languages:
            raise GlossaeError(f"moments: no text is in '{language}'; there are {', '.join(self.languages)}")
        row = self.languages.index(language)
        return self.sum[row] / self.tokens[row]

    def pooled_covariance(self) -> Float[Tensor, "d_in d_in"]:
        """The covariance within languages: mean square deviation of every token from its own language's mean."""
        means = self.sum / self.tokens[:, None]
        return (self.products - means.T @ self.sum) / int(self.tokens.sum())


def activation_moments(
    lm: LanguageModel,
    site: Site,
    tokens: TokenizedCorpus,
    *,
    budget: int = 1024,
    progress: Callable[[float], None] = lambda _: None,
) -> Moments:
    """The moments of a corpus, in one pass of the model; memory is languages x d_in and d_in x d_in.

    Raises:
        GlossaeError: the corpus is empty, or an activation is not finite.
    """
    merged: dict[str, tuple[Tensor, Tensor]] = {}
    products: Tensor | None = None
    done, total = 0, int(tokens.lengths.sum())
    for x, languages in _by_language(lm, site, tokens, budget):
        here = Moments.of(x, languages, site=site)
        for language, count, own in zip(here.languages, here.tokens, here.sum, strict=True):
            before = merged.get(language, (torch.zeros_like(count), torch.zeros_like(own)))
            merged[language] = (before[0] + count, before[1] + own)
        products = here.products if products is None else products + here.products
        done += len(x)
        progress(done / total)
    if products is None:
        raise GlossaeError("moments: there is no text")
    names = tuple(sorted(merged))
    counts, sums = (torch.stack([merged[name][i] for name in names]) for i in (0, 1))
    return Moments(names, site, counts, sums, products)


def activation_samples(
    lm: LanguageModel, site: Site, tokens: TokenizedCorpus, *, budget: int = 1024
) -> tuple[Float[Tensor, "tokens d_in"], Shaped[np.ndarray, " tokens"]]:
    """The activations of every token of a corpus as float32, and the language of each, all in memory.

    Raises:
        GlossaeError: the corpus is empty, or an activation is not finite.
    """
    parts = [(x.float(), languages) for x, languages in _by_language(lm, site, tokens, budget)]
    if not parts:
        raise GlossaeError("samples: there is no text")
    xs, languages = zip(*parts, strict=True)
    return torch.cat(xs), np.concatenate(languages)


def _by_language(
    lm: LanguageModel, site: Site, tokens: TokenizedCorpus, budget: int
) -> Iterator[tuple[Tensor, np.ndarray]]:
    """Batches of the site's activations, with the language of each token."""
    codes = np.array([sentence.language for sentence in tokens.corpus.sentences])
    for part in require_finite(lm, activations(lm, batches(tokens, budget), [site]), tokens):
        yield part.sites[site], codes[part.sentence.cpu().numpy()]


def difference_of_means(moments: Moments, target: str, others: Sequence[str] = ()) -> Directions:
    """The mean of the target less that of each other language, and less the mean of all others.

    Offsets are midway between the two means. The mean of all others is the mean of their means, so that each
    language counts alike, whatever its amount of text. With one other language there is one direction.

    Args:
        moments: of the activations.
        target: the language that directions point to.
        others: the languages that they point away from; all others if none is named.

    Raises:
        GlossaeError: there is no text in a language, or two have the same mean.
    """
    names, vectors, middles = _contrasts(moments, target, others)
    offsets = (vectors * middles).sum(1)
    return Directions([f"difference of means: {name}" for name in names], vectors, offsets, site=moments.site)


def discriminants(
    moments: Moments, target: str, others: Sequence[str] = (), *, shrinkage: float | None = None
) -> Directions:
    """Linear discriminants (Fisher 1936): the inverse of the covariance within languages, times the differences.

    The covariance S, pooled over all languages of the moments, is shrunk to (1 - s) S + s tr(S) / d I. Offsets
    are midway between the two means, as for equal priors.

    Args:
        moments: of the activations.
        target: the language that directions point to.
        others: the languages that they point away from, each one and their mean.
        shrinkage: s, between 0 and 1; None: the oracle-approximating one (Chen et al. 2010).

    Raises:
        GlossaeError: there is no text in a language, two have the same mean, or the covariance cannot be inverted.
    """
    covariance = moments.pooled_covariance()
    share = _oas(covariance, int(moments.tokens.sum())) if shrinkage is None else shrinkage
    level = covariance.diagonal().mean()
    shrunk = (1 - share) * covariance
    shrunk.diagonal().add_(share * level)
    names, differences, middles = _contrasts(moments, target, others)
    factor, failed = torch.linalg.cholesky_ex(shrunk)
    # The share of each coordinate's variance that is left after regression on those before it. If they
    # determine it, only rounding is left, of either sign, so that the factorisation may succeed all the same.
    left = factor.diagonal().square() / shrunk.diagonal()
    if int(failed) or not bool((left > ROUNDING).all()):
        raise GlossaeError(
            "directions: the covariance cannot be inverted; more text or more shrinkage may help"
        )
    vectors = torch.cholesky_solve(differences.T, factor).T
    offsets = (vectors * middles).sum(1)
    return Directions([f"linear discriminant: {name}" for name in names], vectors, offsets, site=moments.site)


def probe_normal(
    x: Float[Tensor, "tokens d_in"],
    languages: Shaped[np.ndarray, " tokens"],
    target: str,
    others: Sequence[str] = (),
    *,
    share: float = PENALTY_SHARE,
    site: Site | None = None,
) -> Directions:
    """The normal of a logistic probe of the target against all the others, in the site's own coordinates.

    It is fitted on activations of mean 0 and variance 1, with the same weight for both sides, under a penalty
    of `share` of the critical one (`glossae.probing.ProbePath`). It fires where the probe predicts the target.

    Args:
        x: activations.
        languages: the language of each activation.
        target: the positive class.
        others: the negative class; all other languages if none is named.
        share: of the lambda from which on the probe is zero; below 1.
        site: the site of the activations.

    Raises:
        GlossaeError: there is no text on one of the sides, or `share` leaves nothing of the probe.
    """
    positive = languages == target
    negative = np.isin(languages, list(others)) if others else ~positive
    negative &= ~positive
    for side, where in ((target, positive), (" and ".join(others) or f"all but {target}", negative)):
        if not where.any():
            raise GlossaeError(f"directions: a probe of '{target}' has no text of '{side}'")
    used = torch.from_numpy(positive | negative).to(x.device)
    y = torch.from_numpy(positive).to(x.device)[used].double()
    chosen = x[used].double()
    mean = chosen.mean(0)
    deviation = (chosen - mean).square().mean(0).sqrt()
    deviation = torch.where(deviation > 0, deviation, 1.0)
    weights = torch.where(y > 0, 0.5 / y.sum(), 0.5 / (1 - y).sum())
    path = ProbePath(((chosen - mean) / deviation).float(), y, weights[:, None], penalise_bias=False)
    (solution,) = path.solve([share * path.critical_penalty])
    if not solution.weight.any():
        raise GlossaeError(f"directions: a penalty of {share} times the critical one leaves a probe of zero")
    weight = solution.weight[:, 0] / deviation
    offset = weight @ mean - solution.bias[0]
    name = f"probe: {target} against {' and '.join(others) or 'all others'}"
    return Directions([name], weight[None], offset[None], site=site)


def random_directions(
    count: int,
    d_in: int,
    *,
    seed: int,
    centre: Float[Tensor, " d_in"] | None = None,
    site: Site | None = None,
) -> Directions:
    """Directions drawn uniformly from the sphere: a baseline without meaning.

    Args:
        count: the number of directions.
        d_in: width of the site.
        seed: the same seed gives the same directions.
        centre: the point at which they read 0, such as the mean activation; None for the origin.
        site: their site.
    """
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(count, d_in, generator=generator, dtype=torch.float64)
    offsets = torch.zeros(count, dtype=torch.float64) if centre is None else vectors @ centre.double().cpu()
    return Directions([f"random direction {seed}.{i}" for i in range(count)], vectors, offsets, site=site)


def _oas(covariance: Float[Tensor, "d d"], samples: int) -> float:
    """The oracle-approximating shrinkage of a covariance, from itself and the number of samples.

    Chen, Wiesel, Eldar and Hero (2010), eq. 23, as scikit-learn has it: for large d, with 2 / d taken as 0.
    """
    d = len(covariance)
    level = covariance.diagonal().mean().square()
    spread = covariance.square().mean()
    denominator = (samples + 1) * (spread - level / d)
    return 1.0 if denominator <= 0 else min(float((spread + level) / denominator), 1.0)


def _contrasts(
    moments: Moments, target: str, others: Sequence[str]
) -> tuple[list[str], Float[Tensor, "contrasts d_in"], Float[Tensor, "contrasts d_in"]]:
    """Target against each other language, and against the mean of all others if there are several.

    Names, differences of the means, and the points midway between them.
    """
    names = list(others) or [language for language in moments.languages if language != target]
    own = moments.mean(target)
    if not names or target in names:
        raise GlossaeError(f"directions: '{target}' has no other language to compare with")
    means = {name: moments.mean(name) for name in names}
    if len(names) > 1:
        label = "all others" if not others else " and ".join(names)
        means[label] = torch.stack(list(means.values())).mean(0)
    rest = torch.stack(list(means.values()))
    return [f"{target} against {name}" for name in means], own - rest, (own + rest) / 2
