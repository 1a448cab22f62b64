"""Stored activations: one pass for all sites, the same rows at each, every row once an epoch, gone afterwards."""

import dataclasses
import itertools

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glossae.errors import GlossaeError
from glossae.lm import NormRange, Site, activations, batches, load, stored_activations, tokenize
from glossae.sae import Checkpoints, Mixer, SaeConfig, TrainSettings, train_group

SITES = [Site("resid", 0), Site("mlp.hidden", 2), Site("resid", 2)]


@pytest.fixture(scope="module")
def stored(tiny_lm, tiny_tokens):
    with stored_activations(tiny_lm, tiny_tokens, SITES, budget=200) as found:
        yield found


def rows_of(x):
    """Rows, to be compared whatever their order."""
    return sorted(map(tuple, x.tolist()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bos", [False, True])
def test_every_site_has_what_a_pass_gives(tmp_path, make_model_folder, tiny_corpus, dtype, bos):
    lm = load(str(make_model_folder(tmp_path / "model", dtype=dtype)), dtype=dtype)
    tokens = tokenize(lm, tiny_corpus, prefix=[lm.tokenizer.bos_token_id] * bos)
    parts = list(activations(lm, batches(tokens, 200, seed=0), SITES))
    with stored_activations(lm, tokens, SITES, budget=200) as found:
        assert len(found) == sum(len(part.sentence) for part in parts) == tokens.lengths.sum()
        for site in SITES:
            assert found.read(site).dtype == dtype
            assert torch.equal(found.read(site), torch.cat([part.sites[site] for part in parts]))
        assert torch.equal(found.sentence, torch.cat([part.sentence for part in parts]))
        assert torch.equal(found.position, torch.cat([part.position for part in parts]))


def test_sinks_at_any_of_the_sites_have_no_row_at_all(tiny_lm, tiny_tokens, stored):
    norm = stored.read(SITES[1]).norm(dim=1)
    edge = float(norm.quantile(0.9))
    lm = dataclasses.replace(tiny_lm, sinks={SITES[1]: NormRange(0.0, edge)})
    with stored_activations(lm, tiny_tokens, SITES, budget=200) as found:
        assert len(found) == int((norm <= edge).sum()) < len(stored)
        for site in SITES:
            assert torch.equal(found.read(site), stored.read(site)[norm <= edge])
        assert torch.equal(found.sentence, stored.sentence[norm <= edge])
        assert sum(map(len, found.batches(SITES[0], 64, epochs=2, seed=0))) == 2 * len(found)


def test_the_model_is_run_once_for_all_sites(tiny_lm, tiny_tokens):
    passes = []
    handle = tiny_lm.blocks[0].register_forward_hook(lambda *_: passes.append(1))
    try:
        with stored_activations(tiny_lm, tiny_tokens, SITES, budget=200) as found:
            for site in SITES:
                list(found.batches(site, 16, epochs=3, seed=0))
    finally:
        handle.remove()
    assert len(passes) == len(list(batches(tiny_tokens, 200, seed=0)))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.integers(1, 2500), epochs=st.integers(1, 3), seed=st.integers(0, 5))
def test_every_epoch_gives_every_row_once_in_another_order(stored, size, epochs, seed):
    given_out = list(stored.batches(SITES[0], size, epochs=epochs, seed=seed))
    total = epochs * len(stored)
    assert [len(x) for x in given_out[:-1]] == [size] * (len(given_out) - 1)
    assert len(given_out) == -(-total // size)
    everything = torch.cat(given_out)
    assert rows_of(everything) == sorted(epochs * rows_of(stored.read(SITES[0])))
    if size < len(stored) // 2:
        first = stored.read(SITES[0])[:size]
        assert rows_of(given_out[0]) != rows_of(first)
        if epochs > 1 and len(stored) % size == 0:
            assert rows_of(given_out[0]) != rows_of(given_out[len(stored) // size])


def test_batches_are_the_same_for_a_seed_and_the_same_rows_at_every_site(stored):
    first, again, other = (list(stored.batches(SITES[0], 50, seed=seed)) for seed in (1, 1, 2))
    assert all(torch.equal(x, y) for x, y in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    here = {tuple(row): number for number, row in enumerate(stored.read(SITES[0]).tolist())}
    there = stored.read(SITES[1])
    for x, y in zip(first, stored.batches(SITES[1], 50, seed=1), strict=True):
        # texts with the same beginning have the same rows there, but for rounding
        torch.testing.assert_close(y, there[[here[tuple(row)] for row in x.tolist()]])


@pytest.mark.parametrize("start", [0, 1, 7, 10**6])
def test_batches_can_be_taken_up_at_any_number(stored, start):
    whole = list(stored.batches(SITES[0], 60, epochs=2, seed=3))
    rest = list(stored.batches(SITES[0], 60, epochs=2, seed=3, start=start))
    assert len(rest) == max(0, len(whole) - start)
    assert all(torch.equal(x, y) for x, y in zip(whole[start:], rest, strict=True))


def test_a_batch_is_a_mixture_of_sentences(stored):
    rows = {tuple(row): number for number, row in enumerate(stored.read(SITES[0]).tolist())}
    (batch,) = itertools.islice(stored.batches(SITES[0], 100, seed=0), 1)
    sentences = stored.sentence[[rows[tuple(row)] for row in batch.tolist()]]
    assert len(sentences.unique()) > 30


def test_batches_hold_the_same_tokens_whatever_the_size_of_the_models_batches(tiny_lm, tiny_tokens, stored):
    with stored_activations(tiny_lm, tiny_tokens, SITES, budget=40) as other:
        assert not torch.equal(other.sentence, stored.sentence)
        for one, its in zip(
            stored.batches(SITES[0], 64, epochs=2, seed=3),
            other.batches(SITES[0], 64, epochs=2, seed=3),
            strict=True,
        ):
            assert torch.allclose(one.sum(0), its.sum(0), atol=1e-4)
            assert torch.allclose(one.square().sum(0), its.square().sum(0), atol=1e-4)


def test_several_sites_and_kinds_are_trained_from_one_pass_and_go_on_from_a_checkpoint(stored, tmp_path):
    for site in (SITES[0], SITES[1]):
        width = stored.sites[site].width
        steps = -(-3 * len(stored) // 64)
        settings = TrainSettings(steps=steps, tokens=3 * len(stored), lr=0.01)
        jobs = [
            (SaeConfig(d_in=width, latents=2 * width, k=3), settings),
            (SaeConfig(d_in=width, latents=width, k=2, activation="batchtopk"), settings),
        ]

        def stream(start, site=site):
            return stored.batches(site, 64, epochs=3, seed=5, start=start)

        def cut(start, stream=stream):
            yield from itertools.islice(stream(start), 20)
            raise KeyboardInterrupt

        def passing():
            return Mixer(None, 0, torch.Generator())

        whole = train_group(jobs, stream, passing())
        folder = tmp_path / str(site)
        with pytest.raises(KeyboardInterrupt):
            train_group(jobs, cut, passing(), checkpoints=Checkpoints(folder, identity="one", seconds=0))
        again = train_group(
            jobs, stream, passing(), checkpoints=Checkpoints(folder, identity="one", seconds=0)
        )
        for (sae, log), (other, its_log) in zip(whole, again, strict=True):
            assert log == its_log
            assert log[-1].step == steps
            assert log[-1].fvu < log[0].fvu
            for name, tensor in sae.state_dict().items():
                assert torch.equal(tensor, other.state_dict()[name])


def test_nothing_is_left_on_disk_also_after_an_error(tiny_lm, tiny_tokens, tmp_path):
    with stored_activations(tiny_lm, tiny_tokens, SITES, tmp_path):
        assert len(list(tmp_path.glob(".*/*"))) == len(SITES)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ZeroDivisionError), stored_activations(tiny_lm, tiny_tokens, SITES, tmp_path):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_progress_comes_to_its_end(tiny_lm, tiny_tokens):
    done = []
    with stored_activations(tiny_lm, tiny_tokens, SITES, budget=200, progress=done.append):
        pass
    assert done == sorted(done)
    assert done[-1] == 1.0


def test_what_cannot_be_given_is_refused(stored, tiny_lm, tiny_tokens):
    with pytest.raises(
        GlossaeError, match=r"^activations: attn.out of layer 1 was not stored; there are resid of"
    ):
        stored.read(Site("attn.out", 1))
    with pytest.raises(GlossaeError, match=r"^activations: a size and epochs of at least 1"):
        next(stored.batches(SITES[0], 0, seed=0))
    nothing = stored_activations(tiny_lm, tiny_tokens.take([]), SITES)
    with pytest.raises(GlossaeError, match=r"^activations: there is no text"), nothing:
        pass
