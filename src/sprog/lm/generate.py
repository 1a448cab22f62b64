"""Continuing prompts."""

from collections.abc import Sequence

import torch

from sprog.lm.model import LanguageModel


@torch.no_grad()
def continue_prompts(
    lm: LanguageModel, prompts: Sequence[str], *, max_tokens: int = 20, bos: bool = False
) -> list[str]:
    """Continue each prompt greedily until `max_tokens` in all, prompt included, or the end of text.

    Greedy and 20 tokens in all are what the lengths of the paper's Tables 1 and 2 fit. Prompts go one by
    one: the tables are short, and no padding can then touch them. Run it inside `edit` to steer.

    Returns:
        The continuations without their prompts.
    """
    end = lm.tokenizer.eos_token_id
    texts = []
    for prompt in prompts:
        ids = lm.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        if bos:
            ids = [lm.tokenizer.bos_token_id, *ids]
        # at least one new token, whatever the prompt's length
        length = min(max(max_tokens, len(ids) + 1), lm.max_positions)
        output = lm.model.generate(
            torch.tensor([ids], device=lm.device),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long, device=lm.device),
            max_length=length,
            do_sample=False,
            pad_token_id=end if end is not None else 0,
        )
        texts.append(lm.tokenizer.decode(output[0, len(ids) :], skip_special_tokens=True).strip())
    return texts
