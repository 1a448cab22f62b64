"""What the paper's code does, written again by hand: its encoder, its average of losses, its tasks."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split

from effects_sae import SITE, by_hand, logits_by_hand, random_sae
from glossae.corpora import Corpus, assemble_task
from glossae.effects import Edit
from glossae.errors import GlossaeError
from glossae.lm import Site, tokenize
from glossae.paper import as_coded, coded_cells, without_pre_encoder_bias
from glossae.units import Directions
from labelled_rows import rows

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


@pytest.fixture(scope="module")
def task():
    return assemble_task("things", "da", "things", {"train": rows(300, 1), "test": rows(220, 2)})


def test_as_coded_is_what_the_papers_code_does(tiny_lm, task):
    """Written again with `transformers` and scikit-learn alone."""
    sae = random_sae()
    change = Edit("set", (1, 2), (4.0, 4.0), splice=True, value=4.0)
    scores = as_coded(tiny_lm, SITE, sae, task, [change], draws=50)
    texts = [row.text for row in task.train]
    tokenizer = tiny_lm.tokenizer
    tokenizer.pad_token = tokenizer.eos_token
    inputs = tokenizer(texts, padding=True, return_tensors="pt", padding_side="right")

    def replaced(_module, args):
        codes = change.compile(sae)(args[0].flatten(0, 1))
        return (codes.view(args[0].shape),)

    states = {}
    for arm in ("raw", "set"):
        handle = tiny_lm.blocks[1].mlp.dense_4h_to_h.register_forward_pre_hook(
            replaced if arm == "set" else lambda _module, _args: None
        )
        with torch.no_grad():
            out = tiny_lm.model(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                output_hidden_states=True,
            )
        handle.remove()
        states[arm] = out.hidden_states[-1].mean(1).numpy()
    labels = [row.label for row in task.train]
    for score in scores:
        if score.edit == "none":
            assert score.splice
            continue
        x_train, x_test, y_train, y_test = train_test_split(
            states[score.edit], labels, test_size=0.2, random_state=42
        )
        said = LogisticRegression(random_state=0).fit(x_train, y_train).predict(x_test)
        assert score.score == pytest.approx(f1_score(y_test, said, average="weighted"), abs=1e-6)
        assert (score.n_train, score.n_test, score.protocol) == (240, 60, "as_coded")
    assert [score.edit for score in scores] == ["raw", "none", "set"]
    assert scores[0].p is scores[1].p is None
    assert scores[2].p is not None


def test_as_coded_says_where_the_solver_stopped_short(tiny_lm, task):
    # a hundred steps do not do where features are large
    units = Directions(["big"], torch.ones(1, 32, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    handle = tiny_lm.model.base_model.final_layer_norm.register_forward_hook(lambda _m, _a, out: 1e3 * out)
    try:
        raw, _ = as_coded(
            tiny_lm, Site("resid", 2), units, task, [Edit("scale", (0,), (1.0,), value=1.0)], draws=20
        )
    finally:
        handle.remove()
    assert raw.converged is False


def test_full_train_is_what_the_papers_code_takes(tiny_lm, task):
    splits = {"train": rows(300, 1), "full_train": rows(2100, 5)}
    full = assemble_task("things", "da", "things", splits)
    (score,) = as_coded(tiny_lm, SITE, random_sae(), full, [], draws=20)
    assert (score.n_train, score.n_test) == (1600, 400)


def test_padding_needs_an_eos(tiny_lm, task):
    bare = dataclasses.replace(tiny_lm, tokenizer=copy.deepcopy(tiny_lm.tokenizer))
    bare.tokenizer.eos_token = None
    with pytest.raises(GlossaeError, match="as_coded pads with EOS"):
        as_coded(bare, SITE, random_sae(), task, [])
