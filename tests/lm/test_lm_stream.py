"""Streams: batched equals one by one, several sites in a pass, and no more of the model than is needed."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import save_file

from glossae.lm import SITE_NAMES, Passes, Site, activations, batches, clear_passes, edit, pad, tokenize

SITES = [Site(name, layer) for name in SITE_NAMES for layer in (0, 2)]


def by_sentence(streamed, sites):
    """{site: {sentence: its tokens in order}} of a whole stream."""
    found = {site: {} for site in sites}
    for part in streamed:
        for number in part.sentence.unique().tolist():
            rows = part.sentence == number
            assert part.position[rows].tolist() == list(range(int(rows.sum())))
            for site in sites:
                assert number not in found[site]
                found[site][number] = part.sites[site][rows]
    return found


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(2, 40), min_size=1, max_size=10), st.integers(1, 200), st.integers(0, 3))
def test_batched_equals_one_by_one(tiny_lm, random_tokens, lengths, budget, seed):
    tokens = random_tokens(lengths, seed)
    batched = by_sentence(activations(tiny_lm, batches(tokens, budget, seed=seed), SITES), SITES)
    for number in range(len(lengths)):
        (alone,) = activations(tiny_lm, [pad(tokens, np.array([number]))], SITES)
        for site in SITES:
            torch.testing.assert_close(batched[site][number], alone.sites[site], atol=1e-4, rtol=1e-4)


def test_pads_and_bos_are_left_out(tiny_lm, tiny_corpus):
    tokens = tokenize(tiny_lm, tiny_corpus, prefix=[tiny_lm.tokenizer.bos_token_id])
    site = Site("resid", 1)
    (part,) = activations(tiny_lm, [pad(tokens, np.array([0, 1, 2]))], [site])
    assert len(part.sentence) == len(part.sites[site]) == tokens.lengths[:3].sum()
    assert int(part.position.min()) == 1


def test_sites_of_one_pass_equal_those_of_their_own_passes(tiny_lm, tiny_tokens):
    batch = pad(tiny_tokens, np.array([3, 8]))
    (together,) = activations(tiny_lm, [batch], SITES)
    for site in SITES:
        (alone,) = activations(tiny_lm, [batch], [site])
        assert torch.equal(alone.sites[site], together.sites[site])


def test_a_site_named_twice_is_given_once(tiny_lm, tiny_tokens):
    site = Site("resid", 0)
    (part,) = activations(tiny_lm, [pad(tiny_tokens, np.array([3]))], [site, site])
    assert list(part.sites) == [site]


@pytest.fixture
def calls(tiny_lm):
    """How often each block's MLP, and the unembedding, were run, by a hook of this test's own."""
    counts = {"unembedding": 0} | dict.fromkeys(range(tiny_lm.layers), 0)

    def count(name):
        def hook(*_):
            counts[name] += 1

        return hook

    handles = [block.mlp.register_forward_pre_hook(count(i)) for i, block in enumerate(tiny_lm.blocks)]
    handles.append(tiny_lm.model.get_output_embeddings().register_forward_pre_hook(count("unembedding")))
    yield counts
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("name", SITE_NAMES)
@pytest.mark.parametrize("deepest", [0, 1, 2])
def test_layers_above_the_deepest_site_are_not_run(tiny_lm, tiny_tokens, calls, name, deepest):
    for _ in activations(tiny_lm, [pad(tiny_tokens, np.array([0]))], [Site(name, deepest), Site("resid", 0)]):
        pass
    assert all(calls[layer] == 0 for layer in range(deepest + 1, 3))
    assert all(calls[layer] == 1 for layer in range(deepest))
    assert calls["unembedding"] == 0


def test_nothing_stays_hooked(tiny_lm, tiny_tokens, count_hooks):
    before = count_hooks(tiny_lm.model)
    stream = activations(tiny_lm, batches(tiny_tokens, 100), [Site("resid", 0)])
    next(stream)
    assert count_hooks(tiny_lm.model) == before
    list(stream)
    assert count_hooks(tiny_lm.model) == before


def test_nothing_stays_hooked_after_an_exception(tiny_lm, tiny_tokens, count_hooks):
    before = count_hooks(tiny_lm.model)
    broken = pad(tiny_tokens, np.array([0]))
    broken.ids[0, 0] = 10_000
    with pytest.raises(IndexError):
        list(activations(tiny_lm, [broken], [Site("resid", 0)]))
    assert count_hooks(tiny_lm.model) == before


def test_the_whole_model_runs_as_before_after_a_stopped_pass(tiny_lm, tiny_tokens):
    batch = pad(tiny_tokens, np.array([0, 5]))
    before = tiny_lm.model(batch.ids, attention_mask=batch.mask.long()).logits
    list(activations(tiny_lm, [batch], [Site("mlp.hidden", 0)]))
    assert torch.equal(tiny_lm.model(batch.ids, attention_mask=batch.mask.long()).logits, before)


def counting(lm):
    """How often the model runs: a list that grows by one with each pass of its first block."""
    seen = []
    forward = lm.blocks[0].forward
    lm.blocks[0].forward = lambda *args, **kwargs: (seen.append(1), forward(*args, **kwargs))[1]
    return seen


@pytest.fixture
def once(tiny_lm, tmp_path):
    lm = dataclasses.replace(tiny_lm, passes=Passes(tmp_path, tiny_lm.model, "0" * 16))
    yield lm, counting(lm), tmp_path
    del lm.blocks[0].forward


def streamed(lm, tokens, sites, budget=64):
    return [(part.sites, part.sentence) for part in activations(lm, batches(tokens, budget), sites)]


def assert_same(one, other):
    for (x, of), (y, also) in zip(one, other, strict=True):
        assert torch.equal(of, also)
        for site in x:
            assert torch.equal(x[site], y[site])


def test_a_batch_that_comes_again_is_not_run_again(once, random_tokens):
    lm, runs, folder = once
    tokens, site = random_tokens([9, 4, 30, 12, 7]), Site("resid", 1)
    expected = streamed(dataclasses.replace(lm, passes=None), tokens, [site])
    del runs[:]
    assert_same(streamed(lm, tokens, [site]), expected)
    assert len(runs) == len(expected)
    assert_same(streamed(lm, tokens, [site]), expected)
    assert len(runs) == len(expected)
    # another site, other batches and several sites at once are passes of their own
    streamed(lm, tokens, [Site("resid", 0)])
    streamed(lm, tokens, [site], budget=10)
    streamed(lm, tokens, [site, Site("resid", 0)])
    assert len(runs) > 3 * len(expected)
    # whoever comes later finds what lies there, unless it is of another model
    same, other = (Passes(folder, lm.model, name) for name in ("0" * 16, "1" * 16))
    count = len(runs)
    assert_same(streamed(dataclasses.replace(lm, passes=same), tokens, [site]), expected)
    assert len(runs) == count
    assert_same(streamed(dataclasses.replace(lm, passes=other), tokens, [site]), expected)
    assert len(runs) == count + len(expected)


def test_a_broken_file_is_as_none_at_all(once, random_tokens, monkeypatch):
    lm, runs, folder = once
    tokens, site = random_tokens([9, 4]), Site("resid", 1)
    expected = streamed(lm, tokens, [site])
    for file in folder.rglob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:40])
    assert_same(streamed(lm, tokens, [site]), expected)
    # one of other tensors, and one in which a bit has turned, which can both be read
    for file in folder.rglob("*.safetensors"):
        save_file({"y": torch.zeros(2)}, file)
    assert_same(streamed(lm, tokens, [site]), expected)
    for file in folder.rglob("*.safetensors"):
        content = bytearray(file.read_bytes())
        content[-100] ^= 1
        file.write_bytes(content)
    assert_same(streamed(lm, tokens, [site]), expected)
    # nor does one that cannot be written stop anything
    clear_passes(folder)
    count = len(runs)

    def full(*_):
        raise SafetensorError("no space left on device")

    monkeypatch.setattr("glossae.lm.passes.save_file", full)
    for _ in range(2):
        assert_same(streamed(lm, tokens, [site]), expected)
    assert len(runs) == count + 2 * len(expected)
    assert list(folder.rglob("*.safetensors")) == []


def test_only_what_was_kept_is_cleared(once, random_tokens):
    lm, _, folder = once
    streamed(lm, random_tokens([9, 4]), [Site("resid", 1)])
    mine, kept = folder / "mine.safetensors", folder / ("0" * 16)
    mine.write_text("mine")
    (folder / "notes").mkdir()
    clear_passes(folder, but=kept.name)
    assert list(kept.iterdir())
    clear_passes(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["mine.safetensors", "notes"]


def test_what_is_kept_is_never_what_another_model_gave(once, random_tokens):
    lm, _, _ = once
    tokens, site = random_tokens([9, 4]), Site("resid", 1)
    streamed(lm, tokens, [site])
    with edit(lm, Site("resid", 0), torch.zeros_like):
        inside = streamed(lm, tokens, [site])
    plain = dataclasses.replace(lm, passes=None)
    with edit(lm, Site("resid", 0), torch.zeros_like):
        assert_same(inside, streamed(plain, tokens, [site]))
    weight = next(lm.blocks[0].parameters())
    with torch.no_grad():
        weight.mul_(2)
        try:
            assert_same(streamed(lm, tokens, [site]), streamed(plain, tokens, [site]))
        finally:
            weight.div_(2)


def test_no_more_is_kept_than_there_is_room_for(tiny_lm, random_tokens, tmp_path):
    tokens, site = random_tokens([9] * 12), Site("resid", 1)
    passes = Passes(tmp_path, tiny_lm.model, "0" * 16, most=1000 * 4)
    lm = dataclasses.replace(tiny_lm, passes=passes)
    first = streamed(lm, tokens, [site], budget=9)
    files = list(tmp_path.rglob("*.safetensors"))
    assert 0 < sum(file.stat().st_size for file in files) <= 4000 + 200 * len(files)
    assert_same(streamed(lm, tokens, [site], budget=9), first)
