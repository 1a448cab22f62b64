"""Many prompts continued side by side, with the cache."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Int

from glossae.errors import GlossaeError
from glossae.lm.model import LanguageModel


@torch.no_grad()
def continue_tokens(
    lm: LanguageModel,
    prompts: Sequence[Int[np.ndarray, " _"]],
    *,
    new_tokens: int = 20,
    ending: bool = True,
    seed: int | None = None,
    at_once: int = 64,
    progress: Callable[[float], None] = lambda _: None,
) -> list[Int[np.ndarray, " _"]]:
    """Continue prompts of token ids by `new_tokens`, or to the end of text, which is not given back.

    Prompts of like length stand in a batch, padded on the left. Run it inside `edit` to steer.

    Args:
        lm: the model.
        prompts: token ids, at least one each.
        new_tokens: how many are written at most.
        ending: whether a text may end before that; otherwise the end of text is never taken.
        seed: of a draw from the whole distribution; None takes the most probable token at every step.
        at_once: prompts in a batch.
        progress: called with the share that is done.

    Raises:
        GlossaeError: a prompt is empty, or it and what is to come have no room in the model.
    """
    lengths = [len(prompt) for prompt in prompts]
    if prompts and min(lengths) < 1:
        raise GlossaeError(f"prompts: number {lengths.index(min(lengths))} has no token")
    if prompts and max(lengths) + new_tokens > lm.max_positions:
        raise GlossaeError(
            f"prompts: {max(lengths)} tokens and {new_tokens} new ones are more than the {lm.max_positions} that "
            f"{lm.name} has positions for"
        )
    order = np.argsort(lengths, kind="stable")
    written: list[np.ndarray] = [np.zeros(0, dtype=np.int64)] * len(prompts)
    ends = end_tokens(lm)
    with _drawn(lm, seed):
        for start in range(0, len(order), at_once):
            chosen = order[start : start + at_once]
            longest = lengths[chosen[-1]]
            ids = np.zeros((len(chosen), longest), dtype=np.int64)
            mask = np.zeros_like(ids)
            for row, number in enumerate(chosen):
                ids[row, longest - lengths[number] :] = prompts[number]
                mask[row, longest - lengths[number] :] = 1
            output = lm.model.generate(
                torch.from_numpy(ids).to(lm.device),
                attention_mask=torch.from_numpy(mask).to(lm.device),
                max_new_tokens=new_tokens,
                min_new_tokens=None if ending else new_tokens,
                use_cache=True,
                pad_token_id=ends[0] if ends else 0,
                # the whole distribution: transformers would draw from the 50 most probable tokens
                **({"do_sample": False} if seed is None else {"do_sample": True, "top_k": 0, "top_p": 1.0}),
            )
            for number, row in zip(chosen, output[:, longest:].cpu().numpy(), strict=True):
                end = np.flatnonzero(np.isin(row, ends))
                written[number] = row[: end[0]] if len(end) else row
            progress(min(1.0, (start + len(chosen)) / len(order)))
    return written


def end_tokens(lm: LanguageModel) -> list[int]:
    """The tokens that end a text, as `settings_of` found them."""
    said = lm.model.generation_config.eos_token_id
    if said is None:
        said = []
    return [int(token) for token in (said if isinstance(said, list) else [said])]


@contextmanager
def _drawn(lm: LanguageModel, seed: int | None) -> Iterator[None]:
    """Draw by a seed, and leave everybody else's random numbers as they were."""
    if seed is None:
        yield
        return
    devices = [lm.device] if lm.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
