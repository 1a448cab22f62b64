import dataclasses

import numpy as np
import pytest
import torch

from glossae.lm import (
    NormRange,
    Site,
    activations,
    adds_bos,
    batches,
    begin,
    edit,
    find_sinks,
    replayed,
    replayed_losses,
    sentence_losses,
    tokenize,
    with_sinks,
)
from glossae.lm.sites import attached
from glossae.text import Corpus, Sentence

RESID = Site("resid", 1)


@pytest.fixture
def tokens(tiny_lm, tiny_corpus):
    return tokenize(tiny_lm, tiny_corpus)


def with_large_tokens(lm, site, chosen, factor=40.0):
    """A context in which the site's tokens at `chosen(position)` are so many times as long."""

    def enlarge(x):
        scale = torch.ones(x.shape[1])
        scale[[place for place in range(x.shape[1]) if chosen(place)]] = factor
        return x * scale[None, :, None]

    return attached([(lm.tap(site), enlarge)])


def test_a_model_without_sinks_has_none(tiny_lm, tokens):
    sites = [Site(name, layer) for name in ("resid", "mlp.hidden") for layer in range(tiny_lm.layers)]
    assert [each.count for each in find_sinks(tiny_lm, tokens, sites)] == [0] * len(sites)
    assert with_sinks(tiny_lm, find_sinks(tiny_lm, tokens, sites)).sinks == {}


@pytest.mark.parametrize("factor", [40.0, 0.02])
def test_planted_sinks_are_found_wherever_they_stand(tiny_lm, tokens, factor):
    with with_large_tokens(tiny_lm, RESID, lambda place: place == 0, factor):
        (found,) = find_sinks(tiny_lm, tokens, [RESID])
    assert (found.count, found.first, found.tokens) == (len(tokens), len(tokens), tokens.lengths.sum())
    assert found.text_share == pytest.approx(len(tokens) / tokens.lengths.sum())
    assert type(found).from_json(found.to_json()) == found
    longest = int(tokens.lengths.max())
    with with_large_tokens(tiny_lm, RESID, lambda place: place == longest - 1, factor):
        (found,) = find_sinks(tiny_lm, tokens, [RESID])
    assert found.count == int((tokens.lengths == longest).sum())
    assert found.first == 0
    assert found.examples


def test_a_heavy_tail_is_no_sink(tiny_lm, tokens):
    def stretch(x):
        # lengths that rise evenly by 10 % from token to token, up to far more than the median
        return x * 1.1 ** torch.arange(x[..., 0].numel()).view(x.shape[:2])[..., None].remainder(40)

    with attached([(tiny_lm.tap(RESID), stretch)]):
        (found,) = find_sinks(tiny_lm, tokens, [RESID])
    assert found.count == 0


def test_sinks_are_left_out_of_activations(tiny_lm, tokens):
    with with_large_tokens(tiny_lm, RESID, lambda place: place == 0):
        lm = with_sinks(tiny_lm, find_sinks(tiny_lm, tokens, [RESID]))
        parts = list(activations(lm, batches(tokens, 64), [RESID]))
        both = list(activations(lm, batches(tokens, 64), [Site("resid", 0), RESID]))
        plain = list(activations(tiny_lm, batches(tokens, 64), [RESID]))
    for part, pair, all_ in zip(parts, both, plain, strict=True):
        kept = all_.position > 0
        assert torch.equal(part.sites[RESID], all_.sites[RESID][kept])
        assert torch.equal(part.sentence, all_.sentence[kept])
        assert torch.equal(pair.position, all_.position[kept])
        assert len(pair.sites[Site("resid", 0)]) == len(part.position)


def test_edits_leave_sinks_and_a_bos_alone(tiny_lm, tokens):
    seen = []

    def look(x):
        seen.append(x.detach().clone())
        return torch.zeros_like(x)

    lm = dataclasses.replace(tiny_lm, bos=True)
    batch = next(batches(tokens, 64))
    with edit(lm, RESID, look):
        sentence_losses(lm, tokens.take(batch.index.numpy()))
    assert sum(map(len, seen)) == int(batch.mask.sum()) - len(batch.ids)
    with with_large_tokens(tiny_lm, RESID, lambda place: place == 0):
        lm = with_sinks(tiny_lm, find_sinks(tiny_lm, tokens, [RESID]))
        seen.clear()
        with edit(lm, RESID, look):
            edited = sentence_losses(lm, tokens)
        assert max(float(x.norm(dim=1).max()) for x in seen) < lm.sinks[RESID].largest
        again = replayed_losses(lm, RESID, tokens, [torch.zeros_like])[0]
        np.testing.assert_allclose(edited, again, rtol=1e-5)
        moved = replayed(lm, RESID, tokens, [torch.zeros_like], side_effects=True).side_effects
        np.testing.assert_allclose(moved.moved[0], moved.size, rtol=1e-5)


def test_a_text_of_sinks_only_is_left_as_it_is(tiny_lm, tokens):
    lm = dataclasses.replace(tiny_lm, sinks={RESID: NormRange(1e9, 2e9)})
    losses = replayed_losses(lm, RESID, tokens, [None, torch.zeros_like])
    np.testing.assert_allclose(losses[0], losses[1])
    assert all(len(part.position) == 0 for part in activations(lm, batches(tokens, 64), [RESID]))


def test_generation_with_and_without_cache_leaves_the_bos_alone(tiny_lm):
    lm = dataclasses.replace(tiny_lm, bos=True)
    ids = torch.tensor([[0, 5, 6, 7]])
    written = []
    for use_cache in (True, False):
        with edit(lm, RESID, lambda x: x * 0.5):
            written.append(
                lm.model.generate(
                    ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=4,
                    do_sample=False,
                    use_cache=use_cache,
                    pad_token_id=0,
                )
            )
    assert torch.equal(*written)


def test_auto_is_what_the_tokenizer_does_by_itself(tiny_lm, tiny_corpus):
    begun = begin(tiny_lm, tiny_corpus, "auto")
    assert begun.bos == begun.by_itself == adds_bos(tiny_lm.tokenizer)
    assert begun.sentences == len(tiny_corpus)
    # the same tokens with and without: recomputed one sentence at a time
    tokens = tokenize(tiny_lm, tiny_corpus, max_tokens=63)
    with_one = tokenize(tiny_lm, tiny_corpus, prefix=[tiny_lm.tokenizer.bos_token_id])
    for expected, given, first in ((begun.loss_without, tokens, 0), (begun.loss_with, with_one, 1)):
        total = count = 0
        for ids in given.ids:
            logits = tiny_lm.model(torch.from_numpy(ids)[None]).logits[0, first:-1]
            total += torch.nn.functional.cross_entropy(
                logits, torch.from_numpy(ids[1 + first :]), reduction="sum"
            ).item()
            count += len(ids) - 1 - first
        assert expected == pytest.approx(total / count, rel=1e-5)


def test_a_costly_choice_is_told(tiny_lm, tiny_corpus):
    begun = begin(tiny_lm, tiny_corpus, False)
    dear = dataclasses.replace(begun, loss_with=begun.loss_without - 1)
    assert "1.00 nats a token higher without a BOS" in dear.warning
    assert "--bos true" in dear.warning
    assert dataclasses.replace(begun, loss_with=begun.loss_without - 0.05).warning is None
    assert dataclasses.replace(dear, bos=True).warning is None


def test_no_text_is_refused(tiny_lm):
    one = Corpus.of([Sentence("a", "da", "1", "s")])
    with pytest.raises(Exception, match="bos: there is no sentence of two tokens"):
        begin(tiny_lm, one, "auto")
