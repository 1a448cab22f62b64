"""The baseline that uses no units: the whole activation at a site."""

import numpy as np
import torch
from jaxtyping import Float

from glossae.find.identify.evaluation import Identified
from glossae.find.identify.rows import Rows, identify_rows
from glossae.lm import LanguageModel, Site, TokenizedCorpus, activations, batches, finite


def sentence_means(
    lm: LanguageModel, site: Site, tokens: TokenizedCorpus, *, budget: int = 1024
) -> Float[np.ndarray, "sentences d"]:
    """The mean activation at a site over each sentence's tokens, float32, one pass; no token's is kept.

    Args:
        budget: tokens in a batch; the result does not depend on it.

    Raises:
        GlossaeError: the model has no such site, or an activation is not finite.
    """
    means: np.ndarray | None = None
    for part in finite(lm, activations(lm, batches(tokens, budget), [site]), tokens):
        x = part.sites[site].float()
        rows, place, counts = torch.unique(part.sentence, return_inverse=True, return_counts=True)
        sums = torch.zeros(len(rows), x.shape[1], device=x.device).index_add_(0, place, x)
        if means is None:
            means = np.zeros((len(tokens), x.shape[1]), dtype=np.float32)
        means[rows.cpu().numpy()] = (sums / counts[:, None]).cpu().numpy()
    return np.zeros((0, 0), dtype=np.float32) if means is None else means


def identify_by_activations(
    lm: LanguageModel,
    site: Site,
    find: TokenizedCorpus,
    held_out: TokenizedCorpus,
    *,
    draws: int = 1000,
    seed: int = 0,
    budget: int = 1024,
) -> Identified:
    """Tell languages apart by a regression on the mean activation of each sentence: what units can at best do.

    The regression is that of `identify_languages`, with every dimension of the site.

    Raises:
        GlossaeError: the halves share a pair; `held_out` has a language that `find` lacks; or there is too
            little text.
    """
    rows = [sentence_rows(lm, site, tokens, budget=budget) for tokens in (find, held_out)]
    return identify_rows(rows[0], rows[1:], draws=draws, seed=seed)[0]


def sentence_rows(lm: LanguageModel, site: Site, tokens: TokenizedCorpus, *, budget: int = 1024) -> Rows:
    """The mean activation of each sentence, for `identify_rows`.

    Raises:
        GlossaeError: as for `sentence_means`.
    """
    return Rows.of(sentence_means(lm, site, tokens, budget=budget), tokens.corpus)
