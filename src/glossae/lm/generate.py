"""Continuing prompts, and the settings that every continuation starts from."""

from collections.abc import Sequence
from typing import Any

import torch

from glossae.lm.beginning import prompt_ids
from glossae.lm.model import LanguageModel


def settings_of(model: Any, tokenizer: Any) -> Any:
    """Settings of generation that say nothing but which tokens begin and end a text: greedy, without penalties.

    A model's own `generation_config.json` (sampling, penalties, lengths, suppressed tokens, beams) is not read. A
    text ends with the tokenizer's end-of-text token and with those of the model's `config.json`.

    Returns:
        A `transformers.GenerationConfig`.
    """
    from transformers import GenerationConfig

    said = getattr(model.config.get_text_config(), "eos_token_id", None)
    ends = [tokenizer.eos_token_id, *(said if isinstance(said, list | tuple) else [said])]
    ends = [int(token) for token in dict.fromkeys(ends) if token is not None]
    return GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ends or None,
        pad_token_id=ends[0] if ends else 0,
        do_sample=False,
    )


@torch.no_grad()
def continue_prompts(lm: LanguageModel, prompts: Sequence[str], *, max_tokens: int = 20) -> list[str]:
    """Continue each prompt greedily until `max_tokens` in all, prompt included, or the end of text.

    Prompts begin as `lm` says texts do: with a BOS, or as the user's turn of a chat, whose template is not counted.

    Greedy and 20 tokens in all are what the lengths of the paper's Tables 1 and 2 fit. Prompts go one by
    one: the tables are short, and no padding can then touch them. Run it inside `edit` to steer.

    Returns:
        The continuations without their prompts.
    """
    end = lm.tokenizer.eos_token_id
    texts = []
    for prompt in prompts:
        ids = prompt_ids(lm, prompt)
        # at least one new token, whatever the prompt's length
        length = min(max(max_tokens + len(lm.chat), len(ids) + 1), lm.max_positions)
        output = lm.model.generate(
            torch.tensor([ids], device=lm.device),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long, device=lm.device),
            max_length=length,
            do_sample=False,
            pad_token_id=end if end is not None else 0,
        )
        texts.append(lm.tokenizer.decode(output[0, len(ids) :], skip_special_tokens=True).strip())
    return texts
