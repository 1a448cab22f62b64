"""What the model's head reads: the hidden states after the last block and the final norm."""

from collections.abc import Callable

from jaxtyping import Bool, Float
from torch import Tensor

from glossae.lm.batches import Batch
from glossae.lm.model import LanguageModel


def final_states(
    lm: LanguageModel, batch: Batch, attend: Bool[Tensor, "batch seq"] | None = None
) -> Float[Tensor, "batch seq d"]:
    """The final hidden state at every position: what `transformers` calls the last of the hidden states.

    Edits of `glossae.lm.edit` are in place in it, and gradients go through.

    Args:
        lm: the model.
        batch: right-padded texts.
        attend: the tokens that may be looked at; None for `batch.mask`.
    """
    mask = batch.mask if attend is None else attend
    states: Tensor = lm.model.base_model(
        input_ids=batch.ids.to(lm.device), attention_mask=mask.long().to(lm.device), use_cache=False
    ).last_hidden_state
    return states


def text_states(lm: LanguageModel, batch: Batch) -> Float[Tensor, "batch seq d"]:
    """`final_states` of a batch whose `mask` covers its pads: they are not looked at, but edited as tokens are."""
    return final_states(lm, batch, batch.content)


Pool = Callable[[Batch, Float[Tensor, "batch seq d"]], Float[Tensor, "batch d"]]


def mean_over_text(batch: Batch, states: Float[Tensor, "batch seq d"]) -> Float[Tensor, "batch d"]:
    """The mean state over the tokens of each row's text, float32."""
    weights = batch.content.to(states.device)
    summed = (states.float() * weights[..., None]).sum(1)
    return summed / weights.sum(1, keepdim=True).clamp(min=1)


def mean_over_all(_batch: Batch, states: Float[Tensor, "batch seq d"]) -> Float[Tensor, "batch d"]:
    """The mean state over all positions, pads included, float32."""
    return states.float().mean(1)
