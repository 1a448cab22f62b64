"""Probe every layer of a model on a sample of sentences, in one pass, and choose a layer."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from glossae.errors import GlossaeError
from glossae.lm import BATCH_TOKENS, LanguageModel, Site, TokenizedCorpus, stored_activations
from glossae.probing.path import ProbePath
from glossae.results import ProbeCell, ProbeLayer, divided

# the share of the sampled sentences that each seed holds out
HELD_OUT = 0.2
# the layer choice uses this share of each layer's critical lambda, so that layers whose activations differ in
# scale are penalised alike
RULE_SHARE = 0.1


@dataclass(frozen=True)
class ProbeSample:
    """Sentences for probes, and each seed's split of them.

    Attributes:
        tokens: the sampled sentences.
        held_out: for each seed, which sentences are held out; the others are fitted.
    """

    tokens: TokenizedCorpus
    held_out: Bool[np.ndarray, "seeds sentences"]

    @property
    def seeds(self) -> int:
        """The number of splits."""
        return len(self.held_out)


def sample_sentences(
    tokens: TokenizedCorpus, languages: tuple[str, str], budget: int, *, seeds: int, seed: int
) -> ProbeSample:
    """Draw whole sentences until each language has half the budget, and the held-out sentences.

    Each seed fits about `budget` tokens and holds out a quarter as many; fewer if the text is short. Sentences
    of one document are held out together.

    Raises:
        GlossaeError: a language has fewer than 10 sentences, or too few documents to hold one out.
    """
    generator = np.random.default_rng(seed)
    of = np.array([sentence.language for sentence in tokens.corpus.sentences])
    chosen = []
    for language in languages:
        numbers = generator.permutation(np.flatnonzero(of == language))
        if len(numbers) < 10:
            raise GlossaeError(
                f"corpora.train: {len(numbers)} sentences of '{language}' are too few for a probe (at least 10)"
            )
        reached = np.cumsum(tokens.lengths[numbers])
        enough = int(np.searchsorted(reached, budget / 2 / (1 - HELD_OUT))) + 1
        chosen.append(numbers[:enough])
    sample = tokens.take(np.concatenate(chosen))
    held_out = np.zeros((seeds, len(sample)), dtype=bool)
    by_document = any(sentence.doc for sentence in sample.corpus.sentences)
    for row in held_out:
        if by_document:
            row[:] = _documents_held_out(sample, generator)
            continue
        start = 0
        for numbers in chosen:
            count = max(1, round(HELD_OUT * len(numbers)))
            row[start + generator.permutation(len(numbers))[:count]] = True
            start += len(numbers)
    return ProbeSample(sample, held_out)


def _documents_held_out(
    sample: TokenizedCorpus, generator: np.random.Generator
) -> Bool[np.ndarray, " sentences"]:
    """Draw whole clusters until each language has its share or the next one would leave nothing to fit on."""
    clusters = np.array(sample.corpus.clusters)
    spoken = np.array([sentence.language for sentence in sample.corpus.sentences])
    held_out = np.zeros(len(sample), dtype=bool)
    totals = {language: int((spoken == language).sum()) for language in sample.corpus.languages}
    numbers = dict.fromkeys(totals, 0)
    for cluster in generator.permutation(int(clusters.max()) + 1):
        own = np.flatnonzero(clusters == cluster)
        counts = {code: int((spoken[own] == code).sum()) for code in totals}
        lacking = any(counts[code] and numbers[code] < HELD_OUT * totals[code] for code in totals)
        if lacking and all(numbers[code] + counts[code] < totals[code] for code in totals):
            held_out[own] = True
            numbers = {code: numbers[code] + counts[code] for code in totals}
    if empty := [code for code, number in numbers.items() if not number]:
        raise GlossaeError(
            f"corpora.train: the documents of '{empty[0]}' are too few for a probe (at least 2, of which one is held "
            "out)"
        )
    return held_out


@dataclass(frozen=True)
class StoredLayers:
    """The activations of a sample at every layer; they exist inside the `with` block that made them.

    Attributes:
        layers: for each layer, a function that reads its activations, `(tokens, d)` in the model's dtype.
        sentence: the number of each token's sentence in the sample.
        cluster: the token's cluster: sentences of one document or pair are not independent draws
            (`Corpus.clusters`).
        english: whether each token is of the reference language: the paper's y.
        held_out: which tokens each seed holds out.
    """

    layers: dict[int, Callable[[], Tensor]]
    sentence: Int[Tensor, " tokens"]
    cluster: Int[Tensor, " tokens"]
    english: Bool[Tensor, " tokens"]
    held_out: Bool[Tensor, "tokens seeds"]

    def path(self, x: Float[Tensor, "tokens d"], *, published: bool) -> ProbePath:
        """Probes on a layer's activations, with one fit per seed on the tokens that it does not hold out.

        With `published` the bias is inside the norm, as in the paper's formula.
        """
        weights = (~self.held_out).double()
        return ProbePath(x, self.english.double(), weights / weights.sum(0), penalise_bias=published)


@contextmanager
def stored_layers(
    lm: LanguageModel,
    sample: ProbeSample,
    *,
    site: str,
    reference: str,
    budget: int,
    scratch: Path | None,
    progress: Callable[[float], None],
) -> Iterator[StoredLayers]:
    """Run the model once over a sample, and keep every layer's activations on disk inside the block.

    Args:
        reference: the language whose y is 1.
        scratch: the folder for the activations.
        progress: called with the finished share of the pass.
    """
    sites = [Site(site, layer) for layer in range(lm.layers)]
    corpus = sample.tokens.corpus
    with stored_activations(lm, sample.tokens, sites, scratch, budget=budget, progress=progress) as stored:
        sentence = stored.sentence

        def of_tokens(values: Tensor) -> Tensor:
            return values.to(sentence.device)[sentence]

        yield StoredLayers(
            layers={place.layer: partial(stored.read, place) for place in sites},
            sentence=sentence,
            cluster=of_tokens(torch.tensor(corpus.clusters)),
            english=of_tokens(torch.tensor([s.language == reference for s in corpus.sentences])),
            held_out=of_tokens(torch.from_numpy(sample.held_out).T),
        )


def probe_layers(
    lm: LanguageModel,
    sample: ProbeSample,
    *,
    site: str,
    reference: str,
    penalties: Sequence[float],
    published: bool = False,
    budget: int = BATCH_TOKENS,
    scratch: Path | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> list[ProbeCell]:
    """Probe every layer of a model at one site name.

    y is 1 for `reference` (English) and 0 otherwise, as in the paper.

    Args:
        published: use the paper's setting for the grid: raw activations, and the bias inside the norm.
            Otherwise activations are standardised and the bias is free, as they always are in the layer choice's cells.
        scratch: the folder for the activations of all layers; one layer at a time is in memory.
    """
    with stored_layers(
        lm,
        sample,
        site=site,
        reference=reference,
        budget=budget,
        scratch=scratch,
        progress=lambda share: progress(0.3 * share),
    ) as stored:

        def probed(layer: int) -> list[ProbeCell]:
            x, cells = stored.layers[layer]().float(), list[ProbeCell]()
            if published:
                cells += _cells(lm.name, layer, stored.path(x, published=True), penalties, stored)
            # in place: mean 0 and variance 1, and a constant activation becomes 0
            x -= x.mean(0)
            deviation = x.square().mean(0).sqrt()
            x /= torch.where(deviation > 0, deviation, torch.ones_like(deviation))
            path = stored.path(x, published=False)
            cells += _cells(lm.name, layer, path, () if published else penalties, stored)
            progress(0.3 + 0.7 * (layer + 1) / len(stored.layers))
            return cells

        return divided(ProbeCell, "probes", list(stored.layers), probed)


def _cells(
    model: str, layer: int, path: ProbePath, penalties: Sequence[float], stored: StoredLayers
) -> list[ProbeCell]:
    """A cell for each lambda and seed; on standardised activations (with a free bias) also the layer choice's."""
    critical, standardised = path.critical_penalty, not path.penalise_bias
    grid = [torch.full_like(critical, penalty) for penalty in penalties]
    if standardised:
        grid.append(RULE_SHARE * critical)
    cells = []
    for number, solution in enumerate(path.solve(grid)):
        for fit, tested in enumerate(stored.held_out.T):
            logits, right = solution.logits[tested, fit], stored.english[tested]
            losses = torch.nn.functional.softplus(torch.where(right, -logits, logits))
            accuracy, accuracy_se = clustered_mean(((logits > 0) == right).double(), stored.cluster[tested])
            bce, bce_se = clustered_mean(losses, stored.cluster[tested])
            squares = solution.weight[:, fit].square().sum()
            if path.penalise_bias:
                squares = squares + solution.bias[fit].square()
            cells.append(
                ProbeCell(
                    model=model,
                    layer=layer,
                    penalty=float(solution.penalty[fit]),
                    seed=fit,
                    accuracy=accuracy,
                    accuracy_se=accuracy_se,
                    bce=bce,
                    bce_se=bce_se,
                    norm=float(squares.sqrt()),
                    collapsed=not bool(solution.weight[:, fit].any()),
                    critical_lambda=float(critical[fit]),
                    tokens=int((~tested).sum()),
                    standardised=standardised,
                    subgradient=float(solution.subgradient[fit]),
                    rule=standardised and number == len(penalties),
                )
            )
    return cells


def clustered_mean(values: Float[Tensor, " rows"], cluster: Int[Tensor, " rows"]) -> tuple[float, float]:
    """The mean over rows, and its standard error if whole clusters (sentences, or documents) were drawn."""
    _, number = cluster.unique(return_inverse=True)
    count = int(number.max()) + 1
    sizes = torch.zeros(count, dtype=torch.float64, device=values.device)
    sums = torch.zeros_like(sizes)
    sizes.index_add_(0, number, torch.ones_like(values))
    sums.index_add_(0, number, values)
    mean = values.mean()
    if count < 2:
        return float(mean), 0.0
    spread = (sums - mean * sizes).square().sum() * count / (count - 1)
    return float(mean), float(spread.sqrt() / sizes.sum())


class LayerChoice(NamedTuple):
    """The layer choice, and the scores behind it.

    Attributes:
        layers: one score per layer.
        best: the chosen layer.
        agreement: whether seeds rank the layers alike; see `rank_agreement`.
    """

    layers: list[ProbeLayer]
    best: int
    agreement: float | None


def choose_layer(cells: Sequence[ProbeCell]) -> LayerChoice:
    """The earliest layer whose standardised held-out BCE is within one standard error of the best.

    Uses the layer choice's cells of one model, each at 0.1 times its own critical lambda. The standard error is the
    best layer's, over sentences.
    """
    rows: list[ProbeLayer] = []
    by_seed: dict[int, list[float]] = {}
    for layer in sorted({cell.layer for cell in cells if cell.rule}):
        seeds = [cell for cell in cells if cell.layer == layer and cell.rule]
        for cell in seeds:
            by_seed.setdefault(cell.seed, []).append(cell.bce)
        losses = [cell.bce for cell in seeds]
        rows.append(
            ProbeLayer(
                model=cells[0].model,
                layer=layer,
                bce=float(np.mean(losses)),
                bce_se=float(np.mean([cell.bce_se for cell in seeds])),
                bce_sd=float(np.std(losses, ddof=1)) if len(losses) > 1 else None,
                critical_lambda=float(np.mean([cell.critical_lambda for cell in seeds])),
            )
        )
    best = min(rows, key=lambda row: row.bce)
    whole = [losses for losses in by_seed.values() if len(losses) == len(rows)]
    return LayerChoice(
        rows,
        best=next(row.layer for row in rows if row.bce <= best.bce + best.bce_se),
        agreement=rank_agreement(np.reshape(whole, (-1, len(rows)))),
    )


def rank_agreement(scores: Float[np.ndarray, "seeds layers"]) -> float | None:
    """Spearman's rank correlation of two seeds' scores by layer, averaged over the pairs of seeds.

    Ties share the mean of their ranks. A seed that scores every layer alike has no ranking, and its pairs are
    left out.

    Returns:
        The mean, between -1 and 1; None if no pair of seeds has two rankings to compare.
    """
    from scipy.stats import rankdata

    ranks = rankdata(scores, axis=1)
    ordered = [row - row.mean() for row in ranks if np.ptp(row) > 0]
    found = [float(a @ b / np.sqrt((a @ a) * (b @ b))) for a, b in combinations(ordered, 2)]
    return float(np.mean(found)) if found else None
