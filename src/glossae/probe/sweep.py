"""Probes on every layer of a model: one pass of the model, then a layer at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from glossae.lm import LanguageModel
from glossae.probe.agreement import rank_agreement
from glossae.probe.clustered import clustered_mean
from glossae.probe.path import ProbePath, Solution
from glossae.probe.sample import ProbeSample
from glossae.probe.stored import StoredLayers, stored_layers

# the layer rule looks at this share of each layer's critical lambda, so that layers whose activations
# differ in scale are penalised alike
RULE_SHARE = 0.1


@dataclass(frozen=True)
class ProbeCell:
    """One probe: a model's layer, a lambda and a seed, tested on held-out sentences.

    Attributes:
        accuracy: share of held-out tokens on the right side of 0.5. Noise where `collapsed`.
        accuracy_se: its standard error, sentences being the units of sampling.
        bce: mean held-out binary cross-entropy in nats per token.
        bce_se: its standard error, likewise.
        norm: of the weights (with the bias where the bias is penalised).
        collapsed: whether the optimum has no weights, so that the accuracy is noise.
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
    collapsed: bool
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
    budget: int = 1024,
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
    cells: list[ProbeCell] = []
    with stored_layers(
        lm,
        sample,
        site=site,
        reference=reference,
        budget=budget,
        scratch=scratch,
        progress=lambda share: progress(0.3 * share),
    ) as stored:
        for number, (layer, read) in enumerate(stored.layers.items()):
            x = read().float()
            if published:
                path = stored.path(x, published=True)
                cells += _cells(lm.name, layer, path, _grid(path, penalties), stored, standardised=False)
            path = stored.path(_standardise(x), published=False)
            grid = [] if published else _grid(path, penalties)
            rule = [RULE_SHARE * path.critical_penalty]
            cells += _cells(lm.name, layer, path, grid + rule, stored, standardised=True)
            progress(0.3 + 0.7 * (number + 1) / len(stored.layers))
    return cells


class LayerScore(NamedTuple):
    """What the layer rule saw of one layer: means over seeds at 0.1 times the critical lambda.

    Attributes:
        layer: its number.
        bce: held-out binary cross-entropy in nats per token.
        bce_se: its standard error over sentences.
        bce_sd: how far seeds differ: the standard deviation over them; None with a single one.
        critical_lambda: from here on there are no weights.
    """

    layer: int
    bce: float
    bce_se: float
    bce_sd: float | None
    critical_lambda: float


@dataclass(frozen=True)
class LayerChoice:
    """What the layer rule saw, and the choice.

    Attributes:
        layers: a score for each.
        best: the layer that the rule points to.
        agreement: whether seeds put the layers in the same order: see `rank_agreement`.
    """

    layers: list[LayerScore]
    best: int
    agreement: float | None


def choose_layer(cells: Sequence[ProbeCell]) -> LayerChoice:
    """The earliest layer whose standardised held-out BCE is within one standard error of the best.

    Looks at the rule's cells of one model, each at 0.1 times its own critical lambda. The standard error
    is the best layer's, over sentences.
    """
    rows: list[LayerScore] = []
    by_seed: dict[int, list[float]] = {}
    for layer in sorted({cell.layer for cell in cells if cell.rule}):
        seeds = [cell for cell in cells if cell.layer == layer and cell.rule]
        losses = [cell.bce for cell in seeds]
        for cell in seeds:
            by_seed.setdefault(cell.seed, []).append(cell.bce)
        rows.append(
            LayerScore(
                layer,
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


def _standardise(x: Float[Tensor, "rows d"]) -> Float[Tensor, "rows d"]:
    """Mean 0 and variance 1 in place; a constant activation becomes 0."""
    x -= x.mean(0)
    deviation = x.square().mean(0).sqrt()
    x /= torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    return x


def _grid(path: ProbePath, penalties: Sequence[float]) -> list[Float[Tensor, " fits"]]:
    return [torch.full_like(path.critical_penalty, penalty) for penalty in penalties]


def _cells(
    model: str,
    layer: int,
    path: ProbePath,
    penalties: list[Float[Tensor, " fits"]],
    stored: StoredLayers,
    *,
    standardised: bool,
) -> list[ProbeCell]:
    cells = []
    held_out, english, cluster = stored.held_out, stored.english, stored.cluster
    for number, solution in enumerate(path.solve(penalties)):
        rule = standardised and number == len(penalties) - 1
        for fit in range(held_out.shape[1]):
            tested = held_out[:, fit]
            logits, right = solution.logits[tested, fit], english[tested]
            accuracy, accuracy_se = clustered_mean(((logits > 0) == right).double(), cluster[tested])
            bce, bce_se = clustered_mean(
                torch.nn.functional.softplus(torch.where(right, -logits, logits)), cluster[tested]
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
                    collapsed=not bool(solution.weight[:, fit].any()),
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
