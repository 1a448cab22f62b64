"""Replay the optimisation of the paper's probes, beside the optimum that it was meant to find.

The paper (section 4.1.1) fits its probes by Adam with a learning rate of 1e-3 on batches of 32 sentences, with
every token, from the initial weights of a linear layer. The number of batches differs by model
(`paper_batches`). The loss of a batch is

    mean_i [ softplus(z_i) - y_i z_i ] + lambda * ||(w, b)||

on unscaled activations. Adam's steps have about the same length however small the gradient is, so a probe
whose optimum
is zero does not end there: it oscillates around it, and its sign still "classifies".

Differences from the paper's code: the text is the run's sample, repeated in new orders until there are enough
batches; the probes are tested on each seed's held-out sentences; weights and order are seeded.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from glossae.lm import LanguageModel
from glossae.probing import ProbeSample, StoredLayers, clustered_mean, rank_agreement, stored_layers
from glossae.results import AsCodedRow, Lambda, Result, divided

LEARNING_RATE = 1e-3
BATCH_SENTENCES = 32
# batches by model, from the paper's repository's metadata of its 1,200 probes; an epoch would be 2,070
BATCHES = {"pythia-14m": 329, "pythia-70m": 509, "pythia-160m": 544}
BATCHES |= dict.fromkeys(("pythia-410m", "pythia-1b", "pythia-1.4b", "pythia-2.8b"), 501)
# any other model gets as many as the model of the paper's main experiment
OTHER_MODELS = BATCHES["pythia-1.4b"]
# the fields that a row averages over seeds
_MEANS = ("accuracy", "accuracy_se", "bce", "norm", "optimum_norm", "critical_lambda", "constant")


def paper_batches(model: str) -> int:
    """The number of batches that the paper's code fits a model's probes on: 329 to 544.

    Args:
        model: a hub id, with or without `@REVISION`, or a folder. Its last part is compared with the paper's
            models; any other model gets the 501 batches of Pythia 1.4B.
    """
    # a revision may have slashes, and a folder above may have an @
    names = (PurePath(text).name.partition("@")[0].lower() for text in (model.partition("@")[0], model))
    return next((BATCHES[name] for name in names if name in BATCHES), OTHER_MODELS)


class AsCodedCell(Result):
    """One probe as the paper's code has it, and the optimum at the same lambda on the same tokens: see `AsCodedRow`."""

    model: str
    layer: int
    penalty: Lambda
    seed: int
    accuracy: float
    accuracy_se: float
    bce: float
    norm: float
    optimum_norm: float
    critical_lambda: float
    collapsed: bool
    """Whether the optimum is exactly zero, so that the accuracy is that of Adam's tremor around zero: well beyond the
    critical lambda it is noise, just beyond it the tremor still leans the way that the data do."""
    constant: float
    batches: int
    tokens: int
    """How many there were to fit."""
    protocol: str = "as_coded"


def replay_layers(
    lm: LanguageModel,
    sample: ProbeSample,
    *,
    site: str,
    reference: str,
    penalties: Sequence[float],
    seed: int = 0,
    budget: int = 1024,
    scratch: Path | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> list[AsCodedCell]:
    """Replay the paper's optimisation on every layer of a model, for every lambda and seed of the sample.

    Args:
        sample: the sentences, as for `probe_layers`.
        reference: the language whose y is 1.
        seed: of the initial weights, which differ by layer, lambda and seed of the sample, and of the order of
            sentences, which is common to all layers and lambdas.
        scratch: the folder for the activations of all layers; one layer at a time is in memory.
    """
    with stored_layers(
        lm,
        sample,
        site=site,
        reference=reference,
        budget=budget,
        scratch=scratch,
        progress=lambda share: progress(0.2 * share),
    ) as stored:
        orders = [
            list(_batches(stored, held_out, paper_batches(lm.name), np.random.default_rng([seed, fit])))
            for fit, held_out in enumerate(sample.held_out)
        ]

        def replayed(layer: int) -> list[AsCodedCell]:
            x, cells = stored.layers[layer]().float(), list[AsCodedCell]()
            path = stored.path(x, published=True)
            optima = path.solve([torch.full_like(path.critical_penalty, penalty) for penalty in penalties])
            for fit, order in enumerate(orders):
                generator = np.random.default_rng([seed, fit, layer])
                start = linear_start(x.shape[1], len(penalties), generator).to(x.device)
                beta = replay(x, stored.english, order, list(penalties), start)
                for place, (penalty, optimum) in enumerate(zip(penalties, optima, strict=True)):
                    tested = stored.held_out[:, fit]
                    logits = (x[tested] @ beta[place, :-1] + beta[place, -1]).double()
                    right = stored.english[tested]
                    accuracy, error = clustered_mean(((logits > 0) == right).double(), stored.cluster[tested])
                    losses = torch.nn.functional.softplus(torch.where(right, -logits, logits))
                    squares = optimum.weight[:, fit].square().sum() + optimum.bias[fit].square()
                    share = float(right.double().mean())
                    critical = float(path.critical_penalty[fit])
                    cells.append(
                        AsCodedCell(
                            model=lm.name,
                            layer=layer,
                            penalty=float(penalty),
                            seed=fit,
                            accuracy=accuracy,
                            accuracy_se=error,
                            bce=float(losses.mean()),
                            norm=float(beta[place].double().norm()),
                            optimum_norm=float(squares.sqrt()),
                            critical_lambda=critical,
                            collapsed=penalty >= critical,
                            constant=max(share, 1 - share),
                            batches=len(order),
                            tokens=int((~tested).sum()),
                        )
                    )
            progress(0.2 + 0.8 * (layer + 1) / len(stored.layers))
            return cells

        return divided(AsCodedCell, "the paper's probes", list(stored.layers), replayed)


def replay(
    x: Float[Tensor, "rows d"],
    english: Bool[Tensor, " rows"],
    batches: Sequence[Int[Tensor, " _"]],
    penalties: Sequence[float],
    start: Float[Tensor, "fits d_and_bias"],
) -> Float[Tensor, "fits d_and_bias"]:
    """Adam on the paper's loss, a probe for each lambda, all on the same batches.

    Args:
        batches: the rows of each batch: all tokens of its sentences.
        start: the initial weights, with the bias last.

    Returns:
        Weights and bias after the last batch.
    """
    beta = start.clone().requires_grad_()
    lambdas = torch.tensor(penalties, dtype=x.dtype, device=x.device)
    # Adam treats each number separately, so that probes side by side do not affect each other
    optimizer = torch.optim.Adam([beta], lr=LEARNING_RATE)
    for rows in batches:
        logits = torch.nn.functional.linear(x[rows], beta[:, :-1], beta[:, -1])
        y = english[rows, None].to(x.dtype).expand_as(logits)
        losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, y, reduction="none").mean(0)
        optimizer.zero_grad()
        (losses + lambdas * torch.linalg.vector_norm(beta, dim=1)).sum().backward()
        optimizer.step()
    return beta.detach()


def linear_start(d: int, fits: int, generator: np.random.Generator) -> Float[Tensor, "fits d_and_bias"]:
    """The initial weights and bias of `torch.nn.Linear(d, 1)`: uniform within 1 / sqrt(d) of zero."""
    bound = d**-0.5
    return torch.from_numpy(generator.uniform(-bound, bound, size=(fits, d + 1))).float()


def as_coded_table(cells: Sequence[AsCodedCell]) -> list[AsCodedRow]:
    """The replayed probe beside the optimum, by model, layer and lambda.

    If `collapsed`, a probe at its optimum has no information, and the excess of `accuracy_low` and
    `accuracy_high` over `constant` comes from the optimiser's oscillation.
    """
    together: dict[tuple[str, int, float], list[AsCodedCell]] = {}
    for cell in cells:
        together.setdefault((cell.model, cell.layer, cell.penalty), []).append(cell)

    rows = []
    for (model, layer, penalty), of in together.items():
        means = {name: float(np.mean([getattr(cell, name) for cell in of])) for name in _MEANS}
        accuracies = [cell.accuracy for cell in of]
        row = AsCodedRow(
            model=model,
            layer=layer,
            penalty=penalty,
            **means,
            accuracy_low=min(accuracies),
            accuracy_high=max(accuracies),
            collapsed=all(cell.collapsed for cell in of),
            batches=of[0].batches,
            seeds=len(of),
        )
        rows.append(row)
    return rows


def replay_agreement(cells: Sequence[AsCodedCell], penalty: float, seeds: int) -> float | None:
    """Whether seeds put the layers in the same order by the accuracy of the replayed probes: see `rank_agreement`."""
    at = [cell for cell in cells if cell.penalty == penalty]
    return rank_agreement(np.array([[c.accuracy for c in at if c.seed == seed] for seed in range(seeds)]))


def _batches(
    stored: StoredLayers, held_out: Bool[np.ndarray, " sentences"], count: int, generator: np.random.Generator
) -> Iterator[Int[Tensor, " batch"]]:
    """The rows of each of `count` batches: 32 fitted sentences, with all their tokens."""
    fitted = np.flatnonzero(~held_out)
    rounds = -(-count * BATCH_SENTENCES // len(fitted))
    order = np.concatenate([generator.permutation(fitted) for _ in range(rounds)])
    rows = torch.argsort(stored.sentence, stable=True)
    ends = torch.bincount(stored.sentence, minlength=len(held_out)).cumsum(0).tolist()
    starts = [0, *ends[:-1]]
    for number in range(count):
        batch = order[number * BATCH_SENTENCES : (number + 1) * BATCH_SENTENCES]
        yield torch.cat([rows[starts[sentence] : ends[sentence]] for sentence in batch])
