"""Continuations are greedy or drawn by a seed, side by side what each would be alone, and end at the end of text."""

import dataclasses

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

import glossae
from glossae.errors import GlossaeError
from glossae.lm import Site, continue_prompts, continue_tokens, edit
from tiny_families import push


@pytest.fixture(scope="module")
def prompts():
    generator = np.random.default_rng(0)
    return [generator.integers(1, 300, size=length) for length in (3, 7, 1, 7, 12, 3, 20)]


@torch.no_grad()
def greedy(lm, prompt, count, *, ending=True):
    """The whole text anew at every step, no cache and no pads."""
    ids = list(prompt)
    for _ in range(count):
        logits = lm.model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        if not ending:
            logits[0] = -torch.inf
        ids.append(int(logits.argmax()))
        if ids[-1] == 0:
            ids.pop()
            break
    return ids[len(prompt) :]


def lists(rows):
    return [row.tolist() for row in rows]


# ---- texts, one by one


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("max_tokens", [5, 20, 35])
def test_prompts_are_continued_greedily_by_a_token_at_least(tiny_lm, bos, max_tokens):
    prompts = ["Pigen på øen", "He", "Vores gamle nabo købte æblet"]
    lm = dataclasses.replace(tiny_lm, bos=bos)
    for prompt, text in zip(prompts, continue_prompts(lm, prompts, max_tokens=max_tokens), strict=True):
        ids = [0] * bos + lm.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        expected = greedy(lm, ids, max(max_tokens - len(ids), 1))
        assert text == lm.tokenizer.decode(expected, skip_special_tokens=True).strip()
    assert len(ids) > 5
    assert continue_prompts(lm, []) == []


def test_a_continuation_stops_at_the_end_of_text(tiny_lm, monkeypatch):
    (text,) = continue_prompts(tiny_lm, ["He saw"], max_tokens=20)
    third = greedy(tiny_lm, tiny_lm.tokenizer("He saw", add_special_tokens=False)["input_ids"], 3)[-1]
    # call what comes third the end of text
    monkeypatch.setattr(tiny_lm.model.config, "eos_token_id", third)
    (stopped,) = continue_prompts(tiny_lm, ["He saw"], max_tokens=20)
    assert text.startswith(stopped)
    assert len(stopped) < len(text)


def test_a_wrapped_models_own_settings_change_nothing(tiny_model, tiny_lm, prompts):
    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    model.generation_config = own = GenerationConfig(
        repetition_penalty=9.0,
        suppress_tokens=list(range(1, 200)),
        eos_token_id=list(range(150)),
        num_beams=3,
    )
    lm = glossae.load(model, tiny_lm.tokenizer)
    assert lists(continue_tokens(lm, prompts, new_tokens=8)) == lists(
        continue_tokens(tiny_lm, prompts, new_tokens=8)
    )
    assert continue_prompts(lm, ["He saw"]) == continue_prompts(tiny_lm, ["He saw"])
    assert model.generation_config is own


# ---- token ids, side by side


@pytest.mark.parametrize("ending", [True, False])
@pytest.mark.parametrize("at_once", [1, 3, 64])
def test_each_is_continued_as_if_alone(tiny_lm, prompts, at_once, ending):
    found = continue_tokens(tiny_lm, prompts, new_tokens=15, at_once=at_once, ending=ending)
    assert lists(found) == [greedy(tiny_lm, prompt, 15, ending=ending) for prompt in prompts]
    assert ending or {len(row) for row in found} == {15}
    assert continue_tokens(tiny_lm, []) == []


def test_a_text_ends_before_the_first_token_that_ends_it(tiny_lm, prompts, monkeypatch):
    whole = lists(continue_tokens(tiny_lm, prompts[:2], new_tokens=8, ending=False))[0]
    monkeypatch.setattr(tiny_lm.model.config, "eos_token_id", [whole[3], 0])
    found = continue_tokens(tiny_lm, prompts[:2], new_tokens=8)
    assert found[0].tolist() == whole[: whole.index(whole[3])]


def test_a_draw_is_its_seeds_and_nobody_elses(tiny_lm, prompts):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, again, other = (
        lists(continue_tokens(tiny_lm, prompts, new_tokens=6, seed=seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(torch.rand(3), expected)
    assert one == again != other


def test_under_an_edit(tiny_lm, prompts):
    with edit(tiny_lm, Site("resid", 1), push):
        found = lists(continue_tokens(tiny_lm, prompts, new_tokens=6))
        assert found == [greedy(tiny_lm, prompt, 6) for prompt in prompts]
    assert found != [greedy(tiny_lm, prompt, 6) for prompt in prompts]


def test_what_has_no_room_is_refused(tiny_lm, prompts):
    with pytest.raises(GlossaeError, match=r"prompts: 20 tokens and 50 new ones are more than the 64"):
        continue_tokens(tiny_lm, prompts, new_tokens=50)
    with pytest.raises(GlossaeError, match="prompts: number 1 has no token"):
        continue_tokens(tiny_lm, [prompts[0], np.zeros(0, dtype=np.int64)])
