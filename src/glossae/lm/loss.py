"""Next-token loss, summed per sentence so that everything else can be computed from it."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from glossae.lm.batches import Batch, TokenizedCorpus, batches
from glossae.lm.model import LanguageModel
from glossae.lm.sites import Site

# logits held at once, in values: 64 Mi float32 values are 256 MiB
MAX_LOGITS = 2**26
# how many times as much a loss varies within sentences as their means do, in standard deviations
SPREAD = 4
# logits whose softmax is computed at once on a CPU: 2 MiB of float32 stay in its cache
SLAB = 2**19


def loss_batches(
    lm: LanguageModel, tokens: TokenizedCorpus, budget: int, *, copies: int = 1
) -> Iterator[Batch]:
    """Batches whose logits fit so many times: vocabularies are large, so that often fewer than `budget` tokens do."""
    fit = max(1, MAX_LOGITS // (copies * int(lm.model.get_output_embeddings().weight.shape[0])))
    if tokens.scored is None:
        return batches(tokens, min(budget, fit))
    return batches(tokens, budget, most=max(1, fit // tokens.scored))


def worth_scoring(lm: LanguageModel, site: Site, tokens: TokenizedCorpus) -> int:
    """How many tokens of each sentence to compute losses of, for the narrowest interval at a cost, when replaying.

    A sentence costs its tokens' pass through the blocks above the site, and each loss a pass through the unembedding.
    With s the ratio of a loss's standard deviation within sentences to that between them, s sqrt(c1 / c2) losses of
    a sentence are best, c1 what a sentence costs and c2 what a loss does (Cochran 1977, Sampling Techniques,
    equation 10.26); s is taken as `SPREAD`.
    """
    unembedding = lm.model.get_output_embeddings().weight.numel()
    embedding = lm.model.get_input_embeddings().weight
    whole = sum(p.numel() for p in lm.model.parameters() if p is not embedding)
    blocks = whole - (unembedding if lm.model.get_output_embeddings().weight is not embedding else 0)
    above = blocks * (lm.layers - site.layer) / lm.layers
    mean = float(tokens.lengths.mean()) if len(tokens) else 1.0
    return max(1, math.ceil(SPREAD * math.sqrt(mean * above / unembedding)))


@torch.no_grad()
def sentence_losses(
    lm: LanguageModel, tokens: TokenizedCorpus, *, budget: int = 1024
) -> Float[np.ndarray, " sentences"]:
    """The summed next-token cross-entropy of each sentence in nats, float64.

    Divide sums by sums of `tokens.predicted` for the mean per token, or by sums of
    `tokens.predicted_bytes` for the mean per byte. Run it inside `edit` for the edited model.
    """
    summed = np.zeros(len(tokens))
    for batch in loss_batches(lm, tokens, budget):
        summed[batch.index.numpy()] = batch_losses(lm, batch).cpu().numpy()
    return summed


def batch_losses(lm: LanguageModel, batch: Batch) -> Float[Tensor, " batch"]:
    """The summed next-token cross-entropy of each row in nats, float64."""
    return by_row(batch, token_losses(predicted_logits(lm, batch), targets(batch)))


def predicts(batch: Batch) -> Bool[Tensor, "batch seq"]:
    """The positions whose next token is one of the text, and its loss asked for."""
    # pads are on the right, so that is where the mask of the next position is
    real = torch.zeros_like(batch.mask)
    real[:, :-1] = _scored(batch)
    return real


def targets(batch: Batch) -> Int[Tensor, " predicted"]:
    """The tokens that are predicted, row by row."""
    return batch.ids[:, 1:][_scored(batch)]


def _scored(batch: Batch) -> Bool[Tensor, "batch rest"]:
    return (batch.content if batch.scored is None else batch.scored)[:, 1:]


def predicted_logits(lm: LanguageModel, batch: Batch) -> Float[Tensor, "predicted vocabulary"]:
    """The logits at the positions that `predicts` shows, row by row; the unembedding is computed there only."""
    ids, mask, real = batch.ids.to(lm.device), batch.mask.to(lm.device), predicts(batch)
    count = int(real.sum())

    def choose(_module: object, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        hidden, *rest = args
        # what is done to logits, such as a soft cap, is done to each by itself
        return (hidden[real.to(hidden.device)][None], *rest) if hidden.shape[:2] == real.shape else None

    handle = lm.model.get_output_embeddings().register_forward_pre_hook(choose)
    try:
        logits: Tensor = lm.model(input_ids=ids, attention_mask=mask.long(), use_cache=False).logits
    finally:
        handle.remove()
    return logits[0] if logits.shape[:2] == (1, count) else logits[real.to(logits.device)]


def token_losses(
    logits: Float[Tensor, "predicted vocabulary"], wanted: Int[Tensor, " predicted"]
) -> Float[Tensor, " predicted"]:
    """The cross-entropy of each predicted token in nats, float32; a softmax over all of them is never there at once."""
    wanted = wanted.to(logits.device)
    parts = [
        torch.nn.functional.cross_entropy(logits[rows].float(), wanted[rows], reduction="none")
        for rows in slabs(logits)
    ]
    return torch.cat(parts) if parts else logits.new_zeros(0, dtype=torch.float32)


def slabs(logits: Float[Tensor, "predicted vocabulary"]) -> Iterator[slice]:
    """Rows of logits, a few at a time."""
    step = max(1, (SLAB if logits.device.type == "cpu" else MAX_LOGITS) // logits.shape[1])
    for start in range(0, len(logits), step):
        yield slice(start, start + step)


def by_row(batch: Batch, values: Float[Tensor, " predicted"]) -> Float[Tensor, " batch"]:
    """Sums over the predicted tokens of each row, float64; scaled up to them where only some were asked for."""
    rows = predicts(batch).nonzero()[:, 0].to(values.device)
    # float64 sums: a sentence's loss must not depend on how many others stand beside it
    summed = torch.zeros(len(batch.ids), dtype=torch.float64, device=values.device)
    summed.index_add_(0, rows, values.double())
    if batch.scored is None:
        return summed
    predicted, scored = batch.content[:, 1:].sum(1).double(), _scored(batch).sum(1)
    return summed * (predicted / scored.clamp(min=1)).to(summed.device)
