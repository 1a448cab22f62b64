"""Continue prompts: one at a time as text, or in batches as token ids."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Int

from glossae import ranks
from glossae.errors import GlossaeError
from glossae.lm.habits import prompt_ids
from glossae.lm.model import LanguageModel


def settings_of(model: Any, tokenizer: Any) -> Any:
    """Generation settings with only the tokens that begin and end a text: greedy, without penalties.

    The model's own `generation_config.json` (sampling, penalties, lengths, suppressed tokens, beams) is not
    read. A text ends with the tokenizer's end-of-text token and with those of the model's `config.json`.
    """
    from transformers import GenerationConfig

    said = getattr(model.config.get_text_config(), "eos_token_id", None)
    # a wrapped model may have no tokenizer
    own, bos = getattr(tokenizer, "eos_token_id", None), getattr(tokenizer, "bos_token_id", None)
    ends = [own, *(said if isinstance(said, list | tuple) else [said])]
    ends = [int(token) for token in dict.fromkeys(ends) if token is not None]
    return GenerationConfig(
        bos_token_id=bos,
        eos_token_id=ends or None,
        pad_token_id=ends[0] if ends else 0,
        do_sample=False,
    )


@torch.no_grad()
def continue_prompts(lm: LanguageModel, prompts: Sequence[str], *, max_tokens: int = 20) -> list[str]:
    """Continue each prompt greedily up to `max_tokens` in all, prompt included, or the end of text.

    Prompts begin as texts do for `lm`: with a BOS, or as the user's turn of a chat, whose template is not
    counted.

    Greedy decoding and 20 tokens in all agree with the lengths in the paper's Tables 1 and 2. Prompts run one
    at a time, so that padding cannot affect them. Run it inside `edit` to steer. The continuations do not
    include the prompts. In joint work (`glossae.ranks`), each rank continues its own prompts.
    """
    end = lm.tokenizer.eos_token_id

    def continued(prompt: str) -> str:
        ids = prompt_ids(lm, prompt)
        # at least one new token, whatever the prompt's length
        length = min(max(max_tokens + len(lm.chat), len(ids) + 1), lm.max_positions)
        with _own_settings(lm):
            output = lm.model.generate(
                torch.tensor([ids], device=lm.device),
                attention_mask=torch.ones(1, len(ids), dtype=torch.long, device=lm.device),
                max_length=length,
                do_sample=False,
                pad_token_id=end if end is not None else 0,
            )
        lm.count(torch.tensor([output.shape[1] - 1]), lm.layers, output.shape[1] - len(ids))
        text: str = lm.tokenizer.decode(output[0, len(ids) :], skip_special_tokens=True).strip()
        return text

    return ranks.each("continued prompts", prompts, continued)


@torch.no_grad()
def continue_tokens(
    lm: LanguageModel,
    prompts: Sequence[Int[np.ndarray, " _"]],
    *,
    new_tokens: int = 20,
    ending: bool = True,
    seed: int | None = None,
    at_once: int = 64,
) -> list[Int[np.ndarray, " _"]]:
    """Continue prompts of token ids by up to `new_tokens`; the results have neither prompt nor end of text.

    Prompts of similar length share a batch, padded on the left. Run it inside `edit` to steer. In joint work
    (`glossae.ranks`), each rank continues its own batches, unless they are sampled.

    Args:
        new_tokens: the most tokens to write.
        ending: whether a text may end earlier; otherwise the end of text is never taken.
        seed: of sampling from the full distribution; None takes the most probable token at every step.

    Raises:
        GlossaeError: a prompt is empty, or prompt and continuation exceed the model's positions.
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
    with _own_settings(lm), _drawn(lm, seed):
        ends = end_tokens(lm)

        def continued(start: int) -> list[list[int]]:
            chosen = order[start : start + at_once]
            rows = list[list[int]]()
            longest = lengths[chosen[-1]]
            ids, mask = np.zeros((2, len(chosen), longest), dtype=np.int64)
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
                # the full distribution: transformers would sample from the 50 most probable tokens
                **({"do_sample": False} if seed is None else {"do_sample": True, "top_k": 0, "top_p": 1.0}),
            )
            for row in output[:, longest:].cpu().numpy():
                end = np.flatnonzero(np.isin(row, ends))
                rows.append((row[: end[0]] if len(end) else row).tolist())
            # the last token of each is not read, and an end of text is written too
            new = [min(len(row) + 1, new_tokens) for row in rows]
            read = torch.tensor([lengths[number] for number in chosen]) + torch.tensor(new) - 1
            lm.count(read, lm.layers, sum(new))
            return rows

        starts = range(0, len(order), at_once)
        # batches that are sampled share one series of random numbers, so that no rank can begin with a later one
        found = ranks.each("continued prompts", starts, continued) if seed is None else map(continued, starts)
        for number, row in zip(order, itertools.chain(*found), strict=True):
            written[number] = np.array(row, dtype=np.int64)
    return written


def end_tokens(lm: LanguageModel) -> list[int]:
    """The tokens that end a text, as set by `settings_of`."""
    said = lm.model.generation_config.eos_token_id
    return [int(token) for token in (said if isinstance(said, list) else [said]) if token is not None]


@contextmanager
def _own_settings(lm: LanguageModel) -> Iterator[None]:
    """Generate by `settings_of` inside the block, also where a wrapped model has settings of its own."""
    before = lm.model.generation_config
    lm.model.generation_config = settings_of(lm.model, lm.tokenizer)
    try:
        yield
    finally:
        lm.model.generation_config = before


@contextmanager
def _drawn(lm: LanguageModel, seed: int | None) -> Iterator[None]:
    """Sample by a seed, and restore the global random state afterwards."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[lm.device] if lm.device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
