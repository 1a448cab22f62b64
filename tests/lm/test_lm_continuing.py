"""Prompts continued side by side are what each would be by itself."""

import numpy as np
import pytest
import torch

from glossae.errors import GlossaeError
from glossae.lm import Site, continue_tokens, edit, end_tokens, load
from tiny_families import FAMILIES, write_family


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
            logits[end_tokens(lm)] = -torch.inf
        ids.append(int(logits.argmax()))
        if ids[-1] in end_tokens(lm):
            ids.pop()
            break
    return ids[len(prompt) :]


@pytest.mark.parametrize("ending", [True, False])
@pytest.mark.parametrize("at_once", [1, 3, 64])
def test_each_is_continued_as_if_alone(tiny_lm, prompts, at_once, ending):
    found = continue_tokens(tiny_lm, prompts, new_tokens=15, at_once=at_once, ending=ending)
    expected = [greedy(tiny_lm, prompt, 15, ending=ending) for prompt in prompts]
    assert [row.tolist() for row in found] == expected
    assert ending or {len(row) for row in found} == {15}


@pytest.mark.parametrize("family", ["gpt2", "opt", "llama", "gemma2"])
def test_in_other_families_too(family, tmp_path, tiny_tokenizer, prompts):
    assert family in FAMILIES
    lm = load(str(write_family(tmp_path / "model", family, tiny_tokenizer)))
    found = continue_tokens(lm, prompts, new_tokens=5)
    assert [row.tolist() for row in found] == [greedy(lm, prompt, 5) for prompt in prompts]


def test_a_text_ends_before_the_token_that_ends_it(tiny_lm, prompts):
    whole = continue_tokens(tiny_lm, prompts[:2], new_tokens=8, ending=False)
    first = [row.tolist() for row in whole]
    kept = tiny_lm.model.generation_config.eos_token_id
    try:
        tiny_lm.model.generation_config.eos_token_id = [first[0][3], 0]
        found = continue_tokens(tiny_lm, prompts[:2], new_tokens=8)
    finally:
        tiny_lm.model.generation_config.eos_token_id = kept
    assert found[0].tolist() == first[0][: first[0].index(first[0][3])]


def test_a_draw_is_its_seeds_and_nobody_elses(tiny_lm, prompts):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, again, other = (continue_tokens(tiny_lm, prompts, new_tokens=6, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert [row.tolist() for row in one] == [row.tolist() for row in again]
    assert [row.tolist() for row in one] != [row.tolist() for row in other]


def test_under_an_edit(tiny_lm, prompts):
    def push(x):
        return x + 3 * torch.linspace(-1, 1, x.shape[1])

    with edit(tiny_lm, Site("resid", 1), push):
        found = continue_tokens(tiny_lm, prompts, new_tokens=6)
        expected = [greedy(tiny_lm, prompt, 6) for prompt in prompts]
    assert [row.tolist() for row in found] == expected
    assert expected != [greedy(tiny_lm, prompt, 6) for prompt in prompts]


def test_progress_comes_to_its_end(tiny_lm, prompts):
    done = []
    continue_tokens(tiny_lm, prompts, new_tokens=1, at_once=3, progress=done.append)
    assert done == sorted(done)
    assert done[-1] == 1
    assert continue_tokens(tiny_lm, []) == []


def test_what_has_no_room_is_refused(tiny_lm, prompts):
    with pytest.raises(GlossaeError, match=r"prompts: 20 tokens and 50 new ones are more than the 64"):
        continue_tokens(tiny_lm, prompts, new_tokens=50)
    with pytest.raises(GlossaeError, match="prompts: number 1 has no token"):
        continue_tokens(tiny_lm, [prompts[0], np.zeros(0, dtype=np.int64)])
