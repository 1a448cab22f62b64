"""A model's next-token losses by sentence, their gradient at a site, and its final hidden states."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from glossae import meter, ranks
from glossae.lm.batches import BATCH_TOKENS, Batch, TokenizedCorpus, batches
from glossae.lm.model import LanguageModel
from glossae.lm.sites import Activation, Site, attach_all

# logits held at once, in values: 64 Mi float32 values are 256 MiB
MAX_LOGITS = 2**26
# standard deviation of a loss within sentences, relative to that of sentence means
SPREAD = 4
# logits whose softmax is computed at once on a CPU: 2 MiB of float32 stay in its cache
SLAB = 2**19
# a gradient holds the logits, their float32 copy, the softmax and the gradient at once
GRADIENT_COPIES = 4

Logits = Float[Tensor, "predicted vocabulary"]
States = Float[Tensor, "batch seq d"]


def loss_batches(
    lm: LanguageModel, tokens: TokenizedCorpus, budget: int, *, copies: int = 1
) -> Iterator[Batch]:
    """Batches small enough to hold their logits `copies` times: for a large vocabulary, fewer than `budget` tokens."""
    fit = max(1, MAX_LOGITS // (copies * int(lm.model.get_output_embeddings().weight.shape[0])))
    if tokens.scored is None:
        return batches(tokens, min(budget, fit))
    return batches(tokens, budget, most=max(1, fit // tokens.scored))


def tokens_to_score(lm: LanguageModel, site: Site, tokens: TokenizedCorpus) -> int:
    """How many tokens of each sentence to compute losses at, for the narrowest interval at a given cost of replay.

    A sentence costs its tokens' pass through the blocks above the site, and each loss a pass through the
    unembedding. The best number is s sqrt(c1 / c2): s is the ratio of a loss's standard deviation within
    sentences to that between them, taken as `SPREAD`; c1 is the cost of a sentence, c2 that of a loss (Cochran
    1977, Sampling Techniques, equation 10.26).
    """
    unembedding = lm.model.get_output_embeddings().weight
    embedding = lm.model.get_input_embeddings().weight
    whole = sum(p.numel() for p in lm.model.parameters() if p is not embedding)
    blocks = whole - (unembedding.numel() if unembedding is not embedding else 0)
    above = blocks * (lm.layers - site.layer) / lm.layers
    mean = float(tokens.lengths.mean()) if len(tokens) else 1.0
    return max(1, math.ceil(SPREAD * math.sqrt(mean * above / unembedding.numel())))


@torch.no_grad()
def sentence_losses(
    lm: LanguageModel, tokens: TokenizedCorpus, *, budget: int = BATCH_TOKENS
) -> Float[np.ndarray, " sentences"]:
    """The summed next-token cross-entropy of each sentence in nats, float64.

    Divide sums by sums of `tokens.predicted` for the mean per token, or by sums of `tokens.predicted_bytes`
    for the mean per byte. Run it inside `edit` for the edited model. In joint work (`glossae.ranks`), each rank runs
    its own batches.
    """
    summed = np.zeros(len(tokens))
    for batch in ranks.mine(loss_batches(lm, tokens, budget)):
        summed[batch.index.numpy()] = row_losses(batch, predicted_logits(lm, batch)).cpu().numpy()
    ranks.sum_arrays(f"losses of {len(tokens)} sentences", summed)
    return summed


def row_losses(batch: Batch, logits: Logits) -> Float[Tensor, " batch"]:
    """The summed next-token cross-entropy of each row in nats, float64."""
    return by_row(batch, token_losses(batch, logits))


def predicts(batch: Batch) -> Bool[Tensor, "batch seq"]:
    """The positions whose next token is a token of the text with its loss asked for."""
    # pads are on the right, so the mask of the next position decides
    real = torch.zeros_like(batch.mask)
    real[:, :-1] = _scored(batch)
    return real


def _scored(batch: Batch) -> Bool[Tensor, "batch rest"]:
    return (batch.content if batch.scored is None else batch.scored)[:, 1:]


def predicted_logits(lm: LanguageModel, batch: Batch) -> Logits:
    """The logits at the positions of `predicts`, row by row; the unembedding is computed only there."""
    ids, mask, real = batch.ids.to(lm.device), batch.mask.to(lm.device), predicts(batch)
    count = int(real.sum())

    def choose(_module: object, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        hidden, *rest = args
        # functions of logits, such as a soft cap, act on each position separately
        return (hidden[real.to(hidden.device)][None], *rest) if hidden.shape[:2] == real.shape else None

    handle = lm.model.get_output_embeddings().register_forward_pre_hook(choose)
    try:
        logits: Tensor = lm.model(input_ids=ids, attention_mask=mask.long(), use_cache=False).logits
    finally:
        handle.remove()
    lm.count(batch.mask.sum(1), lm.layers, count)
    return logits[0] if logits.shape[:2] == (1, count) else logits[real.to(logits.device)]


def token_losses(batch: Batch, logits: Logits) -> Float[Tensor, " predicted"]:
    """The cross-entropy of each predicted token in nats, float32; the softmax is computed a slab of rows at a time."""
    wanted = batch.ids[:, 1:][_scored(batch)].to(logits.device)
    parts = [
        torch.nn.functional.cross_entropy(logits[rows].float(), wanted[rows], reduction="none")
        for rows in slabs(logits)
    ]
    return torch.cat(parts) if parts else logits.new_zeros(0, dtype=torch.float32)


def slabs(logits: Logits) -> Iterator[slice]:
    """Slices of the rows of logits, a few rows each."""
    step = max(1, (SLAB if logits.device.type == "cpu" else MAX_LOGITS) // logits.shape[1])
    for start in range(0, len(logits), step):
        yield slice(start, start + step)


def by_row(batch: Batch, values: Float[Tensor, " predicted"]) -> Float[Tensor, " batch"]:
    """Sums over the predicted tokens of each row, float64; scaled up if only some tokens have their loss computed."""
    rows = predicts(batch).nonzero()[:, 0].to(values.device)
    # float64 sums: a sentence's loss must not depend on the number of others in its batch
    summed = torch.zeros(len(batch.ids), dtype=torch.float64, device=values.device)
    summed.index_add_(0, rows, values.double())
    if batch.scored is None:
        return summed
    predicted, scored = batch.content[:, 1:].sum(1).double(), _scored(batch).sum(1)
    return summed * (predicted / scored.clamp(min=1)).to(summed.device)


@dataclass(frozen=True)
class Gradients:
    """The activations and gradients of one batch at a site, text tokens only, row by row.

    Attributes:
        x: the tensor of the site, on the model's `device`.
        gradient: of the summed next-token loss of the batch (nats) with respect to x. A token affects
            predictions from its own position on, so the gradient at a sentence's last token is 0.
        sentence: the number of each token's sentence in the tokenized corpus.
    """

    x: Float[Tensor, "tokens d"]
    gradient: Float[Tensor, "tokens d"]
    sentence: Int[Tensor, " tokens"]


def gradients(
    lm: LanguageModel, tokens: TokenizedCorpus, site: Site, *, budget: int = BATCH_TOKENS
) -> Iterator[Gradients]:
    """Stream a site's activations and the loss's gradient there, without backpropagating below the site.

    Run it inside `edit` for the edited model.

    Raises:
        GlossaeError: the model lacks the site.
    """
    lm.tap(site)
    every = ranks.mine(loss_batches(lm, tokens, budget, copies=GRADIENT_COPIES))
    own = (
        (part.x, part.gradient, part.sentence) for part in (_gradients(lm, batch, site) for batch in every)
    )
    for part in ranks.in_turn(own, lm.device, f"gradients of {len(tokens)} sentences at {site}"):
        yield Gradients(*part)


@torch.enable_grad()
def _gradients(lm: LanguageModel, batch: Batch, site: Site) -> Gradients:
    seen: list[Activation] = []

    def cut(x: Activation) -> Activation:
        seen.append(x.detach().requires_grad_())
        # a copy, because some blocks (Falcon's) later write into a sub-layer's output
        return seen[0].clone()

    with attach_all([(lm.tap(site), cut)]):
        losses = row_losses(batch, predicted_logits(lm, batch))
    (gradient,) = torch.autograd.grad(losses.sum(), seen)
    # to the activations only: as much as the pass above the site
    logits, above = int(predicts(batch).sum()), lm.layers - site.layer - lm.tap(site).ends_block
    meter.count(model_flops=lm.flops(batch.mask.sum(1), above, logits))
    here, rows = batch.content.to(gradient.device), batch.content.nonzero()[:, 0]
    return Gradients(
        x=seen[0].detach()[here].to(lm.device),
        gradient=gradient[here].to(lm.device),
        sentence=batch.index[rows].to(lm.device),
    )


def final_states(lm: LanguageModel, batch: Batch, attend: Bool[Tensor, "batch seq"] | None = None) -> States:
    """The final hidden state at every position: the last of the hidden states in `transformers`.

    Edits of `glossae.lm.edit` apply, and gradients flow through.

    Args:
        attend: the tokens that attention sees; None for `batch.mask`.
    """
    mask = (batch.mask if attend is None else attend).long().to(lm.device)
    output = lm.model.base_model(input_ids=batch.ids.to(lm.device), attention_mask=mask, use_cache=False)
    states: Tensor = output.last_hidden_state
    lm.count(batch.mask.sum(1), lm.layers)
    return states


def text_states(lm: LanguageModel, batch: Batch) -> States:
    """`final_states` of a batch whose `mask` covers its pads: attention does not see them, but edits change them."""
    return final_states(lm, batch, batch.content)


Pool = Callable[[Batch, States], Float[Tensor, "batch d"]]


def mean_over_text(batch: Batch, states: States) -> Float[Tensor, "batch d"]:
    """The mean state over the tokens of each row's text, float32."""
    weights = batch.content.to(states.device)
    summed = (states.float() * weights[..., None]).sum(1)
    return summed / weights.sum(1, keepdim=True).clamp(min=1)


def mean_over_all(_batch: Batch, states: States) -> Float[Tensor, "batch d"]:
    """The mean state over all positions, pads included, float32."""
    return states.float().mean(1)
