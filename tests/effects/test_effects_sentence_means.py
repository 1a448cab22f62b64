"""The paper's own average of losses, by an encoder that leaves its bias out: every sentence by itself, by hand."""

import numpy as np
import pytest
import torch
from effects_sae import SITE, by_hand, logits_by_hand, random_sae

from glossae.effects import Edit
from glossae.lm import tokenize
from glossae.paper import coded_cells, without_pre_encoder_bias
from glossae.text import Corpus

UNITS = (30, 2)
EDITS = [Edit("set", UNITS, (value, value), splice=True, value=value) for value in (-8.0, 0.0, 4.0)]


@pytest.fixture(scope="module")
def sae():
    # the paper's has no ReLU: what is selected may be below zero
    return random_sae(relu=False)


@pytest.fixture(scope="module")
def moved(sae):
    """The same autoencoder with the bias moved from the encoder's input into its output, by hand."""
    other = random_sae(relu=False)
    other.b_enc.data = sae.b_enc + sae.W_enc @ sae.b_dec
    return other


def test_the_encoder_reads_x_itself_and_the_decoder_is_as_it_was(sae):
    coded = without_pre_encoder_bias(sae)
    x = torch.randn(7, sae.config.d_in, generator=torch.Generator().manual_seed(5))
    pre = x @ sae.W_enc.T + sae.b_enc
    values, indices = pre.topk(sae.config.k)
    found = coded.encode(x)
    for token in range(len(x)):
        assert set(found.indices[token].tolist()) == set(indices[token].tolist())
        assert sorted(found.values[token].tolist()) == pytest.approx(sorted(values[token].tolist()), rel=1e-5)
    dense = torch.zeros(len(x), sae.config.latents).scatter(1, indices, values)
    assert torch.allclose(coded(x), dense @ sae.W_dec + sae.b_dec, atol=1e-5)
    # it is another reading of the same weights, and the autoencoder still reads as it did
    assert coded.W_dec is sae.W_dec
    assert coded.W_enc is sae.W_enc
    assert sae.config.pre_encoder_bias
    assert not torch.equal(sae(x), coded(x))


def test_one_without_a_pre_encoder_bias_is_as_it_was(sae):
    plain = without_pre_encoder_bias(sae)
    x = torch.randn(3, sae.config.d_in, generator=torch.Generator().manual_seed(6))
    assert torch.equal(without_pre_encoder_bias(plain)(x), plain(x))


def test_every_sentence_counts_alike(tiny_lm, tiny_corpus, sae, moved):
    tokens = tokenize(tiny_lm, Corpus.of(tiny_corpus.sentences[:16]))
    cells = coded_cells(tiny_lm, SITE, without_pre_encoder_bias(sae), tokens, EDITS, budget=90)
    codes = np.array([sentence.language for sentence in tokens.corpus.sentences])
    assert {(cell.language, cell.value) for cell in cells} == {
        (code, value) for code in set(codes.tolist()) for value in (None, -8.0, 0.0, 4.0)
    }
    for edit in (Edit("none", splice=True), *EDITS):
        means = []
        with by_hand(tiny_lm, moved, edit):
            for ids in tokens.ids:
                loss = torch.nn.functional.cross_entropy(
                    logits_by_hand(tiny_lm, ids)[:-1], torch.from_numpy(ids[1:])
                )
                means.append(float(loss))
        for code in set(codes.tolist()):
            (cell,) = [cell for cell in cells if (cell.language, cell.value) == (code, edit.value)]
            assert cell.ce == pytest.approx(np.mean(np.array(means)[codes == code]), abs=1e-4)
            assert cell.sentences == int((codes == code).sum())
            (none,) = [c for c in cells if (c.language, c.value) == (code, None)]
            assert cell.delta == pytest.approx(cell.ce - none.ce)
