"""What stands at a site together with how the next-token loss answers to it: one forward, one backward pass."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from glossae.lm.batches import Batch, TokenizedCorpus
from glossae.lm.loss import batch_losses, loss_batches
from glossae.lm.model import LanguageModel
from glossae.lm.sites import Activation, Site, attached

# the logits, their float32 copy, the softmax and the gradient are there at once
COPIES = 4


@dataclass(frozen=True)
class Gradients:
    """What one batch left at a site, text tokens only, row by row.

    Attributes:
        x: the tensor of the site, on the model's `device`.
        gradient: of the summed next-token loss of the batch (nats) with respect to x. A token acts on the
            predictions from its own position on, so the last token of a sentence has none.
        sentence: which sentence of the tokenized corpus each token belongs to.
        position: its place in the sentence.
        losses: the summed loss of each row of the batch, float64.
        batch: where it came from.
    """

    x: Float[Tensor, "tokens d"]
    gradient: Float[Tensor, "tokens d"]
    sentence: Int[Tensor, " tokens"]
    position: Int[Tensor, " tokens"]
    losses: Float[Tensor, " batch"]
    batch: Batch


def gradients(
    lm: LanguageModel, tokens: TokenizedCorpus, site: Site, *, budget: int = 1024
) -> Iterator[Gradients]:
    """Stream a site's activations and the loss's gradient there; blocks below the site take no part in it.

    Run it inside `edit` for the edited model.

    Raises:
        GlossaeError: the model has no such site.
    """
    lm.tap(site)
    for batch in loss_batches(lm, tokens, budget, copies=COPIES):
        yield _pass(lm, batch, site)


@torch.enable_grad()
def _pass(lm: LanguageModel, batch: Batch, site: Site) -> Gradients:
    seen: list[Activation] = []

    def cut(x: Activation) -> Activation:
        seen.append(x.detach().requires_grad_())
        # a copy, because some blocks (Falcon's) go on to write into what a sub-layer gave
        return seen[0].clone()

    with attached([(lm.tap(site), cut)]):
        losses = batch_losses(lm, batch)
    (gradient,) = torch.autograd.grad(losses.sum(), seen)
    content = batch.content.to(lm.device)
    rows, positions = content.nonzero(as_tuple=True)
    here = batch.content.to(gradient.device)
    return Gradients(
        x=seen[0].detach()[here].to(lm.device),
        gradient=gradient[here].to(lm.device),
        sentence=batch.index.to(lm.device)[rows],
        position=positions,
        losses=losses.detach(),
        batch=batch,
    )
