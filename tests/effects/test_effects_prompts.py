"""What is written after the prompts is greedy, with the edit at every token and gone afterwards."""

import pytest
import torch
from effects_sae import NEVER, SITE, D, by_hand, logits_by_hand, random_sae

from glossae.effects import PROMPTS, Continuation, Edit, continuations
from glossae.sae import Sae, SaeConfig

STEER = Edit("set", (30, 2), (6.0, 9.0), value=3.0)
SPLICED = Edit("set", (30, 2), (0.0, 0.0), splice=True, value=0.0)


@pytest.fixture(scope="module")
def sae():
    return random_sae()


def write(lm, sae, languages, edits, *, max_tokens=30, **options):
    return continuations(lm, SITE, sae, languages, edits, name="da", max_tokens=max_tokens, **options)


def greedy(lm, prompt, length):
    """Greedy up to `length` tokens in all, the whole text anew at every step."""
    ids = lm.tokenizer(prompt, add_special_tokens=False)["input_ids"]
    start = len(ids)
    while len(ids) < max(length, start + 1):
        ids.append(int(logits_by_hand(lm, ids)[-1].argmax()))
        if ids[-1] == lm.tokenizer.eos_token_id:
            break
    return lm.tokenizer.decode(ids[start:], skip_special_tokens=True).strip()


def texts(rows):
    return [row.text for row in rows]


def test_every_arm_is_greedy_under_its_edit(tiny_lm, sae):
    rows = write(tiny_lm, sae, ("da", "en"), [STEER, SPLICED])
    expected = []
    for change in (None, STEER, SPLICED):
        for language in ("da", "en"):
            for prompt in PROMPTS[language]:
                with by_hand(tiny_lm, sae, change):
                    text = greedy(tiny_lm, prompt, 30)
                name, value = ("raw", None) if change is None else ("set", change.value)
                expected.append(Continuation(prompt, language, "da", name, value, text))
    assert rows == expected
    arms = [texts(rows)[start : start + 8] for start in (0, 8, 16)]
    assert arms[0] != arms[1] != arms[2] != arms[0]


def test_raw_is_the_models_own_generation(tiny_lm, sae):
    (first, *_) = write(tiny_lm, sae, ("en",), [])
    ids = torch.tensor([tiny_lm.tokenizer(first.prompt, add_special_tokens=False)["input_ids"]])
    output = tiny_lm.model.generate(
        ids, attention_mask=torch.ones_like(ids), max_length=30, do_sample=False, pad_token_id=0
    )
    expected = tiny_lm.tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True).strip()
    assert first.text == expected != ""


def test_an_edit_of_nothing_writes_what_the_model_writes(tiny_lm, sae):
    rows = write(tiny_lm, sae, ("da",), [Edit("set", NEVER, (0.0, 0.0, 0.0), value=0.0)])
    assert texts(rows[:4]) == texts(rows[4:])
    assert [row.edit for row in rows] == ["raw"] * 4 + ["set"] * 4


def test_the_paper_has_four_prompts_a_language():
    assert {language: len(prompts) for language, prompts in PROMPTS.items()} == {"da": 4, "en": 4}


def test_a_language_without_prompts_has_none(tiny_lm, sae):
    rows = write(tiny_lm, sae, ("nb", "en"), [])
    assert [row.language for row in rows] == ["en"] * 4
    assert write(tiny_lm, sae, ("nb",), [STEER]) == []


def test_no_edit_is_left_behind(tiny_lm, sae, count_hooks):
    hooks = count_hooks(tiny_lm.model)
    before = texts(write(tiny_lm, sae, ("da",), []))
    write(tiny_lm, sae, ("da",), [STEER])
    assert count_hooks(tiny_lm.model) == hooks
    assert texts(write(tiny_lm, sae, ("da",), [])) == before


def test_no_edit_is_left_behind_after_an_exception(tiny_lm, sae, count_hooks):
    hooks = count_hooks(tiny_lm.model)
    before = texts(write(tiny_lm, sae, ("da",), []))
    too_wide = Sae(SaeConfig(d_in=D + 1, latents=40, k=6))
    with pytest.raises(Exception, match="d_in|dimension|size|shape"):
        write(tiny_lm, too_wide, ("da",), [STEER])
    assert count_hooks(tiny_lm.model) == hooks
    assert texts(write(tiny_lm, sae, ("da",), [])) == before


def test_progress_comes_to_its_end(tiny_lm, sae):
    done = []
    write(tiny_lm, sae, ("en",), [STEER], progress=done.append)
    assert done == [0.5, 1.0]
