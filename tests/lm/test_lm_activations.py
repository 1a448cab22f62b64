"""Activations: batched equals one by one, several sites in a pass, no batch run twice, and all of it on disk."""

import dataclasses
import itertools
import shutil

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from glossae.corpora import Corpus
from glossae.errors import GlossaeError
from glossae.lm import (
    SITE_NAMES,
    Homes,
    NormRange,
    Passes,
    Site,
    TokenizedCorpus,
    activations,
    batches,
    clear_passes,
    edit,
    in_text_order,
    load,
    pad,
    require_finite,
    stored_activations,
    tokenize,
)
from glossae.sae import Checkpoints, Mixer, SaeConfig, TrainSettings, train_group

SITES = [Site(name, layer) for name in SITE_NAMES for layer in (0, 2)]
RESID = Site("resid", 1)
QUICK = settings(
    deadline=None,
    max_examples=15,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


# ---- the stream


@QUICK
@given(st.lists(st.integers(2, 40), min_size=1, max_size=10), st.integers(1, 200), st.integers(0, 3))
def test_batched_equals_one_by_one(tiny_lm, random_tokens, lengths, budget, seed):
    tokens = random_tokens(lengths, seed)
    parts = list(activations(tiny_lm, batches(tokens, budget, seed=seed), SITES))
    ordered = in_text_order(parts)
    for part in parts:
        for number in part.sentence.unique().tolist():
            assert part.position[part.sentence == number].tolist() == list(range(lengths[number]))
    start = 0
    for number, length in enumerate(lengths):
        (alone,) = activations(tiny_lm, [pad(tokens, np.array([number]))], SITES)
        for site in SITES:
            own = ordered[site][start : start + length]
            torch.testing.assert_close(own, alone.sites[site], atol=1e-4, rtol=1e-4)
        start += length
    assert {len(x) for x in ordered.values()} == {start}


def test_pads_and_bos_are_left_out(tiny_lm, tiny_corpus):
    tokens = tokenize(tiny_lm, tiny_corpus, prefix=[tiny_lm.tokenizer.bos_token_id])
    (part,) = activations(tiny_lm, [pad(tokens, np.array([0, 1, 2]))], [RESID])
    assert len(part.sentence) == len(part.sites[RESID]) == tokens.lengths[:3].sum()
    assert int(part.position.min()) == 1


def test_sites_of_one_pass_equal_those_of_their_own_passes(tiny_lm, tiny_tokens):
    batch = pad(tiny_tokens, np.array([3, 8]))
    (together,) = activations(tiny_lm, [batch], [*SITES, SITES[0]])
    assert list(together.sites) == SITES
    for site in SITES:
        (alone,) = activations(tiny_lm, [batch], [site])
        assert torch.equal(alone.sites[site], together.sites[site])
        assert alone.sites[site].shape[1] == tiny_lm.width(site) == (48 if site.name == "mlp.hidden" else 32)


@pytest.mark.parametrize("name", SITE_NAMES)
@pytest.mark.parametrize("deepest", [0, 1, 2])
def test_layers_above_the_deepest_site_are_not_run(tiny_lm, tiny_tokens, name, deepest):
    calls = []
    modules = [*(block.mlp for block in tiny_lm.blocks), tiny_lm.model.get_output_embeddings()]
    handles = [
        module.register_forward_pre_hook(lambda *_, place=place: calls.append(place))
        for place, module in enumerate(modules)
    ]
    list(activations(tiny_lm, [pad(tiny_tokens, np.array([0]))], [Site(name, deepest), Site("resid", 0)]))
    for handle in handles:
        handle.remove()
    # at attn.out the MLP of its own block may come after it
    assert calls in ([*range(deepest)], [*range(deepest + 1)])


def test_nothing_is_left_of_a_stopped_pass_also_after_an_exception(tiny_lm, tiny_tokens, count_hooks):
    hooks, batch = count_hooks(tiny_lm.model), pad(tiny_tokens, np.array([0, 5]))
    before = tiny_lm.model(batch.ids, attention_mask=batch.mask.long()).logits
    next(activations(tiny_lm, [batch, batch], [Site("mlp.hidden", 0)]))
    assert count_hooks(tiny_lm.model) == hooks
    assert torch.equal(tiny_lm.model(batch.ids, attention_mask=batch.mask.long()).logits, before)
    batch.ids[0, 0] = 10_000
    with pytest.raises(IndexError):
        list(activations(tiny_lm, [batch], [Site("resid", 0)]))
    assert count_hooks(tiny_lm.model) == hooks


def test_what_is_not_finite_is_found_where_it_arises(tiny_lm, tiny_model, tmp_path, tiny_corpus):
    # finite itself, with a token whose embedding is too large for a norm
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    token = tiny_lm.tokenizer("Pigen på øen", add_special_tokens=False)["input_ids"][0]
    tensors = load_file(folder / "model.safetensors")
    tensors["gpt_neox.embed_in.weight"][token] = 3e38
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    tokens = tokenize(tiny_lm, tiny_corpus)

    def passed_on(lm):
        return list(require_finite(lm, activations(lm, batches(tokens, 64), [RESID]), tokens))

    assert sum(len(part.sentence) for part in passed_on(tiny_lm)) == int(tokens.lengths.sum())
    line = r"^model: .*resid of layer 1 is NaN or infinite at token \d+ .*'.*Pigen på øen.*' \(da, tiny.tsv\); .*$"
    with pytest.raises(GlossaeError, match=line):
        passed_on(load(str(folder)))


# ---- passes that are kept


@pytest.fixture
def once(tiny_lm, tmp_path):
    """A model that keeps its passes, a list that grows by one with each pass of its first block, and the folder."""
    lm, runs = dataclasses.replace(tiny_lm, passes=Passes(tmp_path, tiny_lm.model, "0" * 16)), []
    forward = lm.blocks[0].forward
    lm.blocks[0].forward = lambda *args, **kwargs: (runs.append(1), forward(*args, **kwargs))[1]
    yield lm, runs, tmp_path
    del lm.blocks[0].forward


def streamed(lm, tokens, sites=(RESID,), budget=64):
    return [(part.sites, part.sentence) for part in activations(lm, batches(tokens, budget), sites)]


def assert_same(one, other):
    for (x, of), (y, also) in zip(one, other, strict=True):
        assert torch.equal(of, also)
        for site in x:
            assert torch.equal(x[site], y[site])


def test_a_batch_that_comes_again_is_not_run_again(once, random_tokens):
    lm, runs, folder = once
    tokens = random_tokens([9, 4, 30, 12, 7])
    expected = streamed(dataclasses.replace(lm, passes=None), tokens)
    del runs[:]
    for _ in range(2):
        assert_same(streamed(lm, tokens), expected)
        assert len(runs) == len(expected)
    # another site and other batches are passes of their own; several sites at once are not
    streamed(lm, tokens, [Site("resid", 0)])
    assert len(runs) == 2 * len(expected)
    both = streamed(lm, tokens, [RESID, Site("resid", 0)])
    assert_same([({RESID: sites[RESID]}, of) for sites, of in both], expected)
    assert len(runs) == 2 * len(expected)
    streamed(lm, tokens, budget=10)
    assert len(runs) > 3 * len(expected)
    # whoever comes later finds what lies there, unless it is of another model
    same, other = (Passes(folder, lm.model, name) for name in ("0" * 16, "1" * 16))
    count = len(runs)
    assert_same(streamed(dataclasses.replace(lm, passes=same), tokens), expected)
    assert len(runs) == count
    assert_same(streamed(dataclasses.replace(lm, passes=other), tokens), expected)
    assert len(runs) == count + len(expected)


@pytest.mark.parametrize("recent", [0, 2**26])
def test_a_sentence_is_run_once_in_its_home_whatever_batches_ask_for_it(
    once, random_tokens, monkeypatch, recent
):
    monkeypatch.setattr("glossae.lm.passes.RECENT_BYTES", recent)
    lm, runs, _ = once
    texts, other = (
        [random_tokens([9, 4, 30, 12, 7, 8, 5]), random_tokens([6, 9, 11], seed=1)],
        random_tokens([4, 40], seed=2),
    )
    home = {
        (number, row): x
        for number, text in enumerate(texts)
        for sites, of in streamed(dataclasses.replace(lm, passes=None), text, budget=32)
        for row in of.unique().tolist()
        for x in [sites[RESID][of == row]]
    }
    alone = streamed(dataclasses.replace(lm, passes=None), other, budget=1)
    del runs[:]
    # sentences that come twice have one home
    lm.passes.homes = lambda: homes
    homes = Homes([texts[0], texts[0].take([3, 1]), texts[1]], budget=32, most=1000)
    mixed = TokenizedCorpus(
        Corpus.of([*texts[1].corpus.sentences, *other.corpus.sentences, *texts[0].corpus.sentences]),
        [*texts[1].ids, *other.ids, *texts[0].ids],
        np.concatenate([texts[1].predicted_bytes, other.predicted_bytes, texts[0].predicted_bytes]),
        {},
        {},
        0,
    )
    places = [*((1, row) for row in range(3)), None, None, *((0, row) for row in range(7))]
    for budget, order in ((1, range(12)), (200, reversed(range(12)))):
        asked = list(order)
        for sites, of in streamed(lm, mixed.take(asked), budget=budget):
            for row in of.unique().tolist():
                if (place := places[asked[row]]) is not None:
                    assert torch.equal(sites[RESID][of == row], home[place])
                else:
                    assert torch.allclose(sites[RESID][of == row], alone[asked[row] - 3][0][RESID], atol=1e-5)
    # every home once, and each of the others, which are too unlike in length for a batch
    assert len(runs) == len(list(batches(texts[0], 32))) + len(list(batches(texts[1], 32))) + 2


def test_a_call_for_hidden_states_leaves_the_passes_as_they_were(tiny_model, random_tokens, tmp_path):
    lm = load(str(tiny_model))
    lm.model(torch.tensor([[1, 2]]), output_hidden_states=True)
    passes = Passes(tmp_path, lm.model, "0" * 16)
    assert passes.hold(lm.model)
    # a hook that may change something is another matter
    handle = lm.blocks[0].register_forward_hook(lambda *_: None)
    assert not passes.hold(lm.model)
    handle.remove()
    assert passes.hold(lm.model)


def test_a_text_that_is_too_large_has_no_homes(random_tokens):
    large, small = random_tokens([9] * 12), random_tokens([6, 9], seed=1)
    homes = Homes([large, small], budget=32, most=20)
    assert [homes.places(batch) for batch in batches(large, 200)] == [[None] * 12]
    assert [homes.places(batch) for batch in batches(small, 200)] == [[(0, 0), (0, 1)]]


def test_a_broken_file_is_as_none_at_all(once, random_tokens, monkeypatch):
    # what was read last stays in memory
    monkeypatch.setattr("glossae.lm.passes.RECENT_BYTES", 0)
    lm, runs, folder = once
    tokens = random_tokens([9, 4])
    expected = streamed(lm, tokens)

    def turn_a_bit(file):
        content = bytearray(file.read_bytes())
        content[-100] ^= 1
        file.write_bytes(content)

    breaks = (
        lambda file: file.write_bytes(file.read_bytes()[:40]),
        # these two can be read
        lambda file: save_file({"y": torch.zeros(2)}, file),
        turn_a_bit,
    )
    for spoil in breaks:
        for file in folder.rglob("*.safetensors"):
            spoil(file)
        assert_same(streamed(lm, tokens), expected)
    # nor one under another's name
    other = streamed(lm, random_tokens([9, 4], seed=1))
    one, two = folder.rglob("*.safetensors")
    one.rename(folder / "away")
    two.rename(one)
    (folder / "away").rename(two)
    assert_same(streamed(lm, tokens), expected)
    assert_same(streamed(lm, random_tokens([9, 4], seed=1)), other)
    # nor does one that cannot be written stop anything
    clear_passes(folder)
    count = len(runs)

    def full(*_):
        raise GlossaeError("no space left on device")

    monkeypatch.setattr("glossae.lm.passes.write_tensors", full)
    said: list[str] = []
    lm = dataclasses.replace(lm, passes=Passes(folder, lm.model, "0" * 16, stopped=said.append))
    for _ in range(2):
        assert_same(streamed(lm, tokens), expected)
    assert said == ["activations are kept no longer: no space left on device"]
    assert len(runs) == count + 2 * len(expected)
    assert list(folder.rglob("*.safetensors")) == []


def test_only_what_was_kept_is_cleared(once, random_tokens):
    lm, _, folder = once
    streamed(lm, random_tokens([9, 4]))
    mine, kept = folder / "mine.safetensors", folder / ("0" * 16)
    mine.write_text("mine")
    (folder / "notes").mkdir()
    clear_passes(folder, but=kept.name)
    assert list(kept.iterdir())
    clear_passes(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["mine.safetensors", "notes"]


def test_what_is_kept_is_never_what_another_model_gave(once, random_tokens):
    lm, _, _ = once
    tokens, plain = random_tokens([9, 4]), dataclasses.replace(lm, passes=None)
    streamed(lm, tokens)
    with edit(lm, Site("resid", 0), torch.zeros_like):
        assert_same(streamed(lm, tokens), streamed(plain, tokens))
    weight = next(lm.blocks[0].parameters())
    with torch.no_grad():
        weight.mul_(2)
        try:
            assert_same(streamed(lm, tokens), streamed(plain, tokens))
        finally:
            weight.div_(2)


def test_no_more_is_kept_than_there_is_room_for(tiny_lm, random_tokens, tmp_path):
    tokens = random_tokens([9] * 12)
    lm = dataclasses.replace(tiny_lm, passes=Passes(tmp_path, tiny_lm.model, "0" * 16, most=1000 * 4))
    first = streamed(lm, tokens, budget=9)
    files = list(tmp_path.rglob("*.safetensors"))
    assert 0 < sum(file.stat().st_size for file in files) <= 4000 + 200 * len(files)
    assert_same(streamed(lm, tokens, budget=9), first)


# ---- one pass on disk

KEPT = [Site("resid", 0), Site("mlp.hidden", 2), Site("resid", 2)]


@pytest.fixture(scope="module")
def stored(tiny_lm, tiny_tokens):
    with stored_activations(tiny_lm, tiny_tokens, KEPT, budget=200) as found:
        yield found


def rows_of(x):
    """Rows, to be compared whatever their order."""
    return sorted(map(tuple, x.tolist()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bos", [False, True])
def test_every_site_has_what_a_pass_gives(tiny_model, tiny_corpus, tmp_path, dtype, bos):
    lm = load(str(tiny_model), dtype=dtype)
    tokens = tokenize(lm, tiny_corpus, prefix=[lm.tokenizer.bos_token_id] * bos)
    parts = list(activations(lm, batches(tokens, 200, seed=0), KEPT))
    passes, done = [], []
    handle = lm.blocks[0].register_forward_hook(lambda *_: passes.append(1))
    with stored_activations(lm, tokens, KEPT, tmp_path, budget=200, progress=done.append) as found:
        assert len(list(tmp_path.glob(".*/*"))) == len(KEPT)
        assert len(found) == sum(len(part.sentence) for part in parts) == tokens.lengths.sum()
        for site in KEPT:
            assert found.read(site).dtype == dtype
            assert torch.equal(found.read(site), torch.cat([part.sites[site] for part in parts]))
            list(found.batches(site, 100, epochs=2, seed=0))
        assert torch.equal(found.sentence, torch.cat([part.sentence for part in parts]))
        assert torch.equal(found.position, torch.cat([part.position for part in parts]))
    handle.remove()
    # the model is run once for all sites
    assert len(passes) == len(parts)
    assert done == sorted(done)
    assert done[-1] == 1.0
    assert list(tmp_path.iterdir()) == []


def test_sinks_at_any_of_the_sites_have_no_row_at_all(tiny_lm, tiny_tokens, stored):
    norm = stored.read(KEPT[1]).norm(dim=1)
    edge = float(norm.quantile(0.9))
    lm = dataclasses.replace(tiny_lm, sinks={KEPT[1]: NormRange(0.0, edge)})
    with stored_activations(lm, tiny_tokens, KEPT, budget=200) as found:
        assert len(found) == int((norm <= edge).sum()) < len(stored)
        for site in KEPT:
            assert torch.equal(found.read(site), stored.read(site)[norm <= edge])
        assert torch.equal(found.sentence, stored.sentence[norm <= edge])
        assert sum(map(len, found.batches(KEPT[0], 64, epochs=2, seed=0))) == 2 * len(found)


@QUICK
@given(size=st.integers(1, 2500), epochs=st.integers(1, 3), seed=st.integers(0, 5))
def test_every_epoch_gives_every_row_once_in_another_order(stored, size, epochs, seed):
    given_out = list(stored.batches(KEPT[0], size, epochs=epochs, seed=seed))
    assert [len(x) for x in given_out[:-1]] == [size] * (len(given_out) - 1)
    assert len(given_out) == -(-epochs * len(stored) // size)
    assert rows_of(torch.cat(given_out)) == sorted(epochs * rows_of(stored.read(KEPT[0])))
    if size < len(stored) // 2:
        assert rows_of(given_out[0]) != rows_of(stored.read(KEPT[0])[:size])
        if epochs > 1 and len(stored) % size == 0:
            assert rows_of(given_out[0]) != rows_of(given_out[len(stored) // size])


def test_batches_are_seeded_mixtures_of_sentences_with_the_same_rows_at_every_site(stored):
    first, again, other = (list(stored.batches(KEPT[0], 50, seed=seed)) for seed in (1, 1, 2))
    assert all(torch.equal(x, y) for x, y in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    here = {tuple(row): number for number, row in enumerate(stored.read(KEPT[0]).tolist())}
    there = stored.read(KEPT[1])
    for x, y in zip(first, stored.batches(KEPT[1], 50, seed=1), strict=True):
        rows = [here[tuple(row)] for row in x.tolist()]
        # texts with the same beginning have the same rows there, and the last of them is taken
        torch.testing.assert_close(y, there[rows])
        assert len(rows) < 50 or len(stored.sentence[rows].unique()) > 10


@pytest.mark.parametrize("start", [0, 1, 7, 10**6])
def test_batches_can_be_taken_up_at_any_number(stored, start):
    whole = list(stored.batches(KEPT[0], 60, epochs=2, seed=3))
    rest = list(stored.batches(KEPT[0], 60, epochs=2, seed=3, start=start))
    assert len(rest) == max(0, len(whole) - start)
    assert all(torch.equal(x, y) for x, y in zip(whole[start:], rest, strict=True))


def test_batches_hold_the_same_tokens_whatever_the_size_of_the_models_batches(tiny_lm, tiny_tokens, stored):
    with stored_activations(tiny_lm, tiny_tokens, KEPT, budget=40) as other:
        assert not torch.equal(other.sentence, stored.sentence)
        both = (each.batches(KEPT[0], 64, epochs=2, seed=3) for each in (stored, other))
        for one, its in zip(*both, strict=True):
            assert torch.allclose(one.sum(0), its.sum(0), atol=1e-4)
            assert torch.allclose(one.square().sum(0), its.square().sum(0), atol=1e-4)


def test_several_sites_and_kinds_are_trained_from_one_pass_and_go_on_from_a_checkpoint(stored, tmp_path):
    for site, width in ((KEPT[0], 32), (KEPT[1], 48)):
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

        def trained(stream, seconds=None, jobs=jobs, folder=tmp_path / str(site)):
            kept = None if seconds is None else Checkpoints(folder, identity="one", seconds=seconds)
            return train_group(jobs, stream, Mixer(None, 0, torch.Generator()), checkpoints=kept)

        whole = trained(stream)
        with pytest.raises(KeyboardInterrupt):
            trained(cut, 0)
        for (sae, log), (other, its_log) in zip(whole, trained(stream, 0), strict=True):
            assert log == its_log
            assert log[-1].step == steps
            assert log[-1].fvu < log[0].fvu
            for name, tensor in sae.state_dict().items():
                assert torch.equal(tensor, other.state_dict()[name])


def test_what_cannot_be_stored_or_given_is_refused_and_nothing_is_left(
    stored, tiny_lm, tiny_tokens, tmp_path
):
    line = r"^activations: attn.out of layer 1 was not stored; there are resid of"
    with pytest.raises(GlossaeError, match=line):
        stored.read(Site("attn.out", 1))
    with pytest.raises(GlossaeError, match=r"^activations: a size and epochs of at least 1"):
        next(stored.batches(KEPT[0], 0, seed=0))
    nothing = stored_activations(tiny_lm, tiny_tokens.take([]), KEPT, tmp_path)
    with pytest.raises(GlossaeError, match=r"^activations: there is no text"), nothing:
        pass
    with pytest.raises(ZeroDivisionError), stored_activations(tiny_lm, tiny_tokens, KEPT, tmp_path):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
