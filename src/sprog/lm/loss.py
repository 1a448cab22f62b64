"""Next-token loss, summed per sentence so that everything else can be computed from it."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sprog.lm.batches import Batch, TokenizedCorpus, batches
from sprog.lm.model import LanguageModel

# logits held at once, in values: 64 Mi float32 values are 256 MiB
MAX_LOGITS = 2**26


def loss_budget(lm: LanguageModel, budget: int, *, copies: int = 1) -> int:
    """A token budget whose logits fit so many times: vocabularies are large, so it is often smaller than `budget`."""
    vocabulary = int(lm.model.get_output_embeddings().weight.shape[0])
    return max(1, min(budget, MAX_LOGITS // (copies * vocabulary)))


@torch.no_grad()
def sentence_losses(
    lm: LanguageModel, tokens: TokenizedCorpus, *, budget: int = 4096
) -> Float[np.ndarray, " sentences"]:
    """The summed next-token cross-entropy of each sentence in nats, float64.

    Divide sums by sums of `tokens.predicted` for the mean per token, or by sums of
    `tokens.predicted_bytes` for the mean per byte. Run it inside `edit` for the edited model.
    """
    summed = np.zeros(len(tokens))
    for batch in batches(tokens, loss_budget(lm, budget)):
        summed[batch.index.numpy()] = batch_losses(lm, batch).cpu().numpy()
    return summed


def batch_losses(lm: LanguageModel, batch: Batch) -> Float[Tensor, " batch"]:
    """The summed next-token cross-entropy of each row in nats, float64."""
    ids, mask = batch.ids.to(lm.device), batch.mask.to(lm.device)
    logits = lm.model(input_ids=ids, attention_mask=mask.long(), use_cache=False).logits
    # pads are on the right, so a target is real exactly where the mask of the next position is
    real = mask[:, 1:]
    losses = torch.nn.functional.cross_entropy(
        logits[:, :-1][real].float(), ids[:, 1:][real], reduction="none"
    )
    # float64 sums: a sentence's loss must not depend on how many others stand beside it
    summed = torch.zeros(len(ids), dtype=torch.float64, device=ids.device)
    return summed.index_add_(0, real.nonzero()[:, 0], losses.double())
