"""Probes on every layer of a model: one pass of the model, then a layer at a time."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sprog.lm import LanguageModel, Site, activations, batches, finite
from sprog.probe.path import ProbePath, Solution
from sprog.probe.sample import ProbeSample

# the layer rule looks at this share of each layer's critical lambda, so that layers whose activations
# differ in scale are penalised alike
RULE_SHARE = 0.1


@dataclass(frozen=True)
class ProbeCell:
    """One probe: a model's layer, a lambda and a seed, tested on held-out sentences.

    Attributes:
        accuracy: share of held-out tokens on the right side of 0.5. Noise where `norm` is 0.
        accuracy_se: its standard error, sentences being the units of sampling.
        bce: mean held-out binary cross-entropy in nats per token.
        bce_se: its standard error, likewise.
        norm: of the weights (with the bias where the bias is penalised).
        critical_lambda: from here on this fit's optimum is exactly zero.
        tokens: how many tokens were fitted.
        standardised: whether activations had mean 0 and variance 1.
        subgradient: how far from optimal (norm of the smallest subgradient).
        rule: whether this is the extra lambda that the layer rule looks at, not one of the grid.
    """

    model: str
    layer: int
    penalty: float
    seed: int
    accuracy: float
    accuracy_se: float
    bce: float
    bce_se: float
    norm: float
    critical_lambda: float
    tokens: int
    standardised: bool
    subgradient: float
    rule: bool


def probe_layers(
    lm: LanguageModel,
    sample: ProbeSample,
    *,
    site: str,
    reference: str,
    penalties: Sequence[float],
    published: bool = False,
    budget: int = 4096,
    scratch: Path | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> list[ProbeCell]:
    """Probe every layer of a model at one site name.

    y is 1 for `reference` (English) and 0 otherwise, as in the paper.

    Args:
        published: the paper's setting for the grid: raw activations, and the bias inside the norm.
            Otherwise activations are standardised and the bias is free. The rule's cells are always the
            latter.
        scratch: where the activations of all layers wait on disk, a layer in memory at a time.
    """
    sites = [Site(site, layer) for layer in range(lm.layers)]
    cells: list[ProbeCell] = []
    with TemporaryDirectory(dir=scratch, prefix=".activations-") as folder:
        stored, sentence = _collect(lm, sample, sites, Path(folder), budget, lambda x: progress(0.3 * x))
        language = [s.language for s in sample.tokens.corpus.sentences]
        english = torch.tensor([code == reference for code in language])[sentence.cpu()].to(sentence.device)
        held_out = torch.from_numpy(sample.held_out).T.to(sentence.device)[sentence]
        for number, (place, read) in enumerate(stored.items()):
            x = read().float()
            if published:
                path = _path(x, english, held_out, published=True)
                cells += _cells(
                    lm.name, place.layer, path, _grid(path, penalties), held_out, english, sentence, False
                )
            path = _path(_standardise(x), english, held_out, published=False)
            grid = [] if published else _grid(path, penalties)
            rule = [RULE_SHARE * path.critical_penalty]
            cells += _cells(lm.name, place.layer, path, grid + rule, held_out, english, sentence, True)
            progress(0.3 + 0.7 * (number + 1) / len(stored))
    return cells


@dataclass(frozen=True)
class LayerChoice:
    """What the layer rule saw: each layer's mean over seeds, and the choice."""

    layers: list[tuple[int, float, float]]
    best: int


def choose_layer(cells: Sequence[ProbeCell]) -> LayerChoice:
    """The earliest layer whose standardised held-out BCE is within one standard error of the best.

    Looks at the rule's cells of one model, each at 0.1 times its own critical lambda. The standard error
    is the best layer's, over sentences.
    """
    rows = []
    for layer in sorted({cell.layer for cell in cells}):
        seeds = [cell for cell in cells if cell.layer == layer and cell.rule]
        rows.append(
            (layer, float(np.mean([c.bce for c in seeds])), float(np.mean([c.bce_se for c in seeds])))
        )
    _, best, error = min(rows, key=lambda row: row[1])
    return LayerChoice(rows, next(layer for layer, bce, _ in rows if bce <= best + error))


def _collect(
    lm: LanguageModel,
    sample: ProbeSample,
    sites: Sequence[Site],
    folder: Path,
    budget: int,
    progress: Callable[[float], None],
) -> tuple[dict[Site, Callable[[], Tensor]], Int[Tensor, " tokens"]]:
    """One pass: every site's activations to disk in the model's own dtype, and each token's sentence."""
    rows = int(sample.tokens.lengths.sum())
    dtype = lm.model.dtype

    def read(site: Site) -> Tensor:
        size = rows * lm.width(site)
        stored = torch.from_file(str(folder / f"{site.layer}"), size=size, dtype=dtype)
        return stored.view(rows, -1).to(lm.device)

    sentence = torch.empty(rows, dtype=torch.int64, device=lm.device)
    start = 0
    with ExitStack() as stack:
        # written, not mapped: a mapping of every layer would count as this process's memory
        files = {site: stack.enter_context((folder / f"{site.layer}").open("wb")) for site in sites}
        for part in finite(lm, activations(lm, batches(sample.tokens, budget, seed=0), sites), sample.tokens):
            end = start + len(part.sentence)
            sentence[start:end] = part.sentence
            for site, file in files.items():
                # as bytes: numpy has no bfloat16
                file.write(part.sites[site].cpu().contiguous().view(torch.uint8).numpy().data)
            start = end
            progress(end / rows)
    return {site: partial(read, site) for site in sites}, sentence


def _standardise(x: Float[Tensor, "rows d"]) -> Float[Tensor, "rows d"]:
    """Mean 0 and variance 1 in place; a constant activation becomes 0."""
    x -= x.mean(0)
    deviation = x.square().mean(0).sqrt()
    x /= torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    return x


def _path(
    x: Float[Tensor, "rows d"],
    english: Bool[Tensor, " rows"],
    held_out: Bool[Tensor, "rows fits"],
    *,
    published: bool,
) -> ProbePath:
    weights = (~held_out).double()
    return ProbePath(x, english.double(), weights / weights.sum(0), penalise_bias=published)


def _grid(path: ProbePath, penalties: Sequence[float]) -> list[Float[Tensor, " fits"]]:
    return [torch.full_like(path.critical_penalty, penalty) for penalty in penalties]


def _cells(
    model: str,
    layer: int,
    path: ProbePath,
    penalties: list[Float[Tensor, " fits"]],
    held_out: Bool[Tensor, "rows fits"],
    english: Bool[Tensor, " rows"],
    sentence: Int[Tensor, " rows"],
    standardised: bool,
) -> list[ProbeCell]:
    cells = []
    for number, solution in enumerate(path.solve(penalties)):
        rule = standardised and number == len(penalties) - 1
        for fit in range(held_out.shape[1]):
            tested = held_out[:, fit]
            logits, right = solution.logits[tested, fit], english[tested]
            accuracy, accuracy_se = _clustered_mean(((logits > 0) == right).double(), sentence[tested])
            bce, bce_se = _clustered_mean(
                torch.nn.functional.softplus(torch.where(right, -logits, logits)), sentence[tested]
            )
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
                    norm=_norm(solution, fit, path.penalise_bias),
                    critical_lambda=float(path.critical_penalty[fit]),
                    tokens=int((~tested).sum()),
                    standardised=standardised,
                    subgradient=float(solution.subgradient[fit]),
                    rule=rule,
                )
            )
    return cells


def _norm(solution: Solution, fit: int, with_bias: bool) -> float:
    squares = solution.weight[:, fit].square().sum()
    return float((squares + solution.bias[fit].square() if with_bias else squares).sqrt())


def _clustered_mean(values: Float[Tensor, " rows"], cluster: Int[Tensor, " rows"]) -> tuple[float, float]:
    """The mean over rows, and its standard error when whole clusters (sentences) were drawn."""
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
