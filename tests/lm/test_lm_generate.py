"""Continuations are greedy, of the length asked for, and end at the end of text."""

import dataclasses

import pytest
import torch

from glossae.lm import continue_prompts


def greedy(lm, ids, length):
    """Ids up to `length` in all or the end of text, the whole text anew at every step."""
    ids = torch.tensor([ids])
    while ids.shape[1] < length:
        with torch.no_grad():
            best = lm.model(ids, use_cache=False).logits[0, -1].argmax()
        ids = torch.cat([ids, best[None, None]], dim=1)
        if best == lm.tokenizer.eos_token_id:
            break
    return ids[0].tolist()


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("max_tokens", [20, 35])
def test_continuations_are_greedy(tiny_lm, bos, max_tokens):
    prompts = ["Pigen på øen", "He", "Vores gamle nabo købte æblet"]
    continued = continue_prompts(dataclasses.replace(tiny_lm, bos=bos), prompts, max_tokens=max_tokens)
    for prompt, text in zip(prompts, continued, strict=True):
        ids = tiny_lm.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        ids = [tiny_lm.tokenizer.bos_token_id, *ids] if bos else ids
        expected = greedy(tiny_lm, ids, max(max_tokens, len(ids) + 1))[len(ids) :]
        assert text == tiny_lm.tokenizer.decode(expected, skip_special_tokens=True).strip()


def test_a_prompt_longer_than_the_length_still_gets_one_token(tiny_lm):
    prompt = "Hej med dig, sagde hun"
    ids = tiny_lm.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    assert len(ids) > 5
    (text,) = continue_prompts(tiny_lm, [prompt], max_tokens=5)
    assert text == tiny_lm.tokenizer.decode(greedy(tiny_lm, ids, len(ids) + 1)[-1:]).strip()


def test_a_continuation_stops_at_the_end_of_text(tiny_lm, monkeypatch):
    (text,) = continue_prompts(tiny_lm, ["He saw"], max_tokens=20)
    ids = tiny_lm.tokenizer("He saw", add_special_tokens=False)["input_ids"]
    third = greedy(tiny_lm, ids, len(ids) + 3)[-1]
    # call what comes third the end of text
    monkeypatch.setattr(tiny_lm.model.generation_config, "eos_token_id", third)
    (stopped,) = continue_prompts(tiny_lm, ["He saw"], max_tokens=20)
    assert text.startswith(stopped)
    assert len(stopped) < len(text)


def test_no_prompts_give_no_texts(tiny_lm):
    assert continue_prompts(dataclasses.replace(tiny_lm), []) == []
