"""Logit effects: what a direction at a site adds to the logit of every token, past all later blocks."""

from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glossae.errors import GlossaeError
from glossae.lm.model import LanguageModel
from glossae.lm.sites import Site

FINAL_NORMS = ("norm", "final_layer_norm", "ln_f", "final_layernorm")
# rows of the unembedding converted to float32 at once
ROWS = 2**14
# agreement (a cosine) of the logits by this path with the model's own; bfloat16 loses some
AGREES = 0.995


@torch.no_grad()
def logit_effects(
    lm: LanguageModel, site: Site, directions: Float[Tensor, "units d_in"]
) -> Float[Tensor, "units vocabulary"]:
    """The change of each token's logit per unit of a direction's value, less its mean over the vocabulary.

    With d the direction in the residual stream (for `mlp.hidden`: through the MLP's output projection), g the scale
    of the final norm and U the unembedding: e = U (g * d), less the mean of e; a LayerNorm first subtracts the mean
    of d. The norm also divides by the size of the residual stream, one positive number for each token of a text,
    which is left out. This is the logit lens (nostalgebraist 2020) of a direction, or its direct logit attribution
    (Elhage et al. 2021, A Mathematical Framework for Transformer Circuits). Later blocks may do anything else.

    Args:
        lm: the model.
        site: where the directions are.
        directions: one each row.

    Returns:
        Float32 on the CPU; columns are the token ids of the tokenizer.

    Raises:
        GlossaeError: the model's logits are not its unembedding of its final norm.
    """
    norm, head = _final_norm(lm), lm.model.get_output_embeddings()
    if head is None or not _agrees(lm, norm, head):
        raise GlossaeError(
            f"model: {lm.name}: its logits are not an unembedding of its last block's output through a final norm"
        )
    written = _in_residual_stream(lm, site, directions.to(lm.device).float())
    if norm is not None:
        written = _through(norm, written)
    size = min(head.weight.shape[0], len(lm.tokenizer))
    steps = [*range(0, size, ROWS), size]
    parts = [
        (written.to(head.weight.device) @ head.weight[first:last].float().T).cpu()
        for first, last in pairwise(steps)
    ]
    effects = torch.cat(parts, dim=1)
    return effects - effects.mean(dim=1, keepdim=True)


def _final_norm(lm: LanguageModel) -> nn.Module | None:
    """The norm after the last block; None if the model has none."""
    above, _, _ = lm.architecture.blocks.rpartition(".")
    parent = lm.model.get_submodule(above)
    return next((getattr(parent, name) for name in FINAL_NORMS if hasattr(parent, name)), None)


def _through(norm: nn.Module, x: Float[Tensor, "units d"]) -> Float[Tensor, "units d"]:
    """Rows times a norm's scale, and before that without its mean if the norm subtracts that.

    Libraries keep the scale as g or as 1 + g. It is read off what the norm returns for a vector of ones and minus ones,
    whose size is 1 and whose mean is 0.
    """
    weight: Tensor = next(norm.parameters(), x)
    ends = torch.ones(x.shape[1], device=weight.device, dtype=weight.dtype)
    ends[1::2] = -1
    scale = (norm(ends[None]) - norm(-ends[None]))[0].float() / 2 * ends.float()
    # a norm that subtracts the mean gives the same for a vector that is moved as a whole
    moved = norm(2 * ends[None] + 1).float() - norm(-2 * ends[None] + 1).float()
    centres = bool(moved.mul(ends.float()).div(2).sub(scale).abs().mean() < 0.02 * scale.abs().mean())
    x = x.to(weight.device)
    scaled: Tensor = (x - x.mean(dim=1, keepdim=True) if centres else x) * scale
    return scaled


def _in_residual_stream(
    lm: LanguageModel, site: Site, directions: Float[Tensor, "units d_in"]
) -> Float[Tensor, "units d"]:
    """Directions of a site as the residual stream has them."""
    if site.name != "mlp.hidden":
        return directions
    projection, added = lm.tap(site).module, lm.tap(Site("mlp.out", site.layer)).module
    # quantised weights have a type that nothing is computed in
    read = directions.to(next(projection.parameters()).device, lm.model.dtype)
    written = projection(read).float() - projection(torch.zeros_like(read)).float()
    # in some models a norm follows, whose output is what is added
    own = getattr(added, "weight", None)
    return _through(added, written) if own is not None and own.ndim == 1 else written


def _agrees(lm: LanguageModel, norm: nn.Module | None, head: Any) -> bool:
    """Whether the last block's output, through the norm and the unembedding, gives the model's logits."""
    seen: list[Tensor] = []

    def keep(_module: nn.Module, _given: object, output: Any) -> None:
        seen.append(output[0] if isinstance(output, tuple) else output)

    ids = torch.arange(2, 10, device=lm.device)[None]
    handle = lm.blocks[-1].register_forward_hook(keep)
    try:
        logits = lm.model(input_ids=ids, use_cache=False).logits.float()
    finally:
        handle.remove()
    try:
        state = seen[0] if norm is None else norm(seen[0].to(next(norm.parameters(), seen[0]).device))
        ours = head(state.to(head.weight.device)).float().to(logits.device)
    except RuntimeError:
        # another width: the model projects its states before it reads them
        return False
    cap = getattr(lm.model.config.get_text_config(), "final_logit_softcapping", None)
    ours = cap * torch.tanh(ours / cap) if cap else ours
    one, other = ((each - each.mean(dim=-1, keepdim=True)).flatten() for each in (ours, logits))
    return bool(torch.cosine_similarity(one, other, dim=0) > AGREES)
