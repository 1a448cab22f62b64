"""Measure how well each layer separates a language from the nearest other one, on held-out sentences."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Float, Int

from glossae import ranks
from glossae.errors import GlossaeError
from glossae.lm import (
    BATCH_TOKENS,
    LanguageModel,
    Site,
    TokenizedCorpus,
    batches,
    own_activations,
    require_finite,
)
from glossae.results import NearestLayer, Separation, divided

# the least sentences of a language, half of which are held out
LEAST_SENTENCES = 10
# scikit-learn's inverse strength of the L2 penalty, on standardised sentence means. There are more dimensions
# than sentences, so that without a penalty any split of the sentences could be separated
INVERSE_PENALTY = 0.1
SOLVER_STEPS = 1000
# bootstrap draws, and the tail probability that an interval leaves out
DRAWS, LEFT_OUT = 400, 0.05
# the most candidate layers
MOST_CANDIDATES = 4

Scores = Float[np.ndarray, " sentences"]
Chosen = Bool[np.ndarray, " sentences"]


def language_layers(
    lm: LanguageModel,
    tokens: TokenizedCorpus,
    *,
    site: str,
    target: str,
    seeds: int,
    seed: int,
    budget: int = BATCH_TOKENS,
    progress: Callable[[float], None] = lambda _: None,
) -> list[NearestLayer]:
    """Measure, for each layer, how well sentence means separate the target from its nearest other language.

    The model runs over the text once, and the mean activation of each sentence is kept, `(sentences, d)`
    float32 per layer. Each seed splits the pairs into halves, one to fit and one to test, so that translations
    stay together. Intervals are a Bayesian bootstrap over pairs (Rubin 1981) of the held-out sentences, with
    the fits held fixed.

    Args:
        tokens: sentences of one kind of text in the target and two or more other languages.
        progress: called with the finished share.

    Raises:
        GlossaeError: a language has fewer than `LEAST_SENTENCES` sentences, or the target is the only language.
    """
    found = [sentence.language for sentence in tokens.corpus.sentences]
    for language in (target, *tokens.corpus.languages):
        if found.count(language) < LEAST_SENTENCES:
            raise GlossaeError(
                f"layer: {found.count(language)} sentences of '{language}' are too few to compare layers by "
                f"(at least {LEAST_SENTENCES})"
            )
    if set(found) == {target}:
        raise GlossaeError(f"layer: there is no language besides '{target}' to compare layers by")
    means, counts = _sentence_means(lm, tokens, site, budget, lambda share: progress(0.5 * share))
    # a sentence of attention sinks only has no mean
    kept = np.flatnonzero(counts)
    sentences = [tokens.corpus.sentences[number] for number in kept]
    languages = np.array([sentence.language for sentence in sentences])
    pair = np.unique([sentence.pair for sentence in sentences], return_inverse=True)[1].reshape(-1)
    held_out = np.array([_held_out(languages, pair, [seed, number]) for number in range(seeds)])
    for language in np.unique(languages):
        halves = held_out[:, languages == language]
        if bool(halves.all(1).any()) or not bool(halves.any(1).all()):
            raise GlossaeError(
                f"layer: the sentences of '{language}' cannot be split in halves that share no pair; give more of them"
            )
    weights = np.random.default_rng([seed, seeds]).exponential(size=(DRAWS, int(pair.max()) + 1))[:, pair]

    def compared(layer: int) -> list[NearestLayer]:
        x = means[layer][kept].astype(np.float64)
        of_difference = [_difference(x, languages, target, ~out) for out in held_out]
        of_probe = [_probe(x, languages == target, ~out) for out in held_out]
        difference, probe = (
            _separation(scores, languages, target, held_out, weights) for scores in (of_difference, of_probe)
        )
        weaker = min(difference, probe, key=lambda method: method.auroc)
        progress(0.5 + 0.5 * (layer + 1) / lm.layers)
        return [
            NearestLayer(layer=layer, difference=difference, probe=probe, score=weaker.auroc, se=weaker.se)
        ]

    return divided(NearestLayer, "layers compared", range(lm.layers), compared)


def nearest_candidates(rows: Sequence[NearestLayer]) -> list[int]:
    """The layers whose score is within one standard error of the best, in ascending order.

    The standard error is the best layer's, over sentences. If there are more than `MOST_CANDIDATES`, the best
    is kept, and then, one at a time, the layer furthest from all those kept, so that they spread over the
    depth; of two equally far layers, the one with the better score, then the deeper one.
    """
    best = max(rows, key=lambda row: (row.score, row.difference.auroc + row.probe.auroc))
    rest = [row for row in rows if row is not best and row.score >= best.score - best.se]
    kept = [best.layer]
    while rest and len(kept) < MOST_CANDIDATES:
        furthest = max(
            rest, key=lambda row: (min(abs(row.layer - layer) for layer in kept), row.score, row.layer)
        )
        rest.remove(furthest)
        kept.append(furthest.layer)
    return sorted(kept)


def _sentence_means(
    lm: LanguageModel, tokens: TokenizedCorpus, site: str, budget: int, progress: Callable[[float], None]
) -> tuple[list[Float[np.ndarray, "sentences d"]], Int[np.ndarray, " sentences"]]:
    """The mean activation of each sentence at each layer, and the number of tokens that it averages."""
    sites = [Site(site, layer) for layer in range(lm.layers)]
    # every layer is more than is read again
    lm = replace(lm, passes=None)
    means = [np.zeros((len(tokens), lm.width(place)), dtype=np.float32) for place in sites]
    counts = np.zeros(len(tokens), dtype=np.int64)
    done = 0
    mine = ranks.mine(batches(tokens, budget))
    for part in require_finite(lm, own_activations(lm, mine, sites), tokens):
        # a batch has whole sentences
        numbers, row, lengths = part.sentence.unique(return_inverse=True, return_counts=True)
        index = numbers.cpu().numpy()
        counts[index] = lengths.cpu().numpy()
        for place, values in zip(sites, means, strict=True):
            x = part.sites[place].float()
            sums = x.new_zeros(len(numbers), x.shape[1]).index_add_(0, row, x)
            values[index] = (sums / lengths[:, None]).cpu().numpy()
        done += len(part.batch.index) * ranks.count()
        progress(min(1.0, done / len(tokens)))
    ranks.sum_arrays(f"means of {len(tokens)} sentences at {len(sites)} layers", *means, counts)
    return means, counts


def _held_out(languages: np.ndarray, pair: Int[np.ndarray, " sentences"], seed: Sequence[int]) -> Chosen:
    """Every second pair, in a random order that keeps pairs of the same languages together."""
    generator = np.random.default_rng(seed)
    makeup = np.array([",".join(sorted(languages[pair == n])) for n in range(int(pair.max()) + 1)])
    order = np.lexsort((generator.permutation(len(makeup)), makeup))
    return np.isin(pair, order[int(generator.integers(2)) :: 2])


def _difference(
    x: Float[np.ndarray, "sentences d"], languages: np.ndarray, target: str, fitted: Chosen
) -> Scores:
    """Every sentence's projection on the difference of means of the fitted ones."""
    means = {code: x[fitted & (languages == code)].mean(0) for code in np.unique(languages)}
    of_target = means.pop(target)
    scores: np.ndarray = x @ (of_target - np.mean(list(means.values()), axis=0))
    return scores


def _probe(x: Float[np.ndarray, "sentences d"], of_target: Chosen, fitted: Chosen) -> Scores:
    """Every sentence's score by a logistic regression on the fitted ones, with equal weight for both classes."""
    from sklearn.linear_model import LogisticRegression

    deviation = x[fitted].std(0)
    x = (x - x[fitted].mean(0)) / np.where(deviation > 0, deviation, 1.0)
    model = LogisticRegression(C=INVERSE_PENALTY, class_weight="balanced", max_iter=SOLVER_STEPS)
    scores: np.ndarray = model.fit(x[fitted], of_target[fitted]).decision_function(x)
    return scores


def _separation(
    scores: Sequence[Scores],
    languages: np.ndarray,
    target: str,
    held_out: Bool[np.ndarray, "seeds sentences"],
    weights: Float[np.ndarray, "draws sentences"],
) -> Separation:
    """The AUROCs of a score of the sentences by each seed's fit; `weights` are those of each bootstrap draw."""

    def above(code: str) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """For each seed, which held-out sentences of the target score above which of another language."""
        for values, out in zip(scores, held_out, strict=True):
            own, other = (np.flatnonzero(out & (languages == each)) for each in (target, code))
            mine, theirs = values[own, None], values[other]
            yield (mine > theirs) + 0.5 * (mine == theirs), own, other

    others = [str(code) for code in np.unique(languages) if code != target]
    by_seed = {code: [pairs.mean() for pairs, _, _ in above(code)] for code in others}
    by_language = {code: float(np.mean(found)) for code, found in by_seed.items()}
    nearest = min(others, key=lambda code: by_language[code])
    drawn, sizes = [], []
    for pairs, own, other in above(nearest):
        of_own, of_other = weights[:, own], weights[:, other]
        drawn.append(((of_own @ pairs) * of_other).sum(1) / (of_own.sum(1) * of_other.sum(1)))
        sizes.append(min(pairs.shape))
    auroc, m, seeds, draws = by_language[nearest], min(sizes), by_seed[nearest], np.mean(drawn, axis=0)
    low, high = np.quantile(draws, [LEFT_OUT / 2, 1 - LEFT_OUT / 2]).clip(0.0, 1.0)
    # if hardly any pair is in the wrong order, the bootstrap has hardly anything to draw
    end = (LEFT_OUT / 2) ** (1 / m)
    return Separation(
        nearest=nearest,
        auroc=auroc,
        se=max(float(draws.std(ddof=1)), 1 / (m + 2)),
        se_seeds=float(np.std(seeds, ddof=1) / np.sqrt(len(seeds))) if len(seeds) > 1 else None,
        low=min(float(low), end) if auroc > end else float(low),
        high=max(float(high), 1 - end) if auroc < 1 - end else float(high),
        by_language=by_language,
    )
