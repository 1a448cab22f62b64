"""Neurons switched off at all layers at once: the model is then the one without their output weights."""

import copy

import pytest
import torch

from glossae.effects import neurons_off
from glossae.errors import GlossaeError
from glossae.find import lape
from glossae.lm import Site, activations, batches, edits, load, sentence_losses, tokenize
from tiny_families import write_family

OFF = {0: (3, 0, 47), 2: (5,), 1: ()}


@pytest.mark.parametrize(
    ("name", "path"), [("gpt_neox", "mlp.dense_4h_to_h"), ("llama", "mlp.down_proj"), ("opt", "fc2")]
)
def test_switched_off_is_as_without_their_output_weights(tmp_path, tiny_tokenizer, tiny_corpus, name, path):
    lm = load(str(write_family(tmp_path, name, tiny_tokenizer)))
    tokens = tokenize(lm, tiny_corpus)
    before = sentence_losses(lm, tokens)
    with edits(lm, neurons_off(lm, OFF)):
        found = sentence_losses(lm, tokens)
    kept = copy.deepcopy(lm.model.state_dict())
    with torch.no_grad():
        for layer, ids in OFF.items():
            lm.blocks[layer].get_submodule(path).weight[:, list(ids)] = 0.0
    without = sentence_losses(lm, tokens)
    lm.model.load_state_dict(kept)
    torch.testing.assert_close(torch.as_tensor(found), torch.as_tensor(without), atol=1e-4, rtol=1e-5)
    assert not torch.allclose(torch.as_tensor(found), torch.as_tensor(before), atol=1e-3)
    torch.testing.assert_close(torch.as_tensor(sentence_losses(lm, tokens)), torch.as_tensor(before))


def test_they_read_exactly_zero_and_all_others_what_they_read(tiny_lm, tiny_tokens):
    sites = [Site("mlp.hidden", layer) for layer in range(3)]
    (plain,) = activations(tiny_lm, batches(tiny_tokens, 10**6), sites)
    with edits(tiny_lm, neurons_off(tiny_lm, OFF)):
        (edited,) = activations(tiny_lm, batches(tiny_tokens, 10**6), sites)
    for layer, ids in OFF.items():
        assert not edited.sites[sites[layer]][:, list(ids)].any()
    others = [neuron for neuron in range(48) if neuron not in OFF[0]]
    assert torch.equal(edited.sites[sites[0]][:, others], plain.sites[sites[0]][:, others])


def test_lape_neurons_can_be_switched_off_as_they_come(tiny_lm, tiny_tokens):
    found = lape(tiny_lm, tiny_tokens, target="da", share=0.3, percentile=0.5)
    changes = neurons_off(tiny_lm, found.best(7), positions="not_first")
    assert sum(len(ids) for ids in found.best(7).values()) == 7
    assert [change.site.layer for change in changes] == sorted(found.best(7))
    assert {change.positions for change in changes} == {"not_first"}
    assert neurons_off(tiny_lm, {}) == []


@pytest.mark.parametrize(
    ("neurons", "message"),
    [
        ({3: (1,)}, "^layer: .* has the layers 0 to 2, and 3 is not one of them"),
        ({1: (48,)}, "there is no neuron 48; there are 0 to 47"),
        ({1: (4, 4)}, "the unit 4 is named twice"),
    ],
)
def test_what_is_not_there_is_refused(tiny_lm, neurons, message):
    with pytest.raises(GlossaeError, match=message):
        neurons_off(tiny_lm, neurons)
