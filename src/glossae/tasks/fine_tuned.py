"""Fine-tune the model on a task with the edit in place, as the paper's text says: LoRA and a linear head."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import nn

from glossae import meter, ranks
from glossae.corpora import Task
from glossae.effects import Edit, apply_edit
from glossae.environment import install
from glossae.errors import GlossaeError
from glossae.lm import (
    MAX_TOKENS,
    LanguageModel,
    Site,
    TokenizedCorpus,
    batches,
    final_states,
    mean_over_text,
    sentence_batches,
)
from glossae.results import TaskScore
from glossae.sae import Sae
from glossae.tasks.controlled import CONTROLLED, encode_texts
from glossae.tasks.scoring import bases, by_bootstrap, divide, score_rows, task_set
from glossae.units import Units


@dataclass(frozen=True)
class Tuning:
    """The settings of fine-tuning.

    Attributes:
        rank: of the matrices added to every linear map of the blocks (Hu et al. 2021, *LoRA*); their factor is
            `2 * rank / rank`, so that the rank changes little else.
        epochs: passes over the training rows.
        lr: AdamW's initial learning rate; it falls linearly to zero.
        batch_rows: rows per step.
        seeds: trainings of each arm, with different initial weights and orders of the rows.
    """

    rank: int = 8
    epochs: int = 3
    lr: float = 1e-3
    batch_rows: int = 32
    seeds: int = 3


def fine_tuned(
    lm: LanguageModel,
    site: Site,
    units: Sae | Units,
    task: Task,
    edits: Sequence[Edit],
    *,
    tuning: Tuning | None = None,
    name: str = "",
    rows: int = 4000,
    draws: int = 1000,
    seed: int = 0,
    max_tokens: int = MAX_TOKENS,
    prefix: Sequence[int] = (),
    budget: int = 1024,
    progress: Callable[[float], None] = lambda _: None,
) -> list[TaskScore]:
    """Fine-tune the model on a task and test it, under each edit and without.

    The trained weights are a linear head on the mean final state over a text's tokens, and low-rank matrices
    beside every linear map of the blocks; the model is restored afterwards. For each seed, every arm starts
    from the same matrices and sees the same batches. Intervals resample pairs of test rows, and seeds. For a
    task without test rows, a fifth of its rows is split off once.

    Args:
        site: the site of the edits, in training and in the test.
        edits: each is an arm, besides the unedited model and, if an edit is spliced, the splice without an
            edit.
        rows: the most rows, for training and testing in all.
        prefix: the tokens before each text, such as `lm.prefix`; they are not in the mean.

    Raises:
        GlossaeError: `peft` is not installed, an edit does not fit, or there are too few rows of a label.
    """
    peft_library()
    tuning = tuning or Tuning()
    own = task_set(units, edits, name)
    division = divide(task, rows=rows, seed=seed, splits=1)
    ((learned, tried),) = division.splits
    tokens = encode_texts(lm, division.rows, task=task, max_tokens=max_tokens, prefix=prefix)
    train, test = tokens.take(learned), tokens.take(tried)
    labels = torch.from_numpy(division.labels[learned]).to(lm.device)

    def tuned(done: int) -> list[int]:
        step, run = own.sweep[done // tuning.seeds], done % tuning.seeds

        def told(share: float) -> None:
            progress((done + share) / (len(own.sweep) * tuning.seeds))

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + run)
            with lora_adapters(lm, tuning.rank) as weights:
                width = lm.model.config.get_text_config().hidden_size
                head = nn.Linear(width, len(task.labels)).to(lm.device)
                with apply_edit(lm, site, step.units, step.edit):
                    _train(lm, weights, head, train, labels, tuning, seed + run, told)
                    found: list[int] = _predicted(lm, head, test, budget).tolist()
        return found

    every = ranks.each("fine-tuned models", range(len(own.sweep) * tuning.seeds), tuned)
    predicted = np.array(every, dtype=np.int64).reshape(len(own.sweep), tuning.seeds, len(tried))
    truth, groups = division.labels[tried], division.groups[tried].astype(str).tolist()
    result: list[TaskScore] = []
    for metric in CONTROLLED:
        compared = by_bootstrap(
            truth,
            predicted,
            groups,
            bases(own.sweep),
            metric,
            labels=len(task.labels),
            draws=draws,
            seed=seed,
        )
        result += score_rows(
            task,
            [own],
            compared,
            protocol="fine_tuned",
            metric=metric,
            n_train=len(learned),
            n_test=len(tried),
            seeds=tuning.seeds,
        )
    return result


def peft_library() -> Any:
    """The package peft.

    Raises:
        GlossaeError: it is missing.
    """
    try:
        import peft
    except ImportError as error:
        raise GlossaeError(
            f"tasks.finetune: needs the package peft ({error}): {install('tasks')}, or pip install peft"
        ) from error
    return peft


@contextlib.contextmanager
def lora_adapters(lm: LanguageModel, rank: int) -> Iterator[list[nn.Parameter]]:
    """Add low-rank matrices to every linear map of the model's blocks inside the block.

    Yields:
        The matrices, the only weights that learn. Afterwards the model's own modules are back in place.
    """
    peft = peft_library()
    learning = [(weight, weight.requires_grad) for weight in lm.model.parameters()]
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear")
    with warnings.catch_warnings():
        # GPT-2 stores linear maps transposed, which peft detects and warns about
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")
        wrapped = peft.LoraModel(lm.model, config, "glossae")
    try:
        weights = [weight for weight in wrapped.parameters() if weight.requires_grad]
        for weight in weights:
            # the model may be in half precision; the trained weights are float32
            weight.data = weight.data.float()
        yield weights
    finally:
        wrapped.unload()
        for weight, learns in learning:
            weight.requires_grad_(learns)


def _train(
    lm: LanguageModel,
    weights: list[nn.Parameter],
    head: nn.Linear,
    train: TokenizedCorpus,
    labels: Int[torch.Tensor, " rows"],
    tuning: Tuning,
    seed: int,
    progress: Callable[[float], None],
) -> None:
    steps = tuning.epochs * -(-len(train) // tuning.batch_rows)
    optimiser = torch.optim.AdamW([*weights, *head.parameters()], lr=tuning.lr)
    falling = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / steps)
    done = 0
    for epoch in range(tuning.epochs):
        for batch in sentence_batches(train, tuning.batch_rows, seed=seed * tuning.epochs + epoch):
            logits = head(mean_over_text(batch, final_states(lm, batch)))
            loss = nn.functional.cross_entropy(logits, labels[batch.index.to(labels.device)])
            if not torch.isfinite(loss):
                raise GlossaeError(
                    "tasks.finetune: the loss is not finite: training diverges; lower Tuning.lr"
                )
            optimiser.zero_grad()
            loss.backward()
            # to the activations: the model's own weights do not learn
            meter.count(model_flops=lm.flops(batch.mask.sum(1), lm.layers))
            optimiser.step()
            falling.step()
            done += 1
            progress(done / steps)


@torch.no_grad()
def _predicted(
    lm: LanguageModel, head: nn.Linear, test: TokenizedCorpus, budget: int
) -> Int[np.ndarray, " test"]:
    predicted = np.empty(len(test), dtype=np.int64)
    for batch in batches(test, budget):
        logits = head(mean_over_text(batch, final_states(lm, batch)))
        predicted[batch.index.numpy()] = logits.argmax(1).cpu().numpy()
    return predicted
