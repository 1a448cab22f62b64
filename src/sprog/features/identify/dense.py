"""The baselines that use no units: the whole activation at a site, and no language model at all."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from sprog.corpora import Corpus
from sprog.features.identify.evaluation import Identified, evaluate
from sprog.features.identify.ngrams import NgramModel
from sprog.features.identify.regression import Regression, check_halves
from sprog.lm import LanguageModel, Site, TokenizedCorpus, activations, batches, finite


def sentence_means(
    lm: LanguageModel, site: Site, tokens: TokenizedCorpus, *, budget: int = 4096
) -> Float[np.ndarray, "sentences d"]:
    """The mean activation at a site over each sentence's tokens, float32, one pass; no token's is kept.

    Args:
        budget: tokens in a batch; the result does not depend on it.

    Raises:
        SprogError: the model has no such site, or an activation is not finite.
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
    budget: int = 4096,
) -> Identified:
    """Tell languages apart by a regression on the mean activation of each sentence: what units can at best do.

    The regression is that of `identify_languages`, with every dimension of the site.

    Raises:
        SprogError: the halves share a pair; `held_out` has a language that `find` lacks; or there is too
            little text.
    """
    check_halves(_named(find.corpus), _named(held_out.corpus))
    languages, pairs = _columns(find.corpus)
    x = sentence_means(lm, site, find, budget=budget).astype(np.float64)
    regression = Regression.fit(x, languages, pairs, seed=seed)
    found = regression.identify(sentence_means(lm, site, held_out, budget=budget).astype(np.float64))
    truth, clusters = _columns(held_out.corpus)
    return replace(
        evaluate(truth, found, clusters, draws=draws, seed=seed),
        converged=regression.converged,
        strength=regression.strength,
    )


def identify_by_ngrams(
    find: Corpus, held_out: Corpus, *, order: int = 4, draws: int = 1000, seed: int = 0
) -> Identified:
    """Tell languages apart by n-grams of up to `order` characters: what takes no language model.

    A sentence without a letter is unanswered, and counts as wrong.

    Raises:
        SprogError: as for `identify_by_activations`, or the order is not one of 1 to 4.
    """
    check_halves(_named(find), _named(held_out))
    model = NgramModel.fit(*_texts(find), order=order)
    texts, truth = _texts(held_out)
    _, clusters = _columns(held_out)
    return evaluate(truth, model.identify(texts), clusters, draws=draws, seed=seed)


def _named(corpus: Corpus) -> list[tuple[str, str, str]]:
    return [(s.language, s.source, s.pair) for s in corpus.sentences]


def _texts(corpus: Corpus) -> tuple[list[str], list[str]]:
    return [s.text for s in corpus.sentences], [s.language for s in corpus.sentences]


def _columns(corpus: Corpus) -> tuple[np.ndarray, np.ndarray]:
    languages, pairs = ([getattr(s, name) for s in corpus.sentences] for name in ("language", "pair"))
    return np.array(languages, dtype=np.str_), np.array(pairs, dtype=np.str_)
