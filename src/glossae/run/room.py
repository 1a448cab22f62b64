"""Whether what is asked for has room in memory: what plainly has none is refused before anything is written."""

from collections.abc import Sequence

import torch

from glossae.errors import GlossaeError
from glossae.lm import LanguageModel, resolve_device
from glossae.plan import bytes_text, memory_bytes
from glossae.recipe import Recipe

# of each weight in training: itself, its gradient and Adam's two moments, in float32
BYTES_A_WEIGHT = 16

LOWER = {
    "corpora": "corpora.limit",
    "probe": "batch_tokens or probe.tokens",
    "grid": "batch_tokens, grid.latents (or grid.expansion) or sae.batch_tokens",
    "sae": "batch_tokens, sae.latents (or sae.expansion) or sae.batch_tokens",
    "evidence": "batch_tokens, evidence.permutations or sae.latents (or sae.expansion)",
    "stability": "batch_tokens, sae.latents (or sae.expansion) or sae.batch_tokens",
    "features": "batch_tokens or sae.latents (or sae.expansion)",
    "baselines": "batch_tokens or sae.latents (or sae.expansion)",
    "effects": "batch_tokens or max_tokens",
    "steering": "batch_tokens, steering.prompts or steering.tokens",
    "tasks": "batch_tokens, tasks.rows or max_tokens",
    "controls": "batch_tokens",
}
"""The settings that make a stage smaller, the likeliest first."""


def out_of_room(stage: str) -> str:
    """What to say where memory runs out in a stage, and nothing nearer to it knows better."""
    return f"{stage}: there is not enough memory; lower {LOWER[stage]}"


def check_room(recipe: Recipe, lm: LanguageModel, key: str, latents: int, tied: Sequence[bool]) -> None:
    """Refuse autoencoders that are larger than the machine: a system may promise the memory, and then end the run.

    Args:
        recipe: says the site and the device.
        lm: the model whose site it is.
        key: the group of settings they come from, `sae` or `grid`.
        latents: of each.
        tied: of each, whether it has one matrix or two.

    Raises:
        GlossaeError: their weights, gradients and moments alone are more than there is.
    """
    width = lm.widths[recipe.site]
    needed = BYTES_A_WEIGHT * width * latents * sum(1 if one else 2 for one in tied)
    there = _memory(recipe)
    if needed > there:
        what = f"{latents} latents" if len(tied) == 1 else f"{len(tied)} autoencoders of {latents} latents"
        settings = recipe.sae if key == "sae" else recipe.grid
        size = "latents" if settings.latents is not None else "expansion"
        fewer = "" if key == "sae" else ", or give fewer grid.k or grid.l1"
        raise GlossaeError(
            f"{key}.{size}: training {what} on a site of width {width} holds {bytes_text(needed)} (weights, gradients "
            f"and Adam's two moments), and there are {bytes_text(there)}; lower {key}.{size}{fewer}"
        )


def _memory(recipe: Recipe) -> float:
    """Bytes of memory where the recipe computes."""
    device = resolve_device(recipe.device)
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    return memory_bytes()
