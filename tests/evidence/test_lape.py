"""LAPE neurons: planted ones are found, every family is counted by the paper's formula, a BOS is not counted."""

import dataclasses
import sys

import numpy as np
import pytest
import torch

from glossae.corpora import Corpus, Sentence
from glossae.errors import GlossaeError
from glossae.evidence import lape
from glossae.lm import NormRange, Site, TokenizedCorpus, activations, batches, load, tokenize
from tiny_families import FAMILIES, write_family

CODES = ("da", "en", "sv")
DANISH, SWEDISH = ((0, 3), (1, 7), (1, 9), (2, 40)), ((0, 11), (2, 5))


def text_of_own_tokens(sentences=30):
    """Sentences of token ids that only their language has: 1-99, 100-198, 199-297."""
    generator = np.random.default_rng(0)
    languages = [CODES[number % 3] for number in range(sentences)]
    return TokenizedCorpus(
        corpus=Corpus.of(Sentence("", code, str(number), "") for number, code in enumerate(languages)),
        ids=tuple(
            generator.integers(1 + 99 * CODES.index(code), 100 + 99 * CODES.index(code), size=12)
            for code in languages
        ),
        predicted_bytes=np.ones(sentences, dtype=np.int64),
        dropped={},
        cut={},
        prefix=0,
    )


@pytest.fixture(scope="module")
def planted(tmp_path_factory, make_model_folder):
    """A model whose residual stream says the language in four coordinates, which only the planted neurons read."""
    lm = load(str(make_model_folder(tmp_path_factory.mktemp("planted"))))
    with torch.no_grad():
        embedding = lm.model.get_input_embeddings().weight
        embedding[:, :2] = -20.0
        embedding[1:100, 0] = 20.0
        embedding[199:298, 1] = 20.0
        # so that the mean, which the norm takes off every coordinate, says nothing
        embedding[:, 2:4] = -embedding[:, :2]
        for layer, block in enumerate(lm.blocks):
            weight = block.mlp.dense_h_to_4h.weight
            weight[:, :4] = 0.0
            block.attention.query_key_value.weight[:, :4] = 0.0
            for coordinate, neurons in enumerate((DANISH, SWEDISH)):
                for at, neuron in neurons:
                    if at == layer:
                        weight[neuron] = 0.0
                        weight[neuron, coordinate] = 1.0
                        block.mlp.dense_4h_to_h.weight[:, neuron] = 0.0
    return lm


def test_planted_neurons_are_found_at_their_layers(planted):
    found = lape(planted, text_of_own_tokens(), target="da", share=6 / 144)
    assert found.languages == CODES
    assert found.tokens.tolist() == [120, 120, 120]
    assert set(found.ranked) == set(DANISH)
    assert found.neurons == {0: (3,), 1: (7, 9), 2: (40,)}
    for layer, neuron in DANISH:
        assert found.probability[:, layer, neuron].tolist() == [1, 0, 0]
        assert found.entropy[layer, neuron] == 0
    swedish = lape(planted, text_of_own_tokens(), target="sv", share=6 / 144)
    assert set(swedish.ranked) == set(SWEDISH)
    # no neuron of the whole model is left for English
    assert lape(planted, text_of_own_tokens(), target="en", share=6 / 144).neurons == {}


def test_the_best_are_those_of_lowest_entropy(tiny_lm, tiny_tokens):
    found = lape(tiny_lm, tiny_tokens, target="da", share=0.3, percentile=0.5)
    entropies = [found.entropy[place] for place in found.ranked]
    assert len(entropies) > 10
    assert entropies == sorted(entropies)
    for count in (0, 1, 5, len(entropies), 10**6):
        best = {(layer, neuron) for layer, ids in found.best(count).items() for neuron in ids}
        assert best == set(found.ranked[:count])
    assert found.best(10**6) == found.neurons
    assert all(found.assigned[0][place] for place in found.ranked)


def active_by_the_formula(lm, ids):
    """Which neurons are active, `(layers, tokens, neurons)`, from the weights and what goes into each MLP."""
    family, inputs = lm.model.config.get_text_config().model_type, []
    down = {"phi3": "mlp.down_proj", "opt": "fc2", "gpt_neox": "mlp.dense_4h_to_h", "gpt2": "mlp.c_proj"}
    gated = hasattr(lm.blocks[0], "mlp") and hasattr(lm.blocks[0].mlp, "gate_proj")
    handles = []
    for block in lm.blocks:
        module = block.mlp if gated or family == "phi3" else block.get_submodule(down[family])
        handles.append(module.register_forward_pre_hook(lambda _, args: inputs.append(args[0])))
    with torch.no_grad():
        lm.model(torch.from_numpy(ids)[None])
    for handle in handles:
        handle.remove()
    found = []
    for block, x in zip(lm.blocks, inputs, strict=True):
        x = x.reshape(len(ids), -1)
        if gated:
            # SiLU and GELU have the sign of what they are given
            x = x @ block.mlp.gate_proj.weight.T
        elif family == "phi3":
            x = (x @ block.mlp.gate_up_proj.weight.T).chunk(2, dim=1)[0]
        found.append(x > 0)
    return torch.stack(found)


# an MLP of each shape, and a model with images
@pytest.mark.parametrize(
    ("name", "bos"),
    [(name, name != "gpt2") for name in ("gpt_neox", "gpt2", "opt", "llama", "gemma3", "phi3")],
)
def test_probabilities_are_the_papers_and_a_bos_is_left_out(
    tmp_path, tiny_tokenizer, tiny_corpus, name, bos, monkeypatch
):
    lm = load(str(write_family(tmp_path, name, tiny_tokenizer)))
    corpus = Corpus.of(
        s._replace(language="sv") if number % 4 == 1 else s
        for number, s in enumerate(tiny_corpus.sentences[:20])
    )
    tokens = tokenize(lm, corpus, prefix=[lm.tokenizer.bos_token_id] if bos else [])
    # all layers of a few sentences at a time
    monkeypatch.setattr(sys.modules["glossae.evidence.lape"], "VALUES", 144 * 40)
    found = lape(lm, tokens, target="da", share=0.2, percentile=0.6)
    active, counted = np.zeros((3, 3, 48)), np.zeros(3)
    for sentence, ids in zip(corpus.sentences, tokens.ids, strict=True):
        row = CODES.index(sentence.language)
        inside = active_by_the_formula(lm, ids)[:, int(bos) :].double()
        active[row] += inside.sum(1).numpy()
        counted[row] += inside.shape[1]
    assert found.tokens.tolist() == counted.tolist()
    # a value at zero may fall on either side by the order of sums
    p = active / counted[:, None, None]
    np.testing.assert_allclose(found.probability, p, atol=1.5 / counted.min())
    assert (found.probability != p).mean() < 0.01
    # the rule by its definition
    p = found.probability
    bar = np.sort(p.ravel())[round(0.6 * p.size) - 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = p / p.sum(0)
        entropy = -np.where(share > 0, share * np.log(share), 0).sum(0)
    entropy = np.where((p > bar).any(0), entropy, np.inf)
    lowest = np.argsort(entropy.ravel(), kind="stable")[: round(0.2 * 144)]
    wanted = [(n // 48, n % 48) for n in lowest.tolist() if p[0].ravel()[n] > bar]
    assert wanted
    assert set(found.ranked) == set(wanted)


def test_a_gated_mlp_is_counted_on_its_gate(tmp_path, tiny_tokenizer, tiny_corpus):
    """A neuron that is active on its gate's side fires there whatever sign the product has."""
    lm = load(str(write_family(tmp_path, "llama", tiny_tokenizer)))
    tokens = tokenize(lm, tiny_corpus)
    before = lape(lm, tokens, target="da").probability[:, 0]
    with torch.no_grad():
        lm.blocks[0].mlp.up_proj.weight.neg_()
    assert np.array_equal(lape(lm, tokens, target="da").probability[:, 0], before)


@pytest.mark.parametrize("name", ["llama", "gpt_neox"])
def test_attention_sinks_are_not_counted(tmp_path, tiny_tokenizer, tiny_corpus, name):
    lm = load(str(write_family(tmp_path, name, tiny_tokenizer)))
    tokens, site = tokenize(lm, tiny_corpus), Site("mlp.hidden", 1)
    parts = list(activations(lm, batches(tokens, 200), [site]))
    norm = torch.cat([part.sites[site].norm(dim=1) for part in parts])
    sentence = torch.cat([part.sentence for part in parts])
    # inside the widest gap among the largest norms, so that rounding moves no token over it
    largest = norm.sort().values[-200:]
    gap = int(largest.diff().argmax())
    edge = float(largest[gap : gap + 2].mean())
    found = lape(dataclasses.replace(lm, sinks={site: NormRange(0.0, edge)}), tokens, target="da")
    danish = torch.tensor([s.language == "da" for s in tokens.corpus.sentences])[sentence]
    assert found.tokens.tolist() == [
        int((danish & (norm < edge)).sum()),
        int((~danish & (norm < edge)).sum()),
    ]


def test_every_family_can_be_counted(tmp_path, tiny_tokenizer, tiny_corpus):
    for name in FAMILIES:
        lm = load(str(write_family(tmp_path / name.replace(",", "").replace(" ", "-"), name, tiny_tokenizer)))
        found = lape(lm, tokenize(lm, Corpus.of(tiny_corpus.sentences[:6])), target="en")
        assert 0.2 < found.probability.mean() < 0.8, name


def test_the_model_is_left_as_it_was(tiny_lm, tiny_tokens, count_hooks):
    before, done = count_hooks(tiny_lm.model), []
    lape(tiny_lm, tiny_tokens, target="da", budget=200, progress=done.append)
    assert done == sorted(done)
    assert done[-1] == 1.0
    assert count_hooks(tiny_lm.model) == before
    assert "mlp.activation" not in tiny_lm.architecture.places


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": "sv"}, "^lape: text in sv and in another language is needed; there is some in da, en"),
        ({"share": 0.0}, "^lape: share: 0.0 is not between 0 and 1"),
        ({"percentile": 1.0}, "^lape: percentile: 1.0 is not between 0 and 1"),
    ],
)
def test_what_cannot_be_found_is_refused(tiny_lm, tiny_tokens, changes, message):
    with pytest.raises(GlossaeError, match=message):
        lape(tiny_lm, tiny_tokens, **({"target": "da"} | changes))
    with pytest.raises(GlossaeError, match="in another language is needed"):
        lape(tiny_lm, tiny_tokens.take(np.arange(0, 54, 2)), target="da")


def test_a_gate_without_a_known_activation_function_is_refused(tmp_path, tiny_tokenizer, tiny_corpus):
    lm = load(str(write_family(tmp_path, "llama", tiny_tokenizer)))
    for block in lm.blocks:
        block.mlp.other = torch.nn.SiLU()
    with pytest.raises(GlossaeError, match=r"^lape: .*: the gated MLP 'mlp' of a block has 2 modules"):
        lape(dataclasses.replace(lm), tokenize(lm, tiny_corpus), target="da")
