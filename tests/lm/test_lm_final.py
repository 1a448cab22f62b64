"""Final hidden states: those of `transformers`, also replayed under edits, and what is pooled of them."""

import pytest
import torch

from glossae.lm import (
    Batch,
    Site,
    batches,
    edit,
    final_states,
    mean_over_all,
    mean_over_text,
    replay,
    text_states,
)


def rolled(x):
    # a norm does not see a factor
    return x.roll(1, -1)


@pytest.fixture(scope="module")
def batch(tiny_tokens):
    return next(batches(tiny_tokens, 600))


@torch.no_grad()
def test_they_are_the_last_of_the_hidden_states(tiny_lm, batch):
    found = tiny_lm.model(
        input_ids=batch.ids, attention_mask=batch.mask.long(), output_hidden_states=True
    ).hidden_states[-1]
    assert torch.equal(final_states(tiny_lm, batch), found)


@pytest.mark.parametrize("site", [Site("resid", 0), Site("resid", 2), Site("mlp.hidden", 1)], ids=str)
@torch.no_grad()
def test_replayed_they_are_those_of_a_full_pass(tiny_lm, batch, site):
    with replay(tiny_lm, site, final_states) as run:
        own = run.begin(batch)
        under = run.under(rolled)
        again = run.under(lambda x: x)
    assert torch.equal(own, final_states(tiny_lm, batch))
    assert torch.allclose(again[batch.mask], own[batch.mask], atol=1e-5)
    with edit(tiny_lm, site, rolled):
        full = final_states(tiny_lm, batch)
    assert torch.allclose(under[batch.mask], full[batch.mask], atol=1e-5)
    assert not torch.allclose(under[batch.mask], own[batch.mask], atol=1e-2)


@torch.no_grad()
def test_the_mean_over_text_is_each_rows_own(tiny_lm, tiny_tokens, batch):
    states = final_states(tiny_lm, batch)
    pooled = mean_over_text(batch, states)
    for row, number in enumerate(batch.index.tolist()):
        ids = torch.from_numpy(tiny_tokens.ids[number])[None]
        alone = tiny_lm.model(input_ids=ids, output_hidden_states=True).hidden_states[-1][0].mean(0)
        assert torch.allclose(pooled[row], alone, atol=1e-4)
    assert torch.allclose(mean_over_all(batch, states), states.mean(1))


@torch.no_grad()
def test_pads_that_are_edited_are_still_not_looked_at(tiny_lm, batch):
    # a mask over everything, and pads of EOS: as the paper's code has it
    padded = Batch(batch.ids, torch.ones_like(batch.mask), batch.mask, batch.index)
    found = tiny_lm.model(
        input_ids=batch.ids, attention_mask=batch.mask.long(), output_hidden_states=True
    ).hidden_states[-1]
    assert torch.equal(text_states(tiny_lm, padded), found)
    with replay(tiny_lm, Site("resid", 1), text_states) as run:
        run.begin(padded)
        under = run.under(rolled)
    handle = tiny_lm.blocks[1].register_forward_hook(
        lambda _module, _args, output: (
            rolled(output) if torch.is_tensor(output) else (rolled(output[0]), *output[1:])
        )
    )
    try:
        everywhere = final_states(tiny_lm, batch)
    finally:
        handle.remove()
    assert torch.allclose(under, everywhere, atol=1e-4)
    assert not batch.mask.all()
